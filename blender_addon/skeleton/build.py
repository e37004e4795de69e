# SPDX-License-Identifier: GPL-3.0-or-later
"""The body rig as data-blocks: bones dressed for the artist, inverse kinematics, and the meshes
through which the points' nodes read what was changed."""

import colorsys
from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import F32, Puppet
from restage4d.se3 import Array
from restage4d.skeleton.skeleton import Skeleton

from .. import compat
from ..puppet import attributes, regions, rig
from ..puppet.nodes import node_tree
from . import nodes
from .plan import CAPTURED, END, IK, LIMB, PART, POLE, BodyPlan, plan_body, split_name

SWITCH = "IK"  # custom property of a limb's IK control: 0 forward, 1 inverse kinematics
MODIFIER = "Skeleton"  # of the points
HELPER = "restage4d_helper"  # a custom property of the two helper meshes' objects
MECHANISM, BASES, IK_CONTROLS = "Mechanism", "Bases", "IK"  # bone collections
_SIDES = {".L": "Left", ".R": "Right"}


def plan(puppet: Puppet, skeleton: Skeleton) -> BodyPlan:
    """The bones of a puppet with a skeleton. Needs no Blender."""
    total, centre, square = regions.compute_moments(puppet)
    share = np.zeros((puppet.n_bases, len(skeleton.bones)))
    for j in range(puppet.index.shape[1]):
        for i in range(skeleton.index.shape[1]):
            both = puppet.weight[:, j] * skeleton.weight[:, i]
            np.add.at(share, (puppet.index[:, j], skeleton.index[:, i]), both)
    found = regions.Regions(
        of_basis=share.argmax(1),
        names=[b.name for b in skeleton.bones],
        colors=find_colors(skeleton),
        total=total,
        centre=centre,
        spread=np.sqrt(square),
        middle=np.array([b.head for b in skeleton.bones]),
        reach=np.array([b.length for b in skeleton.bones]),
    )
    bases = rig.plan_bases(found, [None] * puppet.n_bases, rig.find_least_length(puppet))
    middle, around = rig.find_middle(puppet, found)
    middle[2] = float(np.quantile(puppet.subject.means[:, 2], 0.01))
    return plan_body(puppet, skeleton, bases, middle, around)


def find_colors(skeleton: Skeleton) -> Array:  # (S, 3) sRGB
    """A hue per part of the body, paler from bone to bone."""
    parts = list(dict.fromkeys(b.part for b in skeleton.bones))
    colors, seen = [], dict.fromkeys(parts, 0)
    for bone in skeleton.bones:
        hue = parts.index(bone.part) / len(parts)
        colors.append(colorsys.hsv_to_rgb(hue, max(0.85 - 0.25 * seen[bone.part], 0.3), 1.0))
        seen[bone.part] += 1
    return np.array(colors)


def dress(obj: bpy.types.Object, body: BodyPlan) -> Iterator[None]:
    """Collections, colours, shapes, locks and inverse kinematics; yields after each bone."""
    armature, colors = rig.get_armature(obj), find_colors(body.skeleton)
    folders: dict[str, bpy.types.BoneCollection] = {}

    def put(name: str, bone: bpy.types.Bone, *, visible: bool = True) -> None:
        if name not in folders:
            known = armature.collections.get(name)
            folders[name] = known or armature.collections.new(name)
            folders[name].is_visible = visible
        folders[name].assign(bone)

    shapes = {name: rig.make_shape(name) for name in rig.SHAPES}
    made = {bone.name for bone in body.bones}
    for posed in [p for p in obj.pose.bones if p.name in made]:
        bone = posed.bone
        role, region = bone.get(rig.ROLE), bone.get(rig.REGION, rig.WHOLE)
        posed.rotation_mode = "QUATERNION"
        posed.lock_scale = (True, True, True)  # a scaled bone is no rigid motion any more
        color = (1.0, 1.0, 1.0) if region == rig.WHOLE else tuple(colors[region])
        if LIMB in bone:
            color = tuple(colors[bone[LIMB]])
        rig.paint_bone(bone, color)
        if rig.BASIS in bone:
            put(BASES, bone, visible=False)
            rig.shape_bone(posed, shapes["Restage4D Basis"], 0.5 * bone.length)
        elif role in (rig.FOLLOWER, CAPTURED, END):
            put(MECHANISM, bone, visible=False)
        elif role in (IK, POLE):
            put(IK_CONTROLS, bone)
            rig.shape_bone(posed, shapes["Restage4D Handle"], 0.35 * bone.length)
            posed.lock_rotation = (True, True, True)
            posed.lock_rotation_w = True
        else:
            put(describe_part(bone[PART]), bone)
            if region == rig.WHOLE:
                rig.shape_bone(posed, shapes["Restage4D Root"], bone.length)
        yield
    for _, lower in body.skeleton.find_limbs():
        _add_inverse_kinematics(obj, body.skeleton, lower)
        yield


def describe_part(part: str) -> str:
    """A part for the artist, also as a bone collection: "leg_front.L" is "Leg Front Left"."""
    stem, side = split_name(part)
    return " ".join([*(w.capitalize() for w in stem.split("_")), _SIDES.get(side, "")]).strip()


def _add_inverse_kinematics(obj: bpy.types.Object, skeleton: Skeleton, lower: int) -> None:
    """The limb's end goes to its control as far as the control's property says."""
    bone = skeleton.bones[lower]
    stem, side = split_name(bone.part)
    end, control = (obj.pose.bones[f"{stem}_{kind}{side}"] for kind in ("end", "ik"))
    control[SWITCH] = 0.0
    described: Any = control.id_properties_ui(SWITCH)
    described.update(
        min=0.0, max=1.0, default=0.0, description="0: turn the bones. 1: the limb reaches for this"
    )
    solver: Any = end.constraints.new("IK")
    solver.target = solver.pole_target = obj
    solver.subtarget, solver.pole_subtarget = control.name, f"{stem}_pole{side}"
    solver.chain_count, solver.use_tail, solver.iterations = 4, True, 200
    solver.pole_angle, solver.use_stretch = 0.0, False
    for rigid in (end, obj.pose.bones[f"{bone.name} follows"]):
        rigid.lock_ik_x = rigid.lock_ik_y = rigid.lock_ik_z = True
    drive(solver, "influence", obj, f'pose.bones["{control.name}"]["{SWITCH}"]')


def drive(owner: Any, name: str, obj: bpy.types.Object, path: str) -> None:
    """A driver that makes a property what another one of ``obj`` is."""
    driver = owner.driver_add(name).driver
    driver.type = "AVERAGE"
    variable = driver.variables.new()
    variable.targets[0].id = obj
    variable.targets[0].data_path = path


def add_changes(
    name: str, obj: bpy.types.Object, points: bpy.types.Object, collection: bpy.types.Collection
) -> list[bpy.types.NodeTree]:
    """Two helper meshes with three vertices per bone (0, e0, e1): the first carried by the captured
    bones; the second by the inverse of that, then by the controls, which leaves what the artist
    changed. The points read it after Eq. 1. Returns the node trees."""
    trees = [nodes.make_undo_captured(), nodes.make_dual_quaternions(), nodes.make_carrying()]
    captured = _add_frames(f"{name} captured", obj, collection, CAPTURED)
    changes = _add_frames(f"{name} changes", obj, collection, rig.CONTROL)
    undo = node_tree.add_modifier(changes, "Undo Captured", trees[0])
    compat.set_input(undo, "Captured", captured)
    node_tree.add_modifier(changes, "Changes", trees[1])
    with bpy.context.temp_override(object=changes):
        changes.modifiers.move(1, 0)  # undo captured, then the armature, then changes
    modifier = node_tree.add_modifier(points, MODIFIER, trees[2])
    compat.set_input(modifier, "Changes", changes)
    return trees


def _add_frames(
    name: str, obj: bpy.types.Object, collection: bpy.types.Collection, role: str
) -> bpy.types.Object:
    names = list_bones(obj, role)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)] * len(names), [], [])
    helper = bpy.data.objects.new(name, mesh)
    for s, bone in enumerate(names):
        group = helper.vertex_groups.new(name=bone)
        group.add([3 * s, 3 * s + 1, 3 * s + 2], 1.0, "REPLACE")
    modifier: Any = helper.modifiers.new("Armature", "ARMATURE")
    modifier.object = obj
    helper.parent = obj
    helper[HELPER] = role
    helper.hide_render = helper.hide_select = True
    collection.objects.link(helper)
    helper.hide_viewport = True  # still evaluated, since others read it
    return helper


def list_bones(obj: bpy.types.Object, role: str = rig.CONTROL) -> list[str]:
    """Names of the skeleton's controls, or captured bones, in its bones' order, whatever the artist
    renamed; empty where there is no skeleton."""
    bones = rig.get_armature(obj).bones
    found = {
        bone[rig.REGION]: bone.name
        for bone in bones
        if bone.get(rig.ROLE) == role and PART in bone and bone[rig.REGION] != rig.WHOLE
    }
    return [found[s] for s in sorted(found)]


def write_skin(mesh: bpy.types.Mesh, index: NDArray[np.uint16], weight: F32) -> None:
    """``bone_j`` and ``bone_weight_j`` of every point."""
    for j in range(index.shape[1]):
        name = f"{nodes.BONE}_{j}"
        attributes.set_attribute(mesh, name, "INT", "value", index[:, j].astype(np.int32))
        attributes.set_attribute(mesh, f"{nodes.BONE_WEIGHT}_{j}", "FLOAT", "value", weight[:, j])


def read_skin(mesh: bpy.types.Mesh) -> tuple[NDArray[np.uint16], F32] | None:
    """What `write_skin` wrote; None where there is no skeleton."""
    count = sum(1 for j in range(8) if f"{nodes.BONE}_{j}" in mesh.attributes)
    if not count:
        return None
    index = np.empty((len(mesh.vertices), count), np.uint16)
    weight = np.empty((len(mesh.vertices), count), np.float32)
    column = np.empty(len(mesh.vertices), np.int32)
    for j in range(count):
        values: Any = mesh.attributes[f"{nodes.BONE}_{j}"]
        values.data.foreach_get("value", column)
        index[:, j] = column
        weight[:, j] = attributes.read_attribute(mesh, f"{nodes.BONE_WEIGHT}_{j}", "value", 1)
    return index, weight


def read_changes(armature: bpy.types.Object) -> Array:  # -> (S, 4, 4)
    """What the artist changed of each bone now, in the world; ``armature`` must be evaluated."""
    world = np.array(armature.matrix_world, np.float64)
    posed, captured = (
        np.array([armature.pose.bones[n].matrix for n in list_bones(armature, role)], np.float64)
        for role in (rig.CONTROL, CAPTURED)
    )
    return world @ posed @ np.linalg.inv(captured) @ np.linalg.inv(world)
