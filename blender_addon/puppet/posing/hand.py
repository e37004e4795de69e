# SPDX-License-Identifier: GPL-3.0-or-later
"""A puppet in Blender as the body of `restage4d.posing`, and what was done to it as a pose and as
keys.

All places are in the armature's own space, in which its points lie.
"""

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from restage4d.errors import InputError
from restage4d.posing.carrying import Body, split_motion
from restage4d.puppet import F32
from restage4d.se3 import Array, pack

from .. import attributes, capture, importer, rig

_LEAST_TURN, _LEAST_SHIFT = 1e-4, 1e-5  # radians, and of the body's extent: less is no motion


@dataclass(frozen=True, eq=False)
class Hold:
    """A puppet at the moment it is taken hold of.

    Attributes:
        body: its points, and its bases as they stand now.
        names: of the bases' bones.
        rest: (K, 4, 4) the bones' rest matrices.
        before: what each bone was set to.
    """

    body: Body
    names: list[str]
    rest: Array
    before: list[Matrix]


def take_hold(imported: importer.ImportedPuppet) -> Hold:
    """Reads a puppet as it stands now.

    Raises:
        InputError: the armature is in Edit Mode or shows its rest position, or a bone is missing or
            scaled.
    """
    armature = imported.armature
    capture.check_posed(imported)
    if rig.get_armature(armature).pose_position == "REST":
        raise InputError(
            f"{armature.name!r} shows its rest position, where no bone moves anything.",
            "Choose Pose Position in the armature's properties.",
        )
    names = rig.bone_names(armature)
    rest = rig.rest_matrices(armature, names)
    posed = armature.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones
    T = np.array([posed[name].matrix for name in names], np.float64) @ np.linalg.inv(rest)
    bases = pack(T[:, :3, :3], T[:, :3, 3])
    off = rig.measure_deviation(bases)
    if off.max() > rig.ORTHONORMAL:
        raise InputError(
            f"Bone {names[int(off.argmax())]!r} is scaled or sheared.",
            "Clear the scale of the bone and of its parents.",
        )
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
    means = read_rest(imported)
    before = [armature.pose.bones[name].matrix_basis.copy() for name in names]
    return Hold(Body(means, index, weight, bases), names, rest, before)


def check_keyable(armature: bpy.types.Object) -> None:
    """Raises `InputError` where a key would make an Action that holds over all of the NLA."""
    data = armature.animation_data
    if data is None or data.action is not None:
        return
    if data.use_nla and any(not t.mute and len(t.strips) for t in data.nla_tracks):
        raise InputError(
            f"{armature.name!r} plays from the NLA, and keys would hold over all of it.",
            "Play a performance, or tweak a strip (Tab in the NLA editor).",
        )


def read_rest(imported: importer.ImportedPuppet) -> F32:  # -> (N, 3)
    """Where the points are at rest."""
    with attributes.reading_mesh(imported.points) as mesh:
        return attributes.read_attribute(mesh, "position", "vector", 3)


def pose_bones(armature: bpy.types.Object, hold: Hold, bases: Array) -> None:
    """Sets the bones to bases (K, 9), without a key."""
    motion = find_bone_motion(hold, bases)
    for name, before, own in zip(hold.names, hold.before, motion, strict=True):
        set_bone(armature.pose.bones[name], before @ Matrix(own.tolist()))


def put_back(armature: bpy.types.Object, hold: Hold) -> None:
    """Sets the bones to what they were."""
    for name, before in zip(hold.names, hold.before, strict=True):
        set_bone(armature.pose.bones[name], before)


def find_bone_motion(hold: Hold, bases: Array) -> Array:  # (K, 9) -> (K, 4, 4)
    """What each bone does on top of what it did, in its own axes: a rotation about its head and a
    shift."""
    return np.linalg.inv(hold.rest) @ split_motion(hold.body.bases, bases) @ hold.rest


def set_bone(posed: bpy.types.PoseBone, matrix: Matrix) -> None:
    """Sets location and rotation of a bone, whatever its rotation mode; its scale stays."""
    if posed.rotation_mode == "QUATERNION":
        turn = matrix.to_quaternion()
        turn.make_compatible(posed.rotation_quaternion)
        posed.location, posed.rotation_quaternion = matrix.to_translation(), turn
    else:
        scale = posed.scale.copy()
        posed.matrix_basis = matrix
        posed.scale = scale


def key_motion(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    hold: Hold,
    bases: Array,
    *,
    frames: int,
) -> int:
    """Keys bases (K, 9) that were reached at the current frame; returns how many bones moved.

    The bones get what was done on top of what they do, whole at the current frame and less and less
    over ``frames`` to either side; the frame after these is keyed as it was. Keys go where Blender
    puts them: into the Action that plays, or into the NLA strip that is tweaked.
    """
    armature, here = imported.armature, scene.frame_current
    motion = find_bone_motion(hold, bases)
    extent = float(np.linalg.norm(np.ptp(hold.body.means, axis=0)))
    turn = np.arccos(np.clip((np.trace(motion[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    shift = np.linalg.norm(motion[:, :3, 3], axis=1)
    moved = np.flatnonzero((turn > _LEAST_TURN) | (shift > _LEAST_SHIFT * extent))
    if not len(moved):
        return 0
    put_back(armature, hold)
    chosen = [(armature.pose.bones[hold.names[k]], Matrix(motion[k].tolist())) for k in moved]
    span = range(here - frames - 1, here + frames + 2)
    stood = []  # read before any key is set, since a key tells on the frames around it
    for frame in span:
        scene.frame_set(frame)
        stood.append([posed.matrix_basis.copy() for posed, _ in chosen])
    for frame, matrices in zip(span, stood, strict=True):
        share = 1 - abs(frame - here) / (frames + 1)
        share *= share * (3 - 2 * share)
        scene.frame_set(frame)
        for (posed, whole), matrix in zip(chosen, matrices, strict=True):
            _key_bone(posed, matrix @ _take_share(whole, share), frame)
    scene.frame_set(here)
    return len(moved)


def _take_share(motion: Matrix, share: float) -> Matrix:
    """A rotation and a shift, done in part."""
    turn = Quaternion().slerp(motion.to_quaternion(), share).to_matrix().to_4x4()
    return Matrix.Translation(share * motion.translation) @ turn


def _key_bone(posed: bpy.types.PoseBone, matrix: Matrix, frame: int) -> None:
    """Sets and keys location and rotation of a bone."""
    set_bone(posed, matrix)
    turn = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
    for name in ("location", turn.get(posed.rotation_mode, "rotation_euler")):
        posed.keyframe_insert(name, frame=frame, group=posed.name)
