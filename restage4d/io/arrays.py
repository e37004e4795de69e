"""Reading named arrays and camera files safely, with errors that name the file."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.errors import InputError
from restage4d.io.images import PictureFile, read_alpha, read_values

Arrays = dict[str, NDArray]


def load_arrays(path: Path, names: tuple[str, ...]) -> Arrays:
    """Named arrays of an npz file. Raises `InputError` for a missing name, a damaged or a pickled
    file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [n for n in names if n not in file.files]
            if missing:
                raise InputError(
                    f"{path} lacks {', '.join(missing)}; it has {', '.join(file.files)}.",
                    "docs/priors.md has the names.",
                )
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read: {error}.",
            "Write it again with numpy.savez; pickles are never opened.",
        ) from error


def need(truth: object, path: Path, what: str) -> None:
    """Raises `InputError` naming the file unless ``truth``."""
    if not truth:
        raise InputError(f"{path}: {what}.", "docs/priors.md says what is expected.")


def load_cameras(path: Path, width: int) -> Arrays:
    """``K`` (T, 3, 3) in pixels of a picture ``width`` wide, ``w2c`` (T, 4, 4) and ``points`` (S,
    3) of a camera file.

    The file's ``width``, else twice the principal point's column, says for which width its ``K``
    is.
    """
    given = load_arrays(path, ("K", "w2c"))
    K, w2c, points = given["K"], given["w2c"], given.get("points", np.zeros((0, 3)))
    for name, array, shape in (("K", K, (3, 3)), ("w2c", w2c, (4, 4)), ("points", points, (3,))):
        expected = f"(frames, {shape[0]}, {shape[1]})" if len(shape) > 1 else "(points, 3)"
        need(
            array.ndim == len(shape) + 1 and array.shape[1:] == shape,
            path,
            f"{name} has shape {array.shape}, expected {expected}",
        )
        need(
            array.dtype.kind in "fiu" and np.isfinite(array).all(),
            path,
            f"{name} has values that are not finite numbers",
        )
    need(len(K) == len(w2c) > 0, path, f"K has {len(K)} frames, w2c {len(w2c)}")
    rotation = w2c[:, :3, :3].astype(np.float64)
    rigid = (
        np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3
        and (np.linalg.det(rotation) > 0).all()
    )
    need(
        rigid and np.abs(w2c[:, 3] - [0, 0, 0, 1]).max() < 1e-6,
        path,
        "w2c does not hold rigid motions (4x4, OpenCV axes)",
    )
    need(
        (K[:, [0, 1, 0, 1], [0, 1, 2, 2]] > 0).all(),
        path,
        "K has focal lengths or principal points that are not positive",
    )
    made_for = float(given["width"]) if "width" in given else 2 * float(np.median(K[:, 0, 2]))
    K = K.astype(np.float32)
    K[:, :2] *= width / made_for
    return {"K": K, "w2c": w2c.astype(np.float32), "points": points.astype(np.float32)}


def match_frames(path: Path, count: int, rewound: Rewound) -> NDArray[np.intp]:
    """Positions in the clip of the ``count`` frames that ``path`` holds: of all of it, or of its
    base, frame 0 first. Raises `InputError` where it holds another number of frames."""
    base = rewound.video(0)
    if count == len(rewound) and rewound.n_branches:
        return np.arange(count)
    if count == len(base):
        return base
    raise InputError(
        f"{path} has {count} frames, the rewound clip {len(rewound)}, the base {len(base)}.",
        "Run that program on the base (frame 0 first) or on the rewound clip.",
    )


def camera_kind(w2c: NDArray[np.float32]) -> str:
    """The kind "static", "pan" or "moving" (`restage4d.clips.Cameras.kind`), from the poses (T, 4,
    4)."""
    centres = -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3])
    if np.ptp(centres, axis=0).max() > 1e-5 * np.abs(w2c[:, :3, 3]).max() + 1e-9:
        return "moving"
    return "pan" if np.ptp(w2c[:, :3, :3], axis=0).max() > 1e-6 else "static"


def mask_picture(path: PictureFile) -> NDArray[np.uint8]:
    """A mask picture as (h, w), 255 where the subject is and 0 where not, between them as drawn.

    Of a picture with alpha (a cut-out) the alpha; else grey as it is, of a coloured one the
    brightest channel. Label pictures, whose values all lie below the middle or beyond what 8 bits
    hold, are stretched: of two values the higher is the subject, of more every one above the
    lowest.

    Raises:
        InputError: missing, or not a picture.

    Example:
        >>> np.unique(mask_picture(Path("labels_0_and_1.png")))
        array([  0, 255], dtype=uint8)
    """
    alpha = read_alpha(path)
    if alpha is not None and alpha.min() < alpha.max():
        return alpha
    values = read_values(path)
    values = values if values.ndim == 2 else values.max(-1)
    values = np.nan_to_num(values) if values.dtype.kind == "f" else values
    low, high = values.min(), values.max()
    whole = values.dtype.kind != "f"
    full = 255.0 if values.dtype == np.uint8 else 65535.0 if whole else 1.0
    two = not np.any((values != low) & (values != high))
    if low < high and ((two and (high <= full / 2 or low > full / 2)) or (whole and high < 32)):
        return np.where(values > low, 255, 0).astype(np.uint8)
    if whole and high <= 255:  # 8 bits in a file of 16
        full = 255.0
    return np.clip(np.round(values * (255 / full)), 0, 255).astype(np.uint8)
