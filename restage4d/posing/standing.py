"""Where scenery's ground is, and scenery put under what stands in another world."""

from dataclasses import dataclass, replace

import numpy as np

from restage4d import se3, sh
from restage4d.puppet import Gaussians
from restage4d.se3 import Array

_TRIES, _SAMPLE = 400, 4000
_SOLID = 0.3  # opacity of what may be ground
_THICK = 0.01  # of the scene's reach, that ground may be uneven to either side
_TILT = np.cos(np.radians(35))  # ground may lean so far
_BELOW = 0.1  # share of points that may lie below it


@dataclass(frozen=True, eq=False)
class Ground:
    """A plane: points x with ``normal @ x == height``; ``share`` of the solid points lie on it.
    ``middle`` (3,) is on it, below the middle of what stands there; ``reach`` is the median
    distance from it."""

    normal: Array
    height: float
    share: float
    middle: Array
    reach: float


def find_ground(gaussians: Gaussians) -> Ground:
    """The plane that most solid points lie on, among those that lean little and have few points
    below them (RANSAC, always the same). Up is +Z."""
    rng = np.random.default_rng(0)
    solid = gaussians.means[gaussians.opacities > _SOLID]
    solid = solid if len(solid) >= 3 else gaussians.means
    points = solid[rng.permutation(len(solid))[:_SAMPLE]].astype(np.float64)
    centre = np.median(points, axis=0)
    reach = max(float(np.median(np.linalg.norm(points - centre, axis=1))), 1e-6)
    thick = _THICK * reach * 2
    best, normal, height = -1.0, np.array([0.0, 0, 1]), float(np.quantile(points[:, 2], 0.02))
    for _ in range(_TRIES if len(points) >= 3 else 0):
        a, b, c = points[rng.choice(len(points), 3, replace=False)]
        n = np.cross(b - a, c - a)
        length = float(np.linalg.norm(n))
        if length < 1e-9 * reach * reach:
            continue
        n *= np.copysign(1 / length, n[2])
        if n[2] < _TILT:
            continue
        above = points @ n - a @ n
        share = float((np.abs(above) < thick).mean())
        if share > best and float((above < -thick).mean()) < _BELOW:
            best, normal, height = share, n, float(a @ n)
    if best > 0:  # the plane of all that lie on it
        on = points[np.abs(points @ normal - height) < thick]
        _, _, axes = np.linalg.svd(on - on.mean(0), full_matrices=False)
        if len(on) >= 3 and abs(axes[2] @ normal) > 0.99:
            normal = axes[2] * np.copysign(1, axes[2] @ normal)
            height = float(on.mean(0) @ normal)
    middle = centre - (centre @ normal - height) * normal
    return Ground(normal, height, max(best, 0.0), middle.astype(np.float32), reach)


def put_under(
    scenery: Gaussians, ground: Ground, spot: Array, up: Array, scale: float
) -> Gaussians:  # spot, up: (3,)
    """Scenery whose ``ground`` lies square to ``up`` through ``spot``, its middle there; grown by
    ``scale``, turned the short way, SH with it."""
    turn = _turn_between(ground.normal, np.asarray(up, np.float64)).astype(np.float32)
    quat = se3.matrix_to_quat(turn)
    means = (scenery.means - ground.middle) @ turn.T * np.float32(scale) + np.asarray(
        spot, np.float32
    )
    quats = se3.quat_multiply(np.broadcast_to(quat, scenery.quats.shape), scenery.quats)
    return replace(
        scenery,
        means=means.astype(np.float32),
        quats=quats.astype(np.float32),
        scales=scenery.scales * np.float32(scale),
        sh=sh.rotate(scenery.sh, np.broadcast_to(turn, (len(scenery), 3, 3))),
    )


def _turn_between(a: Array, b: Array) -> Array:  # (3,), (3,) unit, not opposite -> (3, 3)
    axis, cosine = np.cross(a, b), float(a @ b)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
