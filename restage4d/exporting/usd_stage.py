"""USD stages that grow frame by frame: what they say of themselves, and the shot's camera. Frame 0
of a performance is time code 1, as in Blender.

Written with generic prims and attributes, so that a USD older than a schema writes it too. A stage
is saved every few frames; what is saved leaves the memory.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from pxr import Gf, Sdf, Tf, Usd, UsdGeom, Vt

from restage4d.errors import InputError
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.puppet import Camera, Gaussians

ROOT = "/Puppet"
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
        if shot.axes is Axes.Y_DOWN:
            raise InputError("USD knows no y-down scenes.", "Choose the axes z-up or y-up.")
        self.shot = shot
        self.stage = Usd.Stage.Open(Sdf.Layer.CreateNew(str(path)))
        up = UsdGeom.Tokens.z if shot.axes is Axes.Z_UP else UsdGeom.Tokens.y
        UsdGeom.SetStageUpAxis(self.stage, up)
        UsdGeom.SetStageMetersPerUnit(self.stage, 1 / shot.scale)
        self.stage.SetTimeCodesPerSecond(shot.performance.fps)
        self.stage.SetFramesPerSecond(shot.performance.fps)
        self.stage.SetStartTimeCode(shot.frames[0] + 1)
        self.stage.SetEndTimeCode(shot.frames[-1] + 1)
        root = UsdGeom.Xform.Define(self.stage, ROOT)
        Usd.ModelAPI(root.GetPrim()).SetKind("component")
        self.stage.SetDefaultPrim(root.GetPrim())
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
