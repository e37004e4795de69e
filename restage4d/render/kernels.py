"""Drawing projected Gaussians and its gradient, in numba. See `restage4d.render.projection` for a footprint's ``shape``.

The image is cut into tiles of `TILE` rows of `LANES` pixels: one vector per row. An "entry" is one Gaussian in one tile;
entries are listed tile by tile, nearest first. A tile draws its entries one after the other, each on the rows it covers,
with the transmittance of all its pixels in an array. The backward pass walks the list from its end and writes one gradient
row per entry; a Gaussian then sums its own in a fixed order: no atomics, and the same bits for any number of threads.

In the drawing's units a pixel sees log2(alpha) = brightness - a' (X + k Y)^2 - h' Y^2, and is drawn where this is above
-`FAINTEST`. A "record" is what drawing needs of a Gaussian: x, y, -a', k, -h', brightness, and two floats of padding.
"""

import numpy as np
from numba import njit, prange

from restage4d.render.constants import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from restage4d.render.simd import (
    LANES,
    at,
    both,
    choose,
    exp2,
    fma,
    greatest,
    least,
    load,
    prefetch,
    ramp,
    reaches,
    some,
    spread,
    store,
    take,
    total,
)

TILE = 16
PIXELS = TILE * LANES
RECORD = 8
GEOMETRY = 6  # columns of a gradient row before the colours
SEGMENTS = 32  # parts into which the depth order is cut for listing entries in parallel
AHEAD = 6  # entries between asking for a record and using it
HALF_LOG2_E = 0.5 * 1.4426950408889634
FAINTEST = np.log2(1 / MIN_ALPHA)
ZERO, ONE = np.float32(0), np.float32(1)


@njit(cache=True)
def depth_order(bits, radii):
    """Indices of the Gaussians with a radius, nearest first, by a stable radix sort of positive floats' bits (N,) uint32."""
    n = 0
    for radius in radii:
        n += radius > 0
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    j = 0
    for i in range(len(radii)):
        if radii[i] > 0:
            order[j] = i
            j += 1
    start = np.empty(2048, np.int64)
    for shift in (0, 11, 22):
        start[:] = 0
        for i in order:
            start[(bits[i] >> shift) & 2047] += 1
        total_ = 0
        for digit in range(2048):
            start[digit], total_ = total_, total_ + start[digit]
        for i in order:
            digit = (bits[i] >> shift) & 2047
            other[start[digit]] = i
            start[digit] += 1
        order, other = other, order
    return order


@njit(cache=True, error_model="numpy")
def _pack_segment(begin, end, width, height, means2d, shape, opacities, radii, records, room):
    """Writes records, and in ``room`` (N,) how many tiles the box around each footprint holds."""
    for i in range(begin, end):
        room[i] = 0
        if radii[i] == 0:
            continue
        x, y = np.float64(means2d[i, 0]), np.float64(means2d[i, 1])
        a, k, h = HALF_LOG2_E * shape[i, 0], np.float64(shape[i, 1]), HALF_LOG2_E * shape[i, 2]
        brightness = np.log2(np.float64(opacities[i]))
        records[RECORD * i], records[RECORD * i + 1] = x, y
        records[RECORD * i + 2], records[RECORD * i + 3], records[RECORD * i + 4] = -a, k, -h
        records[RECORD * i + 5] = brightness
        q = brightness + FAINTEST  # the footprint is a (X + k Y)^2 + h Y^2 < q
        rx, ry = np.sqrt(q * (1 / a + k * k / h)), np.sqrt(q / h)
        left, right = _tiles(x - rx, x + rx, width, LANES)
        top, bottom = _tiles(y - ry, y + ry, height, TILE)
        room[i] = max(right - left, 0) * max(bottom - top, 0)


@njit(cache=True)
def _tiles(low, high, size, tile):
    """First and past-the-last tile with a pixel centre between two places; a hair more, the drawing decides exactly."""
    first, last = np.ceil(max(low - 0.501, 0.0)), np.floor(min(high - 0.499, size - 1.0))
    return (int(first) // tile, int(last) // tile + 1) if last >= first else (0, 0)


@njit(cache=True, error_model="numpy")
def _list_worker(counter, width, height, order, records, first_slot, slots, slot_tile, slot_rows, counts):
    """Finds each Gaussian's tiles. A slot is a place for an entry, numbered Gaussian by Gaussian."""
    tiles_x = (width + LANES - 1) // LANES
    while True:
        segment = take(counter)
        if segment >= SEGMENTS:
            return
        for r in range(segment * len(order) // SEGMENTS, (segment + 1) * len(order) // SEGMENTS):
            ahead = np.int64(at(order, min(r + AHEAD, len(order) - 1)))
            prefetch(records, RECORD * ahead)
            prefetch(first_slot, ahead)
            i = order[r]
            x, y = np.float64(records[RECORD * i]), np.float64(records[RECORD * i + 1])
            a, k, h = (
                -np.float64(records[RECORD * i + 2]),
                np.float64(records[RECORD * i + 3]),
                -np.float64(records[RECORD * i + 4]),
            )
            q = records[RECORD * i + 5] + FAINTEST
            c = a * k * k + h
            rx, ry = np.sqrt(q * (1 / a + k * k / h)), np.sqrt(q / h)
            first, stop = _tiles(x - rx, x + rx, width, LANES)
            slot = first_slot[i]
            for column in range(first, stop):
                left = column * LANES + 0.5 - x
                right = left + LANES - 1
                # The footprint is highest at X = -k ry and lowest at k ry, or where the column of tiles cuts it off.
                high, low = ry, -ry
                if not (left <= -k * ry <= right):
                    X = left if -k * ry < left else right
                    high = (np.sqrt(max(c * q - a * h * X * X, 0.0)) - a * k * X) / c
                if not (left <= k * ry <= right):
                    X = left if k * ry < left else right
                    low = (-np.sqrt(max(c * q - a * h * X * X, 0.0)) - a * k * X) / c
                top = int(np.ceil(max(y + low - 0.501, 0.0)))
                bottom = int(np.floor(min(y + high - 0.499, height - 1.0)))
                if bottom < top:
                    continue
                for row in range(top // TILE, bottom // TILE + 1):
                    if slot < first_slot[i + 1]:
                        tile = row * tiles_x + column
                        slot_tile[slot] = tile
                        slot_rows[slot] = max(top - row * TILE, 0) | (min(bottom + 1 - row * TILE, TILE) << 8)
                        counts[segment, tile] += 1
                        slot += 1
            slots[i] = slot - first_slot[i]


@njit(cache=True)
def _enter_worker(counter, order, first_slot, slots, slot_tile, slot_rows, free, slot_entry, entry_gaussian, entry_rows):
    """Moves the slots to their tiles; ``free`` (SEGMENTS, tiles) is where each segment's next entry of a tile goes."""
    while True:
        segment = take(counter)
        if segment >= SEGMENTS:
            return
        for r in range(segment * len(order) // SEGMENTS, (segment + 1) * len(order) // SEGMENTS):
            ahead = np.int64(at(order, min(r + 2 * AHEAD, len(order) - 1)))
            prefetch(first_slot, ahead)
            prefetch(slots, ahead)
            ahead = at(first_slot, np.int64(at(order, min(r + AHEAD, len(order) - 1))))
            prefetch(slot_tile, ahead)
            prefetch(slot_rows, ahead)
            i = order[r]
            for slot in range(first_slot[i], first_slot[i] + slots[i]):
                tile = slot_tile[slot]
                entry = free[segment, tile]
                free[segment, tile] = entry + 1
                slot_entry[slot] = entry
                entry_gaussian[entry] = i
                entry_rows[entry] = slot_rows[slot]


@njit(cache=True, parallel=True)
def list_entries(workers, width, height, means2d, shape, opacities, radii, order):
    """Cuts every Gaussian into entries.

    Returns:
        records: (N * RECORD,)
        first_slot, slots: (N + 1,), (N,) a Gaussian's slots are ``first_slot[i] : first_slot[i] + slots[i]``.
        slot_entry: the entry of a slot.
        first_entry: (tiles + 1,) a tile's entries.
        entry_gaussian, entry_rows: the Gaussian; its first row in the tile + 256 x the row after its last.
    """
    n = len(radii)
    tiles = ((width + LANES - 1) // LANES) * ((height + TILE - 1) // TILE)
    records, room = np.empty(n * RECORD, np.float32), np.empty(n, np.int32)
    for s in prange(SEGMENTS):
        _pack_segment(s * n // SEGMENTS, (s + 1) * n // SEGMENTS, width, height, means2d, shape, opacities, radii, records, room)
    first_slot, slots = np.empty(n + 1, np.int64), np.zeros(n, np.int32)
    first_slot[0] = 0
    for i in range(n):
        first_slot[i + 1] = first_slot[i] + room[i]
    n_slots = first_slot[n]
    slot_tile, slot_rows, slot_entry = np.empty(n_slots, np.int32), np.empty(n_slots, np.int32), np.empty(n_slots, np.int32)
    counter = np.zeros(2, np.int64)
    counts = np.zeros((SEGMENTS, tiles), np.int32)
    for _ in prange(workers):
        _list_worker(counter[:1], width, height, order, records, first_slot, slots, slot_tile, slot_rows, counts)
    first_entry = np.empty(tiles + 1, np.int64)
    entry = 0
    for tile in range(tiles):
        first_entry[tile] = entry
        for segment in range(SEGMENTS):
            counts[segment, tile], entry = entry, entry + counts[segment, tile]
    first_entry[tiles] = entry
    entry_gaussian, entry_rows = np.empty(entry, np.int32), np.empty(entry, np.int32)
    for _ in prange(workers):
        _enter_worker(counter[1:], order, first_slot, slots, slot_tile, slot_rows, counts, slot_entry, entry_gaussian, entry_rows)
    return records, first_slot, slots, slot_entry, first_entry, entry_gaussian, entry_rows


@njit(cache=True)
def aligned(n):
    """Uninitialised float32 (n,) that starts at a cache line, so that no vector straddles two."""
    buffer = np.empty(n + 16, np.float32)
    start = (-buffer.ctypes.data // 4) % 16
    return buffer[start : start + n]


@njit(cache=True, error_model="numpy")
def _draw_tile(left, top, begin, end, entry_gaussian, entry_rows, records, colors, channels, base, T, last, image):
    """Draws one tile into image (PIXELS * channels,), T and last from ``base`` on; a stopped pixel's T is negative."""
    for y in range(TILE):
        store(T, base + y * LANES, ONE)
        store(last, base + y * LANES, np.int32(-1))
    for p in range(0, PIXELS * channels, LANES):
        store(image, p, ZERO)
    columns = ramp(np.float32(left + 0.5))
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
        X = columns - at(records, g)
        Y0 = first_row - at(records, g + 1)
        a, k, h, brightness = at(records, g + 2), at(records, g + 3), at(records, g + 4), at(records, g + 5)
        for y in range(rows & 255, rows >> 8):
            Y = Y0 + np.float32(y)
            u = X + k * Y
            log_alpha = fma(u * u, a, brightness + h * Y * Y)
            alpha = least(exp2(log_alpha), np.float32(MAX_ALPHA))
            t = load(T, base + y * LANES)
            after = fma(t, spread(ZERO) - alpha, t)
            seen = log_alpha > np.float32(-FAINTEST)
            drawn = both(seen, after > np.float32(MIN_TRANSMITTANCE))
            # A pixel that stops keeps its transmittance with the sign turned, so that nothing passes the test again.
            store(T, base + y * LANES, choose(drawn, after, choose(seen, least(t, spread(ZERO) - t), t)))
            if not some(drawn):
                continue
            store(last, base + y * LANES, choose(drawn, np.int32(j), load(last, base + y * LANES)))
            weight = choose(drawn, alpha * t, ZERO)
            p = y * channels * LANES
            for c in range(channels):
                store(image, p, fma(weight, at(colors, channels * i + c), load(image, p)))
                p += LANES


@njit(cache=True)
def _draw_worker(
    counter, width, height, first_entry, entry_gaussian, entry_rows, records, colors, channels, image, alpha, T, last
):
    tiles_x, tiles = (width + LANES - 1) // LANES, len(first_entry) - 1
    drawn = aligned(PIXELS * channels)
    while True:
        tile = take(counter)
        if tile >= tiles:
            return
        left, top, base = tile % tiles_x * LANES, tile // tiles_x * TILE, tile * PIXELS
        _draw_tile(
            left, top, first_entry[tile], first_entry[tile + 1], entry_gaussian, entry_rows, records, colors, channels,
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
                    store(image, c * height * width + pixel, load(drawn, (y * channels + c) * LANES))
            else:
                for x in range(width - left):
                    alpha[pixel + x] = ONE - T[base + y * LANES + x]
                    for c in range(channels):
                        image[c * height * width + pixel + x] = drawn[(y * channels + c) * LANES + x]


@njit(cache=True, parallel=True)
def draw(workers, width, height, first_entry, entry_gaussian, entry_rows, records, colors, channels, image, alpha, T, last):
    """Fills image (C * H * W,), alpha (H * W,) and, tile by tile, T and last (tiles * PIXELS,): what light is left, and the
    last entry that the pixel saw, or -1. ``colors`` is (N * C,)."""
    counter = np.zeros(1, np.int64)
    for _ in prange(workers):
        _draw_worker(
            counter, width, height, first_entry, entry_gaussian, entry_rows, records, colors, channels, image, alpha, T, last
        )


@njit(cache=True, error_model="numpy")
def _draw_tile_backward(
    left, top, begin, stop, entry_gaussian, entry_rows, records, colors, channels, last, T, behind, v_pixels, v_colors, v_entries
):
    """Walks a tile's entries ``begin:stop`` from the back and writes their gradient rows.

    v_pixels: per row of pixels, dL/dalpha and then dL/dcolour, channel by channel. T: what light is left, taken back Gaussian
    by Gaussian. behind: dL/dcolour . colour of what lies behind the current Gaussian.
    """
    base = 0
    for y in range(TILE):
        store(behind, y * LANES, ZERO)
    columns = ramp(np.float32(left + 0.5))
    first_row = np.float32(top + 0.5)
    zero = spread(ZERO)
    for j in range(stop - 1, begin - 1, -1):
        ahead = at(entry_gaussian, max(j - AHEAD, begin))
        prefetch(records, RECORD * ahead)
        for c in range(0, channels, 16):
            prefetch(colors, channels * ahead + c)
        i = np.int64(at(entry_gaussian, j))
        rows = at(entry_rows, j)
        g = RECORD * i
        X = columns - at(records, g)
        Y0 = first_row - at(records, g + 1)
        a, k, h, brightness = at(records, g + 2), at(records, g + 3), at(records, g + 4), at(records, g + 5)
        s0 = su = sY = suu = suY = sYY = zero
        for c in range(channels):
            store(v_colors, c * LANES, ZERO)
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
                store(v_colors, c * LANES, fma(v, weight, load(v_colors, c * LANES)))
            rest = load(behind, y * LANES)
            store(behind, y * LANES, fma(weight, dot, rest))
            v_alpha = before * dot - rest * inverse
            v_sigma = choose(both(drawn, unclamped <= np.float32(MAX_ALPHA)), zero - alpha * v_alpha, ZERO)
            v_u = v_sigma * u
            s0, su, suu = s0 + v_sigma, su + v_u, fma(v_u, u, suu)
            sY, sYY, suY = fma(v_sigma, Y, sY), fma(v_sigma, Y * Y, sYY), fma(v_u, Y, suY)
        row = j * (GEOMETRY + channels)
        v_entries[row], v_entries[row + 1], v_entries[row + 2] = total(s0), total(su), total(sY)
        v_entries[row + 3], v_entries[row + 4], v_entries[row + 5] = total(suu), total(suY), total(sYY)
        for c in range(channels):
            v_entries[row + GEOMETRY + c] = total(load(v_colors, c * LANES))


@njit(cache=True)
def _backward_worker(
    counter,
    width,
    height,
    first_entry,
    entry_gaussian,
    entry_rows,
    records,
    colors,
    channels,
    T,
    last,
    v_image,
    v_alpha,
    v_entries,
):
    tiles_x, tiles = (width + LANES - 1) // LANES, len(first_entry) - 1
    t_last, t_T, behind = aligned(PIXELS).view(np.int32), aligned(PIXELS), aligned(PIXELS)
    v_pixels, v_colors = aligned(PIXELS * (channels + 1)), aligned(channels * LANES)
    while True:
        tile = take(counter)
        if tile >= tiles:
            return
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
        for p in range(stop * (GEOMETRY + channels), first_entry[tile + 1] * (GEOMETRY + channels)):
            v_entries[p] = 0
        _draw_tile_backward(
            left, top, begin, stop, entry_gaussian, entry_rows, records, colors, channels,
            t_last, t_T, behind, v_pixels, v_colors, v_entries,
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _sum_segment(
    begin, end, first_slot, slots, slot_entry, shape, opacities, channels, v_entries, v_means2d, v_shape, v_opacities, v_colors
):
    """Sums each Gaussian's gradient rows."""
    for i in range(begin, end):
        s0 = su = sY = suu = suY = sYY = ZERO
        for c in range(channels):
            v_colors[channels * i + c] = 0
        for slot in range(first_slot[i], first_slot[i] + slots[i]):
            ahead = np.int64(at(slot_entry, min(slot + 4 * AHEAD, len(slot_entry) - 1))) * (GEOMETRY + channels)
            prefetch(v_entries, ahead)
            prefetch(v_entries, ahead + GEOMETRY + channels - 1)
            row = np.int64(slot_entry[slot]) * (GEOMETRY + channels)
            s0, su, sY = s0 + v_entries[row], su + v_entries[row + 1], sY + v_entries[row + 2]
            suu, suY, sYY = suu + v_entries[row + 3], suY + v_entries[row + 4], sYY + v_entries[row + 5]
            for c in range(channels):
                v_colors[channels * i + c] += v_entries[row + GEOMETRY + c]
        a, k, h = shape[i, 0], shape[i, 1], shape[i, 2]
        v_means2d[i, 0], v_means2d[i, 1] = -a * su, -(a * k * su + h * sY)
        v_shape[i, 0], v_shape[i, 1], v_shape[i, 2] = np.float32(0.5) * suu, a * suY, np.float32(0.5) * sYY
        v_opacities[i] = -s0 / opacities[i] if slots[i] > 0 else ZERO


@njit(cache=True, parallel=True)
def draw_backward(
    workers, width, height, records, first_slot, slots, slot_entry, first_entry, entry_gaussian, entry_rows,
    shape, opacities, colors, channels, T, last, v_image, v_alpha, v_means2d, v_shape, v_opacities, v_colors,
):  # fmt: skip
    """Gradient of `draw` given v_image (C * H * W,) and v_alpha (H * W,)."""
    counter = np.zeros(1, np.int64)
    v_entries = np.empty(len(entry_gaussian) * (GEOMETRY + channels), np.float32)
    for _ in prange(workers):
        _backward_worker(
            counter, width, height, first_entry, entry_gaussian, entry_rows, records, colors, channels, T, last,
            v_image, v_alpha, v_entries,
        )  # fmt: skip
    n = len(opacities)
    for s in prange(SEGMENTS):
        _sum_segment(
            s * n // SEGMENTS, (s + 1) * n // SEGMENTS, first_slot, slots, slot_entry, shape, opacities, channels,
            v_entries, v_means2d, v_shape, v_opacities, v_colors,
        )  # fmt: skip
