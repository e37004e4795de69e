"""The backend of gsplat 1.5.3, for an NVIDIA GPU beside a CUDA toolkit: step by step as its
`rasterization` does, so that means2d (N, 2) stands in the graph."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restage4d.splatting.constants import EPS2D, FAR, QUAT_EPS

_TILE = 16
_NO_TOOLKIT = "gsplat finds no CUDA toolkit (nvcc) to compile its kernels with"


def find_missing() -> str:
    """What gsplat lacks to draw on the GPU; "" where nothing is known to be missing. Compiles
    nothing."""
    if not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU"
    package = find_spec("gsplat")
    if package is None:
        return 'gsplat is not installed: pip install "restage4d[cuda]"'
    ready = any(
        next(Path(place).glob("csrc*"), None) for place in package.submodule_search_locations or ()
    )
    return "" if ready or find_toolkit() else _NO_TOOLKIT


def find_toolkit() -> str | None:
    """Where the CUDA toolkit is, which compiles gsplat's kernels."""
    from torch.utils.cpp_extension import CUDA_HOME

    return CUDA_HOME


@cache
def obstacle() -> str:
    """Why gsplat cannot draw here; "" where it can. Its kernels are compiled at the first call on a
    machine: minutes."""
    if missing := find_missing():
        return missing
    try:
        from gsplat.cuda._backend import _C  # pyright: ignore[reportMissingImports]
    except Exception as error:  # nvcc, the host's compiler and torch's loader raise what they like
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"gsplat's kernels could not be compiled: {first}"
    return "" if _C else _NO_TOOLKIT


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
    eps2d: float = EPS2D,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """`restage4d.splatting.rasterize` with gsplat. Takes float32 CUDA tensors."""
    import gsplat  # pyright: ignore[reportMissingImports]  # compiles its kernels at first use

    n = len(means)
    if n == 0:  # gsplat cannot
        empty = colors.new_zeros(height, width, colors.shape[1]) + colors.sum()
        info = {
            "means2d": means[:, :2] * 1,
            "radii": means.new_zeros(0, dtype=torch.int32),
            "depths": means[:, 2] * 1,
        }
        return empty, empty[..., 0], info
    # Unlike the other backends gsplat draws NaN opacities and makes NaN of zero quaternions.
    opacities = opacities.nan_to_num(nan=0.0)
    identity = quats.new_tensor([1.0, 0.0, 0.0, 0.0])
    quats = torch.where(quats.norm(dim=-1, keepdim=True) < QUAT_EPS, identity, quats)
    box, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        means, None, quats, scales, w2c[None], K[None], width, height,
        eps2d=eps2d, near_plane=near, far_plane=FAR, opacities=opacities,
    )  # fmt: skip
    drawn = (box[0] > 0).all(-1)  # other rows were never written
    means2d, conics = (
        torch.where(drawn[:, None], means2d[0], 0),
        torch.where(drawn[:, None], conics[0], 0),
    )
    depths = torch.where(drawn, depths[0], 0)
    tiles = -(-width // _TILE), -(-height // _TILE)
    _, isect_ids, flatten_ids = gsplat.isect_tiles(means2d[None], box, depths[None], _TILE, *tiles)
    offsets = gsplat.isect_offset_encode(isect_ids, 1, *tiles)
    image, alpha = gsplat.rasterize_to_pixels(
        means2d[None],
        conics[None],
        colors[None],
        opacities[None],
        width,
        height,
        _TILE,
        offsets,
        flatten_ids,
    )
    radii = torch.where(drawn, box[0].amax(-1), 0).to(torch.int32)
    return image[0], alpha[0, ..., 0], {"means2d": means2d, "radii": radii, "depths": depths}
