"""DyCheck's iPhone sequences: one hand-held clip, measured from still cameras beside it (Gao et al.
2022, "Monocular Dynamic View Synthesis: A Reality Check").

Layout of a sequence (its docs/DATASETS.md): ``camera/NAME.json``, ``rgb/2x/NAME.png``,
``depth/2x/NAME.npy``, ``covisible/2x/val/NAME.png``, ``keypoint/2x/train/NAME.json`` and
``splits/train.json``, ``val.json``. Cameras are OpenCV's; ``orientation`` turns the world into the
camera's frame, ``position`` is the camera's centre. Depth is the phone's, in the cameras' unit or
in thousandths of it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.defaults import QUALITY
from restage4d.errors import InputError
from restage4d.evaluate.benchmarks.fitting import fit_clip, keep_record
from restage4d.evaluate.benchmarks.marks import carry_marks, project
from restage4d.evaluate.held_out import Overlay
from restage4d.evaluate.metrics import image
from restage4d.evaluate.runs import Record
from restage4d.io.arrays import mask_picture
from restage4d.progress import Progress
from restage4d.puppet import Camera, Performance, Puppet
from restage4d.reconstruct.config import FitConfig, preset, with_settings
from restage4d.splatting.gaussians import render_performance

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_SCALE = 2  # pictures at half their size, as published figures are
_MILLIMETRES = 50.0  # a median depth beyond is no length in metres
_PCK = 0.05  # of the picture's longer side


@dataclass(frozen=True)
class Frame:
    """A picture of a sequence: its ``name``, the moment ``time`` and its camera (``K`` in pixels of
    the picture at half its size, ``w2c``)."""

    name: str
    time: int
    K: F64
    w2c: F64


@dataclass(frozen=True)
class Sequence:
    """A sequence on disk: ``train`` is the filmed clip in playing order, ``val`` the pictures that
    are measured."""

    folder: Path
    fps: float
    train: list[Frame]
    val: list[Frame]


def run_dycheck(
    folder: Path, out: Path, progress: Progress, settings: tuple[str, ...] = ()
) -> list[Record]:
    """Fits and measures every sequence of ``folder``; kept in ``out/dycheck`` as they are done.

    Raises:
        InputError: there is no sequence, a file is missing or damaged, or a setting is wrong.
    """
    config = with_settings(preset(QUALITY), settings)
    sequences = [read_sequence(path) for path in list_sequences(folder)]
    return [
        keep_record(
            sequence.folder.name,
            out / "dycheck",
            config,
            lambda s=sequence: _run_sequence(s, out / "dycheck", config, progress),
        )
        for sequence in sequences
    ]


def list_sequences(folder: Path) -> list[Path]:
    """The folder itself where it is a sequence, else all sequences in it. Raises `InputError` where
    there is none."""
    if (folder / "splits" / "train.json").is_file():
        return [folder]
    found = sorted(p.parent.parent for p in folder.glob("*/splits/train.json"))
    if not found:
        raise InputError(
            f"{folder} holds no DyCheck sequence.",
            "It must hold splits/train.json, or folders that do.",
        )
    return found


def read_sequence(folder: Path) -> Sequence:
    """Reads the splits and cameras. Raises `InputError` naming what is missing or damaged."""
    extra = folder / "extra.json"
    fps = float(_read_json(extra).get("fps", 30)) if extra.is_file() else 30.0
    train, val = (_read_split(folder, name) for name in ("train", "val"))
    return Sequence(folder, fps, sorted(train, key=lambda f: f.time), val)


def _run_sequence(sequence: Sequence, out: Path, config: FitConfig, progress: Progress) -> Record:
    """Fits the clip with the dataset's own cameras and depth, and measures it.

    Returns:
        ``mpsnr`` and ``mssim`` over the pixels that the clip shows, mean over ``val``; ``pck_0.05``
        of keypoints carried between annotated frames; ``epe``, their mean distance in 3D in the
        dataset's unit, by the phone's depth. nan where the sequence has none.
    """
    folder = sequence.folder
    frames = np.stack([_read_picture(folder, f.name) for f in sequence.train])
    height, width = frames.shape[1:3]
    K = np.stack([f.K for f in sequence.train]).astype(np.float32)
    w2c = np.stack([f.w2c for f in sequence.train]).astype(np.float32)
    known = {"cameras": {"K": K, "w2c": w2c, "points": np.zeros((0, 3), np.float32)}}
    depths = [_read_depth(folder, f.name, (width, height)) for f in sequence.train]
    if all(depth is not None for depth in depths):
        known["depth"] = {"depth": np.stack([d for d in depths if d is not None])}
    puppet, record = fit_clip(folder.name, Clip(frames, sequence.fps), known, out, config, progress)
    performance = puppet.performances[0]
    overlay = overlay_cameras(performance, w2c)
    metrics = _measure_views(puppet, performance, sequence, overlay)
    metrics |= _measure_keypoints(puppet, performance, sequence, depths, overlay)
    return record | {"metrics": metrics}


def overlay_cameras(performance: Performance, w2c: F32) -> Overlay:
    """How the dataset's world lies in the puppet's: by the first camera, and the length of the
    cameras' ways from there; a camera that stands still keeps its unit."""
    ways = []
    for cameras in (w2c.astype(np.float64), performance.w2c.astype(np.float64)):
        centres = -np.einsum("tji,tj->ti", cameras[:, :3, :3], cameras[:, :3, 3])
        ways.append(float(np.linalg.norm(centres - centres[0], axis=1).sum()))
    scale = ways[0] / ways[1] if min(ways) > 1e-6 else 1.0
    return Overlay(w2c[0].astype(np.float64), performance.w2c[0].astype(np.float64), scale)


def _measure_views(
    puppet: Puppet, performance: Performance, sequence: Sequence, overlay: Overlay
) -> dict[str, float]:
    times = [f.time for f in sequence.train]
    psnr, ssim = [], []
    for held in sequence.val:
        seen = sequence.folder / "covisible" / f"{_SCALE}x" / "val" / f"{held.name}.png"
        if held.time not in times or not seen.is_file():
            continue
        picture = _read_picture(sequence.folder, held.name)
        camera = Camera(
            held.K.astype(np.float32),
            overlay.bring_camera(held.w2c.astype(np.float32)),
            (picture.shape[1], picture.shape[0]),
        )
        (drawn,) = render_performance(puppet, performance, [times.index(held.time)], [camera])
        where = mask_picture(seen) > 127
        psnr.append(image.psnr(drawn, picture, where))
        ssim.append(image.ssim(drawn, picture, where))
    return {"mpsnr": _mean(psnr), "mssim": _mean(ssim), "views": float(len(psnr))}


def _measure_keypoints(
    puppet: Puppet,
    performance: Performance,
    sequence: Sequence,
    depths: list[F32 | None],
    overlay: Overlay,
) -> dict[str, float]:
    """Every annotated frame's keypoints, carried to every other."""
    marks: dict[int, F64] = {}
    for row, frame in enumerate(sequence.train):
        path = sequence.folder / "keypoint" / f"{_SCALE}x" / "train" / f"{frame.name}.json"
        if path.is_file():
            marks[row] = np.asarray(_read_json(path), np.float64).reshape(-1, 3)
    near, distance = [], []
    for start, begun in marks.items():
        paths = carry_marks(puppet, performance, start, begun[:, :2])
        for end, ended in marks.items():
            both = (begun[:, 2] > 0) & (ended[:, 2] > 0)
            if end == start or not both.any():
                continue
            pixel = project(paths[:, end], performance, end)[0]
            size = _PCK * max(performance.size)
            near += list(np.linalg.norm(pixel - ended[:, :2], axis=1)[both] < size)
            true = _lift(depths[end], sequence.train[end], ended[:, :2])
            told = both & np.isfinite(true).all(1)
            distance += list(
                np.linalg.norm(paths[:, end] - overlay.bring_points(true), axis=1)[told]
                * overlay.scale
            )
    return {"pck_0.05": _mean(near), "epe": _mean(distance), "carried": float(len(near))}


def _lift(depth: F32 | None, frame: Frame, xy: F64) -> F32:  # (H, W), (J, 2) -> (J, 3)
    """Pixels in the dataset's world by the phone's depth; nan where it has none."""
    out = np.full((len(xy), 3), np.nan, np.float32)
    if depth is None:
        return out
    column = np.floor(xy[:, 0]).astype(int).clip(0, depth.shape[1] - 1)
    row = np.floor(xy[:, 1]).astype(int).clip(0, depth.shape[0] - 1)
    z = depth[row, column]
    ray = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ np.linalg.inv(frame.K).T
    world = (ray * z[:, None] - frame.w2c[:3, 3]) @ frame.w2c[:3, :3]
    out[z > 0] = world[z > 0]
    return out


def _read_split(folder: Path, name: str) -> list[Frame]:
    path = folder / "splits" / f"{name}.json"
    rows = _read_json(path)
    try:
        pairs = list(zip(rows["frame_names"], rows["time_ids"], strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no split of DyCheck: {error}.", "It needs frame_names and time_ids."
        ) from error
    return [
        Frame(str(frame), int(time), *_read_camera(folder / "camera" / f"{frame}.json"))
        for frame, time in pairs
    ]


def _read_camera(path: Path) -> tuple[F64, F64]:
    """K of the picture at half its size, and w2c."""
    given = _read_json(path)
    try:
        focal, (x, y) = float(given["focal_length"]), given["principal_point"]
        aspect, skew = float(given["pixel_aspect_ratio"]), float(given["skew"])
        turn = np.asarray(given["orientation"], np.float64).reshape(3, 3)
        centre = np.asarray(given["position"], np.float64).reshape(3)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no camera of DyCheck: {error}.", "Fetch it again.") from error
    K = np.array([[focal, skew, x], [0, focal * aspect, y], [0, 0, _SCALE]]) / _SCALE
    w2c = np.eye(4)
    w2c[:3, :3], w2c[:3, 3] = turn, -turn @ centre
    return K, w2c


def _read_picture(folder: Path, name: str) -> NDArray[np.uint8]:
    path = folder / "rgb" / f"{_SCALE}x" / f"{name}.png"
    picture = (
        cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() else None
    )
    if picture is None:
        raise InputError(f"{path} is missing or no picture.", "Fetch the sequence again.")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)


def _read_depth(folder: Path, name: str, size: tuple[int, int]) -> F32 | None:
    """(H, W) in the cameras' unit, 0 where the phone told none; None without a file."""
    path = folder / "depth" / f"{_SCALE}x" / f"{name}.npy"
    if not path.is_file():
        return None
    depth = np.load(path, allow_pickle=False).astype(np.float32).squeeze()
    depth = np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0)
    if np.median(depth[depth > 0]) > _MILLIMETRES if (depth > 0).any() else False:
        depth = depth / 1000
    return cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Fetch it again.") from error


def _mean(values: list) -> float:
    finite = np.asarray(values, np.float64)
    return float(np.nanmean(finite)) if np.isfinite(finite).any() else float("nan")
