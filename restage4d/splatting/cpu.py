"""The CPU backend: the numba kernels as two differentiable steps, so that means2d stands in the
graph between them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import cpu_count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.splatting import binning, kernels, projection
from restage4d.splatting.constants import EPS2D


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cpu_count(), "render")


def _share(kernel: Callable[..., int], *args) -> None:
    """Runs a kernel on as many threads as torch uses. They take parts of the work in turn, so a
    slow one holds up nothing."""
    counter = np.zeros(2, np.int64)
    others = [_pool().submit(kernel, counter, *args) for _ in range(torch.get_num_threads() - 1)]
    parts = kernel(counter, *args)
    if others and not kernels.finished(counter, parts):
        for other in others:
            if not other.cancel():  # one that has not started yet has nothing left to do
                other.result()


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
        records, room = (np.empty(n * projection.RECORD, np.float32), np.empty(n, np.int32))
        camera = (_array(w2c).astype(np.float64), _array(K).astype(np.float64), width, height)
        _share(
            projection.project, _array(means), _array(quats), _array(scales), _array(opacities),
            *camera, near, eps2d,
            _array(means2d), _array(shape), _array(depths), _array(radii), records, room,
        )  # fmt: skip
        ctx.save_for_backward(means, quats, scales, radii)
        ctx.camera = *camera, eps2d
        ctx.mark_non_differentiable(radii)
        return means2d, shape, depths, radii, records, room

    @staticmethod
    @once_differentiable
    def backward(ctx, v_means2d, v_shape, v_depths, *_):
        means, quats, scales, radii = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in (means, quats, scales)]
        v_w2c = np.empty((projection.PARTS, 3, 4))
        _share(
            projection.project_backward, _array(means), _array(quats), _array(scales), *ctx.camera,
            _array(radii),
            _array(v_means2d), _array(v_shape), _array(v_depths), ctx.needs_input_grad[4],
            *map(_array, grads), v_w2c,
        )  # fmt: skip
        v_camera = torch.zeros(4, 4)
        v_camera[:3] = torch.from_numpy(v_w2c.sum(0))
        return *grads, None, v_camera, None, None, None, None, None


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, means2d, shape, opacities, colors, depths, radii, records, room, width, height
    ):
        n, channels = colors.shape
        tiles = -(-width // kernels.LANES) * -(-height // kernels.TILE)
        order, first_slot = binning.order_slots(_array(depths).view(np.uint32), _array(radii), room)
        slots = np.zeros(n, np.int32)
        slot_tile, slot_rows, slot_entry = np.empty((3, first_slot[-1]), np.int32)
        counts = np.zeros((projection.PARTS, tiles), np.int32)
        _share(
            binning.find_slots,
            width,
            height,
            order,
            records,
            first_slot,
            slots,
            slot_tile,
            slot_rows,
            counts,
        )
        first_entry = binning.place_entries(counts)
        entry_gaussian, entry_rows = np.empty((2, first_entry[-1]), np.int32)
        _share(
            binning.fill_entries,
            order,
            first_slot,
            slots,
            slot_tile,
            slot_rows,
            counts,
            slot_entry,
            entry_gaussian,
            entry_rows,
        )
        lists = width, height, first_entry, entry_gaussian, entry_rows, records
        image, alpha = torch.empty(channels, height, width), torch.empty(height, width)
        T, last = (
            kernels.aligned(tiles * kernels.PIXELS),
            kernels.aligned(tiles * kernels.PIXELS).view(np.int32),
        )
        _share(kernels.draw, *lists, _flat(colors), channels, _flat(image), _flat(alpha), T, last)
        ctx.save_for_backward(shape, opacities, colors)
        ctx.drawing = lists, (first_slot, slots, slot_entry), (T, last)
        return image.permute(1, 2, 0), alpha

    @staticmethod
    @once_differentiable
    def backward(ctx, v_image, v_alpha):
        shape, opacities, colors = ctx.saved_tensors
        lists, slots, pixels = ctx.drawing
        channels = colors.shape[1]
        grads = (
            torch.empty(len(shape), 2),
            torch.empty_like(shape),
            torch.empty_like(opacities),
            torch.empty_like(colors),
        )
        v_entries = kernels.aligned(len(lists[3]) * kernels.gradient_columns(channels))
        _share(
            kernels.draw_backward, *lists, _flat(colors), channels, *pixels,
            _flat(v_image.permute(2, 0, 1)), _flat(v_alpha),
            v_entries,
        )  # fmt: skip
        _share(
            kernels.sum_entries, *slots, _array(shape), _array(opacities), channels, v_entries,
            *map(_array, grads[:3]), _flat(grads[3]),
        )  # fmt: skip
        return *grads, None, None, None, None, None, None


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
    """`restage4d.splatting.rasterize` with numba. Takes float32 tensors on the CPU."""
    means, quats, scales, opacities, colors = (
        x.float().contiguous() for x in (means, quats, scales, opacities, colors)
    )
    means2d, shape, depths, radii, records, room = _Project.apply(
        means, quats, scales, opacities, w2c, K, int(width), int(height), float(near), float(eps2d)
    )
    image, alpha = _Draw.apply(
        means2d,
        shape,
        opacities,
        colors,
        depths.detach(),
        radii,
        records,
        room,
        int(width),
        int(height),
    )
    return image, alpha, {"means2d": means2d, "radii": radii, "depths": depths}
