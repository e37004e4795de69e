# SPDX-License-Identifier: GPL-3.0-or-later
"""A 3D view's picture with the Gaussians in it, and pictures as a video.

Blender's own viewport render calls no draw handler, so what the extension draws is not in it. Here
the view is drawn into a buffer by Blender, and the splats are laid over it as in the view, in the
display's own values.
"""

from pathlib import Path
from typing import Any, cast

import bpy
import gpu
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.se3 import Array

from .. import compat
from .display import find_gaussians
from .splat_drawing import gather
from .splat_painter import Painter, as_texture, read_buffer


def find_view() -> tuple[bpy.types.Window, bpy.types.Area, bpy.types.Region]:
    """The context's 3D view, else the first of the windows. Raises `InputError` for none."""
    context = bpy.context
    windows = list(context.window_manager.windows)
    areas = [(context.window, context.area)] if context.area is not None else []
    areas += [(window, area) for window in windows for area in window.screen.areas]
    for window, area in areas:
        if area.type == "VIEW_3D" and window is not None:
            return window, area, next(r for r in area.regions if r.type == "WINDOW")
    raise InputError("There is no 3D view.", "Open one, and look at the puppet in it.")


class ViewCamera:
    """What a 3D view looks through: the camera where it looks through one, else its own eye.

    Attributes:
        size: (width, height) of the picture.
    """

    def __init__(self, space: bpy.types.SpaceView3D, size: tuple[int, int]) -> None:
        self.space, self.size = space, size

    def read(self, scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> tuple[Array, Array]:
        """View and projection matrix (4, 4) of now."""
        rv3d, camera = self.space.region_3d, self.space.camera or scene.camera
        width, height = self.size
        if rv3d.view_perspective == "CAMERA" and camera is not None:
            posed, r = camera.evaluated_get(depsgraph), scene.render
            world = np.array(posed.matrix_world.normalized(), np.float64)
            projection = camera.calc_matrix_camera(
                depsgraph, x=width, y=height, scale_x=r.pixel_aspect_x, scale_y=r.pixel_aspect_y
            )
            return np.linalg.inv(world), np.array(projection, np.float64)
        projection = np.array(rv3d.window_matrix, np.float64)
        # The picture has another shape than the view: the wider angle stays what it is.
        shape = projection[1, 1] / projection[0, 0]
        wanted = width / height
        if wanted > shape:
            projection[0] *= shape / wanted
        else:
            projection[1] *= wanted / shape
        return np.array(rv3d.view_matrix, np.float64), projection


class Playblast:
    """Draws pictures of a size, one buffer for all of them; `free` it afterwards."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._view = gpu.types.GPUOffScreen(*size, format="RGBA8")  # pyright: ignore[reportCallIssue]
        self._splats = gpu.types.GPUOffScreen(*size, format="RGBA16F")  # pyright: ignore[reportCallIssue]
        self._painter = Painter()

    def free(self) -> None:
        self._view.free()
        self._splats.free()

    def draw(
        self, area: bpy.types.Area, region: bpy.types.Region, camera: ViewCamera
    ) -> NDArray[np.uint8]:  # -> (H, W, 3), first row on top
        """The scene as it stands now."""
        import mathutils

        with bpy.context.temp_override(area=area, region=region):
            context = bpy.context
            scene = cast(bpy.types.Scene, context.scene)
            layer = cast(bpy.types.ViewLayer, context.view_layer)
            view, projection = camera.read(scene, context.evaluated_depsgraph_get())
            self._view.draw_view3d(
                scene,
                layer,
                camera.space,
                region,
                mathutils.Matrix(view.tolist()),  # pyright: ignore[reportArgumentType]
                mathutils.Matrix(projection.tolist()),  # pyright: ignore[reportArgumentType]
                do_color_management=True,
            )
            cloud, _ = gather(context.evaluated_depsgraph_get(), find_gaussians(context))
        width, height = self.size
        with self._view.bind():  # pyright: ignore[reportGeneralTypeIssues]
            frame = gpu.state.active_framebuffer_get()  # pyright: ignore[reportCallIssue]
            base = read_buffer(frame.read_color(0, 0, width, height, 4, 0, "UBYTE"), width, height)
            depth = read_buffer(frame.read_depth(0, 0, width, height), width, height)
        base = base[..., :3]
        if cloud is None:
            return base[::-1]
        solid = as_texture(depth[..., 0], "R32F")
        order = cloud.order(view)
        self._painter.paint(self._splats, cloud, order, view, projection, solid)
        with self._splats.bind():  # pyright: ignore[reportGeneralTypeIssues]
            frame = gpu.state.active_framebuffer_get()  # pyright: ignore[reportCallIssue]
            drawn = read_buffer(frame.read_color(0, 0, width, height, 4, 0, "FLOAT"), width, height)
        clear = 1 - drawn[..., 3:].clip(0, 1)
        mixed = drawn[..., :3] * 255 + base * clear
        return (mixed.clip(0, 255) + 0.5).astype(np.uint8)[::-1]


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:  # (H, W, 3)
    """A PNG with the values as they are."""
    height, width = picture.shape[:2]
    image = bpy.data.images.new("Restage4D playblast", width, height)
    try:
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = picture[::-1] / np.float32(255)
        image.pixels.foreach_set(pixels.ravel())  # type: ignore[arg-type]
        image.filepath_raw, image.file_format = str(path), "PNG"
        image.save()
    finally:
        bpy.data.images.remove(image)


def write_video(pictures: list[Path], video: Path, rate: float) -> None:
    """Numbered pictures as an MP4 (H.264), by Blender's sequencer.

    Raises:
        InputError: this Blender has no FFmpeg, or wrote nothing.
    """
    scene = bpy.data.scenes.new("Restage4D playblast")
    try:
        strips = compat.get_strips(scene.sequence_editor_create())
        strip = strips.new_image("frames", str(pictures[0]), 1, 1)
        for picture in pictures[1:]:
            strip.elements.append(picture.name)
        cast(Any, scene.view_settings).view_transform = "Standard"
        r = scene.render
        r.resolution_x, r.resolution_y = _read_size(pictures[0])
        r.resolution_percentage = 100
        r.fps = max(round(rate), 1)
        r.fps_base = r.fps / rate
        scene.frame_start, scene.frame_end = 1, len(pictures)
        compat.set_movie_output(r)
        r.filepath = str(video)
        bpy.ops.render.render(animation=True, scene=scene.name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"This Blender could not write the video: {error}.", "Give a name that ends in .png."
        ) from error
    finally:
        bpy.data.scenes.remove(scene)
    if not video.is_file() or not video.stat().st_size:
        raise InputError("This Blender wrote no video.", "Give a name that ends in .png.")


def _read_size(path: Path) -> tuple[int, int]:
    image = bpy.data.images.load(str(path))
    try:
        return image.size[0], image.size[1]
    finally:
        bpy.data.images.remove(image)
