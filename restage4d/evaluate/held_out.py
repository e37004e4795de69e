"""Figures of a puppet whose world is its own, from where nobody filmed it (docs/metrics.md,
"Products on stages").

Estimated cameras have a world and a scale of their own. The puppet's is laid over the truth's by
the first camera, which both share, and by one scale: the ratio of depths of the subject that this
camera sees. Errors of turn, distance and shape stay in the figures.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.evaluate.metrics import image, tracking
from restage4d.evaluate.stage import StageClip, View
from restage4d.puppet import Camera, Performance, Puppet
from restage4d.splatting.gaussians import render_gaussians

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
_SOLID = 0.5  # alpha from which a pixel belongs to the silhouette
_LOWER = 0.3  # of the silhouette's height: legs and feet
_INSIDE = 3  # pixels from the outline from which a gradient is the surface's own
_FEW = 24  # surface points that are too few to tell a turn


@dataclass(frozen=True)
class Overlay:
    """How the true world lies in the puppet's.

    Attributes:
        w2c_true, w2c: (4, 4) the shared first camera, in either world.
        scale: of the truth over the puppet's.
    """

    w2c_true: F64
    w2c: F64
    scale: float

    def bring_camera(self, w2c: F32) -> F32:  # (4, 4) -> (4, 4)
        """A true camera in the puppet's world; what it sees keeps its place in the picture."""
        relative = w2c.astype(np.float64) @ np.linalg.inv(self.w2c_true)
        relative[:3, 3] /= self.scale
        return (relative @ self.w2c).astype(np.float32)

    def bring_points(self, points: F32) -> F32:  # (..., 3) -> (..., 3)
        """True world points in the puppet's world."""
        camera = points @ self.w2c_true[:3, :3].T + self.w2c_true[:3, 3]
        inverse = np.linalg.inv(self.w2c)
        return (camera / self.scale @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.float32)


def overlay_worlds(puppet: Puppet, performance: Performance, truth: StageClip) -> Overlay:
    """The overlay by a performance's first frame, which is the truth's."""
    alpha, depth = draw_alone(puppet, performance, 0, performance.camera(0))[1:]
    both = (alpha > _SOLID) & truth.masks[0] & (truth.depth[0] > 0)
    scale = float(np.median(truth.depth[0][both] / depth[both])) if both.any() else 1.0
    w2c_true, w2c = (np.asarray(w[0], np.float64) for w in (truth.w2c, performance.w2c))
    return Overlay(w2c_true, w2c, scale)


def measure_view(
    puppet: Puppet, performance: Performance, view: View, overlay: Overlay
) -> tuple[dict[str, float], list[U8]]:
    """Figures of one held-out view, and its pictures before grey.

    ``iou`` of the silhouettes, ``psnr`` in the union of both, ``sharpness`` (mean gradient inside
    the silhouette, grey levels a pixel), ``sharpness_true``; reference values ``psnr_empty``,
    ``psnr_flat`` (the true silhouette in its mean colour), ``iou_shift1``, ``psnr_shift1`` and the
    same of 2 pixels: the truth moved sideways.
    """
    rows: list[dict[str, float]] = []
    pictures: list[U8] = []
    for frame, K, w2c, picture, mask in zip(
        view.frame, view.K, view.w2c, view.pictures, view.masks, strict=True
    ):
        camera = Camera(K, overlay.bring_camera(w2c), performance.size)
        drawn, alpha, _ = draw_alone(puppet, performance, int(frame), camera)
        true = image.cut_out(picture, mask)
        found = alpha > _SOLID
        pictures.append(drawn)
        row = {
            "iou": image.iou(found, mask),
            "psnr": image.psnr(drawn, true, found | mask),
            "sharpness": measure_sharpness(drawn, found),
            "sharpness_true": measure_sharpness(true, mask),
        }
        rows.append(row | _measure_references(picture, mask))
    names = rows[0] if rows else {}
    return {name: float(np.nanmean([row[name] for row in rows])) for name in names}, pictures


def measure_sharpness(picture: U8, mask: Bool) -> float:
    """Mean length of the brightness gradient (Sobel over 8) well inside a silhouette; nan where
    nothing is."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
    inside = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((2 * _INSIDE + 1,) * 2))[
        1:-1, 1:-1
    ]
    return float(gradient[inside > 0].mean()) if inside.any() else float("nan")


def _measure_references(picture: U8, mask: Bool) -> dict[str, float]:
    true = image.cut_out(picture, mask)
    out = {"psnr_empty": image.psnr(np.full_like(true, image.BACKDROP), true, mask)}
    flat = true.copy()
    if mask.any():
        flat[mask] = picture[mask].mean(0).round().astype(np.uint8)
    out["psnr_flat"] = image.psnr(flat, true, mask)
    for pixels in (1, 2):
        moved, there = np.roll(true, pixels, 1), np.roll(mask, pixels, 1)
        out[f"iou_shift{pixels}"] = image.iou(there, mask)
        out[f"psnr_shift{pixels}"] = image.psnr(moved, true, there | mask)
    return out


def measure_depth(
    puppet: Puppet, performance: Performance, truth: StageClip, overlay: Overlay, extent: float
) -> dict[str, float]:
    """``depth_slope`` of the puppet's depth over the true one at visible surface points, and
    ``depth_error``, their mean difference, both about the frame's medians; in extents."""
    found, true = [], []
    width, height = performance.size
    for t in range(performance.n_frames):
        points = truth.points[truth.visible[:, t], t]
        camera = points @ truth.w2c[t, :3, :3].T + truth.w2c[t, :3, 3]
        xy = np.floor((camera / camera[:, 2:]) @ truth.K[t].T)[:, :2].astype(int)
        column, row = xy[:, 0].clip(0, width - 1), xy[:, 1].clip(0, height - 1)
        _, alpha, depth = draw_alone(puppet, performance, t, performance.camera(t))
        covered = alpha[row, column] > _SOLID
        if not covered.any():
            continue
        z = overlay.scale * depth[row, column][covered]
        z_true = camera[covered, 2]
        found.append(z - np.median(z))
        true.append(z_true - np.median(z_true))
    if not found:
        return {"depth_slope": float("nan"), "depth_error": float("nan")}
    a, b = np.concatenate(found), np.concatenate(true)
    return {
        "depth_slope": float((a * b).sum() / max((b * b).sum(), 1e-12)),
        "depth_error": float(np.abs(a - b).mean() / extent),
    }


def measure_turn(
    puppet: Puppet, performance: Performance, truth: StageClip, overlay: Overlay
) -> dict[str, float]:
    """``turn`` of the body before the camera from the first frame to the one where the true turn is
    largest, ``turn_true`` (degrees), and ``turn_ratio``; nan where the truth turns less than 5."""
    seen = np.flatnonzero(truth.visible[:, 0])
    nan = float("nan")
    if len(seen) < _FEW:
        return {"turn": nan, "turn_true": nan, "turn_ratio": nan}
    points = truth.points[seen]
    paths = tracking.carry(puppet, performance, overlay.bring_points(points[:, 0]), 0)
    true = [_compute_turn(points, truth.w2c, t) for t in range(points.shape[1])]
    widest = int(np.argmax(true))
    found = _compute_turn(paths, performance.w2c, widest)
    ratio = found / true[widest] if true[widest] >= 5 else nan
    return {"turn": found, "turn_true": true[widest], "turn_ratio": ratio}


def _compute_turn(paths: F32, w2c: F32, t: int) -> float:  # (P, T, 3), (T, 4, 4)
    """Degrees by which points turn in the camera's frame between frame 0 and t (least squares)."""
    first, now = (
        (paths[:, i] @ w2c[i, :3, :3].T + w2c[i, :3, 3]).astype(np.float64) for i in (0, t)
    )
    R = tracking.fit_similarity(first, now)[1]
    return float(np.degrees(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1))))


def measure_lower_cover(
    puppet: Puppet, performance: Performance, truth: StageClip
) -> tuple[float, float]:
    """Share of the lowest 30 % of the true silhouette that the puppet covers, in the first and the
    last frame."""
    shares = []
    for t in (0, performance.n_frames - 1):
        mask = truth.masks[t]
        rows = np.flatnonzero(mask.any(1))
        if not len(rows):
            return float("nan"), float("nan")
        top = rows[-1] + 1 - max(round(_LOWER * (rows[-1] + 1 - rows[0])), 1)
        lower = mask.copy()
        lower[:top] = False
        alpha = draw_alone(puppet, performance, t, performance.camera(t))[1]
        shares.append(float((alpha[lower] > _SOLID).mean()))
    return shares[0], shares[1]


def draw_alone(
    puppet: Puppet, performance: Performance, frame: int, camera: Camera
) -> tuple[U8, F32, F32]:
    """The subject before grey (H, W, 3), its alpha and its z-depth (H, W)."""
    rgba, depth = render_gaussians([puppet.pose(performance, frame)], camera)
    picture = 255 * rgba[..., :3] + (1 - rgba[..., 3:]) * image.BACKDROP
    return picture.clip(0, 255).round().astype(np.uint8), rgba[..., 3], depth
