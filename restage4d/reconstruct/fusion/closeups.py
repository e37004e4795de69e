"""The subject of the base's frames at a finer scale than the clip's: crops of the frames as they
were filmed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Rewound

F32 = NDArray[np.float32]
Box = tuple[tuple[int, int], tuple[int, int]]  # (first, end) columns, (first, end) rows

_MARGIN = 6  # pixels of the working size around the subject
_FEWEST = 24  # pixels of a crop's side that are worth a step


@dataclass
class Closeups:
    """Crops by the position of their frame in the rewound clip.

    Attributes:
        scale: (x, y) pixels of a crop for one of the working size.
        corners: (x, y) of each crop's first pixel, in pixels of the finer frame.
        pictures: (h, w, 3) uint8 sRGB each.
    """

    scale: tuple[float, float]
    corners: dict[int, tuple[int, int]]
    pictures: dict[int, NDArray[np.uint8]]


def cut_closeups(finer: Clip, rewound: Rewound, masks: F32) -> Closeups:
    """The base's subject out of its frames.

    Args:
        finer: the base at a finer scale, b_0 first.
        rewound: the clip at working size.
        masks: (T, H, W) of the rewound clip, as in `Priors.masks`.
    """
    height, width = masks.shape[1:]
    sx, sy = finer.size[0] / width, finer.size[1] / height
    found = Closeups((sx, sy), {}, {})
    for row in rewound.video(0)[: len(finer)]:
        box = find_box(masks[row], 1)
        if box is None:
            continue
        (left, right), (top, bottom) = box
        x0, y0, x1, y1 = (int(v) for v in (left * sx, top * sy, right * sx, bottom * sy))
        if min(x1 - x0, y1 - y0) < _FEWEST:
            continue
        row, frame = int(row), finer.frames[rewound.index[row]]
        found.corners[row] = x0, y0
        found.pictures[row] = frame[y0:y1, x0:x1].copy()
    return found


def find_box(mask: F32, fewest: int = _FEWEST) -> Box | None:
    """(first, end) columns and rows of a mask's (H, W) subject and some pixels around it; None
    where there is none, or one side has less than ``fewest`` pixels."""
    box = []
    for axis, size in ((0, mask.shape[1]), (1, mask.shape[0])):
        found = np.flatnonzero((mask > 0.5).any(axis))
        if not len(found):
            return None
        box.append((max(int(found[0]) - _MARGIN, 0), min(int(found[-1]) + 1 + _MARGIN, size)))
    (left, right), (top, bottom) = box
    return None if min(right - left, bottom - top) < fewest else ((left, right), (top, bottom))
