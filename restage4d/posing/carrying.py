"""Points as bases carry them by Eq. 1, with the exact derivative."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.posing.graph import Rows
from restage4d.se3 import Array


@dataclass(frozen=True, eq=False)
class Body:
    """A body at one moment.

    Attributes:
        means: (N, 3) points at rest; index, weight: (N, M) their influences.
        bases: (K, 9) at this moment.
    """

    means: Array
    index: NDArray[np.integer]
    weight: Array
    bases: Array

    def pose(self, bases: Array | None = None) -> Array:
        """(N, 3) where the points are, at this moment or under other bases."""
        R, t = se3.blend(self.bases if bases is None else bases, self.index, self.weight)
        return se3.transform(R, t, self.means)


@dataclass(frozen=True, eq=False)
class Carried:
    """Some points as the bases carry them, and how they answer to a small motion of each.

    Attributes:
        x: (P, 3) where they are.
        R: (P, 3, 3) how they are turned.
        dx, turn: (P, M, 3, 6) derivatives of place and rotation vector to the (rotation, shift) of
            the bases that move the point, see `turn_bases`.
    """

    x: Array
    R: Array
    dx: Array
    turn: Array


def carry(
    bases: Array,
    means: Array,
    index: Rows,
    weight: Array,
    middle: Array,
) -> Carried:  # (K, 9), (P, 3), (P, M), (P, M), (K, 3)
    """Eq. 1 and its derivative to motions of the bases about ``middle``."""
    mine = bases[index]
    blended = np.einsum("pm,pmc->pc", weight, mine)
    R = se3.gram_schmidt(blended[:, :6])
    arm = np.einsum("pij,pj->pi", R, means)
    b0, b1, b2 = R[:, :, 0], R[:, :, 1], R[:, :, 2]
    first = np.linalg.norm(blended[:, :3], axis=1)[:, None]
    along = (b0 * blended[:, 3:6]).sum(1)[:, None]
    second = np.linalg.norm(blended[:, 3:6] - along * b0, axis=1)[:, None]
    # What a turn of one basis gives the point's rotation vector along b1, b2 and b0.
    r0, r1 = mine[..., :3], mine[..., 3:6]
    by1 = -np.cross(r0, (b2 / first)[:, None])
    by2 = np.cross(r0, (b1 / first)[:, None])
    by0 = np.cross(r1, (b2 / second)[:, None]) + (along / second)[:, None] * by1
    turn = np.zeros((*index.shape, 3, 6))
    turn[..., :3] = weight[..., None, None] * (
        b0[:, None, :, None] * by0[..., None, :]
        + b1[:, None, :, None] * by1[..., None, :]
        + b2[:, None, :, None] * by2[..., None, :]
    )
    lever = mine[..., 6:] - middle[index]
    dx = np.zeros_like(turn)
    dx[..., :3] = -cross_matrix(arm)[:, None] @ turn[..., :3]
    dx[..., :3] -= weight[..., None, None] * cross_matrix(lever)
    dx[..., 3:] = weight[..., None, None] * np.eye(3)
    return Carried(arm + blended[:, 6:], R, dx, turn)


def turn_bases(bases: Array, small: Array, middle: Array) -> Array:  # (K, 9), (K, 6), (K, 3)
    """Bases moved by a rotation vector about their middle and a shift, both in the world."""
    turn = exponential(small[:, :3])
    R = turn @ se3.gram_schmidt(bases[:, :6])
    t = np.einsum("kij,kj->ki", turn, bases[:, 6:] - middle) + middle + small[:, 3:]
    return se3.pack(R, t)


def split_motion(start: Array, bases: Array) -> Array:  # (K, 9), (K, 9) -> (K, 4, 4)
    """What was done to each basis, seen from rest: ``bases = start @ motion``."""
    R0, R1 = se3.gram_schmidt(start[:, :6]), se3.gram_schmidt(bases[:, :6])
    out = np.tile(np.eye(4), (len(start), 1, 1))
    out[:, :3, :3] = R0.transpose(0, 2, 1) @ R1
    out[:, :3, 3] = np.einsum("kji,kj->ki", R0, bases[:, 6:] - start[:, 6:])
    return out


def cross_matrix(v: Array) -> Array:  # (..., 3) -> (..., 3, 3)
    """``cross_matrix(v) @ u = v x u``."""
    out = np.zeros((*v.shape, 3), v.dtype)
    out[..., 0, 1], out[..., 0, 2] = -v[..., 2], v[..., 1]
    out[..., 1, 0], out[..., 1, 2] = v[..., 2], -v[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -v[..., 1], v[..., 0]
    return out


def exponential(vector: Array) -> Array:  # (K, 3) -> (K, 3, 3)
    """Rotation of a rotation vector (Rodrigues)."""
    angle = np.linalg.norm(vector, axis=-1)[:, None, None]
    cross = cross_matrix(vector)
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + a * cross + b * cross @ cross
