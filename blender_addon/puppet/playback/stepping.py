# SPDX-License-Identifier: GPL-3.0-or-later
"""Going through the scene's frames to read what is there, and putting everything back.

Putting back is an iterator that yields between what takes long: a window stays alive while the
display comes back. What of it nobody ran is done at once when the context ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy

from restage4d.errors import InputError

from .. import importer, rig
from ..nodes import native_splats
from . import pose


@contextmanager
def step_frames(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, *, points: bool = True
) -> Iterator[Iterator[None]]:
    """While frames are stepped through: the costly display is off, without ``points`` the rig too;
    all comes back afterwards, also a pose without keys. Gives what brings it back, in steps
    (``for _ in back: yield``)."""
    shown = [o for o in (imported.splats, imported.background_splats) if o is not None]
    shown += [n for o in shown if (n := native_splats.find_native(o)) is not None]
    shown = [imported.points] * (not points) + shown
    hidden = [o.hide_viewport for o in shown]
    back = _put_back(
        scene,
        (scene.frame_current, scene.frame_subframe),
        (imported, importer.read_pose(imported)),
        pose.read_animated(scene),
        [o for o, h in zip(shown, hidden, strict=True) if not h],
    )
    try:
        for o in shown:
            o.hide_viewport = True
        yield back
    finally:
        for _ in back:
            pass


def _put_back(
    scene: bpy.types.Scene,
    frame: tuple[int, float],
    posed: tuple[importer.ImportedPuppet, list[dict[str, Any]]],
    others: list[tuple[Any, dict[str, Any]]],
    shown: list[bpy.types.Object],
) -> Iterator[None]:
    """The frame while nothing costly shows, then one thing after the other that showed; last what
    no key holds, since Blender plays the keys again where something shows."""
    scene.frame_set(frame[0], subframe=frame[1])
    for obj in shown:
        yield
        obj.hide_viewport = False
        for layer in scene.view_layers:
            layer.update()
    yield
    importer.write_pose(*posed)
    for owner, values in others:
        pose.write_values(owner, values)


def check_posed(imported: importer.ImportedPuppet) -> None:
    """Raises `InputError` where the armature is in Edit Mode, in which Blender poses no bones."""
    if imported.armature.mode == "EDIT":
        raise InputError(
            f"{imported.armature.name!r} is in Edit Mode, where its bones stand at rest.",
            "Leave Edit Mode first.",
        )


@contextmanager
def evaluate_hidden(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, filming: bpy.types.Object
) -> Iterator[None]:
    """While bones and camera are read: they are evaluated also where the artist hid them or shows
    bones at rest.

    Raises:
        InputError: the armature is in Edit Mode, where Blender poses no bones.
    """
    check_posed(imported)
    owners = list(dict.fromkeys((imported.armature, filming)))
    hidden, bones = [o.hide_viewport for o in owners], rig.get_armature(imported.armature)
    position = bones.pose_position
    shelter = bpy.data.collections.new("Restage4D reads")  # their own may be excluded
    try:
        scene.collection.children.link(shelter)
        for o in owners:
            shelter.objects.link(o)
            o.hide_viewport = False
        bones.pose_position = "POSE"
        yield
    finally:
        for o, h in zip(owners, hidden, strict=True):
            o.hide_viewport = h
        bones.pose_position = position
        bpy.data.collections.remove(shelter)
