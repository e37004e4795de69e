# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances as Actions with slots: keyframes written in bulk, and who plays what."""

import math
from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import cast

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import F32
from restage4d.se3 import Array

from .. import compat
from .animation import curve_fitting

Animated = bpy.types.Object | bpy.types.Camera
FewKeys = list[tuple[NDArray[np.intp], Array, Array]]  # per channel: frames, values, slopes
Channel = tuple[str, int]  # an F-curve's data path and array index
FIRST_FRAME = 1  # a performance's frame 0 stands at scene frame 1
SLOT = "Bases"  # of a performance's Action: the bones
CAPTURED = "restage4d_bases"  # of a performance's Action: the bases that it came with, (K, T, 9)
# Scene units that the end of a chain of a skeleton's bones may be off for fewer keys: each bone's
# place, and the farthest end of those below it by its turn. Bones of a chain err independently.
FEW = 1.2e-3
_CHANNELS = "location", "rotation_quaternion"
_BEZIER, _ALIGNED = 2, 3  # Keyframe.interpolation, Keyframe.handle_left_type


def write_curves(
    channelbag: bpy.types.ActionChannelbag, data_path: str, group: str, values: Array
) -> None:  # (T, C) or (T,)
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


def write_few_curves(
    channelbag: bpy.types.ActionChannelbag, data_path: str, group: str, keys: FewKeys
) -> None:
    """One F-curve per channel of few smooth Bézier keys."""
    for i, (at, fitted, slopes) in enumerate(keys):
        curve = compat.new_fcurve(channelbag, data_path, i, group)
        write_keys(curve, FIRST_FRAME + at, fitted, slopes)


def write_keys(
    curve: bpy.types.FCurve, frames: NDArray[np.intp], values: Array, slopes: Array
) -> None:
    """Replaces the keys of a curve by smooth Bézier keys, see `curve_fitting.fit_keys`."""
    points = curve.keyframe_points
    points.clear()
    points.add(len(frames))
    left, right = curve_fitting.place_handles(frames, values, slopes)
    keys = np.stack([frames, values], -1)
    for name, table in (("co", keys), ("handle_left", left), ("handle_right", right)):
        points.foreach_set(name, table.astype(np.float32).ravel())
    points.foreach_set("interpolation", np.full(len(frames), _BEZIER, np.int32))
    for name in ("handle_left_type", "handle_right_type"):
        points.foreach_set(name, np.full(len(frames), _ALIGNED, np.int32))
    curve.update()


def add_action(name: str, frames: int) -> bpy.types.Action:
    """An Action that survives without users, with its frame range set."""
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    action.use_frame_range = True
    action.frame_start, action.frame_end = FIRST_FRAME, FIRST_FRAME + frames - 1
    action.layers.new("Layer").strips.new(type="KEYFRAME")
    return action


def add_slot(
    action: bpy.types.Action, owner: bpy.types.ID, name: str
) -> bpy.types.ActionChannelbag:
    """A slot of the Action for data of the owner's kind; returns its channel bag."""
    slot = action.slots.new(id_type=owner.id_type, name=name)
    strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
    return strip.channelbag(slot, ensure=True)


def find_slot(action: bpy.types.Action, owner: Animated, name: str) -> bpy.types.ActionSlot | None:
    """The Action's slot of that name for ``owner``, else the one that Blender named after it when
    the artist keyed it."""
    slots = {s.name_display: s for s in action.slots if s.target_id_type == owner.id_type}
    return slots.get(name) or slots.get(owner.name)


def find_channels(action: bpy.types.Action, slot: bpy.types.ActionSlot) -> set[Channel]:
    """What the Action keys in that slot."""
    bags = find_channelbags(action, slot)
    return {(c.data_path, c.array_index) for bag in bags for c in bag.fcurves}


def find_channelbags(
    action: bpy.types.Action, slot: bpy.types.ActionSlot
) -> list[bpy.types.ActionChannelbag]:
    """Where the Action keeps the curves of that slot."""
    strips = (strip for layer in action.layers for strip in layer.strips)
    bags = (cast(bpy.types.ActionKeyframeStrip, strip).channelbag(slot) for strip in strips)
    return [bag for bag in bags if bag is not None]


def play(
    owner: Animated,
    action: bpy.types.Action | None,
    slot: bpy.types.ActionSlot | None,
) -> None:
    """Plays a slot of an Action on ``owner``; with None it stands still. NLA tracks and drivers
    stay."""
    if action is None:
        if owner.animation_data is not None:
            owner.animation_data.action = None
        return
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    data.action_slot = slot


def find_played(
    owner: Animated,
) -> tuple[bpy.types.Action | None, bpy.types.ActionSlot | None]:
    """The Action and the slot that play on ``owner``."""
    data = owner.animation_data
    return (data.action, data.action_slot) if data is not None else (None, None)


def keep_bases(action: bpy.types.Action, bases: F32) -> None:  # (K, T, 9)
    """Keeps with an Action the bases that its keys were made of, whatever becomes of these."""
    action[CAPTURED] = np.ascontiguousarray(bases, "<f4").tobytes()


def read_kept_bases(action: bpy.types.Action, n_bases: int) -> F32 | None:  # -> (K, T, 9)
    """What `keep_bases` kept; None in files from before."""
    kept = action.get(CAPTURED)
    return np.frombuffer(kept, "<f4").reshape(n_bases, -1, 9) if kept is not None else None


def measure_limits(
    armature: bpy.types.Object, few: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """For the bones that those of ``few`` are named for: how far a turn carries, twice (a
    quaternion's error is half the angle), and the error that keys may have."""
    bones = cast(bpy.types.Armature, armature.data).bones
    return {
        name: (
            2 * _find_reach(bones[name]),
            FEW / math.sqrt(_count_chain(bones[name], few)),
        )
        for name in set(few.values())
    }


def thin_keys(
    keys: Mapping[str, tuple[Array, Array]],
    few: Mapping[str, str],
    limits: Mapping[str, tuple[float, float]],
) -> dict[tuple[str, str], FewKeys]:
    """The few smooth keys of the bones that those of ``few`` are named for, by bone and channel.
    Needs no Blender. ``limits``: see `measure_limits`."""
    found: dict[tuple[str, str], FewKeys] = {}
    for name in filter(few.__contains__, keys):
        reach, allowed = limits[few[name]]
        for channel, values, weight in zip(_CHANNELS, keys[name], (1.0, reach), strict=True):
            if (few[name], channel) not in found:
                weights = np.full(values.shape[1], weight)
                shared, _, _ = curve_fitting.sketch_keys(values, weights, allowed)
                found[few[name], channel] = curve_fitting.thin_channels(
                    shared, values, weights, allowed
                )
    return found


def write_bones(
    action: bpy.types.Action,
    armature: bpy.types.Object,
    keys: Mapping[str, tuple[Array, Array]],
    few: Mapping[str, str] = MappingProxyType({}),
    thinned: Mapping[tuple[str, str], FewKeys] | None = None,
) -> Iterator[None]:
    """Keyframes of bones, see `bone_curves.channels`, one a frame; bones of ``few`` get few smooth
    ones, those of the bone that it names for them (``thinned``, see `thin_keys`, which is called
    where it is not given). Yields after each."""
    if thinned is None:
        thinned = thin_keys(keys, few, measure_limits(armature, few))
    slot = find_slot(action, armature, SLOT)
    bags = find_channelbags(action, slot) if slot is not None else []
    channelbag = bags[0] if bags else add_slot(action, armature, SLOT)
    for name, values in keys.items():
        path = f'pose.bones["{bpy.utils.escape_identifier(name)}"]'
        for channel, curves in zip(_CHANNELS, values, strict=True):
            if name in few:
                write_few_curves(channelbag, f"{path}.{channel}", name, thinned[few[name], channel])
            else:
                write_curves(channelbag, f"{path}.{channel}", name, curves)
        yield


def _find_reach(bone: bpy.types.Bone) -> float:
    """How far a turn of a bone carries: to the farthest end of those below it."""
    ends = [bone.tail_local, *(below.tail_local for below in bone.children_recursive)]
    return max((end - bone.head_local).length for end in ends)


def _count_chain(bone: bpy.types.Bone, keyed: Container[str]) -> int:
    """How many keyed bones there are in the longest chain that a bone is part of."""
    ends = (bone, *bone.children_recursive)
    chains = ([e, *e.parent_recursive] for e in ends)
    return max(sum(b.name in keyed for b in chain) for chain in chains)
