"""The CPU backend: the numba kernels as two differentiable steps, so that means2d stands in the graph between them."""

from typing import Any

import numpy as np
import torch
from numba import get_num_threads
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.render import kernels, projection


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _flat(tensor: Tensor) -> np.ndarray:
    return _array(tensor).reshape(-1)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, w2c, K, width, height, near, eps2d):
        n = len(means)
        means2d, shape = torch.empty(n, 2), torch.empty(n, 3)
        depths, radii = torch.empty(n), torch.empty(n, dtype=torch.int32)
        camera = _array(w2c).astype(np.float64), _array(K).astype(np.float64), width, height
        projection.project(
            _array(means), _array(quats), _array(scales), _array(opacities), *camera, near, eps2d,
            _array(means2d), _array(shape), _array(depths), _array(radii),
        )  # fmt: skip
        ctx.save_for_backward(means, quats, scales, radii)
        ctx.camera = *camera, eps2d
        ctx.mark_non_differentiable(radii)
        return means2d, shape, depths, radii

    @staticmethod
    @once_differentiable
    def backward(ctx, v_means2d, v_shape, v_depths, _v_radii):
        means, quats, scales, radii = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (means, quats, scales)]
        v_w2c = np.empty((projection.BLOCKS, 3, 4))
        projection.project_backward(
            _array(means), _array(quats), _array(scales), *ctx.camera, _array(radii),
            _array(v_means2d), _array(v_shape), _array(v_depths), *map(_array, grads), v_w2c,
        )  # fmt: skip
        v_camera = torch.zeros(4, 4)
        v_camera[:3] = torch.from_numpy(v_w2c.sum(0))
        return *grads, None, v_camera, None, None, None, None, None


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means2d, shape, opacities, colors, depths, radii, width, height):
        channels = colors.shape[1]
        size = get_num_threads(), width, height
        order = kernels.depth_order(_array(depths).view(np.uint32), _array(radii))
        records, first_slot, slots, slot_entry, *entries = kernels.list_entries(
            *size, _array(means2d), _array(shape), _array(opacities), _array(radii), order
        )
        tiles = len(entries[0]) - 1
        T, last = kernels.aligned(tiles * kernels.PIXELS), kernels.aligned(tiles * kernels.PIXELS).view(np.int32)
        image, alpha = torch.empty(channels, height, width), torch.empty(height, width)
        kernels.draw(*size, *entries, records, _flat(colors), channels, _flat(image), _flat(alpha), T, last)
        ctx.save_for_backward(shape, opacities, colors)
        ctx.lists = width, height, records, first_slot, slots, slot_entry, *entries
        ctx.pixels = T, last
        return image.permute(1, 2, 0), alpha

    @staticmethod
    @once_differentiable
    def backward(ctx, v_image, v_alpha):
        shape, opacities, colors = ctx.saved_tensors
        v_means2d, v_shape = torch.empty(len(shape), 2), torch.empty_like(shape)
        v_opacities, v_colors = torch.empty_like(opacities), torch.empty_like(colors)
        kernels.draw_backward(
            get_num_threads(), *ctx.lists, _array(shape), _array(opacities), _flat(colors), colors.shape[1], *ctx.pixels,
            _flat(v_image.permute(2, 0, 1)), _flat(v_alpha),
            _array(v_means2d), _array(v_shape), _array(v_opacities), _flat(v_colors),
        )  # fmt: skip
        return v_means2d, v_shape, v_opacities, v_colors, None, None, None, None


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
    """`restage4d.render.rasterize` with numba. Takes float32 tensors on the CPU."""
    means, quats, scales, opacities, colors = (x.float().contiguous() for x in (means, quats, scales, opacities, colors))
    means2d, shape, depths, radii = _Project.apply(
        means, quats, scales, opacities, w2c, K, int(width), int(height), float(near), float(eps2d)
    )
    image, alpha = _Draw.apply(means2d, shape, opacities, colors, depths.detach(), radii, int(width), int(height))
    return image, alpha, {"means2d": means2d, "radii": radii, "depths": depths}
