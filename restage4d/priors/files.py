"""Priors from files, and to files (docs/priors.md has the layout).

A folder holds one subfolder per video, ``base`` and ``driving_1``, ``driving_2`` ...; frames are numbered as in that video
(b_0 is 00000). A folder without ``base`` is the base's own, so that masks or a rendered stage can be given as they are.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d import video
from restage4d.errors import InputError
from restage4d.files import replacing
from restage4d.priors.arrays import Arrays, load_arrays, need
from restage4d.priors.som import is_shape_of_motion, read_shape_of_motion
from restage4d.scene import Priors, Rewound


def read_priors(folder: Path, rewound: Rewound) -> dict[str, Arrays]:
    """What ``folder`` gives for every frame of the clip.

    Returns:
        Any of "masks" {masks (T, H, W)}, "depth" {depth (T, H, W)}, "cameras" {K (T, 3, 3), w2c (T, 4, 4), points (S, 3),
        kind ()}, "tracks" {xy, visible, confidence, query}; what is not given for all frames is left out. A driving video
        without cameras of its own has the base's first one, since driving cameras are steady.

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
    masks = [_masks(p, rewound, r) for p, r in zip(parts, rows, strict=True)]
    if all(m is not None for m in masks):
        found["masks"] = {"masks": _joined(masks, rows, len(rewound))}
    depth = [_depth(p, rewound, r) for p, r in zip(parts, rows, strict=True)]
    if all(d is not None for d in depth):
        found["depth"] = {"depth": _joined(depth, rows, len(rewound))}
    if (parts[0] / "cameras.npz").is_file():
        found["cameras"] = _cameras(parts, rows, rewound)
    if (folder / "tracks.npz").is_file():
        found["tracks"] = _tracks(folder / "tracks.npz", rewound)
    if not found and not any(m is not None for m in masks + depth):
        raise InputError(f"--priors {folder} holds no priors.", "docs/priors.md says how files must be named.")
    return found


def write_priors(folder: Path, rewound: Rewound, priors: Priors) -> None:
    """Writes all priors in the layout that `read_priors` reads."""
    for source in range(rewound.n_branches + 1):
        rows = np.flatnonzero(rewound.source == source)
        order = rows[np.argsort(rewound.index[rows])]
        part = folder / ("base" if source == 0 else f"driving_{source}")
        for t in order:
            grey = np.where(priors.masks[t] < 0, 128, priors.masks[t] * 255).astype(np.uint8)
            with replacing(part / "masks" / f"{rewound.index[t]:05d}.png") as temporary:
                cv2.imwrite(str(temporary), grey)
        with replacing(part / "depth.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, depth=priors.depth[order])
        with replacing(part / "cameras.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, K=priors.cameras.K[order], w2c=priors.cameras.w2c[order])
    with replacing(folder / "tracks.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(priors.tracks))


def to_mask(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:  # (h, w) -> (H, W)
    """255 subject, 0 background, about 128 unknown; resized to the clip, with the border that resizing blurs unknown."""
    picture = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.where(picture > 191, 1.0, np.where(picture < 64, 0.0, -1.0)).astype(np.float32)


def _joined(parts: list, rows: list[NDArray], frames: int) -> NDArray:
    out = np.empty((frames, *parts[0].shape[1:]), np.float32)
    for part, r in zip(parts, rows, strict=True):
        out[r] = part
    return out


def _masks(part: Path, rewound: Rewound, rows: NDArray) -> NDArray | None:
    """Masks of one video in the order of ``rows``; None where it has none. A video of no frames has all of them."""
    folder = part / "masks"
    if len(rows) and not folder.is_dir():
        return None
    out = [np.zeros((0, *rewound.clip.frames.shape[1:3]), np.float32)]
    for t in rows:
        path = folder / f"{rewound.index[t]:05d}.png"
        need(path.is_file(), path, "there is no mask for this frame")
        grey = video.image(path)
        width, height = rewound.clip.size
        need(
            abs(grey.shape[1] / grey.shape[0] / (width / height) - 1) < 0.02,
            path,
            f"the mask is {grey.shape[1]} x {grey.shape[0]}, the video {width} x {height}",
        )
        out.append(to_mask(grey, rewound.clip.size)[None])
    return np.concatenate(out)


def _depth(part: Path, rewound: Rewound, rows: NDArray) -> NDArray | None:
    width, height = rewound.clip.size
    if len(rows) == 0:
        return np.zeros((0, height, width), np.float32)
    single = part / "depth.npz"
    if single.is_file():
        stack = load_arrays(single, ("depth",))["depth"]
        need(stack.ndim == 3, single, f"depth has shape {stack.shape}, expected (frames, height, width)")
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
                raise InputError(f"{path} cannot be read: {error}.", "Write it with numpy.save.") from error
            need(maps[-1].ndim == 2, path, f"depth has shape {maps[-1].shape}, expected (height, width)")
    else:
        return None
    out = np.stack([cv2.resize(m.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST) for m in maps])
    need(np.isfinite(out).all() and (out >= 0).all(), single, "depth has negative values or such that are not finite")
    return out


def _cameras(parts: list[Path], rows: list[NDArray], rewound: Rewound) -> Arrays:
    width, _ = rewound.clip.size
    K = np.empty((len(rewound), 3, 3), np.float32)
    w2c = np.empty((len(rewound), 4, 4), np.float32)
    for source, (part, r) in enumerate(zip(parts, rows, strict=True)):
        path = part / "cameras.npz"
        if source > 0 and not path.is_file():
            K[r], w2c[r] = K[rewound.seam], w2c[rewound.seam]
            continue
        if len(r) == 0:
            continue
        given = load_arrays(path, ("K", "w2c"))
        n = int(rewound.index[r].max()) + 1
        for name, shape in (("K", (3, 3)), ("w2c", (4, 4))):
            a = given[name]
            need(
                a.ndim == 3 and a.shape[1:] == shape,
                path,
                f"{name} has shape {a.shape}, expected (frames, {shape[0]}, {shape[1]})",
            )
            need(len(a) >= n, path, f"{name} has {len(a)} frames, the video {n}")
            need(np.isfinite(a).all(), path, f"{name} has values that are not finite")
        rotation = given["w2c"][:, :3, :3]
        need(np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3, path, "w2c does not hold rotations")
        # K is for the size the cameras were made at: the principal point tells, or "width" says so.
        scale = width / float(given["width"]) if "width" in given else _scale(given["K"], width)
        scaled = given["K"][rewound.index[r]].astype(np.float32)
        scaled[:, :2] *= scale
        K[r], w2c[r] = scaled, given["w2c"][rewound.index[r]]
    centres = -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3])
    still = np.ptp(centres, axis=0).max() < 1e-6
    kind = "moving" if not still else "static" if np.abs(w2c - w2c[0]).max() < 1e-6 else "pan"
    return {"K": K, "w2c": w2c, "points": np.zeros((0, 3), np.float32), "kind": np.array(kind)}


def _scale(K: NDArray, width: int) -> float:
    """Working width over the width K was made for, taking the principal point to lie in the middle."""
    return width / (2 * float(np.median(K[:, 0, 2])))


def _tracks(path: Path, rewound: Rewound) -> Arrays:
    given = load_arrays(path, ("xy", "visible", "confidence", "query"))
    points = len(given["query"])
    shapes = {
        "xy": (points, len(rewound), 2),
        "visible": (points, len(rewound)),
        "confidence": (points, len(rewound)),
        "query": (points,),
    }
    for name, shape in shapes.items():
        need(given[name].shape == shape, path, f"{name} has shape {given[name].shape}, expected {shape} for this rewound clip")
    need(np.isfinite(given["xy"]).all(), path, "xy has values that are not finite")
    need(((given["confidence"] >= 0) & (given["confidence"] <= 1)).all(), path, "confidence leaves 0..1")
    need(((given["query"] >= 0) & (given["query"] < len(rewound))).all(), path, "query names frames that are not there")
    kinds = {"xy": np.float32, "visible": np.bool_, "confidence": np.float32, "query": np.int32}
    return {name: given[name].astype(kind) for name, kind in kinds.items()}
