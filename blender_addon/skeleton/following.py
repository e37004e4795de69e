# SPDX-License-Identifier: GPL-3.0-or-later
"""A skeleton that goes along when the motion bases below it are posed by hand: its captured bones
and followers do on top of what they do whatever their own points were moved by. Both do the same,
so that points are where the bases put them, and the artist's controls stand where the body is."""

from dataclasses import dataclass, replace

import bpy
import numpy as np

from restage4d.puppet import Gaussians, Puppet
from restage4d.se3 import Array
from restage4d.skeleton.posing import blend_changes

from ..puppet import attributes, bone_curves, rig
from . import build, new_keys
from .plan import CAPTURED, BodyPlan, compute_motions, plan_body

_POINTS = 1500  # that the motion is measured on
_UNTOUCHED = 1e-5  # of a change from the identity: float32 of the bones


@dataclass(frozen=True, eq=False)
class Followed:
    """A puppet's skeleton, ready to go along.

    Attributes:
        body, puppet: the skeleton, and some of the points that it moves by.
        rest: (4, 4) rest matrix of each keyed bone.
    """

    body: BodyPlan
    puppet: Puppet
    rest: dict[str, Array]

    def compute_motions(self, bases: Array) -> dict[str, Array]:  # (K, T, 9) -> (T, 4, 4) each
        """How each keyed bone moves within its parent under bases."""
        moved = compute_motions(self.body, self.puppet, bases)
        return {name: motion for name, motion in moved if name in self.rest}

    def compare_motions(
        self, before: dict[str, Array], after: dict[str, Array]
    ) -> dict[str, Array]:  # (T, 4, 4) each
        """What each keyed bone does, in its own axes, on top of what it did."""
        out = {}
        for name, rest in self.rest.items():
            step = bone_curves.inverse(before[name]) @ after[name]
            out[name] = bone_curves.inverse(rest) @ step @ rest
        return out


def find_followed(armature: bpy.types.Object, points: bpy.types.Object) -> Followed | None:
    """The skeleton of a puppet; None where it has none."""
    if not build.list_bones(armature, CAPTURED):
        return None
    skeleton = new_keys.read_skeleton(armature, points)
    with attributes.reading_mesh(points) as mesh:
        index, weight = attributes.read_influences(mesh)
        means = attributes.read_attribute(mesh, "position", "vector", 3)
        opacity = attributes.read_radiance(mesh)[:, 3]
    some = slice(None, None, max(1, len(means) // _POINTS))
    count = len(means[some])
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    nothing = np.zeros((count, 1, 3), np.float32)
    subject = Gaussians(means[some], quats, np.ones_like(means[some]), opacity[some], nothing)
    puppet = Puppet(subject, index[some], weight[some], [], subject)
    skeleton = replace(skeleton, index=skeleton.index[some], weight=skeleton.weight[some])
    body = plan_body(puppet, skeleton, [], means.mean(0).astype(np.float64), 1.0)
    bones = rig.get_armature(armature).bones
    rest: dict[str, Array] = {
        name: np.array(bones[name].matrix_local, np.float64) for name in body.keyed if name in bones
    }
    return Followed(body, puppet, rest)


def find_carrying(
    armature: bpy.types.Object, points: bpy.types.Object, point: int
) -> Array:  # -> (4, 4)
    """The rigid motion by which the skeleton, as the artist posed it, carries a point on from where
    its bases put it; in the armature's space, and ``armature`` evaluated."""
    skin = build.read_skin(attributes.get_mesh(points))
    out = np.eye(4)
    if skin is None:
        return out
    world = np.array(armature.matrix_world, np.float64)
    changes = np.linalg.inv(world) @ build.read_changes(armature) @ world
    if np.abs(changes - out).max() < _UNTOUCHED:
        return out
    index, weight = skin
    mine = slice(point, point + 1)
    turn, shift = blend_changes(changes, index[mine], weight[mine])
    out[:3, :3], out[:3, 3] = turn[0], shift[0]
    return out
