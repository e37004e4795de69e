# SPDX-License-Identifier: GPL-3.0-or-later
"""The Direction step in the sidebar: the prompt, who makes the driving video and on which terms,
and the takes to pick from."""

from pathlib import Path
from typing import Any

import bpy

from restage4d.defaults import DRAFT_DRIVER

from .. import orders, runtime, takes
from ..languages import CONTEXT, translate
from ..properties import (
    RESTAGE4D_PG_shot,
    RESTAGE4D_PG_take,
    get_head,
    get_shot,
)
from ..session.models import PRIORS, Fault, WatchedJob
from ..wording import name_fields
from . import thumbnails
from .estimators_box import draw_estimators
from .panel_base import Step
from .text import fault_box, paragraph


class RESTAGE4D_PT_direction(Step):
    bl_label = "Direction"
    bl_idname = "RESTAGE4D_PT_direction"

    @staticmethod
    def done(context: bpy.types.Context) -> bool:
        chosen = get_shot(context.scene)
        if chosen.source == "FILE":
            return Path(bpy.path.abspath(chosen.driving)).is_file() if chosen.driving else False
        return bool(chosen.prompt.strip()) and (
            chosen.provider == DRAFT_DRIVER or takes.find_picked(chosen) is not None
        )

    def draw(self, context: bpy.types.Context) -> None:
        layout, chosen = self.layout, get_shot(context.scene)
        layout.prop(chosen, "prompt", text="", placeholder="it crouches, then jumps")
        if chosen.source == "PROMPT" and chosen.provider == DRAFT_DRIVER:
            _draw_script(layout, context, chosen.prompt)
            _draw_head(layout, chosen)
        layout.prop(chosen, "source", text="")
        if chosen.source == "FILE":
            layout.prop(chosen, "driving", text="")
            icon = (
                thumbnails.get_movie_icon(bpy.path.abspath(chosen.driving))
                if chosen.driving
                else None
            )
            if icon:
                layout.template_icon(icon_value=icon, scale=6)
            if chosen.driving and not RESTAGE4D_PT_direction.done(context):
                fault_box(layout, context, Fault("There is no such video.", "Pick it again."))
            paragraph(layout, context, "It must begin with the shot's first frame.")
            return
        provider = runtime.session().backend.provider("driving", chosen.provider)
        label = (
            provider.label
            if provider
            else "Draft Driver"
            if chosen.provider == DRAFT_DRIVER
            else chosen.provider
        )
        layout.menu("RESTAGE4D_MT_driving", text=label, text_ctxt=CONTEXT)
        if chosen.provider != DRAFT_DRIVER:
            _draw_model(layout, context, provider)
        text = _make_label(chosen)
        layout.operator("restage4d.make_driving", icon="FILE_MOVIE", text=text, translate=False)
        if (job := runtime.session().driving_job) is not None:
            _draw_driving_job(layout, context, job)
        found = takes.find_valid(chosen)
        for take in found:
            _draw_take(layout, chosen, take)
        if not found and (icon := _find_driving_icon()):
            layout.template_icon(icon_value=icon, scale=6)
        if len(chosen.takes) and not found:
            paragraph(
                layout,
                context,
                "The driving videos made before are of another shot, prompt or provider.",
                icon="INFO",
            )


def _find_driving_icon() -> int | None:
    """Of the driving video that was made for the last restaging, once it is done."""
    job = runtime.session().job
    if job is None or not job.brought_in:
        return None
    made = [path for name, path in job.footage.items() if name != "base"]
    return thumbnails.get_movie_icon(str(made[-1])) if made else None


def _make_label(chosen: RESTAGE4D_PG_shot) -> str:
    count = 1 if chosen.provider == DRAFT_DRIVER else chosen.candidates
    if takes.find_valid(chosen):
        return translate(
            "Make {} Driving Videos Again" if count > 1 else "Make the Driving Video Again"
        ).format(count)
    return translate("Make {} Driving Videos" if count > 1 else "Make the Driving Video").format(
        count
    )


def _draw_script(layout: bpy.types.UILayout, context: bpy.types.Context, prompt: str) -> None:
    """What the draft driver will act, before anything is made."""
    if not prompt.strip():
        return
    box, script = layout.box(), orders.read_draft_prompt(prompt)
    if script.fault is not None:  # in no red: it is so while the first words are typed, too
        paragraph(box, context, name_fields(script.fault.what), icon="ERROR")
        header, body = box.panel("restage4d_draft_words", default_closed=True)
        header.label(text="What to Do", text_ctxt=CONTEXT)
        if body is not None:  # its whole vocabulary, which would push the panel down at every word
            paragraph(body, context, name_fields(script.fault.remedy))
        return
    for i, action in enumerate(script.actions):
        paragraph(box, context, action, icon="ACTION" if i == 0 else "BLANK1")
    if script.left_out:
        paragraph(
            box, context, translate("Left out: {}").format(", ".join(script.left_out)), icon="ERROR"
        )


def _draw_head(layout: bpy.types.UILayout, chosen: RESTAGE4D_PG_shot) -> None:
    """Where the head is, for the draft driver."""
    row, head = layout.row(align=True), get_head(chosen)
    text = translate("Head") if head is None else translate("Head at {:.0f}, {:.0f}").format(*head)
    row.operator("restage4d.point_at_head", text=text, translate=False, icon="PIVOT_CURSOR")
    if head is not None:
        row.operator("restage4d.forget_head", text="", icon="X")


def _draw_model(layout: bpy.types.UILayout, context: bpy.types.Context, provider: Any) -> None:
    """Terms, and the prompt that a model or a service is asked for."""
    chosen, preparation = get_shot(context.scene), runtime.session().preparation
    if provider is not None and provider.needs:
        _tell_need(layout, context, provider)
        return
    if provider is not None and provider.terms and not orders.get_refined_prompt(chosen):
        paragraph(layout, context, provider.terms, icon="INFO")
    column = layout.column(align=True)
    column.operator("restage4d.refine_prompt", icon="TEXT")
    if preparation is not None and preparation.phase == "asking":
        column.label(text="Asking ...", text_ctxt=CONTEXT, icon="SORTTIME")
    elif preparation is not None and preparation.fault is not None:
        fault_box(layout, context, preparation.fault)
    if orders.get_refined_prompt(chosen):
        column.prop(chosen, "refined", text="")
        paragraph(layout, context, chosen.refined)
        for text in chosen.terms.splitlines()[-1:]:  # all of them are in the dialog that asks
            paragraph(layout, context, text, icon="INFO")
    layout.prop(chosen, "candidates")


def _tell_need(layout: bpy.types.UILayout, context: bpy.types.Context, provider: Any) -> None:
    text = translate("Not set up here. It needs {}").format(provider.needs[0])
    paragraph(layout, context, text, icon="ERROR")


def _draw_driving_job(
    layout: bpy.types.UILayout, context: bpy.types.Context, job: WatchedJob
) -> None:
    box = layout.box()
    icon = "SORTTIME" if job.active else "ERROR" if job.fault else "DOT"
    box.label(text=translate(job.headline), translate=False, icon=icon)
    if job.active:
        box.progress(factor=job.fraction, text=f"{job.fraction:.0%}  {job.time_left}")
        box.label(text=job.stage)
        box.operator("restage4d.cancel_driving", icon="CANCEL", text="Cancel", text_ctxt=CONTEXT)
        return
    if job.fault is not None:
        fault_box(box, context, job.fault)
    box.operator("restage4d.forget_driving", icon="X", text="Put Away", text_ctxt=CONTEXT)


def _draw_take(
    layout: bpy.types.UILayout, chosen: RESTAGE4D_PG_shot, take: RESTAGE4D_PG_take
) -> None:
    mine = take.number == chosen.take
    row = layout.box().row()
    icon = thumbnails.get_movie_icon(bpy.path.abspath(take.path))
    if icon:
        row.template_icon(icon_value=icon, scale=4)
    column = row.column(align=True)
    buttons = column.row(align=True)
    pick = buttons.operator(
        "restage4d.pick_take",
        text=translate("Take {}").format(take.number),
        translate=False,
        icon="RADIOBUT_ON" if mine else "RADIOBUT_OFF",
        depress=mine,
    )
    pick.number = take.number
    buttons.operator("restage4d.play_take", text="", icon="PLAY").number = take.number
    lines = column.column(align=True)
    lines.scale_y = 0.7
    for line in takes.describe(take):
        lines.label(text=line)


class _Providers(bpy.types.Menu):
    """Who can do it; those that are not set up here are grey, their tips say what they need"""

    bl_label = "Provider"
    kind = ""

    def draw(self, context: bpy.types.Context) -> None:
        found = [p for p in runtime.session().backend.providers if p.kind == self.kind]
        if not found:
            self.layout.label(text="The backend tells what there is: start it", text_ctxt=CONTEXT)
        for provider in found:
            row = self.layout.row()
            row.enabled = not provider.needs
            text = translate("{} (not set up)") if provider.needs else "{}"
            text = text.format(translate(provider.label))
            button = row.operator("restage4d.use_provider", text=text, translate=False)
            button.kind, button.name = provider.kind, provider.name


def _menu(of: str) -> type:
    return type(
        f"RESTAGE4D_MT_{of}",
        (_Providers,),
        {"bl_idname": f"RESTAGE4D_MT_{of}", "kind": of, "__doc__": _Providers.__doc__},
    )


def draw_priors(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Who estimates masks, depth, cameras and tracks."""
    header, body = layout.panel("restage4d_priors", default_closed=True)
    header.label(text="Estimators", text_ctxt=CONTEXT)
    if body is None:
        return
    chosen, backend = get_shot(context.scene), runtime.session().backend
    for kind in PRIORS:
        name = getattr(chosen, kind)
        provider = backend.provider(kind, name)
        row = body.split(factor=0.3)
        row.label(text=kind.title(), text_ctxt=CONTEXT)
        row.menu(f"RESTAGE4D_MT_{kind}", text=provider.label if provider else name)
        if provider is not None and provider.terms:
            paragraph(body, context, provider.terms, icon="INFO")
        if provider is not None and provider.needs:
            _tell_need(body, context, provider)
    draw_estimators(body, context)


MENUS = tuple(_menu(kind) for kind in ("driving", *PRIORS))
