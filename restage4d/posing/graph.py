"""Which places of a body hang together: some of its points, and edges between neighbours."""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.se3 import Array

Rows = NDArray[np.intp]

_TORN = 0.3  # an edge whose length changes by this much in the logarithm hardly counts
_LEAST = 0.05  # edges of less weight are no way from one place to the next
_APART = 0.1  # weight of neighbours that share no basis


@dataclass(frozen=True, eq=False)
class Graph:
    """A body's neighbourhoods.

    Attributes:
        nodes: (n,) which of the body's points.
        edges: (E, 2) nodes, each edge in both directions, sorted by its first.
        weight: (E,) 0 to 1, how much the edge is to keep its shape: s_ij of the paper's Eq. 3
            (never below `_APART`), less where the two move apart between rest and ``posed``.
        spacing: median length of an edge, world units.
    """

    nodes: Rows
    edges: Rows
    weight: Array
    spacing: float


def connect(
    nodes: Rows,
    means: Array,
    posed: Array,
    index: NDArray[np.integer],
    weight: Array,
    *,
    neighbours: int = 6,
) -> Graph:
    """Ties each of some points to its nearest among them at rest.

    Args:
        nodes: (n,) which points.
        means, posed: (N, 3) points at rest and as they stand now.
        index, weight: (N, M) influences.
    """
    n = len(nodes)
    k = min(neighbours, n - 1)
    if k < 1:
        return Graph(nodes, np.zeros((0, 2), np.intp), np.zeros(0), 1.0)
    rest, now = means[nodes], posed[nodes]
    square = (rest**2).sum(1)
    gap = square[:, None] + square - 2 * rest @ rest.T
    np.fill_diagonal(gap, np.inf)
    near = np.argpartition(gap, k - 1, axis=1)[:, :k].ravel()
    pair = np.repeat(np.arange(n), k) * n + near
    pair = np.unique(np.concatenate([pair, pair % n * n + pair // n]))
    edges = np.stack([pair // n, pair % n], 1)
    coefs = spread_influences(index[nodes], weight[nodes])
    coefs /= np.linalg.norm(coefs, axis=1, keepdims=True)
    alike = (coefs[edges[:, 0]] * coefs[edges[:, 1]]).sum(1)
    before, after = (np.linalg.norm(p[edges[:, 0]] - p[edges[:, 1]], axis=1) for p in (rest, now))
    torn = np.log(np.maximum(after, 1e-9) / np.maximum(before, 1e-9)) / _TORN
    kept = np.maximum(alike, _APART) * np.exp(-(torn**2))
    return Graph(nodes, edges, kept, max(float(np.median(after)), 1e-9))


def sample_points(
    means: Array, index: NDArray[np.integer], weight: Array, count: int
) -> tuple[Rows, Rows]:  # -> (n,), (N,)
    """About ``count`` of the points, spread evenly, and which of these stands for each point.

    One for each cell of a grid and each strongest basis in it, the nearest to the middle of its
    kind: two legs that touch at rest both get their places.
    """
    strongest = np.take_along_axis(index, weight.argmax(1)[:, None], 1)[:, 0].astype(np.int64)
    low, extent = means.min(0), float(np.ptp(means, axis=0).max()) + 1e-9
    small, large = 0.0, extent
    if len(means) <= count:
        return np.arange(len(means)), np.arange(len(means))
    while True:
        size = 0.5 * (small + large)
        cell = ((means - low) / size).astype(np.int64)
        span = cell.max(0) + 1
        key = (cell[:, 0] * span[1] + cell[:, 1]) * span[2] + cell[:, 2]
        _, of_cell, number = np.unique(
            key * (strongest.max() + 1) + strongest, return_inverse=True, return_counts=True
        )
        found = len(number)
        if abs(found - count) <= 0.1 * count or large < max(1.01 * small, 1e-4 * extent):
            break
        small, large = (size, large) if found > count else (small, size)
    of_cell = of_cell.ravel()
    middle = np.stack([np.bincount(of_cell, m, found) for m in means.T], 1) / number[:, None]
    off = ((means - middle[of_cell]) ** 2).sum(1)
    order = np.lexsort((off, of_cell))
    return order[np.cumsum(number) - number], of_cell


def spread_influences(index: NDArray[np.integer], weight: Array) -> Array:  # (n, M) -> (n, K)
    """Influences as dense coefficients; K is as large as they need."""
    out = np.zeros((len(index), int(index.max(initial=0)) + 1))
    for j in range(index.shape[1]):
        out[np.arange(len(index)), index[:, j]] += weight[:, j]
    return out


def measure_ways(graph: Graph, places: Array, start: int) -> Array:  # (n, 3) -> (n,)
    """How far it is along the body from node ``start`` to every node, inf where no way leads."""
    ends, weight = graph.edges, graph.weight
    length = np.linalg.norm(places[ends[:, 0]] - places[ends[:, 1]], axis=1)
    first = np.searchsorted(ends[:, 0], np.arange(len(places) + 1)).tolist()
    to, steps, open_ = ends[:, 1].tolist(), length.tolist(), (weight >= _LEAST).tolist()
    far = [np.inf] * len(places)
    far[start] = 0.0
    queue = [(0.0, start)]
    while queue:
        here, i = heapq.heappop(queue)
        if here > far[i]:
            continue
        for e in range(first[i], first[i + 1]):
            there = here + steps[e]
            if open_[e] and there < far[to[e]]:
                far[to[e]] = there
                heapq.heappush(queue, (there, to[e]))
    return np.array(far)
