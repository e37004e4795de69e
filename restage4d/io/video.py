"""Videos in: files by PyAV, or a folder or zip of numbered pictures.

Lengths and sizes are checked before a frame is decoded, and frames are scaled while they are
decoded, so that memory holds the clip at working size and a few frames at full size, never the
whole video at full size.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.defaults import LONGER_SIDE
from restage4d.errors import InputError
from restage4d.frame_arrays import make_frames
from restage4d.io.arrays import mask_picture
from restage4d.io.image_folders import PictureSequence
from restage4d.io.image_sequences import is_zip, open_sequence
from restage4d.io.images import check_pixels, is_folder, read_with_alpha
from restage4d.io.video_decode import (
    CLOCKS,
    ClockError,
    Tally,
    check_whole,
    decode_frames,
    resample,
)
from restage4d.io.video_encode import encode
from restage4d.io.video_frames import (
    composite,
    picture,
    scaled,
    working_size,
)
from restage4d.io.video_probe import UNREADABLE, Header, read_header

__all__ = ["VideoInfo", "decode", "encode", "probe"]

U8 = NDArray[np.uint8]

_MAX_BYTES = 2 << 30  # of the decoded clip


@dataclass(frozen=True)
class VideoInfo:
    """What a video is. ``width`` and ``height`` are as shown: turned upright, with square pixels.

    ``fps``, ``frames`` and ``seconds`` are those of the clip that `decode` gives; ``frames`` and
    ``seconds`` are 0 where the header does not tell (some live recordings). ``alpha`` tells that
    the first frame is transparent somewhere, or that masks lie beside the pictures; `decode` gives
    it as `Clip.alpha`. ``notes`` are sentences a person should read: gaps, tone-mapping, ...
    """

    width: int
    height: int
    fps: float
    frames: int
    seconds: float
    alpha: bool = False
    notes: tuple[str, ...] = ()


def probe(path: str | Path, *, folder_fps: float = 24.0) -> VideoInfo:
    """Size, rate and length of a video file, or a folder or zip of pictures, from its header, its
    first packets and its first frame.

    Raises:
        InputError: missing, empty, unreadable, no video, no picture in it.
    """
    path = Path(path)
    if not is_folder(path) and not is_zip(path):
        header = read_header(path)
        return VideoInfo(
            header.width,
            header.height,
            header.fps,
            header.frames,
            header.seconds,
            header.alpha,
            header.notes,
        )
    with open_sequence(path) as sequence:
        rgb, alpha = read_with_alpha(sequence.files[0])
        n = len(sequence.files)
        return VideoInfo(
            rgb.shape[1],
            rgb.shape[0],
            folder_fps,
            n,
            n / folder_fps,
            alpha is not None or sequence.masks is not None,
            sequence.notes,
        )


def decode(
    path: str | Path,
    *,
    longer_side: int | None = LONGER_SIDE,
    max_frames: int = 400,
    start: float = 0.0,
    stop: float | None = None,
    folder_fps: float = 24.0,
) -> Clip:
    """Decodes a video file, or a folder or zip of pictures in the order of their numbers, to frames
    at a constant rate.

    Rotation, mirroring and pixel shape are applied, interlaced fields made whole, HDR brought to
    SDR. Every moment of an even grid takes the last frame that is due, so that an even video passes
    unchanged, frame by frame, and a held frame is repeated; a part is that part of the whole
    video's grid. An uneven video has the rate at which its frames follow one another fastest; one
    of more than 60 frames per second is thinned to at most 30.

    Args:
        path: mp4, mov, webm, mkv, avi, ts, gif ...; or pictures (jpg, png, webp, bmp, tif) of one
            size.
        longer_side: frames larger than this are scaled down by area averaging, to even width and
            height; None: never.
        max_frames: more frames than this are refused before decoding.
        start, stop: the part to decode, in seconds from the first frame: frames k with
            start <= k / fps < stop; None: to the end.
        folder_fps: the rate of a folder of pictures.

    Returns:
        The clip; ``alpha`` is set where the file is transparent somewhere.

    Raises:
        InputError: bad, damaged, too large or too long input; says what, where and what to do.

    Example:
        >>> decode("take.mp4", start=1.0, stop=2.0).frames.shape  # of 24 frames per second
        (24, 216, 384, 3)
    """
    path = Path(path)
    if start < 0 or (stop is not None and stop <= start):
        raise InputError(
            f"The part from {start:g} s to {stop} s of {path} is empty.",
            "Give a start before the stop.",
        )
    if is_folder(path) or is_zip(path):
        with open_sequence(path) as sequence:
            return _decode_pictures(
                path, sequence, longer_side, max_frames, start, stop, folder_fps
            )
    header = read_header(path)
    first, end = _grid(header.fps, start, stop)
    if header.frames:
        _check_start(path, first, header.frames, header.fps, start)
        end = min(end or header.frames, header.frames)
    size = working_size(header.width, header.height, longer_side)
    if end is not None:
        _check_length(path, end - first, header.fps, max_frames)
        _check_bytes(path, end - first, size)
    for clock in CLOCKS:
        try:
            frames, alphas = _decode_video(path, header, clock, size, first, end, max_frames)
            return _clip(path, frames, alphas, header.fps, header.notes)
        except ClockError:
            continue
        except UNREADABLE as error:
            raise InputError(
                f"{path} is damaged: its frames cannot be read ({error}).",
                "Copy or export it again.",
            ) from error
    raise AssertionError("counting frames needs no times")


def _decode_video(
    path: Path,
    header: Header,
    clock: str,
    size: tuple[int, int],
    first: int,
    end: int | None,
    max_frames: int,
) -> tuple[list[U8], list[U8 | None]]:
    """Frames ``first`` to before ``end`` of the grid, and the alpha of each."""
    tally = Tally()
    frames: list[U8] = []
    alphas: list[U8 | None] = []
    source = decode_frames(path, header, clock, first / header.fps, tally)
    # By number, as a frame that is kept keeps its scaler with its threads.
    numbered = ((time, (i, frame)) for i, (time, frame) in enumerate(source))
    last = -1
    for i, frame in resample(numbered, header.fps, first, end, 0.5 / header.rate):
        if i == last:  # held
            frames.append(frames[-1])
            alphas.append(alphas[-1])
        else:
            check_pixels(path, frame.width, frame.height)
            rgb, alpha = picture(frame, size, header.orientation)
            frames.append(rgb)
            alphas.append(alpha)
        last = i
        if len(frames) > max_frames:
            _check_length(path, len(frames), header.fps, max_frames)
        _check_bytes(path, len(frames), size)
    # All that the packets promise was wanted: then the index is held to its word too.
    stop = None if end is None or end == header.frames else end / header.fps
    ended = end is None or len(frames) < end - first or end == header.frames
    if tally.frames == 0 and header.frames:
        raise InputError(
            f"{path} is damaged: not one frame can be read.", "Copy or export it again."
        )
    check_whole(path, header, tally, first / header.fps, stop, ended)
    return frames, alphas


def _decode_pictures(
    path: Path,
    sequence: PictureSequence,
    longer_side: int | None,
    max_frames: int,
    start: float,
    stop: float | None,
    fps: float,
) -> Clip:
    first, end = _grid(fps, start, stop)
    _check_start(path, first, len(sequence.files), fps, start)
    files = sequence.files[first:end]
    masks = sequence.masks[first:end] if sequence.masks else None
    _check_length(path, len(files), fps, max_frames)
    frames: list[U8] = []
    alphas: list[U8 | None] = []
    full = None
    for i, file in enumerate(files):
        if i and file == files[i - 1]:  # stands for a missing one
            frames.append(frames[-1])
            alphas.append(alphas[-1])
            continue
        rgb, alpha = read_with_alpha(file)
        full = full or rgb.shape
        if rgb.shape != full:
            raise InputError(
                f"{file} is {rgb.shape[1]}x{rgb.shape[0]} pixels, {files[0].name} is "
                f"{full[1]}x{full[0]}.",
                "Give pictures of one size.",
            )
        size = working_size(rgb.shape[1], rgb.shape[0], longer_side)
        if not frames:
            _check_bytes(path, len(files), size)
        if alpha is not None:
            rgb = composite(rgb, alpha)
        elif masks:
            alpha = mask_picture(masks[i])
            if alpha.shape != full[:2]:
                raise InputError(
                    f"{masks[i]} is {alpha.shape[1]}x{alpha.shape[0]} pixels, {file.name} is "
                    f"{full[1]}x{full[0]}.",
                    "Give masks of the frames' size, or put them into a folder of their own.",
                )
        frames.append(scaled(rgb, *size))
        alphas.append(None if alpha is None else scaled(alpha, *size))
    return _clip(path, frames, alphas, fps, sequence.notes)


def _grid(fps: float, start: float, stop: float | None) -> tuple[int, int | None]:
    """Frames k with start <= k / fps < stop, within a fiftieth of a frame: (first, one behind the
    last)."""
    first = max(math.ceil(start * fps - 0.02), 0)
    return first, None if stop is None else max(math.ceil(stop * fps - 0.02), first + 1)


def _check_start(path: Path, first: int, frames: int, fps: float, start: float) -> None:
    if first >= frames:
        raise InputError(
            f"{path} lasts {frames / fps:.1f} s; nothing is left after {start:g} s.",
            "Give an earlier start.",
        )


def _check_length(path: Path, frames: int, fps: float, max_frames: int) -> None:
    if frames > max_frames:
        raise InputError(
            f"{path} has about {frames} frames ({frames / fps:.1f} s); at most {max_frames} are "
            f"taken ({max_frames / fps:.1f} s).",
            f"Cut it to {max_frames / fps:.1f} s, or give a start and a stop.",
        )


def _check_bytes(path: Path, frames: int, size: tuple[int, int]) -> None:
    need = frames * size[0] * size[1] * 3
    if need > _MAX_BYTES:
        raise InputError(
            f"{path} would take {need / 2**30:.1f} GiB as {frames} frames of {size[0]}x{size[1]}.",
            "Give a shorter part or a smaller working size.",
        )


def _clip(
    path: Path, frames: list[U8], alphas: list[U8 | None], fps: float, notes: tuple[str, ...]
) -> Clip:
    if len(frames) < 2:
        raise InputError(f"{path} has a single frame.", "Give a video of at least two frames.")
    alpha = None
    if any(a is not None and a.min() < 255 for a in alphas):
        opaque = np.full(frames[0].shape[:2], 255, np.uint8)
        alpha = np.stack([opaque if a is None else a for a in alphas])
    pictures = make_frames((len(frames), *frames[0].shape), np.uint8)
    for out in pictures:
        out[...] = frames.pop(0)  # no longer held twice
    return Clip(pictures, fps, alpha, notes)
