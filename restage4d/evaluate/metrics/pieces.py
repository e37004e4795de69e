"""Whether a body hangs together: the pieces that its points form."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.evaluate.metrics.tracking import SOLID, compute_gaussian_paths
from restage4d.puppet import Performance, Puppet
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_NEIGHBOURS = 8  # of a point, in the graph that says what is one body
REACH = 6.0  # times the median length, up to which an edge of that graph holds


def label_pieces(
    points: F32, reach: float = REACH, radius: F32 | None = None
) -> NDArray[np.intp]:  # (N, 3), (N,) -> (N,)
    """For each point the number of its piece, 0 the largest.

    Pieces hang together by edges to the 8 nearest that are no longer than ``reach`` times the
    median, or than the sum of both ends' ``radius``, if given.
    """
    n = len(points)
    if n <= _NEIGHBOURS:
        return np.zeros(n, np.intp)
    length, other = KDTree(points).query(points, k=_NEIGHBOURS + 1)
    length, other = np.asarray(length)[:, 1:].ravel(), np.asarray(other)[:, 1:].ravel()
    start = np.repeat(np.arange(n), _NEIGHBOURS)
    holds = length <= reach * np.median(length)
    if radius is not None:
        holds |= length <= radius[start] + radius[other]
    graph = coo_matrix((np.ones(holds.sum(), bool), (start[holds], other[holds])), shape=(n, n))
    piece = connected_components(graph, directed=False)[1]
    order = np.argsort(-np.bincount(piece), kind="stable")
    return np.argsort(order)[piece]


def label_solid(
    puppet: Puppet, bases: F32, reach: float = REACH
) -> NDArray[np.intp]:  # (K, 9) -> (N,)
    """The pieces that the solid Gaussians of a posed puppet form (`label_pieces`); others are of
    that of the solid one nearest."""
    at = se3.blend(bases, puppet.index, puppet.weight)
    means, solid = se3.transform(*at, puppet.subject.means), puppet.subject.opacities >= SOLID
    if not solid.any():
        return np.zeros(len(means), np.intp)
    piece = np.zeros(len(means), np.intp)
    piece[solid] = label_pieces(means[solid], reach)
    piece[~solid] = piece[solid][KDTree(means[solid]).query(means[~solid])[1]]
    return piece


def measure_piece_shares(
    points: F32, reach: float = REACH, radius: F32 | None = None
) -> F64:  # (N, 3), (N,) -> (N,)
    """For each point the share of all points that are in its piece (`label_pieces`)."""
    piece = label_pieces(points, reach, radius)
    return np.bincount(piece)[piece] / max(len(points), 1)


def measure_unity(puppet: Puppet, performance: Performance) -> F64:  # -> (T,)
    """The share of solid Gaussians in the largest piece, per frame."""
    paths = compute_gaussian_paths(puppet, performance)
    return np.array(
        map_on_cores(
            lambda t: measure_piece_shares(paths[:, t]).max(initial=0), range(paths.shape[1])
        )
    )
