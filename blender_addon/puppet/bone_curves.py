# SPDX-License-Identifier: GPL-3.0-or-later
"""From bases to what bones are keyed with, see `rig`. numpy only, so that a thread can do it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.puppet import Performance
from restage4d.se3 import Array

from . import regions

WHOLE = -1  # the region of the whole subject's handle


@dataclass(frozen=True)
class Skeleton:
    """What is read of an armature to key it.

    Attributes:
        names: of the bases' bones, in the bases' order.
        region, total: (K,) of each basis: its region, and the sum of its coefficients.
        followers: the keyed bone above the handle of each region, `WHOLE` among them.
        rest: (4, 4) rest matrix of each of these bones by name.
    """

    names: list[str]
    region: NDArray[np.intp]
    total: Array
    followers: dict[int, str]
    rest: dict[str, Array]


def channels(
    skeleton: Skeleton, performance: Performance, *, near: Performance
) -> dict[str, tuple[Array, Array]]:  # name -> (T, 3), (T, 4)
    """Location and quaternion keys of every keyed bone.

    Quaternions start on the same side as those of ``near``, the puppet's first performance: the NLA
    blends the four numbers.
    """
    return key_motions(
        bone_motions(skeleton, performance.bases),
        bone_motions(skeleton, near.bases[:, :1]),
        skeleton.rest,
    )


def key_motions(
    motions: Mapping[str, Array], before: Mapping[str, Array], rest: Mapping[str, Array]
) -> dict[str, tuple[Array, Array]]:  # name -> (T, 3), (T, 4)
    """Keys of bones by name, of their motions (T, 4, 4) within their parents' groups; ``before``
    says on which side quaternions start."""
    keys = {}
    for name, motion in motions.items():
        location, quats = pose_curves(motion, rest[name])
        if quats[0] @ pose_curves(before[name], rest[name])[1][0] < 0:
            quats = -quats
        keys[name] = location, quats
    return keys


def bone_motions(
    skeleton: Skeleton, bases: Array
) -> dict[str, Array]:  # (K, T, 9) -> name: (T, 4, 4)
    """The motion of every keyed bone within its parent's group: followers, and what is left to the
    bases."""
    names, region, total, rest = skeleton.names, skeleton.region, skeleton.total, skeleton.rest
    centre = np.array([rest[name][:3, 3] for name in names])
    motion = np.tile(np.eye(4), (*bases.shape[:2], 1, 1))
    motion[..., :3, :3], motion[..., :3, 3] = (
        se3.gram_schmidt(bases[..., :6].astype(np.float64)),
        bases[..., 6:],
    )

    def follow(group: NDArray[np.bool_], r: int) -> Array:
        middle = rest[skeleton.followers[r]][:3, 3]
        return regions.mean_motion(bases[group], total[group], centre[group], middle)

    whole = follow(np.ones(len(names), bool), WHOLE)
    out = {skeleton.followers[WHOLE]: whole}
    for r in sorted(set(region.tolist())):
        own = follow(region == r, r)
        out[skeleton.followers[r]] = inverse(whole) @ own
        for k in np.flatnonzero(region == r):
            out[names[k]] = inverse(own) @ motion[k]
    return out


def inverse(T: Array) -> Array:  # (..., 4, 4) -> (..., 4, 4)
    """Of rigid motions."""
    out = np.zeros_like(T)
    out[..., :3, :3] = np.swapaxes(T[..., :3, :3], -1, -2)
    out[..., :3, 3] = -(out[..., :3, :3] @ T[..., :3, 3:])[..., 0]
    out[..., 3, 3] = 1
    return out


def pose_curves(
    motion: Array, rest: Array
) -> tuple[Array, Array]:  # (..., T, 4, 4), (..., 4, 4) -> (..., T, 3), (..., T, 4)
    """Location and quaternion (wxyz, without jumps of sign) of bones that ``motion`` moves within
    their parents."""
    pose = np.linalg.inv(rest)[..., None, :, :] @ motion @ rest[..., None, :, :]
    return pose[..., :3, 3], make_continuous(se3.matrix_to_quat(pose[..., :3, :3]))


def make_continuous(quats: Array) -> Array:  # (..., T, 4) -> (..., T, 4)
    """The same rotations with signs such that neighbouring frames are the short way round."""
    flip = np.where((quats[..., 1:, :] * quats[..., :-1, :]).sum(-1) < 0, -1.0, 1.0)
    quats = quats.copy()
    quats[..., 1:, :] *= np.cumprod(flip, axis=-1)[..., None]
    return quats
