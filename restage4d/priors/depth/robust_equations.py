"""Sparse linear least squares in which some equations may be wrong."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from restage4d.clips import Rewound

F64 = NDArray[np.float64]


class RobustEquations:
    """Equations in unknowns that are numbered from 0, solved by iteratively reweighted least
    squares (Geman-McClure weights; twelve rounds).

    Example:
        >>> equations = RobustEquations()
        >>> equations.add([[0], [0], [0]], 1.0, [2.0, 2.1, 9.0], 0.1, robust=True)
        >>> float(equations.solve(1)[0].round(2))
        2.05
    """

    def __init__(self) -> None:
        self._parts: list[tuple] = []

    def add(
        self,
        unknowns: ArrayLike,
        factors: ArrayLike,
        right: ArrayLike,
        sigma: ArrayLike,
        robust: bool = False,
    ) -> None:
        """``sum_k factors[:, k] x[unknowns[:, k]] = right ± sigma``, one equation per row of
        ``unknowns`` (M, k)."""
        unknowns = np.asarray(unknowns, int)
        if len(unknowns):
            wide = np.broadcast_to(np.asarray(factors, float), unknowns.shape)
            one = [np.broadcast_to(np.asarray(v, float), len(unknowns)) for v in (right, sigma)]
            self._parts.append((unknowns, wide, *one, np.full(len(unknowns), robust)))

    def smooth(self, rewound: Rewound, first: int, sigma: float) -> None:
        """Second differences along every video of the unknowns ``first`` + frame."""
        for source in range(rewound.n_branches + 1):
            video = rewound.video(source)
            self.add(
                first + np.stack([video[:-2], video[1:-1], video[2:]], 1), [1, -2, 1], 0.0, sigma
            )

    def solve(self, count: int) -> F64:
        """The unknowns (count,), each of which some equation holds."""
        rows, cols, values, start = [], [], [], 0
        for unknowns, factors, *_ in self._parts:
            rows.append(np.repeat(start + np.arange(len(unknowns)), unknowns.shape[1]))
            cols.append(unknowns.ravel())
            values.append(factors.ravel())
            start += len(unknowns)
        right, sigma, robust = (np.concatenate([p[i] for p in self._parts]) for i in (2, 3, 4))
        A = coo_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))),
            shape=(start, count),
        ).tocsr()
        trust, x = np.ones(start), np.zeros(count)
        for _ in range(12):
            weight = trust / sigma**2
            x = splu((A.T @ (A * weight[:, None])).tocsc()).solve(A.T @ (weight * right))
            off = ((A @ x - right) / sigma) ** 2
            trust = np.where(robust, 1 / (1 + off / 4) ** 2, 1.0)
        return x
