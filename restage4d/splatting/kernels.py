"""Drawing projected Gaussians and its gradient, in numba. See `restage4d.splatting.projection` for
a footprint's ``shape``.

The image is cut into tiles of `TILE` rows of `LANES` pixels: one vector per row. An "entry" is one
Gaussian in one tile; entries are listed tile by tile, nearest first. A tile draws its entries one
after the other, each on the rows it covers, with the transmittance of all its pixels in an array.
The backward pass walks the list from its end and writes one gradient row per entry; a Gaussian then
sums its own in a fixed order: no atomics, and the same bits for any number of threads.

A pixel sees log2(alpha) = log2(opacity) - a' (X + k Y)^2 - h' Y^2, a' and h' being a and h in such
units, and is drawn where this is above -`FAINTEST`. Functions with a ``counter`` run on several
threads at once and share out their work through it.
"""

import numpy as np

from restage4d.splatting.constants import MAX_ALPHA, MIN_TRANSMITTANCE
from restage4d.splatting.projection import (
    FAINTEST,
    PARTS,
    RECORD,
    TILE,
)
from restage4d.splatting.simd import (
    LANES,
    at,
    both,
    choose,
    count,
    counted,
    exp2,
    fma,
    greatest,
    kernel,
    least,
    load,
    prefetch,
    ramp,
    reaches,
    some,
    spread,
    store,
    totals,
)

PIXELS = TILE * LANES
GEOMETRY = 6  # columns of a gradient row before the colours
AHEAD = 6  # entries between asking for a record and using it
ZERO, ONE = np.float32(0), np.float32(1)


@kernel
def aligned(n):
    """Uninitialised float32 (n,) that starts at a cache line, so that no vector straddles two."""
    buffer = np.empty(n + 16, np.float32)
    start = (-buffer.ctypes.data // 4) % 16
    return buffer[start : start + n]


@kernel
def finished(counter, parts):
    """Waits a moment, less than waking a thread takes, for other threads' last parts; tells whether
    all are done."""
    looks = 0
    while counted(counter, 1) < parts and looks < 20_000:
        looks += 1
    return looks < 20_000


@kernel
def _draw_tile(
    left,
    top,
    begin,
    end,
    entry_gaussian,
    entry_rows,
    records,
    colors,
    channels,
    base,
    T,
    last,
    image,
):
    """Draws one tile into image (PIXELS * channels,), T and last from ``base`` on; a stopped
    pixel's T is negative."""
    for y in range(TILE):
        store(T, base + y * LANES, ONE)
        store(last, base + y * LANES, np.int32(-1))
    for p in range(0, PIXELS * channels, LANES):
        store(image, p, ZERO)
    across = ramp(np.float32(left + 0.5))
    first_row = np.float32(top + 0.5)
    for j in range(begin, end):
        if (j - begin) % 16 == 15:
            open_ = load(T, base)
            for y in range(1, TILE):
                open_ = greatest(open_, load(T, base + y * LANES))
            if not some(open_ > ZERO):
                break
        ahead = at(entry_gaussian, min(j + AHEAD, end - 1))
        prefetch(records, RECORD * ahead)
        for c in range(0, channels, 16):
            prefetch(colors, channels * ahead + c)
        i = np.int64(at(entry_gaussian, j))
        rows = at(entry_rows, j)
        g = RECORD * i
        X = across - at(records, g)
        Y0 = first_row - at(records, g + 1)
        a, k, h, brightness = (
            at(records, g + 2),
            at(records, g + 3),
            at(records, g + 4),
            at(records, g + 5),
        )
        for y in range(rows & 255, rows >> 8):
            Y = Y0 + np.float32(y)
            u = X + k * Y
            log_alpha = fma(u * u, a, brightness + h * Y * Y)
            alpha = least(exp2(log_alpha), np.float32(MAX_ALPHA))
            t = load(T, base + y * LANES)
            after = fma(t, spread(ZERO) - alpha, t)
            seen = log_alpha > np.float32(-FAINTEST)
            drawn = both(seen, after > np.float32(MIN_TRANSMITTANCE))
            # A pixel that stops keeps its transmittance with the sign turned, so that nothing
            # passes the test again.
            store(
                T,
                base + y * LANES,
                choose(drawn, after, choose(seen, least(t, spread(ZERO) - t), t)),
            )
            if not some(drawn):
                continue
            store(last, base + y * LANES, choose(drawn, np.int32(j), load(last, base + y * LANES)))
            weight = choose(drawn, alpha * t, ZERO)
            p = y * channels * LANES
            for c in range(channels):
                store(image, p, fma(weight, at(colors, channels * i + c), load(image, p)))
                p += LANES


@kernel
def draw(
    counter,
    width,
    height,
    first_entry,
    entry_gaussian,
    entry_rows,
    records,
    colors,
    channels,
    image,
    alpha,
    T,
    last,
):
    """Fills image (C * H * W,), alpha (H * W,) and, tile by tile, T and last (tiles * PIXELS,):
    what light is left, and the last entry that a pixel shows, or -1. ``colors`` is (N * C,)."""
    tiles_x, tiles = (width + LANES - 1) // LANES, len(first_entry) - 1
    drawn = aligned(PIXELS * channels)
    while True:
        tile = count(counter, 0)
        if tile >= tiles:
            return tiles
        left, top, base = tile % tiles_x * LANES, tile // tiles_x * TILE, tile * PIXELS
        _draw_tile(
            left, top, first_entry[tile], first_entry[tile + 1], entry_gaussian, entry_rows,
            records, colors, channels,
            base, T, last, drawn,
        )  # fmt: skip
        for y in range(min(TILE, height - top)):
            t = load(T, base + y * LANES)
            t = greatest(t, spread(ZERO) - t)
            store(T, base + y * LANES, t)
            pixel = (top + y) * width + left
            if left + LANES <= width:
                store(alpha, pixel, ONE - t)
                for c in range(channels):
                    store(
                        image, c * height * width + pixel, load(drawn, (y * channels + c) * LANES)
                    )
            else:
                for x in range(width - left):
                    alpha[pixel + x] = ONE - T[base + y * LANES + x]
                    for c in range(channels):
                        image[c * height * width + pixel + x] = drawn[
                            (y * channels + c) * LANES + x
                        ]
        count(counter, 1)


@kernel
def _draw_tile_backward(
    left,
    top,
    begin,
    stop,
    entry_gaussian,
    entry_rows,
    records,
    colors,
    channels,
    last,
    T,
    behind,
    v_pixels,
    sums,
    v_entries,
):
    """Walks a tile's entries ``begin:stop`` from the back and writes their gradient rows.

    v_pixels: per row of pixels, dL/dalpha and then dL/dcolour, channel by channel. T: what light is
    left, taken back Gaussian by Gaussian. behind: dL/dcolour . colour of what lies behind the
    current Gaussian.
    """
    for y in range(TILE):
        store(behind, y * LANES, ZERO)
    across = ramp(np.float32(left + 0.5))
    first_row = np.float32(top + 0.5)
    zero = spread(ZERO)
    columns = len(sums) // LANES  # of a gradient row
    for j in range(stop - 1, begin - 1, -1):
        ahead = at(entry_gaussian, max(j - AHEAD, begin))
        prefetch(records, RECORD * ahead)
        for c in range(0, channels, 16):
            prefetch(colors, channels * ahead + c)
        i = np.int64(at(entry_gaussian, j))
        rows = at(entry_rows, j)
        g = RECORD * i
        X = across - at(records, g)
        Y0 = first_row - at(records, g + 1)
        a, k, h, brightness = (
            at(records, g + 2),
            at(records, g + 3),
            at(records, g + 4),
            at(records, g + 5),
        )
        s0 = su = sY = suu = suY = sYY = zero
        for c in range(channels):
            store(sums, (GEOMETRY + c) * LANES, ZERO)
        for y in range(rows & 255, rows >> 8):
            Y = Y0 + np.float32(y)
            u = X + k * Y
            log_alpha = fma(u * u, a, brightness + h * Y * Y)
            drawn = both(log_alpha > np.float32(-FAINTEST), reaches(load(last, y * LANES), j))
            if not some(drawn):
                continue
            unclamped = exp2(log_alpha)
            alpha = least(unclamped, np.float32(MAX_ALPHA))
            inverse = ONE / (ONE - alpha)
            t = load(T, y * LANES)
            before = t * inverse
            store(T, y * LANES, choose(drawn, before, t))
            weight = choose(drawn, alpha * before, ZERO)
            p = y * (channels + 1) * LANES
            dot = load(v_pixels, p)
            for c in range(channels):
                p += LANES
                v = load(v_pixels, p)
                dot = fma(v, at(colors, channels * i + c), dot)
                q = (GEOMETRY + c) * LANES
                store(sums, q, fma(v, weight, load(sums, q)))
            rest = load(behind, y * LANES)
            store(behind, y * LANES, fma(weight, dot, rest))
            v_alpha = before * dot - rest * inverse
            v_sigma = choose(
                both(drawn, unclamped <= np.float32(MAX_ALPHA)), zero - alpha * v_alpha, ZERO
            )
            v_u = v_sigma * u
            s0, su, suu = s0 + v_sigma, su + v_u, fma(v_u, u, suu)
            sY, sYY, suY = fma(v_sigma, Y, sY), fma(v_sigma, Y * Y, sYY), fma(v_u, Y, suY)
        store(sums, 0, s0)
        store(sums, LANES, su)
        store(sums, 2 * LANES, sY)
        store(sums, 3 * LANES, suu)
        store(sums, 4 * LANES, suY)
        store(sums, 5 * LANES, sYY)
        for column in range(0, columns, LANES):
            store(v_entries, j * columns + column, totals(sums, column * LANES))


@kernel
def gradient_columns(channels):
    """Length of a gradient row: `GEOMETRY`, the colours, and padding to whole vectors."""
    return (GEOMETRY + channels + LANES - 1) // LANES * LANES


@kernel
def draw_backward(
    counter, width, height, first_entry, entry_gaussian, entry_rows, records, colors, channels, T,
    last, v_image, v_alpha,
    v_entries,
):  # fmt: skip
    """Fills v_entries (entries * gradient_columns(C),) given v_image (C * H * W,) and v_alpha (H *
    W,)."""
    tiles_x, tiles = (width + LANES - 1) // LANES, len(first_entry) - 1
    t_last, t_T, behind = aligned(PIXELS).view(np.int32), aligned(PIXELS), aligned(PIXELS)
    v_pixels = aligned(PIXELS * (channels + 1))
    columns = gradient_columns(channels)
    sums = aligned(columns * LANES)
    sums[:] = 0
    while True:
        tile = count(counter, 0)
        if tile >= tiles:
            return tiles
        left, top, base = tile % tiles_x * LANES, tile // tiles_x * TILE, tile * PIXELS
        begin, stop = first_entry[tile], 0
        for p in range(PIXELS):
            t_T[p] = T[base + p]
            t_last[p] = last[base + p]
            stop = max(stop, last[base + p] + 1)
        stop = max(begin, stop)
        if left + LANES > width or top + TILE > height:
            v_pixels[:] = 0
        for y in range(min(TILE, height - top)):
            pixel, p = (top + y) * width + left, y * (channels + 1) * LANES
            if left + LANES <= width:
                store(v_pixels, p, load(v_alpha, pixel))
                for c in range(channels):
                    store(v_pixels, p + (c + 1) * LANES, load(v_image, c * height * width + pixel))
            else:
                for x in range(width - left):
                    v_pixels[p + x] = v_alpha[pixel + x]
                    for c in range(channels):
                        v_pixels[p + (c + 1) * LANES + x] = v_image[c * height * width + pixel + x]
        v_entries[stop * columns : first_entry[tile + 1] * columns] = 0
        _draw_tile_backward(
            left, top, begin, stop, entry_gaussian, entry_rows, records, colors, channels,
            t_last, t_T, behind, v_pixels, sums, v_entries,
        )  # fmt: skip
        count(counter, 1)


@kernel
def sum_entries(
    counter,
    first_slot,
    slots,
    slot_entry,
    shape,
    opacities,
    channels,
    v_entries,
    v_means2d,
    v_shape,
    v_opacities,
    v_colors,
):
    """Sums each Gaussian's gradient rows and turns them into gradients of what was drawn."""
    n, columns = len(opacities), gradient_columns(channels)
    sums = aligned(columns)
    while True:
        part = count(counter, 0)
        if part >= PARTS:
            return PARTS
        for i in range(part * n // PARTS, (part + 1) * n // PARTS):
            for column in range(0, columns, LANES):
                store(sums, column, ZERO)
            for slot in range(first_slot[i], first_slot[i] + slots[i]):
                ahead = (
                    np.int64(at(slot_entry, min(slot + 4 * AHEAD, len(slot_entry) - 1))) * columns
                )
                row = np.int64(at(slot_entry, slot)) * columns
                for column in range(0, columns, LANES):
                    prefetch(v_entries, ahead + column)
                    store(sums, column, load(sums, column) + load(v_entries, row + column))
            a, k, h = shape[i, 0], shape[i, 1], shape[i, 2]
            s0, su, sY, suu, suY, sYY = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
            v_means2d[i, 0], v_means2d[i, 1] = -a * su, -(a * k * su + h * sY)
            v_shape[i, 0], v_shape[i, 1], v_shape[i, 2] = (
                np.float32(0.5) * suu,
                a * suY,
                np.float32(0.5) * sYY,
            )
            v_opacities[i] = -s0 / opacities[i] if slots[i] > 0 else ZERO
            for c in range(channels):
                v_colors[channels * i + c] = sums[GEOMETRY + c]
        count(counter, 1)
