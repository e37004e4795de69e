"""Skinning (Eq. 1) from blended columns to moved Gaussians, forward and backward in one pass each
on a CPU.

The readable twins with the same signatures are `se3_torch.skin_points` and `se3_torch.skin_splats`;
they serve other devices and types. In one pass because torch spends most of a step on the dozens of
small operations between blend and renderer.
"""

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.reconstruct.model import se3_torch

_EPS = 1e-12  # as in torch.nn.functional.normalize


def skin_points(columns: Tensor, means: Tensor) -> Tensor:  # (N, F, 9), (N, 3) -> (N, F, 3)
    """``x_i(t) = γ(columns) μ_i + t`` (Eq. 1) for F frames."""
    if columns.device.type != "cpu" or columns.dtype != torch.float32:
        return se3_torch.skin_points(columns, means)
    return _SkinPoints.apply(columns, means)  # pyright: ignore[reportReturnType]


def skin_splats(
    columns: Tensor, means: Tensor, quats: Tensor
) -> tuple[Tensor, Tensor]:  # (N, 9), (N, 3), (N, 4)
    """Means and orientations (N, 4) at one frame; the orientation turns by the same rotation as the
    mean."""
    if columns.device.type != "cpu" or columns.dtype != torch.float32:
        return se3_torch.skin_splats(columns, means, quats)
    return _SkinSplats.apply(columns, means, quats)  # pyright: ignore[reportReturnType]


def to_array(tensor: Tensor) -> np.ndarray:
    """The numbers themselves, without a copy where they lie in order."""
    return (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()


class _SkinPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx, columns, means):
        ctx.save_for_backward(columns, means)
        points = torch.empty(*columns.shape[:2], 3)
        _skin_points(to_array(columns), to_array(means), points.numpy())
        return points

    @staticmethod
    @once_differentiable
    def backward(ctx, v_points):
        columns, means = ctx.saved_tensors
        v_columns, v_means = torch.empty(columns.shape), torch.empty(means.shape)
        _skin_points_backward(
            to_array(columns),
            to_array(means),
            to_array(v_points),
            v_columns.numpy(),
            v_means.numpy(),
        )
        return v_columns, v_means


class _SkinSplats(torch.autograd.Function):
    @staticmethod
    def forward(ctx, columns, means, quats):
        ctx.save_for_backward(columns, means, quats)
        points, turned = torch.empty(means.shape), torch.empty(quats.shape)
        _skin_splats(
            to_array(columns), to_array(means), to_array(quats), points.numpy(), turned.numpy()
        )
        return points, turned

    @staticmethod
    @once_differentiable
    def backward(ctx, v_points, v_turned):
        columns, means, quats = ctx.saved_tensors
        grads = [torch.empty(x.shape) for x in (columns, means, quats)]
        _skin_splats_backward(
            to_array(columns),
            to_array(means),
            to_array(quats),
            to_array(v_points),
            to_array(v_turned),
            *(g.numpy() for g in grads),
        )
        return tuple(grads)


@njit(nogil=True, cache=True, inline="always")
def orthonormalise(c, R):
    """γ: the first six of ``c`` to the rotation ``R`` (3, 3). Returns |a|, r0·b and |u| for the way
    back."""
    a = max(math.sqrt(c[0] * c[0] + c[1] * c[1] + c[2] * c[2]), _EPS)
    for i in range(3):
        R[i, 0] = c[i] / a
    d = R[0, 0] * c[3] + R[1, 0] * c[4] + R[2, 0] * c[5]
    for i in range(3):
        R[i, 1] = c[3 + i] - d * R[i, 0]
    u = max(math.sqrt(R[0, 1] * R[0, 1] + R[1, 1] * R[1, 1] + R[2, 1] * R[2, 1]), _EPS)
    for i in range(3):
        R[i, 1] /= u
    R[0, 2] = R[1, 0] * R[2, 1] - R[2, 0] * R[1, 1]
    R[1, 2] = R[2, 0] * R[0, 1] - R[0, 0] * R[2, 1]
    R[2, 2] = R[0, 0] * R[1, 1] - R[1, 0] * R[0, 1]
    return a, d, u


@njit(nogil=True, cache=True, inline="always")
def orthonormalise_backward(c, R, G, a, d, u, out):
    """Gradient ``G`` (3, 3) by the rotation to gradient ``out`` by the first six columns; ``G`` is
    used up."""
    # r2 = r0 x r1
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        G[i, 0] += R[j, 1] * G[k, 2] - R[k, 1] * G[j, 2]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        G[i, 1] += G[j, 2] * R[k, 0] - G[k, 2] * R[j, 0]
    along = G[0, 1] * R[0, 1] + G[1, 1] * R[1, 1] + G[2, 1] * R[2, 1]
    for i in range(3):
        G[i, 1] = (G[i, 1] - along * R[i, 1]) / u  # by u = b - (r0·b) r0
    across = G[0, 1] * R[0, 0] + G[1, 1] * R[1, 0] + G[2, 1] * R[2, 0]
    for i in range(3):
        out[3 + i] = G[i, 1] - across * R[i, 0]
        G[i, 0] -= d * G[i, 1] + across * c[3 + i]
    along = G[0, 0] * R[0, 0] + G[1, 0] * R[1, 0] + G[2, 0] * R[2, 0]
    for i in range(3):
        out[i] = (G[i, 0] - along * R[i, 0]) / a


@njit(nogil=True, cache=True)
def _skin_points(columns, means, points):
    R = np.empty((3, 3), np.float32)
    for n in range(columns.shape[0]):
        x, y, z = means[n, 0], means[n, 1], means[n, 2]
        for f in range(columns.shape[1]):
            c = columns[n, f]
            orthonormalise(c, R)
            for i in range(3):
                points[n, f, i] = R[i, 0] * x + R[i, 1] * y + R[i, 2] * z + c[6 + i]


@njit(nogil=True, cache=True)
def _skin_points_backward(columns, means, v_points, v_columns, v_means):
    R, G = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    for n in range(columns.shape[0]):
        for j in range(3):
            v_means[n, j] = 0.0
        for f in range(columns.shape[1]):
            c, v, out = columns[n, f], v_points[n, f], v_columns[n, f]
            a, d, u = orthonormalise(c, R)
            for j in range(3):
                v_means[n, j] += R[0, j] * v[0] + R[1, j] * v[1] + R[2, j] * v[2]
                out[6 + j] = v[j]
                for i in range(3):
                    G[i, j] = v[i] * means[n, j]
            orthonormalise_backward(c, R, G, a, d, u, out)


@njit(nogil=True, cache=True, inline="always")
def _matrix_to_quat(R, q):
    """`se3_torch.matrix_to_quat` for one rotation. Returns the branch taken and the length before
    normalising."""
    q[0] = 1 + R[0, 0] + R[1, 1] + R[2, 2]
    q[1] = 1 + R[0, 0] - R[1, 1] - R[2, 2]
    q[2] = 1 - R[0, 0] + R[1, 1] - R[2, 2]
    q[3] = 1 - R[0, 0] - R[1, 1] + R[2, 2]
    best = 0
    for i in range(1, 4):
        if q[i] > q[best]:
            best = i
    wx, wy, wz = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    xy, xz, yz = R[0, 1] + R[1, 0], R[0, 2] + R[2, 0], R[1, 2] + R[2, 1]
    if best == 0:
        q[1], q[2], q[3] = wx, wy, wz
    elif best == 1:
        q[0], q[2], q[3] = wx, xy, xz
    elif best == 2:
        q[0], q[1], q[3] = wy, xy, yz
    else:
        q[0], q[1], q[2] = wz, xz, yz
    length = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    for i in range(4):
        q[i] /= length
    return best, length


@njit(nogil=True, cache=True, inline="always")
def _matrix_to_quat_backward(best, length, q, g, G):
    """Gradient ``g`` (4,) by the quaternion, added to ``G`` (3, 3) by the rotation."""
    along = g[0] * q[0] + g[1] * q[1] + g[2] * q[2] + g[3] * q[3]
    for i in range(4):
        g[i] = (g[i] - along * q[i]) / length
    s = g[best]
    G[0, 0] += s if best < 2 else -s
    G[1, 1] += s if best == 0 or best == 2 else -s
    G[2, 2] += s if best == 0 or best == 3 else -s
    zero = np.float32(0)
    wx = g[1] if best == 0 else (g[0] if best == 1 else zero)
    wy = g[2] if best == 0 else (g[0] if best == 2 else zero)
    wz = g[3] if best == 0 else (g[0] if best == 3 else zero)
    xy = g[2] if best == 1 else (g[1] if best == 2 else zero)
    xz = g[3] if best == 1 else (g[1] if best == 3 else zero)
    yz = g[3] if best == 2 else (g[2] if best == 3 else zero)
    G[2, 1] += wx + yz
    G[1, 2] += yz - wx
    G[0, 2] += wy + xz
    G[2, 0] += xz - wy
    G[1, 0] += wz + xy
    G[0, 1] += xy - wz


@njit(nogil=True, cache=True, inline="always")
def _multiply(a, b, out):
    out[0] = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]
    out[1] = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2]
    out[2] = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1]
    out[3] = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]


@njit(nogil=True, cache=True)
def _skin_splats(columns, means, quats, points, turned):
    R, q = np.empty((3, 3), np.float32), np.empty(4, np.float32)
    for n in range(columns.shape[0]):
        c = columns[n]
        orthonormalise(c, R)
        for i in range(3):
            points[n, i] = (
                R[i, 0] * means[n, 0] + R[i, 1] * means[n, 1] + R[i, 2] * means[n, 2] + c[6 + i]
            )
        _matrix_to_quat(R, q)
        _multiply(q, quats[n], turned[n])


@njit(nogil=True, cache=True)
def _skin_splats_backward(columns, means, quats, v_points, v_turned, v_columns, v_means, v_quats):
    R, G = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    q, conjugate, g = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for n in range(columns.shape[0]):
        c, v, out = columns[n], v_points[n], v_columns[n]
        a, d, u = orthonormalise(c, R)
        for j in range(3):
            v_means[n, j] = R[0, j] * v[0] + R[1, j] * v[1] + R[2, j] * v[2]
            out[6 + j] = v[j]
            for i in range(3):
                G[i, j] = v[i] * means[n, j]
        best, length = _matrix_to_quat(R, q)
        # The product is orthogonal in each factor: its transpose multiplies by the conjugate of the
        # other.
        conjugate[0] = q[0]
        for i in range(1, 4):
            conjugate[i] = -q[i]
        _multiply(conjugate, v_turned[n], v_quats[n])
        conjugate[0] = quats[n, 0]
        for i in range(1, 4):
            conjugate[i] = -quats[n, i]
        _multiply(v_turned[n], conjugate, g)
        _matrix_to_quat_backward(best, length, q, g, G)
        orthonormalise_backward(c, R, G, a, d, u, out)
