"""Ranks of few values, one by one, in kernels."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def insert(ranked: NDArray[np.float32], count: int, value: float | np.float32) -> None:
    """Puts ``value`` at its place among the first ``count`` of ``ranked``, which are in order and
    move up; there is room for one more."""
    k = count
    while k > 0 and ranked[k - 1] > value:
        ranked[k] = ranked[k - 1]
        k -= 1
    ranked[k] = value
