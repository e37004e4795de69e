"""Labels of pixels by a random walk that starts at each pixel and ends on a pixel that is known, or
as the pixel's own evidence says (Grady, "Multilabel random walker image segmentation using prior
models", 2005).

A piece that hangs on the subject by a thin bridge costs a long outline where the picture has no
edge; agreement with the next pixels alone does not see that.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Ints = NDArray[np.int64]
Numbers = NDArray[np.int32]  # of pixels among those that are decided

_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to half of the eight neighbours
_LEAST = 1e-3  # weight of a pixel's own evidence where it has none
_TOLERANCE, _ROUNDS = 1e-3, 150  # of the linear system's solution


class RandomWalk:
    """Random walks over the same pixels of one picture, each by evidence of its own.

    Args:
        rows, cols: (N,) pixels that are decided; the others are known.
        known: (H, W) labels of those.
        ties: as from `compute_ties`.

    Example:
        >>> walk = RandomWalk(rows, cols, mask, compute_ties(lab, 6.0, 0.01))
        >>> found = walk(logit[rows, cols]) > 0.5
    """

    def __init__(self, rows: Ints, cols: Ints, known: Bool, ties: list[F64]) -> None:
        self._index = np.full(known.shape, -1, np.int32)
        self._index[rows, cols] = np.arange(len(rows), dtype=np.int32)
        self._graph = _link(rows, cols, self._index, known, *ties)

    def __call__(self, logit: F32) -> F64:  # (N,) -> (N,)
        """Labels in 0..1 by the evidence of each pixel."""
        start = (1 / (1 + np.exp(-logit))).astype(np.float32).astype(np.float64)
        own = np.abs(np.tanh(logit.astype(np.float64) / 2)) + _LEAST
        return _solve(*self._graph, own, start, _TOLERANCE, _ROUNDS)


def compute_ties(lab: F32, strength: float, contrast: float) -> list[F64]:
    """Ties (H, W) between each pixel of ``lab`` (H, W, 3) and its neighbour to the right, below,
    below to the right and below to the left; 0 where that is outside. See `walk_randomly`."""
    height, width = lab.shape[:2]
    ties = []
    for down, across in _STEPS:
        here = np.s_[: height - down, max(0, -across) : width - max(0, across)]
        there = np.s_[down:, max(0, across) : width - max(0, -across)]
        step = lab[here] - lab[there]
        apart = np.einsum("ijc,ijc->ij", step, step)  # several times as fast as a sum
        tie = np.zeros((height, width))
        tie[here] = strength * np.exp(-contrast * apart) / np.hypot(down, across)
        ties.append(tie)
    return ties


def walk_randomly(
    rows: Ints, cols: Ints, logit: F32, lab: F32, strength: float, contrast: float
) -> F32:
    """Labels (H, W) in 0..1 that follow ``logit`` and change where the picture has edges.

    Args:
        rows, cols: (N,) pixels that are decided; the others count as known by the sign of their
            ``logit`` (H, W), and keep what it says.
        lab: (H, W, 3) colours.
        strength: of the tie between neighbours of one colour; a pixel's own evidence has 1 at most.
        contrast: ties fall off as exp(-contrast * squared difference in Lab).

    Example:
        >>> labels = walk_randomly(*np.nonzero(band), logit, lab, 6.0, 0.01)
        >>> mask = labels > 0.5
    """
    label = (1 / (1 + np.exp(-logit))).astype(np.float32)
    if len(rows):
        walk = RandomWalk(rows, cols, logit > 0, compute_ties(lab, strength, contrast))
        label[rows, cols] = walk(logit[rows, cols])
    return label


@njit(cache=True, nogil=True)
def _link(
    rows: Ints, cols: Ints, index: Numbers, known: Bool, right: F64, down: F64, both: F64, back: F64
) -> tuple[Numbers, F64, F64, F64]:
    """Of each of N pixels the neighbours among them (N, 8), N for none, and the ties to them, 0 for
    none; the sum (N,) of its ties to known pixels, and of those whose label is 1."""
    height, width = known.shape
    count = len(rows)
    others, ties = np.full((count, 8), count, np.int32), np.zeros((count, 8))
    fixed, raised = np.zeros(count), np.zeros(count)
    for i in range(count):
        y, x = rows[i], cols[i]
        k = 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                v, u = y + dy, x + dx
                if (dy == 0 and dx == 0) or v < 0 or u < 0 or v >= height or u >= width:
                    continue
                if dy == 0:
                    tie = right[y, min(x, u)]
                elif dx == 0:
                    tie = down[min(y, v), x]
                elif dy == dx:
                    tie = both[min(y, v), min(x, u)]
                else:
                    tie = back[min(y, v), max(x, u)]
                if index[v, u] >= 0:
                    others[i, k], ties[i, k] = index[v, u], tie
                    k += 1
                else:
                    fixed[i] += tie
                    if known[v, u]:
                        raised[i] += tie
    return others, ties, fixed, raised


@njit(cache=True, nogil=True)
def _solve(
    others: Numbers,
    ties: F64,
    fixed: F64,
    raised: F64,
    own: F64,
    start: F64,
    tolerance: float,
    rounds: int,
) -> F64:
    """Labels (N,) by conjugate gradients with the diagonal as preconditioner, from ``start``."""
    count = len(own)
    diagonal = own + fixed
    for i in range(count):
        for k in range(8):
            diagonal[i] += ties[i, k]
    right = own * start + raised
    found, towards, turned = start.copy(), np.zeros(count + 1), np.empty(count)
    towards[:count] = found
    enough = tolerance**2 * (right * right).sum()
    left = np.empty(count)
    for i in range(count):
        total = diagonal[i] * found[i]
        for k in range(8):
            total -= ties[i, k] * towards[others[i, k]]
        left[i] = right[i] - total
    towards[:] = 0
    before = 1.0
    for _ in range(rounds):
        size = now = 0.0
        for i in range(count):
            size += left[i] * left[i]
            now += left[i] * left[i] / diagonal[i]
        if size <= enough:
            break
        share = now / before
        before = now
        for i in range(count):
            towards[i] = left[i] / diagonal[i] + share * towards[i]
        along = 0.0
        for i in range(count):
            total = diagonal[i] * towards[i]
            for k in range(8):
                total -= ties[i, k] * towards[others[i, k]]
            turned[i] = total
            along += towards[i] * total
        step = now / along
        for i in range(count):
            found[i] += step * towards[i]
            left[i] -= step * turned[i]
    return found


def walk_randomly_reference(
    rows: Ints, cols: Ints, logit: F32, lab: F32, strength: float, contrast: float
) -> F32:
    """`walk_randomly` by scipy's matrices: the same to rounding, several times as slow."""
    height, width = logit.shape
    label = (1 / (1 + np.exp(-logit))).astype(np.float32)
    if not len(rows):
        return label
    index = np.full((height, width), -1, np.int64)
    index[rows, cols] = np.arange(len(rows))
    known = (logit > 0).astype(np.float64)
    own = np.abs(np.tanh(logit[rows, cols].astype(np.float64) / 2)) + _LEAST
    start = label[rows, cols].astype(np.float64)
    diagonal, right = own.copy(), own * start
    ends, ties = [], []
    for down, across in _STEPS:
        here = np.s_[: height - down, max(0, -across) : width - max(0, across)]
        there = np.s_[down:, max(0, across) : width - max(0, -across)]
        step = lab[here] - lab[there]
        apart = np.einsum("ijc,ijc->ij", step, step)  # several times as fast as a sum
        tie = strength * np.exp(-contrast * apart) / np.hypot(down, across)
        a, b = index[here], index[there]
        both = (a >= 0) & (b >= 0)
        ends.append(np.stack([a[both], b[both]]))
        ties.append(tie[both])
        for inside, outside, value in ((a, b, known[there]), (b, a, known[here])):
            edge = (inside >= 0) & (outside < 0)
            diagonal += np.bincount(inside[edge], tie[edge], len(rows))
            right += np.bincount(inside[edge], (tie * value)[edge], len(rows))
    (a, b), tie = np.concatenate(ends, axis=1), np.concatenate(ties)
    diagonal += np.bincount(a, tie, len(rows)) + np.bincount(b, tie, len(rows))
    graph = sparse.coo_array(
        (np.r_[tie, tie], (np.r_[a, b], np.r_[b, a])), shape=(len(rows), len(rows))
    )
    system = (sparse.diags_array(diagonal) - graph).tocsr()
    found, _ = cg(
        system,
        right,
        x0=start,
        rtol=_TOLERANCE,
        maxiter=_ROUNDS,
        M=sparse.diags_array(1 / diagonal),
    )
    label[rows, cols] = found
    return label
