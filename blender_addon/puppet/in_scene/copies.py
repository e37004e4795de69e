# SPDX-License-Identifier: GPL-3.0-or-later
"""A duplicated armature becomes a puppet of its own.

Blender duplicates what is selected, and most of a puppet cannot be: the copy would have bones that
move nothing. It gets copies of the points, of what moves and shows them, and of the Actions; root,
background and camera are of the shot and stay one for both.
"""

import bpy

from ... import compat
from .. import importer
from . import index

_OWN = ("points", "bases_frames", "splats")


def find_copies(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Armatures that share parts with a puppet that was there before."""
    armatures = index.find_armatures(scene)
    if len(armatures) < 2:
        return []
    owners: dict[str, bpy.types.Object] = {}
    for armature in armatures:  # the owner of points is above them
        points = armature[index.KEY]["points"]
        if points.parent == armature:
            owners[points.name_full] = armature
    copies = []
    for armature in armatures:
        kept = armature[index.KEY]
        shared = owners.setdefault(kept["points"].name_full, armature) != armature
        frames = kept.get("bases_frames")
        alien = frames is not None and frames.parent in armatures and frames.parent != armature
        if (shared or alien) and armature.is_editable:
            copies.append(armature)
    return copies


def complete(armature: bpy.types.Object) -> importer.ImportedPuppet:
    """Gives a copy the parts that it shares with the puppet it is a copy of."""
    imported = importer.recall(armature)
    name = armature.name.replace(" bases", "")
    owned = {part: getattr(imported, part) for part in _OWN}
    for part, obj in owned.items():
        if obj.parent not in (armature, imported.points):  # not duplicated by Blender itself
            copied = obj.copy()
            copied.data = obj.data.copy()
            for home in obj.users_collection:
                home.objects.link(copied)
            setattr(imported, part, copied)
    imported.points.parent = imported.bases_frames.parent = armature
    imported.splats.parent = imported.points
    for modifier in imported.bases_frames.modifiers:
        if isinstance(modifier, bpy.types.ArmatureModifier):
            modifier.object = armature
    for modifier in imported.points.modifiers:
        if modifier.name == "Eq. 1":
            compat.set_input(modifier, "Bases", imported.bases_frames)
    for modifier in imported.splats.modifiers:
        compat.set_input(modifier, "Points", imported.points)
    _copy_actions(imported, name)
    importer.remember(imported)
    index.forget()
    return imported


def _copy_actions(imported: importer.ImportedPuppet, name: str) -> None:
    """Keys set on the copy are its own; the camera goes on playing what it played."""
    data = imported.armature.animation_data
    for performance in imported.performances:
        before = performance.action
        performance.action = before.copy()
        performance.action.name = f"{name} {performance.name}"
        performance.action.use_fake_user = True
        if data is not None and data.action == before:
            slot = data.action_slot
            data.action = performance.action
            if slot is not None:
                data.action_slot = performance.action.slots.get(slot.identifier)
