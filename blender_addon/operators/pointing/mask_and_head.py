# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist points at beside the subject: the mask of a later frame, and the head."""

from collections.abc import Set

import bpy
import numpy as np
from numpy.typing import NDArray

from ... import corrections, runtime
from ...languages import say
from ...properties import get_first_frame, get_head, get_shot, set_head
from .frame_view import FrameView, Picture, to_place

_STEPS = {"LEFT_ARROW": -1, "RIGHT_ARROW": 1}


class RESTAGE4D_OT_correct_mask(FrameView, bpy.types.Operator):
    """Point at the subject in a later frame where its mask is wrong; it is followed anew from
    there"""

    bl_idname = "restage4d.correct_mask"
    bl_label = "Correct Mask at Frame"
    bl_options = {"UNDO"}  # noqa: RUF012
    text = "Click the subject, or drag a box around it   Left, Right: other frames   Enter: keep"
    frame: bpy.props.IntProperty(
        name="Frame", description="Of the video, from 1", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        shot = runtime.session().shot
        if shot is not None and shot.first is not None and shot.mask is None:
            cls.poll_message_set(say("Select the subject in the first frame before"))
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        chosen = get_shot(context.scene)
        self.frame = self.frame or chosen.correct_frame
        if not corrections.is_used(chosen, self.frame):
            first = get_first_frame(chosen)
            last = f" to {chosen.last_frame}" if chosen.use_range else ""
            self.report({"ERROR"}, say(f"Choose a later frame that is used: {first + 1}{last}."))
            return {"CANCELLED"}
        self._look(context)
        return self.start(context)

    def _look(self, context: bpy.types.Context) -> None:
        self.proposed = corrections.read_mask(get_shot(context.scene), self.frame)
        runtime.session().look_at_frame(self.frame - 1, {})

    def get_picture(self) -> tuple[Picture | None, NDArray[np.bool_] | None]:
        look = runtime.session().frame_look
        if look is None or look.picture is None:
            return None, None
        mask = self.proposed if look.mask is None else look.mask
        fits = mask is not None and mask.shape == look.picture.shape[:2]
        return look.picture, mask if fits else None

    def get_words(self) -> str:
        look, at = runtime.session().frame_look, say(f"Frame {self.frame}")
        if look is None:
            return at
        if look.fault is not None:
            return f"{at}: {look.fault.what} {look.fault.remedy}"
        if look.phase == "looking":
            return f"{at}: {'finding the subject' if look.place else 'fetching it'} ..."
        if look.mask is not None:
            return f"{at}: Enter keeps this mask. Click or drag again: not right"
        if self.proposed is None:
            return f"{at}: click the subject, or drag a box around it"
        return f"{at}: its mask now. If it is wrong, click or drag a box"

    def choose(self, context: bpy.types.Context, ends: list[tuple[float, float]]) -> bool:
        runtime.session().look_at_frame(self.frame - 1, to_place(ends))
        return False

    def press(self, context: bpy.types.Context, event: bpy.types.Event) -> None:
        there = self.frame + _STEPS.get(event.type, 0)
        if there != self.frame and corrections.is_used(get_shot(context.scene), there):
            self.frame = get_shot(context.scene).correct_frame = there
            self._look(context)

    def accept(self, context: bpy.types.Context) -> bool:
        look = runtime.session().frame_look
        if look is None or look.mask is None:
            return False
        corrections.keep(get_shot(context.scene), self.frame, look.mask)
        return True


class RESTAGE4D_OT_remove_correction(bpy.types.Operator):
    """Follow the subject through this frame by itself again"""

    bl_idname = "restage4d.remove_correction"
    bl_label = "Remove This Mask"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012
    frame: bpy.props.IntProperty(name="Frame", description="Of the video, from 1")

    def execute(self, context: bpy.types.Context) -> set[str]:
        corrections.remove(get_shot(context.scene), self.frame)
        return {"FINISHED"}


class RESTAGE4D_OT_point_at_head(FrameView, bpy.types.Operator):
    """Click the subject's head in the first frame, so that the draft driver need not guess where it
    is"""

    bl_idname = "restage4d.point_at_head"
    bl_label = "Head"
    bl_options = {"UNDO"}  # noqa: RUF012
    text = "Click the head   Esc: leave it as it was"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        return self.start(context)

    def get_picture(self) -> tuple[Picture | None, NDArray[np.bool_] | None]:
        shot = runtime.session().shot
        return (None, None) if shot is None else (shot.first, shot.mask)

    def get_words(self) -> str:
        return "Click the head"

    def get_cross(self) -> tuple[float, float] | None:
        return get_head(get_shot(bpy.context.scene))

    def choose(self, context: bpy.types.Context, ends: list[tuple[float, float]]) -> bool:
        set_head(get_shot(context.scene), ends[-1])
        return True


class RESTAGE4D_OT_forget_head(bpy.types.Operator):
    """Let the draft driver find the head by itself"""

    bl_idname = "restage4d.forget_head"
    bl_label = "Forget the Head"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> set[str]:
        set_head(get_shot(context.scene), None)
        return {"FINISHED"}


CLASSES = (
    RESTAGE4D_OT_correct_mask,
    RESTAGE4D_OT_remove_correction,
    RESTAGE4D_OT_point_at_head,
    RESTAGE4D_OT_forget_head,
)
