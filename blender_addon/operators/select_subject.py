# SPDX-License-Identifier: GPL-3.0-or-later
"""Pointing at the subject: the shot's first frame over the 3D view, a click or a box, and the mask
that came of it."""

from collections.abc import Set
from typing import cast

import blf
import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader
from numpy.typing import NDArray

from .. import orders, runtime
from ..properties import get_shot
from ..ui import thumbnails
from . import in_view

DRAG = 6  # pixels of the screen: a shorter drag is a click
MARGIN = 40
HELP = "Click the subject, or drag a box around it"


class Overlay:
    """The first frame over one 3D view; drawn until `remove`.

    ``drag`` is where the mouse went down and where it is, in pixels of the region.
    """

    def __init__(self, area: bpy.types.Area) -> None:
        self.area = area.as_pointer()
        self.drag: tuple[tuple[int, int], tuple[int, int]] | None = None
        self.texture, self.shown = None, None
        self.handle = bpy.types.SpaceView3D.draw_handler_add(self.paint, (), "WINDOW", "POST_PIXEL")

    def remove(self) -> None:
        if self.handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self.handle, "WINDOW")
        self.handle = None

    def paint(self) -> None:
        shot, found = runtime.session().shot, in_view.find_view(bpy.context.window, self.area)
        if found is None or bpy.context.region != found[1] or shot is None or shot.first is None:
            return
        area, region = found
        gpu.state.blend_set("ALPHA")
        _rectangle(0, 0, region.width, region.height, (0.02, 0.02, 0.02, 0.85))
        x, y, scale = find_frame(area, region, shot.size)
        w, h = scale * shot.size[0], scale * shot.size[1]
        if not thumbnails.are_same(self.shown, (shot.first, shot.mask)):
            picture = (
                shot.first if shot.mask is None else thumbnails.draw_mask(shot.first, shot.mask)
            )
            self.texture, self.shown = _make_texture(picture), (shot.first, shot.mask)
        shader = gpu.shader.from_builtin("IMAGE")
        corners = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
        content = {"pos": corners, "texCoord": ((0, 0), (1, 0), (1, 1), (0, 1))}
        batch = batch_for_shader(shader, "TRIS", content, indices=((0, 1, 2), (0, 2, 3)))
        assert self.texture is not None
        shader.uniform_sampler("image", self.texture)
        batch.draw(shader)
        if self.drag is not None:
            (x0, y0), (x1, y1) = self.drag
            _rectangle(x0, y0, x1 - x0, y1 - y0, (1.0, 0.55, 0.1, 0.25))
        gpu.state.blend_set("NONE")
        text = "Finding the subject ..." if shot.phase == "selecting" else HELP
        if shot.fault is not None:
            text = shot.fault.what
        elif shot.mask is not None and shot.phase == "ready":
            text = "This is the subject. Enter: right. Click or drag again: not right"
        blf.size(0, 15 * bpy.context.preferences.system.ui_scale)
        blf.color(0, 1, 1, 1, 1)
        blf.position(0, x, y + h + 14, 0)
        blf.draw(0, text)


class RESTAGE4D_OT_select_subject(in_view.InView, bpy.types.Operator):
    """Point at the subject in the shot's first frame"""

    bl_idname = "restage4d.select_subject"
    bl_label = "Select the Subject"
    bl_options = {"UNDO"}  # noqa: RUF012
    text = f"{HELP}   Enter: done   Esc: as it was"

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

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        chosen = get_shot(context.scene)
        self.before = chosen.selection, tuple(chosen.place)
        self.overlay = Overlay(cast(bpy.types.Area, context.area))
        return self.open_in_view(context)

    def handle(
        self, context: bpy.types.Context, event: bpy.types.Event, at: tuple[int, int] | None
    ) -> Set[str]:
        shot, overlay = runtime.session().shot, self.overlay
        if shot is None or shot.first is None:
            return {"CANCELLED"}
        if event.type in {"RET", "NUMPAD_ENTER"} and event.value == "PRESS":
            return {"FINISHED"}
        if overlay.drag is not None:
            overlay.drag = overlay.drag[0], at or overlay.drag[1]
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and at is not None:
            overlay.drag = at, at
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE" and overlay.drag is not None:
            self._choose(context, *overlay.drag)
            overlay.drag = None
        return {"RUNNING_MODAL"}

    def abandon(self, context: bpy.types.Context) -> None:
        chosen, shot = get_shot(context.scene), runtime.session().shot
        if (chosen.selection, tuple(chosen.place)) != self.before:
            chosen.selection, chosen.place = self.before
            if shot is not None and shot.first is not None:
                orders.select_subject(chosen)

    def close(self) -> None:
        self.overlay.remove()

    def _choose(self, context: bpy.types.Context, a: tuple[int, int], b: tuple[int, int]) -> None:
        """Region pixels to the video's, and on to the session."""
        shot, chosen = runtime.session().shot, get_shot(context.scene)
        found = in_view.find_view(context.window, self.overlay.area)
        assert shot is not None  # handle
        assert found is not None  # modal
        x0, y0, scale = find_frame(*found, shot.size)
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


class RESTAGE4D_OT_forget_selection(bpy.types.Operator):
    """Let the subject be what moves in the shot"""

    bl_idname = "restage4d.forget_selection"
    bl_label = "Forget the Selection"

    def execute(self, context: bpy.types.Context) -> set[str]:
        get_shot(context.scene).selection = "MOTION"
        orders.select_subject(get_shot(context.scene))
        return {"FINISHED"}


def find_frame(
    area: bpy.types.Area | None, region: bpy.types.Region, size: tuple[int, int]
) -> tuple[float, float, float]:
    """Left and bottom edge of the shown frame in the region, and screen pixels per video pixel."""
    sidebar = next((r.width for r in area.regions if r.type == "UI"), 0)
    tools = next((r.width for r in area.regions if r.type == "TOOLS"), 0)
    room_x, room_y = region.width - sidebar - tools - 2 * MARGIN, region.height - 3 * MARGIN
    scale = max(min(room_x / size[0], room_y / size[1]), 0.05)
    return (
        tools + MARGIN + (room_x - scale * size[0]) / 2,
        MARGIN + (room_y - scale * size[1]) / 2,
        scale,
    )


def _make_texture(picture: NDArray[np.uint8]) -> gpu.types.GPUTexture:  # (H, W, 3) uint8 sRGB
    """The picture with its last row first, as the screen counts."""
    pixels = np.ones((*picture.shape[:2], 4), np.float32)
    pixels[..., :3] = picture[::-1] / np.float32(255)
    buffer = gpu.types.Buffer("FLOAT", pixels.size, pixels.ravel())  # pyright: ignore[reportCallIssue]
    return gpu.types.GPUTexture((picture.shape[1], picture.shape[0]), format="RGBA16F", data=buffer)  # pyright: ignore[reportCallIssue]


def _rectangle(
    x: float, y: float, w: float, h: float, color: tuple[float, float, float, float]
) -> None:
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    corners = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
    batch = batch_for_shader(shader, "TRIS", {"pos": corners}, indices=((0, 1, 2), (0, 2, 3)))
    shader.uniform_float("color", color)
    batch.draw(shader)


CLASSES = (RESTAGE4D_OT_select_subject, RESTAGE4D_OT_forget_selection)
