# SPDX-License-Identifier: GPL-3.0-or-later
"""One performance after the other, without what else plays."""

from collections.abc import Iterator
from contextlib import contextmanager

import bpy

from .. import actions, importer
from ..animation import layers
from . import pose


def play_alone(
    imported: importer.ImportedPuppet, performance: importer.ImportedPerformance
) -> None:
    """Plays a performance within `perform_alone`."""
    data = imported.armature.animation_data
    if data is not None:
        layers.leave(imported.armature)
        data.use_nla = False  # but under layers
    importer.play(imported, performance)


@contextmanager
def perform_alone(imported: importer.ImportedPuppet, scene: bpy.types.Scene) -> Iterator[None]:
    """While performances are played one after the other, each as its Action and its layers, without
    other NLA tracks; what played comes back afterwards, and the pose."""
    owners, posed = importer.get_animated(imported), importer.read_pose(imported)
    others = [x for x in pose.read_animated(scene) if x[0] not in owners]
    frame, subframe = scene.frame_current, scene.frame_subframe
    animated = [o.animation_data for o in owners if o.animation_data is not None]
    tweaked = [(data, data.nla_tracks.active) for data in animated if data.use_tweak_mode]
    for data, _ in tweaked:  # no other Action may play there
        data.use_tweak_mode = False
    layers.fit_ramps(imported.armature)
    used = [data.use_nla for data in animated]
    tracks = [(t, t.mute, t.is_solo) for data in animated for t in data.nla_tracks]
    before = [actions.find_played(o) for o in owners]
    try:
        for data in animated:
            data.use_nla = False
        for track, _, _ in tracks:
            track.is_solo, track.mute = False, True
        yield
    finally:
        layers.leave(imported.armature)
        for owner, (action, slot) in zip(owners, before, strict=True):
            actions.play(owner, action, slot)
        for track, mute, solo in tracks:
            track.mute = mute
            if solo:
                track.is_solo = True
        for data, use in zip(animated, used, strict=True):
            data.use_nla = use
        for data, active in tweaked:
            data.nla_tracks.active = active
            data.use_tweak_mode = True
        scene.frame_set(frame, subframe=subframe)
        importer.write_pose(imported, posed)
        for owner, values in others:
            pose.write_values(owner, values)
