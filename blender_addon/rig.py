# SPDX-License-Identifier: GPL-3.0-or-later
"""One bone per motion basis, keyframed; and the helper mesh through which the points' node tree reads the bones.

Basis k carries canonical points to the world: ``x = T_k μ``. Bone k rests at ``B_k`` where its region is, and its evaluated
pose matrix is ``T_k B_k``, so that "pose x inverse rest", what skinning applies, is the basis itself. Keyframes hold the
pose relative to rest, ``B_k^-1 T_k B_k``.
"""

from typing import Any

import bpy
import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import F32, Performance, Puppet
from restage4d.se3 import Array

from . import compat

FIRST_FRAME = 1  # a performance's frame 0 stands at scene frame 1
ORTHONORMAL = 1e-3  # how far a basis may be from a rotation
BASIS = "restage4d_basis"  # a bone's custom property: which basis it is; names may change
COUNT = "restage4d_bases"  # the armature's: how many there are
SLOT = "Bases"  # of a performance's Action


def check_bases(performance: Performance) -> None:
    """Raises `InputError` if a basis is not a rotation: a bone cannot hold it, and Eq. 1 blends what the bones hold."""
    error = deviation(performance.bases)
    if error.max() > ORTHONORMAL:
        k, frame = np.unravel_index(error.argmax(), error.shape)
        raise InputError(
            f"Basis {k} of performance {performance.name!r} is no rotation at frame {frame} (off by {error.max():.2g}).",
            "Orthonormalise the bases (restage4d.se3.gram_schmidt and pack) and save the puppet again.",
        )


def deviation(bases: Array) -> Array:  # (..., 9) -> (...)
    """How far the first two columns are from orthonormal: the largest fault of lengths and of the angle between them."""
    a, b = bases[..., :3], bases[..., 3:6]
    faults = [np.linalg.norm(a, axis=-1) - 1, np.linalg.norm(b, axis=-1) - 1, (a * b).sum(-1)]
    return np.abs(np.stack(faults)).max(0)


def regions(puppet: Puppet) -> tuple[Array, Array]:  # (K, 3), (K,)
    """Weighted mean and spread (root mean square distance) of the canonical points that each basis moves.

    A basis that moves nothing gets the whole subject's.
    """
    k, means = puppet.n_bases, puppet.subject.means.astype(np.float64)
    index, weight = puppet.index.ravel(), puppet.weight.ravel().astype(np.float64)
    total = np.bincount(index, weight, minlength=k)
    idle = total < 1e-9
    total = np.where(idle, 1.0, total)
    repeat = np.repeat(means, puppet.index.shape[1], axis=0)
    centre = np.stack([np.bincount(index, weight * repeat[:, i], minlength=k) for i in range(3)], 1) / total[:, None]
    square = np.bincount(index, weight * ((repeat - centre[index]) ** 2).sum(1), minlength=k) / total
    middle = means.mean(0)
    spread = np.sqrt(np.where(idle, ((means - middle) ** 2).sum(1).mean(), square))
    return np.where(idle[:, None], middle, centre), spread


def add_armature(name: str, puppet: Puppet, collection: Any) -> Any:
    """The armature at rest, one unparented bone per basis, in order; its world is the puppet's."""
    centre, spread = regions(puppet)
    extent = float(np.linalg.norm(np.ptp(puppet.subject.means, axis=0)))
    length = np.maximum(0.5 * spread, 0.01 * extent + 1e-4)
    armature = bpy.data.armatures.new(f"{name} bases")
    armature.display_type = "STICK"
    obj = bpy.data.objects.new(f"{name} bases", armature)
    obj.show_in_front = True
    collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.mode_set(mode="EDIT")
    digits = len(str(puppet.n_bases - 1))
    for k, (head, size) in enumerate(zip(centre, length, strict=True)):
        bone = armature.edit_bones.new(f"basis_{k:0{digits}d}")
        bone.head, bone.tail = head, (head[0], head[1] + size, head[2])  # along +Y its axes are the world's
    bpy.ops.object.mode_set(mode="OBJECT")
    armature[COUNT] = puppet.n_bases
    for k, bone in enumerate(armature.bones):
        bone[BASIS] = k
    for bone in obj.pose.bones:
        bone.rotation_mode = "QUATERNION"
        bone.lock_scale = (True, True, True)  # a scaled bone is no rigid motion any more
    return obj


def bone_names(obj: Any) -> list[str]:
    """The bones' names in the order of the bases, whatever the artist renamed, added or reordered.

    Raises:
        InputError: a bone of the puppet was deleted.
    """
    found = {bone[BASIS]: bone.name for bone in obj.data.bones if BASIS in bone}
    missing = sorted(set(range(obj.data[COUNT])) - set(found))
    if missing:
        raise InputError(f"{obj.name!r} lost the bones of bases {missing}.", "Undo their deletion or import the puppet again.")
    return [found[k] for k in range(len(found))]


def rest_matrices(obj: Any, names: list[str]) -> Array:  # (K, 4, 4)
    """The bones' rest matrices in armature space."""
    return np.array([obj.data.bones[name].matrix_local for name in names], np.float64)


def add_bases_frames(name: str, armature: Any, collection: Any) -> Any:
    """The helper mesh: per basis three vertices 0, e0, e1, moved by its bone alone (row 3k + c is vertex c of basis k)."""
    names = bone_names(armature)
    mesh = bpy.data.meshes.new(f"{name} frames")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)] * len(names), [], [])
    obj = bpy.data.objects.new(f"{name} frames", mesh)
    for k, bone in enumerate(names):
        obj.vertex_groups.new(name=bone).add([3 * k, 3 * k + 1, 3 * k + 2], 1.0, "REPLACE")
    modifier = obj.modifiers.new("Armature", "ARMATURE")
    modifier.object = armature
    obj.parent = armature
    obj.hide_render = obj.hide_select = True
    collection.objects.link(obj)
    obj.hide_viewport = True  # still evaluated, since the points read it
    return obj


def pose_curves(bases: F32, rest: Array) -> tuple[Array, Array]:  # (K, T, 9), (K, 4, 4) -> (K, T, 3), (K, T, 4)
    """Location and quaternion (wxyz, without jumps of sign) of every bone relative to its rest, per frame."""
    R, t = se3.gram_schmidt(bases[..., :6].astype(np.float64)), bases[..., 6:].astype(np.float64)
    B, head = rest[:, None, :3, :3], rest[:, None, :3, 3]
    shift = np.einsum("ktij,kj->kti", R, rest[:, :3, 3]) + t - head
    location = np.einsum("kji,ktj->kti", rest[:, :3, :3], shift)
    quats = se3.matrix_to_quat(np.swapaxes(B, -1, -2) @ R @ B)
    return location, continuous(quats)


def continuous(quats: Array) -> Array:  # (..., T, 4) -> (..., T, 4)
    """The same rotations with signs such that neighbouring frames are the short way round."""
    flip = np.where((quats[..., 1:, :] * quats[..., :-1, :]).sum(-1) < 0, -1.0, 1.0)
    quats = quats.copy()
    quats[..., 1:, :] *= np.cumprod(flip, axis=-1)[..., None]
    return quats


def write_curves(channelbag: Any, data_path: str, group: str, values: Array) -> None:  # (T, C) or (T,)
    """One F-curve per column of ``values`` from `FIRST_FRAME` on, linear between keys, in bulk."""
    columns = values.reshape(len(values), -1).T
    keys = np.empty((len(values), 2), np.float32)
    keys[:, 0] = FIRST_FRAME + np.arange(len(values))
    linear = np.full(len(values), 1, np.int32)  # Keyframe.interpolation 'LINEAR'
    for i, column in enumerate(columns):
        fcurve = compat.new_fcurve(channelbag, data_path, i if values.ndim > 1 else 0, group)
        keys[:, 1] = column
        fcurve.keyframe_points.add(len(keys))
        fcurve.keyframe_points.foreach_set("co", keys.ravel())
        fcurve.keyframe_points.foreach_set("interpolation", linear)
        fcurve.update()


def add_action(name: str, frames: int) -> Any:
    """An Action that survives without users, with its frame range told."""
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    action.use_frame_range = True
    action.frame_start, action.frame_end = FIRST_FRAME, FIRST_FRAME + frames - 1
    action.layers.new("Layer").strips.new(type="KEYFRAME")
    return action


def add_slot(action: Any, owner: Any, name: str) -> Any:
    """A slot of the Action for data of the owner's kind; returns its channel bag."""
    slot = action.slots.new(id_type=owner.id_type, name=name)
    return action.layers[0].strips[0].channelbag(slot, ensure=True)


def use_action(owner: Any, action: Any, name: str) -> None:
    """Plays the Action's slot of that name on ``owner``; where there is none, ``owner`` stands still."""
    slot = next((s for s in action.slots if s.target_id_type == owner.id_type and s.name_display == name), None)
    play(owner, action if slot else None, slot)


def play(owner: Any, action: Any | None, slot: Any | None) -> None:
    """Plays a slot of an Action on ``owner``; with None it stands still. NLA tracks and drivers stay."""
    if action is None:
        if owner.animation_data is not None:
            owner.animation_data.action = None
        return
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    data.action_slot = slot


def played(owner: Any) -> tuple[Any | None, Any | None]:
    """The Action and the slot that play on ``owner``."""
    data = owner.animation_data
    return (data.action, data.action_slot) if data is not None else (None, None)


def write_performance(action: Any, armature: Any, performance: Performance) -> None:
    """The performance's bases as keyframes of the armature's bones."""
    names = bone_names(armature)
    location, quats = pose_curves(performance.bases, rest_matrices(armature, names))
    channelbag = add_slot(action, armature, SLOT)
    for k, name in enumerate(names):
        path = f'pose.bones["{bpy.utils.escape_identifier(name)}"]'
        write_curves(channelbag, f"{path}.location", name, location[k])
        write_curves(channelbag, f"{path}.rotation_quaternion", name, quats[k])


def read_bases(armature: Any, names: list[str], inverse_rest: Array) -> Array:  # -> (K, 9)
    """The bases that the bones hold now, in the world; ``armature`` must be evaluated.

    Columns as they are: a scaled bone gives columns that are not of unit length (see `deviation`).
    """
    pose = np.array([armature.pose.bones[name].matrix for name in names], np.float64)
    T = np.array(armature.matrix_world, np.float64) @ pose @ inverse_rest
    return se3.pack(T[:, :3, :3], T[:, :3, 3])
