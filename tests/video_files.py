"""Small videos of many kinds, made for tests by an encoder that shares nothing with the tool's
own."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def moving_scene(n: int, width: int = 96, height: int = 64) -> U8:
    """(n, height, width, 3): a soft ground with a red corner at the top left, a blue one at the
    bottom right and a white square that goes to the right; every frame differs from every other."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ground = np.stack([60 + 90 * x / width, 90 + 70 * y / height, 120 - 50 * x / width], -1)
    frames = np.repeat(ground[None], n, 0)
    frames[:, : height // 4, : width // 4] = (210, 40, 40)
    frames[:, -(height // 4) :, -(width // 4) :] = (40, 40, 210)
    side = height // 3
    for i in range(n):
        left = (width - side) * i // max(n - 1, 1)
        frames[i, side : 2 * side, left : left + side] = 225
    return np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in frames]).round().astype(np.uint8)


@dataclass(frozen=True)
class Kind:
    """How to write a file.

    Attributes:
        suffix: decides the container, unless ``container`` does.
        times: seconds of the frames; None: evenly at ``rate``.
        matrix: the display matrix's (a, b, c, d).
        colours: H.273 code points of (matrix, range, transfer, primaries).
        fields: "tff" or "bff": flagged as interlaced, the top or the bottom field first.
    """

    suffix: str
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = Fraction(24)
    options: dict[str, str] = field(default_factory=dict)
    container: str | None = None
    mux: dict[str, str] = field(default_factory=dict)
    times: tuple[float, ...] | None = None
    matrix: tuple[int, int, int, int] | None = None
    colours: tuple[int, int, int, int] | None = None
    aspect: Fraction | None = None
    sound: bool = False
    fields: str | None = None


def write_video(path: Path, frames: NDArray, kind: Kind, source: str = "rgb24") -> Path:
    """Writes frames (T, H, W, C) of pixel format ``source``."""
    with av.open(str(path), "w", format=kind.container, options=dict(kind.mux)) as out:
        base = Fraction(1, 1000) if kind.times is not None else 1 / kind.rate
        stream = out.add_stream(kind.codec, rate=1 / base if kind.times is not None else kind.rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = kind.pix_fmt
        stream.bit_rate = 4_000_000
        stream.options = dict(kind.options)
        if kind.matrix is not None:
            a, b, c, d = (v << 16 for v in kind.matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if kind.aspect is not None:
            stream.codec_context.sample_aspect_ratio = kind.aspect
        coded = {}
        if kind.colours is not None:
            matrix, span, transfer, primaries = kind.colours
            context = stream.codec_context
            context.colorspace, context.color_range = matrix, span
            context.color_trc, context.color_primaries = transfer, primaries
            coded = {"dst_colorspace": matrix, "dst_color_range": span}
        if kind.sound:
            voice = out.add_stream("aac" if kind.suffix != ".webm" else "libopus", rate=48000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), "fltp", "mono")
            silence.sample_rate = 48000
            out.mux(voice.encode(silence))
            out.mux(voice.encode())
        flag = None
        if kind.fields:
            flag = Graph()
            shape = VideoFormat(kind.pix_fmt, frames.shape[2], frames.shape[1])
            flag.link_nodes(
                flag.add_buffer(
                    width=shape.width, height=shape.height, format=shape, time_base=base
                ),
                flag.add("setfield", kind.fields),
                flag.add("buffersink"),
            ).configure()
        for i, pixels in enumerate(frames):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), source)
            frame = frame.reformat(format=kind.pix_fmt, **coded)
            time = kind.times[i] if kind.times is not None else i * base
            frame.pts, frame.time_base = round(time / base), base
            if flag:
                flag.push(frame)
                frame = flag.vpull()
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def plain_decode(path: Path, format: str = "rgb24") -> NDArray:
    """Every frame in output order as FFmpeg gives it, nothing turned or scaled."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format=format) for f in container.decode(video=0)])


def psnr(a: NDArray, b: NDArray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures in dB."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
