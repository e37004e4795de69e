"""A closed surface around a body of Gaussians: quads on a grid, watertight and manifold.

Cells that a Gaussian touches are solid, and so are those that no way leads to from outside or that
have solid cells on all six sides. Between solid and empty cells lies the surface (surface nets,
Gibson 1998): a vertex in the middle of every eight cells that are not all alike, smoothed within
its own cell, so that no thin limb shrinks away.
"""

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import Gaussians
from restage4d.se3 import Array

Solid = NDArray[np.bool_]  # (X, Y, Z)
_DENSE = 0.3  # opacity of the Gaussians that count
_FINEST, _COARSEST = 96, 12  # cells along the longest side
_SMOOTHINGS, _FREE = 12, 0.75  # and how far a vertex may go from where it began, in cells
_CRUMB = 0.01  # of all solid cells: smaller pieces are left out


def close_surface(
    subject: Gaussians, *, faces: int = 8000, gap: int = 1
) -> tuple[Array, NDArray[np.intp]]:  # -> (V, 3), (F, 4)
    """Vertices and quads, turning left seen from outside.

    Args:
        subject: at rest.
        faces: at most so many quads, at the finest grid that allows it.
        gap: holes of so many cells to either side are closed.

    Raises:
        InputError: hardly a Gaussian is dense.
    """
    dense = subject.opacities >= _DENSE
    if dense.sum() < 8:
        raise InputError(
            f"Only {dense.sum()} splats are dense enough for a surface.", "Take another puppet."
        )
    places = _sample(subject, dense)
    low, extent = places.min(0), float(np.ptp(places, axis=0).max()) + 1e-9
    cells = _FINEST
    while True:
        size = extent / cells
        solid = _drop_crumbs(_make_manifold(_fill(_occupy(places, low, size, gap + 2), gap)))
        vertices, quads = _wrap(solid)
        if len(quads) <= faces or cells <= _COARSEST:
            break
        cells = max(_COARSEST, int(cells * np.clip((faces / len(quads)) ** 0.5, 0.85, 0.95)))
    return (vertices - (gap + 2)) * size + low, quads


def _sample(subject: Gaussians, dense: Solid) -> Array:
    """Middles of Gaussians, and their ends along their axes at one sigma."""
    means = subject.means[dense].astype(np.float64)
    axes = se3.quat_to_matrix(subject.quats[dense].astype(np.float64))
    ends = (axes * subject.scales[dense][:, None, :]).transpose(0, 2, 1)  # (N, 3 axes, 3)
    return np.concatenate([means, *(means + s * ends[:, a] for a in range(3) for s in (-1, 1))])


def _occupy(places: Array, low: Array, size: float, margin: int) -> Solid:
    cell = ((places - low) / size).astype(np.int64) + margin
    solid = np.zeros(cell.max(0) + 1 + margin, bool)
    solid[tuple(cell.T)] = True
    return solid


def _fill(solid: Solid, gap: int) -> Solid:
    """Small holes are closed, and what lies within is solid."""
    closed = ~_flood(_grow(solid, gap))  # what is reached from outside is empty
    closed = ~_grow(~closed, gap) | solid
    hit = np.ones_like(closed)
    for axis in range(3):
        hit &= np.logical_or.accumulate(closed, axis)
        hit &= np.flip(np.logical_or.accumulate(np.flip(closed, axis), axis), axis)
    return hit | closed


def _grow(solid: Solid, steps: int) -> Solid:
    """Solid cells and those around them."""
    for _ in range(steps):
        for axis in range(3):
            solid = solid | np.roll(solid, 1, axis) | np.roll(solid, -1, axis)
    return solid


def _flood(solid: Solid) -> Solid:
    """Empty cells that a way over faces leads to from the first corner, which is empty."""
    reached = np.zeros_like(solid)
    reached[0, 0, 0] = True
    return _spread(reached, ~solid)


def _spread(reached: Solid, free: Solid) -> Solid:
    """All of ``free`` that hangs together with ``reached`` over faces."""
    while True:
        before = reached.sum()
        for axis in range(3):
            reached = reached | (np.roll(reached, 1, axis) & free)
            reached = reached | (np.roll(reached, -1, axis) & free)
        if reached.sum() == before:
            return reached


def _drop_crumbs(solid: Solid) -> Solid:
    """Without small pieces."""
    left, kept, least = solid.copy(), np.zeros_like(solid), _CRUMB * solid.sum()
    while left.sum() > least:
        seed = np.zeros_like(solid)
        seed[np.unravel_index(int(left.argmax()), left.shape)] = True
        piece = _spread(seed, left)
        left &= ~piece
        if piece.sum() >= least:
            kept |= piece
    return kept


def _make_manifold(solid: Solid) -> Solid:
    """Fills cells until none meet over an edge or a corner alone: there the surface would touch
    itself."""
    solid = solid.copy()
    while True:
        before = solid.sum()
        for axis in range(3):
            a, b = (x for x in range(3) if x != axis)
            for way in (1, -1):
                near, other = np.roll(solid, -1, a), np.roll(solid, -way, b)
                across = np.roll(near, -way, b)
                solid |= np.roll(solid & across & ~near & ~other, 1, a)  # fills `near`
        for way in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            moves = ((0, -1), (1, -way[0]), (2, -way[1]))
            first, second, third = (np.roll(solid, s, a) for a, s in moves)
            ab, ac, bc = (
                np.roll(np.roll(solid, moves[i][1], moves[i][0]), moves[j][1], moves[j][0])
                for i, j in ((0, 1), (0, 2), (1, 2))
            )
            far = np.roll(ab, moves[2][1], 2)
            lone = solid & far & ~(first | second | third | ab | ac | bc)
            hole = ~(solid | far) & first & second & third & ab & ac & bc
            solid |= np.roll(lone, 1, 0) | np.roll(np.roll(lone, 1, 0), way[0], 1) | hole
        if solid.sum() == before:
            return solid


def _wrap(solid: Solid) -> tuple[Array, NDArray[np.intp]]:  # -> (V, 3) in cells, (F, 4)
    """The surface between solid and empty cells. Vertex (i, j, k) is where the eight cells up to
    that one meet."""
    shape = tuple(n + 1 for n in solid.shape)
    quads = []
    for axis in range(3):
        a, b = ((axis + 1) % 3, (axis + 2) % 3)
        here = np.moveaxis(solid, axis, 0)
        change = here[1:].astype(np.int8) - here[:-1].astype(np.int8)
        for way in (1, -1):  # the surface looks down or up the axis
            at = np.argwhere(np.moveaxis(change, 0, axis) == way)
            at[:, axis] += 1
            ring = np.zeros((4, 3), np.int64)
            ring[:, a], ring[:, b] = (0, 1, 1, 0), (0, 0, 1, 1)
            quads.append(at[:, None] + ring[::-way])
    corner = np.concatenate(quads)
    flat = np.ravel_multi_index(tuple(corner.reshape(-1, 3).T), shape)
    used, index = np.unique(flat, return_inverse=True)
    start = np.stack(np.unravel_index(used, shape), 1).astype(np.float64)
    faces = index.reshape(-1, 4)
    return _smooth(start, faces), faces


def _smooth(start: Array, faces: NDArray[np.intp]) -> Array:
    """Every vertex towards the middle of its neighbours, no further than `_FREE` from where it
    began."""
    ends = np.concatenate([faces[:, [i, (i + 1) % 4]] for i in range(4)])
    count = np.bincount(ends[:, 0], minlength=len(start))[:, None]
    places = start
    for _ in range(_SMOOTHINGS):
        total = [np.bincount(ends[:, 0], places[ends[:, 1], c], len(start)) for c in range(3)]
        places = np.stack(total, 1) / count
        places = start + np.clip(places - start, -_FREE, _FREE)
    return places
