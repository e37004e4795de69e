"""EWA projection of Gaussians to the image and its gradient, in numba: float64 inside, float32
outside.

A Gaussian's footprint on the image is kept as ``shape`` = (a, k, h): with X, Y the pixel's offset
from the mean, sigma = (a (X + k Y)^2 + h Y^2) / 2 and alpha = opacity exp(-sigma). This is the
usual conic (a, b = a k, c = a k^2 + h), but a sum of two squares: it cannot turn negative by
rounding, and along a row only the first square varies. With the blurred 2D covariance [[A, B], [B,
C]] it is (C / det, -B / C, 1 / C).

Workers run on several threads at once and take `PARTS` parts of the Gaussians in turn from a shared
counter; the parts are fixed, so that the camera's gradient has the same bits for any number of
threads.
"""

import numpy as np

from restage4d.splatting.constants import (
    FAR,
    FOV_MARGIN,
    MAX_EXTENT,
    MIN_ALPHA,
    QUAT_EPS,
)
from restage4d.splatting.simd import LANES, count, kernel

PARTS = 32
TILE = 24  # a tile of the image is TILE rows of LANES pixels
RECORD = 8  # floats per record
HALF_LOG2_E = 0.5 * 1.4426950408889634
FAINTEST = np.log2(1 / MIN_ALPHA)  # -log2 of the faintest alpha that is drawn


@kernel
def _limits(K, width, height):
    """Range of x/z and y/z in which the Jacobian is taken."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FOV_MARGIN * 0.5 * width / fx, FOV_MARGIN * 0.5 * height / fy
    return (
        -cx / fx - margin_x,
        (width - cx) / fx + margin_x,
        -cy / fy - margin_y,
        (height - cy) / fy + margin_y,
    )


@kernel
def _unit(quat):
    """What makes a quaternion's length one (at most 1 / `QUAT_EPS`), and the quaternion times
    that."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    factor = 1 / max(np.sqrt(w * w + x * x + y * y + z * z), QUAT_EPS)
    return factor, factor * w, factor * x, factor * y, factor * z


@kernel
def _axes(w, x, y, z, w2c, world, camera):
    """Writes the axes of a Gaussian turned by a unit quaternion as columns: in the world (3, 3),
    and in the camera (3, 3)."""
    world[0, 0], world[0, 1], world[0, 2] = (
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
    )
    world[1, 0], world[1, 1], world[1, 2] = (
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
    )
    world[2, 0], world[2, 1], world[2, 2] = (
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )
    for row in range(3):
        for axis in range(3):
            camera[row, axis] = (
                w2c[row, 0] * world[0, axis]
                + w2c[row, 1] * world[1, axis]
                + w2c[row, 2] * world[2, axis]
            )


@kernel
def _to_camera(mean, w2c):
    px, py, pz = np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2])
    return (
        w2c[0, 0] * px + w2c[0, 1] * py + w2c[0, 2] * pz + w2c[0, 3],
        w2c[1, 0] * px + w2c[1, 1] * py + w2c[1, 2] * pz + w2c[1, 3],
        w2c[2, 0] * px + w2c[2, 1] * py + w2c[2, 2] * pz + w2c[2, 3],
    )


@kernel
def _covariance(scale, camera, jx, jy, xz, yz, eps2d):
    """A, B, C of the blurred 2D covariance; the Jacobian is [[jx, 0, -jx xz], [0, jy, -jy yz]]."""
    A, B, C = eps2d, 0.0, eps2d
    for axis in range(3):
        s = np.float64(scale[axis])
        u, v = (
            s * jx * (camera[0, axis] - xz * camera[2, axis]),
            s * jy * (camera[1, axis] - yz * camera[2, axis]),
        )
        A, B, C = A + u * u, B + u * v, C + v * v
    return A, B, C


@kernel
def tile_range(low, high, size, tile):
    """First and past-the-last tile with a pixel centre between two places; a hair more, as drawing
    decides exactly."""
    first, last = np.ceil(max(low - 0.501, 0.0)), np.floor(min(high - 0.499, size - 1.0))
    return (int(first) // tile, int(last) // tile + 1) if last >= first else (0, 0)


@kernel
def project(
    counter,
    means,
    quats,
    scales,
    opacities,
    w2c,
    K,
    width,
    height,
    near,
    eps2d,
    means2d,
    shape,
    depths,
    radii,
    records,
    room,
):
    """Fills means2d (N, 2), shape (N, 3), depths (N,), radii (N,); their rows are 0 for a Gaussian
    that cannot be seen.

    Also records (N * RECORD,), what drawing needs: x, y, -a', k, -h', log2(opacity), where ' is in
    units of log2(alpha), and the half width and height of the footprint; and room (N,), how many
    tiles the box around it holds.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    low_x, high_x, low_y, high_y = _limits(K, width, height)
    world, camera = np.empty((3, 3)), np.empty((3, 3))
    while True:
        part = count(counter, 0)
        if part >= PARTS:
            return PARTS
        for i in range(part * len(means) // PARTS, (part + 1) * len(means) // PARTS):
            x, y, z = _to_camera(means[i], w2c)
            opacity = np.float64(opacities[i])
            u = v = B = C = det = brightness = rx = ry = 0.0
            drawn = z >= near and z <= FAR and opacity >= MIN_ALPHA  # a NaN fails such a test
            if drawn:
                rz = 1 / z
                u, v = fx * x * rz + cx, fy * y * rz + cy
                xz, yz = min(max(x * rz, low_x), high_x), min(max(y * rz, low_y), high_y)
                _, qw, qx, qy, qz = _unit(quats[i])
                _axes(qw, qx, qy, qz, w2c, world, camera)
                A, B, C = _covariance(scales[i], camera, fx * rz, fy * rz, xz, yz, eps2d)
                det = A * C - B * B
                brightness = np.log2(opacity)
                extent = np.sqrt((brightness + FAINTEST) / HALF_LOG2_E)
                rx, ry = extent * np.sqrt(A), extent * np.sqrt(C)
                limit = min(MAX_EXTENT / extent, 1.0)
                wide, tall = np.ceil(limit * rx), np.ceil(limit * ry)
                drawn = (
                    det > 0 and det < 1e30 and wide > 0 and tall > 0
                    and u + wide > 0 and u - wide < width and v + tall > 0 and v - tall < height
                )  # fmt: skip
                radius = min(max(wide, tall), 1e9)
            if drawn:
                h = 1 / C
                a, k = C / det, -B * h
                means2d[i, 0], means2d[i, 1] = u, v
                shape[i, 0], shape[i, 1], shape[i, 2] = a, k, h
                depths[i], radii[i] = z, np.int32(radius)
                r = RECORD * i
                records[r], records[r + 1] = u, v
                records[r + 2], records[r + 3], records[r + 4] = (
                    -HALF_LOG2_E * a,
                    k,
                    -HALF_LOG2_E * h,
                )
                records[r + 5], records[r + 6], records[r + 7] = brightness, rx, ry
                # A little more than the footprint: the records, being float32, must not ask for
                # more room later.
                rx, ry = rx + 1e-3 + 1e-6 * (rx + abs(u)), ry + 1e-3 + 1e-6 * (ry + abs(v))
                left, right = tile_range(u - rx, u + rx, width, LANES)
                top, bottom = tile_range(v - ry, v + ry, height, TILE)
                room[i] = (right - left) * (bottom - top)
            else:
                means2d[i, 0], means2d[i, 1] = 0, 0
                shape[i, 0], shape[i, 1], shape[i, 2] = 0, 0, 0
                depths[i], radii[i], room[i] = 0, 0, 0
        count(counter, 1)


@kernel
def project_backward(
    counter, means, quats, scales, w2c, K, width, height, eps2d, radii, v_means2d, v_shape,
    v_depths,
    camera_moves, v_means, v_quats, v_scales, v_w2c,
):  # fmt: skip
    """Gradient of `project`. v_w2c is (PARTS, 3, 4), to be summed over the parts; zeros unless
    ``camera_moves``."""
    fx, fy = K[0, 0], K[1, 1]
    low_x, high_x, low_y, high_y = _limits(K, width, height)
    world, camera = np.empty((3, 3)), np.empty((3, 3))
    v_camera, v_world = np.empty((3, 3)), np.empty((3, 3))  # of the axes
    while True:
        part = count(counter, 0)
        if part >= PARTS:
            return PARTS
        v_w2c[part] = 0
        for i in range(part * len(means) // PARTS, (part + 1) * len(means) // PARTS):
            v_means[i] = 0
            v_quats[i] = 0
            v_scales[i] = 0
            if radii[i] == 0:
                continue
            x, y, z = _to_camera(means[i], w2c)
            rz = 1 / z
            jx, jy = fx * rz, fy * rz
            xz, yz = min(max(x * rz, low_x), high_x), min(max(y * rz, low_y), high_y)
            factor, qw, qx, qy, qz = _unit(quats[i])
            _axes(qw, qx, qy, qz, w2c, world, camera)
            A, B, C = _covariance(scales[i], camera, jx, jy, xz, yz, eps2d)
            rdet, rC = 1 / (A * C - B * B), 1 / C
            va, vk, vh = (
                np.float64(v_shape[i, 0]),
                np.float64(v_shape[i, 1]),
                np.float64(v_shape[i, 2]),
            )
            vA = -va * (C * rdet) ** 2
            vB = 2 * va * B * C * rdet**2 - vk * rC
            vC = -va * (B * rdet) ** 2 + (vk * B - vh) * rC**2
            vu, vv = np.float64(v_means2d[i, 0]), np.float64(v_means2d[i, 1])
            v_jx, v_jy, v_xz, v_yz = vu * x, vv * y, 0.0, 0.0
            for axis in range(3):
                s = np.float64(scales[i, axis])
                p, q = (
                    camera[0, axis] - xz * camera[2, axis],
                    camera[1, axis] - yz * camera[2, axis],
                )
                u, v = s * jx * p, s * jy * q
                v_u, v_v = 2 * vA * u + vB * v, 2 * vC * v + vB * u
                v_scales[i, axis] = v_u * jx * p + v_v * jy * q
                v_jx += v_u * s * p
                v_jy += v_v * s * q
                v_p, v_q = v_u * s * jx, v_v * s * jy
                v_xz -= v_p * camera[2, axis]
                v_yz -= v_q * camera[2, axis]
                v_camera[0, axis], v_camera[1, axis], v_camera[2, axis] = (
                    v_p,
                    v_q,
                    -xz * v_p - yz * v_q,
                )
            v_x, v_y = vu * jx, vv * jy
            v_z = np.float64(v_depths[i]) - (v_jx * jx + v_jy * jy) * rz
            if low_x <= x * rz <= high_x:  # where the Jacobian's place is not held at the margin
                v_x += v_xz * rz
                v_z -= v_xz * x * rz * rz
            if low_y <= y * rz <= high_y:
                v_y += v_yz * rz
                v_z -= v_yz * y * rz * rz
            for col in range(3):
                v_means[i, col] = w2c[0, col] * v_x + w2c[1, col] * v_y + w2c[2, col] * v_z
                for axis in range(3):
                    v_world[col, axis] = (
                        w2c[0, col] * v_camera[0, axis]
                        + w2c[1, col] * v_camera[1, axis]
                        + w2c[2, col] * v_camera[2, axis]
                    )
            if camera_moves:
                for row in range(3):
                    v_row = v_x if row == 0 else (v_y if row == 1 else v_z)
                    v_w2c[part, row, 3] += v_row
                    for col in range(3):
                        v_w2c[part, row, col] += v_row * np.float64(means[i, col]) + (
                            v_camera[row, 0] * world[col, 0]
                            + v_camera[row, 1] * world[col, 1]
                            + v_camera[row, 2] * world[col, 2]
                        )
            R = v_world
            v_w = 2 * (
                qx * (R[2, 1] - R[1, 2]) + qy * (R[0, 2] - R[2, 0]) + qz * (R[1, 0] - R[0, 1])
            )
            v_x = 2 * (
                qw * (R[2, 1] - R[1, 2])
                + qy * (R[0, 1] + R[1, 0])
                + qz * (R[0, 2] + R[2, 0])
                - 2 * qx * (R[1, 1] + R[2, 2])
            )
            v_y = 2 * (
                qw * (R[0, 2] - R[2, 0])
                + qx * (R[0, 1] + R[1, 0])
                + qz * (R[1, 2] + R[2, 1])
                - 2 * qy * (R[0, 0] + R[2, 2])
            )
            v_z = 2 * (
                qw * (R[1, 0] - R[0, 1])
                + qx * (R[0, 2] + R[2, 0])
                + qy * (R[1, 2] + R[2, 1])
                - 2 * qz * (R[0, 0] + R[1, 1])
            )
            along = v_w * qw + v_x * qx + v_y * qy + v_z * qz if factor < 1 / QUAT_EPS else 0.0
            v_quats[i, 0], v_quats[i, 1] = factor * (v_w - along * qw), factor * (v_x - along * qx)
            v_quats[i, 2], v_quats[i, 3] = factor * (v_y - along * qy), factor * (v_z - along * qz)
        count(counter, 1)
