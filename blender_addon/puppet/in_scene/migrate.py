# SPDX-License-Identifier: GPL-3.0-or-later
"""Puppets of files from before: what newer ones have, given to them where they stand."""

from typing import Any

import bpy

from .. import importer, rig
from . import shot_root


def migrate(imported: importer.ImportedPuppet) -> None:
    """Gives a puppet the root of its shot, at the world's origin; what it carries does not move."""
    for name in rig.SHAPES:
        hide_shape(bpy.data.objects.get(name))
    if imported.root is not None or not imported.armature.is_editable:
        return
    parts = imported.armature, imported.background, imported.camera
    homes = imported.armature.users_collection or (bpy.context.scene.collection,)
    name, size = imported.armature.name.removesuffix(" bases"), 1.0
    if imported.camera is not None and imported.camera.type == "CAMERA":
        lens: Any = imported.camera.data
        size = lens.clip_end / 200  # of what the camera reaches, as for a new one
    imported.root = shot_root.add_root(name, size, homes[0], *parts)
    if imported.camera is not None and imported.camera.parent == imported.root:
        shot_root.follow_scale(imported.camera, imported.root)
    importer.remember(imported)


def hide_shape(shape: bpy.types.Object | None) -> None:
    """Hides an object that bones are drawn as: Blender puts it into the scene when it is appended,
    and there it would be a wire at the origin. Bones are drawn as it all the same."""
    if shape is not None and shape.is_editable and not shape.hide_viewport:
        shape.hide_viewport = shape.hide_render = shape.hide_select = True
