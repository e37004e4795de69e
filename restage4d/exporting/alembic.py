"""Animated points in Alembic, with what its geometry parameters can hold: colour (``Cs``, linear,
0..1), ``opacity``, width, velocity, and under Houdini's names ``orient`` (quaternions) and
``scale`` (σ); the shot's camera.

By Alembic's own Python bindings, as alembic3d packs them for pip; not installed unless asked for.
Points are named by ids, always in the same order. Alembic is y-up and has no unit. Frame 0 of a
performance lies at the second 1/fps, which Blender takes for its frame 1.
"""

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from restage4d.errors import InputError
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.io.atomic import ensure_room
from restage4d.puppet import F32, Camera, Gaussians, sh_to_rgb
from restage4d.srgb import srgb_to_linear

_WIDTH = 2.0  # σ that a point is wide
_APERTURE = 36.0  # mm, of a full-frame camera
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's camera axes to Alembic's: y up, looking along -z


def write_alembic(path: Path, shot: Shot) -> Iterator[int]:
    """Writes ``path`` in place, yielding each frame when it is in.

    Raises:
        InputError: alembic3d is not installed, or the axes are not y-up.
        OSError: it cannot be written, or there is no room.
    """
    if shot.axes is not Axes.Y_UP:
        raise InputError("Alembic files are y-up.", "Choose the axes y-up.")
    bindings, rate = _load_bindings(), shot.performance.fps
    ensure_room(path, _estimate_size(shot))  # Alembic ends the process where a write fails
    archive = bindings.Abc.CreateArchiveWithInfo(str(path), rate, "Restage4D", "")
    start = (shot.frames[0] + 1) / rate
    times = archive.addTimeSampling(bindings.AbcCoreAbstract.TimeSampling(1 / rate, start))
    top = archive.getTop()
    if shot.background:
        still = shot.get_background()
        _Points(bindings, top, "Background", still, 0).write(still, np.zeros_like(still.means))
    camera, subject = _Camera(bindings, top, times), None
    for frame, (posed, velocity) in zip(shot.frames, shot.pose_moving_subjects(), strict=True):
        subject = subject or _Points(bindings, top, "Subject", posed, times)
        subject.write(posed, velocity)
        camera.write(shot.camera(frame))
        yield frame
    del subject, camera, top, archive  # the last of them closes the file
    if not is_whole(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _estimate_size(shot: Shot) -> int:
    """Bytes of the file at most: what moves, what stands, what Alembic says of each sample."""
    subject, still = len(shot.puppet.subject), shot.background * len(shot.puppet.background)
    return len(shot.frames) * (40 * subject + 4096) + 88 * (subject + still) + 2**20


def is_whole(path: Path) -> bool:
    """Whether an Alembic file was closed: Ogawa then marks it and says where its root is (header:
    magic, mark, version, root)."""
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 16 or head[:5] != b"Ogawa" or head[5] != 0xFF:
        return False
    return 16 <= struct.unpack("<Q", head[8:])[0] < path.stat().st_size


def _load_bindings() -> Any:
    try:
        import alembic3d  # pyright: ignore[reportMissingImports]  (the extra "alembic")
    except ImportError as error:
        raise InputError(
            "Alembic files are written by alembic3d, which is not installed.",
            "Install it into this environment: pip install alembic3d==1.8.12.1.",
        ) from error
    return alembic3d


class _Points:
    """One object of points; what never changes is written when it is made."""

    def __init__(self, bindings: Any, top: Any, name: str, g: Gaussians, times: int) -> None:
        import imath  # pyright: ignore[reportMissingImports]  (comes with alembic3d)

        self.geometry, self.imath = bindings.AbcGeom, imath
        self._points = self.geometry.OPoints(top, name, times)
        self._schema = self._points.getSchema()
        self._vertex = self.geometry.GeometryScope.kVertexScope
        self._ids = imath.IntArrayFromBuffer(np.arange(len(g), dtype=np.int32))
        widths = np.ascontiguousarray(_WIDTH * g.scales.mean(1), np.float32)
        self._widths = self.geometry.OFloatGeomParamSample(
            imath.FloatArrayFromBuffer(widths), self._vertex
        )
        colour = srgb_to_linear(sh_to_rgb(g.sh[:, 0]).clip(0, 1)).astype(np.float32)
        self._set("Cs", "C3f", imath.C3fArray(self._make_vectors(colour)))
        self._set("opacity", "Float", imath.FloatArrayFromBuffer(np.ascontiguousarray(g.opacities)))
        # As a colour: vectors are turned where a program's axes are others.
        self._set("scale", "C3f", imath.C3fArray(self._make_vectors(g.scales)))
        self._orient = self._add("orient", "Quatf", times)

    def write(self, g: Gaussians, velocity: F32) -> None:
        """The next frame."""
        means, velocities = self._make_vectors(g.means), self._make_vectors(velocity)
        sample = self.geometry.OPointsSchemaSample(means, self._ids, velocities, self._widths)
        self._schema.set(sample)
        quats = self.imath.QuatfArray(len(g))
        for column, part in zip(g.quats.T, (quats.r, quats.x, quats.y, quats.z), strict=True):
            part[:] = self.imath.FloatArrayFromBuffer(np.ascontiguousarray(column, np.float32))
        self._orient.set(self.geometry.OQuatfGeomParamSample(quats, self._vertex))

    def _make_vectors(self, values: F32) -> Any:  # (N, 3)
        return self.imath.V3fArrayFromBuffer(np.ascontiguousarray(values, np.float32))

    def _add(self, name: str, kind: str, times: int) -> Any:
        make = getattr(self.geometry, f"O{kind}GeomParam")
        return make(self._schema.getArbGeomParams(), name, False, self._vertex, 1, times)

    def _set(self, name: str, kind: str, values: Any) -> None:
        """A parameter that stays as it is."""
        sample = getattr(self.geometry, f"O{kind}GeomParamSample")
        self._add(name, kind, 0).set(sample(values, self._vertex))


class _Camera:
    """The shot's camera; sizes of its film are centimetres, as Alembic wants them."""

    def __init__(self, bindings: Any, top: Any, times: int) -> None:
        import imath  # pyright: ignore[reportMissingImports]  (comes with alembic3d)

        self.geometry, self.imath = bindings.AbcGeom, imath
        self._place = self.geometry.OXform(top, "ShotCamera", times)
        self._camera = self.geometry.OCamera(self._place, "ShotCameraShape", times)

    def write(self, camera: Camera) -> None:
        """The next frame."""
        pose = np.linalg.inv(camera.w2c.astype(np.float64)) @ _FLIP
        moved = self.geometry.XformSample()
        moved.setMatrix(self.imath.M44d(*pose.T.ravel().tolist()))  # rows are its vectors
        self._place.getSchema().set(moved)
        K, (width, height) = camera.K.astype(np.float64), camera.size
        focal = K[0, 0] / width * _APERTURE
        lens = self.geometry.CameraSample()
        lens.setFocalLength(focal)
        lens.setHorizontalAperture(_APERTURE / 10)
        lens.setVerticalAperture(height / K[1, 1] * focal / 10)
        lens.setHorizontalFilmOffset((width / 2 - K[0, 2]) / K[0, 0] * focal / 10)
        lens.setVerticalFilmOffset((K[1, 2] - height / 2) / K[1, 1] * focal / 10)
        self._camera.getSchema().set(lens)
