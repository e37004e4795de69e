# SPDX-License-Identifier: GPL-3.0-or-later
"""What poses the puppet by hand, in the Puppet step."""

from typing import Any, cast

import bpy

from ..operators.posing import tools


def draw_posing(layout: bpy.types.UILayout) -> None:
    """A section of the panel."""
    header, body = layout.panel("restage4d_posing", default_closed=False)
    header.label(text="Pose by Hand")
    if body is None:
        return
    row = body.row(align=True)
    button: Any = row.operator("wm.tool_set_by_id", text="Drag the Puppet", icon="VIEW_PAN")
    button.name = tools.TOOL
    cast(Any, row).operator("restage4d.clear_pins", text="", icon="X")
