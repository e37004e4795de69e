"""Labels of pixels by a random walk that starts at each pixel and ends on a pixel that is known, or
as the pixel's own evidence says (Grady, "Multilabel random walker image segmentation using prior
models", 2005).

A piece that hangs on the subject by a thin bridge costs a long outline where the picture has no
edge; agreement with the next pixels alone does not see that.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

F32 = NDArray[np.float32]
Ints = NDArray[np.int64]

_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to half of the eight neighbours
_LEAST = 1e-3  # weight of a pixel's own evidence where it has none
_TOLERANCE, _ROUNDS = 1e-3, 150  # of the linear system's solution


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
