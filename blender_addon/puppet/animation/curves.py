# SPDX-License-Identifier: GPL-3.0-or-later
"""The curves of a performance as an artist edits them: few keys, a change with falloff, smoothing.

The performance as it was captured is kept beside it, a copy of its Action, from the first change
on, and can be restored.
"""

from collections.abc import Iterable
from typing import cast

import bpy
import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.se3 import Array

from ... import compat
from .. import actions, importer
from ..playback import pose
from . import curve_fitting, layers
from .sampling import slerp

_ENDS = ("handle_left", "handle_right")
_TYPES = tuple(f"{end}_type" for end in _ENDS)
_KEPT = (("co", 2), *((end, 2) for end in _ENDS))  # of a key, floats
_KEPT_TYPES = ("interpolation", *_TYPES, "type")
_ADDED = "restage4d_spread"  # a performance's Action: data paths of curves that `spread_pose` added
Transform = dict[int, bpy.types.FCurve]  # by array index


def count_keys(action: bpy.types.Action) -> int:
    """Keys of the bones' transforms."""
    return sum(len(curve.keyframe_points) for curve in find_bone_curves(action))


def find_bone_curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """The F-curves of the transforms of bones."""
    return [
        curve
        for curve in layers.iter_curves(action)
        if pose.get_rest(curve.data_path, curve.array_index) is not None
    ]


def find_transforms(
    action: bpy.types.Action, bones: Iterable[str] | None = None
) -> dict[str, Transform]:
    """The F-curves by data path; of ``bones`` where they are given."""
    wanted = None if bones is None else {_get_prefix(name) for name in bones}
    found: dict[str, Transform] = {}
    for curve in find_bone_curves(action):
        if wanted is None or curve.data_path.rpartition(".")[0] in wanted:
            found.setdefault(curve.data_path, {})[curve.array_index] = curve
    return found


def has_capture(action: bpy.types.Action) -> bool:
    """Whether the performance was changed here and can be restored."""
    return action.get(layers.CAPTURE) is not None


def keep_capture(action: bpy.types.Action) -> None:
    """Keeps a copy of a performance's Action, once."""
    if not has_capture(action):
        copy = action.copy()
        copy.name, copy.use_fake_user = f"{action.name} capture", True
        action[layers.CAPTURE] = copy


def restore_capture(action: bpy.types.Action) -> int:
    """Writes the kept curves back and takes away those that `spread_pose` added; returns how many
    there are. Other curves, such as the artist's of a handle, stay."""
    copy, added = action[layers.CAPTURE], set(action.pop(_ADDED, ()))
    strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
    slot = next(s for s in action.slots if s.name_display == actions.SLOT)
    bag = strip.channelbag(slot, ensure=True)
    for curve in [c for c in bag.fcurves if c.data_path in added]:
        bag.fcurves.remove(curve)
    now = {(c.data_path, c.array_index): c for c in find_bone_curves(action)}
    kept = find_bone_curves(copy)
    for curve in kept:
        target = now.get((curve.data_path, curve.array_index))
        if target is None:
            group = curve.group.name if curve.group is not None else "Object"
            target = compat.new_fcurve(bag, curve.data_path, curve.array_index, group)
        _copy_keys(curve, target)
    del action[layers.CAPTURE]
    if not any(a.get(layers.CAPTURE) == copy for a in bpy.data.actions):
        bpy.data.actions.remove(copy)
    return len(kept)


def sample(curves: Iterable[bpy.types.FCurve], frames: range) -> Array:  # -> (T, C)
    """Values of F-curves at scene frames."""
    return np.array([[curve.evaluate(frame) for curve in curves] for frame in frames])


def spread_pose(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    performance: importer.ImportedPerformance,
    reach: int,
) -> int:
    """Writes what the artist moved at the current frame into the performance's keys, less and less
    up to ``reach`` frames before and after; frames beyond stay. Returns how many bones.

    Raises:
        InputError: nothing is moved away from the performance.
    """
    frame, moved = scene.frame_current, layers.find_moved(imported.armature, scene)
    if not moved:
        raise InputError("No bone is moved away from its keys.", "Pose some in this frame first.")
    keep_capture(performance.action)
    for path, (before, after) in moved.items():
        transform = _ensure_curves(performance.action, path, len(after))
        ends = frame - reach - 1, frame + reach + 1
        for curve in transform.values():
            for at in (*ends, frame):
                _ensure_key(curve, at)
        _shift(transform, path, np.array(before), np.array(after), frame, reach)
    scene.frame_set(frame)
    return len({path.rpartition(".")[0] for path in moved})


def smooth_range(
    action: bpy.types.Action,
    bones: Iterable[str] | None,
    first: int,
    last: int,
    sigma: float,
    n_frames: int,
) -> int:
    """Smooths the curves of ``bones`` (None: of all) between scene frames ``first`` and ``last``,
    which stay; returns how many. See `curve_fitting.smooth`."""
    found = find_transforms(action, bones)
    if found:
        keep_capture(action)
    start = actions.FIRST_FRAME
    frames = range(start, start + n_frames)
    for path, transform in found.items():
        values = sample(transform.values(), frames)
        smoothed = curve_fitting.smooth(values, first - start, last - start, sigma)
        if path.endswith("rotation_quaternion"):
            keyed = {tuple(k.co.x for k in c.keyframe_points) for c in transform.values()}
            if len(keyed) == 1:  # else w has few keys, which x, y and z keep their own length to
                smoothed /= np.maximum(np.linalg.norm(smoothed, axis=1, keepdims=True), 1e-9)
            inside = (np.array(frames) > first) & (np.array(frames) < last)
            smoothed = np.where(inside[:, None], smoothed, values)
        for i, curve in enumerate(transform.values()):
            for key in curve.keyframe_points:
                if first < key.co.x < last:
                    by = np.interp(key.co.x, frames, smoothed[:, i] - values[:, i])
                    _move_key(key, float(by))
            curve.update()
    return sum(map(len, found.values()))


def _get_prefix(bone: str) -> str:
    return f'pose.bones["{bpy.utils.escape_identifier(bone)}"]'


def _copy_keys(source: bpy.types.FCurve, target: bpy.types.FCurve) -> None:
    points, count = target.keyframe_points, len(source.keyframe_points)
    points.clear()
    points.add(count)
    for name, width in _KEPT:
        table = np.empty(count * width, np.float32)
        source.keyframe_points.foreach_get(name, table)
        points.foreach_set(name, table)
    for name in _KEPT_TYPES:
        kinds = np.empty(count, np.int32)
        source.keyframe_points.foreach_get(name, kinds)
        points.foreach_set(name, kinds)
    target.update()
    for name, width in _KEPT[1:]:  # an update turns aligned handles by a last bit
        table = np.empty(count * width, np.float32)
        source.keyframe_points.foreach_get(name, table)
        points.foreach_set(name, table)


def _ensure_curves(action: bpy.types.Action, path: str, count: int) -> Transform:
    """The curves of a transform; new ones have no key."""
    transform = find_transforms(action).get(path, {})
    if not transform:
        action[_ADDED] = [*action.get(_ADDED, ()), path]
    slot = next(s for s in action.slots if s.name_display == actions.SLOT)
    strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
    for index in range(count):
        if index not in transform:
            group = bpy.utils.unescape_identifier(path.split('"')[1])
            bag = strip.channelbag(slot, ensure=True)
            transform[index] = compat.new_fcurve(bag, path, index, group)
    return transform


def _ensure_key(curve: bpy.types.FCurve, frame: int) -> None:
    """A key at a frame, where the curve is now; its handles stay when its neighbours are moved."""
    points = curve.keyframe_points
    rest = pose.get_rest(curve.data_path, curve.array_index)
    key = next((k for k in points if abs(k.co.x - frame) < 1e-3), None)
    if key is None:
        assert rest is not None
        key = points.insert(frame, curve.evaluate(frame) if len(points) else rest)
    for name in _TYPES:
        if getattr(key, name) in ("AUTO", "AUTO_CLAMPED"):
            setattr(key, name, "ALIGNED")


def _shift(
    transform: Transform, path: str, before: Array, after: Array, frame: int, reach: int
) -> None:
    """Moves the keys of a transform by what leads from ``before`` to ``after``, with falloff."""
    turns = path.endswith("rotation_quaternion")
    change = after - before
    if turns:
        step = se3.quat_multiply(after / np.linalg.norm(after), _conjugate(before))
        step = step if step[0] >= 0 else -step
    moves: dict[tuple[int, float], float] = {}
    inside = {k.co.x for c in transform.values() for k in c.keyframe_points}
    for at in inside:
        share = float(curve_fitting.falloff(np.array([at]), frame, reach)[0])
        if share == 0:
            continue
        if turns:
            now = np.array([transform[i].evaluate(at) for i in range(4)])
            part = slerp(np.array([1.0, 0, 0, 0]), step, np.array([share]))
            change = (se3.quat_multiply(part, now) - now) / share
        for index in transform:
            moves[index, at] = share * float(change[index])
    for index, curve in transform.items():
        for key in curve.keyframe_points:
            if (index, key.co.x) in moves:
                _move_key(key, moves[index, key.co.x])
        curve.update()


def _conjugate(quat: Array) -> Array:
    return quat * [1, -1, -1, -1] / np.linalg.norm(quat)


def _move_key(key: bpy.types.Keyframe, by: float) -> None:
    for name in ("co", *_ENDS):
        place = getattr(key, name)
        setattr(key, name, (place.x, place.y + by))
