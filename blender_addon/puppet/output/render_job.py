# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend draws the scene camera's animation of the tweaked puppet; here it becomes EXR
sequences.

First the scene is stepped through and bases, cameras and points are read (`render_steps`); then a
thread sends them, gets pictures and writes them, while Blender is free. `current` tells a panel
what runs. Pictures: ``NAME_rgba_0001.exr`` (scene-linear, colour premultiplied by alpha) and
``NAME_depth_0001.exr`` (planar z in scene units in channel Y, `FAR` where nothing is).
"""

import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import numpy as np

from restage4d.errors import Cancelled, InputError
from restage4d.exporting.exr import write_exr
from restage4d.puppet import (
    F32,
    Performance,
    Puppet,
)
from restage4d.skeleton.extending import FINE
from restage4d.srgb import premultiplied_to_linear

from .. import capture, importer
from ..camera import get_lens
from ..playback.stepping import step_frames
from .sequences import list_frames, replacing_frames

if TYPE_CHECKING:
    from restage4d.protocol.client import Client

FAR = 1e10  # Blender's own depth of nothing
TOLERANCE = 2e-3  # of a depth, within which splats lie on a mesh and not behind it


@dataclass(frozen=True)
class Picture:
    """What of the scene camera's picture is drawn, as the scene's render settings say.

    Attributes:
        size: (width, height) of the whole picture.
        area: first and last column, first and last row of what is drawn, the last ones excluded.
        cropped: whether what is written is the area alone; else it stands in a clear picture.
    """

    size: tuple[int, int]
    area: tuple[int, int, int, int]
    cropped: bool = False

    @property
    def drawn(self) -> tuple[int, int]:
        """(width, height) of the area."""
        left, right, top, bottom = self.area
        return right - left, bottom - top

    def crop(self, K: F32) -> F32:  # (..., 3, 3)
        """Intrinsics of the area."""
        moved = K.copy()
        moved[..., 0, 2] -= self.area[0]
        moved[..., 1, 2] -= self.area[2]
        return moved

    def place(self, values: F32, nothing: float) -> F32:  # (h, w, ...) -> (H, W, ...)
        """The area's values in the whole picture, or alone where it is cropped."""
        if self.cropped or self.drawn == self.size:
            return values
        left, right, top, bottom = self.area
        whole = np.full((*self.size[::-1], *values.shape[2:]), nothing, np.float32)
        whole[top:bottom, left:right] = values
        return whole


@dataclass
class Render:
    """A rendering under way or over; `thread` moves it, everybody else only reads it and sets
    ``cancelled``.

    Attributes:
        puppet: its performance holds bases and cameras of the scene frames ``frames``, ``samples``
            of each, see `list_times`.
        picture: the area that the cameras are of; None: all of the performance's picture.
        meshes: by frame a .npy file, (H, W) planar depth of what stands in the scene, which hides
            the splats behind it.
        keeps: whether each frame takes its place at once, so that the rest can be drawn later.
    """

    puppet: Puppet
    frames: Sequence[int]
    background: bool
    path: Path
    connect: Callable[[], "Client"]
    samples: int = 1
    picture: Picture | None = None
    meshes: dict[int, Path] = field(default_factory=dict)
    keeps: bool = False
    done: int = 0
    cancelled: bool = False
    finished: bool = False
    error: InputError | None = None
    unexpected: Exception | None = None  # what ``error`` tells in words
    began: float = field(default_factory=time.monotonic)
    thread: threading.Thread | None = None
    scratch: tempfile.TemporaryDirectory | None = None  # of ``meshes``

    @property
    def fraction(self) -> float:
        return self.done / len(self.frames)

    @property
    def says(self) -> str:
        """One line for a panel."""
        if self.error is not None:
            return str(self.error)
        if self.cancelled:
            if not self.finished:
                return "Cancelling"
            kept = f"{self.done} frames are there" if self.keeps else "nothing was written"
            return f"Cancelled; {kept}"
        if self.finished:
            return f"Wrote {2 * len(self.frames)} pictures to {self.path.parent}"
        left = (
            (time.monotonic() - self.began) / self.done * (len(self.frames) - self.done)
            if self.done
            else None
        )
        return f"Frame {self.done} of {len(self.frames)}" + (
            f", {left:.0f} s left" if left is not None else ""
        )


current: Render | None = None  # the last one


def read_picture(scene: bpy.types.Scene) -> Picture:
    """Size, percentage and region of the scene's render settings."""
    r = scene.render
    share = r.resolution_percentage / 100
    width, height = max(round(r.resolution_x * share), 1), max(round(r.resolution_y * share), 1)
    if not r.use_border:
        return Picture((width, height), (0, width, 0, height))
    left = min(int(r.border_min_x * width), width - 1)
    top = min(int((1 - r.border_max_y) * height), height - 1)  # Blender counts from the bottom
    right, bottom = int(r.border_max_x * width), int((1 - r.border_min_y) * height)
    area = left, max(right, left + 1), top, max(bottom, top + 1)
    return Picture((width, height), area, r.use_crop_to_border)


def list_times(frames: Sequence[int], samples: int, shutter: float) -> list[float]:
    """Scene times of the pictures that make each frame: ``samples`` of them over ``shutter``
    frames, about the frame; one alone is the frame itself."""
    offsets = shutter * ((np.arange(samples) + 0.5) / samples - 0.5)
    return [float(frame + offset) for frame in frames for offset in offsets]


def render_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    times: Sequence[float],
    *,
    background: bool,
) -> Generator[None, None, Puppet]:
    """The puppet as it is, with one performance: what plays at scene times, seen by the scene's
    camera through what `read_picture` gives. Yields once a time, then as `capture.make_steps`.

    Raises:
        InputError: the scene has no camera, or one that is no perspective camera; or a bone is
            scaled.
    """
    filming = scene.camera
    if filming is None or filming.type != "CAMERA" or get_lens(filming).type != "PERSP":
        raise InputError(
            "The scene has no perspective camera.",
            "Make one the scene's camera (Scene properties).",
        )
    r, picture = scene.render, read_picture(scene)
    aspect = r.pixel_aspect_y / r.pixel_aspect_x
    with step_frames(imported, scene, points=False) as back:
        take = yield from capture.read_steps(imported, scene, times, picture.size, aspect, filming)
        for _ in back:
            yield
    rate, K = r.fps / r.fps_base, picture.crop(take.K)
    performance = Performance("render", take.bases, rate, K, take.w2c, picture.drawn)
    return (
        yield from capture.make_steps(
            imported, [performance], [take], background=background, loss=FINE
        )
    )


def start(render: Render) -> None:
    """Begins in a thread of its own."""
    render.thread = threading.Thread(
        target=_run, args=(render,), name="restage4d render", daemon=True
    )
    render.thread.start()


def _run(render: Render) -> None:
    try:
        _draw(render)
    except Cancelled:
        pass
    except InputError as error:
        render.error = error
    except Exception as error:
        render.unexpected = error
        render.error = InputError(f"Rendering failed: {error}.", "See the backend's log.")
    finally:
        render.finished = True


def _draw(render: Render) -> None:
    frames = render.frames
    with tempfile.TemporaryDirectory() as folder, render.connect() as client:
        render.puppet.save(Path(folder) / "render.puppet")
        content = client.upload(Path(folder) / "render.puppet")
        if render.keeps:
            render.path.parent.mkdir(parents=True, exist_ok=True)
            for i, frame in enumerate(frames):
                with replacing_frames(render.path.parent) as place:
                    _draw_frame(render, client, content, i, frame, place)
            return
        with replacing_frames(render.path.parent) as place:
            for i, frame in enumerate(frames):
                _draw_frame(render, client, content, i, frame, place)


def _draw_frame(
    render: Render, client: "Client", content: str, i: int, frame: int, place: Path
) -> None:
    """The two pictures of a frame, into a folder."""
    performance = render.puppet.performances[0]
    picture = render.picture or Picture(
        performance.size, (0, performance.size[0], 0, performance.size[1])
    )
    mixed: F32 | None = None
    depth: F32 | None = None
    for sample in range(render.samples):
        if render.cancelled:
            raise Cancelled("cancelled by the user")
        at = i * render.samples + sample
        seen, z = client.render(
            content,
            performance.bases[:, at],
            performance.w2c[at],
            performance.K[at],
            performance.size,
            background=render.background,
        )
        share = (premultiplied_to_linear(seen) / render.samples).astype(np.float32)
        mixed = share if mixed is None else mixed + share
        if sample == render.samples // 2:
            depth = np.where(z > 0, z, FAR).astype(np.float32)
    assert mixed is not None
    assert depth is not None
    if frame in render.meshes:
        hide_behind(mixed, depth, np.load(render.meshes[frame], allow_pickle=False))
    mixed, depth = picture.place(mixed, 0.0), picture.place(depth, FAR)
    colors = {name: mixed[..., c] for c, name in enumerate("RGBA")}
    pictures, depths = list_files(render.path, [frame])
    write_exr(place / pictures[frame].name, colors)
    write_exr(place / depths[frame].name, {"Y": depth})
    render.done += 1


def hide_behind(rgba: F32, depth: F32, meshes: F32) -> None:  # (H, W, 4), (H, W), (H, W)
    """Clears, in place, what stands behind meshes at their planar depth."""
    hidden = meshes < depth * (1 - TOLERANCE)
    rgba[hidden & (depth < FAR)] = 0.0
    depth[hidden] = FAR


def list_files(path: Path, frames: Sequence[int]) -> tuple[dict[int, Path], dict[int, Path]]:
    """Scene frame to the picture of colour, and to that of depth."""
    rgba, depth = (
        list_frames(path.with_name(f"{path.stem}_{kind}.exr"), frames) for kind in ("rgba", "depth")
    )
    return rgba, depth
