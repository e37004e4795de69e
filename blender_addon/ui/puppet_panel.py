# SPDX-License-Identifier: GPL-3.0-or-later
"""The last two steps in the sidebar: the puppet in the scene, and what leaves Blender."""

from typing import Any, cast

import bpy

from ..languages import CONTEXT, say, translate
from ..properties import get_shot
from ..puppet import importer, shot_settings
from ..puppet.output import export, render_job
from ..puppet.playback import nla
from ..session import running_work
from ..viewport.display import RESTAGE4D_PG_display, get_display
from .findings_list import draw_findings
from .panel_base import Step
from .performance_list import draw_clips, draw_curves, draw_layers, draw_performances
from .posing import draw_posing, draw_shaping, draw_skeleton
from .text import paragraph


class RESTAGE4D_PT_puppet(Step):
    bl_label = "Puppet"
    bl_idname = "RESTAGE4D_PT_puppet"

    @staticmethod
    def done(context: bpy.types.Context) -> bool:
        return bool(importer.find_puppets(context.scene))

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        imported = importer.find_selected_puppet(context)
        if imported is None:
            several = len(importer.find_puppets(context.scene)) > 1
            none = translate("There is none in this scene yet.")
            paragraph(layout, context, translate("Select one of the puppets.") if several else none)
            layout.operator(
                "restage4d.import_puppet",
                icon="IMPORT",
                text="Import a Puppet File",
                text_ctxt=CONTEXT,
            )
            layout.prop(get_shot(context.scene), "scene_use")
            return
        layout.label(
            text=imported.collection.name if imported.collection else imported.armature.name,
            translate=False,
            icon="ARMATURE_DATA",
        )
        draw_performances(layout, context, imported)
        layout.operator("restage4d.use_shot_settings", icon="SCENE_DATA")
        shown, scene = nla.find_shown(imported), cast(bpy.types.Scene, context.scene)
        if shown is not None and (rates := shot_settings.describe_rates(shown, scene)):
            paragraph(layout, context, say(rates), "INFO")
        draw_findings(layout, context, imported)
        _draw_display(layout, get_display(imported.armature))
        draw_posing(layout)
        draw_skeleton(layout, context, imported)
        draw_shaping(layout)
        for draw in (draw_layers, draw_clips, draw_curves):
            draw(layout, context, imported)
        header, body = layout.panel("restage4d_bones", default_closed=True)
        header.label(text="Bones and Points", text_ctxt=CONTEXT)
        if body is not None:
            column = body.column(align=True)
            for name in ("pick_bones", "select_bones", "select_points"):
                column.operator(f"restage4d.{name}")
            column = body.column(align=True)
            for name in ("apply_weights", "write_weights"):
                column.operator(f"restage4d.{name}")
            painting = imported.points.mode == "WEIGHT_PAINT"
            paragraph(
                body,
                context,
                "Brushes paint faces, and points have none: select points in Edit Mode and assign "
                "weights in the Data properties.",
                "ERROR" if painting else "INFO",
            )


def _draw_display(layout: bpy.types.UILayout, display: RESTAGE4D_PG_display) -> None:
    column = layout.column()
    column.use_property_split, column.use_property_decorate = True, False
    for name in ("mode", "color", "background", "relight", "filmed_angle"):
        column.prop(display, name)
    layout.operator("restage4d.use_another_background", icon="WORLD")


class RESTAGE4D_PT_export(Step):
    bl_label = "Export"
    bl_idname = "RESTAGE4D_PT_export"

    @staticmethod
    def done(context: bpy.types.Context) -> bool:
        return False

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        for name, icon in _EXPORTS:
            if hasattr(bpy.types, f"RESTAGE4D_OT_{name}") and (
                name != "export_alembic" or export.has_alembic()
            ):
                column.operator(f"restage4d.{name}", icon=icon)
        if running_work.current is not None and running_work.current.label.startswith("Export"):
            self.layout.progress(
                factor=running_work.current.fraction,
                text=translate("{}, Esc: cancel").format(translate(running_work.current.label)),
                translate=False,
            )
        job = render_job.current
        if job is not None:
            box = self.layout.box()
            if not job.finished:
                box.progress(factor=job.fraction, text=say(job.says))
                box.operator("restage4d.cancel_render", icon="CANCEL")
            else:
                paragraph(box, context, say(job.says), "ERROR" if job.error is not None else "INFO")


_EXPORTS: tuple[tuple[str, Any], ...] = (
    ("playblast", "RENDER_RESULT"),
    ("render_splats", "RENDER_ANIMATION"),
    ("export_puppet", "FILE"),
    ("export_ply", "FILE_3D"),
    ("export_usd", "FILE_3D"),
    ("export_alembic", "FILE_3D"),
    ("export_npz", "FILE_3D"),
    ("export_for_programs", "EXPORT"),
)

CLASSES = (RESTAGE4D_PT_puppet, RESTAGE4D_PT_export)
