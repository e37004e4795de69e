"""Priors from files, and to files (docs/priors.md has the layout).

A folder holds one subfolder per video, ``base`` and ``driving_1``, ``driving_2`` ...; frames are
numbered as in that video (b_0 is 00000). A folder without ``base`` is the base's own, so that masks
or a rendered stage can be given as they are.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Priors, Rewound
from restage4d.errors import InputError
from restage4d.io.arrays import (
    Arrays,
    camera_kind,
    load_arrays,
    load_cameras,
    mask_picture,
    need,
)
from restage4d.io.atomic import replacing
from restage4d.priors.shape_of_motion import is_shape_of_motion, read_shape_of_motion


def read_priors(folder: Path, rewound: Rewound) -> dict[str, Arrays]:
    """What ``folder`` gives for the frames of the clip.

    Returns:
        Any of "masks" {masks (T, H, W)}, "depth" {depth (T, H, W)}, "cameras" {K (T, 3, 3), w2c (T,
        4, 4), points (S, 3), kind ()}, "tracks" {xy, visible, confidence, query}. Masks and depth
        are NaN in the frames of videos that have none. A driving video without cameras of its own
        has the base's first one, since driving cameras are steady.

    Raises:
        InputError: a file is there and does not fit; names it and what was expected.
    """
    if is_shape_of_motion(folder):
        return read_shape_of_motion(folder, rewound)
    parts = [folder / ("base" if s == 0 else f"driving_{s}") for s in range(rewound.n_branches + 1)]
    if not parts[0].is_dir():
        parts[0] = folder
    rows = [np.flatnonzero(rewound.source == s) for s in range(len(parts))]
    found: dict[str, Arrays] = {}
    for name, read in (("masks", _read_masks), ("depth", _read_depth)):
        videos = [read(part, rewound, r) for part, r in zip(parts, rows, strict=True)]
        if any(frames is not None for frames in videos):
            out = np.full(rewound.clip.frames.shape[:3], np.nan, np.float32)
            for frames, r in zip(videos, rows, strict=True):
                if frames is not None:
                    out[r] = frames
            found[name] = {name: out}
    if (parts[0] / "cameras.npz").is_file():
        found["cameras"] = _read_cameras(parts, rows, rewound)
    if (folder / "tracks.npz").is_file():
        found["tracks"] = _read_tracks(folder / "tracks.npz", rewound)
    if not found:
        raise InputError(
            f"--priors {folder} holds no priors.", "docs/priors.md says how files must be named."
        )
    return found


def write_priors(folder: Path, rewound: Rewound, priors: Priors) -> None:
    """Writes all priors in the layout that `read_priors` reads."""
    for source in range(rewound.n_branches + 1):
        order = rewound.video(source)  # b_0 first, in driving videos too
        part = folder / ("base" if source == 0 else f"driving_{source}")
        for i, t in enumerate(order):
            grey = np.where(priors.masks[t] < 0, 128, priors.masks[t] * 255).astype(np.uint8)
            with replacing(part / "masks" / f"{i:05d}.png") as temporary:
                temporary.write_bytes(cv2.imencode(".png", grey)[1].tobytes())
        with replacing(part / "depth.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, depth=priors.depth[order])
        with replacing(part / "cameras.npz") as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                K=priors.cameras.K[order],
                w2c=priors.cameras.w2c[order],
                points=priors.cameras.points,
                width=rewound.clip.size[0],
            )
    with replacing(folder / "tracks.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(priors.tracks))


def to_mask(
    grey: NDArray[np.uint8], size: tuple[int, int]
) -> NDArray[np.float32]:  # (h, w) -> (H, W)
    """255 subject, 0 background, about 128 unknown; resized to the clip, with the border that
    resizing blurs unknown."""
    picture = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.where(picture > 191, 1.0, np.where(picture < 64, 0.0, -1.0)).astype(np.float32)


def _read_masks(part: Path, rewound: Rewound, rows: NDArray) -> NDArray | None:
    """Masks of one video in the order of ``rows``; None where it has none."""
    folder = part / "masks"
    if not folder.is_dir() or len(rows) == 0:
        return None
    out = []
    for t in rows:
        path = folder / f"{rewound.index[t]:05d}.png"
        need(path.is_file(), path, "there is no mask for this frame")
        grey = mask_picture(path)
        width, height = rewound.clip.size
        need(
            abs(grey.shape[1] / grey.shape[0] / (width / height) - 1) < 0.02,
            path,
            f"the mask is {grey.shape[1]} x {grey.shape[0]}, the video {width} x {height}",
        )
        out.append(to_mask(grey, rewound.clip.size))
    return np.stack(out)


def _read_depth(part: Path, rewound: Rewound, rows: NDArray) -> NDArray | None:
    """Depth of one video in the order of ``rows``; None where it has none."""
    width, height = rewound.clip.size
    if len(rows) == 0:
        return None
    single = part / "depth.npz"
    if single.is_file():
        stack = load_arrays(single, ("depth",))["depth"]
        need(
            stack.ndim == 3,
            single,
            f"depth has shape {stack.shape}, expected (frames, height, width)",
        )
        need(
            len(stack) > rewound.index[rows].max(),
            single,
            f"it has {len(stack)} frames, the video {rewound.index[rows].max() + 1}",
        )
        maps = [stack[rewound.index[t]] for t in rows]
    elif (part / "depth").is_dir():
        single = part / "depth"
        maps = []
        for t in rows:
            path = single / f"{rewound.index[t]:05d}.npy"
            need(path.is_file(), path, "there is no depth for this frame")
            try:
                maps.append(np.load(path, allow_pickle=False))
            except (ValueError, OSError, EOFError) as error:
                raise InputError(
                    f"{path} cannot be read: {error}.", "Write it with numpy.save."
                ) from error
            need(
                maps[-1].ndim == 2,
                path,
                f"depth has shape {maps[-1].shape}, expected (height, width)",
            )
    else:
        return None
    for found in maps:
        need(
            abs(found.shape[1] / found.shape[0] / (width / height) - 1) < 0.02,
            single,
            f"the depth is {found.shape[1]} x {found.shape[0]}, the video {width} x {height}",
        )
    out = np.stack(
        [
            cv2.resize(m.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
            for m in maps
        ]
    )
    need(
        np.isfinite(out).all() and (out >= 0).all(),
        single,
        "depth has negative values or such that are not finite",
    )
    return out


def _read_cameras(parts: list[Path], rows: list[NDArray], rewound: Rewound) -> Arrays:
    K = np.empty((len(rewound), 3, 3), np.float32)
    w2c = np.empty((len(rewound), 4, 4), np.float32)
    points = np.zeros((0, 3), np.float32)
    for source, (part, r) in enumerate(zip(parts, rows, strict=True)):
        path = part / "cameras.npz"
        if source > 0 and not path.is_file():
            K[r], w2c[r] = K[rewound.seam], w2c[rewound.seam]
        elif len(r):
            given = load_cameras(path, rewound.clip.size[0])
            n = int(rewound.index[r].max()) + 1
            need(len(given["K"]) >= n, path, f"it has {len(given['K'])} frames, the video {n}")
            K[r], w2c[r] = given["K"][rewound.index[r]], given["w2c"][rewound.index[r]]
            points = given["points"] if source == 0 else points
    return {"K": K, "w2c": w2c, "points": points, "kind": np.array(camera_kind(w2c))}


def _read_tracks(path: Path, rewound: Rewound) -> Arrays:
    given = load_arrays(path, ("xy", "visible", "confidence", "query"))
    points = len(given["query"])
    given.setdefault("behind", np.zeros((points, len(rewound)), np.float32))
    shapes = {
        "xy": (points, len(rewound), 2),
        "visible": (points, len(rewound)),
        "confidence": (points, len(rewound)),
        "query": (points,),
        "behind": (points, len(rewound)),
    }
    for name, shape in shapes.items():
        need(
            given[name].shape == shape,
            path,
            f"{name} has shape {given[name].shape}, expected {shape} for this rewound clip",
        )
    need(np.isfinite(given["xy"]).all(), path, "xy has values that are not finite")
    need(
        (np.isfinite(given["behind"]) & (given["behind"] >= 0)).all(),
        path,
        "behind has values that are negative or not finite",
    )
    need(
        ((given["confidence"] >= 0) & (given["confidence"] <= 1)).all(),
        path,
        "confidence leaves 0..1",
    )
    need(
        ((given["query"] >= 0) & (given["query"] < len(rewound))).all(),
        path,
        "query names frames that are not there",
    )
    kinds = {"xy": np.float32, "visible": np.bool_, "confidence": np.float32, "query": np.int32}
    kinds["behind"] = np.float32
    return {name: given[name].astype(kind) for name, kind in kinds.items()}
