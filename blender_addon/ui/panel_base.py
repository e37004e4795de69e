# SPDX-License-Identifier: GPL-3.0-or-later
"""A step in the sidebar."""

from collections.abc import Callable
from typing import Any

import bpy

CATEGORY = "Restage4D"


class Step(bpy.types.Panel):
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY

    done: Callable[[Any], bool]  # of the context: whether the step needs nothing more

    def draw_header(self, context: Any) -> None:
        self.layout.label(icon="CHECKMARK" if type(self).done(context) else "DOT")
