"""A first picture of the subject, seconds after it was selected: the silhouette of b_0 with the
thickness that its outline allows. It only shows that the right thing is being made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.priors.geometry.inflation import inflate

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Sketch:
    """Points (N, 3) of a body that stands at the origin, +Z up, seen along +Y, its longer side 1;
    rgb (N, 3) uint8."""

    points: F32
    rgb: NDArray[np.uint8]


def sketch_body(frame: NDArray[np.uint8], mask: NDArray[np.bool_], most: int = 20_000) -> Sketch:
    """Front and back of the subject ``mask`` (H, W) in ``frame`` (H, W, 3), ``most`` points at
    most.

    Example:
        sketch_body(clip.frames[0], mask).points
    """
    row, column = np.nonzero(mask)
    step = max(1, -(-2 * len(row) // most))
    row, column = row[::step], column[::step]
    if not len(row):
        return Sketch(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    half = inflate(mask)[row, column]
    side = max(np.ptp(row), np.ptp(column)) + 1
    across, up = column - (column.min() + column.max()) / 2, row.max() - row
    points = [np.stack([across, way * half, up], 1) / side for way in (-1, 1)]
    return Sketch(np.concatenate(points).astype(np.float32), np.tile(frame[row, column], (2, 1)))
