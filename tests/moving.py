"""Clips in which everything that moves is known exactly: a textured ellipse in front of a textured
background."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip

W, H = 160, 112
CENTRE, RADII = (58.0, 60.0), (24.0, 17.0)


@dataclass
class Moving:
    """A clip and its truth: ``masks`` (T, H, W) bool, ``shift`` (T, 2) how far the subject has
    moved since frame 0, pixels."""

    clip: Clip
    masks: NDArray[np.bool_]
    shift: NDArray[np.float64]


def moving(
    frames: int = 10,
    step: tuple[float, float] = (2.5, 0.5),
    pan: float = -1.0,
    pillar: bool = False,
    wall: float | None = None,
) -> Moving:
    """The subject moves by ``step`` and the background by ``pan`` pixels a frame; a grey pillar may
    stand in front, still. A ``wall`` in the upper third is farther away and moves by so many
    pixels."""
    backdrop, coat = _texture(1, (90, 120, 80), 4 * W), _texture(2, (190, 120, 60), W)
    far = _texture(3, (90, 110, 130), 4 * W)
    rows, cols = np.indices((H, W)).astype(np.float32)
    pictures, masks, shifts = [], [], []
    for t in range(frames):
        shift = t * np.array(step)
        picture = cv2.remap(backdrop, cols + W - pan * t, rows, cv2.INTER_LINEAR)
        if wall is not None:
            behind = cv2.remap(far, cols + W - np.float32(wall * t), rows, cv2.INTER_LINEAR)
            picture = np.where(rows[..., None] < H / 3, behind, picture)
        inside = ((cols - CENTRE[0] - shift[0]) / RADII[0]) ** 2 + (
            (rows - CENTRE[1] - shift[1]) / RADII[1]
        ) ** 2 < 1
        body = cv2.remap(
            coat, cols - np.float32(shift[0]), rows - np.float32(shift[1]), cv2.INTER_LINEAR
        )
        picture = np.where(inside[..., None], body, picture)
        if pillar:
            front = (cols >= 92) & (cols < 104)
            picture = np.where(front[..., None], np.float32(70), picture)
            inside &= ~front
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
        masks.append(inside)
        shifts.append(shift)
    return Moving(Clip(np.stack(pictures), 24.0), np.stack(masks), np.stack(shifts))


def _texture(seed: int, colour: tuple[int, int, int], width: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(H, width, 1)).astype(np.float32)
    fine, wide = (cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (1.2, 5.0))
    return np.asarray(
        np.float32(colour) + (22 * fine / fine.std() + 12 * wide / wide.std())[..., None],
        np.float32,
    )
