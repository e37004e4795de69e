"""Differentiable twin of `restage4d.se3` (Eq. 1): same names, same conventions, tested against
it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gram_schmidt(columns: Tensor) -> Tensor:  # (..., 6) -> (..., 3, 3)
    """γ of Eq. 1: first two columns to a rotation."""
    b0 = F.normalize(columns[..., :3], dim=-1)
    a1 = columns[..., 3:6]
    b1 = F.normalize(a1 - (b0 * a1).sum(-1, keepdim=True) * b0, dim=-1)
    return torch.stack([b0, b1, torch.linalg.cross(b0, b1)], dim=-1)


def blend_columns(bases: Tensor, coefs: Tensor) -> Tensor:  # (K, ..., 9), (N, K) -> (N, ..., 9)
    """The weighted sum of Eq. 1, before γ."""
    return (coefs @ bases.flatten(1)).reshape(len(coefs), *bases.shape[1:])


def scatter_coefs(
    index: Tensor, weight: Tensor, n_bases: int
) -> Tensor:  # (N, M), (N, M) -> (N, K)
    """M influences per point, as a puppet stores them, as a dense row of coefficients."""
    return weight.new_zeros(len(index), n_bases).scatter_add(1, index, weight)


def skin_points(columns: Tensor, means: Tensor) -> Tensor:  # (N, F, 9), (N, 3) -> (N, F, 3)
    """``γ(columns) μ_i + t`` for F frames (Eq. 1)."""
    return transform(gram_schmidt(columns[..., :6]), columns[..., 6:], means)


def skin_splats(
    columns: Tensor, means: Tensor, quats: Tensor
) -> tuple[Tensor, Tensor]:  # (N, 9), (N, 3), (N, 4)
    """Means and orientations at one frame; the orientation turns by the same rotation as the
    mean."""
    R = gram_schmidt(columns[..., :6])
    return transform(R, columns[..., 6:], means), quat_multiply(matrix_to_quat(R), quats)


def transform(
    R: Tensor, t: Tensor, means: Tensor
) -> Tensor:  # (N, ..., 3, 3), (N, ..., 3), (N, 3) -> (N, ..., 3)
    """``x_i(t) = T_i(t) · μ_i`` (Eq. 1)."""
    if R.ndim == 4:
        means = means[:, None]
    return (R * means[..., None, :]).sum(-1) + t


def matrix_to_quat(R: Tensor) -> Tensor:  # (..., 3, 3) -> (..., 4) wxyz
    """Rotation matrices to unit quaternions (sign free), by the largest of the four components."""
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    four = torch.stack(
        [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1
    )
    wx, wy, wz = (
        R[..., 2, 1] - R[..., 1, 2],
        R[..., 0, 2] - R[..., 2, 0],
        R[..., 1, 0] - R[..., 0, 1],
    )
    xy, xz, yz = (
        R[..., 0, 1] + R[..., 1, 0],
        R[..., 0, 2] + R[..., 2, 0],
        R[..., 1, 2] + R[..., 2, 1],
    )
    rows = torch.stack(
        [
            torch.stack([four[..., 0], wx, wy, wz], -1),
            torch.stack([wx, four[..., 1], xy, xz], -1),
            torch.stack([wy, xy, four[..., 2], yz], -1),
            torch.stack([wz, xz, yz, four[..., 3]], -1),
        ],
        dim=-2,
    )
    best = four.argmax(-1)[..., None, None].expand(*four.shape[:-1], 1, 4)
    return F.normalize(rows.gather(-2, best)[..., 0, :], dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:  # (..., 4), (..., 4) -> (..., 4) wxyz
    """Hamilton product: the rotation ``b`` first, then ``a``."""
    aw, av = a[..., :1], a[..., 1:]
    bw, bv = b[..., :1], b[..., 1:]
    w = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat([w, aw * bv + bw * av + torch.linalg.cross(av, bv)], -1)
