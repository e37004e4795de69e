"""Reading single pictures."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError

U8 = NDArray[np.uint8]


def image(path: str | Path) -> U8:
    """Reads one picture (a mask, say) as (H, W) grey or (H, W, 3) RGB uint8, turned upright.

    Raises:
        InputError: missing, empty, unreadable or not a picture.
    """
    path = Path(path)
    if is_folder(path):
        raise InputError(f"{path} is a folder, not a picture.", "Give a PNG or JPEG file.")
    return read(path, grey=True)


def read(path: Path, grey: bool = False) -> U8:
    """One picture as RGB (or grey where it is grey and ``grey``), EXIF rotation applied. Raises
    `InputError` as `image` does."""
    is_folder(path)
    # Decoded from memory: OpenCV's own file reading fails on non-ASCII paths on Windows.
    flags = cv2.IMREAD_ANYCOLOR if grey else cv2.IMREAD_COLOR
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if pixels is None:
        raise InputError(
            f"{path} is not a picture that can be read.", "Save it again as PNG or JPEG."
        )
    return np.asarray(
        pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8
    )


def is_folder(path: Path) -> bool:
    """Tells folder from file; raises `InputError` for neither, for an empty file and for one that
    may not be read."""
    try:
        if path.is_dir():
            return True
        if not path.is_file():
            raise InputError(f"{path} does not exist.", "Check the path.")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes).", "Copy or export it again.")
        with path.open("rb"):
            return False
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
