"""A thickness for a silhouette: the subject's 2.5D relief, from nothing but its mask."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

# a long limb of half-width w gets a circular cross-section of radius w; a disc of radius R is R/√2
# thick
_LOAD = 2.0


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
    if not mask.all():  # a mask that fills the image has no outline but the border
        edge = (
            rows[0] == 0,
            rows[-1] == mask.shape[0] - 1,
            cols[0] == 0,
            cols[-1] == mask.shape[1] - 1,
        )
    else:
        edge = (False,) * 4
    number = np.full(framed.shape, -1, np.int32)
    number[framed] = np.arange(inside.sum())
    diagonal = np.zeros(inside.sum())
    heads, tails = [], []
    for axis, step, cut in ((0, 1, edge[0]), (0, -1, edge[1]), (1, 1, edge[2]), (1, -1, edge[3])):
        towards = np.roll(number, step, axis)  # the neighbour's number
        open_border = np.zeros(framed.shape, bool)
        if cut:
            first = (1 if step == 1 else -2, slice(None))
            open_border[first if axis == 0 else first[::-1]] = True
        here, there, beyond = number[framed], towards[framed], open_border[framed]
        linked = there >= 0
        heads.append(here[linked])
        tails.append(there[linked])
        # u is 0 half-way to an outside neighbour, whose value is therefore -u; nothing flows over
        # the image border
        diagonal += np.where(linked, 1.0, np.where(beyond, 0.0, 2.0))
    head, tail = np.concatenate(heads), np.concatenate(tails)
    every = np.arange(len(diagonal))
    values = np.concatenate([diagonal, np.full(len(head), -1.0)])
    laplacian = coo_array(
        (values, (np.concatenate([every, head]), np.concatenate([every, tail])))
    ).tocsc()
    u = splu(laplacian, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(
        np.full(len(diagonal), _LOAD)
    )
    result[box][inside] = np.sqrt(np.maximum(u, 0.0))
    return result
