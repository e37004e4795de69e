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

from restage4d.reconstruct.model.skinning import skin_points

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


def rigidity_init(points: Tensor, canonical: Tensor, coefs: Tensor, edges: Tensor) -> Tensor:
    """Eq. 2 as a mean over frames and edges instead of a sum: ``points`` (N, T, 3), ``canonical``
    (N, 3), ``coefs`` (N, K).

    s_ij is a weight and gets no gradient: it would pay for making neighbours' coefficients unlike
    instead of their motion alike.
    """
    if len(edges) == 0:
        return points.new_zeros(())
    stretch = (edge_lengths(points, edges) - edge_lengths(canonical, edges)[:, None]).abs()
    return (motion_similarity(coefs.detach(), edges)[:, None] * stretch).mean()


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
        grads = torch.zeros(2, *points.shape)
        arrays = [
            x.detach().contiguous().numpy() for x in (points, canonical, similarity, hidden, edges)
        ]
        total = _stretch(*arrays, grads=grads.numpy())
        ctx.save_for_backward(grads / len(edges))
        return points.new_tensor(total / len(edges))

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        v_points, v_canonical = ctx.saved_tensors[0] * v_loss
        return v_points, v_canonical, None, None, None


@njit(nogil=True, cache=True)
def _stretch(points, canonical, similarity, hidden, edges, grads):
    """Sum of Eq. 6; its gradients by points and canonical are added to ``grads`` (2, N, 3)."""
    total = 0.0
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
        sign = weight if moved > rest else -weight if moved < rest else 0.0
        for d, by in ((px, 0), (py, 1), (pz, 2)):
            grads[0, i, by] += sign * d / moved
            grads[0, j, by] -= sign * d / moved
        for d, by in ((cx, 0), (cy, 1), (cz, 2)):
            grads[1, i, by] -= sign * d / rest
            grads[1, j, by] += sign * d / rest
    return total
