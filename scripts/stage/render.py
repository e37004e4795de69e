"""Rendering with Cycles on the CPU: pictures, and exact masks and planar depth at the pixel
centres."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy
import mathutils
import numpy as np
import OpenEXR
from numpy.typing import NDArray

SUBJECT_INDEX = 1
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """Picture settings: size in pixels, samples per pixel, seed of the sampling noise."""

    width: int = 384
    height: int = 288
    samples: int = 10
    seed: int = 0
    focal: float = 1.35  # in picture widths


def prepare(look: Look) -> None:
    """Sets the current scene up; makes its camera."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.seed = look.seed
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 4, 2, 2
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = (
        look.width,
        look.height,
        100,
    )
    scene.render.use_persistent_data = True
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", 36.0, 36.0 * look.focal
    data.clip_start, data.clip_end = 0.05, 50.0
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)


def aim(at: NDArray, target: NDArray) -> None:
    """Puts the camera at a point, looking at another, upright."""
    camera = bpy.context.scene.camera
    camera.location = at
    camera.rotation_euler = (
        (mathutils.Vector(target) - mathutils.Vector(at)).to_track_quat("-Z", "Y").to_euler()
    )
    bpy.context.view_layer.update()


def camera_matrices() -> tuple[F32, F32]:
    """K (3, 3) with pixel centres at +0.5 and w2c (4, 4) with OpenCV axes, of the scene's camera as
    it stands."""
    scene = bpy.context.scene
    width, height, data = scene.render.resolution_x, scene.render.resolution_y, scene.camera.data
    focal = width * data.lens / data.sensor_width
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    w2c = np.diag([1.0, -1, -1, 1]) @ np.linalg.inv(np.array(scene.camera.matrix_world))
    return K.astype(np.float32), w2c.astype(np.float32)


def picture(path: Path, look: Look) -> None:
    """Renders the view as it stands to an 8-bit PNG."""
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.pixel_filter_type = (
        look.samples,
        True,
        "BLACKMAN_HARRIS",
    )
    scene.view_layers[0].use_pass_z = scene.view_layers[0].use_pass_object_index = False
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "8"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def truth() -> tuple[NDArray[np.bool_], F32]:
    """The subject's mask and the planar z-depth (H, W) of whatever is nearest, through the pixel
    centres exactly.

    One sample with a filter far narrower than a pixel: Cycles' depth and index passes keep a single
    sample, which would else lie anywhere in the filter's footprint.
    """
    scene, layer = bpy.context.scene, bpy.context.scene.view_layers[0]
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    layer.use_pass_z = layer.use_pass_object_index = True
    settings = scene.render.image_settings
    settings.file_format, settings.color_depth = "OPEN_EXR_MULTILAYER", "32"
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "truth.exr")
        bpy.ops.render.render(write_still=True)
        with OpenEXR.File(scene.render.filepath, separate_channels=True) as file:
            channels = {
                name.split(".", 1)[1]: c.pixels for name, c in file.parts[0].channels.items()
            }
    scene.cycles.filter_width = 1.5
    depth = channels["Depth.Z"].astype(np.float32)
    return channels["IndexOB.X"] == SUBJECT_INDEX, np.where(depth < 1e3, depth, 0).astype(
        np.float32
    )
