# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances as Actions with slots: keyframes written in bulk, and who plays what."""

from collections.abc import Iterator
from typing import cast

import bpy
import numpy as np

from restage4d.se3 import Array

from .. import compat

Animated = bpy.types.Object | bpy.types.Camera
Channel = tuple[str, int]  # an F-curve's data path and array index
FIRST_FRAME = 1  # a performance's frame 0 stands at scene frame 1
SLOT = "Bases"  # of a performance's Action: the bones


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


def write_bones(
    action: bpy.types.Action, armature: bpy.types.Object, keys: dict[str, tuple[Array, Array]]
) -> Iterator[None]:
    """Keyframes of bones, see `motions.channels`; yields after each."""
    channelbag = add_slot(action, armature, SLOT)
    for name, (location, quats) in keys.items():
        path = f'pose.bones["{bpy.utils.escape_identifier(name)}"]'
        write_curves(channelbag, f"{path}.location", name, location)
        write_curves(channelbag, f"{path}.rotation_quaternion", name, quats)
        yield
