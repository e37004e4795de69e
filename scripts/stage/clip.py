"""One filmed clip: poses, placement and camera over time, rendered with its exact truth into a
folder (docs/stage_format.md)."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.io.atomic import replacing
from stage import render, truth
from stage.subject import Poses, Subject

Array = NDArray[Any]


@dataclass(frozen=True)
class Shot:
    """What happens and who looks, over T frames.

    Attributes:
        poses: the subject's T poses.
        at, heading: (T, 2) place on the ground and (T,) turn to the left of the subject, radians.
        eye, target: (T, 3) where the camera is and what it looks at.
    """

    poses: Poses
    at: Array
    heading: Array
    eye: Array
    target: Array

    def __len__(self) -> int:
        return len(self.poses)

    def show(self, subject: Subject, t: int) -> None:
        """Brings subject and camera to frame ``t``."""
        subject.show(self.poses, t)
        subject.place((self.at[t, 0], self.at[t, 1]), self.heading[t])
        render.aim(self.eye[t], self.target[t])

    def seen_from(self, eye: Array, target: Array) -> "Shot":
        """The same happening before another camera."""
        return replace(self, eye=eye, target=target)


def film(
    subject: Subject,
    shot: Shot,
    look: render.Look,
    folder: Path,
    points: truth.SurfacePoints | None = None,
    step: int = 1,
    before: Callable[[int], None] | None = None,
) -> None:
    """Renders every ``step``-th frame and its truth.

    Writes ``frames/%05d.png``, ``masks/%05d.png`` (numbered by frame), ``depth.npz``,
    ``cameras.npz`` and, where ``points`` are given, ``points.npz``. ``before(t)`` is called with
    everything in place (faults come in here); points are measured ahead of it for their positions
    and after it for what is seen.
    """
    frames = range(0, len(shot), step)
    K, w2c, depth, position, seen = [], [], [], [], []
    began = time.perf_counter()
    for t in frames:
        shot.show(subject, t)
        camera = render.camera_matrices()
        if points:
            position.append(points.positions())
        if before:
            before(t)
        if points:
            seen.append(truth.visible(position[-1], *camera, (look.width, look.height), 1e-3))
        render.picture(folder / "frames" / f"{t:05d}.png", look)
        mask, z = render.truth()
        save_mask(folder / "masks" / f"{t:05d}.png", mask)
        K.append(camera[0])
        w2c.append(camera[1])
        depth.append(z)
        print(
            f"{folder}: frame {t} of {len(shot)}, {time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    save_npz(
        folder / "cameras.npz", K=np.stack(K), w2c=np.stack(w2c), frame=np.array(frames, np.int32)
    )
    save_npz(folder / "depth.npz", depth=np.stack(depth).astype(np.float16))
    if points:
        save_npz(
            folder / "points.npz",
            points=np.stack(position, 1).astype(np.float32),
            visible=np.stack(seen, 1),
        )


def save_npz(path: Path, **arrays: Any) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def save_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Writes (H, W) bool as a picture of 0 and 255."""
    height, width = mask.shape
    image = bpy.data.images.new("mask", width, height, alpha=False, is_data=True)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = mask[::-1, :, None]
    image.pixels.foreach_set(pixels.ravel())
    image.file_format = "PNG"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(filepath=str(path))
    bpy.data.images.remove(image)


def encode(frames: Path, fps: int, path: Path) -> None:
    """Joins ``frames/*.png`` into a high-quality H.264 file, with Blender's own encoder and colours
    untouched."""
    files = sorted(frames.glob("*.png"))
    scene = bpy.data.scenes.new("encode")
    image = bpy.data.images.load(str(files[0]))
    scene.render.resolution_x, scene.render.resolution_y = image.size
    scene.render.resolution_percentage, scene.render.fps, scene.frame_end = 100, fps, len(files)
    scene.view_settings.view_transform = "Standard"
    strip = scene.sequence_editor_create().strips.new_image(
        "frames", str(files[0]), channel=1, frame_start=1
    )
    for file in files[1:]:
        strip.elements.append(file.name)
    settings, ffmpeg = scene.render.image_settings, scene.render.ffmpeg
    settings.file_format = "FFMPEG"
    ffmpeg.format, ffmpeg.codec, ffmpeg.constant_rate_factor, ffmpeg.ffmpeg_preset = (
        "MPEG4",
        "H264",
        "PERC_LOSSLESS",
        "BEST",
    )
    ffmpeg.audio_codec, ffmpeg.gopsize = "NONE", 12
    with replacing(path) as temporary:
        scene.render.filepath = str(temporary)
        bpy.ops.render.render(animation=True, scene=scene.name)
    bpy.data.scenes.remove(scene)
