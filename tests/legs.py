"""A clip of an animal on thin legs that stand by turns while its body goes on, on a textured ground
before a camera that pans: everything is known exactly."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip

W, H = 240, 140
CENTRE = (70.0, 60.0)  # of the body in the first frame
PAN, STEP, STANDS = -1.0, 3.5, 8  # pixels a frame; frames for which a foot stands
SOLE = 108


def walking(frames: int = 24) -> tuple[Clip, NDArray[np.bool_], NDArray[np.bool_]]:
    """The clip, masks (T, H, W) of the whole animal and of its legs below the body."""
    rng = np.random.default_rng(0)
    ground = _texture(rng, (110, 125, 80), 3 * W)
    coat = _texture(rng, (200, 130, 70), 3 * W)
    rows, cols = np.indices((H, W)).astype(np.float32)
    pictures, masks, limbs = [], [], []
    for t in range(frames):
        picture = cv2.remap(ground, cols + W - PAN * t, rows, cv2.INTER_LINEAR)
        x = CENTRE[0] + (STEP + PAN) * t
        body = np.abs((cols - x) / 34) ** 4 + np.abs((rows - CENTRE[1]) / 17) ** 4 < 1
        legs = np.zeros((H, W), np.uint8)
        for k, hip in enumerate((-22, 20)):
            first = -(k * STANDS) // 2  # this leg's last step
            last = first + STANDS * ((t - first) // STANDS)
            foot = CENTRE[0] + hip + STEP * (last + STANDS / 2) + PAN * t
            top, end = (x + hip, CENTRE[1] + 10), (foot, SOLE)
            ends = [tuple(round(16 * float(v)) for v in p) for p in (top, end)]
            cv2.line(legs, ends[0], ends[1], 1, 4, shift=4)
        leg = (legs > 0) & ~body
        fur = cv2.remap(coat, cols + W - np.float32(x), rows, cv2.INTER_LINEAR)
        picture = np.where(leg[..., None], np.array((58, 44, 36), np.float32), picture)
        picture = np.where(body[..., None], fur, picture)
        pictures.append(np.clip(cv2.GaussianBlur(picture, (0, 0), 0.5), 0, 255).astype(np.uint8))
        masks.append(body | leg)
        limbs.append(leg)
    return Clip(np.stack(pictures), 24.0), np.stack(masks), np.stack(limbs)


def _texture(rng: np.random.Generator, colour: tuple[int, int, int], width: int) -> NDArray:
    noise = cv2.GaussianBlur(rng.normal(0, 1, (H, width)).astype(np.float32), (0, 0), 1.5)
    return np.array(colour, np.float32) * (1 + 0.2 * (noise / noise.std())[..., None])
