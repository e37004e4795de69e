"""What a skeleton was posed to, as bases and coefficients alone, for the `.puppet` file.

A point that the bones carry on by ``D`` after Eq. 1 is a point of Eq. 1 with bases ``D T_k``:
``D (R μ + t)`` with the same coefficients. Points differ in ``D`` only where bones blend; there the
skin weights are rounded to steps, and each rounded blend has bases of its own. Where nothing was
posed, bases and coefficients stay to the bit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.puppet import F32
from restage4d.se3 import Array
from restage4d.skeleton.posing import blend_changes

STEPS = (8, 16, 32, 64)  # of a skin weight of 1, tried until the loss is small
LOSS = 3.5e-3  # of the subject's extent, that the farthest point may be off
FINE = 1e-3  # the same for what is only drawn, where the number of bases does not matter
_SAME = 3e-5  # of the extent: changes nearer to each other are one (keys are that exact)
_MOST = 60_000  # bases in a file


@dataclass(frozen=True)
class Extended:
    """Attributes: ``index`` (N, M) and the coefficients' bases (K', T, 9) of each performance;
    ``loss``: how far the farthest point is off, in the subject's extent."""

    index: NDArray[np.uint16]
    bases: list[F32]
    loss: float


def extend_bases(
    means: Array,
    index: NDArray[np.uint16],
    weight: Array,
    skin: tuple[NDArray[np.uint16], Array],
    bases: list[F32],
    changes: list[Array],
    loss: float = LOSS,
) -> Extended:
    """Bases that hold what a skeleton was posed to.

    Args:
        means, index, weight: (N, 3), (N, M), (N, M) of the puppet.
        skin: (N, 4), (N, 4) bones and weights of each point.
        bases: (K, T, 9) of each performance.
        changes: (S, T, 4, 4) of each, see `posing`.
        loss: that the farthest point may be off; the smaller, the more bases.
    """
    extent = float(np.linalg.norm(np.ptp(means, axis=0))) or 1.0
    group, moves = _group_bones(changes, _SAME * extent)
    if not moves:
        return Extended(index, bases, 0.0)
    count = int(group.max()) + 1
    share = np.zeros((len(means), count))
    for j in range(skin[0].shape[1]):
        np.add.at(share, (np.arange(len(means)), group[skin[0][:, j]]), skin[1][:, j])
    of_group = [np.stack([c[group == g][0] for g in range(count)]) for c in changes]
    best = None
    for steps in STEPS:
        blends, of_point = np.unique(_round(share, steps), axis=0, return_inverse=True)
        result = _make(index, weight, bases, of_group, blends, of_point.ravel())
        if result[0].size and result[2] > _MOST:
            break
        off = _measure(means, index, weight, share, bases, of_group, blends[of_point.ravel()])
        best = Extended(result[0], result[1], off / extent)
        if best.loss <= loss:
            break
    assert best is not None
    return best


def _group_bones(changes: list[Array], least: float) -> tuple[NDArray[np.intp], bool]:
    """(S,) which bones change alike in all performances; whether any changes at all. Group 0 is
    what does not change, if anything does not."""
    flat = np.concatenate([c.reshape(len(c), -1) for c in changes], axis=1)
    still = np.tile(np.eye(4).ravel(), flat.shape[1] // 16)
    known, group = [still], np.zeros(len(flat), np.intp)
    for s, mine in enumerate(flat):
        for g, other in enumerate(known):
            if np.abs(mine - other).max() <= least:
                group[s] = g
                break
        else:
            group[s] = len(known)
            known.append(mine)
    moves = len(known) > 1
    return np.unique(group, return_inverse=True)[1].ravel(), moves


def _round(share: Array, steps: int) -> NDArray[np.int64]:  # (N, G) -> (N, G)
    """Weights in whole steps that sum to ``steps``: rounded down, and up where most is left."""
    scaled = share / share.sum(1, keepdims=True) * steps
    whole = np.floor(scaled + 1e-6).astype(np.int64)
    left = steps - whole.sum(1)
    order = np.argsort(-(scaled - whole), axis=1, kind="stable")
    rank = np.argsort(order, axis=1)
    return whole + (rank < left[:, None])


def _make(
    index: NDArray[np.uint16],
    weight: Array,
    bases: list[F32],
    changes: list[Array],
    blends: NDArray[np.int64],
    of_point: NDArray[np.intp],
) -> tuple[NDArray[np.uint16], list[F32], int]:
    """Coefficients and bases, one per blend and basis that meet in a point; how many."""
    k = len(bases[0])
    still = [np.abs(c - np.eye(4)).max((1, 2, 3)) < _SAME for c in changes]
    rests = np.all(still, axis=0)  # groups that never change
    resting = (blends[:, ~rests] == 0).all(1)
    pair = np.where(resting[of_point][:, None], 0, of_point[:, None] + 1) * k + index
    used = np.unique(pair[(weight > 0) & (pair >= k)])
    if k + len(used) > _MOST:
        return index, bases, k + len(used)
    place = np.where(pair < k, pair, k + np.searchsorted(used, pair).clip(0, max(len(used) - 1, 0)))
    place = np.where((weight > 0) | (pair < k), place, index)
    out = []
    for mine, change in zip(bases, changes, strict=True):
        added = np.empty((len(used), mine.shape[1], 9))
        blend, basis = used // k - 1, used % k
        for t in range(mine.shape[1]):
            D, d = _blend(change[:, t], blends[blend])
            T = mine[basis, t].astype(np.float64)
            R = D @ se3.gram_schmidt(T[:, :6])
            added[:, t] = se3.pack(R, np.einsum("nij,nj->ni", D, T[:, 6:]) + d)
        out.append(np.concatenate([mine, added.astype(np.float32)]))
    return place.astype(np.uint16), out, k + len(used)


def _blend(change: Array, share: NDArray[Any]) -> tuple[Array, Array]:  # (G, 4, 4), (N, G)
    order = np.argsort(-share, axis=1, kind="stable")
    sorted_share = np.take_along_axis(share, order, axis=1).astype(np.float64)
    return blend_changes(change, order, sorted_share / sorted_share.sum(1, keepdims=True))


def _measure(
    means: Array,
    index: NDArray[np.uint16],
    weight: Array,
    share: Array,
    bases: list[F32],
    changes: list[Array],
    rounded: NDArray[Any],
) -> float:
    """How far the farthest point is off at its worst moment of a few, world units."""
    worst = 0.0
    blending = np.flatnonzero((share > 1e-3).sum(1) > 1)
    some = blending[:: max(1, len(blending) // 6000)]
    if not len(some):
        return 0.0
    for mine, change in zip(bases, changes, strict=True):
        most = np.abs(change - np.eye(4)).max((0, 2, 3)).argmax()
        for t in {*np.linspace(0, mine.shape[1] - 1, 5).astype(int).tolist(), int(most)}:
            R, d = se3.blend(mine[:, t].astype(np.float64), index[some], weight[some])
            posed = se3.transform(R, d, means[some].astype(np.float64))
            exact, near = (_blend(change[:, t], x[some]) for x in (share, rounded))
            off = se3.transform(*exact, posed) - se3.transform(*near, posed)
            worst = max(worst, float(np.linalg.norm(off, axis=1).max()))
    return worst
