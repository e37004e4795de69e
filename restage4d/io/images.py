"""Reading single pictures, from a folder or from inside a zip."""

import io
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from restage4d.errors import InputError
from restage4d.io.image_folders import PictureFile

U8 = NDArray[np.uint8]

_MAX_PIXELS = 4096 * 4096  # of one picture at full size: 4K and 5K pass, 8K does not
_MAX_FILE_BYTES = 256 << 20  # of a picture file, unpacked


def image(path: str | Path) -> U8:
    """Reads one picture (a mask, say) as (H, W) grey or (H, W, 3) RGB uint8, turned upright.

    Raises:
        InputError: missing, empty, unreadable or not a picture.
    """
    return read(Path(path), grey=True)


def read(path: PictureFile, grey: bool = False) -> U8:
    """One picture as RGB (or grey where it is grey and ``grey``), EXIF rotation applied. Raises
    `InputError` as `image` does."""
    data, _ = _checked(path)
    pixels = _decoded(path, data, cv2.IMREAD_ANYCOLOR if grey else cv2.IMREAD_COLOR)
    return np.asarray(
        pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8
    )


def read_with_alpha(path: PictureFile) -> tuple[U8, U8 | None]:
    """One picture as RGB (H, W, 3) with straight (not premultiplied) colours, and its alpha (H, W),
    None where it is opaque. Raises `InputError` as `image` does."""
    rgba = _transparent(path)
    if rgba is None:
        return read(path), None
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])


def read_alpha(path: PictureFile) -> U8 | None:
    """A picture's alpha (H, W), None where it is opaque. Raises `InputError` as `image` does."""
    rgba = _transparent(path)
    return None if rgba is None else np.ascontiguousarray(rgba[..., 3])


def read_values(path: PictureFile) -> NDArray:
    """The values of a picture as they are stored, of any depth: (H, W) or, in colour, (H, W, 3)
    RGB, without alpha. Raises `InputError` as `image` does."""
    data, picture = _checked(path)
    if picture is not None and picture.mode in ("F", "I"):  # 32 bits, which OpenCV refuses
        try:
            return np.asarray(picture)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise _no_picture(path) from error
    pixels = _decoded(path, data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def check_pixels(path: PictureFile, width: int, height: int) -> None:
    """Raises `InputError` where a picture of that size is too large to be worked with."""
    if width * height > _MAX_PIXELS:
        raise InputError(
            f"{path} is {width}x{height} pixels; at most {_MAX_PIXELS / 1e6:.1f} million pixels "
            "are read.",
            "Export it at 4K or smaller; the work is done at a few hundred pixels anyway.",
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


def _checked(path: PictureFile) -> tuple[NDArray[np.uint8], Image.Image | None]:
    """A file's bytes, and the picture with only its header read (None where Pillow does not know
    the kind), of a size that can be worked with."""
    # Read into memory: OpenCV's own file reading fails on non-ASCII paths on Windows.
    data = _bytes_of(path)
    try:
        picture = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has far too many pixels.", "Export it at 4K or smaller."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return np.frombuffer(data, np.uint8), None
    check_pixels(path, *picture.size)
    return np.frombuffer(data, np.uint8), picture


def _transparent(path: PictureFile) -> U8 | None:
    """A picture as (H, W, 4), turned upright; None where it is opaque everywhere."""
    _, picture = _checked(path)
    if picture is None or not picture.has_transparency_data:
        return None
    try:
        rgba = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))
    except (OSError, ValueError, SyntaxError, EOFError, zlib.error) as error:
        raise _no_picture(path) from error
    return rgba if rgba[..., 3].min() < 255 else None


def _bytes_of(path: PictureFile) -> bytes:
    try:
        if isinstance(path, Path):
            if is_folder(path):
                raise InputError(f"{path} is a folder, not a picture.", "Give a PNG or JPEG file.")
            size = path.stat().st_size
        else:
            size = path.root.getinfo(path.at).file_size
        if size > _MAX_FILE_BYTES:
            raise InputError(
                f"{path} has {size / 2**20:.0f} MiB, which is too large for a picture.",
                "Save it as PNG or JPEG.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Check the path and its permissions.",
        ) from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        what = str(error) if "encrypted" in str(error) else "the zip is damaged"
        raise InputError(
            f"{path} cannot be read: {what}.", "Pack the pictures again, without a password."
        ) from error
    if not data:
        raise InputError(f"{path} is empty (0 bytes).", "Copy or export it again.")
    return data


def _decoded(path: PictureFile, data: NDArray[np.uint8], flags: int) -> NDArray:
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise _no_picture(path)
    check_pixels(path, pixels.shape[1], pixels.shape[0])
    return pixels


def _no_picture(path: PictureFile) -> InputError:
    return InputError(f"{path} is not a picture that can be read.", "Save it again as PNG or JPEG.")
