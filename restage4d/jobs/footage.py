"""The filmed shot as a job takes it: a part of the video at working size, and what the artist
pointed at in its first frame."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Selection
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.arrays import mask_picture

Numbers = tuple[float, ...]


def decode_part(path: Path, fps: float, longer_side: int, first: int, frames: int | None) -> Clip:
    """``frames`` frames from number ``first`` on; None: to the end. Raises `InputError` as
    `video.decode` does."""
    stop = None if frames is None else (first + frames) / fps
    return video.decode(path, longer_side=longer_side, start=first / fps, stop=stop)


def working_selection(
    base: Clip,
    source_size: tuple[int, int],
    select: Numbers | None,
    box: Numbers | None,
    mask: Path | None,
) -> Selection:
    """A point, a box or a mask's picture in the video's pixels, as a selection in pixels of the
    working size.

    Raises:
        InputError: it lies outside the frame, is empty, or the mask has another size.
    """
    sx, sy = base.size[0] / source_size[0], base.size[1] / source_size[1]
    where = "the video's first frame, which is {} x {} pixels".format(*source_size)
    for name, xy in (("--select", select), ("--box", box)):
        if xy and not all(0 <= v <= source_size[i % 2] for i, v in enumerate(xy)):
            raise InputError(
                f"{name} {','.join(f'{v:g}' for v in xy)} lies outside {where}.",
                "Give pixels of that frame.",
            )
    if select:
        return Selection(point=(select[0] * sx, select[1] * sy))
    if box:
        x0, y0, x1, y1 = box
        if x1 - x0 < 4 or y1 - y0 < 4:
            raise InputError("--box is empty.", "Give left, top, right, bottom in pixels.")
        return Selection(box=(x0 * sx, y0 * sy, x1 * sx, y1 * sy))
    if mask:
        return Selection(mask=working_mask(mask, base.size, source_size))
    return Selection()


def working_mask(
    path: Path, size: tuple[int, int], source_size: tuple[int, int]
) -> NDArray[np.bool_]:  # -> (H, W)
    """A mask's picture at the working ``size``. Raises `InputError` for one of neither size."""
    picture = mask_picture(path)
    if (picture.shape[1], picture.shape[0]) not in (size, source_size):
        raise InputError(
            f"{path} is {picture.shape[1]} x {picture.shape[0]} pixels, the video "
            f"{source_size[0]} x {source_size[1]}.",
            "Give a mask of the video's size.",
        )
    return cv2.resize((picture > 127).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
