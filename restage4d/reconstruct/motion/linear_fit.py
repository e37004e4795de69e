"""A linear fit that few values which do not belong to it hardly move."""

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_ROUNDS = 5  # of reweighting


def fit_linear(design: F64, values: F64) -> F64:  # (N, D), (N,) -> (D,)
    """Coefficients of the columns of ``design`` that give ``values``, robustly (iteratively
    reweighted least squares, Cauchy weights of 1.5 median errors)."""
    weight, found = np.ones(len(values)), np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        found = np.linalg.lstsq(design * weight[:, None], values * weight, rcond=None)[0]
        off = np.abs(values - design @ found)
        weight = 1 / np.sqrt(1 + (off / (1.5 * np.median(off) + 1e-6)) ** 2)
    return np.asarray(found, np.float64)
