"""Pictures of a puppet: its performances as the clip's camera saw them and from behind and beside,
side by side.

The contact sheet and the preview video have the columns base | driving | restaged | from behind |
from beside.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d import sh
from restage4d.clips import Clip
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.progress import Progress, TaskId
from restage4d.puppet import (
    F32,
    Gaussians,
    Performance,
    Puppet,
)

U8 = NDArray[np.uint8]

ROWS = 8  # of the contact sheet, for every performance
_RAISED = 10.0  # degrees that an orbiting camera stands higher than the clip's
_BACKDROP = (0.78, 0.78, 0.78)
_FILLED = 0.85  # part of the picture that the subject may reach, from the middle to the border
_FRAMING_POINTS = 2000


@dataclass
class Views:
    """One camera per frame of a performance: K (T, 3, 3) pixels, w2c (T, 4, 4) OpenCV; and what is
    drawn behind the subject.

    ``backdrop`` is an sRGB colour in 0..1 with nothing but the subject before it, or None: the
    puppet's own background.
    """

    K: F32
    w2c: F32
    backdrop: tuple[float, float, float] | None = None


def orbit_camera(
    w2c: F32, centre: F32, degrees: float, raised: float = _RAISED, nearest: float = 0.0
) -> F32:  # (4, 4), (3,) -> (4, 4)
    """The camera moved around a point: turned about world +Z, then raised, at the same distance,
    looking at the point.

    Args:
        w2c: OpenCV world-to-camera.
        centre: the point, world.
        degrees: turn about +Z, counter-clockwise seen from above.
        raised: degrees of elevation added, up to 60 in all; a steeper camera keeps its own.
        nearest: the distance is at least this, world units.
    """
    eye = -w2c[:3, :3].T @ w2c[:3, 3] - centre
    distance = max(float(np.linalg.norm(eye)), nearest, 1e-6)
    elevation = np.arctan2(eye[2], np.hypot(eye[0], eye[1]))
    elevation = min(
        elevation + np.radians(raised), max(np.radians(60), min(elevation, np.radians(89)))
    )
    azimuth = np.arctan2(eye[1], eye[0]) + np.radians(degrees)
    ring = np.cos(elevation)
    back = np.array(
        [ring * np.cos(azimuth), ring * np.sin(azimuth), np.sin(elevation)]
    )  # from the point to the camera
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    moved = np.eye(4, dtype=np.float32)
    moved[:3, :3] = np.stack(
        [right, np.cross(-back, right), -back]
    )  # rows x right, y down, z forward
    moved[:3, 3] = -moved[:3, :3] @ (centre + distance * back)
    return moved


def orbit(puppet: Puppet, performance: Performance, degrees: float) -> Views:
    """The clip's camera moved around the subject and following it, with one focal length that keeps
    it in the picture."""
    few = slice(None, None, max(1, len(puppet.subject) // _FRAMING_POINTS))
    part = Puppet(
        _rows(puppet.subject, few),
        puppet.index[few],
        puppet.weight[few],
        [performance],
        puppet.background,
    )
    points = np.stack(
        [part.posed(performance, t).means for t in range(performance.n_frames)]
    )  # (T, N', 3)
    low, high = np.percentile(points, [2, 98], axis=1)
    centres = ((low + high) / 2).astype(np.float32)
    radius = float(np.percentile(np.linalg.norm(points - centres[:, None], axis=-1), 98))
    cameras = [
        orbit_camera(w, c, degrees, nearest=2.5 * radius)
        for w, c in zip(performance.w2c, centres, strict=True)
    ]
    w2c = np.stack(cameras)
    seen = np.einsum("tij,tnj->tni", w2c[:, :3, :3], points) + w2c[:, None, :3, 3]
    slopes = np.percentile(np.abs(seen[..., :2] / np.maximum(seen[..., 2:], 1e-3)), 99, axis=1).max(
        0
    )
    width, height = performance.size
    focal = _FILLED / 2 * min(width / max(slopes[0], 1e-6), height / max(slopes[1], 1e-6))
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return Views(np.repeat(K[None], len(w2c), 0), w2c, _BACKDROP)


def render_performance(
    puppet: Puppet,
    performance: Performance,
    frames: Iterable[int] | None = None,
    views: Views | None = None,
) -> Iterator[U8]:  # of (H, W, 3)
    """Draws frames of a performance, sRGB uint8.

    Args:
        puppet: whose subject and background are drawn.
        performance: which motion.
        frames: which frames; None: all.
        views: cameras; None: the clip's own, with the background behind the subject.
    """
    views = views or Views(performance.K, performance.w2c)
    for frame in range(performance.n_frames) if frames is None else frames:
        sets = [puppet.posed(performance, frame)]
        if views.backdrop is None and len(puppet.background):
            sets.append(puppet.background)
        yield _draw(
            sets,
            views.K[frame],
            views.w2c[frame],
            performance.size,
            views.backdrop or (0.0, 0.0, 0.0),
        )


def _draw(
    sets: list[Gaussians],
    K: F32,
    w2c: F32,
    size: tuple[int, int],
    backdrop: tuple[float, float, float],
) -> U8:
    import torch

    from restage4d.render import drawing_device, rasterize

    eye = -w2c[:3, :3].T @ w2c[:3, 3]
    colors = []
    for g in sets:
        ray = g.means - eye
        ray = ray / np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 1e-9)
        colors.append(sh.colors(g.sh, ray).astype(np.float32))
    device = drawing_device()

    def tensor(array: NDArray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

    means, quats, scales, opacities = (
        tensor(np.concatenate([getattr(g, k) for g in sets]))
        for k in ("means", "quats", "scales", "opacities")
    )
    rgb = tensor(np.concatenate(colors))
    with torch.no_grad():
        image, alpha, _ = rasterize(
            means, quats, scales, opacities, rgb, tensor(w2c), tensor(K), *size
        )
        image = image + (1 - alpha[..., None]) * torch.tensor(backdrop, device=device)
        return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def write_preview(
    puppet: Puppet,
    clips: dict[str, Clip],
    sheet: str | Path,
    movie: str | Path,
    progress: Progress | None = None,
) -> None:
    """Writes the contact sheet (PNG, `ROWS` evenly spaced frames a performance) and the preview
    (mp4, every frame).

    Args:
        puppet: with "base" as its first performance; every further one is shown beside it, one
            after the other.
        clips: the footage of each performance by its name, b_0 first, of the performance's size.
        sheet: path of the PNG.
        movie: path of the mp4.
        progress: told every frame.
    """
    base, restaged = puppet.performances[0], puppet.performances[1:] or puppet.performances[:1]
    rows: list[U8] = []

    def frames() -> Iterator[U8]:
        total = sum(p.n_frames for p in restaged)
        with (progress or Progress()).task(TaskId.PREVIEW, total) as task:
            for performance in restaged:
                picked = set(
                    np.linspace(0, performance.n_frames - 1, ROWS).round().astype(int).tolist()
                )
                for t, row in enumerate(_rows_of(puppet, base, performance, clips)):
                    if t in picked:
                        rows.append(row)
                    yield row
                    task.advance()

    video.encode(movie, frames(), restaged[0].fps)
    ok, png = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    if not ok:
        raise RuntimeError(f"the contact sheet of {len(rows)} rows could not be coded as PNG")
    with replacing(sheet) as temporary:
        temporary.write_bytes(png.tobytes())


def _rows_of(
    puppet: Puppet, base: Performance, performance: Performance, clips: dict[str, Clip]
) -> Iterator[U8]:
    """One labelled row of columns for every frame of a performance; the base holds its last frame
    where it is shorter."""
    views = {
        "from behind": orbit(puppet, performance, 180),
        "from beside": orbit(puppet, performance, 90),
    }
    drawn = [render_performance(puppet, performance)]
    drawn += [render_performance(puppet, performance, views=v) for v in views.values()]
    footage = [("base", clips[base.name])]
    if performance is not base:
        footage.append(("driving", clips[performance.name]))
    names = [name for name, _ in footage] + [
        performance.name if performance is not base else "puppet",
        *views,
    ]
    for t, pictures in enumerate(zip(*drawn, strict=True)):
        cells = [clip.frames[min(t, len(clip) - 1)] for _, clip in footage] + list(pictures)
        labels = [f"{name} {t}" if i == 0 else name for i, name in enumerate(names)]
        yield np.concatenate(
            [_labelled(cell, label) for cell, label in zip(cells, labels, strict=True)], axis=1
        )


def _labelled(picture: U8, text: str) -> U8:
    """A copy with a small white text on a darkened strip in the upper left corner."""
    picture = picture.copy()
    scale = max(0.35, picture.shape[1] / 900)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    picture[: height + below + 6, : width + 10] //= 4
    cv2.putText(
        picture,
        text,
        (5, height + 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
    return picture


def _rows(gaussians: Gaussians, which: slice) -> Gaussians:
    return Gaussians(**{k: v[which] for k, v in vars(gaussians).items()})
