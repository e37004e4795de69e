# SPDX-License-Identifier: GPL-3.0-or-later
"""Which armatures of a scene are puppets, found once until the scene changes: panels and buttons
ask many times a redraw, and a scene may have ten thousand objects.

While the extension runs (`register`) Blender tells of changes. Without it nothing is kept.
"""

from contextlib import suppress

import bpy
from bpy.app.handlers import persistent

KEY = "restage4d"  # the custom property of a puppet's armature

_found: dict[int, tuple[int, list[bpy.types.Object]]] | None = None  # by scene; None: not kept


def find_armatures(scene: bpy.types.Scene | None) -> list[bpy.types.Object]:
    """The scene's armatures that a puppet hangs on, in the scene's order."""
    if scene is None:
        return []
    # A script may ask before Blender has told of its change, which this count mostly shows.
    count = len(scene.collection.all_objects)
    if _found is not None and scene.session_uid in _found:
        known, armatures = _found[scene.session_uid]
        with suppress(ReferenceError):  # one was removed
            if known == count:
                return [armature for armature in armatures if _is_whole(armature)]
    armatures = [obj for obj in scene.objects if obj.type == "ARMATURE" and _is_whole(obj)]
    if _found is not None:
        _found[scene.session_uid] = count, armatures
    return list(armatures)


def _is_whole(armature: bpy.types.Object) -> bool:
    kept = armature.get(KEY)
    return hasattr(kept, "get") and kept.get("points") is not None


@persistent
def forget(*_: object) -> None:
    """What was found may have changed."""
    if _found is not None:
        _found.clear()


_CHANGES = (
    "depsgraph_update_post",
    "undo_post",
    "redo_post",
    "load_pre",
    "load_post",
    "blend_import_post",
)


def register() -> None:
    global _found
    _found = {}
    for name in _CHANGES:
        getattr(bpy.app.handlers, name).append(forget)


def unregister() -> None:
    global _found
    _found = None
    for name in _CHANGES:
        getattr(bpy.app.handlers, name).remove(forget)
