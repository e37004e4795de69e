"""Frames of a video file in output order, each with its time, and the even grid made of them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from restage4d.errors import InputError
from restage4d.io.video_probe import (
    UNREADABLE,
    Header,
    decoder_of,
    holds_frame,
    open_video,
    picture_stream,
)

T = TypeVar("T")

CLOCKS = ("pts", "dts", "index")  # in the order in which they are tried
_DELAY = 40  # packets that may wait in a decoder with its threads


class ClockError(Exception):
    """The times of this clock are missing or do not rise."""


@dataclass
class Tally:
    """What came out of a file.

    Attributes:
        packets: those that hold a frame, from the first key frame on.
        frames: those decoded.
        interlaced: a frame may have come in two packets, one a field.
        end: seconds from the first frame to the last one's end.
    """

    packets: int = 0
    frames: int = 0
    interlaced: bool = False
    end: float = 0.0


def decode_frames(
    path: Path, header: Header, clock: str, start: float, tally: Tally
) -> Iterator[tuple[float, VideoFrame]]:
    """(seconds from the file's first frame, frame) in output order, from a frame at or before
    ``start`` on.

    Args:
        clock: "pts" and "dts" are the file's; "index" counts frames at the header's rate, which
            leaves no way to seek.
        tally: filled in on the way.

    Raises:
        ClockError: the times of this clock do not rise.
        InputError: as `open_video` does.
    """
    with open_video(path) as container:
        stream = picture_stream(container)
        if clock == "pts" and header.seekable and _seek(container, stream, header, start):
            pairs = _timed(container, stream, header, clock, tally)
            first = next(pairs, None)
            if first is not None and first[0] <= start:
                yield first
                yield from pairs
                return
        else:
            yield from _timed(container, stream, header, clock, tally)
            return
    tally.packets = tally.frames = 0  # it landed behind the start: read it all
    with open_video(path) as container:
        yield from _timed(container, picture_stream(container), header, clock, tally)


def _seek(container: InputContainer, stream: VideoStream, header: Header, start: float) -> bool:
    """Goes to a key frame well before a time; False where it stays at the beginning."""
    early = start - max(1.0, 20 / header.rate)  # key frames are found by their decoding time
    if early <= 0 or not stream.time_base:
        return False
    try:
        container.seek(int((header.origin + early) / stream.time_base), stream=stream)
    except FFmpegError:
        return False
    return True


def _timed(
    container: InputContainer, stream: VideoStream, header: Header, clock: str, tally: Tally
) -> Iterator[tuple[float, VideoFrame]]:
    before, origin = None, header.origin if clock == "pts" else None

    def with_time() -> Iterator[tuple[float, VideoFrame]]:
        nonlocal before, origin
        for i, frame in enumerate(_decoded(container, stream, tally, header)):
            if clock == "index":
                time = i / header.rate
            else:
                stamp = frame.pts if clock == "pts" else frame.dts
                if stamp is None or not stream.time_base:
                    raise ClockError
                time = float(stamp * stream.time_base)
                origin = time if origin is None else origin
                time -= origin
            if before is not None and time <= before:
                raise ClockError
            before = time
            tally.end = max(tally.end, time + 1 / header.rate)
            yield time, frame

    return _deinterlaced(with_time())


def _decoded(
    container: InputContainer, stream: VideoStream, tally: Tally, header: Header
) -> Iterator[VideoFrame]:
    decoder, key = decoder_of(stream), None
    packets = container.demux(stream)
    while True:
        try:
            packet: Packet | None = next(packets, None)
        except UNREADABLE:  # the file breaks off
            packet = None
        if packet is not None and holds_frame(packet):
            if packet.is_keyframe and key is None:
                key = packet.pts if packet.pts is not None else -(1 << 62)
            if key is not None and (packet.pts is None or packet.pts >= key):
                tally.packets += 1
            if packet.pts is not None and packet.duration and packet.time_base:
                end = float((packet.pts + packet.duration) * packet.time_base) - header.origin
                tally.end = max(tally.end, end)
        elif packet is not None and packet.dts is not None and packet.size == 0:
            continue  # would flush the decoder
        try:
            frames = decoder.decode(packet)
        except UNREADABLE:  # a damaged packet; what is missing is counted at the end
            frames = []
        for frame in frames:
            tally.frames += 1
            tally.interlaced = tally.interlaced or frame.interlaced_frame
            yield frame
        if packet is None or packet.size == 0:
            return


def _deinterlaced(pairs: Iterator[tuple[float, VideoFrame]]) -> Iterator[tuple[float, VideoFrame]]:
    """Frames flagged interlaced made whole by BWDIF, one of each (FFmpeg's ``bwdif``); others pass
    unchanged."""
    graph, form, waiting = None, None, deque[float]()
    for time, frame in pairs:
        if graph is None and not frame.interlaced_frame:
            yield time, frame
            continue
        now = (frame.width, frame.height, frame.format.name)
        if graph is None or now != form:
            if graph is not None:
                yield from _pull(graph, waiting, last=True)
            graph, form = _bwdif(frame), now
        frame.pts, frame.time_base = round(time * 1e6), Fraction(1, 1000000)
        waiting.append(time)
        graph.push(frame)
        yield from _pull(graph, waiting)
    if graph is not None:
        yield from _pull(graph, waiting, last=True)


def _bwdif(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=Fraction(1, 1000000),
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pull(
    graph: Graph, waiting: deque[float], last: bool = False
) -> Iterator[tuple[float, VideoFrame]]:
    if last:
        graph.push(None)
    while waiting:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield waiting.popleft(), frame


def resample(
    frames: Iterable[tuple[float, T]],
    fps: float,
    first: int = 0,
    stop: int | None = None,
    early: float | None = None,
) -> Iterator[T]:
    """For every moment k / fps of an even grid, k from ``first`` to before ``stop``, the last frame
    that is due; ends with the last frame, however long it is held.

    Args:
        frames: (seconds, frame), rising.
        early: seconds by which a frame may come late and still count as due; half a step where
            None.

    Example:
        >>> list(resample([(0.0, "a"), (0.1, "b"), (0.4, "c")], 10))
        ['a', 'b', 'b', 'b', 'c']
    """
    early = 0.5 / fps if early is None else early
    k, before = first, None
    for time, frame in frames:
        while before is not None and k / fps <= time - early:
            if stop is not None and k >= stop:
                return
            yield before[0]
            k += 1
        before = (frame, time)
    if before is not None:
        while k / fps <= before[1] + early and (stop is None or k < stop):
            yield before[0]
            k += 1


def check_whole(
    path: Path, header: Header, tally: Tally, start: float, stop: float | None, ended: bool
) -> None:
    """Raises `InputError` where a file holds fewer frames than its packets or its index promise.

    Args:
        start, stop: the wanted part in seconds.
        ended: the file was read to its end.
    """
    promised = tally.packets
    if ended and start == 0 and stop is None:
        promised = max(promised, header.indexed)
    if tally.frames < 0.9 * promised / (1 + tally.interlaced) - 1 - (0 if ended else _DELAY):
        raise InputError(
            f"{path} is damaged: only {tally.frames} of {promised} frames can be read.",
            "Copy or export it again.",
        )
    if ended and header.promised:
        end = header.promised if stop is None else min(stop, header.promised)
        if tally.end - start < 0.9 * (end - start) - 1 / header.rate:
            raise InputError(
                f"{path} is damaged: it breaks off after {max(tally.end, 0):.2f} of "
                f"{header.promised:.2f} s.",
                "Copy or export it again.",
            )
