# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of animated data that no key holds: Blender leaves them as the last Action evaluated them.

So what one performance keys would show in the next one, as it stood at some frame. Here such values
are found, put to rest and put back.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import bpy
import numpy as np

from ... import compat
from .. import actions
from ..actions import Animated, Channel

_TRANSFORMS = {
    "location": (0.0,) * 3,
    "rotation_quaternion": (1.0, 0.0, 0.0, 0.0),
    "rotation_euler": (0.0,) * 3,
    "rotation_axis_angle": (0.0, 0.0, 1.0, 0.0),
    "scale": (1.0,) * 3,
}
_MOVED = 1e-6  # a pose nearer to rest than this is at rest


def get_rest(path: str, index: int) -> float | None:
    """The value at rest of a channel of a bone's transform; None for any other property."""
    rest = _TRANSFORMS.get(path.rpartition(".")[2]) if path.startswith("pose.bones[") else None
    return None if rest is None else rest[index]


def find_transforms(armature: bpy.types.Object) -> dict[str, tuple[float, ...]]:
    """Data path of every transform of every pose bone, with its value at rest."""
    return {
        f'pose.bones["{bpy.utils.escape_identifier(bone.name)}"].{name}': rest
        for bone in armature.pose.bones
        for name, rest in _TRANSFORMS.items()
    }


def read_values(owner: Animated, paths: Iterable[str]) -> dict[str, Any]:
    """Current value of each property that there is; arrays as tuples."""
    values = {}
    for path in paths:
        try:
            value = owner.path_resolve(path)
        except ValueError:  # of a bone or a constraint that was renamed or deleted
            continue
        is_array = hasattr(value, "__len__") and not isinstance(value, str)
        values[path] = tuple(value) if is_array else value
    return values


def read_animated(scene: bpy.types.Scene) -> list[tuple[Animated, dict[str, Any]]]:
    """Current values of what Actions play on the scene's objects and on their data: another frame
    takes back what of it was moved and not keyed yet."""
    found, owners = [], dict.fromkeys(x for obj in scene.objects for x in (obj, obj.data))
    for owner in cast(Iterable[Animated], owners):
        if not hasattr(owner, "animation_data"):  # an empty's picture
            continue
        action, slot = actions.find_played(owner)
        if action is not None and slot is not None:
            paths = {path for path, _ in actions.find_channels(action, slot)}
            found.append((owner, read_values(owner, paths)))
    return found


def write_values(owner: Animated, values: dict[str, Any]) -> None:
    """Sets what differs; the inverse of `read_values`."""
    for path, value in values.items():
        if read_values(owner, [path]) not in ({}, {path: value}):
            _write(owner, path, value)


def put_to_rest(owner: Animated, free: set[Channel], resting: Mapping[str, Any]) -> None:
    """Sets these channels to their value in ``resting``, else to the property's default."""
    for path in {path for path, _ in free}:
        for value in read_values(owner, [path]).values():
            rest = resting[path] if path in resting else _find_default(owner, path, value)
            if isinstance(value, tuple):
                rest = tuple(
                    r if (path, i) in free else v
                    for i, (r, v) in enumerate(zip(rest, value, strict=True))
                )
            if rest != value:
                _write(owner, path, rest)


def key_at_rest(
    owner: Animated,
    action: bpy.types.Action,
    slot: bpy.types.ActionSlot,
    channels: set[Channel],
) -> None:
    """Keys the transforms of bones among ``channels`` at rest in the Action's first frame, where
    it has no keys for them."""
    strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
    channelbag = strip.channelbag(slot, ensure=True)
    for path, index in sorted(channels - actions.find_channels(action, slot)):
        bone, name = re.match(r'pose\.bones\["(.*)"\]\.(\w+)$', path), path.rpartition(".")[2]
        if bone is not None and name in _TRANSFORMS:
            group = bpy.utils.unescape_identifier(bone[1])
            fcurve = compat.new_fcurve(channelbag, path, index, group)
            fcurve.keyframe_points.insert(actions.FIRST_FRAME, _TRANSFORMS[name][index])


def find_moved_bones(armature: bpy.types.Object, held: set[Channel]) -> list[str]:
    """Names of the pose bones that are moved in a channel which no key of ``held`` holds."""
    moved = []
    for bone in armature.pose.bones:
        mode = bone.rotation_mode
        turn = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
        for name in ("location", turn.get(mode, "rotation_euler"), "scale"):
            path = f'pose.bones["{bpy.utils.escape_identifier(bone.name)}"].{name}'
            off = np.abs(np.array(getattr(bone, name)) - _TRANSFORMS[name]) > _MOVED
            if any(o and (path, i) not in held for i, o in enumerate(off)):
                moved.append(bone.name)
                break
    return moved


def find_channels(owner: Animated, mine: Iterable[bpy.types.Action], name: str) -> set[Channel]:
    """What any of these Actions keys in its slot for ``owner``, see `actions.find_slot`."""
    found: set[Channel] = set()
    for action in mine:
        slot = actions.find_slot(action, owner, name)
        if slot is not None:
            found |= actions.find_channels(action, slot)
    return found


def _locate(owner: Animated, path: str) -> tuple[Any, str, bool]:
    """What has the property, its name, and whether it is a custom one."""
    if path.endswith('"]'):
        before, _, name = path[:-2].rpartition('["')
        name = bpy.utils.unescape_identifier(name)
    else:
        before, _, name = path.rpartition(".")
    return owner.path_resolve(before) if before else owner, name, path.endswith('"]')


def _write(owner: Animated, path: str, value: Any) -> None:
    target, name, custom = _locate(owner, path)
    if custom:
        target[name] = value
    else:
        setattr(target, name, value)


def _find_default(owner: Animated, path: str, value: Any) -> Any:
    target, name, custom = _locate(owner, path)
    if custom:
        return target.id_properties_ui(name).as_dict().get("default", value)
    prop = target.bl_rna.properties[name]
    return tuple(prop.default_array) if isinstance(value, tuple) else prop.default
