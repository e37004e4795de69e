# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar's panels: the steps from a shot to an export, from top to bottom. They only show state; nothing here waits."""

import textwrap
from collections.abc import Callable
from typing import Any

import bpy

from . import pictures, pump
from .state import Fault, Job, Provider, Shot

CATEGORY = "Restage4D"


class Step(bpy.types.Panel):
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY

    done: Callable[[Any], bool]  # of the context: whether the step needs nothing more

    def draw_header(self, context: Any) -> None:
        self.layout.label(icon="CHECKMARK" if type(self).done(context) else "DOT")


class RESTAGE4D_PT_backend(Step):
    bl_label = "Backend"
    bl_idname = "RESTAGE4D_PT_backend"

    @staticmethod
    def done(context: Any) -> bool:
        return pump.session().backend.phase == "ready"

    def draw(self, context: Any) -> None:
        layout, backend = self.layout, pump.session().backend
        row = layout.row()
        row.label(text=backend.headline, icon=_PHASE_ICONS[backend.phase])
        if backend.phase == "ready":
            row.operator("restage4d.stop_backend", text="", icon="CANCEL")
            return
        if backend.phase in ("starting", "setting up", "lost"):
            paragraph(layout, context, backend.said)
            return
        if backend.fault is not None:
            fault_box(layout, context, backend.fault)
        column = layout.column()
        column.scale_y = 1.3
        if pump.needs_set_up():
            column.operator("restage4d.set_up_backend", icon="IMPORT")
            if bpy.app.online_access:
                paragraph(layout, context, "Once: about 4 GB are downloaded.")
            else:
                where = "Preferences > System > Network > Allow Online Access"
                paragraph(layout, context, f"It is downloaded once, about 4 GB. Blender must be allowed to go online: {where}.")
        else:
            column.operator("restage4d.start_backend", icon="PLAY")


_PHASE_ICONS = {
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
    def done(context: Any) -> bool:
        shot = pump.session().shot
        return shot is not None and shot.phase == "ready"

    def draw(self, context: Any) -> None:
        layout, chosen, shot = self.layout, context.scene.restage4d, pump.session().shot
        row = layout.row(align=True)
        row.prop(chosen, "video", text="")
        if not chosen.video:
            paragraph(layout, context, "Pick the filmed shot, or drop it on the 3D view.")
            return
        icon = pictures.icon_of("shot") or pictures.movie_icon(bpy.path.abspath(chosen.video))
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


def _draw_shot(layout: Any, context: Any, shot: Shot) -> None:
    if shot.phase == "uploading":
        layout.progress(factor=shot.fraction, text=f"Sending to the backend {shot.fraction:.0%}")
    elif shot.phase == "waiting":
        layout.label(text="Waits for the backend", icon="SORTTIME")
    elif shot.phase == "selecting":
        layout.label(text="Finding the subject ...", icon="SORTTIME")
    elif shot.about:
        layout.label(text=shot.about)
    if shot.fault is not None:
        fault_box(layout, context, shot.fault)


class RESTAGE4D_PT_direction(Step):
    bl_label = "Direction"
    bl_idname = "RESTAGE4D_PT_direction"

    @staticmethod
    def done(context: Any) -> bool:
        chosen = context.scene.restage4d
        return bool(chosen.prompt.strip()) and (chosen.source == "PROMPT" or bool(chosen.driving))

    def draw(self, context: Any) -> None:
        layout, chosen = self.layout, context.scene.restage4d
        layout.prop(chosen, "prompt", text="", placeholder="it crouches, then jumps")
        layout.prop(chosen, "source", text="")
        if chosen.source == "FILE":
            layout.prop(chosen, "driving", text="")
            icon = pictures.movie_icon(bpy.path.abspath(chosen.driving)) if chosen.driving else None
            if icon:
                layout.template_icon(icon_value=icon, scale=6)
            paragraph(layout, context, "It must begin with the shot's first frame.")
        else:
            layout.menu("RESTAGE4D_MT_providers", text=Provider.named(chosen.provider).label)
            if chosen.provider == "kinematic" and chosen.prompt.strip():
                understood, text = pump.understood(chosen.prompt)
                paragraph(layout, context, text, icon="NONE" if understood else "ERROR")
            if icon := pump.driving_icon():
                layout.template_icon(icon_value=icon, scale=6)


class RESTAGE4D_MT_providers(bpy.types.Menu):
    """Who makes the driving video"""

    bl_idname = "RESTAGE4D_MT_providers"
    bl_label = "Provider"

    def draw(self, context: Any) -> None:
        providers = pump.session().backend.providers
        if not providers:
            self.layout.label(text="The backend tells what there is: start it")
        for provider in providers:
            row = self.layout.row()
            row.enabled = provider.available
            text = provider.label if provider.available else f"{provider.label}: {provider.why}"
            row.operator("restage4d.use_provider", text=text).name = provider.name


class RESTAGE4D_PT_restage(Step):
    bl_label = "Restage"
    bl_idname = "RESTAGE4D_PT_restage"

    @staticmethod
    def done(context: Any) -> bool:
        job = pump.session().job
        return job is not None and job.state == "done"

    def draw(self, context: Any) -> None:
        layout, job = self.layout, pump.session().job
        if job is None or not job.active:
            layout.prop(context.scene.restage4d, "quality")
            row = layout.row()
            row.scale_y = 1.6
            row.operator("restage4d.restage", icon="PLAY")
        if job is not None:
            _draw_job(layout, context, job)


def _draw_job(layout: Any, context: Any, job: Job) -> None:
    box = layout.box()
    if job.active and pump.session().backend.phase != "ready":
        box.label(text="Waits for the backend", icon="SORTTIME")
    else:
        box.label(text=job.headline, icon=_STATE_ICONS.get(job.state, "DOT"))
    if job.active:
        box.progress(factor=job.fraction, text=f"{job.fraction:.0%}  {job.time_left}")
        column = box.column(align=True)
        column.scale_y = 0.75
        column.label(text=job.stage)
        column.label(text=job.figures_line)
    if (job.active or job.state == "done") and (icon := pictures.icon_of("preview")):
        box.template_icon(icon_value=icon, scale=8.5)
    if job.fault is not None:
        fault_box(box, context, job.fault)
    if job.active:
        row = box.row(align=True)
        if job.state == "paused":
            row.operator("restage4d.resume", icon="PLAY")
        else:
            row.operator("restage4d.pause", icon="PAUSE")
        row.operator("restage4d.cancel", icon="CANCEL")
        if job.points is not None:
            box.operator("restage4d.look_at_it", icon="ZOOM_SELECTED")
        paragraph(box, context, "Save and close Blender if you like: the work goes on, and this file finds it again.")
    elif job.state == "done" and not job.brought_in:
        row = box.row()
        row.scale_y = 1.4
        row.operator("restage4d.bring_in", icon="IMPORT")
    else:
        box.operator("restage4d.forget_job", icon="X")


_STATE_ICONS = {
    "sending": "SORTTIME",
    "queued": "SORTTIME",
    "running": "RENDER_ANIMATION",
    "paused": "PAUSE",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "CANCEL",
}


def paragraph(layout: Any, context: Any, text: str, icon: str = "NONE") -> None:
    """A text wrapped to the sidebar's width."""
    width = context.region.width if context.region else 240
    letters = max(18, int(width / (6.2 * context.preferences.system.ui_scale)) - 5)
    column = layout.column(align=True)
    column.scale_y = 0.75
    for i, line in enumerate(textwrap.wrap(text, letters)):
        column.label(text=line, icon=icon if i == 0 else ("BLANK1" if icon != "NONE" else "NONE"))


def fault_box(layout: Any, context: Any, fault: Fault) -> None:
    """What is wrong, and below it what to do."""
    box = layout.box()
    column = box.column()
    column.alert = True
    paragraph(column, context, fault.what, icon="ERROR")
    if fault.remedy:
        paragraph(box, context, fault.remedy, icon="INFO")


CLASSES = (
    RESTAGE4D_PT_backend,
    RESTAGE4D_PT_shot,
    RESTAGE4D_PT_direction,
    RESTAGE4D_MT_providers,
    RESTAGE4D_PT_restage,
)
