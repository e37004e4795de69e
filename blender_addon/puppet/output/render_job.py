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
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import numpy as np

from restage4d.errors import Cancelled, InputError
from restage4d.puppet import (
    F32,
    Performance,
    Puppet,
)
from restage4d.skeleton.extending import FINE

from .. import attributes, capture, importer
from ..camera import get_lens
from . import export
from .exr import write_exr
from .sequences import list_frames, replacing_frames

if TYPE_CHECKING:
    from restage4d.protocol.client import Client

FAR = 1e10  # Blender's own depth of nothing


@dataclass
class Render:
    """A rendering under way or over; `thread` moves it, everybody else only reads it and sets
    ``cancelled``.

    ``performance`` holds bases and cameras of the scene frames ``frames``.
    """

    puppet: Puppet
    frames: range
    background: bool
    path: Path
    connect: Callable[[], "Client"]
    done: int = 0
    cancelled: bool = False
    finished: bool = False
    error: InputError | None = None
    unexpected: Exception | None = None  # what ``error`` tells in words
    began: float = field(default_factory=time.monotonic)
    thread: threading.Thread | None = None

    @property
    def fraction(self) -> float:
        return self.done / len(self.frames)

    @property
    def says(self) -> str:
        """One line for a panel."""
        if self.error is not None:
            return str(self.error)
        if self.cancelled:
            return "Cancelled; nothing was written" if self.finished else "Cancelling"
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


def render_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, frames: range, *, background: bool
) -> Generator[None, None, Puppet]:
    """The puppet as it is, with one performance: what plays over scene frames, seen by the scene's
    camera. Yields once a frame.

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
    r = scene.render
    size = (
        round(r.resolution_x * r.resolution_percentage / 100),
        round(r.resolution_y * r.resolution_percentage / 100),
    )
    aspect = r.pixel_aspect_y / r.pixel_aspect_x
    take = yield from capture.read_steps(imported, scene, frames, size, aspect, filming)
    rest = capture.make_nothing()
    if background and imported.background is not None:
        rest = export.read_background(imported)
    performance = Performance("render", take.bases, r.fps / r.fps_base, take.K, take.w2c, size)
    return capture.assemble(imported, [performance], [take], rest, loss=FINE)


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
    performance, frames = render.puppet.performances[0], render.frames
    pictures, depths = list_files(render.path, frames)
    with tempfile.TemporaryDirectory() as folder, render.connect() as client:
        render.puppet.save(Path(folder) / "render.puppet")
        content = client.upload(Path(folder) / "render.puppet")
        with replacing_frames(render.path.parent) as place:
            for i, frame in enumerate(frames):
                if render.cancelled:
                    raise Cancelled("cancelled by the user")
                seen, z = client.render(
                    content,
                    performance.bases[:, i],
                    performance.w2c[i],
                    performance.K[i],
                    performance.size,
                    background=render.background,
                )
                seen = to_linear(seen)
                colors = {name: seen[..., c] for c, name in enumerate("RGBA")}
                write_exr(place / pictures[frame].name, colors)
                depth = {"Y": np.where(z > 0, z, np.float32(FAR))}
                write_exr(place / depths[frame].name, depth)
                render.done += 1


def list_files(path: Path, frames: range) -> tuple[dict[int, Path], dict[int, Path]]:
    """Scene frame to the picture of colour, and to that of depth."""
    rgba, depth = (
        list_frames(path.with_name(f"{path.stem}_{kind}.exr"), frames) for kind in ("rgba", "depth")
    )
    return rgba, depth


def to_linear(rgba: F32) -> F32:  # (H, W, 4) -> (H, W, 4)
    """sRGB-encoded premultiplied colour to scene-linear premultiplied colour."""
    alpha = rgba[..., 3:]
    straight = rgba[..., :3] / np.maximum(alpha, 1e-6)
    return np.concatenate([attributes.srgb_to_linear(straight.clip(0)) * alpha, alpha], -1).astype(
        np.float32
    )
