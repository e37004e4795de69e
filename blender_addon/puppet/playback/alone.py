# SPDX-License-Identifier: GPL-3.0-or-later
"""One performance after the other, without what else plays."""

from collections.abc import Iterator
from contextlib import contextmanager

from .. import actions, importer
from ..animation import layers


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
def perform_alone(imported: importer.ImportedPuppet) -> Iterator[None]:
    """While performances are played one after the other, each as its Action and its layers, without
    other NLA tracks; what played comes back afterwards. Within `stepping.step_frames`, which brings
    back frame and pose."""
    owners = importer.get_animated(imported)
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
