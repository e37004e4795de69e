"""As-rigid-as-possible terms of the paper: Eq. 2-3 for motion initialisation, Eq. 4-6 for
photometric fusion.

Rows are picked by ``index_select``: its gradient, unlike that of ``x[rows]``, adds up in a fixed
order.
"""

import math

import numpy as np
import torch
from numba import njit
from scipy.spatial import KDTree
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.model.skinning import skin_points, to_array

_NEAR_BASES = 6  # neighbours with which a basis has to agree


def knn_edges(points: np.ndarray, k: int) -> np.ndarray:  # (N, 3) -> (E, 2) int64
    """Ω of Eq. 2: every point with its k nearest others, in canonical space. Fewer than k + 1
    points give fewer edges."""
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


@torch.no_grad()
def basis_edges(
    coefs: Tensor, means: Tensor
) -> tuple[Tensor, Tensor]:  # (N, K), (N, 3) -> (E, 2), (E, 3)
    """Every basis with its nearest others, and the middle between what the two move, in canonical
    space (world units)."""
    share = coefs.square()
    centres = (share.T @ means) / share.sum(0).clamp_min(1e-6)[:, None]
    edges = torch.from_numpy(knn_edges(centres.cpu().numpy(), _NEAR_BASES)).to(centres.device)
    return edges, (centres[edges[:, 0]] + centres[edges[:, 1]]) / 2


def basis_disagreement(
    bases: Tensor, edges: Tensor, middle: Tensor
) -> Tensor:  # (K, T, 9), (E, 2), (E, 3)
    """Mean distance (world units) between where two neighbouring bases carry the middle between
    them: the regulariser of embedded deformation (Sumner et al. 2007), unsquared, so that a body
    may bend at a few joints.

    Eq. 2 ties points that tracks show. With K = 100 a basis moves eight tracks or so, and its
    rotation, which moves all else that hangs on it, is mostly their noise.
    """
    if len(edges) == 0:
        return bases.new_zeros(())
    gap = skin_points(bases.index_select(0, edges[:, 0]), middle) - skin_points(
        bases.index_select(0, edges[:, 1]), middle
    )
    return (gap.square().sum(-1) + 1e-12).sqrt().mean()


def invisibility(
    depth: Tensor, surface: Tensor, tau0: float, tau1: float
) -> Tensor:  # (N,), (N,) -> (N,)
    """ζ of Eq. 5: 0 for a point at the rendered surface, 1 for one further than tau1 behind it,
    smooth step between.

    ``surface`` is D̂ of Eq. 4 at the point's pixel, divided by the accumulated alpha (the paper's
    is not, which makes points at a silhouette look hidden).
    """
    x = ((depth - surface - tau0) / (tau1 - tau0)).clamp(0.0, 1.0)
    return x * x * (3 - 2 * x)


def measure_hidden(
    points: Tensor,
    surface: tuple[Tensor, Tensor],
    K: Tensor,
    w2c: Tensor,
    taus: tuple[float, float],
) -> Tensor:  # (N, 3), 2 x (H, W), (3, 3), (4, 4) -> (N,)
    """ζ of Eq. 5 at one frame, 1 outside the picture, where nothing supervises either. ``surface``:
    the rendered sum of z and the accumulated alpha. No gradient."""
    with torch.no_grad():
        if points.device.type != "cpu" or points.dtype != torch.float32:
            return measure_hidden_reference(points, surface, K, w2c, taus)
        hidden = np.empty(len(points), np.float32)
        arrays = map(to_array, (points, *surface, K, w2c))
        _measure_hidden(*[*arrays, *taus, hidden])
        return torch.from_numpy(hidden)


def measure_hidden_reference(
    points: Tensor,
    surface: tuple[Tensor, Tensor],
    K: Tensor,
    w2c: Tensor,
    taus: tuple[float, float],
) -> Tensor:
    """`measure_hidden` on any device and type."""
    height, width = surface[0].shape
    xy, z = project(points, K, w2c)
    inside = ((xy >= 0) & (xy < xy.new_tensor([width, height]))).all(-1) & (z > 0.01)
    col, row = xy[:, 0].clamp(0, width - 1).long(), xy[:, 1].clamp(0, height - 1).long()
    depth = (surface[0] / surface[1].clamp_min(1e-4))[row, col]
    return torch.where(inside, invisibility(z, depth, *taus), 1.0)


def rigidity_refine(
    points: Tensor, canonical: Tensor, similarity: Tensor, hidden: Tensor, edges: Tensor
) -> Tensor:
    """Eq. 6 at one frame, as a mean over edges: ``points`` and ``canonical`` (N, 3), ``similarity``
    (E,), ``hidden`` ζ (N,).

    Differentiable by ``points`` and ``canonical``.
    """
    if len(edges) == 0:
        return points.new_zeros(())
    if points.device.type != "cpu" or points.dtype != torch.float32:
        return rigidity_refine_reference(points, canonical, similarity, hidden, edges)
    return _Refine.apply(points, canonical, similarity, hidden, edges)  # pyright: ignore[reportReturnType]


def rigidity_refine_reference(
    points: Tensor, canonical: Tensor, similarity: Tensor, hidden: Tensor, edges: Tensor
) -> Tensor:
    """`rigidity_refine` on any device and type, by autograd."""
    weight = hidden[edges[:, 0]] * hidden[edges[:, 1]] * similarity
    return (weight * (edge_lengths(points, edges) - edge_lengths(canonical, edges)).abs()).mean()


class _Refine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, canonical, similarity, hidden, edges):
        grads = np.zeros((2, *points.shape), np.float32)
        arrays = [to_array(x) for x in (points, canonical, similarity, hidden, edges)]
        total = _stretch(*[*arrays, grads])
        ctx.grads = grads
        return torch.tensor(total / len(edges), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        v_points, v_canonical = (torch.from_numpy(grad) * v_loss for grad in ctx.grads)
        return v_points, v_canonical, None, None, None


@njit(nogil=True, cache=True)
def _stretch(points, canonical, similarity, hidden, edges, grads):
    """Sum of Eq. 6; the gradients of its mean by points and canonical are added to ``grads`` (2, N,
    3)."""
    total, share = 0.0, np.float32(1 / len(edges))
    for e in range(len(edges)):
        i, j = edges[e]
        weight = hidden[i] * hidden[j] * similarity[e]
        if weight == 0:
            continue
        px, py, pz = (
            points[i, 0] - points[j, 0],
            points[i, 1] - points[j, 1],
            points[i, 2] - points[j, 2],
        )
        cx, cy, cz = (
            canonical[i, 0] - canonical[j, 0],
            canonical[i, 1] - canonical[j, 1],
            canonical[i, 2] - canonical[j, 2],
        )
        moved, rest = (
            math.sqrt(px * px + py * py + pz * pz + 1e-12),
            math.sqrt(cx * cx + cy * cy + cz * cz + 1e-12),
        )
        total += weight * abs(moved - rest)
        sign = np.sign(moved - rest) * weight * share
        for d, by in ((px, 0), (py, 1), (pz, 2)):
            grads[0, i, by] += sign * d / moved
            grads[0, j, by] -= sign * d / moved
        for d, by in ((cx, 0), (cy, 1), (cz, 2)):
            grads[1, i, by] -= sign * d / rest
            grads[1, j, by] += sign * d / rest
    return total


@njit(nogil=True, cache=True)
def _measure_hidden(points, sum_z, alpha, K, w2c, tau0, tau1, hidden):
    height, width = sum_z.shape
    for i in range(len(points)):
        x, y, z = w2c[0, 3], w2c[1, 3], w2c[2, 3]
        for c in range(3):
            x += w2c[0, c] * points[i, c]
            y += w2c[1, c] * points[i, c]
            z += w2c[2, c] * points[i, c]
        deep = max(z, np.float32(0.01))
        u, v = x / deep * K[0, 0] + K[0, 2], y / deep * K[1, 1] + K[1, 2]
        hidden[i] = 1
        if u >= 0 and v >= 0 and u < width and v < height and z > np.float32(0.01):
            row, column = int(v), int(u)
            surface = sum_z[row, column] / max(alpha[row, column], np.float32(1e-4))
            s = min(max((z - surface - tau0) / (tau1 - tau0), 0.0), 1.0)
            hidden[i] = s * s * (3 - 2 * s)
