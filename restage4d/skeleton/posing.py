"""Moves points by what an artist changed of a skeleton's bones: dual quaternion blending.

Where Eq. 1 puts a point, the bones carry it on: ``x' = blend(w, D) x`` with ``D`` each bone's
posed matrix times the inverse of its captured one, which is the identity for an untouched bone.
The blend is that of Kavan et al. 2007: rigid, and about whatever joint the bones turn.
"""

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.se3 import Array


def blend_changes(
    changes: Array, index: NDArray[np.integer], weight: Array
) -> tuple[Array, Array]:  # (S, 4, 4), (N, M), (N, M) -> (N, 3, 3), (N, 3)
    """The rigid motion of each point."""
    turn = se3.matrix_to_quat(changes[:, :3, :3])
    shift = changes[:, :3, 3]
    dual = 0.5 * se3.quat_multiply(np.concatenate([np.zeros((len(turn), 1)), shift], 1), turn)
    first = turn[index[:, :1]]
    sign = np.where((turn[index] * first).sum(-1) < 0, -1.0, 1.0) * weight
    real = np.einsum("nm,nmi->ni", sign, turn[index])
    other = np.einsum("nm,nmi->ni", sign, dual[index])
    inverse = real * np.array([1, -1, -1, -1]) / (real**2).sum(1, keepdims=True)
    return se3.quat_to_matrix(real), 2 * se3.quat_multiply(other, inverse)[:, 1:]
