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

from ...skeleton import following
from .. import actions, attributes, importer, rig
from ..playback.stepping import check_posed

_LEAST_TURN, _LEAST_SHIFT = 1e-4, 1e-5  # radians, and of the body's extent: less is no motion


@dataclass(frozen=True, eq=False)
class Hold:
    """A puppet at the moment it is taken hold of.

    Attributes:
        body: its points, and its bases as they stand now.
        names: of the bases' bones.
        rest: (K, 4, 4) the bones' rest matrices.
        skeleton: what goes along above them, where there is one.
        stood: how the skeleton's bones move by these bases.
        before: what each of these bones was set to.
    """

    body: Body
    names: list[str]
    rest: Array
    skeleton: following.Followed | None
    stood: dict[str, Array]
    before: dict[str, Matrix]


def take_hold(imported: importer.ImportedPuppet) -> Hold:
    """Reads a puppet as it stands now.

    Raises:
        InputError: the armature is in Edit Mode or shows its rest position, or a bone is missing or
            scaled.
    """
    armature = imported.armature
    check_posed(imported)
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
    skeleton = following.find_followed(armature, imported.points)
    stood = skeleton.compute_motions(bases[:, None]) if skeleton is not None else {}
    before = {name: armature.pose.bones[name].matrix_basis.copy() for name in (*names, *stood)}
    return Hold(Body(means, index, weight, bases), names, rest, skeleton, stood, before)


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
    """Sets the bones to bases (K, 9), without a key; the skeleton goes along."""
    for name, own in find_bone_motion(hold, bases).items():
        set_bone(armature.pose.bones[name], hold.before[name] @ Matrix(own.tolist()))


def put_back(armature: bpy.types.Object, hold: Hold) -> None:
    """Sets the bones to what they were."""
    for name, before in hold.before.items():
        set_bone(armature.pose.bones[name], before)


def find_bone_motion(hold: Hold, bases: Array) -> dict[str, Array]:  # (K, 9) -> (4, 4) each
    """What each bone does on top of what it did, in its own axes: a rotation about its head and a
    shift."""
    own = np.linalg.inv(hold.rest) @ split_motion(hold.body.bases, bases) @ hold.rest
    out = dict(zip(hold.names, own, strict=True))
    if hold.skeleton is not None:
        moved = hold.skeleton.compute_motions(bases[:, None])
        steps = hold.skeleton.compare_motions(hold.stood, moved)
        out |= {name: step[0] for name, step in steps.items()}
    return out


def set_bone(posed: bpy.types.PoseBone, matrix: Matrix) -> None:
    """Sets location and rotation of a bone, whatever its rotation mode; its scale stays, and so
    does the length of its quaternion, which few keys do not hold at 1."""
    if posed.rotation_mode == "QUATERNION":
        turn = matrix.to_quaternion()
        turn.make_compatible(posed.rotation_quaternion)  # in its length, too
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
    """Keys bases (K, 9) that were reached at the current frame; returns how many of their bones
    moved.

    The bones get what was done on top of what they do, whole at the current frame and less and less
    over ``frames`` to either side; the frame after these is keyed as it was. Those of the skeleton
    are keyed where their points then are. Keys go where Blender puts them: into the Action that
    plays, or into the NLA strip that is tweaked.
    """
    armature, here = imported.armature, scene.frame_current
    motion = find_bone_motion(hold, bases)
    extent = float(np.linalg.norm(np.ptp(hold.body.means, axis=0)))
    names = [n for n in hold.names if _is_motion(motion[n], extent)]
    if not names:
        return 0
    put_back(armature, hold)
    # The ends first: their keys take their handles from the curve as it is beyond them.
    span = [here - frames - 1, here + frames + 1, *range(here - frames, here + frames + 1)]
    stood: list[dict[str, Matrix]] = []  # read before any key is set, since a key tells on others
    places = np.empty((len(span), len(hold.names), 4, 4))
    for i, frame in enumerate(span):
        scene.frame_set(frame)
        bones = armature.pose.bones
        stood.append({name: bones[name].matrix_basis.copy() for name in (*names, *hold.stood)})
        places[i] = np.array([bones[name].matrix for name in hold.names], np.float64)
    steps = [{name: _take_share(motion[name], _fade(f - here, frames)) for name in names}
             for f in span]  # fmt: skip
    if hold.skeleton is not None:
        _add_skeleton_steps(hold, hold.skeleton, places, steps, extent)
    for i, frame in enumerate(span):
        scene.frame_set(frame)
        for name, step in steps[i].items():
            _key_bone(armature.pose.bones[name], stood[i][name] @ step, frame)
        if i == 1:
            _free_handles(armature, list(steps[0]), span[:2])
    scene.frame_set(here)
    return len(names)


def _is_motion(motion: Array, extent: float) -> bool:  # (4, 4)
    turn = np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))
    shift = np.linalg.norm(motion[:3, 3])
    return bool(turn > _LEAST_TURN or shift > _LEAST_SHIFT * extent)


def _fade(away: int, frames: int) -> float:
    """1 at no frame away, falling smoothly to 0 at ``frames`` + 1."""
    share = 1 - abs(away) / (frames + 1)
    return share * share * (3 - 2 * share)


def _add_skeleton_steps(
    hold: Hold,
    skeleton: following.Followed,
    places: Array,
    steps: list[dict[str, Matrix]],
    extent: float,
) -> None:
    """What the bones of the skeleton that move at any frame do there, from where the bones of the
    bases stood (T, K, 4, 4) and what these do."""
    after = places.copy()
    for i, mine in enumerate(steps):
        for k, name in enumerate(hold.names):
            if name in mine:
                after[i, k] = places[i, k] @ np.array(mine[name])
    both = (np.swapaxes(x @ np.linalg.inv(hold.rest), 0, 1) for x in (places, after))
    moved = [skeleton.compute_motions(pack(T[..., :3, :3], T[..., :3, 3])) for T in both]
    for name, motion in skeleton.compare_motions(*moved).items():
        if any(_is_motion(m, extent) for m in motion):
            for mine, m in zip(steps, motion, strict=True):
                mine[name] = Matrix(m.tolist())


def _free_handles(armature: bpy.types.Object, names: list[str], frames: list[int]) -> None:
    """Keys that stand at these frames hold their handles, whatever keys are set beside them."""
    action, slot = actions.find_played(armature)
    starts = tuple(f'pose.bones["{bpy.utils.escape_identifier(name)}"]' for name in names)
    for bag in actions.find_channelbags(action, slot) if action is not None and slot else ():
        for curve in bag.fcurves:
            if curve.data_path.startswith(starts):
                for key in curve.keyframe_points:
                    if round(key.co.x) in frames:
                        key.handle_left_type = key.handle_right_type = "FREE"


def _take_share(motion: Array, share: float) -> Matrix:  # (4, 4)
    """A rotation and a shift, done in part."""
    whole = Matrix(motion.tolist())
    turn = Quaternion().slerp(whole.to_quaternion(), share).to_matrix().to_4x4()
    return Matrix.Translation(share * whole.translation) @ turn


def _key_bone(posed: bpy.types.PoseBone, matrix: Matrix, frame: int) -> None:
    """Sets and keys location and rotation of a bone."""
    set_bone(posed, matrix)
    turn = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
    for name in ("location", turn.get(posed.rotation_mode, "rotation_euler")):
        posed.keyframe_insert(name, frame=frame, group=posed.name)
