"""As-rigid-as-possible terms of the paper: Eq. 2-3 for motion initialisation, Eq. 4-6 for photometric fusion.

Rows are picked by ``index_select``: its gradient, unlike that of ``x[rows]``, adds up in a fixed order.
"""

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor


def knn_edges(points: np.ndarray, k: int) -> np.ndarray:  # (N, 3) -> (E, 2) int64
    """Ω of Eq. 2: every point with its k nearest others, in canonical space. Fewer than k + 1 points give fewer edges."""
    k = min(k, len(points) - 1)
    if k < 1:
        return np.zeros((0, 2), np.int64)
    _, near = KDTree(points).query(points, k=k + 1)
    i = np.repeat(np.arange(len(points)), k)
    return np.stack([i, np.asarray(near)[:, 1:].reshape(-1)], 1).astype(np.int64)


def motion_similarity(coefs: Tensor, edges: Tensor) -> Tensor:  # (N, K), (E, 2) -> (E,)
    """s_ij of Eq. 3: cosine similarity of motion coefficients."""
    unit = torch.nn.functional.normalize(coefs, dim=-1)
    return (unit.index_select(0, edges[:, 0]) * unit.index_select(0, edges[:, 1])).sum(-1)


def edge_lengths(points: Tensor, edges: Tensor) -> Tensor:  # (N, ..., 3), (E, 2) -> (E, ...)
    """d(x_i, x_j), with a gradient that stays finite for coinciding points."""
    difference = points.index_select(0, edges[:, 0]) - points.index_select(0, edges[:, 1])
    return (difference.square().sum(-1) + 1e-12).sqrt()


def rigidity_init(points: Tensor, canonical: Tensor, coefs: Tensor, edges: Tensor) -> Tensor:
    """Eq. 2 as a mean over frames and edges instead of a sum: ``points`` (N, T, 3), ``canonical`` (N, 3), ``coefs`` (N, K)."""
    if len(edges) == 0:
        return points.new_zeros(())
    stretch = (edge_lengths(points, edges) - edge_lengths(canonical, edges)[:, None]).abs()
    return (motion_similarity(coefs, edges)[:, None] * stretch).mean()


def invisibility(depth: Tensor, surface: Tensor, tau0: float, tau1: float) -> Tensor:  # (N,), (N,) -> (N,)
    """ζ of Eq. 5: 0 for a point at the rendered surface, 1 for one further than tau1 behind it, smooth step between.

    ``surface`` is D̂ of Eq. 4 at the point's pixel, divided by the accumulated alpha (the paper's is not, which makes
    points at a silhouette look hidden).
    """
    x = ((depth - surface - tau0) / (tau1 - tau0)).clamp(0.0, 1.0)
    return x * x * (3 - 2 * x)


def rigidity_refine(points: Tensor, canonical: Tensor, similarity: Tensor, hidden: Tensor, edges: Tensor) -> Tensor:
    """Eq. 6 at one frame, as a mean over edges: ``points`` and ``canonical`` (N, 3), ``similarity`` (E,), ``hidden`` ζ (N,)."""
    if len(edges) == 0:
        return points.new_zeros(())
    weight = hidden[edges[:, 0]] * hidden[edges[:, 1]] * similarity
    return (weight * (edge_lengths(points, edges) - edge_lengths(canonical, edges)).abs()).mean()
