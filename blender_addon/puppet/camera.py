# SPDX-License-Identifier: GPL-3.0-or-later
"""The clip's camera: OpenCV pinholes to Blender cameras and back, and the footage behind them."""

import re
from pathlib import Path
from typing import cast

import bpy
import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import F32, Performance
from restage4d.se3 import Array

from . import actions, bone_curves

SENSOR_WIDTH = 36.0  # mm; only its ratio to the focal length means anything
MOVIES = {".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"}
PICTURES = {".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff", ".webp"}
SLOT = "Camera"
_FLIP = np.diag([1.0, -1.0, -1.0])  # OpenCV looks along +z with y down, Blender along -z with y up


def lens_curves(K: F32, size: tuple[int, int]) -> Array:  # (T, 3, 3) -> (T, 3)
    """Focal length in mm and the two lens shifts of a camera whose sensor fits the width."""
    width, height = size
    fx, fy, cx, cy = (K[:, i, j].astype(np.float64) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return np.stack(
        [fx / width * SENSOR_WIDTH, 0.5 - cx / width, (cy - height / 2) / width * fx / fy], axis=1
    )


def pose_curves(w2c: F32) -> tuple[Array, Array]:  # (T, 4, 4) -> (T, 3), (T, 4)
    """Location and quaternion of the Blender camera."""
    R = np.swapaxes(w2c[:, :3, :3].astype(np.float64), 1, 2)
    location = -np.einsum("tij,tj->ti", R, w2c[:, :3, 3].astype(np.float64))
    return location, bone_curves.make_continuous(se3.matrix_to_quat(R @ _FLIP))


def read_camera(
    obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph, size: tuple[int, int], aspect: float
) -> tuple[F32, F32]:  # -> (3, 3), (4, 4)
    """K in pixels of ``size`` and the OpenCV w2c of an evaluated camera; ``aspect`` as in
    `frame_scene`."""
    width, height = size
    x, y = pixel_aspect(aspect)
    P = np.array(
        obj.calc_matrix_camera(depsgraph, x=width, y=height, scale_x=x, scale_y=y), np.float64
    )
    K = np.array(
        [
            [P[0, 0] * width / 2, 0, (1 - P[0, 2]) * width / 2],
            [0, P[1, 1] * height / 2, (1 + P[1, 2]) * height / 2],
            [0, 0, 1],
        ]
    )
    world = np.array(obj.matrix_world, np.float64)
    R = _FLIP @ world[:3, :3].T  # a camera's scale is ignored by Blender, too
    R /= np.linalg.norm(R, axis=1, keepdims=True)
    w2c = np.eye(4)
    w2c[:3, :3], w2c[:3, 3] = R, -R @ world[:3, 3]
    return K.astype(np.float32), w2c.astype(np.float32)


def get_lens(camera: bpy.types.Object) -> bpy.types.Camera:
    return cast(bpy.types.Camera, camera.data)


def add_camera(
    name: str, performances: list[Performance], reach: float, collection: bpy.types.Collection
) -> bpy.types.Object:
    """The camera as it stands in the first performance's first frame; sees from 1e-3 to 4 times
    ``reach`` world units."""
    data = bpy.data.cameras.new(f"{name} camera")
    obj = bpy.data.objects.new(f"{name} camera", data)
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR_WIDTH
    data.clip_start, data.clip_end = 1e-3 * reach, 4 * reach
    data.display_size = 0.02 * reach
    obj.rotation_mode = "QUATERNION"
    first = performances[0]
    location, quats = pose_curves(first.w2c[:1])
    obj.location, obj.rotation_quaternion = location[0], quats[0]
    data.lens, data.shift_x, data.shift_y = lens_curves(first.K[:1], first.size)[0]
    collection.objects.link(obj)
    return obj


def find_motion(performances: list[Performance]) -> tuple[bool, bool]:
    """Whether the camera's pose and its lens change, within a performance or between them."""
    w2c = np.concatenate([p.w2c for p in performances])
    lens = np.concatenate([lens_curves(p.K, p.size) for p in performances])
    return bool(np.ptp(w2c, axis=0).max() > 1e-6), bool(np.ptp(lens, axis=0).max() > 1e-6)


def write_performance(
    action: bpy.types.Action,
    camera: bpy.types.Object,
    performance: Performance,
    *,
    pose: bool,
    lens: bool,
) -> None:
    """The performance's camera as keyframes: of the object where ``pose``, of its lens where
    ``lens``."""
    if pose:
        location, quats = pose_curves(performance.w2c)
        channelbag = actions.add_slot(action, camera, SLOT)
        actions.write_curves(channelbag, "location", "Object Transforms", location)
        actions.write_curves(channelbag, "rotation_quaternion", "Object Transforms", quats)
    if lens:
        channelbag = actions.add_slot(action, get_lens(camera), SLOT)
        for path, values in zip(
            ("lens", "shift_x", "shift_y"),
            lens_curves(performance.K, performance.size).T,
            strict=True,
        ):
            actions.write_curves(channelbag, path, "Lens", values)


def find_footage(path: Path) -> list[Path]:
    """The movie, or the numbered pictures of a folder in order.

    Raises:
        InputError: nothing there that Blender shows.
    """
    if path.is_dir():
        pictures = [
            p for p in path.iterdir() if p.suffix.lower() in PICTURES and re.search(r"\d", p.stem)
        ]
        if pictures:
            return sorted(pictures, key=lambda p: (_read_number(p), p.name))
        raise InputError(
            f"The footage folder {path} has no numbered pictures.",
            "Give a movie file or a folder of numbered frames.",
        )
    if not path.is_file():
        raise InputError(f"The footage {path} does not exist.", "Check the path.")
    if path.suffix.lower() not in MOVIES:
        raise InputError(
            f"The footage {path} is no movie.",
            f"Give a folder of frames or one of {', '.join(sorted(MOVIES))}.",
        )
    return [path]


def add_footage(
    camera: bpy.types.Object, name: str, files: list[Path], frames: int
) -> bpy.types.Image:
    """Footage as one of the camera's background images, hidden; its first frame stands at
    `actions.FIRST_FRAME`."""
    image = bpy.data.images.load(str(files[0].resolve()))
    image.name = name
    background = get_lens(camera).background_images.new()
    background.image = image
    background.alpha, background.display_depth, background.frame_method = 1.0, "BACK", "STRETCH"
    background.show_background_image = background.show_expanded = False
    user = background.image_user
    if len(files) > 1:
        image.source = "SEQUENCE"
        user.frame_offset = _read_number(files[0]) - 1
    user.frame_start, user.frame_duration, user.use_auto_refresh = actions.FIRST_FRAME, frames, True
    return image


def show_footage(camera: bpy.types.Object, image: bpy.types.Image | None) -> None:
    """Shows this background image and hides the others."""
    for background in get_lens(camera).background_images:
        background.show_background_image = image is not None and background.image == image
    get_lens(camera).show_background_images = image is not None


def relative_to(folder: Path, images: list[bpy.types.Image]) -> None:
    """Paths of the footage relative to a .blend that is going to lie in ``folder``; absolute on
    another drive."""
    for image in images:
        try:
            image.filepath = bpy.path.relpath(
                bpy.path.abspath(image.filepath), start=str(folder.resolve())
            )
        except ValueError:
            image.filepath = bpy.path.abspath(image.filepath)


def frame_scene(
    scene: bpy.types.Scene,
    performance_frames: int,
    fps: float,
    size: tuple[int, int],
    aspect: float,
) -> None:
    """Frame range, rate and picture of the scene. ``aspect`` is fx / fy, the height of a pixel to
    its width."""
    r = scene.render
    scene.frame_start, scene.frame_end = (
        actions.FIRST_FRAME,
        actions.FIRST_FRAME + performance_frames - 1,
    )
    r.fps = max(round(fps), 1)
    r.fps_base = r.fps / fps
    r.resolution_x, r.resolution_y, r.resolution_percentage = *size, 100
    r.pixel_aspect_x, r.pixel_aspect_y = pixel_aspect(aspect)


def look_through(space: bpy.types.Space | None, means: F32) -> None:  # (N, 3)
    """A 3D view that shows the puppet as filmed: through the camera, solid shading, colours by
    attribute and unlit.

    Turned out of the camera, it goes round the subject, whose points are ``means``.
    """
    assert isinstance(space, bpy.types.SpaceView3D)
    space.shading.type, space.shading.light, space.shading.color_type = "SOLID", "FLAT", "VERTEX"
    if space.region_3d is not None:
        space.region_3d.view_location = means.mean(0)
        space.region_3d.view_distance = 2.5 * float(np.linalg.norm(np.ptp(means, axis=0)))
        space.region_3d.view_perspective = "CAMERA"


def pixel_aspect(aspect: float) -> tuple[float, float]:
    """Blender's two figures, of which neither may be below 1, for fx / fy."""
    return max(1.0, 1 / aspect), max(1.0, aspect)


def _read_number(path: Path) -> int:
    """The last number in a file's name, by which Blender counts a sequence."""
    return int(re.findall(r"\d+", path.stem)[-1])
