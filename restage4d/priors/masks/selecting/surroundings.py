"""Surroundings that a mask took along: ground, shadow and backdrop within its outline.

Shadows move with their subject, and flow drags plain ground along with it, so that motion does not
tell them; but they look like what lies beside them, or like a darker part of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.priors.masks.likelihood_ratio import ColourLogLikelihoodRatio
from restage4d.priors.masks.random_walk import walk_randomly
from restage4d.priors.masks.regions import dilate, find_thin_parts, label, remove_fragments
from restage4d.priors.masks.selecting.segment import open_mask
from restage4d.priors.motion.first_motion import OwnMotion
from restage4d.priors.motion.revealed_background import normalise_change

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Likeness:
    """How alike a place within the mask and what is beside it must be.

    Attributes:
        reach: over which what is beside tells, over the root of the mask's area.
        low, high: logarithm of the ratio of their light.
        hue: difference of that logarithm between colour channels.
        smoother: share of the roughness beside that the place has at least: ground in a shadow is
            as rough as in the light, in this logarithm.
        uneven: deviation of the logarithm of light beside, above which nothing is told.
    """

    reach: float
    low: float
    high: float
    hue: float
    smoother: float
    uneven: float


_SHADOWED = Likeness(reach=0.2, low=-2.4, high=0.35, hue=0.2, smoother=0.45, uneven=np.inf)
_SAME = Likeness(reach=0.12, low=-0.25, high=0.25, hue=0.12, smoother=0.0, uneven=0.35)
_BLUER = 0.3  # how much more the hue may differ, per logarithm of light lost: shadows are bluer
_SOFT = 0.06  # half a shadow's soft edge at most, over the root of the mask's area
_LOWER = 0.45  # of the mask's height, from its top, above which no shadow is looked for
_ROUGH = (1.5, 0.03)  # times the roughness beside, and more, that a place may have
_PATCH = 5  # pixels over which roughness is measured
_SMALLEST, _LARGEST = 0.005, 0.45  # share of the mask that is taken away
_AROUND = 0.15  # of the root of the area: reach over which what is found grows to edges
_FRESH = 0.3  # what a pixel outside counts, as one that is found counts 1
_SURE, _FOUND, _MOST = 6.0, 3.0, 2.0  # logits of the rest, of what is found, of colour at most
_TIE = 3.0  # between neighbours of one colour
_MOVING, _STANDS = 4.0, 0.15  # of own motion: what moves; share of the rest's that is none
_THICK = 0.05  # half the width of what is more than a limb, over the root of the area
_DEEP, _TELLS = 0.35, (0.1, 1.2)  # share of the greatest depth: there all but that share is so ...
_PLATE = 0.02  # half the width of what goes, over the root of the area
_HIDES = 1.0  # ... unlike the background, and elsewhere what is less unlike may be background
_STEEP, _MOST_UNLIKE, _STAYS = 3.0, 3.0, 1.5  # logit per logarithm of it, at most; of the mask


def remove_surroundings(lab: F32, frame: NDArray[np.uint8], mask: Bool) -> Bool:
    """``mask`` (H, W) without what `find_surroundings` finds, up to the edges around it; as it is
    where that is next to nothing, or so much that the subject itself looks like its surroundings.

    Args:
        lab: (H, W, 3) colours of ``frame``, finely smoothed.
        frame: (H, W, 3) uint8 sRGB.

    Example:
        >>> mask = remove_surroundings(still.lab, still.frame, mask)
    """
    found = find_surroundings(frame, mask)
    if not _SMALLEST * mask.sum() < found.sum() < _LARGEST * mask.sum():
        return mask
    size = float(np.sqrt(mask.sum()))
    ratio = ColourLogLikelihoodRatio()
    near = dilate(mask, round(0.5 * size)) & ~mask
    against = np.where(found, 1.0, np.where(near, _FRESH, 0.0))
    ratio.learn(lab, (mask & ~dilate(found, 2)).astype(np.float64), against)
    band = mask & dilate(found, round(_AROUND * size))
    logit = np.where(mask, _SURE, -_SURE)
    logit[band] = np.clip(ratio(lab), -_MOST, _MOST)[band]
    logit[found] = -_FOUND
    rows, cols = np.nonzero(band)
    contrast = 0.5 / max(float((np.diff(lab, axis=1) ** 2).sum(-1).mean()), 1e-3)
    labels = walk_randomly(rows, cols, logit.astype(np.float32), lab, _TIE, contrast)
    rest = mask & (labels > 0.5)
    return remove_fragments(rest)


def remove_still_pieces(motion: OwnMotion, mask: Bool) -> Bool:
    """``mask`` (H, W) without what stands still while the rest of it moves, and is thicker than a
    limb: a foot on the ground stands, too."""
    known = mask & motion.known
    if not known.any():
        return mask
    pace = float(np.median(motion.moving[known]))
    if pace < _MOVING:
        return mask
    stands = known & (motion.moving < min(_STANDS * pace, _MOVING))
    thick = open_mask(stands, max(2, round(_THICK * float(np.sqrt(mask.sum())))))
    if not thick.any():
        return mask
    rest = mask & ~(dilate(thick, 2) & stands)
    return remove_fragments(rest)


def remove_revealed_background(lab: F32, change: F32, mask: Bool) -> Bool:
    """``mask`` (H, W) without what other frames show in its place, where these can tell.

    They cannot where the subject itself is in its place, in part: then much deep inside the mask is
    like what they show, and the mask stays as it is.

    Args:
        lab: (H, W, 3) colours, finely smoothed.
        change: (H, W) as from `restage4d.priors.motion.revealed_background.measure_change`.
    """
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    deep = mask & (depth > _DEEP * depth.max())
    unlike = normalise_change(change)
    known = mask & np.isfinite(unlike)
    if not known[deep].any() or np.quantile(unlike[deep & known], _TELLS[0]) < _TELLS[1]:
        return mask
    logit = np.full(mask.shape, -_SURE, np.float32)
    logit[mask] = _STAYS
    logit[known] += np.clip(_STEEP * np.log(unlike[known] / _HIDES), -_MOST_UNLIKE, _MOST_UNLIKE)
    below = np.arange(len(mask))[:, None] > np.median(np.nonzero(mask)[0])
    kept = deep | (find_thin_parts(mask) & below)  # a foot stands in its place for a while, too
    logit[kept] = _SURE
    rows, cols = np.nonzero(mask & ~kept)
    contrast = 0.5 / max(float((np.diff(lab, axis=1) ** 2).sum(-1).mean()), 1e-3)
    rest = mask & (walk_randomly(rows, cols, logit, lab, _TIE, contrast) > 0.5)
    holes = label(~rest, corners=False)
    outside = np.unique(holes[~mask])
    rest |= mask & ~np.isin(holes, outside)  # only what is at the outline goes
    gone = label(mask & ~rest, corners=True)
    thick = open_mask(gone > 0, max(1, round(_PLATE * float(np.sqrt(mask.sum())))))
    rest |= mask & ~np.isin(gone, np.unique(gone[thick]))  # and no rim, whose pixels are mixed
    return remove_fragments(rest)


def find_surroundings(frame: NDArray[np.uint8], mask: Bool) -> Bool:
    """Where (H, W) ``mask`` looks like what lies just beside it, or in its lower part like a darker
    or slightly brighter ground: the same in every colour channel, no rougher, and at the
    outline."""
    nothing = np.zeros_like(mask)
    if not mask.any() or mask.all():
        return nothing
    rows = np.flatnonzero(mask.any(1))
    lower = nothing.copy()
    lower[round(rows[0] + _LOWER * (rows[-1] - rows[0])) :] = True
    light = np.log(np.maximum((frame.astype(np.float32) / 255) ** 2.2, 2e-3))
    alike = _find_alike(light, mask, lower, _SHADOWED)
    alike |= _find_alike(light, mask, ~nothing, _SAME)
    parts = label(alike, corners=True)
    area = np.bincount(parts.ravel())
    rim = mask & dilate(~mask, max(2, round(_SOFT * float(np.sqrt(mask.sum())))))
    keep = np.isin(np.arange(len(area)), np.unique(parts[rim]))
    keep &= area >= _SMALLEST * mask.sum()
    keep[0] = False
    return keep[parts]


def _find_alike(light: F32, mask: Bool, where: Bool, likeness: Likeness) -> Bool:
    """The pixels of ``mask`` and ``where`` that look like those of ``where`` beside the mask;
    ``light`` (H, W, 3) is the logarithm of linear colours."""
    sigma = likeness.reach * float(np.sqrt(mask.sum()))
    beside = (~dilate(mask, 2) & where).astype(np.float32)
    weight = _blur(beside, sigma)

    def average_beside(image: F32) -> F32:
        return np.asarray(_blur(image * beside, sigma) / (weight + 1e-6), np.float32)

    mean = np.stack([average_beside(light[..., c]) for c in range(3)], -1)
    grey = light.mean(-1)
    uneven = np.sqrt(np.maximum(average_beside(grey**2) - mean.mean(-1) ** 2, 0))
    rough = _measure_roughness(grey)
    left = light - mean
    ratio = left.mean(-1)
    hue = likeness.hue * (1 + _BLUER * np.maximum(-ratio, 0))
    alike = (left.max(-1) - left.min(-1) < hue) & (weight > 1e-3)
    alike &= (ratio > likeness.low) & (ratio < likeness.high) & (uneven < likeness.uneven)
    alike &= mask & where
    rough_beside = average_beside(rough)
    smooth = alike & (rough < _ROUGH[0] * rough_beside + _ROUGH[1])
    smooth &= rough > likeness.smoother * rough_beside
    return dilate(open_mask(smooth, 1), _PATCH // 2) & alike  # roughness is blurred at edges


def _blur(image: F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _measure_roughness(light: F32) -> F32:  # (H, W) -> (H, W)
    mean = cv2.blur(light, (_PATCH, _PATCH))
    square = cv2.blur(light * light, (_PATCH, _PATCH)) - mean * mean
    return np.sqrt(np.maximum(square, 0)).astype(np.float32)
