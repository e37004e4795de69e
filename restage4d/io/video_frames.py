"""One decoded frame as the picture that a player shows: square pixels, upright, sRGB."""

from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from restage4d.io.colour import is_wide, to_srgb

U8 = NDArray[np.uint8]

BACKDROP = 128  # grey level that stands where a file is transparent


class Orientation(NamedTuple):
    """What makes a decoded frame upright: transposed first, then mirrored left-right and
    top-bottom."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool


def find_orientation(frame: VideoFrame) -> Orientation:
    """The orientation that a frame's display matrix asks for.

    The matrix (ISO/IEC 14496-12, 8.3.2.3) maps (x, y) to (a x + c y, b x + d y), y down. Turns
    between quarters go to the nearest one. Not for every frame of a video: a frame whose side data
    was looked at lives, with its scaler's threads, until the garbage collector comes.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation(False, False, False)
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(data), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


def shown_size(frame: VideoFrame, stream: VideoStream, turn: Orientation) -> tuple[int, int]:
    """(width, height) with square pixels, turned upright."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 16) <= aspect <= 16:  # what a damaged header may say
        aspect = Fraction(1)
    width, height = (
        (round(frame.width * aspect), frame.height)
        if aspect >= 1
        else (frame.width, round(frame.height / aspect))
    )
    return (height, width) if turn.transpose else (width, height)


def working_size(width: int, height: int, longer_side: int | None) -> tuple[int, int]:
    """Scaled down, never up; to even numbers where scaled, as video codecs want them."""
    if longer_side is None or max(width, height) <= longer_side:
        return width, height
    scale = longer_side / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def has_alpha(frame: VideoFrame) -> bool:
    """Tells whether a frame's pixel format can be transparent."""
    return frame.format.name == "pal8" or any(c.is_alpha for c in frame.format.components)


def picture(frame: VideoFrame, size: tuple[int, int], turn: Orientation) -> tuple[U8, U8 | None]:
    """A frame in sRGB, turned upright and scaled, and its alpha.

    Matrix and range are those that the file names; without, HD is BT.709 by convention and SD
    BT.601 (the library's default). A transparent frame is composited over mid-grey.

    Args:
        frame: as decoded.
        size: (width, height) upright.
        turn: of the video's first frame, see `find_orientation`.

    Returns:
        (height, width, 3) and, where its format has alpha, (height, width).
    """
    untagged_hd = frame.colorspace == 2 and min(frame.width, frame.height) >= 720
    matrix = Colorspace.ITU709 if untagged_hd else None
    width, height = size[::-1] if turn.transpose else size
    deep, transparent = is_wide(frame), has_alpha(frame)
    pixels = frame.to_ndarray(
        format=("rgba64le" if deep else "rgba")
        if transparent
        else ("rgb48le" if deep else "rgb24"),
        src_colorspace=matrix,
    )
    alpha = None
    if transparent:
        alpha = np.ascontiguousarray(pixels[..., 3])
        alpha = (alpha // 257 if deep else alpha).astype(np.uint8)
        pixels = np.ascontiguousarray(pixels[..., :3])
    if deep:
        if alpha is None:
            pixels = scaled(pixels, width, height)
        rgb = to_srgb(pixels.astype(np.uint16, copy=False), frame.color_trc, frame.color_primaries)
    else:
        rgb = np.asarray(pixels, np.uint8)
    if alpha is not None:
        rgb, alpha = composite(rgb, alpha), scaled(alpha, width, height)
    upright = [None if a is None else _turned(a, turn) for a in (scaled(rgb, width, height), alpha)]
    assert upright[0] is not None
    return upright[0], upright[1]


def composite(rgb: U8, alpha: U8) -> U8:
    """Straight (not premultiplied) colours over the backdrop."""
    if alpha.min() == 255:
        return rgb
    a = alpha[..., None].astype(np.uint32)
    return ((rgb * a + BACKDROP * (255 - a) + 127) // 255).astype(np.uint8)


def is_cut_out(rgb: U8, alpha: U8) -> bool:  # (..., 3), (...)
    """Whether nothing but the backdrop is where ``alpha`` is 0; else ``alpha`` is a mask that lies
    beside opaque pictures."""
    return bool((rgb[alpha == 0] == BACKDROP).all())


def scaled(pixels: NDArray, width: int, height: int) -> NDArray:
    """Smaller by area averaging, larger by cubic interpolation."""
    if pixels.shape[1::-1] == (width, height):
        return pixels
    smaller = width <= pixels.shape[1] and height <= pixels.shape[0]
    return np.asarray(
        cv2.resize(
            pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        ),
        pixels.dtype,
    )


def _turned(pixels: U8, turn: Orientation) -> U8:
    if turn.transpose:
        pixels = pixels.swapaxes(0, 1)
    if turn.mirror_x:
        pixels = pixels[:, ::-1]
    if turn.mirror_y:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
