"""EWA projection of Gaussians, its gradient, and the lists of what each tile draws, in NVIDIA Warp:
the same code for a GPU and for a CPU, float64 inside. See `restage4d.splatting.projection` for a
footprint's ``shape`` (a, k, h).

The image is cut into tiles of `TILE` x `TILE` pixels. An "entry" is one Gaussian in one tile;
entries are listed tile by tile, nearest first.
"""

import warp as wp

from restage4d.splatting import constants

TILE = 16
FAINTEST = wp.constant(5.541263545158426)  # -log of the faintest alpha that is drawn

_FAR = wp.constant(wp.float64(constants.FAR))
_MIN_ALPHA = wp.constant(wp.float64(constants.MIN_ALPHA))
_MAX_EXTENT = wp.constant(wp.float64(constants.MAX_EXTENT))
_HALF_MARGIN = wp.constant(wp.float64(0.5 * constants.FOV_MARGIN))
_QUAT_EPS = wp.constant(wp.float64(constants.QUAT_EPS))
_TILE = wp.constant(TILE)
_ZERO, _ONE, _TWO = (wp.constant(wp.float64(x)) for x in (0, 1, 2))
_HALF, _LARGE = (wp.constant(wp.float64(x)) for x in (0.5, 1e30))
_WIDEST = wp.constant(wp.float64(1e9))
# half a pixel and a hair more or less: which pixels a tile holds is decided exactly while drawing
_OVER_HALF, _UNDER_HALF = (wp.constant(wp.float64(x)) for x in (0.501, 0.499))

Record = wp.types.vector(length=8, dtype=wp.float32)  # x, y, a, k, h, log(opacity), rx, ry
Sums = wp.types.vector(length=12, dtype=wp.float64)


@wp.func
def _rotation(w2c: wp.array2d[wp.float32]):
    return wp.mat33d(
        wp.float64(w2c[0, 0]), wp.float64(w2c[0, 1]), wp.float64(w2c[0, 2]),
        wp.float64(w2c[1, 0]), wp.float64(w2c[1, 1]), wp.float64(w2c[1, 2]),
        wp.float64(w2c[2, 0]), wp.float64(w2c[2, 1]), wp.float64(w2c[2, 2]),
    )  # fmt: skip


@wp.func
def _to_camera(mean: wp.vec3f, w2c: wp.array2d[wp.float32]):
    moved = wp.vec3d(wp.float64(w2c[0, 3]), wp.float64(w2c[1, 3]), wp.float64(w2c[2, 3]))
    return _rotation(w2c) * wp.vec3d(mean) + moved


@wp.func
def _intrinsics(K: wp.array2d[wp.float32]):  # fx, fy, cx, cy
    return wp.vec4d(
        wp.float64(K[0, 0]), wp.float64(K[1, 1]), wp.float64(K[0, 2]), wp.float64(K[1, 2])
    )


@wp.func
def _limits(k: wp.vec4d, width: wp.int32, height: wp.int32):
    """Least and largest x/z, then y/z, at which the Jacobian is taken."""
    w, h = wp.float64(width), wp.float64(height)
    mx, my = _HALF_MARGIN * w / k[0], _HALF_MARGIN * h / k[1]
    return wp.vec4d(-k[2] / k[0] - mx, (w - k[2]) / k[0] + mx,
                    -k[3] / k[1] - my, (h - k[3]) / k[1] + my)  # fmt: skip


@wp.func
def _unit_factor(quat: wp.vec4f):
    """What makes the quaternion's length one, at most 1 / `QUAT_EPS`."""
    return _ONE / wp.max(wp.length(wp.vec4d(quat)), _QUAT_EPS)


@wp.func
def _axes(q: wp.vec4d):
    """A Gaussian's axes as columns, by a unit quaternion wxyz. One that is shorter turns less, as
    in the reference; `wp.quat_to_matrix` would differ there."""
    w, x, y, z = q[0], q[1], q[2], q[3]
    return wp.mat33d(
        _ONE - _TWO * (y * y + z * z), _TWO * (x * y - w * z), _TWO * (x * z + w * y),
        _TWO * (x * y + w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z - w * x),
        _TWO * (x * z - w * y), _TWO * (y * z + w * x), _ONE - _TWO * (x * x + y * y),
    )  # fmt: skip


@wp.func
def _covariance(scale: wp.vec3f, axes: wp.mat33d, j: wp.vec2d, slope: wp.vec2d, eps2d: wp.float64):
    """A, B, C of the blurred 2D covariance, the Jacobian being [[jx, 0, -jx sx], [0, jy, -jy
    sy]]."""
    A, B, C = eps2d, wp.float64(0.0), eps2d
    for axis in range(3):
        s = wp.float64(scale[axis])
        u = s * j[0] * (axes[0, axis] - slope[0] * axes[2, axis])
        v = s * j[1] * (axes[1, axis] - slope[1] * axes[2, axis])
        A += u * u
        B += u * v
        C += v * v
    return wp.vec3d(A, B, C)


@wp.func
def _range(low: wp.float64, high: wp.float64, size: wp.int32):
    """First and past-the-last tile with a pixel centre between two places."""
    first = wp.ceil(wp.max(low - _OVER_HALF, _ZERO))
    last = wp.floor(wp.min(high - _UNDER_HALF, wp.float64(size) - _ONE))
    if last < first:
        return wp.vec2i(0, 0)
    return wp.vec2i(wp.int32(first) / _TILE, wp.int32(last) / _TILE + 1)


@wp.func
def _columns(record: Record, width: wp.int32):
    x, rx = wp.float64(record[0]), wp.float64(record[6])
    return _range(x - rx, x + rx, width)


@wp.func
def _rows(record: Record, column: wp.int32, height: wp.int32):
    """First and past-the-last row of tiles that the footprint a (X + k Y)^2 + h Y^2 < q reaches in
    a column of tiles."""
    x, y, ry = wp.float64(record[0]), wp.float64(record[1]), wp.float64(record[7])
    a, k, h = wp.float64(record[2]), wp.float64(record[3]), wp.float64(record[4])
    q = _TWO * wp.float64(record[5] + FAINTEST)
    c = a * k * k + h
    left = wp.float64(column * _TILE) + _HALF - x
    right = left + wp.float64(_TILE - 1)
    # Highest at X = -k ry, lowest at k ry, or where the column of tiles cuts the footprint off.
    X = wp.clamp(-k * ry, left, right)
    high = ry
    if -k * ry != X:
        high = (wp.sqrt(wp.max(c * q - a * h * X * X, _ZERO)) - a * k * X) / c
    X = wp.clamp(k * ry, left, right)
    low = -ry
    if k * ry != X:
        low = (-wp.sqrt(wp.max(c * q - a * h * X * X, _ZERO)) - a * k * X) / c
    return _range(y + low, y + high, height)


@wp.kernel(enable_backward=False)
def project(
    means: wp.array[wp.vec3f],
    quats: wp.array[wp.vec4f],
    scales: wp.array[wp.vec3f],
    opacities: wp.array[wp.float32],
    w2c: wp.array2d[wp.float32],
    K: wp.array2d[wp.float32],
    width: wp.int32,
    height: wp.int32,
    near: wp.float64,
    eps2d: wp.float64,
    means2d: wp.array[wp.vec2f],
    shape: wp.array[wp.vec3f],
    depths: wp.array[wp.float32],
    radii: wp.array[wp.int32],
    records: wp.array[Record],
    room: wp.array[wp.int32],
):
    """Fills means2d, shape, depths, radii, the records for drawing, and room: how many tiles each
    Gaussian touches. They come in as 0 and stay so for what cannot be seen."""
    i = wp.tid()
    p = _to_camera(means[i], w2c)
    opacity = wp.float64(opacities[i])
    if not (p[2] >= near and p[2] <= _FAR and opacity >= _MIN_ALPHA):  # a NaN fails such a test
        return
    k = _intrinsics(K)
    limits = _limits(k, width, height)
    j = wp.vec2d(k[0] / p[2], k[1] / p[2])
    u, v = j[0] * p[0] + k[2], j[1] * p[1] + k[3]
    slope = wp.vec2d(
        wp.clamp(p[0] / p[2], limits[0], limits[1]), wp.clamp(p[1] / p[2], limits[2], limits[3])
    )
    axes = _rotation(w2c) * _axes(_unit_factor(quats[i]) * wp.vec4d(quats[i]))
    cov = _covariance(scales[i], axes, j, slope, eps2d)
    det = cov[0] * cov[2] - cov[1] * cov[1]
    brightness = wp.log(opacity)
    extent = wp.sqrt(_TWO * (brightness + wp.float64(FAINTEST)))
    rx, ry = extent * wp.sqrt(cov[0]), extent * wp.sqrt(cov[2])
    limit = wp.min(_MAX_EXTENT / extent, _ONE)
    wide, tall = wp.ceil(limit * rx), wp.ceil(limit * ry)
    if not (det > _ZERO and det < _LARGE and wide > _ZERO and tall > _ZERO):
        return
    if not (u + wide > _ZERO and u - wide < wp.float64(width)):
        return
    if not (v + tall > _ZERO and v - tall < wp.float64(height)):
        return
    a, slant, h = cov[2] / det, -cov[1] / cov[2], _ONE / cov[2]
    means2d[i] = wp.vec2f(wp.float32(u), wp.float32(v))
    shape[i] = wp.vec3f(wp.float32(a), wp.float32(slant), wp.float32(h))
    depths[i] = wp.float32(p[2])
    radii[i] = wp.int32(wp.min(wp.max(wide, tall), _WIDEST))
    record = Record(
        wp.float32(u), wp.float32(v), wp.float32(a), wp.float32(slant), wp.float32(h),
        wp.float32(brightness), wp.float32(rx), wp.float32(ry),
    )  # fmt: skip
    records[i] = record
    touched = wp.int32(0)
    columns = _columns(record, width)
    for column in range(columns[0], columns[1]):
        rows = _rows(record, column, height)
        touched += rows[1] - rows[0]
    room[i] = touched


@wp.kernel(enable_backward=False)
def project_backward(
    n: wp.int32,
    means: wp.array[wp.vec3f],
    quats: wp.array[wp.vec4f],
    scales: wp.array[wp.vec3f],
    w2c: wp.array2d[wp.float32],
    K: wp.array2d[wp.float32],
    width: wp.int32,
    height: wp.int32,
    eps2d: wp.float64,
    radii: wp.array[wp.int32],
    v_means2d: wp.array[wp.vec2f],
    v_shape: wp.array[wp.vec3f],
    v_depths: wp.array[wp.float32],
    camera_moves: wp.bool,
    v_means: wp.array[wp.vec3f],
    v_quats: wp.array[wp.vec4f],
    v_scales: wp.array[wp.vec3f],
    v_w2c: wp.array[Sums],
):
    """Gradient of `project`, launched in whole blocks. Everything comes in as 0; v_w2c (1,) is the
    upper three rows."""
    i = wp.tid()
    moved = Sums()
    drawn = i < n
    if drawn:
        drawn = radii[i] > 0
    if drawn:
        R = _rotation(w2c)
        p = _to_camera(means[i], w2c)
        k = _intrinsics(K)
        limits = _limits(k, width, height)
        rz = _ONE / p[2]
        j = wp.vec2d(k[0] * rz, k[1] * rz)
        slope = wp.vec2d(
            wp.clamp(p[0] * rz, limits[0], limits[1]), wp.clamp(p[1] * rz, limits[2], limits[3])
        )
        factor = _unit_factor(quats[i])
        q = factor * wp.vec4d(quats[i])
        world = _axes(q)
        axes = R * world
        cov = _covariance(scales[i], axes, j, slope, eps2d)
        A, B, C = cov[0], cov[1], cov[2]
        rdet, rC = _ONE / (A * C - B * B), _ONE / C
        v = wp.vec3d(v_shape[i])
        vA = -v[0] * C * C * rdet * rdet
        vB = _TWO * v[0] * B * C * rdet * rdet - v[1] * rC
        vC = -v[0] * B * B * rdet * rdet + (v[1] * B - v[2]) * rC * rC
        v2 = wp.vec2d(v_means2d[i])
        v_j = wp.vec2d(v2[0] * p[0], v2[1] * p[1])
        v_slope = wp.vec2d()
        v_axes = wp.mat33d()
        v_scale = wp.vec3f()
        for axis in range(3):
            s = wp.float64(scales[i][axis])
            a0 = axes[0, axis] - slope[0] * axes[2, axis]
            a1 = axes[1, axis] - slope[1] * axes[2, axis]
            x, y = s * j[0] * a0, s * j[1] * a1
            v_x, v_y = _TWO * vA * x + vB * y, _TWO * vC * y + vB * x
            v_scale[axis] = wp.float32(v_x * j[0] * a0 + v_y * j[1] * a1)
            v_j += wp.vec2d(v_x * s * a0, v_y * s * a1)
            v_0, v_1 = v_x * s * j[0], v_y * s * j[1]
            v_slope -= wp.vec2d(v_0 * axes[2, axis], v_1 * axes[2, axis])
            v_axes[0, axis] = v_0
            v_axes[1, axis] = v_1
            v_axes[2, axis] = -slope[0] * v_0 - slope[1] * v_1
        v_scales[i] = v_scale
        v_p = wp.vec3d(
            v2[0] * j[0],
            v2[1] * j[1],
            wp.float64(v_depths[i]) - (v_j[0] * j[0] + v_j[1] * j[1]) * rz,
        )
        # where the Jacobian's place is not held at the margin
        if limits[0] <= p[0] * rz and p[0] * rz <= limits[1]:
            v_p += wp.vec3d(v_slope[0] * rz, _ZERO, -v_slope[0] * p[0] * rz * rz)
        if limits[2] <= p[1] * rz and p[1] * rz <= limits[3]:
            v_p += wp.vec3d(_ZERO, v_slope[1] * rz, -v_slope[1] * p[1] * rz * rz)
        v_means[i] = wp.vec3f(wp.transpose(R) * v_p)
        G = wp.transpose(R) * v_axes
        w, x, y, z = q[0], q[1], q[2], q[3]
        v_q = _TWO * wp.vec4d(
            x * (G[2, 1] - G[1, 2]) + y * (G[0, 2] - G[2, 0]) + z * (G[1, 0] - G[0, 1]),
            w * (G[2, 1] - G[1, 2]) + y * (G[0, 1] + G[1, 0]) + z * (G[0, 2] + G[2, 0])
            - _TWO * x * (G[1, 1] + G[2, 2]),
            w * (G[0, 2] - G[2, 0]) + x * (G[0, 1] + G[1, 0]) + z * (G[1, 2] + G[2, 1])
            - _TWO * y * (G[0, 0] + G[2, 2]),
            w * (G[1, 0] - G[0, 1]) + x * (G[0, 2] + G[2, 0]) + y * (G[1, 2] + G[2, 1])
            - _TWO * z * (G[0, 0] + G[1, 1]),
        )  # fmt: skip
        if factor < _ONE / _QUAT_EPS:
            v_q -= wp.dot(v_q, q) * q
        v_quats[i] = wp.vec4f(factor * v_q)
        turned = v_axes * wp.transpose(world)
        mean = wp.vec3d(means[i])
        for row in range(3):
            for col in range(3):
                moved[row * 4 + col] = v_p[row] * mean[col] + turned[row, col]
            moved[row * 4 + 3] = v_p[row]
    if camera_moves:
        wp.tile_atomic_add(v_w2c, wp.tile_sum(wp.tile(moved, preserve_type=True)), offset=(0,))


@wp.kernel(enable_backward=False)
def list_entries(
    width: wp.int32,
    height: wp.int32,
    tiles_x: wp.int32,
    order: wp.array[wp.int64],
    ends: wp.array[wp.int64],
    records: wp.array[Record],
    tiles: wp.array[wp.int32],
    gaussians: wp.array[wp.int32],
):
    """Writes each Gaussian's tiles, nearest Gaussian first: ends (N,) are sums of ``room`` in the
    order of depth. Places left over keep the tile that they come in with."""
    r = wp.tid()
    i = wp.int32(order[r])
    entry, end = wp.int64(0), ends[r]
    if r > 0:
        entry = ends[r - 1]
    if entry == end:
        return
    record = records[i]
    columns = _columns(record, width)
    for column in range(columns[0], columns[1]):
        rows = _rows(record, column, height)
        for row in range(rows[0], rows[1]):
            if entry < end:
                tiles[entry] = row * tiles_x + column
                gaussians[entry] = i
                entry += wp.int64(1)
