"""Which pixel of a picture shows a point."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


class Pixels(NamedTuple):
    """Of N points: ``row`` and ``column`` (N,) of their pixel or the nearest one of the picture,
    z-depth ``z`` (N,), and whether they are ``inside`` (N,) the picture and before the camera."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    z: F32
    inside: NDArray[np.bool_]


def find_pixels(points: F32, K: F32, w2c: F32, shape: tuple[int, ...]) -> Pixels:
    """Pixels of world points.

    Args:
        points: (N, 3).
        K, w2c: (3, 3) and (4, 4), OpenCV axes.
        shape: height and width.
    """
    height, width = shape
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    z = camera[:, 2]
    xy = np.floor((camera / np.maximum(z, 1e-6)[:, None]) @ K.T)[:, :2].astype(int)
    column, row = xy.T
    inside = (z > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    return Pixels(row.clip(0, height - 1), column.clip(0, width - 1), z, inside)
