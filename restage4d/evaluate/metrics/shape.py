"""How well the subject keeps its shape: volume and edge-length consistency (paper Eq. 9), variance
of distances (Lemma 1).

All of it in the form of Eq. 9 with what the paper leaves open fixed as docs/metrics.md says.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

F32 = NDArray[np.float32]
GAMMA = 1.5  # of Eq. 9
VOXEL = 0.015  # of the extent
REACH = 0.03  # of the extent: what is nearer than this to a point counts as filled
NEIGHBOURS = 8
_LEAST_VARIANCE = 1e-12


def consistency(variance: float) -> float:
    """Eq. 9: ``(-ln variance)^1.5``, 0 for a variance of 1 or more; the variance is of values
    divided by their mean."""
    return float(max(-np.log(max(variance, _LEAST_VARIANCE)), 0.0) ** GAMMA)


def volume(points: F32, extent: float) -> float:  # (N, 3)
    """Volume of everything within `REACH` of a point, by voxels of `VOXEL`, in cubes of the
    extent."""
    if len(points) == 0:
        return 0.0
    side = VOXEL * extent
    margin = int(np.ceil(REACH / VOXEL)) + 1
    cell = np.floor(points / side).astype(np.int64)
    cell -= cell.min(0) - margin
    empty = np.ones(cell.max(0) + margin + 1, bool)
    empty[tuple(cell.T)] = False
    distance = np.asarray(distance_transform_edt(empty))
    return float((distance * VOXEL <= REACH).sum() * VOXEL**3)


def volume_variance(paths: F32, extent: float) -> float:  # (N, T, 3)
    """Variance over time of the volume divided by its mean. Points far off (beyond 3 extents from
    the median) are left out."""
    near = np.linalg.norm(paths - np.median(paths, axis=0), axis=-1).max(1) < 3 * extent
    volumes = np.array([volume(paths[near, t], extent) for t in range(paths.shape[1])])
    return float(np.var(volumes / max(volumes.mean(), 1e-9)))


def neighbour_edges(points: F32, k: int = NEIGHBOURS) -> NDArray[np.int64]:  # (N, 3) -> (E, 2)
    """Every point with its k nearest others, each pair once."""
    k = min(k, len(points) - 1)
    if k < 1:
        return np.zeros((0, 2), np.int64)
    _, near = KDTree(points).query(points, k + 1)
    pairs = np.stack([np.repeat(np.arange(len(points)), k), np.asarray(near)[:, 1:].ravel()], 1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def edge_variances(
    paths: F32, edges: NDArray[np.int64]
) -> NDArray[np.float64]:  # (N, T, 3), (E, 2) -> (E,)
    """Variance over time of every edge's length divided by its mean."""
    length = np.linalg.norm(paths[edges[:, 0]].astype(np.float64) - paths[edges[:, 1]], axis=-1)
    return (length / np.maximum(length.mean(1, keepdims=True), 1e-9)).var(1)


def distance_variance(
    paths: F32, pairs: NDArray[np.int64], extent: float
) -> float:  # (N, T, 3), (E, 2)
    """Lemma 1: mean over pairs of points of the variance over time of their distance, in squared
    extents."""
    length = (
        np.linalg.norm(paths[pairs[:, 0]].astype(np.float64) - paths[pairs[:, 1]], axis=-1) / extent
    )
    return float(length.var(1).mean())


def draw_pairs(count: int, points: int, seed: int) -> NDArray[np.int64]:  # (E, 2)
    """Pairs of different points out of ``points``."""
    rng = np.random.default_rng([seed, 5])
    first = rng.integers(0, points, count)
    return np.stack([first, (first + rng.integers(1, points, count)) % points], 1)
