"""The backend in NVIDIA Warp, which compiles its kernels by itself: for an NVIDIA GPU where no CUDA
toolkit is, and, for tests, for a CPU."""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.io.content_cache import Cache
from restage4d.splatting.constants import EPS2D

_BLOCK = 256  # threads that work side by side where nothing is summed over them


@cache
def _warp() -> Any:
    """The library; it keeps its compiled kernels in a folder of this project."""
    import warp as wp  # pyright: ignore[reportMissingImports]

    wp.config.log_level = wp.LOG_ERROR
    wp.config.kernel_cache_dir = str(Cache().folder / "warp")
    wp.init()
    return wp


@cache
def _kernels() -> tuple[Any, Any]:
    """The modules of the kernels: `projection` and `drawing`."""
    _warp()
    from restage4d.splatting.warp_backend import drawing, projection

    return projection, drawing


def find_missing() -> str:
    """What Warp lacks to draw on the GPU; "" where nothing is known to be missing. Compiles
    nothing."""
    if not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU"
    if find_spec("warp") is None:
        return 'Warp is not installed: pip install "restage4d[cuda]"'
    return ""


@cache
def obstacle() -> str:
    """Why Warp cannot draw on the GPU; "" where it can. Its kernels are compiled at the first call
    on a machine, and kept in the folder of this project's cache."""
    if missing := find_missing():
        return missing
    try:
        if not _warp().is_cuda_available():
            return "Warp cannot use the GPU: update NVIDIA's driver"
        compile_kernels("cuda")
    except Exception as error:  # Warp, its compiler and the driver raise what they like
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"Warp's kernels could not be compiled: {first}"
    return ""


def compile_kernels(device: str) -> None:
    """Compiles all kernels for ``device`` ("cuda" or "cpu") and loads them; from the cache where
    they lie there."""
    for module in _kernels():
        _warp().load_module(module.__name__, device=device)


def _launch(kernel: Any, dim: int, like: Tensor, *args: Any, block: int = 0) -> None:
    """Runs a kernel on the device and in the stream of ``like``."""
    wp = _warp()
    stream = None
    if like.is_cuda:
        stream = _stream(like.device.index, torch.cuda.current_stream(like.device).cuda_stream)
    wp.launch(
        kernel,
        dim,
        args,
        device=wp.device_from_torch(like.device),
        stream=stream,
        block_dim=block or _BLOCK,
        record_tape=False,
    )


@cache
def _stream(device: int, pointer: int) -> Any:
    wp = _warp()
    return wp.Stream(f"cuda:{device}", cuda_stream=pointer)


def _array(tensor: Tensor, dtype: Any) -> Any:
    return _warp().from_torch(tensor.detach(), dtype=dtype, requires_grad=False)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, w2c, K, width, height, near, eps2d):
        wp, (projection, _) = _warp(), _kernels()
        n = len(means)
        means2d, shape = means.new_zeros(n, 2), means.new_zeros(n, 3)
        depths, records = means.new_zeros(n), means.new_zeros(n, 8)
        radii, room = means.new_zeros(2, n, dtype=torch.int32)
        _launch(
            projection.project, n, means, *_geometry(means, quats, scales),
            _array(opacities, wp.float32), _array(w2c, wp.float32), _array(K, wp.float32),
            width, height, near, eps2d, _array(means2d, wp.vec2f), _array(shape, wp.vec3f),
            _array(depths, wp.float32), _array(radii, wp.int32), _array(records, projection.Record),
            _array(room, wp.int32),
        )  # fmt: skip
        ctx.save_for_backward(means, quats, scales, w2c, K, radii)
        ctx.camera = width, height, eps2d
        ctx.mark_non_differentiable(radii, records, room)
        return means2d, shape, depths, radii, records, room

    @staticmethod
    @once_differentiable
    def backward(ctx, v_means2d, v_shape, v_depths, *_):
        wp, (projection, _) = _warp(), _kernels()
        means, quats, scales, w2c, K, radii = ctx.saved_tensors
        n = len(means)
        grads = [torch.zeros_like(x) for x in (means, quats, scales)]
        v_w2c = means.new_zeros(1, 12, dtype=torch.float64)
        _launch(
            projection.project_backward, -(-n // _BLOCK) * _BLOCK, means, n,
            *_geometry(means, quats, scales), _array(w2c, wp.float32), _array(K, wp.float32),
            *ctx.camera, _array(radii, wp.int32), _array(v_means2d.contiguous(), wp.vec2f),
            _array(v_shape.contiguous(), wp.vec3f), _array(v_depths.contiguous(), wp.float32),
            ctx.needs_input_grad[4], *_geometry(*grads), _array(v_w2c, projection.Sums),
        )  # fmt: skip
        v_camera = torch.zeros_like(w2c)
        v_camera[:3] = v_w2c.reshape(3, 4)
        return *grads, None, v_camera, None, None, None, None, None


def _geometry(means: Tensor, quats: Tensor, scales: Tensor) -> list[Any]:
    wp = _warp()
    return [_array(means, wp.vec3f), _array(quats, wp.vec4f), _array(scales, wp.vec3f)]


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means2d, shape, opacities, colors, depths, records, room, width, height):
        wp, (projection, drawing) = _warp(), _kernels()
        lists = _list_entries(depths, records, room, width, height)
        tiles_x, tiles = _tiles(width, height)
        pixels = tiles * drawing.PIXELS
        light, last = colors.new_empty(pixels), colors.new_empty(pixels, dtype=torch.int32)
        alpha = colors.new_empty(height, width)
        pieces = []
        for piece in _pieces(colors):
            d = drawing.make_kernels(piece.shape[1])
            drawn = colors.new_empty(height * width, piece.shape[1])
            _launch(
                d.draw, pixels, colors, width, height, tiles_x, _array(lists[0], wp.int64),
                _array(lists[1], wp.int32), _array(records, projection.Record),
                _array(piece, d.Colour), _array(drawn, d.Colour),
                _array(alpha.view(-1), wp.float32), _array(light, wp.float32),
                _array(last, wp.int32),
            )  # fmt: skip
            pieces.append(drawn)
        ctx.save_for_backward(shape, opacities, colors, records, light, last, *lists)
        image = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)
        return image[:, : colors.shape[1]].reshape(height, width, -1), alpha

    @staticmethod
    @once_differentiable
    def backward(ctx, v_image, v_alpha):
        wp, (projection, drawing) = _warp(), _kernels()
        shape, opacities, colors, records, light, last, starts, gaussians = ctx.saved_tensors
        height, width = v_alpha.shape
        tiles_x, _ = _tiles(width, height)
        v_cover = v_alpha.contiguous().view(-1)
        v_pixels = v_image.reshape(height * width, -1)
        geometry, v_colors = colors.new_zeros(len(colors), drawing.GEOMETRY), []
        for piece, v_piece in zip(_pieces(colors), _pieces(v_pixels), strict=True):
            d = drawing.make_kernels(piece.shape[1])
            rows = colors.new_zeros(len(colors), drawing.GEOMETRY + piece.shape[1])
            _launch(
                d.draw_backward, len(last), colors, width, height, tiles_x,
                _array(starts, wp.int64), _array(gaussians, wp.int32),
                _array(records, projection.Record), _array(piece, d.Colour),
                _array(light, wp.float32), _array(last, wp.int32), _array(v_piece, d.Colour),
                _array(v_cover, wp.float32), _array(rows, d.Row), block=drawing.WARP,
            )  # fmt: skip
            # The gradient is linear in what is drawn: alpha's counts once, the channels' add up.
            geometry = geometry + rows[:, : drawing.GEOMETRY]
            v_colors.append(rows[:, drawing.GEOMETRY :])
            v_cover = torch.zeros_like(v_cover)
        s0, su, sY, suu, suY, sYY = geometry.unbind(1)
        a, k, h = shape.unbind(1)
        v_means2d = torch.stack([-a * su, -(a * k * su + h * sY)], 1)
        v_shape = torch.stack([0.5 * suu, a * suY, 0.5 * sYY], 1)
        v_opacities = torch.where(s0 == 0, 0, -s0 / opacities)
        v_colors = torch.cat(v_colors, 1)[:, : colors.shape[1]]
        return v_means2d, v_shape, v_opacities, v_colors, None, None, None, None, None


def _tiles(width: int, height: int) -> tuple[int, int]:
    """Tiles in a row of the image, and in all."""
    side = _kernels()[0].TILE
    return -(-width // side), -(-width // side) * -(-height // side)


def _pieces(channels: Tensor) -> list[Tensor]:
    """Columns (N, C) in as few pieces as the kernels' numbers of channels allow, the last one
    filled up with 0."""
    few, many = _kernels()[1].WIDTHS
    pieces = []
    for piece in channels.detach().split(many, 1):
        width = few if piece.shape[1] <= few else many
        missing = width - piece.shape[1]
        pieces.append(
            torch.nn.functional.pad(piece, (0, missing)) if missing else piece.contiguous()
        )
    return pieces


def _list_entries(
    depths: Tensor, records: Tensor, room: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Where each tile's entries begin, int64 (tiles + 1,), and each entry's Gaussian, int32."""
    wp, (projection, _) = _warp(), _kernels()
    tiles_x, n_tiles = _tiles(width, height)
    order = depths.argsort(stable=True)
    ends = room[order].cumsum(0)
    # The one wait for the GPU: how long the lists are. Never empty, which Warp does not take.
    total = max(int(ends[-1]), 1)
    kind = torch.int16 if n_tiles < 2**15 else torch.int32
    tiles = torch.full((total,), n_tiles, dtype=torch.int32, device=depths.device)
    gaussians = torch.zeros(total, dtype=torch.int32, device=depths.device)
    _launch(
        projection.list_entries, len(order), depths, width, height, tiles_x,
        _array(order, wp.int64), _array(ends, wp.int64), _array(records, projection.Record),
        _array(tiles, wp.int32), _array(gaussians, wp.int32),
    )  # fmt: skip
    # int16 where it is enough: a radix sort of half as many digits.
    tiles, by_tile = tiles.to(kind).sort(stable=True)
    edges = torch.arange(n_tiles + 1, dtype=kind, device=depths.device)
    return torch.searchsorted(tiles, edges), gaussians[by_tile]


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
    """`restage4d.splatting.rasterize` with Warp. Takes float32 tensors, on a GPU or on the CPU."""
    if len(means) == 0:
        image = colors.new_zeros(height, width, colors.shape[1]) + colors.sum()
        info = {
            "means2d": means[:, :2] * 1,
            "radii": means.new_zeros(0, dtype=torch.int32),
            "depths": means[:, 2] * 1,
        }
        return image, image.detach()[..., 0] * 0, info
    means, quats, scales, opacities, colors, w2c, K = (
        x.float().contiguous() for x in (means, quats, scales, opacities, colors, w2c, K)
    )
    means2d, shape, depths, radii, records, room = _Project.apply(
        means, quats, scales, opacities, w2c, K, int(width), int(height), float(near), float(eps2d)
    )
    image, alpha = _Draw.apply(
        means2d, shape, opacities, colors, depths.detach(), records, room, int(width), int(height)
    )
    return image, alpha, {"means2d": means2d, "radii": radii, "depths": depths}
