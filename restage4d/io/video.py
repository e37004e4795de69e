"""Videos in and out: files by PyAV, or a folder of numbered pictures.

Everything is checked from the file's header before a frame is decoded, and frames are scaled while
they are decoded, so that memory holds the clip at working size and a few frames at full size, never
the whole video at full size.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.io.image_folders import pictures_in
from restage4d.io.images import is_folder, read

U8 = NDArray[np.uint8]
T = TypeVar("T")

_MAX_PIXELS = 4096 * 4096  # of one frame at full size: 4K and 5K pass, 8K does not
_MAX_BYTES = 2 << 30  # of the decoded clip
# FFmpeg also "plays" text files, and playlists that name other files and addresses; only real video
# containers are opened.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,gif,apng,h264,hevc,ivf,mxf,"
    "mp3,wav,flac,aac"
)


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says. ``width`` and ``height`` are as shown: turned upright, with
    square pixels.

    ``frames`` and ``seconds`` are 0 where the header does not tell (some live recordings).
    """

    width: int
    height: int
    fps: float
    frames: int
    seconds: float


# --- reading --------------------------------------------------------------------------------------


def probe(path: str | Path, *, folder_fps: float = 24.0) -> VideoInfo:
    """Size, rate and length of a video file or a folder of pictures, from its header and first
    frame.

    Raises:
        InputError: missing, empty, unreadable, no video, no picture in it.
    """
    path = Path(path)
    if is_folder(path):
        files = pictures_in(path)
        height, width = read(files[0]).shape[:2]
        return VideoInfo(width, height, folder_fps, len(files), len(files) / folder_fps)
    with _open(path) as container:
        return _info(path, container)[0]


def decode(
    path: str | Path,
    *,
    longer_side: int | None = 384,
    max_frames: int = 400,
    start: float = 0.0,
    stop: float | None = None,
    folder_fps: float = 24.0,
) -> Clip:
    """Decodes a video file, or a folder of pictures in the natural order of their names, to frames
    at a constant rate.

    Rotation and pixel shape are applied. A variable frame rate becomes its mean rate: every moment
    of the even grid takes the frame nearest to it, so that an even video passes unchanged, frame by
    frame.

    Args:
        path: mp4, mov, webm, mkv, avi, gif ...; or a folder of jpg/png/webp/bmp/tif pictures of one
            size.
        longer_side: frames larger than this are scaled down by area averaging, to even width and
            height; None: never.
        max_frames: more frames than this are refused before decoding.
        start, stop: the part to decode, in seconds from the first frame; None: to the end.
        folder_fps: the rate of a folder of pictures.

    Raises:
        InputError: bad, damaged, too large or too long input; says what, where and what to do.
    """
    path = Path(path)
    if start < 0 or (stop is not None and stop <= start):
        raise InputError(
            f"The part from {start:g} s to {stop} s of {path} is empty.",
            "Give a start before the stop.",
        )
    if is_folder(path):
        return _decode_folder(path, longer_side, max_frames, start, stop, folder_fps)
    with _open(path) as container:
        info, origin = _info(path, container)
        length_known = _own_seconds(_stream(container)) is not None
        stop_at = min(stop if stop is not None else np.inf, info.seconds or np.inf)
        if info.seconds and start >= info.seconds:
            raise InputError(
                f"{path} lasts {info.seconds:.1f} s; nothing is left after {start:g} s.",
                "Give an earlier start.",
            )
        if np.isfinite(stop_at):
            _check_length(path, round((stop_at - start) * info.fps), info.fps, max_frames)
    with _open(path) as container:
        times = _packet_times(container, origin, start, stop, max_frames)
    if len(times) > max_frames * 1.2:
        _check_length(path, len(times), info.fps, max_frames)
    if not times:
        raise InputError(
            f"{path} holds no frames between {start:g} s and {stop_at:g} s.",
            "Copy or export it again.",
        )
    fps = _rate(info.fps, times)
    size = _working_size(info.width, info.height, longer_side)
    _check_bytes(path, len(times), size)
    with _open(path) as container:
        held = list(_resample(_frames(container, origin, size, start, stop), fps))
    end = min(info.seconds, stop if stop is not None else np.inf) if length_known else times[-1]
    expected = round((end - start) * fps)
    if len(held) < 0.9 * expected - 1:
        raise InputError(
            f"{path} is damaged: only {len(held)} of about {expected} frames can be read.",
            "Copy or export it again.",
        )
    return _clip(path, held, fps, max_frames)


def _open(path: Path) -> InputContainer:
    """Opens a video and checks its header: a picture stream of a size that can be worked with."""
    if isinstance(path, Path):
        is_folder(path)
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        container = av.open(str(path), options=options)
    except (FFmpegError, ValueError) as error:
        with path.open("rb") as file:
            cut = file.read(8)[4:] == b"ftyp"
        if cut:
            raise InputError(
                f"{path} breaks off: its index is missing.", "Copy or export it again."
            ) from error
        raise InputError(
            f"{path} is not a video.", "Give an mp4, mov or webm file, or a folder of pictures."
        ) from error
    streams = [
        s for s in container.streams.video if not int(s.disposition) & 0x400
    ]  # 0x400: an album cover
    if not streams:
        sound = " It has sound only." if container.streams.audio else ""
        container.close()
        raise InputError(f"{path} has no picture in it.{sound}", "Give a video with pictures.")
    return container


def _stream(container: InputContainer) -> VideoStream:
    return next(s for s in container.streams.video if not int(s.disposition) & 0x400)


def _own_seconds(stream: VideoStream) -> float | None:
    """The length of this very stream, None where the header only knows the whole file's."""
    container = stream.container
    assert isinstance(container, InputContainer)
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(
            stream.frames / stream.average_rate
        )  # its duration is cut to what the file still holds
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    clock = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if clock:
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    return (
        container.duration / av.time_base
        if container.duration and len(container.streams) == 1
        else None
    )


def _info(path: Path, container: InputContainer) -> tuple[VideoInfo, float]:
    """The header, and the time of the first frame on the container's own clock."""
    stream = _stream(container)
    _check_pixels(path, stream.width, stream.height)
    stream.thread_type = "AUTO"
    try:
        frame = next(container.decode(stream))
    except (StopIteration, FFmpegError) as error:
        raise InputError(
            f"{path} is damaged: not one frame can be read.", "Copy or export it again."
        ) from error
    width, height = _shown_size(frame, stream)
    seconds = _own_seconds(stream) or (container.duration or 0) / av.time_base
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    fps = float(rate) if rate and 0 < rate <= 1000 else 24.0
    return VideoInfo(
        width, height, fps, stream.frames or round(seconds * fps), seconds
    ), frame.time or 0.0


def _shown_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = (
        (round(frame.width * aspect), frame.height)
        if aspect >= 1
        else (frame.width, round(frame.height / aspect))
    )
    return (height, width) if frame.rotation % 180 else (width, height)


def _working_size(width: int, height: int, longer_side: int | None) -> tuple[int, int]:
    """Scaled down, never up; to even numbers where scaled, as video codecs want them."""
    if longer_side is None or max(width, height) <= longer_side:
        return width, height
    scale = longer_side / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _packet_times(
    container: InputContainer, origin: float, start: float, stop: float | None, max_frames: int
) -> list[float]:
    """Times of the wanted part's packets, in seconds from the first frame, read without decoding;
    ends where too many."""
    stream = _seek(container, origin + start)
    times: list[float] = []
    for packet in container.demux(stream):
        if packet.pts is None or packet.time_base is None:
            continue
        time = float(packet.pts * packet.time_base) - origin
        if (stop is not None and time > stop + 2) or len(
            times
        ) > 2 * max_frames:  # 2 s: packets are stored out of order
            break
        if start - 1e-6 <= time and (stop is None or time < stop - 1e-6):
            times.append(time)
    return sorted(times)


def _seek(container: InputContainer, time: float) -> VideoStream:
    """Goes to the last whole picture before a time, where the container can; else stays at the
    beginning."""
    stream = _stream(container)
    if time > 0 and stream.time_base:
        with contextlib.suppress(FFmpegError):
            container.seek(int(time / stream.time_base), stream=stream)
    return stream


def _rate(header: float, times: list[float]) -> float:
    """The header's rate where the packets agree with it, else theirs: headers of live recordings
    invent rates."""
    if len(times) < 3 or times[-1] <= times[0]:
        return header
    measured = (len(times) - 1) / (times[-1] - times[0])
    return header if abs(measured / header - 1) < 0.02 else measured


def _frames(
    container: InputContainer,
    origin: float,
    size: tuple[int, int],
    start: float,
    stop: float | None,
) -> Iterator[tuple[float, U8]]:
    """(seconds from the first frame, upright RGB frame of that size) of the wanted part."""
    stream = _seek(container, origin + start)
    stream.thread_type = "AUTO"
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except FFmpegError:  # a damaged packet; what is missing is counted at the end
            continue
        for frame in decoded:
            if not isinstance(frame, VideoFrame) or frame.time is None:
                continue
            time = frame.time - origin
            if stop is not None and time >= stop - 1e-6:
                return
            if time >= start - 1e-6:
                yield time, _rgb(frame, size)


def _rgb(frame: VideoFrame, size: tuple[int, int]) -> U8:
    """One frame in sRGB, turned upright and scaled."""
    # Untagged HD is BT.709 by convention, untagged SD BT.601 (the library's default).
    untagged_hd = frame.colorspace == 2 and min(frame.width, frame.height) >= 720
    rgb = np.asarray(
        frame.to_ndarray(format="rgb24", src_colorspace=Colorspace.ITU709 if untagged_hd else None),
        np.uint8,
    )
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    width, height = size if turns % 2 == 0 else size[::-1]
    return np.ascontiguousarray(np.rot90(_scaled(rgb, width, height), turns))


def _scaled(rgb: U8, width: int, height: int) -> U8:
    if rgb.shape[1::-1] == (width, height):
        return rgb
    smaller = width <= rgb.shape[1] and height <= rgb.shape[0]
    return np.asarray(
        cv2.resize(
            rgb, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        ),
        np.uint8,
    )


def _resample(frames: Iterable[tuple[float, T]], fps: float) -> Iterator[T]:
    """For every moment of an even grid that starts with the first frame, the frame nearest in
    time."""
    origin, k, before = 0.0, 0, None
    for time, frame in frames:
        if before is None:
            origin = time
        else:
            while origin + k / fps <= (before[0] + time) / 2:
                yield before[1]
                k += 1
        before = (time, frame)
    if before is not None:
        while origin + k / fps <= before[0] + 0.5 / fps:
            yield before[1]
            k += 1


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > _MAX_PIXELS:
        raise InputError(
            f"{path} is {width}x{height} pixels; at most {_MAX_PIXELS / 1e6:.1f} million pixels "
            "are read.",
            "Export it at 4K or smaller; the work is done at a few hundred pixels anyway.",
        )


def _check_length(path: Path, frames: int, fps: float, max_frames: int) -> None:
    if frames > max_frames:
        raise InputError(
            f"{path} has about {frames} frames ({frames / fps:.1f} s); at most {max_frames} are "
            "taken.",
            f"Cut it to {max_frames / fps:.1f} s, or give a start and a stop.",
        )


def _check_bytes(path: Path, frames: int, size: tuple[int, int]) -> None:
    need = frames * size[0] * size[1] * 3
    if need > _MAX_BYTES:
        raise InputError(
            f"{path} would take {need / 2**30:.1f} GiB as {frames} frames of {size[0]}x{size[1]}.",
            "Give a shorter part or a smaller working size.",
        )


def _clip(path: Path, frames: list[U8], fps: float, max_frames: int) -> Clip:
    if len(frames) < 2:
        raise InputError(f"{path} has a single frame.", "Give a video of at least two frames.")
    return Clip(np.stack(frames[:max_frames]), fps)


def _decode_folder(
    folder: Path,
    longer_side: int | None,
    max_frames: int,
    start: float,
    stop: float | None,
    fps: float,
) -> Clip:
    files = pictures_in(folder)
    files = files[round(start * fps) : None if stop is None else round(stop * fps)]
    if not files:
        raise InputError(
            f"{folder} holds no pictures from {start:g} s on at {fps:g} fps.",
            "Give an earlier start.",
        )
    _check_length(folder, len(files), fps, max_frames)
    frames: list[U8] = []
    full = None
    for file in files:
        rgb = read(file)
        full = full or rgb.shape
        if rgb.shape != full:
            raise InputError(
                f"{file} is {rgb.shape[1]}x{rgb.shape[0]} pixels, {files[0].name} is "
                f"{full[1]}x{full[0]}.",
                "Give pictures of one size.",
            )
        size = _working_size(rgb.shape[1], rgb.shape[0], longer_side)
        if not frames:
            _check_pixels(file, rgb.shape[1], rgb.shape[0])
            _check_bytes(folder, len(files), size)
        frames.append(_scaled(rgb, *size))
    return _clip(folder, frames, fps, max_frames)


# --- writing --------------------------------------------------------------------------------------


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
