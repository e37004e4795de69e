"""The cameras of a shot as JSON and as COLMAP's text files (USD exports carry them too), and other
cameras read from such JSON."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.io.atomic import replacing, replacing_files
from restage4d.puppet import Camera, Performance

_LARGEST = 8192 * 8192  # pixels of a picture
_RIGID = 1e-3  # how far a camera's turn may be from orthonormal


def write_camera_json(path: Path, shot: Shot) -> None:
    """One record a frame: ``w2c`` (4x4, OpenCV: x right, y down, z forward; file units), ``K``
    (3x3, pixels, pixel centres at half integers), ``size``, ``frame``; ``axes``, ``fps`` and
    ``units_per_metre`` once. Raises `InputError` where it cannot be written."""
    records = [
        {
            "frame": frame,
            "w2c": camera.w2c.tolist(),
            "K": camera.K.tolist(),
            "size": list(camera.size),
        }
        for frame, camera in ((f, shot.camera(f)) for f in shot.frames)
    ]
    about = {
        "performance": shot.performance.name,
        "fps": shot.performance.fps,
        "axes": shot.axes.value,
        "units_per_metre": shot.scale,
        "cameras": records,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(about, indent=1), encoding="utf-8")


def write_colmap(folder: Path, shot: Shot) -> list[Path]:
    """``cameras.txt``, ``images.txt`` and an empty ``points3D.txt`` (COLMAP's text format,
    https://colmap.github.io/format.html); pictures are named ``NAME_0001.png`` ... Raises
    `InputError` where they cannot be written."""
    cameras, images = ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy"], ["# IMAGE_ID qw qx qy qz t"]
    for i, frame in enumerate(shot.frames):
        camera = shot.camera(frame)
        K, (width, height) = camera.K, camera.size
        lens = f"{K[0, 0]:.9g} {K[1, 1]:.9g} {K[0, 2]:.9g} {K[1, 2]:.9g}"
        cameras.append(f"{i + 1} PINHOLE {width} {height} {lens}")
        quat = se3.matrix_to_quat(camera.w2c[:3, :3].astype(np.float64))
        place = " ".join(f"{v:.12g}" for v in (*quat, *camera.w2c[:3, 3]))
        name = f"{shot.file_stem}_{frame + 1:04d}.png"
        images += [f"{i + 1} {place} {i + 1} {name}", ""]
    files = {"cameras.txt": cameras, "images.txt": images, "points3D.txt": ["# no points"]}
    with replacing_files(folder) as temporary:
        for name, lines in files.items():
            (temporary / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [folder / name for name in files]


def read_camera_json(path: Path, metres_per_unit: float) -> list[Camera]:
    """The cameras of a file as `write_camera_json` writes it, in the world of a puppet with so many
    metres a unit; ``axes`` and ``units_per_metre`` of the file count. Raises `InputError` where it
    cannot be read or is none."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except ValueError as error:
        raise _refuse(path, "it is not JSON") from error
    try:
        axes, scale = Axes(about["axes"]), float(about["units_per_metre"]) * metres_per_unit
        cameras = [Camera(c["K"], c["w2c"], _read_size(c["size"])) for c in about["cameras"]]
    except (KeyError, TypeError, ValueError, OverflowError, InputError) as error:
        raise _refuse(path, "axes, units_per_metre, K, w2c or size is missing or wrong") from error
    if not cameras or not (np.isfinite(scale) and scale > 0):
        raise _refuse(path, "it has no cameras, or its units_per_metre is not positive")
    if len({camera.size for camera in cameras}) > 1:
        raise _refuse(path, "its cameras differ in size")
    return [_place(path, i, camera, axes, scale) for i, camera in enumerate(cameras)]


def film_with(performance: Performance, frames: range, cameras: list[Camera]) -> Performance:
    """The performance with other cameras: one for all frames, or one for each of ``frames``. Raises
    `InputError` where they are neither."""
    if len(cameras) not in (1, len(frames)):
        raise InputError(
            f"There are {len(cameras)} cameras for {len(frames)} frames.",
            "Give one camera, or one for each frame.",
        )
    shape = (performance.n_frames, 1, 1)
    K, w2c = (np.tile(getattr(cameras[0], name), shape) for name in ("K", "w2c"))
    for frame, camera in zip(frames, cameras * (len(frames) // len(cameras)), strict=True):
        K[frame], w2c[frame] = camera.K, camera.w2c
    return replace(performance, K=K, w2c=w2c, size=cameras[0].size)


def _read_size(size: list[int]) -> tuple[int, int]:
    width, height = size
    if type(width) is not int or type(height) is not int or not 0 < width * height <= _LARGEST:
        raise ValueError(size)
    return width, height


def _place(path: Path, i: int, camera: Camera, axes: Axes, scale: float) -> Camera:
    """A camera of a file in the puppet's world."""
    K, w2c = camera.K, camera.w2c.copy()
    R = w2c[:3, :3]
    sound = np.isfinite(K).all() and np.isfinite(w2c).all()
    sound = sound and K[0, 0] > 0 and K[1, 1] > 0 and K[2].tolist() == [0, 0, 1]
    sound = sound and w2c[3].tolist() == [0, 0, 0, 1] and np.linalg.det(R) > 0
    if not (sound and np.abs(R @ R.T - np.eye(3)).max() <= _RIGID):
        raise _refuse(path, f"K or w2c of camera {i + 1} is not that of a camera")
    w2c[:3, :3], w2c[:3, 3] = R @ axes.turn, w2c[:3, 3] / np.float32(scale)
    return Camera(K, w2c, camera.size)


def _refuse(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} does not hold cameras: {why}.", "Give a file as --format cameras-json writes it."
    )
