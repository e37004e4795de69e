# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a performance that comes to a puppet with a skeleton later, and what an artist posed of
one, in the bases."""

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from restage4d import se3
from restage4d.puppet import F32, Performance, Puppet
from restage4d.se3 import Array
from restage4d.skeleton.posing import blend_changes
from restage4d.skeleton.skeleton import Bone, Skeleton

from ..puppet import actions, attributes, rig
from ..puppet.animation.chain_fitting import Chain
from . import build
from .plan import CAPTURED, LIMB, PART, compute_channels, list_own_places, list_soles

_UNTOUCHED = 5e-6  # of a change from the identity: float32 of the bones


def find_keys(
    armature: bpy.types.Object, points: bpy.types.Object, performance: Performance
) -> dict[str, tuple[Array, Array]]:
    """Location and quaternion keys of bases, captured bones and followers; the armature has a
    skeleton, and the bases are in its space."""
    mesh = attributes.get_mesh(points)
    index, weight = attributes.read_influences(mesh)
    subject = attributes.read_gaussians(mesh)
    puppet = Puppet(subject, index, weight, [performance], subject)
    body = build.plan(puppet, read_skeleton(armature, points))
    bones = rig.get_armature(armature).bones
    rest = {bone.name: np.array(bone.matrix_local, np.float64) for bone in bones}
    keys = compute_channels(body, puppet, performance, rest=rest)
    return {name: key for name, key in keys.items() if name in rest}


def read_chain(
    armature: bpy.types.Object, points: bpy.types.Object, few: Mapping[str, str]
) -> Chain:
    """The bones that get few keys, see `plan.find_few`; none where there is no skeleton."""
    if not few:
        return actions.read_chain(armature, few, {}, ())
    with attributes.reading_mesh(points) as mesh:
        means = attributes.read_attribute(mesh, "position", "vector", 3)
    skeleton = read_skeleton(armature, points)
    places = list_own_places(skeleton, means)
    return actions.read_chain(armature, few, places, list_soles(skeleton))


def read_skeleton(armature: bpy.types.Object, points: bpy.types.Object) -> Skeleton:
    """The skeleton that an armature holds, by its captured bones, which artists do not rename."""
    data = rig.get_armature(armature)
    names = build.list_bones(armature, CAPTURED)
    limbs = {bone[LIMB] for bone in data.bones if LIMB in bone}
    parents = [
        names.index(p.name) if (p := data.bones[n].parent) and p.name in names else -1
        for n in names
    ]
    limbs |= {parents[lower] for lower in set(limbs)}
    bones = [
        Bone(
            name.removesuffix(" captured"),
            np.array(data.bones[name].head_local, np.float64),
            np.array(data.bones[name].tail_local, np.float64),
            parent,
            data.bones[name][PART],
            i in limbs,
        )
        for i, (name, parent) in enumerate(zip(names, parents, strict=True))
    ]
    skin = build.read_skin(attributes.get_mesh(points))
    assert skin is not None
    return Skeleton(bones, *skin, is_named=True)


def move_bases(
    points: bpy.types.Object, bases: F32, changes: Any
) -> F32:  # (K, T, 9), (S, T, 4, 4)
    """The bases carried on by what was changed of the skeleton's bones: each by the blend of its
    points' bones. Neighbours that share no basis may part a little more than under the skeleton
    itself (docs/puppet_in_blender.md)."""
    if changes is None:
        return bases
    touched = np.flatnonzero(np.abs(changes - np.eye(4)).max((0, 2, 3)) > _UNTOUCHED)
    if not len(touched):
        return bases
    mesh = attributes.get_mesh(points)
    index, weight = attributes.read_influences(mesh)
    skin = build.read_skin(mesh)
    assert skin is not None
    share = np.zeros((len(bases), len(changes)))
    for j in range(index.shape[1]):
        for i in range(skin[0].shape[1]):
            np.add.at(share, (index[:, j], skin[0][:, i]), weight[:, j] * skin[1][:, i])
    share /= np.maximum(share.sum(1, keepdims=True), 1e-12)
    bone = np.tile(np.arange(len(changes)), (len(bases), 1))
    moved = bases.copy()  # the other frames stay to the last bit
    for t in touched:
        R, shift = blend_changes(changes[:, t], bone, share)
        turn = R @ se3.gram_schmidt(bases[:, t, :6].astype(np.float64))
        place = np.einsum("kij,kj->ki", R, bases[:, t, 6:].astype(np.float64)) + shift
        moved[:, t] = se3.pack(turn, place)
    return moved
