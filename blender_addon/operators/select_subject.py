# SPDX-License-Identifier: GPL-3.0-or-later
"""Pointing at the subject: the shot's first frame over the 3D view, a click or a box, and the mask
that came of it."""

import bpy
import gpu

from .. import orders, runtime
from ..properties import get_shot
from ..ui import thumbnails
from .frame_view import (
    DRAG,
    draw_rectangle,
    draw_texture,
    draw_words,
    find_frame,
    make_texture,
)

HELP = "Click the subject, or drag a box around it"


class RESTAGE4D_OT_select_subject(bpy.types.Operator):
    """Point at the subject in the shot's first frame"""

    bl_idname = "restage4d.select_subject"
    bl_label = "Select the Subject"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        shot = runtime.session().shot
        if context.area is None or context.area.type != "VIEW_3D":
            cls.poll_message_set("Works in a 3D view")
        elif shot is None:
            cls.poll_message_set("Pick a video first")
        elif shot.first is None:
            cls.poll_message_set(
                "The first frame is not there yet: the backend must be running and have the video"
            )
        else:
            return True
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.region = next(r for r in context.area.regions if r.type == "WINDOW")
        self.area = context.area
        self.down: tuple[int, int] | None = None
        self.now = (0, 0)
        self.texture, self.shown = None, None
        self.handle = bpy.types.SpaceView3D.draw_handler_add(self.paint, (), "WINDOW", "POST_PIXEL")
        context.window.cursor_modal_set("CROSSHAIR")
        context.window_manager.modal_handler_add(self)
        self.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        shot = runtime.session().shot
        if (
            shot is None
            or shot.first is None
            or event.type in {"ESC", "RIGHTMOUSE", "RET", "NUMPAD_ENTER"}
        ):
            self._end(context)
            return {"FINISHED"}
        self.now = (event.mouse_x - self.region.x, event.mouse_y - self.region.y)
        inside = 0 <= self.now[0] < self.region.width and 0 <= self.now[1] < self.region.height
        if event.type == "LEFTMOUSE" and event.value == "PRESS":
            if not inside or self._over_sidebar(event):
                return {"PASS_THROUGH"}
            self.down = self.now
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE" and self.down is not None:
            self._choose(context, self.down, self.now)
            self.down = None
        elif event.type not in {"MOUSEMOVE", "TIMER"}:
            return {"PASS_THROUGH"}
        self.area.tag_redraw()
        return {"RUNNING_MODAL"} if event.type != "TIMER" else {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        self._end(context)

    def _end(self, context: bpy.types.Context) -> None:
        bpy.types.SpaceView3D.draw_handler_remove(self.handle, "WINDOW")
        context.window.cursor_modal_restore()
        self.area.tag_redraw()

    def _over_sidebar(self, event: bpy.types.Event) -> bool:
        return any(
            r.x <= event.mouse_x < r.x + r.width
            and r.y <= event.mouse_y < r.y + r.height
            and r.width > 1
            for r in self.area.regions
            if r.type in {"UI", "TOOLS", "HEADER", "TOOL_HEADER"}
        )

    def _choose(self, context: bpy.types.Context, a: tuple[int, int], b: tuple[int, int]) -> None:
        """Region pixels to the video's, and on to the session."""
        shot, chosen = runtime.session().shot, get_shot(context.scene)
        assert shot is not None  # modal
        x0, y0, scale = find_frame(self.area, self.region, shot.size)
        ends = []
        for x, y in (a, b):
            u, v = (x - x0) / scale, shot.size[1] - (y - y0) / scale
            ends.append((min(max(u, 0.0), shot.size[0]), min(max(v, 0.0), shot.size[1])))
        if max(abs(a[0] - b[0]), abs(a[1] - b[1])) < DRAG:
            chosen.selection, chosen.place = "POINT", (*ends[0], 0, 0)
        else:
            (u0, v0), (u1, v1) = ends
            chosen.selection, chosen.place = (
                "BOX",
                (min(u0, u1), min(v0, v1), max(u0, u1), max(v0, v1)),
            )
        orders.select_subject(chosen)

    def paint(self) -> None:
        shot = runtime.session().shot
        if bpy.context.area != self.area or shot is None or shot.first is None:
            return
        width, height = self.region.width, self.region.height
        gpu.state.blend_set("ALPHA")
        draw_rectangle(0, 0, width, height, (0.02, 0.02, 0.02, 0.85))
        x, y, scale = find_frame(self.area, self.region, shot.size)
        w, h = scale * shot.size[0], scale * shot.size[1]
        if not thumbnails.are_same(self.shown, (shot.first, shot.mask)):
            picture = (
                shot.first if shot.mask is None else thumbnails.draw_mask(shot.first, shot.mask)
            )
            self.texture, self.shown = make_texture(picture), (shot.first, shot.mask)
        assert self.texture is not None
        draw_texture(self.texture, x, y, w, h)
        if self.down is not None:
            draw_rectangle(
                *self.down,
                self.now[0] - self.down[0],
                self.now[1] - self.down[1],
                (1.0, 0.55, 0.1, 0.25),
            )
        gpu.state.blend_set("NONE")
        text = "Finding the subject ..." if shot.phase == "selecting" else HELP
        if shot.fault is not None:
            text = shot.fault.what
        elif shot.mask is not None and shot.phase == "ready":
            text = "This is the subject. Enter: right. Click or drag again: not right"
        draw_words(text, x, y + h + 14)


class RESTAGE4D_OT_forget_selection(bpy.types.Operator):
    """Let the subject be what moves in the shot"""

    bl_idname = "restage4d.forget_selection"
    bl_label = "Forget the Selection"

    def execute(self, context: bpy.types.Context) -> set[str]:
        get_shot(context.scene).selection = "MOTION"
        orders.select_subject(get_shot(context.scene))
        return {"FINISHED"}


CLASSES = (RESTAGE4D_OT_select_subject, RESTAGE4D_OT_forget_selection)
