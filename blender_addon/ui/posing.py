# SPDX-License-Identifier: GPL-3.0-or-later
"""What poses the puppet by hand, in the Puppet step."""

from typing import Any, cast

import bpy

from ..languages import CONTEXT, translate
from ..operators.posing import tools
from ..puppet import importer
from ..puppet.playback import nla
from ..skeleton import build
from ..skeleton.contact_list import read_contacts
from ..skeleton.plan import PART
from .text import paragraph


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


def draw_skeleton(
    layout: bpy.types.UILayout, context: bpy.types.Context, imported: importer.ImportedPuppet
) -> None:
    """The section of a puppet's skeleton: inverse kinematics of every limb, and contacts."""
    if not build.list_bones(imported.armature):
        return
    header, body = layout.panel("restage4d_skeleton", default_closed=False)
    header.label(text="Skeleton", text_ctxt=CONTEXT)
    if body is None:
        return
    column = body.column(align=True)
    for bone in imported.armature.pose.bones:
        if build.SWITCH in bone:
            text = f"IK: {build.describe_part(bone.bone[PART])}"
            column.prop(bone, f'["{build.SWITCH}"]', text=text, translate=False, slider=True)
    column = body.column(align=True)
    column.operator("restage4d.find_contacts", icon="SNAP_FACE")
    row = column.row(align=True)
    row.operator("restage4d.lock_contacts", text="Lock", text_ctxt=CONTEXT, icon="LOCKED")
    row.operator("restage4d.free_contacts", text="Free", text_ctxt=CONTEXT, icon="UNLOCKED")
    playing = nla.find_playing(imported)
    extent = max(cast(Any, imported.points.dimensions))
    for contact in read_contacts(imported.armature, playing.name) if playing is not None else ():
        if contact.is_locked and contact.miss:
            words = translate("{part} is {mm:.1f} mm too short at frames {first} to {last}").format(
                part=build.describe_part(contact.part),
                mm=1000 * contact.miss * extent,
                first=contact.first,
                last=contact.last,
            )
            paragraph(body, context, words, "ERROR")
    body.operator("restage4d.place_head", icon="EYEDROPPER")


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
