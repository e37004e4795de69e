"""The world frame of a puppet: +Z up, the subject about 1 in extent and standing at the origin in b_0."""

import numpy as np
from numpy.typing import NDArray

from restage4d.reconstruct.lift import unproject
from restage4d.scene import Cameras, Rewound

F32 = NDArray[np.float32]
_METRES = 1.0  # a subject's extent in metres when nothing tells: between a cat and a horse


def align_world(rewound: Rewound, masks: F32, depth: F32, cameras: Cameras) -> tuple[F32, Cameras, float]:
    """Turns, moves and scales the world so that contracts of `restage4d.scene` hold.

    Up is the normal of the ground around the subject in b_0, where a plane fits it, else the camera's own up. The extent is
    the diagonal of the box that holds 98 % of the subject's points in b_0 along every axis.

    Returns:
        depth (T, H, W) and cameras in the new units, and metres per unit.
    """
    t = rewound.seam
    points, ground = _points(masks[t] > 0.5, depth[t], cameras, t), _points(_around(masks[t]), depth[t], cameras, t)
    if len(points) == 0:
        points = np.zeros((1, 3), np.float32)
    up = _ground_normal(ground, -cameras.w2c[t, 1, :3].astype(np.float64))
    R = _turn_to_z(up)
    turned = points @ R.T
    low, high = np.percentile(turned, [1, 99], axis=0)
    extent = max(float(np.linalg.norm(high - low)), 1e-6)
    origin = np.array([*(low + high)[:2] / 2, low[2]])
    # x' = (R x - origin) / extent, so w2c' = diag-scaled w2c with R' = Rc Rᵀ and t' = (Rc Rᵀ origin + tc) / extent
    w2c = cameras.w2c.astype(np.float64)
    moved = np.tile(np.eye(4), (len(w2c), 1, 1))
    moved[:, :3, :3] = w2c[:, :3, :3] @ R.T
    moved[:, :3, 3] = (moved[:, :3, :3] @ origin + w2c[:, :3, 3]) / extent
    sparse = ((cameras.points @ R.T - origin) / extent).astype(np.float32)
    aligned = Cameras(cameras.K, moved.astype(np.float32), cameras.kind, sparse)
    return (depth / extent).astype(np.float32), aligned, _METRES


def _points(where: NDArray[np.bool_], depth: F32, cameras: Cameras, t: int) -> F32:
    row, col = np.nonzero(where & (depth > 0))
    xy = np.stack([col + 0.5, row + 0.5], -1).astype(np.float32)
    return unproject(xy, depth[row, col], cameras.K[t], cameras.w2c[t])


def _around(mask: F32) -> NDArray[np.bool_]:
    """Background pixels below and beside the lower third of the subject."""
    rows, cols = np.nonzero(mask > 0.5)
    where = np.zeros(mask.shape, bool)
    if len(rows):
        tall, wide = np.ptp(rows) + 1, np.ptp(cols) + 1
        top, bottom = rows.max() - tall // 3, rows.max() + tall // 3
        left, right = max(cols.min() - wide // 2, 0), cols.max() + wide // 2
        where[top : bottom + 1, left : right + 1] = True
    return where & (mask == 0)


def _ground_normal(points: F32, camera_up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normal of the plane through most points, if it is within 60 degrees of the camera's up; else the camera's up."""
    if len(points) < 50:
        return camera_up
    rng = np.random.default_rng(0)
    sample = points[rng.permutation(len(points))[:4000]].astype(np.float64)
    spread = float(np.median(np.linalg.norm(sample - np.median(sample, 0), axis=1)))
    best, best_count = None, 0
    for _ in range(200):
        a, b, c = sample[rng.permutation(len(sample))[:3]]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        near = np.abs((sample - a) @ (normal / length)) < 0.05 * spread
        if near.sum() > best_count:
            best, best_count = near, int(near.sum())
    if best is None or best_count < 0.3 * len(sample):
        return camera_up
    chosen = sample[best]
    normal = np.linalg.svd(chosen - chosen.mean(0), full_matrices=False)[2][2]
    normal = normal if normal @ camera_up > 0 else -normal
    return normal if normal @ camera_up > 0.5 else camera_up


def _turn_to_z(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation that carries ``up`` to +Z."""
    up = up / np.linalg.norm(up)
    axis = np.cross(up, [0, 0, 1])
    cosine = up[2]
    if cosine < -0.999999:
        return np.diag([1.0, -1.0, -1.0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
