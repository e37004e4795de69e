# SPDX-License-Identifier: GPL-3.0-or-later
"""A performance of one puppet for another of the same kind. numpy only."""

import numpy as np

from restage4d.puppet import Performance
from restage4d.se3 import Array

from .. import bone_curves
from .sampling import Body, pose_points, replace_frames, sample, to_bases, to_matrices

_NEAR = 6  # source bases that lend their motion to a target basis
_REACH = 0.08  # of the subject's box: how far off a source basis counts less by e


def transfer(performance: Performance, source: Body, own: Performance, target: Body) -> Performance:
    """What the source does from its first frame on, done by the target from ``own``'s first frame
    on.

    Both subjects are laid over one another as the cameras of their first frames see them: turned
    about the vertical by the cameras' headings, their boxes made equal. Each target basis moves as
    the source bases nearest to its place there would move that place, since the first frame;
    lengths are scaled by the subjects' heights. Rate, picture and camera are those of ``own``'s
    first frame.
    """
    count = max(round((performance.n_frames - 1) * own.fps / performance.fps), 1) + 1
    performance = sample(performance, np.linspace(0, performance.n_frames - 1, count), source)
    turn = _turn_about_vertical(_measure_heading(own.w2c[0]) - _measure_heading(performance.w2c[0]))
    boxes = [
        _measure_box(pose_points(performance.bases[:, :1], source)[0] @ turn.T),
        _measure_box(pose_points(own.bases[:, :1], target)[0]),
    ]
    starts = to_matrices(performance.bases[:, 0]), to_matrices(own.bases[:, 0])
    places = _move(starts[0], source.centre) @ turn.T, _move(starts[1], target.centre)
    (low, size), (own_low, own_size) = boxes
    alike = (places[1] - own_low) / own_size * size + low  # in the source's world, turned
    share = _share_by_distance(alike / size, places[0] / size, source.total)
    # what each source basis did since the first frame, turned as the target stands
    moved = to_matrices(performance.bases) @ bone_curves.inverse(starts[0])[:, None]
    moved[..., :3, :3] = turn @ moved[..., :3, :3] @ turn.T
    moved[..., :3, 3] = moved[..., :3, 3] @ turn.T
    out = np.empty((len(share), count, 9), np.float32)
    scale = own_size[2] / size[2]
    for k, (row, place) in enumerate(zip(share, alike, strict=True)):
        near = np.flatnonzero(row)
        turned = _mean_rotation(np.einsum("k,ktij->tij", row[near], moved[near, :, :3, :3]))
        shift = np.einsum("k,kti->ti", row[near], _move(moved[near], place)) - place
        step = np.tile(np.eye(4), (count, 1, 1))
        step[:, :3, :3] = turned
        step[:, :3, 3] = places[1][k] + scale * shift - turned @ places[1][k]
        out[k] = to_bases(step @ starts[1][k])
    still = np.zeros(count, int)
    made = replace_frames(performance, out, own.K[still], own.w2c[still])
    made.fps, made.size = own.fps, own.size
    return made


def _move(motion: Array, points: Array) -> Array:  # (K, ..., 4, 4), (K, 3) or (3,)
    """Where rigid motions take points."""
    if points.ndim == 1:
        return motion[..., :3, :3] @ points + motion[..., :3, 3]
    return np.einsum("kij,kj->ki", motion[:, :3, :3], points) + motion[:, :3, 3]


def _measure_heading(w2c: Array) -> float:
    """Which way a camera looks along the ground, in radians."""
    return float(np.arctan2(w2c[2, 1], w2c[2, 0]))


def _turn_about_vertical(angle: float) -> Array:  # -> (3, 3)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


def _measure_box(points: Array) -> tuple[Array, Array]:  # (N, 3) -> (3,), (3,)
    """Lowest corner and size, without the outermost points."""
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    return low, np.maximum(high - low, 1e-6)


def _share_by_distance(places: Array, near: Array, total: Array) -> Array:  # -> (K', K)
    """Shares, summing to 1, of the nearest of ``near`` (K, 3) that move anything."""
    apart = np.linalg.norm(places[:, None] - near[None], axis=-1)
    apart = np.where(total[None] > 1e-9, apart, np.inf)
    count = min(_NEAR, apart.shape[1])
    farthest = np.partition(apart, count - 1, axis=1)[:, count - 1 : count]
    closest = apart.min(1, keepdims=True)
    share = np.where(apart <= farthest, np.exp(-(apart - closest) / _REACH), 0.0)
    return share / share.sum(1, keepdims=True)


def _mean_rotation(summed: Array) -> Array:  # (T, 3, 3) -> (T, 3, 3)
    """The rotations nearest to weighted sums of rotations."""
    U, _, Vt = np.linalg.svd(summed)
    U[:, :, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]
    return U @ Vt
