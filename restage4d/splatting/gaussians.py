"""Drawing puppets: Gaussians from any camera, and a performance frame by frame. Pictures, not
gradients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from restage4d import sh
from restage4d.puppet import (
    F32,
    Camera,
    Gaussians,
    Performance,
    Puppet,
)
from restage4d.splatting import drawing_device, rasterize
from restage4d.threads import iterate_on_cores

U8 = NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")

_SEEN = 1e-3  # alpha from which a pixel has a depth; far below the least that is drawn


def render_gaussians(
    sets: Sequence[Gaussians], camera: Camera
) -> tuple[F32, F32]:  # (H, W, 4), (H, W)
    """Draws sets of Gaussians into one picture, on the device where drawing is fastest
    (`restage4d.splatting.drawing_device`).

    Args:
        sets: in the world, world units; each with an SH degree of its own. Radiance is that of
            3DGS: seen from the camera to each Gaussian's mean, not below 0.
        camera: pinhole, OpenCV axes.

    Returns:
        rgba: float32 in 0..1: colour as the video encodes it (sRGB, not linear), premultiplied by
            alpha, and alpha. Over a backdrop: ``rgb + (1 - alpha) * backdrop``.
        depth: float32, z in the camera's frame, world units, averaged over what a pixel shows; 0
            where it shows nothing.

    Example:
        >>> rgba, depth = render_gaussians([puppet.pose("restaged", 20), puppet.background], camera)
    """
    w2c = camera.w2c
    device = drawing_device()

    def tensor(arrays: Sequence[NDArray]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(arrays), np.float32)).to(device)

    channels = []
    for g in sets:
        ray = g.means - camera.centre
        ray = ray / np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 1e-9)
        z = g.means @ w2c[2, :3] + w2c[2, 3]
        channels.append(np.concatenate([sh.colors(g.sh, ray), z[:, None]], 1))
    with torch.no_grad():
        image, alpha, _ = rasterize(
            tensor([g.means for g in sets]),
            tensor([g.quats for g in sets]),
            tensor([g.scales for g in sets]),
            tensor([g.opacities for g in sets]),
            tensor(channels),
            tensor([w2c]),
            tensor([camera.K]),
            *camera.size,
        )
    picture, cover = image.cpu().numpy(), alpha.cpu().numpy()
    rgba = np.concatenate([picture[..., :3].clip(0, 1), cover[..., None]], -1)
    depth = np.where(cover > _SEEN, picture[..., 3] / np.maximum(cover, _SEEN), np.float32(0))
    return rgba, depth


def render_performance(
    puppet: Puppet,
    performance: Performance,
    frames: Iterable[int] | None = None,
    cameras: Iterable[Camera] | None = None,
    backdrop: tuple[float, float, float] | None = None,
) -> Iterator[U8]:  # of (H, W, 3)
    """Draws frames of a performance, sRGB uint8.

    Args:
        puppet: whose subject and background are drawn.
        performance: which motion.
        frames: which frames; None: all.
        cameras: one for each of ``frames``; None: the clip's own.
        backdrop: an sRGB colour in 0..1 with nothing but the subject before it; None: the puppet's
            own background.
    """
    frames = range(performance.n_frames) if frames is None else list(frames)
    if cameras is None:
        cameras = map(performance.camera, frames)
    behind = np.array(backdrop or (0, 0, 0), np.float32)

    def draw(shot: tuple[int, Camera]) -> U8:
        frame, camera = shot
        sets = [puppet.pose(performance, frame)]
        if backdrop is None and len(puppet.background):
            sets.append(puppet.background)
        rgba, _ = render_gaussians(sets, camera)
        picture = rgba[..., :3] + (1 - rgba[..., 3:]) * behind
        return (picture.clip(0, 1) * 255).round().astype(np.uint8)

    yield from draw_side_by_side(draw, zip(frames, cameras, strict=True))


def draw_side_by_side(draw: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map(draw, items)`` for what draws pictures: on a CPU as many at a time as there are cores,
    each with one thread, so that also the work around the drawing is shared."""
    if drawing_device() != "cpu":
        yield from map(draw, items)
        return
    threads = torch.get_num_threads()
    try:
        yield from iterate_on_cores(draw, items, lambda: torch.set_num_threads(1))
    finally:
        torch.set_num_threads(threads)  # threads that begin later take what was set last
