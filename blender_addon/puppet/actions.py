# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances as Actions with slots: keyframes written in bulk, and who plays what."""

from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType
from typing import cast

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import F32
from restage4d.se3 import Array

from .. import compat
from .animation import chain_fitting, curve_fitting
from .animation.chain_fitting import Chain, FewKeys

Animated = bpy.types.Object | bpy.types.Camera
Channel = tuple[str, int]  # an F-curve's data path and array index
FIRST_FRAME = 1  # a performance's frame 0 stands at scene frame 1
SLOT = "Bases"  # of a performance's Action: the bones
CAPTURED = "restage4d_bases"  # of a performance's Action: the bases that it came with, (K, T, 9)
FEW = 2e-3  # scene units that any place that a skeleton's bones carry may be off for fewer keys
_SOLES = 0.5  # of that: of feet and of what inverse kinematics brings to a place
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


def read_chain(
    armature: bpy.types.Object,
    few: Mapping[str, str],
    places: Mapping[str, Array],
    soles: Container[str],
) -> Chain:
    """The bones that those of ``few`` are named for, and what tells how far their keys are off:
    both ends of each, and the outermost of its ``places`` (N, 3) in the armature's space, or a
    place beside it where it has none. What stands on the ground, ``soles``, is keyed more
    closely: where a foot is locked, one sees it slide."""
    bones = cast(bpy.types.Armature, armature.data).bones
    parents = {}
    for name in dict.fromkeys(few.values()):
        above = bones[name].parent
        while above is not None and above.name not in few:
            above = above.parent  # an untouched control, which stands as the follower above it
        parents[name] = few[above.name] if above is not None else None
    names: list[str] = []
    waiting = [name for name, above in parents.items() if above is None][::-1]
    while waiting:
        names.append(waiting.pop())
        waiting += [name for name, above in parents.items() if above == names[-1]][::-1]
    rest = {name: np.array(bones[name].matrix_local, np.float64) for name in names}
    own, marks = [], []
    for name in names:
        above, inverse = parents[name], np.linalg.inv(rest[name])
        own.append(rest[name] if above is None else np.linalg.inv(rest[above]) @ rest[name])
        mine, length = places.get(name, ()), bones[name].length
        around = np.array([[length, 0, 0]])
        if len(mine):
            around = chain_fitting.find_extremes(mine @ inverse[:3, :3].T + inverse[:3, 3])
        marks.append(np.concatenate([[[0, 0, 0], [0, length, 0]], around]))
    order = {name: i for i, name in enumerate(names)}
    above = [order.get(parents[name] or "", -1) for name in names]
    shares = [_SOLES if name in soles else 1.0 for name in names]
    return Chain(names, above, np.array(own), marks, shares)


def thin_keys(
    keys: Mapping[str, tuple[Array, Array]], chain: Chain
) -> dict[tuple[str, str], FewKeys]:
    """The few smooth keys of a chain's bones, by bone and channel. Needs no Blender."""
    if not chain.names:
        return {}
    location, quats = (np.stack([keys[name][i] for name in chain.names]) for i in (0, 1))
    found = chain_fitting.fit_chain(chain, location, quats, FEW)
    return {
        (name, channel): few
        for name, both in zip(chain.names, found, strict=True)
        for channel, few in zip(_CHANNELS, both, strict=True)
    }


def write_bones(
    action: bpy.types.Action,
    armature: bpy.types.Object,
    keys: Mapping[str, tuple[Array, Array]],
    few: Mapping[str, str] = MappingProxyType({}),
    thinned: Mapping[tuple[str, str], FewKeys] = MappingProxyType({}),
) -> Iterator[None]:
    """Keyframes of bones, see `bone_curves.channels`, one a frame; bones of ``few`` get few smooth
    ones, those of the bone that it names for them (``thinned``, see `thin_keys`). Yields after
    each."""
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
