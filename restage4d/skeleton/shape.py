"""The subject's shape as a graph of occupied cells: distances within the body, not through the air
between two legs. numpy only; nothing is random."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import Puppet
from restage4d.se3 import Array

Ints = NDArray[np.intp]

_CELL = 1 / 45  # of the subject's longest side
_CROWD = 2.0  # points in a cell, on average
_SOLID = 0.3  # opacity from which a Gaussian counts
_TORN = 2.0  # cells that come this much farther apart at any time do not hang together
_LEAST = 0.01  # of the cells: a smaller island is a floater
_TIMES = 8  # frames looked at per performance


@dataclass(frozen=True)
class Shape:
    """Cells with Gaussians in or around them, and which of them hang together.

    Attributes:
        places: (C, 3) mean canonical position of each cell's Gaussians, the cell's middle where it
            is inside; world units.
        edges: (E, 2) neighbouring cells, each pair once.
        lengths: (E,) world units.
        size: the cells' side.
        radius: (C,) how deep inside each cell is, world units.
        cells: (C, 3) their places in the grid.
        origin: (3,) the grid's corner, world units.
    """

    places: Array
    edges: Ints
    lengths: Array
    size: float
    radius: Array
    cells: Ints
    origin: Array

    def __len__(self) -> int:
        return len(self.places)


def find_shape(puppet: Puppet) -> Shape:
    """The cells of a puppet's Gaussians, floaters left out."""
    solid = puppet.subject.opacities > _SOLID
    means = puppet.subject.means[solid].astype(np.float64)
    if len(means) < 50:
        solid[:] = True
        means = puppet.subject.means.astype(np.float64)
    low, high = np.quantile(means, 0.005, axis=0), np.quantile(means, 0.995, axis=0)
    size = _choose_size(means, float((high - low).max()))
    inside = ((means > low - 3 * size) & (means < high + 3 * size)).all(1)
    means, solid[solid] = means[inside], inside
    origin = means.min(0) - size
    cell = np.floor((means - origin) / size).astype(np.intp)
    grid = np.zeros(cell.max(0) + 2, bool)
    grid[tuple(cell.T)] = True
    number = np.full(grid.shape, -1)
    cells = np.argwhere(_fill(grid))
    number[tuple(cells.T)] = np.arange(len(cells))
    of_point = number[tuple(cell.T)]
    taken = np.bincount(of_point, minlength=len(cells)) > 0
    places = (cells + 0.5) * size + origin
    places[taken] = _average(means, of_point, len(cells))[taken]
    edges = _find_neighbours(cells)
    edges = edges[~_find_torn(puppet, solid, of_point, places, taken, edges, size)]
    radius = size * _measure_depth(number >= 0)[tuple(cells.T)]
    island = label_islands(len(cells), edges)
    counts = np.bincount(island)
    kept = counts[island] >= min(max(_LEAST * len(cells), 3), counts.max())
    moved = np.cumsum(kept) - 1
    edges = moved[edges[kept[edges].all(1)]]
    places, radius, cells = places[kept], radius[kept], cells[kept]
    edges = _join_islands(places, edges, island[kept])
    lengths = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1)
    return Shape(places, edges, np.maximum(lengths, 1e-9), size, radius, cells, origin)


def _choose_size(means: Array, extent: float) -> float:
    """The smallest cells that have enough points in them to hang together."""
    size = max(extent * _CELL, 1e-6)
    for _ in range(20):
        cells = np.unique(np.floor((means - means.min(0)) / size).astype(np.intp), axis=0)
        if len(means) >= _CROWD * len(cells):
            break
        size *= 1.15
    return size


def compute_distances(shape: Shape, start: Ints, within: NDArray[np.bool_] | None = None) -> Array:
    """(C,) length of the shortest way within the body from any of ``start``; inf where there is
    none."""
    edges, lengths = shape.edges, shape.lengths
    if within is not None:
        inside = within[edges].all(1)
        edges, lengths = edges[inside], lengths[inside]
    a, b = np.concatenate([edges, edges[:, ::-1]]).T
    step = np.concatenate([lengths, lengths])
    out = np.full(len(shape), np.inf)
    out[start] = 0.0
    for _ in range(len(shape)):
        before = out.copy()
        np.minimum.at(out, b, out[a] + step)
        if np.array_equal(before, out):
            break
    return out


def spread(shape: Shape, values: Array, pace: Array, steps: int) -> Array:  # (C, V) -> (C, V)
    """Values averaged over neighbours again and again: diffusion within the body, one cell's side
    a step or less. ``pace`` (C,) is how much of a step each cell takes, 0 to 1."""
    a, b = np.concatenate([shape.edges, shape.edges[:, ::-1]]).T
    count = 1.0 + np.bincount(b, minlength=len(shape))
    columns = list(values.T)
    for _ in range(steps):
        means = [(x + np.bincount(b, x[a], len(shape))) / count for x in columns]
        columns = [x + pace * (m - x) for x, m in zip(columns, means, strict=True)]
    return np.stack(columns, axis=1)


def label_islands(n: int, edges: Ints) -> Ints:  # (E, 2) -> (n,)
    """Which cells hang together, numbered from 0."""
    label = np.arange(n)
    while True:
        before = label.copy()
        np.minimum.at(label, edges[:, 0], label[edges[:, 1]])
        np.minimum.at(label, edges[:, 1], label[edges[:, 0]])
        label = label[label]
        if np.array_equal(before, label):
            return np.unique(label, return_inverse=True)[1].ravel()


def _fill(grid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells with something in them, or with something on five of their six sides, however far."""
    around = np.zeros(grid.shape, int)
    for axis in range(3):
        around += np.maximum.accumulate(grid, axis)
        around += np.flip(np.maximum.accumulate(np.flip(grid, axis), axis), axis)
    return grid | (around >= 5)


def _measure_depth(solid: NDArray[np.bool_]) -> Array:
    """How many cells deep each one is, by layers taken off over faces and over corners in turn."""
    depth, left = np.zeros(solid.shape), solid.copy()
    for layer in range(max(solid.shape)):
        if not left.any():
            break
        depth += left
        padded = np.pad(left, 1)
        shifts = [(1, 1, 0), (1, 1, 2), (1, 0, 1), (1, 2, 1), (0, 1, 1), (2, 1, 1)]
        if layer % 2:
            shifts = list(np.ndindex(3, 3, 3))
        for dx, dy, dz in shifts:
            a, b, c = left.shape
            left = left & padded[dx : dx + a, dy : dy + b, dz : dz + c]
    return depth


def _find_torn(
    puppet: Puppet,
    solid: NDArray[np.bool_],
    of_point: Ints,
    places: Array,
    taken: NDArray[np.bool_],
    edges: Ints,
    size: float,
) -> NDArray[np.bool_]:  # -> (E,)
    """Pairs of cells that come apart in some frame: two legs that only touch."""
    rest = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1)
    torn = np.zeros(len(edges), bool)
    both = taken[edges].all(1)
    for performance in puppet.performances:
        some = np.unique(np.linspace(0, performance.n_frames - 1, _TIMES).astype(int))
        for t in some.tolist():
            means = puppet.pose(performance, t).means[solid]
            posed = _average(means, of_point, len(places))
            apart = np.linalg.norm(posed[edges[:, 0]] - posed[edges[:, 1]], axis=1)
            torn |= both & (apart > _TORN * np.maximum(rest, size))
    return torn


def _average(values: Array, group: Ints, count: int) -> Array:  # (N, 3), (N,) -> (count, 3)
    share = np.maximum(np.bincount(group, minlength=count), 1)
    total = [np.bincount(group, values[:, i], count) for i in range(values.shape[1])]
    return np.stack(total, axis=1) / share[:, None]


def _find_neighbours(cells: Ints) -> Ints:  # (C, 3) -> (E, 2)
    """Pairs of cells that share a side, an edge or a corner."""
    span = cells.max(0) + 3
    key = ((cells[:, 0] + 1) * span[1] + cells[:, 1] + 1) * span[2] + cells[:, 2] + 1
    order = np.argsort(key)
    pairs = []
    for dx, dy, dz in np.ndindex(3, 3, 3):
        move = ((dx - 1) * span[1] + (dy - 1)) * span[2] + (dz - 1)
        if move <= 0:
            continue
        at = np.searchsorted(key[order], key + move).clip(0, len(key) - 1)
        there = key[order][at] == key + move
        pairs.append(np.stack([np.flatnonzero(there), order[at[there]]], axis=1))
    return np.concatenate(pairs)


def _join_islands(places: Array, edges: Ints, island: Ints) -> Ints:
    """One bridge from each island to the nearest cell of what hangs together already, largest
    first."""
    counts = np.bincount(island)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    joined = island == order[0]
    bridges = [edges]
    rest = order[1:]
    while rest:
        away = []
        for i in rest:
            mine = np.flatnonzero(island == i)
            main = np.flatnonzero(joined)
            distance = np.linalg.norm(places[mine][:, None] - places[main][None], axis=2)
            a, b = np.unravel_index(distance.argmin(), distance.shape)
            away.append((float(distance[a, b]), i, int(mine[a]), int(main[b])))
        _, i, a, b = min(away)
        bridges.append(np.array([[a, b]]))
        joined |= island == i
        rest.remove(i)
    return np.concatenate(bridges)
