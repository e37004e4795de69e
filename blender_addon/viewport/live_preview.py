# SPDX-License-Identifier: GPL-3.0-or-later
"""The puppet while it converges: its points in the 3D views, drawn and never part of the scene,
moved as the timeline moves."""

from typing import Any

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from restage4d import se3
from restage4d.puppet import F32

from .. import failures
from ..session.models import PreviewPoints

FIRST_FRAME = 1  # as `actions.FIRST_FRAME`: a performance's frame 0 stands at scene frame 1


class LivePreview:
    """Points of a puppet in the making. `show` and `hide` are called by the timer, `draw` by
    Blender."""

    def __init__(self) -> None:
        self._points: PreviewPoints | None = None
        self._handle: object | None = None
        self._shader: gpu.types.GPUShader | None = None
        self._batch: gpu.types.GPUBatch | None = None
        self._drawn: int | None = None  # the frame of the batch

    @property
    def visible(self) -> bool:
        return self._handle is not None

    def show(self, points: PreviewPoints) -> None:
        """Replaces what is drawn."""
        self._points = points
        self._colors = np.concatenate(
            [points.colors, np.ones((len(points.colors), 1), np.float32)], 1
        )
        self._drawn = None
        if self._handle is None and not bpy.app.background:
            self._handle = bpy.types.SpaceView3D.draw_handler_add(
                self.draw, (), "WINDOW", "POST_VIEW"
            )
        redraw()

    def hide(self) -> None:
        if self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")
            redraw()
        self._handle = self._batch = self._points = None

    def pose(self, frame: int) -> F32:  # -> (N, 3)
        """The points at a frame of the performance, which repeats."""
        p = self._points
        assert p is not None
        R, t = se3.blend(p.bases[:, frame % p.bases.shape[1]], p.index, p.weight)
        return se3.transform(R, t, p.means).astype(np.float32)

    def middle(self) -> tuple[F32, float] | None:
        """Centre and extent of what is drawn, leaving out the outermost hundredth."""
        if self._points is None:
            return None
        low, high = np.percentile(self.pose(0), (1, 99), axis=0)
        return ((low + high) / 2).astype(np.float32), float(np.linalg.norm(high - low))

    def draw(self) -> None:
        """The draw handler. Never raises: points that cannot be drawn are told once and left out
        until others come."""
        if self._points is None:
            return
        try:
            self._draw()
        except Exception as error:
            self._points = self._batch = None
            failures.tell_once("live points", "Drawing the points in the making", error)

    def _draw(self) -> None:
        frame = bpy.context.scene.frame_current - FIRST_FRAME
        # Compiling takes long where there is no GPU, and so does the first drawing: each has a turn
        # of its own.
        if self._shader is None:
            self._shader = _make_shader()
            redraw()
            return
        if self._batch is None or self._drawn != frame:
            content: dict[str, Any] = {"pos": self.pose(frame), "color": self._colors}
            self._batch = batch_for_shader(self._shader, "POINTS", content)
            self._drawn = frame
        gpu.state.program_point_size_set(True)
        gpu.state.depth_test_set("LESS_EQUAL")
        gpu.state.depth_mask_set(True)
        matrix: Any = gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix()
        self._shader.uniform_float("matrix", matrix)
        self._batch.draw(self._shader)
        gpu.state.depth_mask_set(False)
        gpu.state.depth_test_set("NONE")
        gpu.state.program_point_size_set(False)


def redraw(*, views: bool = True) -> None:
    """Asks for a redraw of the sidebars of all 3D views and, with ``views``, of what they show:
    that may cost a lot."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI" or (views and region.type == "WINDOW"):
                        region.tag_redraw()


def _make_shader() -> gpu.types.GPUShader:
    """Round points, 5 pixels wide, in their own colours."""
    passed = gpu.types.GPUStageInterfaceInfo("restage4d_live")  # pyright: ignore[reportCallIssue]
    passed.smooth("VEC4", "shade")
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "matrix")
    info.vertex_in(0, "VEC3", "pos")
    info.vertex_in(1, "VEC4", "color")
    info.vertex_out(passed)
    info.fragment_out(0, "VEC4", "result")
    info.vertex_source(
        "void main() { gl_Position = matrix * vec4(pos, 1.0); gl_PointSize = 5.0; shade = color; }"
    )
    info.fragment_source(
        "void main() { vec2 d = gl_PointCoord - 0.5; if (dot(d, d) > 0.25) discard;"
        " result = vec4(pow(shade.rgb, vec3(2.2)), 1.0); }"
    )
    return gpu.shader.create_from_info(info)
