"""How much each bone moves each point: labels of cells, spread within the body, read at the points
between cells."""

import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import F32, Puppet
from restage4d.se3 import Array
from restage4d.skeleton.shape import Ints, Shape, spread

INFLUENCES = 4
_BLEND = 0.054  # of the subject's longest side: standard deviation of the blend at a joint
_REACH = 0.35  # of a bone's length, that it blends at most
_STEPS = (2, 12)  # of cells, at least and at most


def skin(
    puppet: Puppet, shape: Shape, label: Ints, lengths: Array
) -> tuple[NDArray[np.uint16], F32]:  # (N, 4), (N, 4)
    """Smooth skin weights of all points; short bones blend less far than long ones, or their own
    ends would not be theirs.

    Args:
        label: (C,) the bone of each cell.
        lengths: (S,) of the bones.
    """
    hard = np.zeros((len(shape), len(lengths)))
    hard[np.arange(len(shape)), label] = 1.0
    blend = _BLEND * float(np.ptp(shape.places, axis=0).max())
    cells = blend / shape.size
    pace = np.clip((_REACH * lengths[label] / blend) ** 2, 0.1, 1.0)
    # a step among 26 neighbours has a variance of two thirds of a cell's side
    soft = spread(shape, hard, pace, int(np.clip(round(1.5 * cells**2), *_STEPS)))
    weight = _read_at_points(puppet.subject.means.astype(np.float64), shape, soft)
    return keep_largest(weight)


def keep_largest(weight: Array) -> tuple[NDArray[np.uint16], F32]:  # (N, S) -> (N, 4), (N, 4)
    """The `INFLUENCES` largest of each row, less what the next one has, so that none comes or goes
    with a jump."""
    order = np.argsort(-weight, axis=1, kind="stable")[:, : INFLUENCES + 1]
    values = np.take_along_axis(weight, order, axis=1)
    if values.shape[1] > INFLUENCES:
        values = values[:, :INFLUENCES] - values[:, INFLUENCES:]
    values = np.maximum(values, 0)
    values /= values.sum(1, keepdims=True)
    index = np.zeros((len(weight), INFLUENCES), np.uint16)
    out = np.zeros((len(weight), INFLUENCES), np.float32)
    index[:, : values.shape[1]], out[:, : values.shape[1]] = order[:, :INFLUENCES], values
    return index, out


def _read_at_points(means: Array, shape: Shape, soft: Array) -> Array:  # (N, 3), (C, S) -> (N, S)
    """A Gaussian mean of the cells around a point that hang together with the nearest one; of the
    nearest cell alone where there is none around."""
    near, there = _look_around(means, shape)
    away = ((means[:, None] - shape.places[near]) ** 2).sum(2)
    away[~there] = np.inf
    lost = ~there.any(1)
    nearest = near[np.arange(len(means)), away.argmin(1)]
    for i in np.flatnonzero(lost):
        nearest[i] = ((shape.places - means[i]) ** 2).sum(1).argmin()
    count = len(shape)
    joined = np.concatenate([shape.edges, shape.edges[:, ::-1]]) @ np.array([count, 1])
    joined.sort()
    pair = nearest[:, None] * count + near
    at = np.searchsorted(joined, pair).clip(0, len(joined) - 1)
    held = there & ((joined[at] == pair) | (near == nearest[:, None]))
    least = np.where(lost, 0.0, away.min(1))
    share = np.where(held, np.exp(-(away - least[:, None]) / (2 * shape.size**2)), 0.0)
    share[lost, 0], near[lost, 0] = 1.0, nearest[lost]
    share /= share.sum(1, keepdims=True)
    return np.stack([(share * column[near]).sum(1) for column in soft.T], axis=1)


def _look_around(means: Array, shape: Shape) -> tuple[Ints, NDArray[np.bool_]]:
    """(N, 27) cells around each point, and which of them are there."""
    grid = np.floor((means - shape.origin) / shape.size).astype(np.intp)
    span = shape.cells.max(0) + 3
    grid = grid.clip(-1, span - 2)
    steps = np.array([(span[1]) * span[2], span[2], 1])
    key = (shape.cells + 1) @ steps
    order = np.argsort(key)
    offsets = (np.array(list(np.ndindex(3, 3, 3))) - 1) @ steps
    wanted = ((grid + 1) @ steps)[:, None] + offsets
    at = np.searchsorted(key[order], wanted).clip(0, len(key) - 1)
    return order[at], key[order][at] == wanted
