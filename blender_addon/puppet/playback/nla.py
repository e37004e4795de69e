# SPDX-License-Identifier: GPL-3.0-or-later
"""Two performances of a puppet blended in Blender's NLA: of the bones' poses, after which the
points follow Eq. 1 as ever."""

from .. import actions, importer
from ..animation import layers
from . import pose


def blend(
    imported: importer.ImportedPuppet, first: str, second: str, *, start: int, frames: int
) -> int:
    """Lays ``first`` and ``second`` into the NLA, of bones, camera and lens; returns the last
    frame.

    Both keep their own time: at scene frame f they are in their own frame f. ``second`` begins at
    frame ``start`` with no influence and has all of it ``frames`` later. A handle that only
    ``first`` keys gets a key at rest in ``second``, or it would stay moved to the end. What was
    laid there before by this goes; other tracks stay. Layers are left out: bake them first.
    """
    a, b = imported.performance(first), imported.performance(second)
    layers.leave(imported.armature)
    last = actions.FIRST_FRAME + b.n_frames - 1
    for owner, slot in zip(importer.get_animated(imported), importer.SLOTS, strict=True):
        data = owner.animation_data
        if data is not None:
            for track in [t for t in data.nla_tracks if t.name.startswith(importer.BLEND)]:
                data.nla_tracks.remove(track)
        for performance in (a, b):
            found = actions.find_slot(performance.action, owner, slot)
            if found is None:
                continue
            if performance is b:
                moved = pose.find_channels(owner, [a.action], slot)
                pose.key_at_rest(owner, b.action, found, moved)
            data = owner.animation_data or owner.animation_data_create()
            track = data.nla_tracks.new()
            track.name = f"{importer.BLEND}{performance.name}"
            begin = actions.FIRST_FRAME if performance is a else start
            strip = track.strips.new(performance.name, begin, performance.action)
            strip.action_slot = found
            strip.extrapolation, strip.blend_type, strip.use_auto_blend = (
                "HOLD_FORWARD",
                "REPLACE",
                False,
            )
            if performance is b:
                strip.action_frame_start, strip.action_frame_end = begin, last
                strip.frame_start, strip.frame_end = begin, last
                strip.blend_in = frames
        if data is not None:
            data.action, data.use_nla = None, True
    return last


def find_playing(imported: importer.ImportedPuppet) -> importer.ImportedPerformance | None:
    """The performance whose Action plays on the bones, under its layers; None while the NLA or
    something else does."""
    action = layers.find_performed(imported.armature)
    return (
        next((p for p in imported.performances if p.action == action), None)
        if action is not None
        else None
    )


def find_shown(imported: importer.ImportedPuppet) -> importer.ImportedPerformance | None:
    """The performance that plays, else the newest one; None where all were deleted."""
    return find_playing(imported) or next(reversed(imported.performances), None)
