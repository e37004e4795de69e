"""The CPU backend: `restage4d.render.kernels` as two differentiable steps, so that means2d stands in the graph between them."""

from typing import Any

import numpy as np
import torch
from numba import get_num_threads
from torch import Tensor

from restage4d.render import kernels

_CAMERA_BLOCKS = 64  # partial sums of the camera's gradient: a fixed number, so that threads do not change its bits


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, w2c, K, width, height, near, eps2d):
        n = len(means)
        means2d, shape = torch.empty(n, 2), torch.empty(n, 3)
        depths, radii = torch.empty(n), torch.empty(n, dtype=torch.int32)
        camera = _array(w2c).astype(np.float64), _array(K).astype(np.float64)
        gaussians = _array(means), _array(quats), _array(scales)
        kernels.project(
            *gaussians, _array(opacities), *camera, width, height, near, eps2d,
            _array(means2d), _array(shape), _array(depths), _array(radii),
        )  # fmt: skip
        ctx.save_for_backward(means, quats, scales, radii)
        ctx.camera = camera, width, height, eps2d
        ctx.mark_non_differentiable(radii)
        return means2d, shape, depths, radii

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_means2d, v_shape, v_depths, _v_radii):
        means, quats, scales, radii = ctx.saved_tensors
        camera, width, height, eps2d = ctx.camera
        v_means, v_quats, v_scales = torch.empty_like(means), torch.empty_like(quats), torch.empty_like(scales)
        v_w2c = np.empty((_CAMERA_BLOCKS, 3, 4))
        kernels.project_backward(
            _array(means), _array(quats), _array(scales), *camera, width, height, eps2d, _array(radii),
            _array(v_means2d.contiguous()), _array(v_shape.contiguous()), _array(v_depths.contiguous()),
            _array(v_means), _array(v_quats), _array(v_scales), v_w2c,
        )  # fmt: skip
        v_camera = torch.zeros(4, 4)
        v_camera[:3] = torch.from_numpy(v_w2c.sum(0))
        return v_means, v_quats, v_scales, None, v_camera, None, None, None, None, None


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means2d, shape, opacities, colors, depths, radii, width, height):
        gaussians = _array(means2d), _array(shape), _array(opacities), _array(colors)
        order = kernels.depth_order(_array(depths).view(np.uint32), _array(radii))
        first_slot, slot_gaussian, slot_rows, first_entry, entries = kernels.bin_slots(
            *gaussians[:3], _array(radii), order, width, height
        )
        image = torch.empty(colors.shape[1], height, width)
        T, last = torch.empty(height, width), np.empty((height, width), np.int32)
        kernels.draw(
            get_num_threads(),
            width,
            height,
            first_entry,
            entries,
            slot_gaussian,
            slot_rows,
            *gaussians,
            _array(image),
            _array(T),
            last,
        )
        ctx.save_for_backward(means2d, shape, opacities, colors, T)
        ctx.slots = width, height, first_slot, slot_gaussian, slot_rows, first_entry, entries
        ctx.last = last
        return image.permute(1, 2, 0), 1 - T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_image, v_alpha):
        means2d, shape, opacities, colors, T = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (means2d, shape, opacities, colors)]
        # Gradients come with whatever strides the loss left: the kernel takes any, as numpy views.
        kernels.draw_backward(
 get_num_threads(),            *ctx.slots, _array(means2d), _array(shape), _array(opacities), _array(colors), _array(T), ctx.last,
            _array(v_image.permute(2, 0, 1)), _array(v_alpha), *map(_array, grads),
        )  # fmt: skip
        return *grads, None, None, None, None


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
