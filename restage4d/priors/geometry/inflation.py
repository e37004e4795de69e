"""A thickness for a silhouette: the subject's 2.5D relief, from nothing but its mask."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# a long limb of half-width w gets a circular cross-section of radius w; a disc of radius R is R/√2
# thick
_LOAD = 2.0
_TOLERANCE = 1e-10  # of the squared residual


def inflate(mask: NDArray[np.bool_]) -> NDArray[np.float32]:  # (H, W) -> (H, W)
    """Half-thickness in pixels of the body behind a silhouette; 0 outside it.

    ``sqrt(u)`` with ``∇²u = -2`` inside and ``u = 0`` on the outline: round across every part, thin
    parts thin, and without the ridges that a distance transform has along its medial axis. Where
    the image border cuts the subject off, it is taken to go on behind the border.
    """
    mask = np.asarray(mask, bool)
    result = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return result
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    inside = mask[box]
    framed = np.pad(inside, 1)
    whole = mask.all()  # a mask that fills the image has no outline but the border
    cut = np.zeros_like(framed)  # beyond the image border, over which nothing flows
    if not whole:
        cut[0], cut[-1] = rows[0] == 0, rows[-1] == mask.shape[0] - 1
        cut[:, 0] |= cols[0] == 0
        cut[:, -1] |= cols[-1] == mask.shape[1] - 1
    # u is 0 half-way to an outside neighbour, whose value is therefore -u
    links = np.where(framed, 1.0, np.where(cut, 0.0, 2.0)).astype(np.float32)
    diagonal = np.zeros(framed.shape, np.float32)
    diagonal[1:-1, 1:-1] = links[:-2, 1:-1] + links[2:, 1:-1] + links[1:-1, :-2] + links[1:-1, 2:]
    u = _solve(framed.astype(np.float32), diagonal)[1:-1, 1:-1]
    result[box][inside] = np.sqrt(np.maximum(u, 0.0))[inside]
    return result


@njit(nogil=True, cache=True, fastmath=True)
def _solve(inside, diagonal):
    """u with ``diagonal u - sum of neighbours = _LOAD`` where ``inside`` (H, W) is 1 and 0
    elsewhere, by conjugate gradients, preconditioned by the diagonal."""
    height, width = inside.shape
    u, r, p, q = np.zeros((4, height, width), np.float32)
    energy = 0.0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            r[y, x] = np.float32(_LOAD) * inside[y, x]
            p[y, x] = r[y, x] / max(diagonal[y, x], np.float32(1e-6))
            energy += r[y, x] * p[y, x]
    first = energy
    for _ in range(20 * (height + width)):
        if energy <= _TOLERANCE * first:
            break
        along = 0.0
        for y in range(1, height - 1):
            row = np.float32(0)
            for x in range(1, width - 1):
                around = p[y - 1, x] + p[y + 1, x] + p[y, x - 1] + p[y, x + 1]
                q[y, x] = (diagonal[y, x] * p[y, x] - around) * inside[y, x]
                row += q[y, x] * p[y, x]
            along += row
        if along <= 0:  # nothing is held anywhere: the load has nowhere to go
            break
        step = np.float32(energy / along)
        before, energy = energy, 0.0
        for y in range(1, height - 1):
            row = np.float32(0)
            for x in range(1, width - 1):
                u[y, x] += step * p[y, x]
                r[y, x] -= step * q[y, x]
                row += r[y, x] * r[y, x] / max(diagonal[y, x], np.float32(1e-6))
            energy += row
        share = np.float32(energy / before)
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                p[y, x] = r[y, x] / max(diagonal[y, x], np.float32(1e-6)) + share * p[y, x]
    return u
