"""The way in: writes a shot in any of the formats."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from restage4d.exporting import cameras, pictures
from restage4d.exporting.alembic import write_alembic
from restage4d.exporting.formats import FORMATS, check_place
from restage4d.exporting.gltf import write_glb, write_skinned_glb
from restage4d.exporting.shot import Shot
from restage4d.exporting.usd.points import write_usd_points
from restage4d.exporting.usd.skeleton import write_usd_skeleton
from restage4d.exporting.usd.splats import write_usd_splats
from restage4d.exporting.usd.stage import list_clips, write_usd_clips
from restage4d.io.atomic import replacing, replacing_files
from restage4d.io.ply import write_ply
from restage4d.io.splat_files import write_packed_ply, write_spz
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Gaussians


def write_npz(path: Path, gaussians: Gaussians) -> None:
    """The arrays of `Gaussians` by their names, of one frame."""
    with replacing(path) as temporary:
        np.savez(temporary, **vars(gaussians))


_SPLATS: dict[str, Callable[[Path, Gaussians], None]] = {
    "ply": write_ply,
    "compressed-ply": write_packed_ply,
    "spz": write_spz,
    "glb": write_glb,
    "npz": write_npz,
}
_PICTURES: dict[str, Callable[..., None]] = {
    "png": pictures.write_png,
    "exr": pictures.write_exr_with_depth,
}
_FILMS: dict[str, Callable[[Path, Shot], Iterator[int]]] = {
    "mp4": pictures.write_mp4,
    "prores": pictures.write_prores,
    "usd-splats": write_usd_splats,
    "usd-points": write_usd_points,
    "usd-skeleton": write_usd_skeleton,
    "usd-mesh": partial(write_usd_skeleton, as_mesh=True),
    "glb-mesh": write_skinned_glb,
    "alembic": write_alembic,
}


def export_performance(
    shot: Shot, format_name: str, path: str | Path, progress: Progress | None = None
) -> list[Path]:
    """Writes a shot; returns the files. Nothing half-written stays, also where it is cancelled.

    Args:
        shot: what leaves.
        format_name: one of `FORMATS`.
        path: a file, or, for formats of one frame per file, a folder that gets ``NAME_0001.ext``
            ... (frames counted from 1 as in Blender); files of these names are replaced.
        progress: told every frame; may cancel.

    Raises:
        InputError: the path does not fit, the disk is full or may not be written, or the shot does
            not fit the format.

    Example:
        >>> shot = Shot(puppet, puppet.performance("restaged"), range(24))
        >>> export_performance(shot, "usd-splats", "dog.usdc")
    """
    path = Path(path)
    check_place(format_name, path, shot.frames)
    if format_name == "cameras-json":
        cameras.write_camera_json(path, shot)
        return [path]
    if format_name == "cameras-colmap":
        return cameras.write_colmap(path, shot)
    with (progress or Progress()).task(TaskId.EXPORT, len(shot.frames)) as task:
        if format_name in _FILMS:
            write = _FILMS[format_name]
            clips = list_side_files(shot, format_name, path)
            if clips:
                with replacing_files(path.parent) as folder:
                    for _ in write_usd_clips(folder / path.name, shot, write):
                        task.advance()
                return [path, *clips]
            with replacing(path) as temporary:
                for _ in write(temporary, shot):
                    task.advance()
            return [path]
        suffix = FORMATS[format_name].suffix
        if path.name.lower().endswith(suffix):
            for write, content in _prepare_frames(shot, format_name):
                write(path, *content)
                task.advance()
            return [path]
        names = [f"{shot.file_stem}_{frame + 1:04d}{suffix}" for frame in shot.frames]
        with replacing_files(path) as folder:
            contents = _prepare_frames(shot, format_name)
            for name, (write, content) in zip(names, contents, strict=True):
                write(folder / name, *content)
                task.advance()
        return [path / name for name in names]


def list_side_files(shot: Shot, format_name: str, path: Path) -> list[Path]:
    """What a long shot leaves beside ``path``."""
    return list_clips(path, shot) if format_name in ("usd-splats", "usd-points") else []


def _prepare_frames(
    shot: Shot, format_name: str
) -> Iterator[tuple[Callable[..., None], tuple[Any, ...]]]:
    """What writes each frame's file, and its content."""
    if format_name in _SPLATS:
        for gaussians in shot.pose_frames():
            yield _SPLATS[format_name], (gaussians,)
    else:
        for picture in pictures.draw_frames(shot):
            yield _PICTURES[format_name], picture
