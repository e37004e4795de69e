"""Drawing a textured mesh over a picture: z-buffered, sixteen samples per pixel, alpha-tested per
sample.

Visibility is found per sample and colour per pixel, with a sharp filter at the samples' mean
texture position: a mesh at rest gives its texture back unblurred, edges and alpha come out smooth,
and what shrinks is averaged over its samples.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

_S = 4  # samples per pixel along each axis
_FAR = 1e30  # depth where nothing is; finite, as the kernels are compiled with fast mathematics
# Alpha a sample needs to be covered; a 4x4 Bayer matrix, so that every level's samples are spread
# over the pixel.
_NEEDED = (
    np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) + 0.5
) / 16


@dataclass(frozen=True)
class Drawing:
    """``picture`` (H, W, 3), the mesh's ``cover`` of every pixel (H, W) in 0..1, and ``depth`` (H,
    W) of the nearest that is drawn there, 0 where nothing is."""

    picture: F32
    cover: F32
    depth: F32


def draw(
    background: F32, points: F32, uv: F32, alpha: F32, triangles: NDArray[np.int32], texture: F32
) -> Drawing:
    """Draws a mesh over a background.

    Args:
        background: (H, W, 3).
        points: (V, 3) x, y in pixels (centres at +0.5) and depth, less is nearer.
        uv: (V, 2) position in the texture, in its pixels (centres at +0.5).
        alpha: (V,) opacity in 0..1.
        triangles: (F, 3) rows of ``points``, clockwise on the screen where seen from their front;
            others are not drawn.
        texture: (h, w, 3).
    """
    height, width = background.shape[:2]
    x0, y0 = np.clip(np.floor(points[:, :2].min(0)).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(points[:, :2].max(0)).astype(int) + 1, 0, (width, height))
    picture = background.copy()
    cover, nearest = np.zeros((2, height, width), np.float32)
    if x1 > x0 and y1 > y0:
        depth = np.full(((y1 - y0) * _S, (x1 - x0) * _S), _FAR, np.float32)
        where = np.zeros((*depth.shape, 2), np.float32)
        shifted = ((points - np.array([x0, y0, 0])) * np.array([_S, _S, 1])).astype(np.float32)
        _resolve_visibility(shifted, uv, triangles, alpha, depth, where)
        _shade(depth, where, texture, picture[y0:y1, x0:x1])
        samples = depth.reshape(y1 - y0, _S, x1 - x0, _S)
        cover[y0:y1, x0:x1] = (samples < _FAR).mean((1, 3))
        least = samples.min((1, 3))
        nearest[y0:y1, x0:x1] = np.where(least < _FAR, least, 0)
    return Drawing(picture, cover, nearest)


@numba.njit(cache=True, fastmath=True)
def _resolve_visibility(points, uv, triangles, alpha, depth, where):
    """Fills depth (h, w) and texture position (h, w, 2) of the nearest opaque surface at every
    sample."""
    h, w = depth.shape
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, bx, by, cx, cy = (
            points[a, 0],
            points[a, 1],
            points[b, 0],
            points[b, 1],
            points[c, 0],
            points[c, 1],
        )
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= 1e-9:
            continue
        left, right = (
            max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0),
            min(int(np.floor(max(ax, bx, cx) - 0.5)), w - 1),
        )
        top, bottom = (
            max(int(np.ceil(min(ay, by, cy) - 0.5)), 0),
            min(int(np.floor(max(ay, by, cy) - 0.5)), h - 1),
        )
        inverse = 1.0 / area
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                wb = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
                wc = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                wa = 1.0 - wb - wc
                if wa < -1e-5 or wb < -1e-5 or wc < -1e-5:
                    continue
                z = wa * points[a, 2] + wb * points[b, 2] + wc * points[c, 2]
                if z >= depth[y, x]:
                    continue
                if wa * alpha[a] + wb * alpha[b] + wc * alpha[c] > _NEEDED[y % _S, x % _S]:
                    depth[y, x] = z
                    where[y, x, 0] = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
                    where[y, x, 1] = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]


@numba.njit(cache=True, fastmath=True, inline="always")
def _add_bilinear(image, u, v, weight, out):
    x, y = (
        min(max(u - 0.5, 0.0), image.shape[1] - 1.001),
        min(max(v - 0.5, 0.0), image.shape[0] - 1.001),
    )
    i, j = int(y), int(x)
    fy, fx = y - i, x - j
    for k in range(3):
        top = image[i, j, k] + fx * (image[i, j + 1, k] - image[i, j, k])
        low = image[i + 1, j, k] + fx * (image[i + 1, j + 1, k] - image[i + 1, j, k])
        out[k] += weight * (top + fy * (low - top))


@numba.njit(cache=True, fastmath=True, inline="always")
def _cubic(t):
    """Catmull-Rom weights of the four neighbours around a fraction t."""
    t2 = t * t
    t3 = t2 * t
    return (
        -0.5 * t + t2 - 0.5 * t3,
        1 - 2.5 * t2 + 1.5 * t3,
        0.5 * t + 2 * t2 - 1.5 * t3,
        -0.5 * t2 + 0.5 * t3,
    )


@numba.njit(cache=True, fastmath=True, inline="always")
def _add_cubic(image, u, v, weight, out):
    h, w = image.shape[:2]
    x, y = u - 0.5, v - 0.5
    j, i = int(np.floor(x)), int(np.floor(y))
    wx, wy = _cubic(x - j), _cubic(y - i)
    for dy in range(4):
        row = min(max(i + dy - 1, 0), h - 1)
        for dx in range(4):
            col = min(max(j + dx - 1, 0), w - 1)
            share = weight * wy[dy] * wx[dx]
            for k in range(3):
                out[k] += share * image[row, col, k]


@numba.njit(cache=True, fastmath=True)
def _shade(depth, where, texture, picture):
    """Lays the covered samples' colours over ``picture`` (h, w, 3)."""
    h, w = picture.shape[:2]
    colour = np.zeros(3, np.float32)
    for y in range(h):
        for x in range(w):
            count = 0
            nearest = np.float32(_FAR)
            u0 = v0 = np.float32(0.0)
            for sy in range(y * _S, y * _S + _S):
                for sx in range(x * _S, x * _S + _S):
                    if depth[sy, sx] < _FAR:
                        count += 1
                        if depth[sy, sx] < nearest:
                            nearest, u0, v0 = depth[sy, sx], where[sy, sx, 0], where[sy, sx, 1]
            if count == 0:
                continue
            # the samples of the nearest surface, and how much of the texture they span
            same = 0
            mean_u = mean_v = 0.0
            low_u = low_v = 1e9
            high_u = high_v = -1e9
            for sy in range(y * _S, y * _S + _S):
                for sx in range(x * _S, x * _S + _S):
                    u, v = where[sy, sx, 0], where[sy, sx, 1]
                    if depth[sy, sx] < _FAR and abs(u - u0) < 4 and abs(v - v0) < 4:
                        same += 1
                        mean_u += u
                        mean_v += v
                        low_u, high_u, low_v, high_v = (
                            min(low_u, u),
                            max(high_u, u),
                            min(low_v, v),
                            max(high_v, v),
                        )
            span = max(high_u - low_u, high_v - low_v) * _S / (_S - 1.0)
            sharp = 0.0 if same < 2 else min(max((1.7 - span) / 0.5, 0.0), 1.0)
            colour[:] = 0
            if sharp > 0:
                _add_cubic(texture, mean_u / same, mean_v / same, sharp * same, colour)
            for sy in range(y * _S, y * _S + _S):
                for sx in range(x * _S, x * _S + _S):
                    if depth[sy, sx] < _FAR:
                        u, v = where[sy, sx, 0], where[sy, sx, 1]
                        near = abs(u - u0) < 4 and abs(v - v0) < 4
                        if not near or sharp < 1:
                            _add_bilinear(texture, u, v, 1.0 - sharp if near else 1.0, colour)
            share = count / (_S * _S)
            for k in range(3):
                picture[y, x, k] += share * (colour[k] / count - picture[y, x, k])
