"""The CPU renderer's numba kernels: projection, binning into tiles, drawing and its gradient.

A Gaussian's footprint on the image is kept as ``shape`` = (a, k, h): with X, Y the pixel's offset from the mean,
sigma = (a (X + k Y)^2 + h Y^2) / 2 and alpha = opacity exp(-sigma). This is the usual conic (a, b = a k, c = a k^2 + h), but
a sum of two squares: it cannot turn negative by rounding, and along a row only the first square varies.

Tiles are `TILE` rows of 16 pixels, one vector per row. A "slot" is one tile of one Gaussian; slots are numbered Gaussian by
Gaussian, so that the backward pass writes one gradient row per slot and a Gaussian sums its own: no atomics, and the same
bits for any number of threads.
"""

import numpy as np
from numba import njit, prange

from restage4d.render.constants import FAR, FOV_MARGIN, MAX_ALPHA, MAX_EXTENT, MIN_ALPHA, MIN_TRANSMITTANCE, QUAT_EPS
from restage4d.render.simd import (
    LANES,
    both,
    choose,
    exp2,
    fma,
    greatest,
    least,
    load,
    ramp,
    reaches,
    some,
    spread,
    store,
    total,
)

TILE = 16  # rows per tile
PIXELS = TILE * LANES
GEOMETRY = 6  # columns of a gradient row before the colours
LOG2_E = 1.4426950408889634
FAINTEST = np.log2(1 / MIN_ALPHA)  # alpha >= MIN_ALPHA is -log2(alpha) <= FAINTEST


@njit(cache=True, inline="always")
def _rotation(qw, qx, qy, qz):
    w, x, y, z = np.float64(qw), np.float64(qx), np.float64(qy), np.float64(qz)
    length = max(np.sqrt(w * w + x * x + y * y + z * z), QUAT_EPS)
    w, x, y, z = w / length, x / length, y / length, z / length
    return (
        length, w, x, y, z,
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@njit(cache=True, parallel=True, error_model="numpy")
def project(means, quats, scales, opacities, w2c, K, width, height, near, eps2d, means2d, shape, depths, radii):
    """EWA projection in float64, stored as float32. Fills means2d (N, 2), shape (N, 3), depths (N,), radii (N,)."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FOV_MARGIN * 0.5 * width / fx, FOV_MARGIN * 0.5 * height / fy
    low_x, high_x = -cx / fx - margin_x, (width - cx) / fx + margin_x
    low_y, high_y = -cy / fy - margin_y, (height - cy) / fy + margin_y
    for i in prange(means.shape[0]):
        means2d[i, :] = 0
        shape[i, :] = 0
        depths[i] = 0
        radii[i] = 0
        px, py, pz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        x = w2c[0, 0] * px + w2c[0, 1] * py + w2c[0, 2] * pz + w2c[0, 3]
        y = w2c[1, 0] * px + w2c[1, 1] * py + w2c[1, 2] * pz + w2c[1, 3]
        z = w2c[2, 0] * px + w2c[2, 1] * py + w2c[2, 2] * pz + w2c[2, 3]
        opacity = np.float64(opacities[i])
        if not (z >= near and z <= FAR and opacity >= MIN_ALPHA):  # also catches NaN
            continue
        u, v = fx * x / z + cx, fy * y / z + cy
        xz, yz = min(max(x / z, low_x), high_x), min(max(y / z, low_y), high_y)
        _, _, _, _, _, r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3])
        A = B = C = 0.0
        for axis in range(3):  # cov2d = sum over the Gaussian's axes of (J R axis)(J R axis)^T
            s = np.float64(scales[i, axis])
            ex, ey, ez = (r00, r10, r20) if axis == 0 else ((r01, r11, r21) if axis == 1 else (r02, r12, r22))
            gx = s * (w2c[0, 0] * ex + w2c[0, 1] * ey + w2c[0, 2] * ez)
            gy = s * (w2c[1, 0] * ex + w2c[1, 1] * ey + w2c[1, 2] * ez)
            gz = s * (w2c[2, 0] * ex + w2c[2, 1] * ey + w2c[2, 2] * ez)
            jx, jy = fx / z * (gx - xz * gz), fy / z * (gy - yz * gz)
            A += jx * jx
            B += jx * jy
            C += jy * jy
        A += eps2d
        C += eps2d
        det = A * C - B * B
        if not (det > 0 and det < 1e30 and abs(u) < 1e9 and abs(v) < 1e9):
            continue
        extent = min(MAX_EXTENT, np.sqrt(2 * np.log(opacity / MIN_ALPHA)))
        rx, ry = np.ceil(extent * np.sqrt(A)), np.ceil(extent * np.sqrt(C))
        if rx <= 0 or ry <= 0 or u + rx <= 0 or u - rx >= width or v + ry <= 0 or v - ry >= height:
            continue
        means2d[i, 0], means2d[i, 1] = u, v
        shape[i, 0], shape[i, 1], shape[i, 2] = C / det, -B / C, 1 / C
        depths[i] = z
        radii[i] = np.int32(max(rx, ry))


@njit(cache=True, parallel=True, error_model="numpy")
def project_backward(
    means, quats, scales, w2c, K, width, height, eps2d, radii, v_means2d, v_shape, v_depths, v_means, v_quats, v_scales, v_w2c
):
    """Gradient of `project`. ``v_w2c`` is (B, 3, 4): one partial sum per block of Gaussians, the blocks fixed by B alone."""
    n = means.shape[0]
    blocks = v_w2c.shape[0]
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FOV_MARGIN * 0.5 * width / fx, FOV_MARGIN * 0.5 * height / fy
    low_x, high_x = -cx / fx - margin_x, (width - cx) / fx + margin_x
    low_y, high_y = -cy / fy - margin_y, (height - cy) / fy + margin_y
    for block in prange(blocks):
        cam = np.zeros((3, 4))
        rot, v_rot, g, v_g = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3))
        for i in range(block * n // blocks, (block + 1) * n // blocks):
            v_means[i, :] = 0
            v_quats[i, :] = 0
            v_scales[i, :] = 0
            if radii[i] == 0:
                continue
            px, py, pz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
            x = w2c[0, 0] * px + w2c[0, 1] * py + w2c[0, 2] * pz + w2c[0, 3]
            y = w2c[1, 0] * px + w2c[1, 1] * py + w2c[1, 2] * pz + w2c[1, 3]
            z = w2c[2, 0] * px + w2c[2, 1] * py + w2c[2, 2] * pz + w2c[2, 3]
            xz, yz = min(max(x / z, low_x), high_x), min(max(y / z, low_y), high_y)
            jx, jy = fx / z, fy / z
            length, qw, qx, qy, qz, r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(
                quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
            )
            rot[0, 0], rot[0, 1], rot[0, 2] = r00, r01, r02
            rot[1, 0], rot[1, 1], rot[1, 2] = r10, r11, r12
            rot[2, 0], rot[2, 1], rot[2, 2] = r20, r21, r22
            A, B, C = np.float64(eps2d), 0.0, np.float64(eps2d)
            for axis in range(3):
                for row in range(3):  # g: the Gaussian's scaled axes in the camera, as columns
                    g[row, axis] = np.float64(scales[i, axis]) * (
                        w2c[row, 0] * rot[0, axis] + w2c[row, 1] * rot[1, axis] + w2c[row, 2] * rot[2, axis]
                    )
                ax, ay = jx * (g[0, axis] - xz * g[2, axis]), jy * (g[1, axis] - yz * g[2, axis])
                A += ax * ax
                B += ax * ay
                C += ay * ay
            det = A * C - B * B
            # shape = (C / det, -B / C, 1 / C)
            va, vk, vh = np.float64(v_shape[i, 0]), np.float64(v_shape[i, 1]), np.float64(v_shape[i, 2])
            vA = -va * C * C / (det * det)
            vB = va * 2 * B * C / (det * det) - vk / C
            vC = -va * B * B / (det * det) + vk * B / (C * C) - vh / (C * C)
            v_jx = v_jy = v_xz = v_yz = 0.0
            for axis in range(3):
                ax0, ay0 = g[0, axis] - xz * g[2, axis], g[1, axis] - yz * g[2, axis]
                ax, ay = jx * ax0, jy * ay0
                v_ax, v_ay = 2 * vA * ax + vB * ay, 2 * vC * ay + vB * ax
                v_jx += v_ax * ax0
                v_jy += v_ay * ay0
                v_ax *= jx
                v_ay *= jy
                v_xz -= v_ax * g[2, axis]
                v_yz -= v_ay * g[2, axis]
                v_g[0, axis], v_g[1, axis], v_g[2, axis] = v_ax, v_ay, -xz * v_ax - yz * v_ay
            vu, vv = np.float64(v_means2d[i, 0]), np.float64(v_means2d[i, 1])
            # u = jx x + cx; the centre itself is never clamped
            v_x, v_y = vu * jx, vv * jy
            v_jx += vu * x
            v_jy += vv * y
            v_z = np.float64(v_depths[i]) - (v_jx * jx + v_jy * jy) / z
            if x / z >= low_x and x / z <= high_x:
                v_x += v_xz / z
                v_z -= v_xz * x / (z * z)
            if y / z >= low_y and y / z <= high_y:
                v_y += v_yz / z
                v_z -= v_yz * y / (z * z)
            v_means[i, 0] = w2c[0, 0] * v_x + w2c[1, 0] * v_y + w2c[2, 0] * v_z
            v_means[i, 1] = w2c[0, 1] * v_x + w2c[1, 1] * v_y + w2c[2, 1] * v_z
            v_means[i, 2] = w2c[0, 2] * v_x + w2c[1, 2] * v_y + w2c[2, 2] * v_z
            for row in range(3):
                v_row = v_x if row == 0 else (v_y if row == 1 else v_z)
                cam[row, 0] += v_row * px
                cam[row, 1] += v_row * py
                cam[row, 2] += v_row * pz
                cam[row, 3] += v_row
            for axis in range(3):
                s = np.float64(scales[i, axis])
                vs = 0.0
                for col in range(3):
                    v_e = w2c[0, col] * v_g[0, axis] + w2c[1, col] * v_g[1, axis] + w2c[2, col] * v_g[2, axis]
                    vs += v_e * rot[col, axis]
                    v_rot[col, axis] = v_e * s
                    for row in range(3):
                        cam[row, col] += v_g[row, axis] * s * rot[col, axis]
                v_scales[i, axis] = vs
            vw = 2 * (qx * (v_rot[2, 1] - v_rot[1, 2]) + qy * (v_rot[0, 2] - v_rot[2, 0]) + qz * (v_rot[1, 0] - v_rot[0, 1]))
            vx = 2 * (
                -2 * qx * (v_rot[1, 1] + v_rot[2, 2])
                + qy * (v_rot[0, 1] + v_rot[1, 0])
                + qz * (v_rot[0, 2] + v_rot[2, 0])
                + qw * (v_rot[2, 1] - v_rot[1, 2])
            )
            vy = 2 * (
                qx * (v_rot[0, 1] + v_rot[1, 0])
                - 2 * qy * (v_rot[0, 0] + v_rot[2, 2])
                + qz * (v_rot[1, 2] + v_rot[2, 1])
                + qw * (v_rot[0, 2] - v_rot[2, 0])
            )
            vz = 2 * (
                qx * (v_rot[0, 2] + v_rot[2, 0])
                + qy * (v_rot[1, 2] + v_rot[2, 1])
                - 2 * qz * (v_rot[0, 0] + v_rot[1, 1])
                + qw * (v_rot[1, 0] - v_rot[0, 1])
            )
            along = vw * qw + vx * qx + vy * qy + vz * qz if length > QUAT_EPS else 0.0
            v_quats[i, 0] = (vw - along * qw) / length
            v_quats[i, 1] = (vx - along * qx) / length
            v_quats[i, 2] = (vy - along * qy) / length
            v_quats[i, 3] = (vz - along * qz) / length
        v_w2c[block] = cam


@njit(cache=True, error_model="numpy")
def _cover(mx, my, a, k, h, opacity, width, height, tiles_x, slot, slot_tile, slot_rows):
    """Counts the tiles that hold a pixel of the Gaussian's footprint; with ``slot`` >= 0, lists them and the rows in each."""
    q = 2 * np.log(opacity / MIN_ALPHA)  # the footprint is a (X + k Y)^2 + h Y^2 <= q
    c = a * k * k + h
    rx, ry = np.sqrt(q * (1 / a + k * k / h)), np.sqrt(q / h)
    slack = 1e-3  # pixels; the drawing decides exactly
    first = np.int64(np.ceil(max(mx - rx - 0.5 - slack, 0.0))) // LANES
    last = np.int64(np.floor(min(mx + rx - 0.5 + slack, width - 1.0))) // LANES
    count = 0
    for column in range(first, last + 1):
        left = column * LANES + 0.5 - mx
        right = left + LANES - 1
        # The footprint is highest at X = -k ry and lowest at k ry, or where the column of tiles cuts it off.
        high, low = ry, -ry
        if not (left <= -k * ry <= right):
            X = left if -k * ry < left else right
            high = (np.sqrt(max(c * q - a * h * X * X, 0.0)) - a * k * X) / c
        if not (left <= k * ry <= right):
            X = left if k * ry < left else right
            low = (-np.sqrt(max(c * q - a * h * X * X, 0.0)) - a * k * X) / c
        top = np.int64(np.ceil(max(my + low - 0.5 - slack, 0.0)))
        bottom = np.int64(np.floor(min(my + high - 0.5 + slack, height - 1.0)))
        if bottom < top:
            continue
        for row in range(top // TILE, bottom // TILE + 1):
            if slot >= 0:
                start, stop = max(top - row * TILE, 0), min(bottom + 1 - row * TILE, TILE)
                slot_tile[slot + count] = row * tiles_x + column
                slot_rows[slot + count] = start | (stop << 8)
            count += 1
    return count


@njit(cache=True)
def depth_order(bits, radii):
    """Indices of the Gaussians with a radius, nearest first, by a stable radix sort of positive floats' bits (N,) uint32."""
    n = 0
    for i in range(len(bits)):
        n += radii[i] > 0
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    j = 0
    for i in range(len(bits)):
        if radii[i] > 0:
            order[j] = i
            j += 1
    for shift in (0, 11, 22):
        start = np.zeros(2049, np.int64)
        for i in order:
            start[((bits[i] >> shift) & 2047) + 1] += 1
        start = np.cumsum(start)
        for i in order:
            digit = (bits[i] >> shift) & 2047
            other[start[digit]] = i
            start[digit] += 1
        order, other = other, order
    return order


@njit(cache=True, parallel=True, error_model="numpy")
def bin_slots(means2d, shape, opacities, radii, order, width, height):
    """Cuts every Gaussian into slots and lists each tile's, nearest first.

    Returns:
        first_slot: (N + 1,) a Gaussian's slots are ``first_slot[i]:first_slot[i + 1]``.
        slot_gaussian, slot_rows: (S,) the Gaussian of a slot; its first row in the tile + 256 x the row after its last.
        first_entry: (tiles + 1,) a tile's part of ``entries``.
        entries: (S,) slots by tile and depth.
    """
    n = len(radii)
    tiles_x, tiles_y = (width + LANES - 1) // LANES, (height + TILE - 1) // TILE
    none = np.empty(0, np.int32)
    first_slot = np.zeros(n + 1, np.int64)
    for i in prange(n):
        if radii[i] > 0:
            first_slot[i + 1] = _cover(
                np.float64(means2d[i, 0]), np.float64(means2d[i, 1]), np.float64(shape[i, 0]), np.float64(shape[i, 1]),
                np.float64(shape[i, 2]), np.float64(opacities[i]), width, height, tiles_x, -1, none, none,
            )  # fmt: skip
    first_slot = np.cumsum(first_slot)
    n_slots = first_slot[n]
    slot_gaussian, slot_tile, slot_rows = np.empty(n_slots, np.int32), np.empty(n_slots, np.int32), np.empty(n_slots, np.int32)
    for i in prange(n):
        if radii[i] > 0:
            slot_gaussian[first_slot[i] : first_slot[i + 1]] = i
            _cover(
                np.float64(means2d[i, 0]), np.float64(means2d[i, 1]), np.float64(shape[i, 0]), np.float64(shape[i, 1]),
                np.float64(shape[i, 2]), np.float64(opacities[i]), width, height, tiles_x, first_slot[i], slot_tile, slot_rows,
            )  # fmt: skip
    first_entry = np.zeros(tiles_x * tiles_y + 1, np.int64)
    for tile in slot_tile:
        first_entry[tile + 1] += 1
    first_entry = np.cumsum(first_entry)
    free = first_entry.copy()
    entries = np.empty(n_slots, np.int32)
    for i in order:
        for slot in range(first_slot[i], first_slot[i + 1]):
            tile = slot_tile[slot]
            entries[free[tile]] = slot
            free[tile] += 1
    return first_slot, slot_gaussian, slot_rows, first_entry, entries


@njit(cache=True, error_model="numpy")
def _draw_tile(left, top, begin, end, entries, slot_gaussian, slot_rows, means2d, shape, opacities, colors, T, last, image):
    """Draws one tile: T (PIXELS,) transmittance, negative where a pixel has stopped; ``last`` entry that counted; image."""
    channels = colors.shape[1]
    for y in range(TILE):
        store(T, y * LANES, np.float32(1))
        store(last, y * LANES, np.int32(-1))
    for p in range(0, PIXELS * channels, LANES):
        store(image, p, np.float32(0))
    columns = ramp(np.float32(left + 0.5))
    for j in range(begin, end):
        if (j - begin) % 16 == 15:
            open_ = load(T, 0)
            for y in range(1, TILE):
                open_ = greatest(open_, load(T, y * LANES))
            if not some(open_ > 0.0):
                break
        slot = entries[j]
        i = slot_gaussian[slot]
        rows = slot_rows[slot]
        X = columns - means2d[i, 0]
        Y0 = top + np.float32(0.5) - means2d[i, 1]
        a, k, h = np.float32(0.5 * LOG2_E) * shape[i, 0], shape[i, 1], np.float32(0.5 * LOG2_E) * shape[i, 2]
        brightness = np.float32(np.log2(opacities[i]))
        for y in range(rows & 255, rows >> 8):
            Y = Y0 + np.float32(y)
            u = X + k * Y
            log_alpha = fma(u * u, -a, brightness - h * Y * Y)
            alpha = least(exp2(log_alpha), np.float32(MAX_ALPHA))
            t = load(T, y * LANES)
            after = fma(t, spread(np.float32(0)) - alpha, t)
            seen = log_alpha > np.float32(-FAINTEST)
            drawn = both(seen, after > np.float32(MIN_TRANSMITTANCE))
            # A pixel that stops keeps its transmittance with the sign turned, so that nothing passes the test again.
            store(T, y * LANES, choose(drawn, after, choose(seen, least(t, spread(np.float32(0)) - t), t)))
            if not some(drawn):
                continue
            store(last, y * LANES, choose(drawn, np.int32(j), load(last, y * LANES)))
            weight = choose(drawn, alpha * t, np.float32(0))
            p = y * channels * LANES
            for c in range(channels):
                store(image, p, fma(weight, colors[i, c], load(image, p)))
                p += LANES


@njit(cache=True, parallel=True)
def draw(
    workers, width, height, first_entry, entries, slot_gaussian, slot_rows, means2d, shape, opacities, colors, image, T, last
):
    """Fills image (C, H, W), T (H, W): transmittance left, and last (H, W): the last entry of its tile a pixel used, or -1."""
    channels = colors.shape[1]
    tiles_x = (width + LANES - 1) // LANES
    tiles = len(first_entry) - 1
    for worker in prange(workers):
        t_T, t_last, t_image = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.int32), np.empty(PIXELS * channels, np.float32)
        for tile in range(worker, tiles, workers):
            left, top = tile % tiles_x * LANES, tile // tiles_x * TILE
            _draw_tile(
                left, top, first_entry[tile], first_entry[tile + 1], entries, slot_gaussian, slot_rows,
                means2d, shape, opacities, colors, t_T, t_last, t_image,
            )  # fmt: skip
            for y in range(min(TILE, height - top)):
                for x in range(min(LANES, width - left)):
                    T[top + y, left + x] = abs(t_T[y * LANES + x])
                    last[top + y, left + x] = t_last[y * LANES + x]
                for c in range(channels):
                    p = (y * channels + c) * LANES
                    for x in range(min(LANES, width - left)):
                        image[c, top + y, left + x] = t_image[p + x]


@njit(cache=True, error_model="numpy")
def _draw_tile_backward(
    left,
    top,
    begin,
    stop,
    entries,
    slot_gaussian,
    slot_rows,
    means2d,
    shape,
    opacities,
    colors,
    T,
    last,
    v_image,
    v_colors,
    v_slots,
):
    """Walks one tile's entries ``begin:stop`` from back to front and writes their gradient rows."""
    channels = colors.shape[1]
    behind = np.zeros(PIXELS, np.float32)  # dL/d(this pixel) . (what lies behind the current Gaussian)
    columns = ramp(np.float32(left + 0.5))
    zero = spread(np.float32(0))
    for j in range(stop - 1, begin - 1, -1):
        slot = entries[j]
        i = slot_gaussian[slot]
        rows = slot_rows[slot]
        X = columns - means2d[i, 0]
        Y0 = top + np.float32(0.5) - means2d[i, 1]
        a, k, h = np.float32(0.5 * LOG2_E) * shape[i, 0], shape[i, 1], np.float32(0.5 * LOG2_E) * shape[i, 2]
        brightness = np.float32(np.log2(opacities[i]))
        s0 = su = sY = suu = suY = sYY = zero
        for c in range(channels):
            store(v_colors, c * LANES, np.float32(0))
        for y in range(rows & 255, rows >> 8):
            Y = Y0 + np.float32(y)
            u = X + k * Y
            log_alpha = fma(u * u, -a, brightness - h * Y * Y)
            drawn = both(log_alpha > np.float32(-FAINTEST), reaches(load(last, y * LANES), j))
            if not some(drawn):
                continue
            unclamped = exp2(log_alpha)
            alpha = least(unclamped, np.float32(MAX_ALPHA))
            t = load(T, y * LANES)
            inverse = np.float32(1) / (np.float32(1) - alpha)
            before = t * inverse
            store(T, y * LANES, choose(drawn, before, t))
            weight = choose(drawn, alpha * before, np.float32(0))
            p = y * (channels + 1) * LANES
            dot = load(v_image, p)
            for c in range(channels):
                p += LANES
                v = load(v_image, p)
                dot = fma(v, colors[i, c], dot)
                store(v_colors, c * LANES, fma(v, weight, load(v_colors, c * LANES)))
            rest = load(behind, y * LANES)
            v_alpha = before * dot - rest * inverse
            store(behind, y * LANES, fma(weight, dot, rest))
            v_sigma = choose(both(drawn, unclamped <= np.float32(MAX_ALPHA)), zero - alpha * v_alpha, np.float32(0))
            v_u = v_sigma * u
            s0, su, suu = s0 + v_sigma, su + v_u, fma(v_u, u, suu)
            sY, sYY, suY = fma(v_sigma, Y, sY), fma(v_sigma, Y * Y, sYY), fma(v_u, Y, suY)
        v_slots[slot, 0], v_slots[slot, 1], v_slots[slot, 2] = total(s0), total(su), total(sY)
        v_slots[slot, 3], v_slots[slot, 4], v_slots[slot, 5] = total(suu), total(suY), total(sYY)
        for c in range(channels):
            v_slots[slot, GEOMETRY + c] = total(load(v_colors, c * LANES))


@njit(cache=True, parallel=True)
def draw_backward(
    workers, width, height, first_slot, slot_gaussian, slot_rows, first_entry, entries, means2d, shape, opacities, colors, T,
    last, v_image, v_alpha, v_means2d, v_shape, v_opacities, v_colors,
):  # fmt: skip
    """Gradient of `draw` given v_image (C, H, W) and v_alpha (H, W), of any strides."""
    channels = colors.shape[1]
    tiles_x = (width + LANES - 1) // LANES
    tiles = len(first_entry) - 1
    v_slots = np.empty((len(entries), GEOMETRY + channels), np.float32)
    for worker in prange(workers):
        t_T, t_last = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.int32)
        t_v = np.zeros(PIXELS * (channels + 1), np.float32)
        t_colors = np.empty(channels * LANES, np.float32)
        for tile in range(worker, tiles, workers):
            left, top = tile % tiles_x * LANES, tile // tiles_x * TILE
            t_last[:] = -1
            stop = -1
            for y in range(min(TILE, height - top)):
                p = y * (channels + 1) * LANES
                for x in range(min(LANES, width - left)):
                    t_T[y * LANES + x] = T[top + y, left + x]
                    t_last[y * LANES + x] = last[top + y, left + x]
                    stop = max(stop, last[top + y, left + x])
                    t_v[p + x] = v_alpha[top + y, left + x]
                for c in range(channels):
                    for x in range(min(LANES, width - left)):
                        t_v[p + (c + 1) * LANES + x] = v_image[c, top + y, left + x]
            begin = first_entry[tile]
            stop = max(stop + 1, begin)
            for j in range(stop, first_entry[tile + 1]):
                v_slots[entries[j], :] = 0
            _draw_tile_backward(
                left, top, begin, stop, entries, slot_gaussian, slot_rows, means2d, shape, opacities, colors,
                t_T, t_last, t_v, t_colors, v_slots,
            )  # fmt: skip
    for i in prange(len(opacities)):
        a, k, h = shape[i, 0], shape[i, 1], shape[i, 2]
        s0 = su = sY = suu = suY = sYY = np.float32(0)
        v_colors[i, :] = 0
        for slot in range(first_slot[i], first_slot[i + 1]):
            s0, su, sY = s0 + v_slots[slot, 0], su + v_slots[slot, 1], sY + v_slots[slot, 2]
            suu, suY, sYY = suu + v_slots[slot, 3], suY + v_slots[slot, 4], sYY + v_slots[slot, 5]
            for c in range(channels):
                v_colors[i, c] += v_slots[slot, GEOMETRY + c]
        v_means2d[i, 0], v_means2d[i, 1] = -a * su, -(a * k * su + h * sY)
        v_shape[i, 0], v_shape[i, 1], v_shape[i, 2] = np.float32(0.5) * suu, a * suY, np.float32(0.5) * sYY
        v_opacities[i] = -s0 / opacities[i] if s0 != 0 else np.float32(0)
