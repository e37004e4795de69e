"""Shape-of-Motion's preprocessing layout (vye16/shape-of-motion, flow3d/data/casual_dataset.py) as
priors.

Read over the rewound frames in the order of the file names, or over the base's own: ``masks/*.png``
(subject > 0), ``aligned_depth_anything/*.png`` (uint16 disparity over 65535),
``bootstapir/{query}_{target}.npy`` (N, 4): column and row of pixel centres, occlusion and
expected-distance logits (only where all frames of the rewound clip have them). Files may lie in one
more folder with the sequence's name. Its cameras are a pickle, which is never opened: give
``cameras.npz`` beside them.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.errors import InputError
from restage4d.io.arrays import (
    Arrays,
    camera_kind,
    load_cameras,
    mask_picture,
    match_frames,
    need,
)

_DEPTHS = ("aligned_depth_anything", "aligned_depth_anything_v2", "unidepth_disp")
_TRACKS = ("bootstapir", "tapir")
_QUERIES = 12  # query frames whose tracks are read
_PER_QUERY = 400
_ERODE = 3  # pixels of unknown border, as Shape-of-Motion


def is_shape_of_motion(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (*_DEPTHS, *_TRACKS))


def read_shape_of_motion(folder: Path, rewound: Rewound) -> dict[str, Arrays]:
    """Masks, depth, cameras and tracks that ``folder`` has, as `restage4d.priors.files.read_priors`
    returns them.

    Raises:
        InputError: the number of files is neither that of the rewound clip's frames nor of the
            base's, or a file is damaged.
    """
    found: dict[str, Arrays] = {}
    shape = rewound.clip.frames.shape[:3]
    for name, folders, read in (("masks", ("masks",), _read_mask), ("depth", _DEPTHS, _read_depth)):
        part = _find_sequence(folder, folders)
        if part:
            files = sorted(p for p in part.iterdir() if p.suffix.lower() == ".png")
            out = np.full(shape, np.nan, np.float32)
            for t, path in zip(match_frames(part, len(files), rewound), files, strict=True):
                out[t] = read(path, rewound.clip.size)
            found[name] = {name: out}
    if (folder / "cameras.npz").is_file():
        found["cameras"] = _read_cameras(folder / "cameras.npz", rewound)
    elif (folder / "droid_recon").exists():
        raise InputError(
            f"{folder / 'droid_recon'} holds a pickle, which is never opened.",
            "Save its cameras as cameras.npz with K (T, 3, 3) and w2c (T, 4, 4); docs/priors.md "
            "has the lines that do it.",
        )
    part = _find_sequence(folder, _TRACKS)
    if part:
        stems = sorted({p.stem.rsplit("_", 1)[0] for p in part.glob("*_*.npy")})
        rows = match_frames(part, len(stems), rewound)
        if len(rows) == len(rewound):
            found["tracks"] = _read_tracks(
                part, stems, rows, _read_picture_size(folder, part), rewound.clip.size
            )
    return found


def _find_sequence(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the folders that is there, or the only folder in it: Shape-of-Motion keeps
    sequences one level down."""
    part = next((folder / name for name in names if (folder / name).is_dir()), None)
    while part and not any(p.is_file() for p in part.iterdir()):
        below = [p for p in part.iterdir() if p.is_dir()]
        need(len(below) == 1, part, f"it holds {len(below)} sequences, expected one")
        part = below[0]
    return part


def _read_picture_size(folder: Path, part: Path) -> tuple[int, int]:
    """(width, height) of the pictures that tracks were made on."""
    for names in (("images",), ("JPEGImages",), ("masks",), _DEPTHS):
        pictures = _find_sequence(folder, names)
        if pictures:
            picture = cv2.imdecode(
                np.fromfile(min(p for p in pictures.iterdir() if p.is_file()), np.uint8),
                cv2.IMREAD_UNCHANGED,
            )
            if picture is not None:
                return picture.shape[1], picture.shape[0]
    raise InputError(
        f"{part} has tracks, but nothing tells their pictures' size.",
        "Put the folder images or masks beside it.",
    )


def _read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    subject = cv2.resize(
        (mask_picture(path) > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST
    )
    kernel = np.ones((_ERODE, _ERODE), np.uint8)
    inside, outside = cv2.erode(subject, kernel), cv2.erode(1 - subject, kernel)
    return np.where(inside > 0, 1.0, np.where(outside > 0, 0.0, -1.0)).astype(np.float32)


def _read_depth(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint16 or picture.ndim != 2:
        raise InputError(
            f"{path} is not a 16-bit disparity picture.",
            "Make it with Shape-of-Motion's preprocessing.",
        )
    disparity = cv2.resize(
        picture.astype(np.float32) / 65535, size, interpolation=cv2.INTER_NEAREST
    )
    return np.where(disparity > 1e-4, 1 / np.maximum(disparity, 1e-4), 0).astype(np.float32)


def _read_cameras(path: Path, rewound: Rewound) -> Arrays:
    given = load_cameras(path, rewound.clip.size[0])
    rows = match_frames(path, len(given["K"]), rewound)
    found: Arrays = {"points": given["points"]}
    for name in ("K", "w2c"):
        found[name] = np.repeat(
            given[name][rows == rewound.seam], len(rewound), axis=0
        )  # driving cameras are steady
        found[name][rows] = given[name]
    return found | {"kind": np.array(camera_kind(found["w2c"]))}


def _read_tracks(
    folder: Path, stems: list[str], rows: NDArray, made_for: tuple[int, int], size: tuple[int, int]
) -> Arrays:
    """The T² files as one packed set: tracks of some query frames, visible as Shape-of-Motion takes
    them to be."""
    n = len(rows)
    order = np.argsort(rows)  # file of every frame
    xy, visible, confidence, query = [], [], [], []
    for q in np.unique(np.linspace(0, n - 1, min(_QUERIES, n)).astype(int)):
        files = [folder / f"{stems[q]}_{stems[i]}.npy" for i in order]
        try:
            stack = np.stack(
                [np.load(f, allow_pickle=False).astype(np.float32) for f in files], axis=1
            )  # (N, T, 4)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"The tracks of {stems[q]} in {folder} cannot be read: {error}.", "Make them again."
            ) from error
        need(
            stack.ndim == 3 and stack.shape[2] == 4,
            files[0],
            f"tracks have shape {stack.shape[::2]}, expected (tracks, 4)",
        )
        stack = stack[:: max(len(stack) // _PER_QUERY, 1)]
        occluded, uncertain = 1 / (1 + np.exp(-stack[..., 2])), 1 / (1 + np.exp(-stack[..., 3]))
        seen = (1 - occluded) * (1 - uncertain)
        hidden = occluded * (1 - uncertain)
        xy.append((stack[..., :2] + 0.5) * (np.array(size) / made_for))
        visible.append(seen > 0.5)
        confidence.append(np.where(seen > 0.5, seen, np.where(hidden > 0.5, hidden, 0)))
        query.append(np.full(len(stack), rows[q]))
    return {
        "xy": np.nan_to_num(np.concatenate(xy)).astype(np.float32),
        "visible": np.concatenate(visible),
        "confidence": np.concatenate(confidence).astype(np.float32),
        "query": np.concatenate(query).astype(np.int32),
    }
