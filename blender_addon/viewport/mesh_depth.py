# SPDX-License-Identifier: GPL-3.0-or-later
"""How far off what stands in the scene is, as the scene's camera sees it: what hides splats that
the backend draws."""

import tempfile
from pathlib import Path
from typing import Any, cast

import bpy
import gpu
import numpy as np

from restage4d.puppet import F32

from ..puppet.output import render_job
from .playblast import find_view
from .splat_painter import read_buffer


class MeshDepth:
    """Reads planar depths, frame by frame, into files of `scratch`; `free` it afterwards.

    Raises:
        InputError: there is no 3D view to draw with.
    """

    def __init__(self, scene: bpy.types.Scene) -> None:
        self.scene, self.picture = scene, render_job.read_picture(scene)
        _, self.area, self.region = find_view()
        self.scratch = tempfile.TemporaryDirectory(prefix="restage4d_")
        self.files: dict[int, Path] = {}
        self._target = gpu.types.GPUOffScreen(*self.picture.size)  # pyright: ignore[reportCallIssue]

    def free(self) -> None:
        self._target.free()

    def read(self, frame: int) -> None:
        """The scene as it stands now, kept as that frame's (H, W) depth."""
        left, right, top, bottom = self.picture.area
        self.files[frame] = Path(self.scratch.name) / f"{frame}.npy"
        np.save(self.files[frame], self._draw()[top:bottom, left:right])

    def _draw(self) -> F32:  # -> (H, W)
        camera, r = self.scene.camera, self.scene.render
        assert camera is not None  # `render_job.render_steps` looked
        (width, height), space = self.picture.size, cast(Any, self.area.spaces.active)
        settings = {
            space.overlay: {"show_overlays": False},
            space.shading: {"type": "SOLID", "show_xray": False},
        }
        before = [
            (owner, name, getattr(owner, name)) for owner, new in settings.items() for name in new
        ]
        depsgraph = bpy.context.evaluated_depsgraph_get()
        posed = camera.evaluated_get(depsgraph)
        projection = camera.calc_matrix_camera(
            depsgraph, x=width, y=height, scale_x=r.pixel_aspect_x, scale_y=r.pixel_aspect_y
        )
        view: Any = posed.matrix_world.normalized().inverted()
        try:
            for owner, new in settings.items():
                for name, value in new.items():
                    setattr(owner, name, value)
            with bpy.context.temp_override(area=self.area, region=self.region):
                layer = cast(bpy.types.ViewLayer, bpy.context.view_layer)
                self._target.draw_view3d(self.scene, layer, space, self.region, view, projection)
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)
        with self._target.bind():  # pyright: ignore[reportGeneralTypeIssues]
            bound = gpu.state.active_framebuffer_get()  # pyright: ignore[reportCallIssue]
            depth = read_buffer(bound.read_depth(0, 0, width, height), width, height)[::-1, :, 0]
        P = np.array(projection, np.float64)
        with np.errstate(divide="ignore"):
            z = P[2, 3] / (2 * depth.astype(np.float64) - 1 + P[2, 2])
        return np.where(depth < 1, z, render_job.FAR).astype(np.float32)
