"""One differentiable splatting interface: gsplat or Warp on an NVIDIA GPU, numba on the CPU, and a
dense reference for tests.

All backends follow gsplat 1.5's `rasterization` (EWA projection, constants in
`restage4d.splatting.constants`).
"""

from typing import Any

from torch import Tensor

from restage4d.splatting.choice import choose_drawing, drawing_device, prepare_drawing
from restage4d.splatting.constants import EPS2D

BACKENDS = ("auto", "cpu", "gsplat", "warp", "reference")


def rasterize(
    means: Tensor,  # (N, 3)
    quats: Tensor,  # (N, 4)
    scales: Tensor,  # (N, 3)
    opacities: Tensor,  # (N,)
    colors: Tensor,  # (N, C)
    w2c: Tensor,  # (4, 4)
    K: Tensor,  # (3, 3)
    width: int,
    height: int,
    *,
    near: float = 0.01,
    eps2d: float = EPS2D,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # (H, W, C), (H, W), info
    """Draws Gaussians into one pinhole camera, differentiably.

    Args:
        means: world positions, float32.
        quats: orientations wxyz, of any length (normalised here; zero counts as the identity).
        scales: standard deviations along the Gaussian's own axes, linear, in world units.
        opacities: 0..1.
        colors: any C >= 1 channels: colour, mask, depth, track targets are all drawn in the one
            pass.
        w2c: world to camera, OpenCV axes (x right, y down, z forward).
        K: pinhole in pixels; pixel (column i, row j) has its centre at (i + 0.5, j + 0.5). Gets no
            gradient.
        width, height: image size in pixels.
        near: Gaussians whose centre is nearer than this (camera z, world units) are left out.
        eps2d: blur added to the projected covariance, in square pixels.
        backend: "cpu" (numba), "gsplat" (CUDA), "warp" (CUDA; the CPU for tests), "reference"
            (dense, any dtype and device, for tests), or "auto": by the tensors' device, on a GPU as
            `restage4d.splatting.choice` says.

    Returns:
        image: sum of colour x weight, front to back. Not divided by alpha, no background. On the
            CPU it is stored channel by channel: losses are fastest on ``image.permute(2, 0, 1)``,
                which is contiguous.
        alpha: sum of weights.
        info: ``means2d`` (N, 2) pixels, part of the graph (``retain_grad`` it before ``backward``
            to read the screen-space gradient); ``radii`` (N,) int32 footprint radius in pixels, 0
            where the Gaussian was culled; ``depths`` (N,) camera z, differentiable. Rows of culled
            Gaussians are 0.

    Gaussians with a NaN or infinity in their geometry or opacity are culled and get zero gradients.
    On the CPU as many threads work as torch uses (``torch.set_num_threads``); the result has the
    same bits for any number of them.

    Raises:
        ValueError: for wrong shapes or an unknown backend.
    """
    n = means.shape[0]
    for name, value, shape in (
        ("means", means, (n, 3)),
        ("quats", quats, (n, 4)),
        ("scales", scales, (n, 3)),
        ("opacities", opacities, (n,)),
        ("colors", colors, (n, colors.shape[-1])),
        ("w2c", w2c, (4, 4)),
        ("K", K, (3, 3)),
    ):
        if value.shape != shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, not {shape}")
    if width < 1 or height < 1 or colors.shape[1] < 1:
        raise ValueError(f"nothing to draw: {width} x {height} pixels, {colors.shape[1]} channels")
    if backend == "auto":
        backend = choose_drawing().backend if means.is_cuda else "cpu"
    # Each backend brings a heavy import (numba, gsplat, Warp): only the one in use is loaded.
    if backend == "cpu":
        from restage4d.splatting.cpu import rasterize as draw
    elif backend == "gsplat":
        from restage4d.splatting.gsplat_backend import rasterize as draw
    elif backend == "warp":
        from restage4d.splatting.warp_backend import rasterize as draw
    elif backend == "reference":
        from restage4d.splatting.reference import rasterize as draw
    else:
        raise ValueError(f"backend {backend!r} is none of {', '.join(BACKENDS)}")
    return draw(
        means, quats, scales, opacities, colors, w2c, K, width, height, near=near, eps2d=eps2d
    )


__all__ = ["BACKENDS", "choose_drawing", "drawing_device", "prepare_drawing", "rasterize"]
