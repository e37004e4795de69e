"""Connected regions of masks."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bool = NDArray[np.bool_]

_WIDE = 16  # pixels from which a disk is put together of its rows
_FRAGMENT = 0.03  # of the largest part's area: smaller parts of a mask are fragments
_LIMB = 0.06  # half the width of a limb at most, over the root of the mask's area


def disk(radius: int) -> NDArray[np.uint8]:
    return np.asarray(
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8
    )


def dilate(mask: Bool, radius: int) -> Bool:  # (H, W)
    """``cv2.dilate(mask, disk(radius))`` to the pixel. A wide disk takes time as the radius grows,
    not its square: what lies within the half width of a row is looked up for all pixels at once."""
    if radius < _WIDE:
        return cv2.dilate(mask.astype(np.uint8), disk(radius)) > 0
    out = np.zeros_like(mask)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return out
    window = tuple(slice(max(i[0] - radius, 0), i[-1] + radius + 1) for i in (rows, columns))
    inside, grown = mask[window], out[window]
    height, width = inside.shape
    far = width + radius
    place = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(inside, place, -far), axis=1)
    right = np.minimum.accumulate(np.where(inside, place, width + far)[:, ::-1], axis=1)[:, ::-1]
    away = np.minimum(np.minimum(place - left, right - place), far).astype(np.uint16)
    halves = disk(radius).sum(1, dtype=np.intp)[radius:] // 2
    for down, half in enumerate(halves[:height]):
        near = away <= half
        grown[down:] |= near[: height - down]
        grown[: height - down] |= near[down:]
    return out


def shrink(mask: Bool) -> Bool:
    """``mask`` (H, W) without the rim, which is half background."""
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def tidy(mask: Bool, keep: Bool) -> Bool:
    """The parts of ``mask`` that touch ``keep``, without small holes."""
    parts = label(mask, corners=True)
    mask = np.isin(parts, np.unique(parts[keep & mask])) & mask
    holes = label(~mask, corners=False)
    small = np.bincount(holes.ravel()) < max(4, 0.002 * mask.sum())
    return mask | (small[holes] & ~mask)


def remove_fragments(mask: Bool) -> Bool:
    """``mask`` (H, W) without connected components that are small beside the largest one, and
    without pinholes."""
    if not mask.any():
        return mask
    parts = label(mask, corners=True)
    area = np.bincount(parts.ravel())
    area[0] = 0
    return tidy(mask, (area >= _FRAGMENT * area.max())[parts])


def label(mask: Bool, corners: bool) -> NDArray[np.intp]:
    """Number of its connected part for every pixel, 0 outside; ``corners``: pixels touch at corners
    too."""
    parts = np.zeros(mask.shape, np.intp)
    ndimage.label(mask, np.ones((3, 3)) if corners else None, output=parts)
    return parts


def find_thin_parts(mask: Bool) -> Bool:
    """The limbs (H, W) of ``mask``: what is narrower than about an eighth of the root of its area,
    without the outline's roughness."""
    size = float(np.sqrt(mask.sum()))
    solid = mask.astype(np.uint8)
    thin = solid - cv2.morphologyEx(
        solid, cv2.MORPH_OPEN, disk(max(1, round(_LIMB * size))), borderValue=0
    )
    return cv2.morphologyEx(thin, cv2.MORPH_OPEN, disk(1)) > 0
