"""Writing videos: H.264 that plays everywhere."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.io.atomic import replacing

U8 = NDArray[np.uint8]


def encode(path: str | Path, frames: Iterable[U8], fps: float, crf: int = 16) -> None:
    """Writes an H.264 mp4 that plays everywhere (yuv420p, BT.709, index first), whole or not at
    all.

    Args:
        path: ends in .mp4.
        frames: (H, W, 3) uint8 sRGB each, all of one size; an odd width or height is padded by
            repeating its last column or row.
        fps: frames per second.
        crf: x264 quality; 16 is visually lossless, higher is smaller.

    Raises:
        InputError: no frames, or the disk is full or may not be written.
    """
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as out,
    ):
        stream, size = None, (0, 0)
        for frame in frames:
            height, width = frame.shape[:2]
            even = (
                np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if height % 2 or width % 2
                else frame
            )
            if stream is None:
                size = (width, height)
                stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf)}
                stream.codec_context.colorspace = Colorspace.ITU709
                stream.codec_context.color_primaries = ColorPrimaries.BT709
                stream.codec_context.color_trc = ColorTrc.BT709
                stream.codec_context.color_range = ColorRange.MPEG
            if size != (width, height):
                raise ValueError(f"a frame of {width}x{height} after frames of {size[0]}x{size[1]}")
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24")
            picture = picture.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation="AREA",
            )
            out.mux(stream.encode(picture))
        if stream is None:
            raise InputError(f"There are no frames to write to {path}.")
        out.mux(stream.encode())
