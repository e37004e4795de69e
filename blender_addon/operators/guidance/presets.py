# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets of how a shot is restaged: quality, working size, estimators and who makes the driving
video, kept as Blender keeps presets. What belongs to one shot (its video, selection and prompt) is
in none."""

from typing import Any

import bpy
from bl_operators.presets import AddPresetBase

FOLDER = "restage4d"  # below Blender's presets
FIELDS = (
    *("quality", "longer_side", "masks", "cameras", "depth", "tracks"),
    *("source", "provider", "candidates"),
)


class RESTAGE4D_MT_presets(bpy.types.Menu):
    """Settings of a restaging that were kept under a name"""

    bl_idname = "RESTAGE4D_MT_presets"
    bl_label = "Restaging Presets"
    preset_subdir = FOLDER
    preset_operator = "script.execute_preset"
    draw: Any = bpy.types.Menu.draw_preset


class RESTAGE4D_OT_add_preset(AddPresetBase, bpy.types.Operator):
    """Keep quality, size, estimators and provider under a name, or remove the preset shown"""

    bl_idname = "restage4d.add_preset"
    bl_label = "Keep as a Preset"
    preset_menu = RESTAGE4D_MT_presets.bl_idname
    preset_subdir = FOLDER
    preset_defines = ["shot = bpy.context.scene.restage4d"]  # noqa: RUF012
    preset_values = [f"shot.{name}" for name in FIELDS]  # noqa: RUF012


CLASSES = (RESTAGE4D_MT_presets, RESTAGE4D_OT_add_preset)
