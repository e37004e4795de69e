"""Whether the subject stands in a driving video's first frame where it stands in the base's. The
whole picture does not tell: a small subject may be elsewhere while the still background agrees."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

_SIDE = 256  # pixels of the longer side at which the subject is searched
_RIM = 0.02  # of the longer side: so much around the mask counts as well, for the outline
_FOUND = 0.5  # correlation from which a place shows the subject
_CLEARER = 0.1  # by which a far place must correlate better than any near one


@dataclass(frozen=True)
class SubjectSeam:
    """How the subject in d_0 lies to the one in b_0.

    Attributes:
        shift: (right, down), as fractions of the frame's width and height; (0, 0) where it was not
            found.
        found: whether anything in d_0 looks like it.
        psnr: dB over the subject and a rim around it, moved by ``shift`` where that is small.
    """

    shift: tuple[float, float]
    found: bool
    psnr: float

    def describe_shift(self) -> str:
        """For example "39 % of the width further right"."""
        right, down = self.shift
        parts = []
        if abs(right) >= 0.01:
            parts.append(f"{abs(right):.0%} of the width further {_side(right, 'right', 'left')}")
        if abs(down) >= 0.01:
            parts.append(f"{abs(down):.0%} of the height further {_side(down, 'down', 'up')}")
        return " and ".join(parts).replace("%", " %")


def _side(value: float, positive: str, negative: str) -> str:
    return positive if value > 0 else negative


def compare_subject(base_first: U8, driving_first: U8, mask: Bool, near: float) -> SubjectSeam:
    """Searches b_0's subject in d_0 by normalised cross-correlation over the mask, so that other
    light does not matter.

    Args:
        base_first, driving_first: (H, W, 3) of one size.
        mask: (H, W) the subject in b_0.
        near: shifts up to this fraction of the longer side count as the same place, as long as no
            far one correlates clearly better.
    """
    height, width = mask.shape
    scale = min(1.0, _SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    base, driving = (
        cv2.resize(x, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for x in (base_first, driving_first)
    )
    small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    if not small.any():
        return SubjectSeam((0.0, 0.0), False, 0.0)
    radius = max(1, round(_RIM * max(size)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    region = cv2.dilate(small.astype(np.uint8), disk)
    rows, cols = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
    pad_y, pad_x = (bottom - top) // 2, (right - left) // 2  # it may stand half outside
    padded = cv2.copyMakeBorder(driving, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_REPLICATE)
    score = cv2.matchTemplate(
        padded,
        np.ascontiguousarray(base[top:bottom, left:right]),
        cv2.TM_CCOEFF_NORMED,
        mask=np.ascontiguousarray(region[top:bottom, left:right]).astype(np.float32),
    )
    score = np.where(np.isfinite(score) & (np.abs(score) <= 1.01), score, -1.0)
    down, across = np.indices(score.shape)
    down, across = down - pad_y - top, across - pad_x - left
    is_near = np.hypot(down, across) <= near * max(size)
    best_near = np.where(is_near, score, -2.0)
    best = score if score.max() > best_near.max() + _CLEARER else best_near
    row, col = np.unravel_index(int(best.argmax()), best.shape)
    found = bool(best.max() >= _FOUND)
    dy, dx = (int(down[row, col]), int(across[row, col])) if found else (0, 0)
    moved = (dy, dx) if is_near[row, col] and found else (0, 0)
    window = padded[top + pad_y + moved[0] :, left + pad_x + moved[1] :]
    window = window[: bottom - top, : right - left]
    inside = region[top:bottom, left:right] > 0
    squared = float(((window - base[top:bottom, left:right])[inside] ** 2).mean())
    psnr = float(min(100.0, 10 * np.log10(255**2 / max(squared, 1e-9))))
    return SubjectSeam((dx / size[0], dy / size[1]), found, psnr)
