"""Fitting a first frame into the sizes that a generator knows, and taking its video back out of
them.

What the generator's aspect has more than the base's is filled with the frame's own mirrored border,
which generators continue better than black bars, and cut off again afterwards. Whatever is left
(size, rate, drift) is the seam's business.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Letterbox:
    """A frame inside a picture of ``size`` (width, height), at ``window`` (left, top, width,
    height)."""

    picture: U8
    window: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    def crop(self, frames: U8) -> U8:  # (T, h, w, 3) of any size -> (T, h', w', 3)
        """The window's part of a video that was made from the picture, whatever size it came back
        in."""
        sx, sy = frames.shape[2] / self.size[0], frames.shape[1] / self.size[1]
        left, top, width, height = self.window
        x, y = round(left * sx), round(top * sy)
        return frames[:, y : y + max(2, round(height * sy)), x : x + max(2, round(width * sx))]


def fit_into(frame: U8, size: tuple[int, int]) -> Letterbox:
    """``frame`` (H, W, 3) as large as it goes into ``size`` (width, height), in the middle."""
    scale = min(size[0] / frame.shape[1], size[1] / frame.shape[0])
    width, height = (
        min(size[0], round(frame.shape[1] * scale)),
        min(size[1], round(frame.shape[0] * scale)),
    )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    right, bottom = size[0] - width - left, size[1] - height - top
    border = (
        cv2.BORDER_REFLECT_101
        if max(left, right) < width and max(top, bottom) < height
        else cv2.BORDER_REPLICATE
    )
    return Letterbox(
        np.asarray(cv2.copyMakeBorder(small, top, bottom, left, right, border), np.uint8),
        (left, top, width, height),
    )


def nearest_aspect(frame: U8, sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Of the sizes (width, height), the one whose shape is most like the frame's."""
    aspect = frame.shape[1] / frame.shape[0]
    return min(sizes, key=lambda s: abs(np.log(s[0] / s[1] / aspect)))
