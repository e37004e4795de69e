"""Shape-of-Motion's preprocessing layout (vye16/shape-of-motion, flow3d/data/casual_dataset.py) as priors.

Read over the rewound frames, in the order of the file names: ``masks/*.png`` (subject > 0), ``aligned_depth_anything/*.png``
(uint16 disparity over 65535), ``bootstapir/{query}_{target}.npy`` (N, 4): x, y, occlusion and expected-distance logits.
Its cameras are a pickle, which is never opened: give ``cameras.npz`` beside them.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d import video
from restage4d.errors import InputError
from restage4d.priors.arrays import Arrays, load_arrays, need
from restage4d.scene import Rewound

_DEPTHS = ("aligned_depth_anything", "aligned_depth_anything_v2", "unidepth_disp")
_TRACKS = ("bootstapir", "tapir")
_QUERIES = 12  # query frames whose tracks are read
_PER_QUERY = 400
_ERODE = 3  # pixels of unknown border, as Shape-of-Motion


def is_shape_of_motion(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (*_DEPTHS, *_TRACKS))


def read_shape_of_motion(folder: Path, rewound: Rewound) -> dict[str, Arrays]:
    """Masks, depth, cameras and tracks that ``folder`` has, as `restage4d.priors.files.read_priors` returns them.

    Raises:
        InputError: the number of files is not that of the rewound clip's frames, or a file is damaged.
    """
    found: dict[str, Arrays] = {}
    if (folder / "masks").is_dir():
        files = _files(folder / "masks", ".png", len(rewound))
        found["masks"] = {"masks": np.stack([_mask(f, rewound.clip.size) for f in files])}
    for name in _DEPTHS:
        if (folder / name).is_dir():
            files = _files(folder / name, ".png", len(rewound))
            found["depth"] = {"depth": np.stack([_depth(f, rewound.clip.size) for f in files])}
            break
    if (folder / "cameras.npz").is_file():
        found["cameras"] = _cameras(folder / "cameras.npz", rewound)
    elif (folder / "droid_recon").is_dir():
        raise InputError(
            f"{folder / 'droid_recon'} holds a pickle, which is never opened.",
            "Save its cameras as cameras.npz with K (T, 3, 3) and w2c (T, 4, 4).",
        )
    for name in _TRACKS:
        if (folder / name).is_dir():
            found["tracks"] = _tracks(folder / name, rewound)
            break
    return found


def _files(folder: Path, suffix: str, count: int) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() == suffix)
    if len(files) != count:
        raise InputError(
            f"{folder} has {len(files)} files, the rewound clip {count} frames.", "Preprocess the rewound clip itself."
        )
    return files


def _mask(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    subject = cv2.resize((video.image(path) > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    kernel = np.ones((_ERODE, _ERODE), np.uint8)
    inside, outside = cv2.erode(subject, kernel), cv2.erode(1 - subject, kernel)
    return np.where(inside > 0, 1.0, np.where(outside > 0, 0.0, -1.0)).astype(np.float32)


def _depth(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint16 or picture.ndim != 2:
        raise InputError(f"{path} is not a 16-bit disparity picture.", "Make it with Shape-of-Motion's preprocessing.")
    disparity = cv2.resize(picture.astype(np.float32) / 65535, size, interpolation=cv2.INTER_NEAREST)
    return np.where(disparity > 1e-4, 1 / np.maximum(disparity, 1e-4), 0).astype(np.float32)


def _cameras(path: Path, rewound: Rewound) -> Arrays:
    given = load_arrays(path, ("K", "w2c"))
    for name, shape in (("K", (3, 3)), ("w2c", (4, 4))):
        need(given[name].shape == (len(rewound), *shape), path, f"{name} has shape {given[name].shape}")
        need(np.isfinite(given[name]).all(), path, f"{name} has values that are not finite")
    return {
        "K": given["K"].astype(np.float32),
        "w2c": given["w2c"].astype(np.float32),
        "points": np.zeros((0, 3), np.float32),
        "kind": np.array("moving"),
    }


def _tracks(folder: Path, rewound: Rewound) -> Arrays:
    """The T² files as one packed set: tracks of some query frames, visible as Shape-of-Motion takes them to be."""
    stems = sorted({p.stem.rsplit("_", 1)[0] for p in folder.glob("*_*.npy")})
    n = len(rewound)
    if len(stems) != n:
        raise InputError(f"{folder} has tracks of {len(stems)} frames, the rewound clip has {n}.", "Preprocess the rewound clip.")
    xy, visible, confidence, query = [], [], [], []
    for q in np.unique(np.linspace(0, n - 1, min(_QUERIES, n)).astype(int)):
        files = [folder / f"{stems[q]}_{stems[t]}.npy" for t in range(n)]
        try:
            stack = np.stack([np.load(f, allow_pickle=False).astype(np.float32) for f in files], axis=1)  # (N, T, 4)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"The tracks of {stems[q]} in {folder} cannot be read: {error}.", "Make them again.") from error
        stack = stack[:: max(len(stack) // _PER_QUERY, 1)]
        occluded, uncertain = 1 / (1 + np.exp(-stack[..., 2])), 1 / (1 + np.exp(-stack[..., 3]))
        seen = (1 - occluded) * (1 - uncertain)
        hidden = occluded * (1 - uncertain)
        xy.append(stack[..., :2])
        visible.append(seen > 0.5)
        confidence.append(np.where(seen > 0.5, seen, np.where(hidden > 0.5, hidden, 0)))
        query.append(np.full(len(stack), q))
    return {
        "xy": np.nan_to_num(np.concatenate(xy)).astype(np.float32),
        "visible": np.concatenate(visible),
        "confidence": np.concatenate(confidence).astype(np.float32),
        "query": np.concatenate(query).astype(np.int32),
    }
