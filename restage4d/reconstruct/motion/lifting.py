"""Lifting 2D tracks and pixels to world points with depth and cameras."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import (
    Cameras,
    Priors,
    Rewound,
    Tracks,
)
from restage4d.errors import FitError
from restage4d.reconstruct.motion.body_motion import estimate_body_motion

F32 = NDArray[np.float32]


@dataclass
class LiftedTracks:
    """Subject tracks in the world.

    Attributes:
        xyz: (P, T, 3) world points; where not visible, see `fill_occluded`.
        xy: (P, T, 2) pixels of the 2D track.
        visible: (P, T) bool, seen with known depth.
        confidence: (P, T) trust in ``xyz`` where visible, in "hidden" where not.
        canonical: the frame with most visible points.
        placed: (P, T) bool, ``xyz`` is known: seen, or hidden and told; "visible" if left out.
    """

    xyz: F32
    xy: F32
    visible: NDArray[np.bool_]
    confidence: F32
    canonical: int
    placed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))

    def __post_init__(self) -> None:
        if not self.placed.size:
            self.placed = self.visible

    def select_seen_in(self, frames: NDArray[np.intp]) -> "LiftedTracks":
        """Only the tracks that some of ``frames`` see."""
        return self.take(np.flatnonzero(self.visible[:, frames].any(1)))

    def take(self, rows: NDArray[np.intp]) -> "LiftedTracks":
        """Only the tracks with those numbers (P',)."""
        return LiftedTracks(
            self.xyz[rows],
            self.xy[rows],
            self.visible[rows],
            self.confidence[rows],
            self.canonical,
            self.placed[rows],
        )


def unproject(
    xy: F32, depth: F32, K: F32, w2c: F32
) -> F32:  # (..., 2), (...), (..., 3, 3), (..., 4, 4) -> (..., 3)
    """Pixels with planar z-depth to world points."""
    fx, fy, cx, cy = K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]
    camera = np.stack([(xy[..., 0] - cx) / fx * depth, (xy[..., 1] - cy) / fy * depth, depth], -1)
    return np.einsum("...ji,...j->...i", w2c[..., :3, :3], camera - w2c[..., :3, 3]).astype(
        np.float32
    )


def sample_depth(depth: F32, mask: F32, xy: F32) -> F32:  # (H, W), (H, W), (P, 2) -> (P,)
    """Bilinear depth over subject pixels of known depth only; 0 where none of the four is one."""
    height, width = depth.shape
    x, y = np.clip(xy[:, 0] - 0.5, 0, width - 1), np.clip(xy[:, 1] - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weights = np.zeros(len(xy), np.float32), np.zeros(len(xy), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            xi, yi = np.minimum(x0 + dx, width - 1), np.minimum(y0 + dy, height - 1)
            w = (1 - np.abs(x - (x0 + dx))) * (1 - np.abs(y - (y0 + dy)))
            w = np.where((depth[yi, xi] > 0) & (mask[yi, xi] > 0.5), w, 0.0)
            total += w * depth[yi, xi]
            weights += w
    return np.where(weights > 1e-3, total / np.maximum(weights, 1e-3), 0.0).astype(np.float32)


def reject_observations(rewound: Rewound, priors: Priors) -> Tracks:
    """The 2D tracks with those observations alone that can be lifted and that a neighbouring frame
    bears out.

    A single observation between hidden frames mostly shows what hides the point. One that is
    refused says nothing.

    Returns:
        The same P tracks over T frames; ``visible`` (P, T) without what is refused, ``confidence``
        (P, T) 0 there.
    """
    tracks = priors.tracks
    visible = tracks.visible & (_sample_track_depth(priors) > 0)
    visible &= _find_seen_beside(visible, rewound)
    confidence = np.where(tracks.visible & ~visible, 0, tracks.confidence).astype(np.float32)
    return replace(tracks, visible=visible, confidence=confidence)


def _sample_track_depth(priors: Priors) -> F32:  # -> (P, T)
    """Depth (world units) where each track is in each frame; 0 off the subject, off the picture and
    where it is unknown."""
    tracks = priors.tracks
    height, width = priors.depth.shape[1:]
    inside = (tracks.xy >= 0).all(-1) & (tracks.xy[..., 0] < width) & (tracks.xy[..., 1] < height)
    frames = zip(priors.depth, priors.masks, tracks.xy.swapaxes(0, 1), strict=True)
    return np.stack([sample_depth(*frame) for frame in frames], 1) * inside


def lift_tracks(rewound: Rewound, priors: Priors) -> LiftedTracks:
    """Lifts all tracks; drops those that start outside the mask, are hardly ever seen, or lie far
    off the subject.

    Args:
        rewound: T frames.
        priors: with tracks as `reject_observations` leaves them.

    Raises:
        FitError: fewer than 8 usable tracks.
    """
    tracks, cameras = priors.tracks, priors.cameras
    n_points, n_frames = tracks.visible.shape
    depth = _sample_track_depth(priors)
    in_mask = depth > 0
    told = ~tracks.visible & in_mask & (tracks.behind > 0) & (tracks.confidence > 0)
    depth = np.where(told, depth * tracks.behind, np.maximum(depth, 1e-3))
    xyz = unproject(tracks.xy, depth, cameras.K[None], cameras.w2c[None])
    visible, confidence = tracks.visible & in_mask, tracks.confidence
    seen = visible.sum(1)
    need = max(3, min(0.05 * n_frames, float(np.quantile(seen, 0.1)))) if n_points else 0
    keep = (seen >= need) & in_mask[np.arange(n_points), tracks.query]
    xyz, visible, xy, confidence = xyz[keep], visible[keep], tracks.xy[keep], confidence[keep]
    placed = visible | told[keep]
    if len(xyz):
        centre = np.stack(
            [
                np.median(xyz[visible[:, t], t], 0) if visible[:, t].any() else np.full(3, np.nan)
                for t in range(n_frames)
            ]
        )
        distance = np.where(visible, np.linalg.norm(xyz - centre, axis=-1), np.nan)
        far = np.nanmedian(distance, axis=1)
        near_enough = far <= np.quantile(far, 0.98) + 1e-6
        xyz, visible, xy, confidence, placed = (
            xyz[near_enough],
            visible[near_enough],
            xy[near_enough],
            confidence[near_enough],
            placed[near_enough],
        )
    if len(xyz) < 8:
        raise FitError(
            f"Only {len(xyz)} of {n_points} tracks lie on the subject with known depth: too few "
            "to find its motion."
        )
    xyz = fill_occluded(xyz, placed, rewound, *estimate_body_motion(xyz, placed, rewound))
    score = (visible * confidence).sum(0)
    return LiftedTracks(xyz, xy, visible, confidence, int(score.argmax()), placed)


def _find_seen_beside(
    visible: NDArray[np.bool_], rewound: Rewound
) -> NDArray[np.bool_]:  # (P, T) -> (P, T)
    """Whether a neighbouring frame sees the point too."""
    near = np.zeros_like(visible)
    for a, b in rewound.neighbours():
        near[:, a] |= visible[:, b]
        near[:, b] |= visible[:, a]
    return near


def fill_occluded(
    xyz: F32, visible: NDArray[np.bool_], rewound: Rewound, R: F32, t: F32
) -> F32:  # (P, T, 3), (P, T)
    """Positions of hidden moments, seen from the body whose motion is ``R`` (T, 3, 3) and ``t`` (T,
    3): linear in time between observations on every path, held before the first and after the last.
    So a far side goes along when the subject turns.

    Returns:
        (P, T, 3); ``xyz`` itself where visible.
    """
    filled = np.einsum("tji,ptj->pti", R, xyz - t)
    done = visible.copy()
    for path in rewound.paths():
        n = len(path)
        v, p = done[:, path], filled[:, path]
        at = np.arange(n)
        before = np.maximum.accumulate(np.where(v, at, -1), axis=1)
        after = np.minimum.accumulate(np.where(v, at, n)[:, ::-1], axis=1)[:, ::-1]
        lo, hi = np.where(before < 0, after, before), np.where(after >= n, before, after)
        lo, hi = np.clip(lo, 0, n - 1), np.clip(hi, 0, n - 1)
        share = ((at - lo) / np.maximum(hi - lo, 1)).astype(np.float32)[..., None]
        rows = np.arange(len(p))[:, None]
        between = p[rows, lo] * (1 - share) + p[rows, hi] * share
        ever = v.any(1, keepdims=True)
        write = ~v & ever
        p = np.where(write[..., None], between, p)
        filled[:, path] = p
        done[:, path] = v | ever  # what one path filled, the next one keeps
    filled = np.einsum("tij,ptj->pti", R, filled) + t
    return np.where(visible[..., None], xyz, filled).astype(np.float32)


def list_frame_triples(rewound: Rewound) -> NDArray[np.int64]:  # (S, 3)
    """(before, now, after): every three frames that follow one another on some path."""
    parent = rewound.parent
    rows = [
        (parent[parent[t]], parent[t], t)
        for t in range(len(parent))
        if parent[t] >= 0 and parent[parent[t]] >= 0
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def compute_time_weights(rewound: Rewound, sigma: float) -> F32:  # (T, T)
    """Weights of frames for one another: a Gaussian of their distance along a path of the tree, 0
    across branches."""
    out = np.zeros((len(rewound), len(rewound)), np.float32)
    for path in rewound.paths():
        apart = np.arange(len(path))[:, None] - np.arange(len(path))
        out[np.ix_(path, path)] = np.exp(-0.5 * (apart / max(sigma, 1e-3)) ** 2)
    return out


def compute_viewing_directions(cameras: Cameras) -> F32:  # (T, 3)
    """Viewing direction of every camera in the world."""
    return np.ascontiguousarray(cameras.w2c[:, 2, :3])
