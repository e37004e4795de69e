"""The subject's surface from its outline: how thick it is, and where it takes its colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.compositing.matte import signed_distance, spread
from restage4d.priors.geometry.inflation import inflate

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_RIM = 3.5  # pixels along the outline whose colours may be mixed with the background
_STRIDE = 2.0  # pixels, of the way to the ridge
_ARC = 1.1  # a round surface's length to the straight line between its ends, about
_HAIR = 0.4  # of a head's radius above its middle, from where it has the colours of its back
_HEAD = 1.6  # of that radius, up to which it is painted so
_WIDE = 0.9  # width over height of the outline: what is narrower was not filmed from beside
_SOFT = 0.12  # of the square root of the outline's area: what is smaller on its back is left out


def measure_thickness(outline: NDArray[np.bool_]) -> F32:  # (H, W) -> (H, W)
    """Half the body's, in pixels."""
    return np.asarray(cv2.GaussianBlur(inflate(outline), (0, 0), 0.7) * outline, np.float32)


def find_colours(
    mask: NDArray[np.bool_], thickness: F32, uv: F64, at: F32
) -> tuple[F64, F64]:  # (N,), (N,)
    """How far further from the outline, in pixels, the surface at ``uv`` (N, 2) takes its colour
    where the first frame does not show it: seen from behind, and seen from the side.

    From behind it is as far from the outline as it was filmed; the rim, whose colours may be mixed
    with the background, is mirrored where it ends.
    From the side, towards the outline the surface turns away from the camera, and a pixel would be
    stretched over much of it. From the ridge down, as many pixels as the surface is long are laid
    on it; what is left over where the pixels end is mirrored there, clear of the rim.

    Args:
        mask: (H, W).
        thickness: (H, W) half the body's, in pixels.
        uv: (N, 2) x, y.
        at: (N,) pixels from the outline, positive inside.
    """
    distance = np.asarray(signed_distance(mask), np.float32)
    inward = np.asarray(compute_inward(mask), np.float32)
    place = (uv - 0.5).astype(np.float32)
    half, height = np.maximum(at, 0.5), np.zeros(len(uv))
    for _ in range(int(np.ceil(distance.max() / _STRIDE)) + 1):  # uphill to the ridge
        half = np.maximum(half, _sample(distance, place))
        height = np.maximum(height, _sample(thickness, place))
        place = place + _STRIDE * _sample(inward, place)
    here = _sample(thickness, (uv - 0.5).astype(np.float32))
    up, whole = _ARC * np.hypot(np.maximum(at, 0), here), _ARC * np.hypot(half, height)
    rim = np.clip(0.4 * half, 0.5, _RIM)
    beyond = whole - up - (half - rim)  # the last of the pixels from the ridge down to the rim
    behind = np.where(at < rim, np.minimum(2 * rim - at, half), at)
    aside = np.minimum(rim + np.abs(beyond), half)
    return np.asarray(behind - at, np.float64), np.asarray(aside - at, np.float64)


def _sample(
    values: NDArray[np.floating], place: NDArray[np.floating]
) -> F32:  # (H, W) or (H, W, 2), (N, 2) -> (N,) or (N, 2)
    """Values at pixels x, y, between them linearly."""
    x_y = place[:, None].astype(np.float32)
    found = cv2.remap(values, x_y, None, cv2.INTER_LINEAR)  # pyright: ignore
    return np.asarray(found, np.float32)[:, 0]


def compute_inward(mask: NDArray[np.bool_]) -> NDArray[np.floating]:  # (H, W) -> (H, W, 2)
    """Unit x and y away from the outline, into the mask."""
    smooth = cv2.GaussianBlur(signed_distance(mask), (0, 0), 1.5)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], -1)
    return slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-3)


def paint_back(texture: F32, mask: NDArray[np.bool_], body: BodyPlan) -> F32:
    """The colours (H, W, 3) of the side away from the camera.

    They are those of the near side mirrored, but for the head of a body that is seen from the front
    or from behind: no face looks out of the back of a head. It has the colours of its top,
    where hair or fur goes round. Where it is not known where the head is, a body taller than wide
    has the same colours behind, but nothing as small as a face.
    """
    if body.facing:
        return texture
    if body.head is None:
        x0, y0, x1, y1 = body.box
        return texture if x1 - x0 > _WIDE * (y1 - y0) else _soften(texture, mask)
    part = body.head.weight > 0.5
    inside = np.where(part, np.asarray(signed_distance(mask), np.float32), 0)
    row, col = np.unravel_index(int(inside.argmax()), mask.shape)  # the middle of the head's ball
    ball = float(inside[row, col])
    rows, cols = np.indices(mask.shape)
    away = np.hypot(rows - row, cols - col) / ball
    hair = (inside > min(_RIM, 0.3 * ball)) & (away < 1) & (rows < row - _HAIR * ball)
    if not hair.any():
        return texture
    share = body.head.weight * np.clip((_HEAD - away) / (_HEAD - 1), 0, 1)
    back = spread(texture, hair.astype(np.float32))
    return (texture + share[..., None] * (back - texture)).astype(np.float32)


def _soften(texture: F32, mask: NDArray[np.bool_]) -> F32:  # (H, W, 3), (H, W) -> (H, W, 3)
    """The colours of the mask without detail, none of them from along the outline."""
    weight = (signed_distance(mask) > _RIM).astype(np.float32)
    if not weight.any():
        weight = mask.astype(np.float32)
    size = _SOFT * float(np.sqrt(mask.sum()))
    total, colours = (
        np.asarray(cv2.GaussianBlur(a, (0, 0), size), np.float32)
        for a in (weight, texture * weight[..., None])
    )
    known = total > 1e-3
    return np.where(known[..., None], colours / np.maximum(total, 1e-3)[..., None], texture)
