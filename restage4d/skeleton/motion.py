"""How the bones of a skeleton move in a performance: each follows its points, turned so that it
points at its child's joint."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.puppet import Puppet
from restage4d.se3 import Array
from restage4d.skeleton.skeleton import Skeleton

_FOOT = 0.67  # of the lower bone's own points: those beyond are the foot or the hand
_OWN = 0.7  # of a point's skin weight, for it to be the bone's own
_SOLE = 4  # points, that say where a foot is
_POINTS = 4000  # that the motion is measured on


@dataclass(frozen=True)
class Motion:
    """Rigid motions from the canonical frame to the world, as captured.

    Attributes:
        bones: (S, T, 4, 4) of every bone.
        whole: (T, 4, 4) of all points together.
        tips: by lower bone of each limb (T, 4, 4): as the bone turns, to where the points around
            `find_sole` go on average.
        poles: by lower bone (T, 3): a place in the plane of the bent limb, where its joint points.
    """

    bones: Array
    whole: Array
    tips: dict[int, Array]
    poles: dict[int, Array]


def compute_motion(skeleton: Skeleton, puppet: Puppet, bases: Array) -> Motion:  # bases (K, T, 9)
    """How every bone moved.

    A bone's joint goes where its own points and its parent's carry it on average, and its
    direction goes to the next joint; the rotation about that is the points' (Procrustes).
    """
    step = max(1, len(puppet.subject) // _POINTS)
    index, weight = skeleton.index[::step], skeleton.weight[::step].astype(np.float64)
    means = puppet.subject.means[::step].astype(np.float64)
    R, t = se3.blend(
        bases.astype(np.float64),
        puppet.index[::step],
        puppet.weight[::step].astype(np.float64),
    )
    posed = se3.transform(R, t, means)  # (n, T, 3)
    opacity = puppet.subject.opacities[::step].astype(np.float64) + 1e-3
    fits = []
    for s in range(len(skeleton.bones)):
        share = opacity * np.where(index == s, weight, 0.0).sum(1)
        if (share > 0).sum() < 3:
            parent = skeleton.bones[s].parent
            fits.append(fits[parent] if parent >= 0 else fit_rigid(means, posed, opacity))
        else:
            fits.append(fit_rigid(means, posed, share))
    moved = _align(skeleton, np.stack(fits))
    tips, poles = {}, {}
    for upper, lower in skeleton.find_limbs():
        place = find_sole(skeleton, puppet, lower)
        share = opacity * _weigh_sole(skeleton, lower, means, index, weight)
        if share.sum() > 0:
            share = share / share.sum()
            rest = place - share @ means
            end = np.einsum("n,nti->ti", share, posed) + moved[lower][:, :3, :3] @ rest
        else:
            end = _carry(moved[lower], place)
        tips[lower] = moved[lower].copy()
        tips[lower][:, :3, 3] = end - moved[lower][:, :3, :3] @ place
        start = _carry(moved[upper], skeleton.bones[upper].head)
        foot = skeleton.find_foot(lower)
        if foot is not None and (share > 0).sum() >= _SOLE:
            moved[foot] = fit_rigid(means, posed, share)  # as its points, not as its joints
        poles[lower] = _place_pole(skeleton, moved[upper], upper, lower, start, end)
    return Motion(moved, fit_rigid(means, posed, opacity), tips, poles)


def find_sole(skeleton: Skeleton, puppet: Puppet, lower: int) -> Array:  # -> (3,)
    """The middle of a limb's end at rest, where inverse kinematics holds it: of a sole, a hand."""
    means = puppet.subject.means.astype(np.float64)
    opacity = puppet.subject.opacities + 1e-3
    share = opacity * _weigh_sole(skeleton, lower, means, skeleton.index, skeleton.weight)
    return share @ means / share.sum() if share.sum() > 0 else skeleton.bones[lower].tail


def _weigh_sole(
    skeleton: Skeleton, lower: int, means: Array, index: NDArray[np.integer], weight: Array
) -> Array:  # -> (N,)
    """1 for the lower half of the points that are the foot's own, or for the outermost third of
    those that are the lower bone's where there is no foot, else 0."""
    foot = skeleton.find_foot(lower)
    mine = np.where(index == (lower if foot is None else foot), weight, 0.0).sum(1)
    if foot is not None and (mine > _OWN).sum() >= 2 * _SOLE:
        sole = mine > _OWN
        return (sole & (means[:, 2] <= np.median(means[sole, 2]))).astype(np.float64)
    bone = skeleton.bones[lower]
    along = (means - bone.head) @ (bone.tail - bone.head) / max(bone.length, 1e-9) ** 2
    own = mine > min(_OWN, 0.9 * float(mine.max()))
    if not own.any():  # of those that were taken, none is the bone's
        return own.astype(np.float64)
    return (own & (along >= np.quantile(along[own], _FOOT))).astype(np.float64)


def find_bend_axis(skeleton: Skeleton, upper: int, lower: int) -> Array:  # -> (3,)
    """Unit vector at rest, square to the upper bone, to where a limb's joint points."""
    a, b = skeleton.bones[upper], skeleton.bones[lower]
    line = b.tail - a.head
    line = line / max(float(np.linalg.norm(line)), 1e-9)
    out = (b.head - a.head) - ((b.head - a.head) @ line) * line
    along = (a.tail - a.head) / max(a.length, 1e-9)
    for fallback in (out, np.array([1.0, 0, 0]), np.array([0, 1.0, 0])):
        square = fallback - (fallback @ along) * along
        if np.linalg.norm(square) > 0.02 * a.length:
            return square / np.linalg.norm(square)
    return out


def _place_pole(
    skeleton: Skeleton, moved: Array, upper: int, lower: int, start: Array, end: Array
) -> Array:
    """In the plane of the limb's ends and its bend axis, a limb's length away."""
    axis = moved[:, :3, :3] @ find_bend_axis(skeleton, upper, lower)
    line = end - start
    line = line / np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-9)
    axis = axis - (axis * line).sum(1, keepdims=True) * line
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    reach = skeleton.bones[upper].length + skeleton.bones[lower].length
    return 0.5 * (start + end) + reach * axis


def fit_rigid(means: Array, posed: Array, share: Array) -> Array:
    """(T, 4, 4) the rigid motions that carry weighted points (n, 3) nearest to (n, T, 3) (Kabsch
    1976)."""
    share = share / share.sum()
    middle, moved = share @ means, np.einsum("n,nti->ti", share, posed)
    near, far = means - middle, posed - moved
    U, _, Vt = np.linalg.svd(np.einsum("n,nti,nj->tij", share, far, near))
    U[:, :, 2] *= np.sign(np.linalg.det(U @ Vt))[:, None]
    out = np.tile(np.eye(4), (posed.shape[1], 1, 1))
    out[:, :3, :3] = U @ Vt
    out[:, :3, 3] = moved - out[:, :3, :3] @ middle
    return out


def _align(skeleton: Skeleton, fits: Array) -> Array:  # (S, T, 4, 4) -> (S, T, 4, 4)
    """Joints in common, and bones along them."""
    bones = skeleton.bones
    joints = []
    for s, bone in enumerate(bones):
        own = _carry(fits[s], bone.head)
        above = _carry(fits[bone.parent], bone.head) if bone.parent >= 0 else own
        joints.append(0.5 * (own + above))
    out = fits.copy()
    for s, bone in enumerate(bones):
        nexts = [
            c
            for c, child in enumerate(bones)
            if child.parent == s and np.allclose(child.head, bone.tail, atol=1e-9)
        ]
        end = joints[nexts[0]] if nexts else _carry(fits[s], bone.tail)
        turned = np.einsum("tij,j->ti", fits[s][:, :3, :3], bone.tail - bone.head)
        swing = turn_between(turned, end - joints[s])
        out[s][:, :3, :3] = swing @ fits[s][:, :3, :3]
        out[s][:, :3, 3] = joints[s] - out[s][:, :3, :3] @ bone.head
    return out


def _carry(motion: Array, place: Array) -> Array:  # (T, 4, 4), (3,) -> (T, 3)
    return motion[:, :3, :3] @ place + motion[:, :3, 3]


def turn_between(a: Array, b: Array) -> Array:  # (..., 3), (..., 3) -> (..., 3, 3)
    """The shortest rotations that turn vectors into the directions of others."""
    a = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1e-12)
    b = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-12)
    quat = np.concatenate([1 + (a * b).sum(-1, keepdims=True), np.cross(a, b)], -1)
    flat = quat[..., 0] < 1e-9
    quat[flat] = [0.0, 1.0, 0.0, 0.0]  # turned right round: about any axis
    return se3.quat_to_matrix(quat)
