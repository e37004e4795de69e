"""The CUDA backend: gsplat 1.5.3."""

from typing import Any

from torch import Tensor


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    w2c: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    near: float = 0.01,
    eps2d: float = 0.3,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """`restage4d.render.rasterize` by ``gsplat.rasterization``, whose batch of one camera is taken off again."""
    from gsplat import rasterization  # pyright: ignore[reportMissingImports]

    image, alpha, meta = rasterization(
        means, quats, scales, opacities, colors, w2c[None], K[None], width, height,
        near_plane=near, eps2d=eps2d, packed=False, render_mode="RGB",
    )  # fmt: skip
    return image[0], alpha[0, ..., 0], meta
