"""The clean plate: the base's first frame without the subject.

What other frames of the base show behind the subject is brought over by homographies and a smooth
residual flow; what no frame shows is completed from patches of the picture itself
(`restage4d.driving.draft.compositing.inpaint`).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.draft.compositing.inpaint import complete
from restage4d.driving.draft.compositing.matte import blur_within, dilate, spread
from restage4d.driving.draft.compositing.registration import Registration
from restage4d.progress import Task

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_AGREE = 28.0  # grey levels between views that show the same
_MEAN_OF = 4  # views that agree
_SHARP = 0.6  # how sharp a view must be beside the first frame
_GOOD_FIT = 11.0  # grey levels that a view's detail may differ from the first frame's beside it
# Of the views of a piece of ground, how many are darker than the one taken: beside the subject,
# where its shadow falls in most frames, and below it, where its bright legs may have slipped in.
_BRIGHT, _BRIGHT_BELOW = 0.85, 0.6


def look_behind(
    base: Clip, hole: Mask, ground: Mask, found: Registration, stage: Task
) -> tuple[F32, Mask]:
    """What the other frames show in the first frame's view.

    Args:
        base: the footage.
        hole: (H, W) what the subject covers in the first frame.
        ground: (H, W) where its shadow may fall; brighter views are taken there.
        found: the frames in that view.
        stage: advanced by one for every frame.

    Returns:
        Their colours (H, W, 3) in 0..255, and where in ``hole | ground`` they are known.
    """
    first = base.frames[0].astype(np.float32)
    wanted = hole | ground
    views: list[F32] = []  # (pixels wanted, 3) each, NaN where it does not show the background
    for t, H, mask in zip(found.index[1:], found.to_first[1:], found.masks[1:], strict=True):
        seen = cv2.warpPerspective(
            (~mask).astype(np.uint8), H, base.size, flags=cv2.INTER_NEAREST
        ).astype(bool)
        hidden = dilate(~seen, 2)
        if (hole & ~hidden).sum() >= max(20, 0.01 * hole.sum()):
            piece = _align_view(base.frames[t], H, hidden, first, hole, ground)
            if piece is not None:
                views.append(piece[wanted])
        stage.advance()
    behind, known = first.copy(), np.zeros_like(hole)
    if len(views) >= 2:
        rank = np.select([ground & ~hole, ground], [_BRIGHT, _BRIGHT_BELOW], 0.5)[wanted]
        behind[wanted], known[wanted] = _merge_views(np.stack(views), rank)
    return behind, known


def make_clean_plate(lit: F32, hole: Mask, behind: F32, known: Mask, avoid: Mask) -> F32:
    """The first frame with ``hole`` filled, and unchanged outside it.

    Args:
        lit: (H, W, 3) the first frame in 0..255, without the subject's shadow.
        hole: (H, W) what the subject covers.
        behind, known: from `look_behind`.
        avoid: (H, W) what shall not be copied into the rest (what is left of a shadow).
    """
    shown = hole & known
    plate = np.where(shown[..., None], behind, lit).astype(np.float32)
    left = hole & ~known
    left = dilate(left, 1) & hole  # the last pixel before a gap is the least certain
    return complete(plate, left, np.random.default_rng(0), avoid) if left.any() else plate


def _merge_views(views: F32, rank: F64) -> tuple[F32, Mask]:  # (V, P, 3), (P,) -> (P, 3), (P,)
    """Per pixel the mean of the earliest few views like the one of the given ``rank`` in
    brightness, 0..1, and where there are such.

    A rough mask lets parts of the subject slip through; they move, so that most views agree on the
    background. Few views are sharper than their median, and one alone would leave seams.
    """
    count = np.isfinite(views[..., 0]).sum(0)
    enough = np.flatnonzero(count >= 2)
    some, rank, count = views[:, enough], rank[enough], count[enough]
    order = np.argsort(some[..., 1], axis=0)  # by green, which is nearly all of the brightness
    place = np.floor(rank * (count - 1) + 0.5).astype(int)  # NaN last
    usual = some[order[place, np.arange(len(enough))], np.arange(len(enough))]
    tolerance = np.minimum(_AGREE, 8 + 0.25 * usual[:, 1])
    agrees = np.ones(some.shape[:2], bool)
    for k in range(3):
        agrees &= np.abs(some[..., k] - usual[:, k]) < tolerance
    most = agrees.sum(0) >= np.maximum(2, np.minimum(0.5, 1.2 * (1 - rank)) * count)
    taken = agrees & (np.cumsum(agrees, axis=0) <= _MEAN_OF)
    total = np.zeros_like(usual)
    for view, here in zip(some, taken, strict=True):
        total[here] += view[here]
    result, shown = np.zeros(views.shape[1:], np.float32), np.zeros(views.shape[1], bool)
    result[enough] = total / np.maximum(taken.sum(0), 1)[:, None]
    shown[enough] = most
    return result, shown


def _align_view(
    frame: NDArray[np.uint8], H: F64, hidden: Mask, first: F32, hole: Mask, ground: Mask
) -> F32 | None:
    """Another frame in the first one's view, bent and tinted to meet it around the hole; NaN where
    it is hidden or does not fit, None where that is everywhere.

    Details are compared, and not where the ground is darker in the first frame: it may be shadow.
    """
    size = hole.shape[1], hole.shape[0]
    warped = cv2.warpPerspective(
        frame, H, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    both = ~hidden & ~hole
    near = both & dilate(hole, max(6, max(size) // 25))
    if near.sum() < 50:
        return None
    now = cv2.cvtColor(np.clip(first, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    then = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY)
    then = np.where(both, then, now).astype(np.uint8)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
        now, then, np.zeros((*now.shape, 2), np.float32)
    )
    inner = both & ~dilate(~both, 4) & (cv2.max(*cv2.split(np.abs(flow))) < 0.03 * max(size))
    if inner.sum() < 50:
        return None
    smooth = cv2.GaussianBlur(
        spread(np.asarray(flow, np.float32), inner.astype(np.float32)), (0, 0), max(size) / 60
    )
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).astype(np.float32)
    bent = cv2.remap(warped, grid + smooth, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
    bent = np.asarray(bent, np.float32)
    if (
        cv2.Laplacian(bent, cv2.CV_32F)[near].std()
        < _SHARP * cv2.Laplacian(first, cv2.CV_32F)[near].std()
    ):
        return None
    weight = both.astype(np.float32)
    rest = first - bent
    detail = _max_channel(rest - blur_within(rest, weight, 3.0))[..., None]
    shaded = ground & (blur_within(rest, weight, 1.5).mean(-1) < -0.1 * bent.mean(-1))
    compared = (both & ~dilate(shaded, 4)).astype(np.float32)
    misfit = spread(blur_within(detail, compared, 6.0), compared)[..., 0]
    usual = np.median(rest[near], axis=0)
    alike = near & (_max_channel(rest - usual) < 12 + np.median(np.abs(rest[near] - usual)))
    if alike.sum() < 50:
        return None
    tint = spread(blur_within(rest, weight, 1.0), alike.astype(np.float32))
    fits = ~hidden & (misfit < _GOOD_FIT)
    return np.where(fits[..., None], np.clip(bent + tint, 0, 255), np.nan).astype(np.float32)


def _max_channel(values: NDArray[np.floating]) -> F32:  # (H, W, 3) -> (H, W)
    """The size of the largest channel; NumPy's own maximum over so short an axis is slow."""
    r, g, b = cv2.split(np.abs(values))
    return np.asarray(cv2.max(cv2.max(r, g), b), np.float32)
