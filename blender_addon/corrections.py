# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks of later frames that the artist corrected. Each is an image in the .blend, so that it is
saved, undone and, if need be, painted like any other."""

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.jobs import mask_file

from .properties import (
    RESTAGE4D_PG_correction,
    RESTAGE4D_PG_shot,
    get_first_frame,
    make_first_frame_key,
)

Bool = NDArray[np.bool_]


def find_valid(chosen: RESTAGE4D_PG_shot) -> list[RESTAGE4D_PG_correction]:
    """The corrections of the video that is chosen now, by frame."""
    if chosen.corrections_for != bpy.path.abspath(chosen.video):
        return []
    there = (c for c in chosen.corrections if c.mask is not None)  # an image may be deleted
    return sorted(there, key=lambda c: c.frame)


def keep_job_masks(chosen: RESTAGE4D_PG_shot, path: Path) -> None:
    """Keeps where the masks of a finished restaging lie."""
    chosen.job_masks, chosen.job_masks_for = str(path), make_first_frame_key(chosen)


def is_used(chosen: RESTAGE4D_PG_shot, frame: int) -> bool:
    """Whether a frame, from 1, is a later one of the part of the video that is used."""
    last = chosen.last_frame if chosen.use_range else frame
    return get_first_frame(chosen) < frame <= last


def keep(chosen: RESTAGE4D_PG_shot, frame: int, mask: Bool) -> None:  # (H, W)
    """Keeps a mask of a frame, from 1, instead of the one that was kept of it before."""
    video = bpy.path.abspath(chosen.video)
    if chosen.corrections_for != video:
        for correction in list(chosen.corrections):
            remove(chosen, correction.frame)
        chosen.corrections_for = video
    remove(chosen, frame)
    height, width = mask.shape
    image = bpy.data.images.new(f"Mask of frame {frame}", width, height, is_data=True)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = mask[::-1, :, None]  # Blender counts rows from the bottom
    cast(Any, image.pixels).foreach_set(pixels.ravel())  # its stubs say float
    image.pack()
    made = chosen.corrections.add()
    made.frame, made.mask = frame, image


def remove(chosen: RESTAGE4D_PG_shot, frame: int) -> None:
    """Removes the mask of a frame, from 1, where there is one."""
    for i, correction in reversed(list(enumerate(chosen.corrections))):
        if correction.frame == frame:
            image = correction.mask
            chosen.corrections.remove(i)
            if image is not None and image.users == 0:
                bpy.data.images.remove(image)


def read_mask(chosen: RESTAGE4D_PG_shot, frame: int) -> Bool | None:  # (H, W)
    """The mask that was kept of a frame, from 1, else that of the last restaging; None without."""
    for correction in find_valid(chosen):
        if correction.frame == frame:
            width, height = correction.mask.size
            pixels = np.empty(height * width * 4, np.float32)
            cast(Any, correction.mask.pixels).foreach_get(pixels)
            return pixels.reshape(height, width, 4)[::-1, :, 0] > 0.5
    if chosen.job_masks_for != make_first_frame_key(chosen):
        return None
    path, i = Path(bpy.path.abspath(chosen.job_masks)), frame - get_first_frame(chosen)
    with suppress(InputError):  # then the frame is shown without one
        return mask_file.read_mask(path, i) if path.is_file() else None
    return None


def write_pictures(
    chosen: RESTAGE4D_PG_shot, size: tuple[int, int], folder: Path
) -> dict[int, Path]:
    """Writes those of the part that is used as pictures of the video's size (width, height), by
    their frames counted from the first one used."""
    written = {}
    for correction in find_valid(chosen):
        if not is_used(chosen, correction.frame):
            continue
        number = correction.frame - get_first_frame(chosen)
        path = written[number] = folder / f"restage4d_mask_{correction.frame}.png"
        scaled = correction.mask.copy()
        scaled.scale(*size)
        scaled.file_format = "PNG"
        scaled.save(filepath=str(path))
        bpy.data.images.remove(scaled)
    return written
