# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar's panels: the steps from a shot to an export, from top to bottom. They only show
state; nothing here waits."""

from pathlib import Path
from typing import Any, cast

import bpy

from .. import corrections, runtime
from ..languages import CONTEXT, say, translate
from ..properties import RESTAGE4D_PG_shot, get_shot
from ..puppet import importer
from ..session import running_work
from ..session.models import Shot, WatchedJob
from . import direction_panel, thumbnails
from .panel_base import Step
from .text import fault_box, paragraph


class RESTAGE4D_PT_backend(Step):
    bl_label = "Backend"
    bl_idname = "RESTAGE4D_PT_backend"

    @staticmethod
    def done(context: bpy.types.Context) -> bool:
        return runtime.session().backend.phase == "ready"

    def draw(self, context: bpy.types.Context) -> None:
        layout, backend = self.layout, runtime.session().backend
        row = layout.row()
        row.label(
            text=translate(backend.headline), translate=False, icon=_PHASE_ICONS[backend.phase]
        )
        if backend.phase == "ready":
            row.operator("restage4d.stop_backend", text="", icon="CANCEL")
            if backend.drawing:
                text = translate("Fits run {}.").format(backend.drawing)
                paragraph(layout, context, text)
            return
        if backend.phase in ("starting", "setting up", "lost"):
            paragraph(layout, context, backend.message)
            return
        if backend.fault is not None:
            fault_box(layout, context, backend.fault)
        column = layout.column()
        column.scale_y = 1.3
        if runtime.needs_set_up():
            column.operator("restage4d.set_up_backend", icon="IMPORT")
            if bpy.app.online_access:
                paragraph(layout, context, "Once: about 4 GB are downloaded.")
            else:
                paragraph(
                    layout,
                    context,
                    "It is downloaded once, about 4 GB. Blender must be allowed to go online: "
                    "Preferences > System > Network > Allow Online Access.",
                )
        else:
            column.operator("restage4d.start_backend", icon="PLAY")


_PHASE_ICONS: dict[str, Any] = {
    "unknown": "QUESTION",
    "absent": "UNLINKED",
    "setting up": "SORTTIME",
    "starting": "SORTTIME",
    "ready": "LINKED",
    "lost": "ERROR",
    "refused": "LOCKED",
}


class RESTAGE4D_PT_shot(Step):
    bl_label = "Shot"
    bl_idname = "RESTAGE4D_PT_shot"

    @staticmethod
    def done(context: bpy.types.Context) -> bool:
        shot = _get_opened(get_shot(context.scene))
        return shot is not None and shot.phase == "ready"

    def draw(self, context: bpy.types.Context) -> None:
        layout, chosen = self.layout, get_shot(context.scene)
        shot = _get_opened(chosen)
        row = layout.row(align=True)
        row.prop(chosen, "video", text="")
        if not chosen.video:
            paragraph(layout, context, "Pick the filmed shot, or drop it on the 3D view.")
            return
        icon = thumbnails.get_icon("shot") if shot is not None else None
        icon = icon or thumbnails.get_movie_icon(bpy.path.abspath(chosen.video))
        if icon:
            layout.template_icon(icon_value=icon, scale=7)
        if shot is not None:
            _draw_shot(layout, context, shot)
        column = layout.column(align=True)
        column.prop(chosen, "use_range")
        if chosen.use_range:
            row = column.row(align=True)
            row.prop(chosen, "first_frame")
            row.prop(chosen, "last_frame")
        row = layout.row(align=True)
        row.operator("restage4d.select_subject", icon="EYEDROPPER")
        if chosen.selection != "MOTION":
            row.operator("restage4d.forget_selection", text="", icon="X")
        if shot is not None and shot.mask is not None:
            _draw_corrections(layout, chosen)


def _get_opened(chosen: RESTAGE4D_PG_shot) -> Shot | None:
    """The session's shot, None while it is still of another file than the field names."""
    shot = runtime.session().shot
    named = Path(bpy.path.abspath(chosen.video)) if chosen.video else None
    return shot if shot is not None and shot.path == named else None


def _draw_corrections(layout: bpy.types.UILayout, chosen: RESTAGE4D_PG_shot) -> None:
    """Masks of later frames that the artist corrected, and one more."""
    column = layout.column(align=True)
    row = column.split(factor=0.78, align=True)
    row.operator("restage4d.correct_mask", icon="MOD_MASK")
    row.prop(chosen, "correct_frame", text="")
    for correction in corrections.find_valid(chosen):
        row = column.row(align=True)
        used = corrections.is_used(chosen, correction.frame)
        text = translate("Mask at frame {}" if used else "Mask at frame {} (not used)")
        edit = row.operator(
            "restage4d.correct_mask",
            text=text.format(correction.frame),
            translate=False,
            icon="CHECKMARK" if used else "X",
        )
        edit.frame = correction.frame  # pyright: ignore[reportAttributeAccessIssue]
        away = row.operator("restage4d.remove_correction", text="", icon="X")
        away.frame = correction.frame  # pyright: ignore[reportAttributeAccessIssue]


def _draw_shot(layout: bpy.types.UILayout, context: bpy.types.Context, shot: Shot) -> None:
    if shot.phase == "uploading":
        text = translate("Sending to the backend {:.0%}").format(shot.fraction)
        layout.progress(factor=shot.fraction, text=text, translate=False)
    elif shot.phase == "waiting":
        layout.label(text="Waits for the backend", text_ctxt=CONTEXT, icon="SORTTIME")
    elif shot.phase == "selecting":
        layout.label(text="Finding the subject ...", text_ctxt=CONTEXT, icon="SORTTIME")
    elif shot.about:
        layout.label(text=say(shot.about), translate=False)
    if shot.fault is not None:
        fault_box(layout, context, shot.fault)


class RESTAGE4D_PT_restage(Step):
    bl_label = "Restage"
    bl_idname = "RESTAGE4D_PT_restage"

    @staticmethod
    def done(context: bpy.types.Context) -> bool:
        job = runtime.session().job
        return job is not None and job.state == "done"

    def draw(self, context: bpy.types.Context) -> None:
        layout, job = self.layout, runtime.session().job
        if job is None or not job.active:
            chosen, column = get_shot(context.scene), layout.column(align=True)
            column.prop(chosen, "quality")
            column.prop(chosen, "longer_side")
            row = layout.row(align=True)
            shown = cast(
                Any, bpy.types
            ).RESTAGE4D_MT_presets.bl_label  # the preset's name, once one was taken
            row.menu("RESTAGE4D_MT_presets", text=shown, text_ctxt=CONTEXT)
            row.operator("restage4d.add_preset", text="", icon="ADD")
            row.operator("restage4d.add_preset", text="", icon="REMOVE").remove_active = True  # pyright: ignore
            direction_panel.draw_priors(layout, context)
            row = layout.row()
            row.scale_y = 1.6
            row.operator("restage4d.restage", icon="PLAY")
            if importer.find_puppets(context.scene):
                layout.operator("restage4d.restage_into", icon="ADD")
        if job is not None:
            _draw_job(layout, context, job)


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: WatchedJob) -> None:
    box = layout.box()
    if job.active and runtime.session().backend.phase != "ready":
        box.label(text="Waits for the backend", text_ctxt=CONTEXT, icon="SORTTIME")
    else:
        icon = _STATE_ICONS.get(job.state, "DOT")
        box.label(text=translate(job.headline), translate=False, icon=icon)
    if job.active:
        box.progress(
            factor=job.fraction, text=f"{job.fraction:.0%}  {say(job.time_left)}", translate=False
        )
        column = box.column(align=True)
        column.scale_y = 0.75
        column.label(text=say(job.stage), translate=False)
        column.label(text=job.figures_line)
    if (job.active or job.state == "done") and (icon := thumbnails.get_icon("preview")):
        box.template_icon(icon_value=icon, scale=8.5)
    if job.fault is not None:
        fault_box(box, context, job.fault)
    if job.active:
        row = box.row(align=True)
        if job.state == "paused":
            row.operator("restage4d.resume", icon="PLAY", text="Go On", text_ctxt=CONTEXT)
        else:
            row.operator("restage4d.pause", icon="PAUSE", text="Pause", text_ctxt=CONTEXT)
        row.operator("restage4d.cancel", icon="CANCEL", text="Cancel", text_ctxt=CONTEXT)
        if job.points is not None:
            box.operator("restage4d.look_at_it", icon="ZOOM_SELECTED")
        paragraph(
            box,
            context,
            "Save and close Blender if you like: the work goes on, and this file finds it again.",
        )
    elif job.state == "done" and not job.brought_in and job.fetching:
        box.progress(factor=job.fraction, text="Fetching the puppet", text_ctxt=CONTEXT)
    elif running_work.current is not None and running_work.current.label == "Bring In the Puppet":
        box.progress(
            factor=running_work.current.fraction,
            text="Bringing in the puppet, Esc: later",
            text_ctxt=CONTEXT,
        )
    elif job.state == "done" and not job.brought_in:
        row = box.row()
        row.scale_y = 1.4
        row.operator("restage4d.bring_in", icon="IMPORT")
    else:
        box.operator("restage4d.forget_job", icon="X", text="Put Away", text_ctxt=CONTEXT)


_STATE_ICONS: dict[str, Any] = {
    "sending": "SORTTIME",
    "queued": "SORTTIME",
    "running": "RENDER_ANIMATION",
    "paused": "PAUSE",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "CANCEL",
}


CLASSES = (
    RESTAGE4D_PT_backend,
    RESTAGE4D_PT_shot,
    direction_panel.RESTAGE4D_PT_direction,
    *direction_panel.MENUS,
    RESTAGE4D_PT_restage,
)
