"""Limbs that a mask lacks: a leg that stands as still as the ground, or looks otherwise than the
body."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.priors.masks.likelihood_ratio import ColourLogLikelihoodRatio
from restage4d.priors.masks.random_walk import RandomWalk, compute_ties
from restage4d.priors.masks.regions import dilate, label, shrink, tidy
from restage4d.priors.masks.strips import find_strips
from restage4d.priors.motion.revealed_background import normalise_change

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_REACH = 0.7  # of the root of the mask's area: how far from it a limb that it lacks may go
_LEVELS = (2.5, 1.7, 1.2)  # times the background's own change, from which something hides it
_STEEP, _MOST, _TIE = 3.0, 3.0, 2.0  # logit per log of it, at most; ties as in segment
_COLOUR, _MOST_COLOUR, _RIM = 0.6, 2.0, 2.0  # weight of colour's logarithm, at most; pixels
_GUESSED = 3.0  # times as much the change counts where a limb is guessed
_DIFFERS = 0.8  # times the background's own change, without which colour says nothing
_AREA = (0.005, 0.12)  # share of the mask's area that such a limb has
_CONTACT, _NARROW = 0.5, 0.075  # of its outline on the mask; half its width, over the root
_TALL = 0.85  # height over width
_EDGE, _FAINT, _WEAK, _BLUR = 12.0, 6.0, 0.27, 2.0  # steps in Lab; share that is faint; pixels
_CLEAR, _CLEAR_ROW, _STRIP = 6.0, 0.25, 10.0  # for a strip, in all and a row; step in Lab
_MOVES, _STANDS, _JOINT = 4.0, 0.06, 0.1  # own motion; share of it; of the root of the area
_LIFTED = 0.6  # of that root: how far above the mask's lowest pixel one ends at most
_JOINED, _ALONG = 0.5, 0.6  # of its width on the mask at least; of its outline at most
_SIZE = 110.0  # root of a mask's area, in pixels, at which strips are looked for at most
_BAND, _WITHIN, _SHARP = 4, 0.8, 0.02  # pixels around a strip that are decided; logit per pixel


def add_standing_limbs(lab: F32, change: F32, mask: Bool) -> Bool:
    """``mask`` (H, W) of the first frame with the limbs that it lacks since they stand as still as
    the ground, or look otherwise than the rest.

    Such a limb hides what other frames show there, hangs on the mask by a narrow end below its
    middle, is narrow, taller than wide (which a shadow is not), and has an outline of its own. It
    is looked for by this alone, and once more with the mask's colours, which part it from a shadow.

    Args:
        lab: (H, W, 3) colours, finely smoothed.
        change: (H, W) as from `measure_change`.

    Example:
        >>> mask = add_standing_limbs(still.lab, measure_change(base, progress), mask)
    """
    if not mask.any() or not np.isfinite(change).any():
        return mask
    apart = np.nan_to_num(normalise_change(change), nan=1e-3)
    near, around = (place & np.isfinite(change) for place in _find_near(mask))
    likely = apart * np.where(apart > _DIFFERS, _compare_colours(lab, mask, around), 1)
    # a leg and its shadow come apart at one of the levels, or by their colours
    return _add_limbs(lab, mask, near, [apart, likely])


def guess_limbs(lab: F32, change: F32, mask: Bool) -> Bool:
    """What (H, W) may be limbs that ``mask`` lacks: of a limb's shape and outline, and of its
    colour, or hiding what other frames show by ever so little. A guess, which may be a piece of
    ground. Arguments as in `add_standing_limbs`."""
    if not mask.any():
        return mask
    near, around = _find_near(mask)
    likely = _compare_colours(lab, mask, around)
    apart = _GUESSED * np.nan_to_num(normalise_change(change), nan=1e-3)
    return _add_limbs(lab, mask, near, [likely, apart, apart * likely]) & ~mask


def trace_limbs(lab: F32, moving: F32, mask: Bool) -> Bool:
    """What (H, W) may be limbs that ``mask`` cuts off: strips that go on below it with an edge on
    both sides (`find_strips`), where it moves as the rest of it does. A guess.

    Args:
        lab: (H, W, 3) colours, finely smoothed.
        moving: (H, W) as in `OwnMotion`.
    """
    ratio = min(1.0, _SIZE / max(float(np.sqrt(mask.sum())), 1.0))
    if ratio == 1:
        return _trace_limbs(lab, moving, mask)
    height, width = mask.shape
    small = max(round(ratio * width), 1), max(round(ratio * height), 1)
    picture, pace, little = (
        np.asarray(cv2.resize(each, small, interpolation=cv2.INTER_AREA), np.float32)
        for each in (lab, moving, mask.astype(np.float32))
    )
    found = _trace_limbs(picture, pace, little > 0.5).astype(np.float32)
    return (cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5) & ~mask


def _trace_limbs(lab: F32, moving: F32, mask: Bool) -> Bool:
    found = np.zeros_like(mask)
    if not mask.any():
        return found
    near, around = _find_near(mask)
    ratio = np.asarray(np.log(_compare_colours(lab, mask, around)) / _COLOUR, np.float32)
    for score, strip in find_strips(lab, ratio, mask, near & ~mask):
        clear = score > max(_CLEAR, _CLEAR_ROW * strip.any(1).sum())
        if clear and _goes_on(strip, mask) and _moves_along(moving, strip, mask):
            limb = _settle_outline(lab, strip, mask, near)
            if _has_outline(lab, limb, mask, _STRIP):
                found |= limb
    return found


def _moves_along(moving: F32, strip: Bool, mask: Bool) -> bool:
    """Whether ``mask`` (H, W) does not stand where ``strip`` hangs on it while the rest moves: then
    it took along something else there."""
    pace = float(np.median(moving[mask]))
    joint = mask & dilate(strip & dilate(mask, 1), max(2, round(_JOINT * float(mask.sum()) ** 0.5)))
    return pace < _MOVES or float(np.median(moving[joint])) > _STANDS * pace


def _goes_on(strip: Bool, mask: Bool) -> bool:
    """Whether ``strip`` (H, W) hangs on ``mask`` by its width, not by less, as what passes behind,
    nor along its side; and ends about where the mask stands, or below."""
    lowest, end = (int(np.flatnonzero(part.any(1))[-1]) for part in (mask, strip))
    if end < lowest - _LIFTED * float(np.sqrt(mask.sum())):
        return False
    touching, wide = (strip & dilate(mask, 1)).sum(), np.median(strip.sum(1)[strip.any(1)])
    along = (strip & dilate(mask, 2)).sum() / (strip & dilate(~strip, 1)).sum()
    return bool(touching > _JOINED * wide and along < _ALONG)


def _settle_outline(lab: F32, strip: Bool, mask: Bool, near: Bool) -> Bool:
    """``strip`` (H, W) up to the edges around it."""
    rows, cols = np.nonzero(dilate(strip, _BAND) & near & ~mask)
    both = np.pad(strip | mask, 1).astype(np.uint8)
    inside = cv2.distanceTransform(both, cv2.DIST_L2, 3)[1:-1, 1:-1]
    outside = cv2.distanceTransform((~strip).astype(np.uint8), cv2.DIST_L2, 3)
    logit = np.clip(_WITHIN * np.where(strip, inside - 0.5, 0.5 - outside), -_MOST, _MOST)
    contrast = min(0.5 / max(3 * float((np.diff(lab, axis=1) ** 2).mean()), 1e-3), _SHARP)
    walk = RandomWalk(rows, cols, mask, compute_ties(lab, _TIE, contrast))
    found = np.zeros_like(mask)
    found[rows, cols] = walk(logit[rows, cols].astype(np.float32)) > 0.5
    return tidy(found, strip)


def _find_near(mask: Bool) -> tuple[Bool, Bool]:
    """Where (H, W) a limb may be that ``mask`` lacks: not far from it, below its middle; and the
    same without the mask and the mixed pixels of its outline."""
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    below = np.arange(len(mask))[:, None] > np.median(np.nonzero(mask)[0])
    near = below & (outside < _REACH * float(np.sqrt(mask.sum())))
    return near, near & (outside > _RIM)


def _compare_colours(lab: F32, mask: Bool, around: Bool) -> F32:
    """How much more likely (H, W) colours are those of ``mask`` than those ``around`` it."""
    colour = ColourLogLikelihoodRatio()
    colour.learn(lab, shrink(mask).astype(np.float64), around.astype(np.float64))
    return np.exp(_COLOUR * np.clip(colour(lab), -_MOST_COLOUR, _MOST_COLOUR))


def _add_limbs(lab: F32, mask: Bool, near: Bool, signs: list[F32]) -> Bool:
    """``mask`` with all limbs ``near`` it that one of the ``signs`` (H, W) tells, at one of the
    levels."""
    size = float(np.sqrt(mask.sum()))
    contrast = 0.5 / max(3 * float((np.diff(lab, axis=1) ** 2).mean()), 1e-3)
    result, ties, walk = mask.copy(), compute_ties(lab, _TIE, contrast), None
    for sign, level in ((each, level) for each in signs for level in _LEVELS):
        if walk is None:
            rows, cols = np.nonzero(near & ~result)
            walk = RandomWalk(rows, cols, result, ties)
        logit = np.clip(_STEEP * np.log(sign[rows, cols] / level), -_MOST, _MOST)
        found = np.zeros_like(mask)
        found[rows, cols] = walk(logit.astype(np.float32)) > 0.5
        parts = label(found, corners=True)
        area = np.bincount(parts.ravel()) / mask.sum()
        for number in 1 + np.flatnonzero((area[1:] > _AREA[0]) & (area[1:] < _AREA[1])):
            part = parts == number
            if _is_limb(lab, part, result, size):
                result |= part
                walk = None
    return result


def _is_limb(lab: F32, part: Bool, mask: Bool, size: float) -> bool:
    """Whether ``part`` (H, W), which is not in ``mask``, has a limb's shape and outline; ``size``
    is the root of the area that a mask has."""
    rows, cols = np.nonzero(part)
    touching, rim = part & dilate(mask, 1), part & dilate(~part, 1)
    inside = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 3)
    if not touching.any() or touching.sum() > _CONTACT * rim.sum():
        return False
    if inside.max() > _NARROW * size or np.ptp(rows) < _TALL * np.ptp(cols):
        return False
    return _has_outline(lab, part, mask, _EDGE)


def _has_outline(lab: F32, part: Bool, mask: Bool, least: float) -> bool:
    """Whether there is a step of ``least`` over most of the outline of ``part`` (H, W) that is not
    on ``mask``, and hardly anywhere none."""
    around = dilate(part, 2) & ~part & ~mask
    edge = part & dilate(around, 1)
    step = np.linalg.norm(_average(lab, part) - _average(lab, around), axis=-1)[edge]
    return len(step) > 0 and bool(np.median(step) > least and (step < _FAINT).mean() < _WEAK)


def _average(lab: F32, part: Bool) -> F32:
    """Mean colour (H, W, 3) of ``part`` around each pixel."""
    weight = part.astype(np.float32)[..., None]
    total = cv2.GaussianBlur(lab * weight, (0, 0), _BLUR)
    return np.asarray(
        total / (cv2.GaussianBlur(weight, (0, 0), _BLUR)[..., None] + 1e-6), np.float32
    )
