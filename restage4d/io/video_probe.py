"""What a video file holds, told from its header, its first packets and its first frame.

Headers are wrong in real files: lengths include what is not shown, mean rates hide a burst of
frames, streams without a container have neither. So packets are read (not decoded) up to a limit,
which is the whole of an ordinary clip, and the header fills in what they do not tell.
"""

import contextlib
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from restage4d.errors import InputError
from restage4d.io.colour import HLG, PQ
from restage4d.io.images import check_pixels, is_folder
from restage4d.io.video_frames import (
    Orientation,
    find_orientation,
    has_alpha,
    shown_size,
)

# FFmpeg also "plays" text files, and playlists that name other files and addresses; only real video
# containers are opened.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,gif,apng,h264,hevc,ivf,mxf,"
    "dv,obu,yuv4mpegpipe,mp3,wav,flac,aac"
)
_COVER = 0x400  # disposition of an album cover
_DECODED_PIXELS = 8192 * 4352  # what a decoder may allocate: 8K, so that its size can be told
_SCANNED_BYTES, _SCANNED_PACKETS = 32 << 20, 20000
_FASTEST = 60.5  # frames per second that are all taken; of faster ones every n-th
_USUAL = 30.0
_RATES = [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60)] + [
    Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120, 240)
]
UNREADABLE = (FFmpegError, ValueError, MemoryError, OverflowError)  # what a damaged file raises


@dataclass(frozen=True)
class Header:
    """A video before it is decoded.

    Attributes:
        width, height: as shown: turned upright, with square pixels.
        orientation: how the decoded frames come to stand upright.
        rate: frames per second of the file where they follow one another fastest.
        every: of how many of them one is taken.
        origin: the first frame's presentation time in seconds of the file's own clock.
        frames: number of frames on the even grid, 0 where unknown.
        seconds: length, 0 where unknown.
        promised: seconds that the index promises, None where there is none to hold it to.
        indexed: frames that the index lists, 0 where there is none.
        seekable: the container finds a moment by its presentation time.
        alpha: the first frame is transparent somewhere.
        notes: what a person should know, a sentence each.
    """

    width: int
    height: int
    orientation: Orientation
    rate: float
    every: int
    origin: float
    frames: int
    seconds: float
    promised: float | None
    indexed: int
    seekable: bool
    alpha: bool
    notes: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Frames per second of the even grid."""
        return self.rate / self.every


@dataclass
class _Scan:
    """The first packets of a stream: times in seconds, sorted; ``counted`` packets that hold a
    frame; ``complete``: to the stream's end."""

    first: VideoFrame | None
    times: list[float]
    counted: int
    complete: bool


def open_video(path: Path) -> InputContainer:
    """Opens a video that has a picture stream. Raises `InputError` for anything else."""
    is_folder(path)
    try:
        # "file:" because in "take:2.mp4" the name's own colon would name a protocol.
        container = av.open(
            f"file:{path}",
            options={
                "format_whitelist": _CONTAINERS,
                "protocol_whitelist": "file",
                "max_pixels": str(_DECODED_PIXELS),
            },
            metadata_errors="replace",
        )
    except UNREADABLE as error:
        with path.open("rb") as file:
            cut = file.read(8)[4:] == b"ftyp"
        if cut:
            raise InputError(
                f"{path} breaks off: its index is missing.", "Copy or export it again."
            ) from error
        raise InputError(
            f"{path} is not a video.", "Give an mp4, mov or webm file, or a folder of pictures."
        ) from error
    if not any(not int(s.disposition) & _COVER for s in container.streams.video):
        sound = " It has sound only." if container.streams.audio else ""
        container.close()
        raise InputError(f"{path} has no picture in it.{sound}", "Give a video with pictures.")
    if picture_stream(container).codec_context is None:
        container.close()
        raise InputError(
            f"{path} is coded in a way that is not known here.", "Export it as H.264 mp4."
        )
    return container


def picture_stream(container: InputContainer) -> VideoStream:
    """The first picture stream that is no album cover."""
    return next(s for s in container.streams.video if not int(s.disposition) & _COVER)


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder; for VP8 and VP9 with alpha the one that decodes it too (FFmpeg's own
    leaves it out)."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name and stream.metadata.get("alpha_mode") == "1" and name in av.codecs_available:
        decoder = CodecContext.create(name, "r")
        assert isinstance(decoder, VideoCodecContext)
        return decoder
    stream.codec_context.thread_type = "AUTO"
    return stream.codec_context


def holds_frame(packet: Packet) -> bool:
    """Tells whether a packet is to be shown, and not one cut off by an edit list or an empty one
    that repeats the frame before."""
    return packet.size > 0 and not packet.is_discard


def read_header(path: Path) -> Header:
    """Reads what a video holds. Raises `InputError`: unreadable, no video, too large."""
    try:
        return _read_header(path)
    except UNREADABLE as error:
        raise InputError(
            f"{path} is damaged: its first frame cannot be read ({error}).",
            "Copy or export it again.",
        ) from error


def _read_header(path: Path) -> Header:
    with open_video(path) as container:
        stream = picture_stream(container)
        check_pixels(path, stream.width, stream.height)
        scan = _scan(container, stream)
        frame = scan.first
        if frame is None:
            raise InputError(
                f"{path} is damaged: not one frame can be read.", "Copy or export it again."
            )
        check_pixels(path, frame.width, frame.height)
        orientation = find_orientation(frame)
        width, height = shown_size(frame, stream, orientation)
        check_pixels(path, width, height)
        rate, varies = _rate(stream, scan.times)
        every = int(np.ceil(rate / _USUAL - 0.05)) if rate > _FASTEST else 1
        own, origin = _own_seconds(stream), _time(frame, stream)
        if own and "matroska" in container.format.name:  # counts from the clock's zero
            own -= max(origin, 0.0)
        if scan.complete:
            shown = (scan.times[-1] - scan.times[0]) * rate + 1 if scan.times else scan.counted
            frames = max(1, int(np.ceil((round(shown) - 1e-9) / every)))
            seconds = frames * every / rate
        else:
            seconds = own or (container.duration or 0) / av.time_base
            frames = round(seconds * rate / every)
        return Header(
            width,
            height,
            orientation,
            rate,
            every,
            origin=origin,
            frames=frames,
            seconds=seconds,
            promised=own if _keeps_its_word(container) else None,
            indexed=_indexed(container, stream),
            seekable=container.format.name not in ("avi", "gif", "apng") and bool(scan.times),
            alpha=has_alpha(frame) and bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255),
            notes=_notes(frame, rate, every, varies),
        )


def _scan(container: InputContainer, stream: VideoStream) -> _Scan:
    decoder, first, times, counted, size = decoder_of(stream), None, [], 0, 0
    timed = True
    try:
        for packet in container.demux(stream):
            if first is None and (packet.size or packet.dts is None):
                with contextlib.suppress(*UNREADABLE):  # the next packet may do
                    first = next(iter(decoder.decode(packet)), None)
            if not holds_frame(packet):
                continue
            counted, size = counted + 1, size + packet.size
            timed = timed and packet.pts is not None and packet.time_base is not None
            if timed:
                assert packet.pts is not None
                times.append(float(packet.pts * packet.time_base))
            if first and (size > _SCANNED_BYTES or counted >= _SCANNED_PACKETS):
                return _Scan(first, sorted(times) if timed else [], counted, False)
    except UNREADABLE:  # the file breaks off here; decoding will find the same
        pass
    return _Scan(first, sorted(times) if timed else [], counted, True)


def _time(frame: VideoFrame, stream: VideoStream) -> float:
    return (
        float(frame.pts * stream.time_base) if frame.pts is not None and stream.time_base else 0.0
    )


def _keeps_its_word(container: InputContainer) -> bool:
    """Tells whether the container's length is that of an index or a trailer, so that a file which
    ends before it is cut off."""
    return any(name in container.format.name for name in ("mp4", "matroska", "avi"))


def _indexed(container: InputContainer, stream: VideoStream) -> int:
    """Frames in the index of an mp4 or avi; those cut off by an edit list and empty ones that
    repeat the frame before are none."""
    if not any(name in container.format.name for name in ("mp4", "avi")):
        return 0
    entries = stream.index_entries
    if len(entries) > _SCANNED_PACKETS:
        return 0
    return sum(entry.size > 0 and not entry.is_discard for entry in entries)


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


def _rate(stream: VideoStream, times: list[float]) -> tuple[float, bool]:
    """Frames per second, and whether they come unevenly: the header's where the packets agree with
    it, else theirs where they follow one another fastest (of a clip that moves, then holds, the
    moving part)."""
    given = [r for r in (stream.average_rate, stream.guessed_rate, stream.base_rate) if r]
    if not times:
        given = [r for r in (stream.guessed_rate, stream.average_rate) if r]
    given = [r for r in given if 0 < r <= 1000]
    if "mp4" not in stream.container.format.name and len(given) > 1 and _is_usual(given[1]):
        # Only an index has exact mean rates; others are made of a few rounded times.
        given = [r for r in given if _is_usual(r)]
    header = float(given[0]) if given else 24.0
    measured = dense_rate(times)
    if measured is None:
        return header, False
    varies = measured > 1.05 * (len(times) - 1) / (times[-1] - times[0])
    if abs(measured / header - 1) < 0.02:
        return header, varies
    usual = [r for r in (*given, *_RATES) if abs(measured / float(r) - 1) < 0.01]
    nearest = min(usual, key=lambda r: abs(measured / float(r) - 1), default=None)
    return float(nearest) if nearest else measured, varies


def _is_usual(rate: Fraction) -> bool:
    return any(abs(rate / r - 1) < 1e-4 for r in _RATES)


def dense_rate(times: list[float]) -> float | None:
    """Frames per second where frames follow one another fastest, None where too few tell.

    Means over windows of six intervals, which even out rounded times and 3:2 pulldown; of them
    those within 10 % of the tenth percentile.

    Args:
        times: seconds, sorted.

    Example:
        >>> dense_rate([0, 0.04, 0.08, 0.12, 0.16, 0.66, 1.16])
        25.0
    """
    t = np.asarray(times)
    if len(t) < 3 or t[-1] <= t[0]:
        return None
    window = max(1, min(6, (len(t) - 1) // 3))
    means = (t[window:] - t[:-window]) / window
    means = np.sort(means[means > 1e-4])
    if len(means) == 0:
        return None
    return float(1 / np.mean(means[means <= 1.1 * means[len(means) // 10]]))


def _notes(frame: VideoFrame, rate: float, every: int, varies: bool) -> tuple[str, ...]:
    notes = []
    if every > 1:
        notes.append(
            f"It has {rate:g} frames a second; one of {every} is taken ({rate / every:g} a second)."
        )
    if varies:
        notes.append(f"Its frames come unevenly; they are taken at an even {rate:.3g} a second.")
    if frame.interlaced_frame:
        notes.append("It is interlaced; its fields are made whole frames.")
    if frame.color_trc in (PQ, HLG):
        kind = "PQ" if frame.color_trc == PQ else "HLG"
        notes.append(f"It is HDR ({kind}); its colours are brought to SDR.")
    return tuple(notes)
