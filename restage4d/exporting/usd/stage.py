"""USD stages that grow frame by frame: what they say of themselves, and the shot's camera. Frame 0
of a performance is time code 1, as in Blender.

Written with generic prims and attributes, so that a USD older than a schema writes it too. A stage
is saved every few frames; what is saved leaves the memory. Shots longer than `CLIP_FRAMES` are
value clips: files of some frames each, and a stage that plays them
(https://openusd.org/release/api/_usd__page__value_clips.html).
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from pxr import Gf, Sdf, Tf, Usd, UsdGeom, Vt

from restage4d.errors import InputError
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.puppet import Camera, Gaussians

ROOT = "/Puppet"
CLIP_FRAMES = 250  # in one file of splats or points; half a gigabyte of 100,000
_SAVE_EVERY = 8  # frames
_APERTURE = (
    36.0  # mm, of a full-frame camera: USD wants one, only its ratio to the focal length matters
)
_REACH = 3.0  # σ that a Gaussian's extent spans
_REASONS = {
    "No space left": errno.ENOSPC,
    "quota": errno.EDQUOT,
    "Read-only": errno.EROFS,
    "Permission denied": errno.EACCES,
    "Insufficient permissions": errno.EACCES,
}
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's camera axes to USD's: y up, looking along -z


class StageWriter:
    """An open stage.

    Attributes:
        stage: with `ROOT` as its default prim, saved by `end_frame`.
        shot: what is written into it.
    """

    def __init__(self, path: Path, shot: Shot) -> None:
        self.shot = shot
        self.stage = Usd.Stage.Open(Sdf.Layer.CreateNew(str(path)))
        _describe(self.stage, shot)
        self._camera = UsdGeom.Camera.Define(self.stage, f"{ROOT}/ShotCamera")
        self._place = self._camera.AddTransformOp()
        self._unsaved = 0

    def end_frame(self, frame: int) -> None:
        """Writes the frame's camera, and saves what has come together."""
        self._write_camera(self.shot.camera(frame), frame + 1)
        self._unsaved += 1
        if self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Writes what is in memory to the file. Raises OSError where it cannot."""
        if not self.stage.GetRootLayer().Save():
            raise OSError(f"USD could not write {self.stage.GetRootLayer().realPath}")
        self._unsaved = 0

    def _write_camera(self, camera: Camera, time: float) -> None:
        K, (width, height) = camera.K.astype(np.float64), camera.size
        focal = K[0, 0] / width * _APERTURE
        for name, value in (
            ("focalLength", focal),
            ("horizontalAperture", _APERTURE),
            ("verticalAperture", height / K[1, 1] * focal),
            ("horizontalApertureOffset", (width / 2 - K[0, 2]) / width * _APERTURE),
            ("verticalApertureOffset", (K[1, 2] - height / 2) / K[1, 1] * focal),
        ):
            self._camera.GetPrim().GetAttribute(name).Set(float(value), time)
        pose = np.linalg.inv(camera.w2c.astype(np.float64)) @ _FLIP
        self._place.Set(Gf.Matrix4d(*pose.T.ravel().tolist()), time)  # rows are USD's vectors


def _describe(stage: Usd.Stage, shot: Shot) -> None:
    """Axes, units, rate, frames and the default prim."""
    if shot.axes is Axes.Y_DOWN:
        raise InputError("USD knows no y-down scenes.", "Choose the axes z-up or y-up.")
    up = UsdGeom.Tokens.z if shot.axes is Axes.Z_UP else UsdGeom.Tokens.y
    UsdGeom.SetStageUpAxis(stage, up)
    UsdGeom.SetStageMetersPerUnit(stage, 1 / shot.scale)
    stage.SetTimeCodesPerSecond(shot.performance.fps)
    stage.SetFramesPerSecond(shot.performance.fps)
    stage.SetStartTimeCode(shot.frames[0] + 1)
    stage.SetEndTimeCode(shot.frames[-1] + 1)
    root = UsdGeom.Xform.Define(stage, ROOT)
    Usd.ModelAPI(root.GetPrim()).SetKind("component")
    stage.SetDefaultPrim(root.GetPrim())


@contextmanager
def writing_stage(path: Path, shot: Shot) -> Iterator[StageWriter]:
    """Opens a stage in place and saves it at the end. Raises `InputError` for axes that USD does
    not know, OSError where it cannot be written."""
    with _explaining(path):
        writer = StageWriter(path, shot)
        try:
            yield writer
            writer.save()
        finally:
            with suppress(Tf.ErrorException):  # what could not be saved is told already
                writer.stage.GetRootLayer().Clear()


def list_clips(path: Path, shot: Shot) -> list[Path]:
    """The clips beside ``path``, and last their manifest; none of a shot that is short enough."""
    count = -(-len(shot.frames) // CLIP_FRAMES)
    if count == 1:
        return []
    names = [f"clip_{i + 1:04d}" for i in range(count)] + ["manifest"]
    return [path.with_name(f"{path.stem}.{name}.usdc") for name in names]


def write_usd_clips(
    path: Path, shot: Shot, write: Callable[[Path, Shot], Iterator[int]]
) -> Iterator[int]:
    """Writes a shot as `list_clips` and a stage that plays them, yielding each frame when it is in.

    A clip has the next one's first frame, too: velocities are differences to it.

    Args:
        write: what writes some frames into one file.
    """
    *clips, manifest = list_clips(path, shot)
    for i, clip in enumerate(clips):
        own = range(CLIP_FRAMES * i, min(CLIP_FRAMES * (i + 1), len(shot.frames)))
        for frame in write(clip, replace(shot, frames=shot.frames[own[0] : own[-1] + 2])):
            if frame <= shot.frames[own[-1]]:
                yield frame
    with _explaining(path):
        first = Sdf.Layer.FindOrOpen(str(clips[0]))
        stage = Usd.Stage.Open(Sdf.Layer.CreateNew(str(path)))
        _describe(stage, shot)
        Sdf.CopySpec(first, ROOT, stage.GetRootLayer(), ROOT, _stands_still, lambda *_: True)
        api, (start, end) = Usd.ClipsAPI(stage.GetDefaultPrim()), (shot.frames[0], shot.frames[-1])
        api.SetClipPrimPath(ROOT)
        api.SetClipAssetPaths([Sdf.AssetPath(f"./{clip.name}") for clip in clips])
        api.SetClipActive([(start + 1 + CLIP_FRAMES * i, i) for i in range(len(clips))])
        api.SetClipTimes([(time, time) for time in (start + 1, end + 1)])
        Usd.ClipsAPI.GenerateClipManifestFromLayers([first], ROOT).Export(str(manifest))
        api.SetClipManifestAssetPath(Sdf.AssetPath(f"./{manifest.name}"))
        if not stage.GetRootLayer().Save():
            raise OSError(f"USD could not write {path}")


def _stands_still(_kind: Sdf.SpecType, field: str, *_: object) -> bool:
    """Of what is copied: whether it is no time sample."""
    return field != "timeSamples"


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turns USD's own errors, which know no numbers, into OSErrors that do."""
    try:
        yield
    except Tf.ErrorException as error:
        told = str(error)
        number = next((n for text, n in _REASONS.items() if text in told), errno.EIO)
        raise OSError(number, os.strerror(number), str(path)) from error


def find_extent(gaussians: Gaussians) -> Vt.Vec3fArray:
    """The box that holds every Gaussian out to 3σ, as USD's two corners."""
    reach = _REACH * gaussians.scales.max(1, keepdims=True)
    low, high = (gaussians.means - reach).min(0), (gaussians.means + reach).max(0)
    return Vt.Vec3fArray.FromNumpy(np.stack([low, high]).astype(np.float32))
