# SPDX-License-Identifier: GPL-3.0-or-later
"""Tweak layers: what the artist adds to a performance without touching its keys, in Blender's NLA.

A layer is an Action in a track of its own, laid with *Combine* over the track of its performance.
One layer is edited at a time, in the NLA's tweak mode: keys set in the viewport go into it, as what
it has to add so that the bone stands as posed. It is applied last, since tweak mode leaves out what
lies above. Before the first and after the last of the artist's keys of a channel stands a key at
rest, the ramp's end, which `fit_ramps` keeps up to date. A strip covers its keys alone, so frames
beyond the ramps are the performance's to the last bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import bpy

from .. import actions
from ..playback import pose

LAYER = "restage4d_layer"  # a layer's Action: which performance's Action, which ramps and number
RAMPS = (6, 6)  # frames
CAPTURE = "restage4d_capture"  # a performance's Action: a copy of it as it was captured
_GROUND = "Layers of "  # names of the tracks that hold the performance below its layers begin so
_MOVED = 1e-6  # a pose nearer than this is where it was
_RAMP_KEY = "GENERATED"  # the type of the keys at a ramp's end


@dataclass(frozen=True)
class Layer:
    """A layer as it lies in the NLA of an armature."""

    track: bpy.types.NlaTrack
    strip: bpy.types.NlaStrip
    action: bpy.types.Action

    @property
    def name(self) -> str:
        return self.track.name


def is_layer(action: bpy.types.Action | None) -> bool:
    """Whether an Action is that of a layer."""
    return action is not None and LAYER in action


def find_layers(armature: bpy.types.Object, action: bpy.types.Action) -> list[Layer]:
    """The layers over a performance's Action, the oldest first."""
    found = [x for x in _find_all(armature) if x.action[LAYER].get("of") == action]
    return sorted(found, key=lambda layer: layer.action[LAYER]["number"])


def find_edited(armature: bpy.types.Object) -> Layer | None:
    """The layer that takes the artist's keys now."""
    data = armature.animation_data
    if data is None or not data.use_tweak_mode or not is_layer(data.action):
        return None
    return next((x for x in _find_all(armature) if x.action == data.action), None)


def find_performed(armature: bpy.types.Object) -> bpy.types.Action | None:
    """The performance's Action that plays on the bones, alone or under its layers; another Action
    that plays instead; None while other NLA tracks do."""
    data = armature.animation_data
    if data is None:
        return None
    if data.action is not None and not is_layer(data.action):
        return data.action
    grounds = [t for t in _find_grounds(armature) if not t.mute] if data.use_nla else []
    return grounds[0].strips[0].action if len(grounds) == 1 else None


def play(armature: bpy.types.Object, action: bpy.types.Action) -> bool:
    """Plays a performance's Action under its layers, the last raised one ready for keys; False,
    and nothing plays, where it has none."""
    leave(armature)
    mine = find_layers(armature, action)
    if not mine:
        return False
    data = armature.animation_data
    ground = _find_ground(armature, action)
    if ground is None:  # the artist took it away
        ground = _lay_ground(armature, action)
        for layer in mine:
            _raise(armature, layer)
        mine = find_layers(armature, action)
    data.action, data.use_nla = None, True
    for track in (ground, *(layer.track for layer in mine)):
        track.mute = False
    top = [t for t in data.nla_tracks if t in [layer.track for layer in mine]][-1]
    _tweak(data, top)
    return True


def play_without(armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Plays a performance's Action on the bones with its layers off."""
    leave(armature)
    actions.play(armature, action, actions.find_slot(action, armature, actions.SLOT))


def leave(armature: bpy.types.Object) -> None:
    """Ends the editing of a layer, and mutes the layers of all performances."""
    data = armature.animation_data
    if data is None:
        return
    data.use_tweak_mode = False
    for track in (*_find_grounds(armature), *(layer.track for layer in _find_all(armature))):
        track.mute = True


def add_layer(
    armature: bpy.types.Object,
    action: bpy.types.Action,
    name: str,
    ramps: tuple[int, int] = RAMPS,
) -> Layer:
    """An empty layer over a performance's Action; `play` shows it."""
    number = max((x.action[LAYER]["number"] for x in find_layers(armature, action)), default=0) + 1
    own = bpy.data.actions.new(f"{action.name} {name}")
    own.layers.new("Layer").strips.new(type="KEYFRAME")
    actions.add_slot(own, armature, actions.SLOT)
    own[LAYER] = {"of": action, "number": number, "ramps": list(ramps)}
    leave(armature)
    if _find_ground(armature, action) is None:
        _lay_ground(armature, action)
    return _lay(armature.animation_data, own, name)


def edit(armature: bpy.types.Object, layer: Layer) -> Layer:
    """Plays a layer's performance with the layer on top, ready for keys."""
    leave(armature)
    if armature.animation_data.nla_tracks[-1] != layer.track:
        layer = _raise(armature, layer)
    play(armature, layer.action[LAYER]["of"])
    return layer


def remove_layer(armature: bpy.types.Object, layer: Layer) -> None:
    """Takes a layer away with its keys; where it was edited, the performance plays on when it is
    played again."""
    of, action, tracks = layer.action[LAYER].get("of"), layer.action, _get_tracks(armature)
    with _outside_tweak_mode(armature):
        tracks.remove(layer.track)
        bpy.data.actions.remove(action)
        if not find_layers(armature, of):
            for track in [t for t in _find_grounds(armature) if t.strips[0].action == of]:
                tracks.remove(track)


def key_pose(armature: bpy.types.Object, scene: bpy.types.Scene) -> list[str]:
    """Keys, on the layer that is edited, the transforms that the artist moved at this frame;
    returns the bones' names."""
    moved = find_moved(armature, scene)
    pose.write_values(armature, {path: after for path, (_, after) in moved.items()})
    for path in moved:
        armature.keyframe_insert(path)
    fit_ramps(armature)
    scene.frame_set(scene.frame_current)
    return list(dict.fromkeys(bpy.utils.unescape_identifier(p.split('"')[1]) for p in moved))


def find_moved(
    armature: bpy.types.Object, scene: bpy.types.Scene
) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Transforms that the artist moved at this frame without a key, by data path: where keys have
    them, at rest without any, and where they were moved. They are where keys have them now."""
    action, resting = find_performed(armature), pose.find_transforms(armature)
    playing = [action] if action is not None else []
    playing += [x.action for x in find_layers(armature, action)] if action is not None else []
    keyed = {path for path, _ in pose.find_channels(armature, playing, actions.SLOT)}
    posed = pose.read_values(armature, resting)
    scene.frame_set(scene.frame_current)
    stood = pose.read_values(armature, posed)
    stood |= {path: rest for path, rest in resting.items() if path not in keyed}
    pose.write_values(armature, stood)
    return {
        path: (stood[path], after)
        for path, after in posed.items()
        if max(abs(a - b) for a, b in zip(after, stood[path], strict=True)) > _MOVED
    }


def copy_layers(
    armature: bpy.types.Object, action: bpy.types.Action, copy: bpy.types.Action
) -> None:
    """Gives the copy of a performance's Action copies of its layers; they do not play yet."""
    data, mine = armature.animation_data, find_layers(armature, action)
    with _outside_tweak_mode(armature):
        if mine:
            _lay_ground(armature, copy)
        for layer in mine:
            own = layer.action.copy()
            own[LAYER]["of"] = copy
            made = _lay(data, own, layer.name)
            _set_influence(made.strip, get_weight(own))
            made.strip.mute, made.track.mute = layer.strip.mute, True


def get_weight(action: bpy.types.Action) -> float:
    """How much of a layer is added, 1 for all of it."""
    return float(action[LAYER].get("weight", 1.0))


def set_weight(action: bpy.types.Action, weight: float) -> None:
    """Sets how much of a layer is added."""
    action[LAYER]["weight"] = weight
    for strip in _find_strips(action):
        _set_influence(strip, weight)


def get_ramps(action: bpy.types.Action) -> tuple[int, int]:
    """Frames over which a layer comes in before its first key and goes after its last."""
    ramp_in, ramp_out = action[LAYER]["ramps"]
    return int(ramp_in), int(ramp_out)


def set_ramps(action: bpy.types.Action, ramps: tuple[int, int]) -> None:
    """Sets the frames of a layer's ramps, each at least 1."""
    action[LAYER]["ramps"] = [max(int(r), 1) for r in ramps]
    _fit(action)


def fit_ramps(armature: bpy.types.Object) -> None:
    """Brings the ramps' ends of all layers to where the artist's keys are now."""
    for layer in _find_all(armature):
        _fit(layer.action)


def iter_curves(action: bpy.types.Action) -> Iterator[bpy.types.FCurve]:
    """The F-curves of an Action's slot for the bones."""
    for slot in action.slots:
        if slot.target_id_type == "OBJECT" and slot.name_display == actions.SLOT:
            strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
            bag = strip.channelbag(slot)
            yield from bag.fcurves if bag is not None else ()


def _fit(action: bpy.types.Action) -> None:
    ramp_in, ramp_out = get_ramps(action)
    changed = False
    for curve in iter_curves(action):
        rest = pose.get_rest(curve.data_path, curve.array_index)
        if rest is None:
            continue
        points = curve.keyframe_points
        for key in points:  # keyed where a ramp ends, or dragged away from rest
            if key.type == _RAMP_KEY and abs(key.co.y - rest) > 1e-7:
                key.type, changed = "KEYFRAME", True
        own = [key.co.x for key in points if key.type != _RAMP_KEY]
        ends = [key.co.x for key in points if key.type == _RAMP_KEY]
        wanted = [own[0] - ramp_in, own[-1] + ramp_out] if own else []
        if ends == wanted:
            continue
        changed = True
        for key in reversed([key for key in points if key.type == _RAMP_KEY]):
            points.remove(key)
        for at in wanted:
            points.insert(at, rest, keyframe_type=_RAMP_KEY)
        curve.update()
    if changed:
        for strip in _find_strips(action):
            _sync(strip)


def _sync(strip: bpy.types.NlaStrip) -> None:
    """The strip covers its Action's keys, at their own frames."""
    data = cast(Any, strip.id_data).animation_data
    if data.use_tweak_mode and data.action == strip.action:  # Blender does it at the end of that
        strip.id_data.update_tag()
        return
    assert strip.action is not None
    first, last = strip.action.frame_range
    strip.frame_end_raw = max(strip.frame_end_raw, last)
    strip.frame_start_raw, strip.action_frame_start = first, first
    strip.frame_end_raw, strip.action_frame_end = last, last
    strip.id_data.update_tag()


def _set_influence(strip: bpy.types.NlaStrip, weight: float) -> None:
    strip.use_animated_influence = weight != 1
    if weight != 1:
        curve = strip.fcurves.find("influence")
        assert curve is not None
        while len(curve.keyframe_points) > 1:
            curve.keyframe_points.remove(curve.keyframe_points[-1])
        curve.keyframe_points[0].co = (1.0, weight)
        curve.update()
    strip.id_data.update_tag()


def _lay(data: Any, action: bpy.types.Action, name: str) -> Layer:
    track = data.nla_tracks.new()
    track.name = name
    keyed = any(len(curve.keyframe_points) for curve in iter_curves(action))
    strip = track.strips.new(name, int(action.frame_range[0]) if keyed else 0, action)
    strip.action_slot = action.slots[0]
    strip.use_auto_blend, strip.use_sync_length = False, True
    strip.blend_type, strip.extrapolation = "COMBINE", "NOTHING"
    if keyed:
        _sync(strip)
    return Layer(track, strip, action)


def _lay_ground(armature: bpy.types.Object, action: bpy.types.Action) -> bpy.types.NlaTrack:
    """A track of a performance, on top: its layers have to lie above."""
    data = armature.animation_data or armature.animation_data_create()
    track = data.nla_tracks.new()
    track.name = f"{_GROUND}{action.name}"
    strip = track.strips.new(action.name, int(action.frame_range[0]), action)
    strip.action_slot = actions.find_slot(action, armature, actions.SLOT)
    strip.use_auto_blend = False
    strip.blend_type, strip.extrapolation = "REPLACE", "HOLD"
    track.mute = True
    return track


def _raise(armature: bpy.types.Object, layer: Layer) -> Layer:
    """Lays a layer on top of all tracks; the old one is gone."""
    data = armature.animation_data
    raised = _lay(data, layer.action, layer.name)
    _set_influence(raised.strip, get_weight(layer.action))
    raised.strip.mute = layer.strip.mute
    data.nla_tracks.remove(layer.track)
    return raised


def _find_ground(armature: bpy.types.Object, action: bpy.types.Action) -> bpy.types.NlaTrack | None:
    return next((t for t in _find_grounds(armature) if t.strips[0].action == action), None)


def _tweak(data: Any, track: bpy.types.NlaTrack) -> None:
    for other in data.nla_tracks:
        other.select = other == track
        for strip in other.strips:
            strip.select = other == track
    data.nla_tracks.active = track
    data.use_tweak_mode = True


@contextmanager
def _outside_tweak_mode(armature: bpy.types.Object) -> Iterator[None]:
    """While tracks are added or removed; afterwards the same layer is edited, where it is there."""
    edited, data = find_edited(armature), armature.animation_data
    kept = edited.action if edited is not None else None
    if edited is not None:
        data.use_tweak_mode = False
    yield
    again = [x for x in _find_all(armature) if kept is not None and x.action == kept]
    if again:
        _tweak(data, again[0].track)


def _get_tracks(armature: bpy.types.Object) -> Any:
    data = armature.animation_data
    return data.nla_tracks if data is not None else ()


def _find_all(armature: bpy.types.Object) -> list[Layer]:
    found = []
    for track in _get_tracks(armature):
        strip = track.strips[0] if len(track.strips) == 1 else None
        if strip is not None and strip.action is not None and is_layer(strip.action):
            found.append(Layer(track, strip, strip.action))
    return found


def _find_grounds(armature: bpy.types.Object) -> list[bpy.types.NlaTrack]:
    return [
        t
        for t in _get_tracks(armature)
        if t.name.startswith(_GROUND) and len(t.strips) == 1 and t.strips[0].action is not None
    ]


def _find_strips(action: bpy.types.Action) -> list[bpy.types.NlaStrip]:
    armatures = [obj for obj in bpy.data.objects if obj.type == "ARMATURE"]
    return [x.strip for obj in armatures for x in _find_all(obj) if x.action == action]
