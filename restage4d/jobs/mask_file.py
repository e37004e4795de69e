"""base_masks.npz of a job's results: the subject's masks of the base's frames, so that a person
sees which to correct. numpy only, as Blender reads it."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.io.atomic import replacing

NAME = "base_masks.npz"
Bool = NDArray[np.bool_]


def write_masks(path: Path, masks: Bool) -> None:  # (T, H, W)
    """Writes the masks, b_0 first: ``masks`` are their bits, a row per frame, and ``shape`` is
    theirs."""
    bits = np.packbits(masks.reshape(len(masks), -1), axis=1)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, masks=bits, shape=np.array(masks.shape))


def read_mask(path: Path, frame: int) -> Bool | None:  # (H, W)
    """The mask of a base frame, counted from b_0; None where there is none. Raises `InputError`
    where the file cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            n_frames, height, width = (int(n) for n in file["shape"])
            if not 0 <= frame < n_frames:
                return None
            bits = np.unpackbits(file["masks"][frame], count=height * width)
        return bits.reshape(height, width).astype(bool)
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} is no file of masks that can be read: {error}.", "Restage the shot again."
        ) from error
