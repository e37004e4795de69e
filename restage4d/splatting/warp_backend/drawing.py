"""Drawing projected Gaussians and its gradient in NVIDIA Warp: the same code for a GPU and for a
CPU.

Pixels are numbered tile by tile and, within a tile, by blocks of 8 x 4, so that a warp of a GPU
works on a compact piece of the picture. A thread draws one pixel. Its gradients are summed over the
warp before they are added to the Gaussian's; on a CPU, where Warp runs one thread after another,
such a sum has one term.
"""

from functools import cache
from typing import Any, NamedTuple

import warp as wp

from restage4d.splatting import constants
from restage4d.splatting.warp_backend.projection import FAINTEST, TILE, Record

PIXELS = TILE * TILE
WARP = 32  # threads of a block that sums gradients
WIDTHS = (4, 8)  # channels drawn in one pass; more are drawn in several
GEOMETRY = 6  # sums of a pixel's gradients that a Gaussian's place, shape and opacity follow from

_MAX_ALPHA = wp.constant(constants.MAX_ALPHA)
_MIN_TRANSMITTANCE = wp.constant(constants.MIN_TRANSMITTANCE)
_TILE = wp.constant(TILE)
_PIXELS = wp.constant(PIXELS)


@wp.func
def _place(pixel: wp.int32, tiles_x: wp.int32):
    """Column and row of a pixel numbered tile by tile and, within, block of 8 x 4 by block."""
    tile, within = pixel / _PIXELS, pixel % _PIXELS
    block, lane = within / 32, within % 32
    return wp.vec2i(
        tile % tiles_x * _TILE + block % 2 * 8 + lane % 8,
        tile / tiles_x * _TILE + block / 2 * 4 + lane / 8,
    )


@wp.func
def _log_alpha(record: Record, u: wp.float32, Y: wp.float32):
    return record[5] - 0.5 * (record[2] * u * u + record[4] * Y * Y)


class DrawingKernels(NamedTuple):
    """The kernels for one number of channels, and their types of a pixel and of a gradient row."""

    draw: Any
    draw_backward: Any
    Colour: Any
    Row: Any


@cache
def make_kernels(channels: int) -> DrawingKernels:
    """The kernels that draw ``channels`` (of `WIDTHS`) at once."""
    Colour = wp.types.vector(length=channels, dtype=wp.float32)
    Row = wp.types.vector(length=GEOMETRY + channels, dtype=wp.float32)

    @wp.kernel(enable_backward=False)
    def draw(
        width: wp.int32,
        height: wp.int32,
        tiles_x: wp.int32,
        starts: wp.array[wp.int64],
        gaussians: wp.array[wp.int32],
        records: wp.array[Record],
        colors: wp.array[Colour],
        image: wp.array[Colour],
        alpha: wp.array[wp.float32],
        transmittance: wp.array[wp.float32],
        last: wp.array[wp.int32],
    ):
        """Fills image and alpha (H * W,) and, tile by tile, transmittance: what light is left, and
        last: the last entry that a pixel shows, or -1."""
        pixel = wp.tid()
        place = _place(pixel, tiles_x)
        light, seen = wp.float32(1.0), wp.int32(-1)
        sums = Colour()
        if place[0] < width and place[1] < height:
            tile = pixel / _PIXELS
            x, y = wp.float32(place[0]) + 0.5, wp.float32(place[1]) + 0.5
            for j in range(wp.int32(starts[tile]), wp.int32(starts[tile + 1])):
                i = gaussians[j]
                record = records[i]
                Y = y - record[1]
                exponent = _log_alpha(record, x - record[0] + record[3] * Y, Y)
                if exponent > -FAINTEST:
                    a = wp.min(wp.exp(exponent), _MAX_ALPHA)
                    after = light * (1.0 - a)
                    if after <= _MIN_TRANSMITTANCE:
                        break
                    sums += a * light * colors[i]
                    light = after
                    seen = j
            image[place[1] * width + place[0]] = sums
            alpha[place[1] * width + place[0]] = 1.0 - light
        transmittance[pixel] = light
        last[pixel] = seen

    @wp.kernel(enable_backward=False)
    def draw_backward(
        width: wp.int32,
        height: wp.int32,
        tiles_x: wp.int32,
        starts: wp.array[wp.int64],
        gaussians: wp.array[wp.int32],
        records: wp.array[Record],
        colors: wp.array[Colour],
        transmittance: wp.array[wp.float32],
        last: wp.array[wp.int32],
        v_image: wp.array[Colour],
        v_alpha: wp.array[wp.float32],
        v_rows: wp.array[Row],
    ):
        """Adds to v_rows (N,), launched in blocks of `WARP`: sums over pixels of the gradient by
        sigma times 1, u, Y, u^2, u Y, Y^2, with u = X + k Y, and the gradients by the colours."""
        pixel = wp.tid()
        place = _place(pixel, tiles_x)
        light, seen = wp.float32(transmittance[pixel]), wp.int32(last[pixel])
        v_pixel = Colour()
        v_cover = wp.float32(0.0)
        if place[0] < width and place[1] < height:
            v_pixel = v_image[place[1] * width + place[0]]
            v_cover = v_alpha[place[1] * width + place[0]]
        x, y = wp.float32(place[0]) + 0.5, wp.float32(place[1]) + 0.5
        behind = wp.float32(0.0)  # dL/dcolour . colour of what lies behind the current Gaussian
        # The same for the whole block, as all its threads meet in every sum.
        start = wp.int32(starts[pixel / _PIXELS])
        stop = wp.tile_max(wp.tile(seen))[0] + 1
        for back in range(stop - start):
            j = stop - 1 - back
            i = gaussians[j]
            record = records[i]
            Y = y - record[1]
            u = x - record[0] + record[3] * Y
            exponent = _log_alpha(record, u, Y)
            row = Row()
            drawn = wp.int32(0)
            if exponent > -FAINTEST and j <= seen:
                drawn = 1
                unclamped = wp.exp(exponent)
                a = wp.min(unclamped, _MAX_ALPHA)
                inverse = 1.0 / (1.0 - a)
                light = light * inverse
                weight = a * light
                dot = v_cover + wp.dot(v_pixel, colors[i])
                v_a = light * dot - behind * inverse
                behind += weight * dot
                v_sigma = wp.float32(0.0)
                if unclamped <= _MAX_ALPHA:
                    v_sigma = -a * v_a
                row[0] = v_sigma
                row[1] = v_sigma * u
                row[2] = v_sigma * Y
                row[3] = v_sigma * u * u
                row[4] = v_sigma * u * Y
                row[5] = v_sigma * Y * Y
                for c in range(wp.static(channels)):
                    row[wp.static(GEOMETRY) + c] = weight * v_pixel[c]
            if wp.tile_max(wp.tile(drawn))[0] > 0:
                total = wp.tile_sum(wp.tile(row, preserve_type=True))
                wp.tile_atomic_add(v_rows, total, offset=(i,))

    return DrawingKernels(draw, draw_backward, Colour, Row)


for _width in WIDTHS:  # all kernels belong to the module before it is compiled
    make_kernels(_width)
