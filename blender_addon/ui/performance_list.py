# SPDX-License-Identifier: GPL-3.0-or-later
"""The puppet's performances in the sidebar, and what can be made of the one that plays."""

from typing import Any

import bpy

from ..languages import CONTEXT, translate
from ..puppet import importer
from ..puppet.animation import curves, layer_settings, layers
from ..puppet.playback import nla
from ..session import running_work
from .text import paragraph

Imported = importer.ImportedPuppet


def draw_performances(
    layout: bpy.types.UILayout, context: bpy.types.Context, imported: Imported
) -> None:
    """The list; a click plays one, and the buttons beside the one that plays change the list."""
    playing, column = nla.find_playing(imported), layout.column(align=True)
    prompts = [p.prompt for p in imported.performances]
    for p in imported.performances:
        plays = playing is not None and p.name == playing.name
        text = p.prompt if p.prompt and prompts.count(p.prompt) == 1 else p.name
        row = column.row(align=True)
        play = row.operator(
            "restage4d.play_performance",
            text=text,
            translate=False,
            icon="PLAY" if plays else "ACTION",
            depress=plays,
        )
        play.name = p.name
        if plays:
            _draw_list_buttons(row, len(imported.performances) > 1)


def _draw_list_buttons(row: bpy.types.UILayout, several: bool) -> None:
    buttons: tuple[tuple[str, Any, dict[str, int]], ...] = (
        ("rename_performance", "GREASEPENCIL", {}),
        ("duplicate_performance", "DUPLICATE", {}),
        ("move_performance", "TRIA_UP", {"by": -1}),
        ("move_performance", "TRIA_DOWN", {"by": 1}),
        ("delete_performance", "TRASH", {}),
    )
    for name, icon, values in buttons if several else buttons[:2]:
        button = row.operator(f"restage4d.{name}", text="", icon=icon)
        for key, value in values.items():
            setattr(button, key, value)


def draw_clips(layout: bpy.types.UILayout, context: bpy.types.Context, imported: Imported) -> None:
    """What makes a new performance."""
    header, body = layout.panel("restage4d_clips", default_closed=True)
    header.label(text="New Performance", text_ctxt=CONTEXT, icon="SEQUENCE")
    if body is None:
        return
    shown = nla.find_playing(imported)
    if shown is None:
        paragraph(body, context, "Click a performance: it is what a new one is made of.")
        return
    column = body.column(align=True)
    column.operator_menu_enum("restage4d.sequence_performances", "second", icon="TRACKING_FORWARDS")
    row = column.row(align=True)
    row.operator("restage4d.loop_performance", icon="FILE_REFRESH")
    row.operator("restage4d.reverse_performance", icon="PLAY_REVERSE")
    row = column.row(align=True)
    row.operator("restage4d.retime_performance", icon="TIME")
    row.operator("restage4d.add_speed_curve", text="Speed Curve", text_ctxt=CONTEXT, icon="FCURVE")
    column = body.column(align=True)
    column.operator_menu_enum("restage4d.mix_performances", "other", icon="MOD_MASK")
    column.operator_menu_enum("restage4d.transfer_performance", "source", icon="COPYDOWN")
    if len(imported.performances) > 1:
        column.operator("restage4d.blend_performances", icon="NLA")
    body.operator("restage4d.refine_performance", icon="MOD_SMOOTH")
    work = running_work.current
    if work is not None and work.label == "Refine":
        body.progress(
            factor=work.fraction, text=translate("{}, Esc: cancel").format(translate(work.label))
        )


def draw_layers(layout: bpy.types.UILayout, context: bpy.types.Context, imported: Imported) -> None:
    """The layers of the performance that plays."""
    shown = nla.find_playing(imported)
    found = layers.find_layers(imported.armature, shown.action) if shown is not None else []
    header, body = layout.panel("restage4d_layers", default_closed=True)
    text = translate("Tweak Layers ({})").format(len(found)) if found else translate("Tweak Layers")
    header.label(text=text, translate=False, icon="RENDERLAYERS")
    if body is None:
        return
    edited = layers.find_edited(imported.armature)
    column = body.column(align=True)
    for number, layer in reversed([*enumerate(found, 1)]):
        here = edited is not None and edited.action == layer.action
        row = column.row(align=True)
        button = row.operator(
            "restage4d.edit_layer", text="", icon="GREASEPENCIL" if here else "DOT", depress=here
        )
        button.number = number  # pyright: ignore[reportAttributeAccessIssue]
        row.prop(layer.track, "name", text="")
        row.prop(layer.action, layer_settings.WEIGHT, text="", slider=True)
        icon: Any = "HIDE_ON" if layer.strip.mute else "HIDE_OFF"
        row.prop(layer.strip, "mute", text="", icon=icon, emboss=False)
        away = row.operator("restage4d.remove_layer", text="", icon="X")
        away.number = number  # pyright: ignore[reportAttributeAccessIssue]
    if found and shown is not None:
        row = column.row(align=True)
        button = row.operator(
            "restage4d.edit_layer",
            text=translate("{} itself").format(shown.name),
            translate=False,
            icon="GREASEPENCIL" if edited is None else "DOT",
            depress=edited is None,
        )
        button.number = 0  # pyright: ignore[reportAttributeAccessIssue]
    if edited is not None:
        row = body.row(align=True)
        row.prop(edited.action, layer_settings.RAMP_IN)
        row.prop(edited.action, layer_settings.RAMP_OUT)
        body.operator("restage4d.key_layer", icon="KEY_HLT")
    row = body.row(align=True)
    row.operator("restage4d.add_layer", icon="ADD")
    if found:
        row.operator("restage4d.bake_layers", text="Bake", text_ctxt=CONTEXT, icon="ACTION")


def draw_curves(layout: bpy.types.UILayout, context: bpy.types.Context, imported: Imported) -> None:
    """The keys of the performance that plays."""
    header, body = layout.panel("restage4d_curves", default_closed=True)
    header.label(text="Curves", text_ctxt=CONTEXT, icon="FCURVE")
    if body is None:
        return
    shown = nla.find_playing(imported)
    if shown is not None:
        kept = curves.has_capture(shown.action)
        text = translate("{} keys, its capture is kept") if kept else translate("{} keys")
        paragraph(body, context, text.format(curves.count_keys(shown.action)))
    column = body.column(align=True)
    column.operator("restage4d.simplify_curves", icon="IPO_BEZIER")
    column.operator("restage4d.spread_pose", icon="PROP_ON")
    column.operator("restage4d.smooth_curves", icon="SMOOTHCURVE")
    body.operator("restage4d.restore_capture", icon="LOOP_BACK")
