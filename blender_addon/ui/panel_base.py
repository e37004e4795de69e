# SPDX-License-Identifier: GPL-3.0-or-later
"""A step in the sidebar."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import bpy

CATEGORY = "Restage4D"


class Step(bpy.types.Panel):
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY

    if TYPE_CHECKING:
        layout: bpy.types.UILayout  # Blender's types call it optional, but not while drawing

    done: Callable[[bpy.types.Context], bool]  # of the context: whether the step needs nothing more

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.label(icon="CHECKMARK" if type(self).done(context) else "DOT")
