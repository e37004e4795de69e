# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.select_splats``: paint over splats in the 3D view to select them, where they are
seen."""

from collections.abc import Set
from typing import Any, cast

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.se3 import Array

from ... import failures
from ...languages import say, translate
from ...puppet import attributes, importer
from .. import in_view
from ..posing.tools import draw_circle

_WHEEL = {"WHEELUPMOUSE": 1.15, "WHEELDOWNMOUSE": 1 / 1.15}
_ENTER = {"RET", "NUMPAD_ENTER"}
_BLOCK = 6  # pixels of the screen within which the foremost splat hides others
_SKIN = 0.04  # of the body's size: splats so far behind the foremost are seen, too
_CLEAR = 0.1  # opacity below which a splat hides nothing
_CHOSEN, _BRUSH = (1.0, 0.6, 0.1, 0.8), (1.0, 1.0, 1.0, 0.9)


def project(means: Array, view: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Pixels from the lower left, (N, 2), and depth along the view, (N,), nan behind the eye.

    Args:
        means: (N, 3) world.
        view: (4, 4) world to clip space.
        size: (width, height) of the picture.
    """
    clip = means @ view[:, :3].T + view[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (clip[:, :2] / clip[:, 3:] * 0.5 + 0.5) * size
    return pixels, np.where(clip[:, 3] > 0, clip[:, 3], np.nan)


def find_seen(
    pixels: Array, depth: Array, opacities: Array, thickness: float
) -> NDArray[np.bool_]:  # (N, 2), (N,), (N,) -> (N,)
    """Which splats no other hides: within ``thickness`` of the foremost of their place."""
    seen = np.isfinite(depth) & np.isfinite(pixels).all(1)
    block = np.floor(np.where(seen[:, None], pixels, 0) / _BLOCK).astype(np.int64)
    _, number = np.unique(block, axis=0, return_inverse=True)
    number = number.ravel()
    front = np.full(number.max(initial=0) + 1, np.inf)
    hides = seen & (opacities >= _CLEAR)
    np.minimum.at(front, number[hides], depth[hides])
    return seen & (depth <= front[number] + thickness)


class RESTAGE4D_OT_select_splats(in_view.InView, bpy.types.Operator):
    """Paint over splats to select them; with Ctrl to deselect. Wheel: size of the brush"""

    bl_idname = "restage4d.select_splats"
    bl_label = "Select Splats"
    bl_options = {"UNDO"}  # noqa: RUF012
    text = (
        "Paint: select   Ctrl: deselect   A: none   T: hidden ones, too   Wheel: size   "
        "Enter: keep   Esc: back"
    )

    radius: bpy.props.IntProperty(
        name="Radius", description="Of the brush, in pixels", default=30, min=2, max=500
    )
    through: bpy.props.BoolProperty(
        name="Through", description="Select hidden splats, too", default=False
    )

    before: NDArray[np.bool_] | None = None
    painting = False
    mouse: tuple[int, int] | None = None
    handle_: object = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        imported = importer.find_selected_puppet(context)
        if imported is None:
            cls.poll_message_set(say("Select a part of one puppet, such as its armature"))
        elif imported.points.mode == "EDIT":
            cls.poll_message_set(say("Leave Edit Mode first; there Blender's own selection works"))
        elif context.area is None or context.area.type != "VIEW_3D":
            cls.poll_message_set(say("Works in a 3D view"))
        else:
            return True
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        try:
            self._look(context)
            self.before = self.chosen.copy()
            if self.chosen.all():  # as Blender makes vertices
                self.chosen[:] = False
                self._write(context, self.chosen)
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        add = bpy.types.SpaceView3D.draw_handler_add
        self.handle_ = add(self.paint, (), "WINDOW", "POST_PIXEL")
        return self.open_in_view(context)

    def modal(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        found = in_view.find_view(context.window, self.area)
        turned = event.type in _WHEEL and event.value == "PRESS" and not event.alt
        if found is not None and self.before is not None and turned:
            self.radius = int(np.clip(round(self.radius * _WHEEL[event.type]), 2, 500))
            found[0].tag_redraw()
            return {"RUNNING_MODAL"}
        return in_view.InView.modal(self, context, event)

    def handle(
        self, context: bpy.types.Context, event: bpy.types.Event, at: tuple[int, int] | None
    ) -> Set[str]:
        if self.before is None:
            return {"RUNNING_MODAL"}
        self.mouse = at
        if event.type == "LEFTMOUSE":
            self.painting = event.value == "PRESS" and at is not None
            if self.painting:
                self._look(context)
        elif event.type in _ENTER and event.value == "PRESS":
            self.report({"INFO"}, say(f"{int(self.chosen.sum())} splats selected"))
            return {"FINISHED"}
        elif event.type == "T" and event.value == "PRESS":
            self.through = not self.through
            hidden = "Hidden splats, too" if self.through else "Only what is seen"
            context.workspace.status_text_set(f"{say(hidden)}   {translate(self.text)}")
            self._look(context)
        elif event.type == "A" and event.value == "PRESS":
            self.chosen[:] = False
            self._write(context, self.chosen)
        if self.painting and at is not None:
            near = np.hypot(*(self.pixels - at).T) <= self.radius
            self.chosen[near & self.reachable] = not event.ctrl
            self._write(context, self.chosen)
        return {"RUNNING_MODAL"}

    def abandon(self, context: bpy.types.Context) -> None:
        """The selection goes back to what it was."""
        if self.before is not None:
            self._write(context, self.before)

    def close(self) -> None:
        """The drawing ends."""
        if self.handle_ is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self.handle_, "WINDOW")
            self.handle_ = None

    def _look(self, context: bpy.types.Context) -> None:
        """Where the splats are on the screen now, which are seen and which are selected."""
        imported = importer.find_selected_puppet(context)
        found = in_view.find_view(context.window, getattr(self, "area", 0))
        if found is None and context.area is not None:
            found = in_view.find_view(context.window, context.area.as_pointer())
        if imported is None or found is None:
            raise InputError("The puppet or the 3D view is gone.", "Begin again.")
        area, region = found
        rv3d = cast(bpy.types.SpaceView3D, area.spaces.active).region_3d
        depsgraph = context.evaluated_depsgraph_get()
        with attributes.reading_mesh(imported.points.evaluated_get(depsgraph)) as mesh:
            means = attributes.read_attribute(mesh, "position", "vector", 3)
            opacities = attributes.read_attribute(mesh, "opacity", "value", 1)
        world = np.array(imported.points.matrix_world, np.float64)
        means = means @ world[:3, :3].T + world[:3, 3]
        view = np.array(rv3d.perspective_matrix, np.float64)
        self.pixels, depth = project(means, view, (region.width, region.height))
        thickness = _SKIN * float(np.linalg.norm(np.ptp(means, axis=0)))
        seen = find_seen(self.pixels, depth, opacities, thickness)
        self.reachable = np.isfinite(depth) if self.through else seen
        mesh = attributes.get_mesh(imported.points)
        self.chosen = np.empty(len(mesh.vertices), bool)
        mesh.vertices.foreach_get("select", self.chosen)

    def _write(self, context: bpy.types.Context, chosen: NDArray[np.bool_]) -> None:
        imported = importer.find_selected_puppet(context)
        if imported is not None:
            attributes.get_mesh(imported.points).vertices.foreach_set("select", chosen)

    def paint(self) -> None:
        """The draw handler: selected splats as dots, and the brush. Never raises."""
        try:
            context = bpy.context
            if context.area is None or context.area.as_pointer() != getattr(self, "area", 0):
                return
            dots = self.pixels[self.chosen & self.reachable]
            if len(dots):
                gpu.state.blend_set("ALPHA")
                gpu.state.point_size_set(3.0)
                shader = gpu.shader.from_builtin("UNIFORM_COLOR")
                shader.uniform_float("color", _CHOSEN)
                batch_for_shader(shader, "POINTS", {"pos": dots.astype("f").tolist()}).draw(shader)
            if self.mouse is not None:
                draw_circle(self.mouse, self.radius, _BRUSH)
            failures.works_again("the brush")
        except Exception as error:
            failures.tell_once("the brush", "Drawing the brush", error)
        finally:
            gpu.state.blend_set("NONE")


CLASSES = (RESTAGE4D_OT_select_splats,)
