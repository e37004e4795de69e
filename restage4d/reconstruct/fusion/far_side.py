"""The subject's far side: what lies behind the surface that a frame shows, guessed from the
outline.

A subject that is filmed from one side only would be a sheet: seen from beside it has no thickness,
from behind it is hollow. Here every patch of surface gets its counterpart as far behind as the
silhouette is wide (`restage4d.priors.geometry.inflation.inflate`, the body symmetric about the
outline's plane), with the colour and the coefficients of the patch in front. Where other frames see
past that place, or see it before the surface, the guess is wrong and left out: they carve it, as a
visual hull is carved.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from restage4d.priors.geometry.inflation import inflate
from restage4d.priors.geometry.pixels import find_pixels

F32 = NDArray[np.float32]
_SPACING = 2.0  # strides between far-side seeds: no frame shows them sharply
_LIP = 2.0  # pixels along the outline whose colours may be mixed with the background


@dataclass
class FarSide:
    """Seeds behind the surface.

    Attributes:
        xy, depth: (M, 2) place in the frame and (M,) z-depth.
        rgb: (M, 3) in 0..1.
        reach: (M,) standard deviation up to which a Gaussian there stays inside the outline, world
            units.
        front: (M,) number of the surface seed that each lies behind.
        behind: (M,) by how much, world units.
    """

    xy: F32
    depth: F32
    rgb: F32
    reach: F32
    front: NDArray[np.intp]
    behind: F32


def build_far_side(
    xy: F32, depth: F32, frame: NDArray[np.uint8], mask: F32, focal: float, stride: float
) -> FarSide:
    """Counterparts of the surface seeds ``xy`` (N, 2) with ``depth`` (N,), which lie on a grid of
    ``stride`` pixels.

    Near the outline, where the far side is a wall seen edge-on, seeds stand behind one another all
    the way. None lies on the outline itself, from where it would stick out.

    Args:
        frame, mask: (H, W, 3) picture and (H, W) subject of the frame.
        focal: pixels.
    """
    subject = mask > 0.5
    column, row = xy.astype(int).T
    thick = 2 * inflate(subject)[row, column] / focal * depth
    inside = np.asarray(distance_transform_edt(np.pad(subject, 1)))[1:-1, 1:-1].astype(np.float32)
    width = 2 * round(_SPACING * stride) + 1
    middle = cv2.dilate(inside, np.ones((width, width), np.uint8))[
        row, column
    ]  # of the part, thin or wide
    margin = inside[row, column]
    step = _SPACING * stride * depth / focal  # in the world
    sparse = (np.floor(xy / stride).astype(int) % int(_SPACING) == 0).all(1)
    thin = middle < 2 * _SPACING * stride
    take = (sparse | thin) & (margin >= np.minimum(_LIP, 0.6 * middle))
    layers = np.where(margin <= _LIP + stride, np.ceil(thick / step), 1).astype(int)
    front = np.repeat(np.flatnonzero(take), layers[take])
    first = np.cumsum(layers[take]) - layers[take]
    number = np.arange(len(front)) - np.repeat(first, layers[take]) + 1
    sure = inside > _LIP
    near = np.asarray(
        distance_transform_edt(
            ~(sure if sure.any() else subject), return_distances=False, return_indices=True
        )
    )
    r, c = near[:, row[front], column[front]]
    behind = (number / layers[front] * thick[front]).astype(np.float32)
    return FarSide(
        xy[front],
        depth[front] + behind,
        (frame[r, c] / 255).astype(np.float32),
        (0.5 * margin * depth / focal)[front].astype(np.float32),
        front,
        behind,
    )


def find_contradicted(
    posed: F32, masks: F32, depth: F32, K: F32, w2c: F32, tolerance: float, most: float
) -> NDArray[np.bool_]:
    """Whether too many frames see past a point, or see something behind it.

    Args:
        posed: (M, F, 3) the points in the world at F frames.
        masks, depth, K, w2c: of those frames.
        tolerance: by which a point may lie before the surface, world units.
        most: share of the frames with the point in the picture that may contradict it: masks and
            motion are not exact.
    """
    wrong, count = np.zeros(len(posed)), np.zeros(len(posed))
    for f, (mask, surface) in enumerate(zip(masks, depth, strict=True)):
        row, column, z, seen = find_pixels(posed[:, f], K[f], w2c[f], mask.shape)
        wide = cv2.dilate((mask != 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        before = (surface[row, column] > 0) & (z < surface[row, column] - tolerance)
        count += seen
        wrong += seen & (~wide[row, column] | before)
    return wrong > most * count


def find_isolated(
    points: F32, others: F32, distance: F32
) -> NDArray[np.bool_]:  # (M, 3), (N, 3), (M,) -> (M,)
    """Points with none of the others within their distance."""
    if len(others) == 0:
        return np.ones(len(points), bool)
    return np.asarray(KDTree(others).query(points)[0]) > distance
