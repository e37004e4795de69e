"""Robust bundle adjustment of one rigid body in front of known cameras.

Each point of the body is seen as a 2D track; the body turns and moves before the camera from frame
to frame. Points and poses are found together by Gauss-Newton on the reprojection error with
Geman-McClure weights (iteratively reweighted least squares), points eliminated by the Schur
complement. Three priors keep it from inventing: points stay near where they were first thought to
be, as far as the tracks do not say otherwise, the body stays near the distance at which it is
thought to be, and poses are smooth in time.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_DAMPING = 1e-3  # of the diagonal, at first


@dataclass(frozen=True)
class AdjustmentConfig:
    """``pixels``: reprojection error at which an observation loses three quarters of its weight.
    ``place``: standard deviation of the points' first places, units of the body. ``independent``:
    observations of one track that count as independent of one another. ``bend``: weight of the
    poses' second differences. ``distance``: weight of the squared logarithm of the body's distance
    over what it is thought to be. ``wide``: times ``pixels`` at first, so that a limb that moves by
    itself does not take the poses along. ``rounds``: of Gauss-Newton, each time."""

    pixels: float = 6.0
    place: float = 0.3
    independent: float = 6.0
    bend: float = 1e4
    distance: float = 2e4
    wide: float = 2.0
    rounds: int = 25


@dataclass(frozen=True)
class RigidBody:
    """Points (P, 3) of the body, its poses R (T, 3, 3) and t (T, 3) in the cameras' frames, and the
    weight (P, T), 0 to 1, with which each observation agrees."""

    points: F64
    R: F64
    t: F64
    agreement: F64

    def compute_places(self) -> F64:  # (P, T, 3)
        """The points in the camera's frame of every frame."""
        return np.einsum("tij,pj->pti", self.R, self.points) + self.t


def adjust_rigid_body(
    xy: F64,
    trust: F64,
    K: F64,
    points: F64,
    R: F64,
    t: F64,
    triples: NDArray[np.int64],
    distance: F64,
    config: AdjustmentConfig,
) -> RigidBody:
    """Points and poses with the least error.

    Args:
        xy: (P, T, 2) pixels.
        trust: (P, T), 0 where a point is not seen.
        K: (T, 3, 3).
        points: (P, 3) first guess, about the body's middle.
        R, t: (T, 3, 3), (T, 3) first guess of the poses in the cameras' frames.
        triples: (S, 3) frames that follow one another.
        distance: (T,) how far the body's middle is thought to be, 0 where nothing is known.
        config: see `AdjustmentConfig`.
    """
    count = (trust > 0).sum(1, keepdims=True)
    trust = trust * np.minimum(config.independent / np.maximum(count, 1), 1)
    first = replace(config, pixels=config.pixels * config.wide)
    wide = _descend(xy, trust, K, points, R, t, triples, distance, first)
    return _descend(xy, trust, K, points, wide.R, wide.t, triples, distance, config)


def _descend(
    xy: F64, trust: F64, K: F64, points: F64, R: F64, t: F64, triples: NDArray[np.int64],
    distance: F64, config: AdjustmentConfig,
) -> RigidBody:  # fmt: skip
    """Gauss-Newton from the points' first places and these poses."""
    n_frames = trust.shape[1]
    start, points, R, t = points, points.copy(), R.copy(), t.copy()
    bend = _build_bend(triples, n_frames) * config.bend
    known = np.where(distance > 0, distance, 1.0)
    damping, best = _DAMPING, np.inf
    kept = points, R, t
    for _ in range(config.rounds):
        error, J_pose, J_point = _linearise(xy, K, points, R, t)
        squares = (error**2).sum(-1)
        robust = config.pixels**2 / (config.pixels**2 + squares)
        w = trust * robust**2
        cost = (trust * squares * robust).sum() + ((points - start) ** 2).sum() / config.place**2
        cost += _compute_bend_cost(R, t, triples) * config.bend
        too_far = np.where(distance > 0, np.log(np.maximum(t[:, 2], 1e-3) / known), 0)
        cost += (too_far**2).sum() * config.distance
        if cost > best * (1 + 1e-9):
            points, R, t = kept
            damping *= 8
            if damping > 1e3:
                break
            best = np.inf  # the kept state is linearised again, damped more
            continue
        if best - cost < 1e-6 * cost:
            break
        kept, best = (points.copy(), R.copy(), t.copy()), cost
        damping = max(damping / 4, 1e-7)
        step_pose, step_point = _solve(
            error, J_pose, J_point, w, (start - points) / config.place**2, config.place, bend,
            _compute_bend_gradient(R, t, triples, n_frames) * config.bend,
            np.where(distance > 0, config.distance / np.maximum(t[:, 2], 1e-3), 0), too_far,
            np.maximum(t[:, 2], 1e-3), damping,
        )  # fmt: skip
        points = points + step_point
        R = _exponential(step_pose[:, :3]) @ R
        t = t + step_pose[:, 3:]
    points, R, t = kept
    error = _linearise(xy, K, points, R, t)[0]
    agreement = (trust > 0) / (1 + (error**2).sum(-1) / config.pixels**2)
    return RigidBody(points, R, t, agreement)


def _linearise(xy: F64, K: F64, points: F64, R: F64, t: F64) -> tuple[F64, F64, F64]:
    """Reprojection errors (P, T, 2) and their derivatives by pose (P, T, 2, 6), a turn from the
    left and a shift, and by point (P, T, 2, 3)."""
    turned = np.einsum("tij,pj->pti", R, points)
    x, y, z = np.moveaxis(turned + t, -1, 0)
    z = np.maximum(z, 1e-3)
    fx, fy = K[:, 0, 0], K[:, 1, 1]
    u, v = fx * x / z + K[:, 0, 2], fy * y / z + K[:, 1, 2]
    zero = np.zeros_like(z)
    J = np.stack(
        [
            np.stack([fx / z, zero, -fx * x / z**2], -1),
            np.stack([zero, fy / z, -fy * y / z**2], -1),
        ],
        -2,
    )  # (P, T, 2, 3)
    cross = np.zeros((*turned.shape, 3))
    a, b, c = np.moveaxis(turned, -1, 0)
    cross[..., 0, 1], cross[..., 0, 2] = c, -b
    cross[..., 1, 0], cross[..., 1, 2] = -c, a
    cross[..., 2, 0], cross[..., 2, 1] = b, -a
    return np.stack([u, v], -1) - xy, np.concatenate([J @ cross, J], -1), J @ R


def _solve(
    error: F64, J_pose: F64, J_point: F64, w: F64, pull: F64, place: float, bend: F64,
    bend_gradient: F64, hold: F64, too_far: F64, z: F64, damping: float,
) -> tuple[F64, F64]:  # fmt: skip
    """One damped Gauss-Newton step: (T, 6) of the poses and (P, 3) of the points."""
    n_points, n_frames = w.shape
    root = np.sqrt(w)[..., None, None]
    pose, point = root * J_pose, root * J_point  # (P, T, 2, 6), (P, T, 2, 3)
    off = root * error[..., None]
    rows = pose.swapaxes(0, 1).reshape(n_frames, 2 * n_points, 6)
    U = rows.swapaxes(1, 2) @ rows
    g_pose = -(rows.swapaxes(1, 2) @ off.swapaxes(0, 1).reshape(n_frames, -1, 1))[..., 0]
    g_pose = g_pose - bend_gradient
    g_pose[:, 5] -= hold * too_far
    U[:, 5, 5] += hold / z
    columns = point.reshape(n_points, 2 * n_frames, 3)
    V = columns.swapaxes(1, 2) @ columns + np.eye(3) / place**2
    g_point = -(columns.swapaxes(1, 2) @ off.reshape(n_points, -1, 1))[..., 0] + pull
    W = (pose.swapaxes(2, 3) @ point).transpose(1, 2, 0, 3).reshape(6 * n_frames, 3 * n_points)
    V = V + damping * np.einsum("pii->pi", V)[:, :, None] * np.eye(3)
    V_inverse = np.linalg.inv(V)
    parts = W.reshape(-1, n_points, 3).swapaxes(0, 1) @ V_inverse  # (P, 6T, 3)
    WV = parts.swapaxes(0, 1).reshape(W.shape)
    A = np.kron(bend, np.eye(6))
    for i in range(n_frames):
        block = slice(6 * i, 6 * i + 6)
        A[block, block] += U[i] + damping * np.diag(np.diag(U[i])) + 1e-6 * np.eye(6)
    A -= WV @ W.T
    step = np.linalg.solve(A, g_pose.ravel() - WV @ g_point.ravel())
    back = (g_point.ravel() - W.T @ step).reshape(n_points, 3)
    return step.reshape(n_frames, 6), np.einsum("pij,pj->pi", V_inverse, back)


def _build_bend(triples: NDArray[np.int64], n_frames: int) -> F64:  # (T, T)
    """The quadratic form of second differences along the triples."""
    D = np.zeros((len(triples), n_frames))
    rows = np.arange(len(triples))
    for column, value in enumerate((1.0, -2.0, 1.0)):
        D[rows, triples[:, column]] = value
    return D.T @ D / max(len(triples), 1) * n_frames


def _bend_vectors(R: F64, t: F64, triples: NDArray[np.int64]) -> F64:  # (S, 6)
    a, b, c = triples.T
    before, after = R[b] @ R[a].swapaxes(-1, -2), R[c] @ R[b].swapaxes(-1, -2)
    return np.concatenate([_logarithm(after) - _logarithm(before), t[a] - 2 * t[b] + t[c]], -1)


def _compute_bend_cost(R: F64, t: F64, triples: NDArray[np.int64]) -> float:
    if not len(triples):
        return 0.0
    return float((_bend_vectors(R, t, triples) ** 2).sum() / len(triples) * len(R))


def _compute_bend_gradient(
    R: F64, t: F64, triples: NDArray[np.int64], n_frames: int
) -> F64:  # (T, 6)
    out = np.zeros((n_frames, 6))
    if len(triples):
        bend = _bend_vectors(R, t, triples) / len(triples) * n_frames
        for column, value in enumerate((1.0, -2.0, 1.0)):
            np.add.at(out, triples[:, column], value * bend)
    return out


def _exponential(vectors: F64) -> F64:  # (T, 3) -> (T, 3, 3)
    """Rotation by a vector (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(vectors / np.maximum(angle, 1e-12), -1, 0)
    zero = np.zeros_like(x)
    k = np.stack(
        [np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)], -2
    )
    s, c = np.sin(angle)[..., None], np.cos(angle)[..., None]
    return np.eye(3) + s * k + (1 - c) * k @ k


def _logarithm(R: F64) -> F64:  # (..., 3, 3) -> (..., 3)
    """The vector of a rotation by less than a half turn."""
    v = np.stack(
        [R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1
    )
    s = np.linalg.norm(v, axis=-1, keepdims=True) / 2
    c = (np.trace(R, axis1=-2, axis2=-1)[..., None] - 1) / 2
    return v / 2 * np.where(s > 1e-9, np.arctan2(s, c) / np.maximum(s, 1e-9), 1.0)
