"""TAPVid-3D (Koppula et al. 2024): points of real videos followed in 3D.

Layout: a folder of ``*.npz``, each a video: ``images_jpeg_bytes`` (T,) encoded pictures,
``intrinsics`` (fx, fy, cx, cy), ``tracks_XYZ`` (T, P, 3) in each frame's camera, metres,
``visibility`` (T, P) and ``queries_xyt`` (P, 3), a pixel and the frame in which it is asked for.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.defaults import LONGER_SIDE, QUALITY
from restage4d.errors import InputError
from restage4d.evaluate.benchmarks.fitting import fit_clip, keep_record
from restage4d.evaluate.benchmarks.marks import carry_marks, lift_pixels, project
from restage4d.evaluate.held_out import draw_alone
from restage4d.evaluate.metrics import tracking
from restage4d.evaluate.runs import Record
from restage4d.io.arrays import Arrays, load_arrays, need
from restage4d.progress import Progress
from restage4d.puppet import Performance, Puppet
from restage4d.reconstruct.config import FitConfig, preset, with_settings
from restage4d.splatting.gaussians import render_gaussians

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
FPS = 30.0  # the files do not say
_NAMES = ("images_jpeg_bytes", "intrinsics", "tracks_XYZ", "visibility", "queries_xyt")
_SOLID = 0.5  # alpha from which a pixel shows the subject
_SURFACE = 0.05  # of its depth: how far behind the drawn surface a point is still seen


def run_tapvid3d(
    folder: Path, out: Path, progress: Progress, settings: tuple[str, ...] = ()
) -> list[Record]:
    """Fits and measures every video of ``folder``; kept in ``out/tapvid3d`` as they are done.

    Raises:
        InputError: there is no video, one is damaged, or a setting is wrong.
    """
    config = with_settings(preset(QUALITY), settings)
    return [
        keep_record(
            path.stem,
            out / "tapvid3d",
            config,
            lambda p=path: _run_video(p, out / "tapvid3d", config, progress),
        )
        for path in list_videos(folder)
    ]


def list_videos(folder: Path) -> list[Path]:
    """All videos of the folder and the folders in it. Raises `InputError` where there is none."""
    found = sorted(folder.rglob("*.npz"))
    if not found:
        raise InputError(f"{folder} holds no TAPVid-3D video.", "It must hold npz files.")
    return found


def _run_video(path: Path, out: Path, config: FitConfig, progress: Progress) -> Record:
    """Fits a video and measures its points.

    Paths are brought to the truth by one scale, the ratio of median distances from the camera, as
    TAPVid-3D does. Points that the subject does not cover stand still in the world.

    Returns:
        TAPVid-3D's ``3d_aj``, ``apd`` and ``oa``, and ``epe``, the mean distance of visible points
        in metres; all over frames that are not the query's.
    """
    given = read_video(path)
    filmed = [_decode(encoded) for encoded in given["images_jpeg_bytes"]]
    longer = max(filmed[0].shape[:2])
    factor = min(LONGER_SIDE / longer, 1.0)
    size = (round(filmed[0].shape[1] * factor), round(filmed[0].shape[0] * factor))
    resized = [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in filmed]
    frames = np.stack(resized).astype(np.uint8)
    fx, fy, cx, cy = given["intrinsics"].astype(np.float32)
    puppet, record = fit_clip(
        path.stem, Clip(frames, FPS), {}, out, config, progress, focal=float(fx) / longer
    )
    found, seen = predict(
        puppet, puppet.performances[0], given["queries_xyt"] * [factor, factor, 1]
    )
    truth = given["tracks_XYZ"].transpose(1, 0, 2).astype(np.float32)
    n = truth.shape[1]
    visible = given["visibility"].T.astype(bool)
    counts = np.arange(n) != given["queries_xyt"][:, 2:].astype(int)
    eye = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
    K = np.tile(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32), (n, 1, 1))
    aligned = tracking.align(found, truth, "median", eye)
    metrics = tracking.tapvid3d(aligned, seen & counts, truth, visible & counts, K, eye)
    metrics["oa"] = float((seen == visible)[counts].mean())
    error = np.linalg.norm(aligned - truth, axis=-1)[visible & counts]
    metrics["epe"] = float(error.mean()) if error.size else float("nan")
    return record | {"metrics": metrics}


def read_video(path: Path) -> Arrays:
    """The arrays of a video. Raises `InputError` where one is missing or does not fit."""
    given = load_arrays(path, _NAMES)
    n, p = len(given["images_jpeg_bytes"]), given["tracks_XYZ"].shape[1:2]
    for name, shape in (
        ("intrinsics", (4,)),
        ("tracks_XYZ", (n, *p, 3)),
        ("visibility", (n, *p)),
        ("queries_xyt", (*p, 3)),
    ):
        need(given[name].shape == shape, path, f"{name} has shape {given[name].shape}, not {shape}")
    return given


def predict(
    puppet: Puppet, performance: Performance, queries: NDArray
) -> tuple[F32, Bool]:  # (P, 3) -> (P, T, 3) in each frame's camera, (P, T)
    """Where the puppet carries the queried pixels, and where they are seen."""
    n = performance.n_frames
    paths = np.zeros((len(queries), n, 3), np.float32)
    for frame in np.unique(queries[:, 2].astype(int)):
        rows = np.flatnonzero(queries[:, 2].astype(int) == frame)
        xy = queries[rows, :2]
        alpha, depth = _draw(puppet, performance, int(frame))
        column = np.floor(xy[:, 0]).astype(int).clip(0, alpha.shape[1] - 1)
        row = np.floor(xy[:, 1]).astype(int).clip(0, alpha.shape[0] - 1)
        still = lift_pixels(xy, depth[row, column], performance, int(frame))
        paths[rows] = still[:, None]
        on = alpha[row, column] > _SOLID
        if on.any():
            paths[rows[on]] = carry_marks(puppet, performance, int(frame), xy[on])
    seen = np.zeros(paths.shape[:2], bool)
    for t in range(n):
        depth = _draw(puppet, performance, t)[1]
        pixel, z = project(paths[:, t], performance, t)
        column, row = np.floor(pixel).astype(int).T
        inside = (column >= 0) & (column < depth.shape[1]) & (row >= 0) & (row < depth.shape[0])
        front = depth[row.clip(0, depth.shape[0] - 1), column.clip(0, depth.shape[1] - 1)]
        seen[:, t] = inside & (z > 0) & (z < front * (1 + _SURFACE))
    w2c = performance.w2c
    camera = np.einsum("tij,ptj->pti", w2c[:, :3, :3], paths) + w2c[:, :3, 3]
    return camera.astype(np.float32), seen


def _draw(puppet: Puppet, performance: Performance, frame: int) -> tuple[F32, F32]:
    """The subject's alpha, and the depth of all that a pixel shows."""
    camera = performance.camera(frame)
    alpha = draw_alone(puppet, performance, frame, camera)[1]
    sets = [puppet.pose(performance, frame)]
    if puppet.background is not None:
        sets.append(puppet.background)
    return alpha, render_gaussians(sets, camera)[1]


def _decode(encoded: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(bytes(encoded), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError("A picture of a TAPVid-3D video is damaged.", "Make the file anew.")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)
