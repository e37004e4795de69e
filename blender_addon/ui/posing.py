# SPDX-License-Identifier: GPL-3.0-or-later
"""What poses the puppet by hand, in the Puppet step."""

from typing import Any, cast

import bpy

from ..languages import CONTEXT
from ..operators.posing import tools


def draw_posing(layout: bpy.types.UILayout) -> None:
    """A section of the panel."""
    header, body = layout.panel("restage4d_posing", default_closed=False)
    header.label(text="Pose by Hand", text_ctxt=CONTEXT)
    if body is None:
        return
    row = body.row(align=True)
    button: Any = row.operator(
        "wm.tool_set_by_id", text="Drag the Puppet", text_ctxt=CONTEXT, icon="VIEW_PAN"
    )
    button.name = tools.TOOL
    cast(Any, row).operator("restage4d.clear_pins", text="", icon="X")


def draw_shaping(layout: bpy.types.UILayout) -> None:
    """The section of splats and the proxy mesh."""
    header, body = layout.panel("restage4d_shaping", default_closed=True)
    header.label(text="Splats and Proxy Mesh", text_ctxt=CONTEXT)
    if body is None:
        return
    column = body.column(align=True)
    for name, icon in _SPLATS:
        column.operator(f"restage4d.{name}", icon=icon)
    column = body.column(align=True)
    for name, icon in _PROXY:
        column.operator(f"restage4d.{name}", icon=icon)


_SPLATS: tuple[tuple[str, Any], ...] = (
    ("select_splats", "RESTRICT_SELECT_OFF"),
    ("give_splats", "BONE_DATA"),
    ("erase_splats", "TRASH"),
    ("clean_fringe", "BRUSH_DATA"),
    ("restore_splats", "LOOP_BACK"),
)
_PROXY: tuple[tuple[str, Any], ...] = (
    ("make_proxy", "MOD_REMESH"),
    ("apply_painting", "WPAINT_HLT"),
)
