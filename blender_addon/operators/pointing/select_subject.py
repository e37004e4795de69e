# SPDX-License-Identifier: GPL-3.0-or-later
"""Pointing at the subject: the shot's first frame over the 3D view, a click or a box, and the mask
that came of it."""

from collections.abc import Set

import bpy
import numpy as np
from numpy.typing import NDArray

from ... import orders, runtime
from ...properties import get_shot
from .frame_view import FrameView, Picture, to_place

HELP = "Click the subject, or drag a box around it"


class RESTAGE4D_OT_select_subject(FrameView, bpy.types.Operator):
    """Point at the subject in the shot's first frame"""

    bl_idname = "restage4d.select_subject"
    bl_label = "Select the Subject"
    bl_options = {"UNDO"}  # noqa: RUF012
    text = f"{HELP}   Enter: done   Esc: as it was"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        chosen = get_shot(context.scene)
        self.before = chosen.selection, tuple(chosen.place)
        return self.start(context)

    def get_picture(self) -> tuple[Picture | None, NDArray[np.bool_] | None]:
        shot = runtime.session().shot
        return (None, None) if shot is None else (shot.first, shot.mask)

    def get_words(self) -> str:
        shot = runtime.session().shot
        if shot is None or shot.phase == "selecting":
            return "Finding the subject ..."
        if shot.fault is not None:
            return shot.fault.what
        if shot.mask is not None and shot.phase == "ready":
            return "This is the subject. Enter: right. Click or drag again: not right"
        return HELP

    def choose(self, context: bpy.types.Context, ends: list[tuple[float, float]]) -> bool:
        ((kind, place),) = to_place(ends).items()
        chosen = get_shot(context.scene)
        chosen.selection, chosen.place = kind.upper(), (*place, 0, 0)[:4]
        orders.select_subject(chosen)
        return False

    def abandon(self, context: bpy.types.Context) -> None:
        chosen, shot = get_shot(context.scene), runtime.session().shot
        if (chosen.selection, tuple(chosen.place)) != self.before:
            chosen.selection, chosen.place = self.before
            if shot is not None and shot.first is not None:
                orders.select_subject(chosen)


class RESTAGE4D_OT_forget_selection(bpy.types.Operator):
    """Let the subject be what moves in the shot"""

    bl_idname = "restage4d.forget_selection"
    bl_label = "Forget the Selection"

    def execute(self, context: bpy.types.Context) -> set[str]:
        get_shot(context.scene).selection = "MOTION"
        orders.select_subject(get_shot(context.scene))
        return {"FINISHED"}


CLASSES = (RESTAGE4D_OT_select_subject, RESTAGE4D_OT_forget_selection)
