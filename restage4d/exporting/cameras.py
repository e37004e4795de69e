"""The cameras of a shot as JSON and as COLMAP's text files. (USD exports carry them too.)"""

import json
from pathlib import Path

import numpy as np

from restage4d import se3
from restage4d.exporting.shot import Shot
from restage4d.io.atomic import replacing, replacing_files


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
