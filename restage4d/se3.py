"""Rigid motions as bases and coefficients: the one place of Eq. 1 and Eq. 8 for numpy.

A motion basis is 9 numbers: the first two columns of a rotation (6D representation, Zhou et al.
2019) and a translation, ``[r0x r0y r0z r1x r1y r1z tx ty tz]``. Bases carry canonical points to
world points at a time: ``x_world = R @ mu_canonical + t``. Quaternions are wxyz. Every function
takes any floating dtype and keeps it. ``restage4d.reconstruct.model.se3_torch`` is the
differentiable twin.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

IDENTITY = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0], np.float32)
_EPS = 1e-12


def gram_schmidt(columns: Array) -> Array:  # (..., 6) -> (..., 3, 3)
    """γ of Eq. 1: two vectors to the rotation whose first two columns they span.

    ``b0 = a0/|a0|``, ``b1 = (a1 - (b0·a1) b0)/|…|``, ``b2 = b0 × b1``. Degenerate input (zero or
    parallel vectors) gives a finite matrix that is no rotation; callers that can meet it check
    ``det``.
    """
    a0, a1 = columns[..., :3], columns[..., 3:6]
    b0 = a0 / np.maximum(np.linalg.norm(a0, axis=-1, keepdims=True), _EPS)
    a1 = a1 - (b0 * a1).sum(-1, keepdims=True) * b0
    b1 = a1 / np.maximum(np.linalg.norm(a1, axis=-1, keepdims=True), _EPS)
    return np.stack([b0, b1, np.cross(b0, b1)], axis=-1)


def blend_dense(
    bases: Array, coefs: Array
) -> tuple[Array, Array]:  # (K, ..., 9), (N, K) -> (N, ..., 3, 3), (N, ..., 3)
    """Eq. 1 with dense coefficients: blend the bases linearly, then orthogonalise.

    Returns rotation ``R_world_canonical`` and translation of every point, over whatever time axes
    ``bases`` has.
    """
    blended = np.tensordot(coefs, bases, axes=(1, 0))
    return gram_schmidt(blended[..., :6]), blended[..., 6:]


def blend(bases: Array, index: NDArray[np.integer], weight: Array) -> tuple[Array, Array]:
    """Eq. 1 with M influences per point, as a puppet stores them.

    Args:
        bases: (K, 9) at one time, or (K, T, 9).
        index: (N, M) rows of ``bases``.
        weight: (N, M), non-negative, rows summing to 1.

    Returns:
        R (N, 3, 3) and t (N, 3); with a time axis (N, T, 3, 3) and (N, T, 3).
    """
    shape = (len(index), *bases.shape[1:])
    blended = np.zeros(shape, np.result_type(bases, weight))
    for j in range(index.shape[1]):
        blended += weight[:, j].reshape((-1,) + (1,) * (bases.ndim - 1)) * bases[index[:, j]]
    return gram_schmidt(blended[..., :6]), blended[..., 6:]


def transform(
    R: Array, t: Array, means: Array
) -> Array:  # (N, ..., 3, 3), (N, ..., 3), (N, 3) -> (N, ..., 3)
    """``x_i(t) = T_i(t) · μ_i`` (Eq. 1)."""
    if R.ndim == 4:
        means = means[:, None]
    return np.einsum("...ij,...j->...i", R, means) + t


def inverse_transform(R: Array, t: Array, points: Array) -> Array:
    """``μ = T^{-1} x`` (Eq. 8): carries points seen at a time back to the canonical frame. Same
    shapes as `transform`."""
    return np.einsum("...ji,...j->...i", R, points - t)


def matrix_to_quat(R: Array) -> Array:  # (..., 3, 3) -> (..., 4) wxyz, w >= 0
    """Rotation matrices to unit quaternions, by the largest of the four components (stable for
    every angle)."""
    m = R
    four = np.stack(
        [
            1 + m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2],
            1 + m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] + m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] - m[..., 1, 1] + m[..., 2, 2],
        ],
        axis=-1,
    )  # 4 * [w², x², y², z²]
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    xy, xz, yz = (
        m[..., 0, 1] + m[..., 1, 0],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 2] + m[..., 2, 1],
    )
    rows = np.stack(
        [
            np.stack([four[..., 0], wx, wy, wz], -1),
            np.stack([wx, four[..., 1], xy, xz], -1),
            np.stack([wy, xy, four[..., 2], yz], -1),
            np.stack([wz, xz, yz, four[..., 3]], -1),
        ],
        axis=-2,
    )
    best = four.argmax(-1)[..., None, None]
    quat = np.take_along_axis(rows, best, axis=-2)[..., 0, :]
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., :1] < 0, -quat, quat)


def quat_to_matrix(quats: Array) -> Array:  # (..., 4) wxyz -> (..., 3, 3)
    """Quaternions (normalised here) to rotation matrices."""
    w, x, y, z = np.moveaxis(quats / np.linalg.norm(quats, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(r, -1) for r in rows], -2)


def quat_multiply(a: Array, b: Array) -> Array:  # (..., 4), (..., 4) -> (..., 4) wxyz
    """Hamilton product: the rotation ``b`` first, then ``a``."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def pack(R: Array, t: Array) -> Array:  # (..., 3, 3), (..., 3) -> (..., 9)
    """A rigid motion as a basis."""
    return np.concatenate([R[..., :, 0], R[..., :, 1], t], axis=-1)
