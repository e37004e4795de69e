# SPDX-License-Identifier: GPL-3.0-or-later
"""A frame of the video over the 3D view, to be clicked on or dragged a box around in."""

from collections.abc import Set
from typing import Any, Protocol, cast

import blf
import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader
from numpy.typing import NDArray

from ... import failures, runtime
from ...languages import say
from ...ui import thumbnails
from .. import in_view

Picture = NDArray[np.uint8]  # (H, W, 3) sRGB
DRAG = 6  # pixels of the screen: a shorter drag is a click
MARGIN = 40
CROSS = 12  # pixels of the screen from its middle to its ends
_ENTER = {"RET", "NUMPAD_ENTER"}


class Pointing(Protocol):
    """An operator that `FrameView` is mixed into: the first three are its own to define."""

    overlay: "Overlay"

    def get_picture(self) -> tuple[Picture | None, NDArray[np.bool_] | None]:
        """The frame and the mask over it, None while they are not there."""
        ...

    def get_words(self) -> str:
        """What stands above the picture."""
        ...

    def choose(self, context: bpy.types.Context, ends: list[tuple[float, float]]) -> bool:
        """A click, one place, or a box, two, in the video's pixels; True ends the operator."""
        ...

    def get_cross(self) -> tuple[float, float] | None: ...
    def press(self, context: bpy.types.Context, event: bpy.types.Event) -> None: ...
    def accept(self, context: bpy.types.Context) -> bool: ...
    def open_in_view(self, context: bpy.types.Context) -> Set[str]: ...


class FrameView(in_view.InView):
    """Mixed into operators that are `Pointing`. Beside what they must define they may define
    ``get_cross()``, ``press(context, event)``, ``accept(context)`` and ``abandon(context)``."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        shot = runtime.session().shot
        tell: Any = cls
        if context.area is None or context.area.type != "VIEW_3D":
            tell.poll_message_set(say("Works in a 3D view"))
        elif shot is None:
            tell.poll_message_set(say("Pick a video first"))
        elif shot.first is None:
            tell.poll_message_set(
                say(
                    "The first frame is not there yet: the backend must be running and have "
                    "the video"
                )
            )
        else:
            return True
        return False

    def get_cross(self) -> tuple[float, float] | None:
        """A place to be marked, in the video's pixels."""
        return None

    def press(self, context: bpy.types.Context, event: bpy.types.Event) -> None:
        """A key."""

    def accept(self, context: bpy.types.Context) -> bool:
        """Enter; False where there is nothing to accept yet."""
        return True

    def start(self: Pointing, context: bpy.types.Context) -> Set[str]:
        """Shows the picture."""
        self.overlay = Overlay(cast(bpy.types.Area, context.area), self)
        return self.open_in_view(context)

    def handle(
        self: Pointing,
        context: bpy.types.Context,
        event: bpy.types.Event,
        at: tuple[int, int] | None,
    ) -> Set[str]:
        shot, overlay = runtime.session().shot, self.overlay
        found = in_view.find_view(context.window, overlay.area)
        if shot is None or shot.first is None or found is None:
            return {"CANCELLED"}
        if event.type in _ENTER and event.value == "PRESS":
            return {"FINISHED"} if self.accept(context) else {"RUNNING_MODAL"}
        if overlay.drag is not None:
            overlay.drag = overlay.drag[0], at or overlay.drag[1]
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and at is not None:
            overlay.drag = at, at
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE" and overlay.drag is not None:
            (x0, y0), (x1, y1) = overlay.drag
            places = overlay.drag if max(abs(x1 - x0), abs(y1 - y0)) >= DRAG else [(x0, y0)]
            overlay.drag = None
            if self.choose(context, [to_video(*found, xy) for xy in places]):
                return {"FINISHED"}
        elif event.value == "PRESS":
            self.press(context, event)
        return {"RUNNING_MODAL"}

    def close(self: Pointing) -> None:
        self.overlay.remove()


class Overlay:
    """The picture over one 3D view; drawn until `remove`.

    ``drag`` is where the mouse went down and where it is, in pixels of the region.
    """

    def __init__(self, area: bpy.types.Area, view: Pointing) -> None:
        self.view = view
        self.area = area.as_pointer()
        self.drag: tuple[tuple[int, int], tuple[int, int]] | None = None
        self.texture, self.shown = None, None
        self.handle = bpy.types.SpaceView3D.draw_handler_add(self.paint, (), "WINDOW", "POST_PIXEL")

    def remove(self) -> None:
        if self.handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self.handle, "WINDOW")
        self.handle = None

    def paint(self) -> None:
        """The draw handler. Never raises: what cannot be drawn is told once."""
        try:
            self._paint()
            failures.works_again("frame")
        except Exception as error:
            gpu.state.blend_set("NONE")
            failures.tell_once("frame", "Drawing the frame of the video", error)

    def _paint(self) -> None:
        shot, found = runtime.session().shot, in_view.find_view(bpy.context.window, self.area)
        if found is None or bpy.context.region != found[1] or shot is None:
            return
        area, region = found
        gpu.state.blend_set("ALPHA")
        draw_rectangle(0, 0, region.width, region.height, (0.02, 0.02, 0.02, 0.85))
        x, y, scale = find_frame(area, region, shot.size)
        w, h = scale * shot.size[0], scale * shot.size[1]
        picture, mask = self.view.get_picture()
        if picture is not None:
            if not thumbnails.are_same(self.shown, (picture, mask)):
                drawn = picture if mask is None else thumbnails.draw_mask(picture, mask)
                self.texture, self.shown = make_texture(drawn), (picture, mask)
            assert self.texture is not None
            draw_texture(self.texture, x, y, w, h)
        if (cross := self.view.get_cross()) is not None:
            draw_cross(x + cross[0] * scale, y + (shot.size[1] - cross[1]) * scale)
        if self.drag is not None:
            (x0, y0), (x1, y1) = self.drag
            draw_rectangle(x0, y0, x1 - x0, y1 - y0, (1.0, 0.55, 0.1, 0.25))
        gpu.state.blend_set("NONE")
        draw_words(say(self.view.get_words()), x, y + h + 14)


def to_video(
    area: bpy.types.Area, region: bpy.types.Region, xy: tuple[int, int]
) -> tuple[float, float]:
    """A place in the region in the video's pixels, inside the frame."""
    shot = runtime.session().shot
    assert shot is not None  # modal
    x0, y0, scale = find_frame(area, region, shot.size)
    u, v = (xy[0] - x0) / scale, shot.size[1] - (xy[1] - y0) / scale
    return min(max(u, 0.0), shot.size[0]), min(max(v, 0.0), shot.size[1])


def to_place(ends: list[tuple[float, float]]) -> dict[str, tuple[float, ...]]:
    """A click or a box as `Order.selection`."""
    if len(ends) == 1:
        return {"point": ends[0]}
    (u0, v0), (u1, v1) = ends
    return {"box": (min(u0, u1), min(v0, v1), max(u0, u1), max(v0, v1))}


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


def make_texture(picture: Picture) -> gpu.types.GPUTexture:
    """The picture with its last row first, as the screen counts."""
    pixels = np.ones((*picture.shape[:2], 4), np.float32)
    pixels[..., :3] = picture[::-1] / np.float32(255)
    buffer = gpu.types.Buffer("FLOAT", pixels.size, pixels.ravel())  # pyright: ignore[reportCallIssue]
    return gpu.types.GPUTexture((picture.shape[1], picture.shape[0]), format="RGBA16F", data=buffer)  # pyright: ignore[reportCallIssue]


def draw_texture(texture: gpu.types.GPUTexture, x: float, y: float, w: float, h: float) -> None:
    shader = gpu.shader.from_builtin("IMAGE")
    corners = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
    content = {"pos": corners, "texCoord": ((0, 0), (1, 0), (1, 1), (0, 1))}
    batch = batch_for_shader(shader, "TRIS", content, indices=((0, 1, 2), (0, 2, 3)))
    shader.uniform_sampler("image", texture)
    batch.draw(shader)


def draw_rectangle(
    x: float, y: float, w: float, h: float, color: tuple[float, float, float, float]
) -> None:
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    corners = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
    batch = batch_for_shader(shader, "TRIS", {"pos": corners}, indices=((0, 1, 2), (0, 2, 3)))
    shader.uniform_float("color", color)
    batch.draw(shader)


def draw_cross(x: float, y: float) -> None:
    for border, color in ((2, (0.0, 0.0, 0.0, 1.0)), (0, (*thumbnails.MARK.tolist(), 1.0))):
        long, thick = CROSS + border, 1.5 + border
        draw_rectangle(x - long, y - thick, 2 * long, 2 * thick, color)
        draw_rectangle(x - thick, y - long, 2 * thick, 2 * long, color)


def draw_words(text: str, x: float, y: float) -> None:
    blf.size(0, 15 * bpy.context.preferences.system.ui_scale)
    blf.color(0, 1, 1, 1, 1)
    blf.position(0, x, y, 0)
    blf.draw(0, text)
