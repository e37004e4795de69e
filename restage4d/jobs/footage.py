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


def decode_part(path: Path, fps: float, longer_side: int, first: int, frames: int | None) -> Clip:
    """``frames`` frames from number ``first`` on; None: to the end. Raises `InputError` as
    `video.decode` does."""
    stop = None if frames is None else (first + frames) / fps
    return video.decode(path, longer_side=longer_side, start=first / fps, stop=stop)


def scale_selection(
    selection: Selection, source_size: tuple[int, int], size: tuple[int, int]
) -> Selection:
    """A selection in the video's own pixels, in pixels of the working size.

    Args:
        selection: of the first frame.
        source_size: (width, height) of the video.
        size: (width, height) that the job works at.

    Raises:
        InputError: it lies outside the frame, is empty, or the mask has another size.
    """
    point, box, mask = selection.point, selection.box, selection.mask
    sx, sy = size[0] / source_size[0], size[1] / source_size[1]
    where = "the video's first frame, which is {} x {} pixels".format(*source_size)
    for name, xy in (("point", point), ("box", box)):
        if xy and not all(0 <= v <= source_size[i % 2] for i, v in enumerate(xy)):
            raise InputError(
                f"The {name} {','.join(f'{v:g}' for v in xy)} lies outside {where}.",
                "Give pixels of that frame.",
            )
    if box and (box[2] - box[0] < 4 or box[3] - box[1] < 4):
        raise InputError("The box is empty.", "Give left, top, right, bottom in pixels.")
    return Selection(
        point=(point[0] * sx, point[1] * sy) if point else None,
        box=(box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy) if box else None,
        mask=None if mask is None else resize_mask(mask, source_size, size, "The mask"),
        text=selection.text,
    )


def read_mask(path: Path) -> NDArray[np.bool_]:  # -> (H, W)
    """A mask's picture, white on the subject. Raises `InputError` where it cannot be read."""
    return mask_picture(path) > 127


def resize_mask(
    mask: NDArray[np.bool_], source_size: tuple[int, int], size: tuple[int, int], name: str
) -> NDArray[np.bool_]:  # (H, W) -> (H', W')
    """A mask of the video's size, or of the working ``size``, at the working size. Raises
    `InputError` naming ``name`` for one of neither."""
    if (mask.shape[1], mask.shape[0]) not in (size, source_size):
        raise InputError(
            f"{name} is {mask.shape[1]} x {mask.shape[0]} pixels, the video "
            f"{source_size[0]} x {source_size[1]}.",
            "Give a mask of the video's size.",
        )
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
