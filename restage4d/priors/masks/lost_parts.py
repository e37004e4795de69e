"""Parts of the subject that a mask loses although the picture still shows them: unknown, not
background.

What was subject within the last frames is carried along the optical flow, as long as flow and
colour say that the same thing is seen. Where a mask then lacks most of a limb, or of the body, it
is the mask that failed: what leaves the picture or goes behind something is not carried on.

In the first frame, which nothing is carried to, limbs are looked for that hide what later frames
show.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.frame_arrays import take_frames
from restage4d.priors.masks.likelihood_ratio import ColourLogLikelihoodRatio
from restage4d.priors.masks.random_walk import RandomWalk, compute_ties
from restage4d.priors.masks.regions import disk, find_thin_parts, label
from restage4d.priors.motion.background_motion import is_lost
from restage4d.priors.motion.optical_flow import Flow, warp
from restage4d.priors.motion.revealed_background import normalise_change
from restage4d.priors.motion.smooth_colours import smooth_lab

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

LOST = 0.4  # share of a part that a mask may lack at most of what is carried there
_MEMORY = 8  # frames for which a limb that is no longer in the mask is carried on
_GONE = _MEMORY + 1.0
_JUMP = 14.0  # change of Lab colour from which something else is seen, as of trails
_HELD = 4  # frames in the mask after which a place is remembered: errors are shorter
_NEAR = 3  # pixels from the mask at most where a limb begins
_SMALLEST, _FEWEST = 0.01, 6  # of the carried area, and pixels: smaller limbs are noise
_REACH = 0.7  # of the root of the mask's area: how far from it a limb that it lacks may go
_LEVELS = (2.5, 1.7, 1.2)  # times the background's own change, from which something hides it
_STEEP, _MOST, _SURE, _TIE = 3.0, 3.0, 6.0, 2.0  # logit per log of it, at most; ties as in segment
_COLOUR, _MOST_COLOUR, _RIM = 0.6, 2.0, 2.0  # weight of colour's logarithm, at most; pixels
_HARDLY = 3.0  # times as much its change counts where a limb is guessed
_DIFFERS = 0.8  # times the background's own change, without which colour says nothing
_AREA = (0.005, 0.12)  # share of the mask's area that such a limb has
_CONTACT, _NARROW = 0.5, 0.075  # of its outline on the mask; half its width, over the root
_TALL = 0.85  # height over width
_EDGE, _FAINT, _WEAK, _BLUR = 12.0, 6.0, 0.27, 2.0  # steps in Lab; share that is faint; pixels


def mark_lost_parts(rewound: Rewound, flow: Flow, masks: F32, given: Bool) -> F32:
    """``masks`` (T, H, W) as in `Priors.masks`, with -1 where a part of the subject went missing.

    Frame after frame from the seam. A part is a limb, or what is left of the subject without its
    limbs; one that lacks at least `LOST` of its carried pixels is unknown where it lacks them.

    Args:
        rewound: the clip.
        flow: its optical flow.
        masks: of its frames.
        given: (T,) frames whose masks stand as they are.

    Example:
        >>> flow = compute_optical_flow(rewound, progress)
        >>> masks = provider.propagate(rewound, first, progress)
        >>> masks = mark_lost_parts(rewound, flow, masks, np.arange(len(masks)) == rewound.seam)
    """
    result, seam = take_frames(masks, np.arange(len(masks))), rewound.seam
    lab = smooth_lab(rewound.clip.frames[seam], 1.0)
    since, look = {seam: np.where(_shrink(masks[seam] > 0.5), 0, _GONE)}, {seam: lab}
    held = {seam: np.where(masks[seam] > 0.5, _HELD, 0)}
    for a, b in rewound.outward(seam):
        lab = smooth_lab(rewound.clip.frames[b], 1.0)
        back = flow.get_flow(b, a)
        source, seen = _find_source(back)
        before = look[a][source]  # what was seen when it was last in the mask
        seen &= ~is_lost(back, warp(flow.get_flow(a, b), back))
        seen &= np.linalg.norm(lab - before, axis=-1) < _JUMP
        carried = np.where(seen, since[a][source] + 1, _GONE)
        known = masks[b] > 0.5
        if given[b]:
            carried[:] = _GONE
        near = _grow(known, _NEAR)
        limbs, body = _list_parts(carried <= _MEMORY)
        for part in (*limbs, body):
            lost = (part & ~_grow(known)).sum() >= max(LOST * part.sum(), 1)
            if lost and (part is body or (part & near).any()):
                result[b][_grow(part) & ~known] = -1
                if part is body:  # too much to be an error of the outline's: it is kept in mind
                    carried[part] = 0
        held[b] = np.where(known, np.where(seen, held[a][source], 0) + 1, 0)
        if given[b]:
            held[b] = np.where(known, _HELD, 0)
        firm = _shrink(known) & (held[b] >= _HELD)
        since[b] = np.where(firm, 0, np.minimum(carried, _GONE))
        look[b] = np.where((known | (carried > _MEMORY))[..., None], lab, before)
        if a != seam:  # the only frame that more than one follows
            del since[a], look[a], held[a]
    return result


def _find_source(flow: F32) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], Bool]:
    """The pixels, rows and columns (H, W), that ``flow`` (H, W, 2) points to, and whether they lie
    in the picture."""
    height, width = flow.shape[:2]
    rows, cols = np.indices((height, width)) + np.rint(np.moveaxis(flow, -1, 0)[::-1]).astype(int)
    inside = (rows >= 0) & (cols >= 0) & (rows < height) & (cols < width)
    return (np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)), inside


def _list_parts(carried: Bool) -> tuple[list[Bool], Bool]:
    """The limbs of ``carried`` (H, W), without those too small to tell, and the rest."""
    thin = find_thin_parts(carried)
    limbs = label(thin, corners=True)
    area = np.bincount(limbs.ravel())
    large = area >= max(_SMALLEST * float(carried.sum()), _FEWEST)
    large[0] = False
    return [limbs == k for k in np.flatnonzero(large)], carried & ~thin


def _shrink(mask: Bool) -> Bool:
    """Without the rim, which is half background."""
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _grow(mask: Bool, pixels: int = 1) -> Bool:
    """Some pixels more all around: an outline may lie a little off."""
    return cv2.dilate(mask.astype(np.uint8), disk(pixels)) > 0


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
    near = _list_near(mask) & np.isfinite(change)
    likely = apart * np.where(apart > _DIFFERS, _compare_colours(lab, mask, near), 1)
    # a leg and its shadow come apart at one of the levels, or by their colours
    return _add_limbs(lab, mask, near, [apart, likely])


def guess_limbs(lab: F32, change: F32, mask: Bool) -> Bool:
    """What (H, W) may be limbs that ``mask`` lacks: of a limb's shape and outline, and of its
    colour, or hiding what other frames show by ever so little. A guess, which may be a piece of
    ground. Arguments as in `add_standing_limbs`."""
    if not mask.any():
        return mask
    near = _list_near(mask)
    likely = _compare_colours(lab, mask, near)
    apart = _HARDLY * np.nan_to_num(normalise_change(change), nan=1e-3)
    return _add_limbs(lab, mask, near, [likely, apart, apart * likely]) & ~mask


def _list_near(mask: Bool) -> Bool:
    """Where (H, W) a limb may be that ``mask`` lacks: not far from it, below its middle."""
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    below = np.arange(len(mask))[:, None] > np.median(np.nonzero(mask)[0])
    return below & (outside < _REACH * float(np.sqrt(mask.sum())))


def _compare_colours(lab: F32, mask: Bool, near: Bool) -> F32:
    """How much more likely (H, W) colours are those of ``mask`` than those ``near`` it."""
    colour = ColourLogLikelihoodRatio()
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    around = (outside > _RIM) & near
    colour.learn(lab, _shrink(mask).astype(np.float64), around.astype(np.float64))
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
    touching, rim = part & _grow(mask), part & _grow(~part)
    inside = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 3)
    if not touching.any() or touching.sum() > _CONTACT * rim.sum():
        return False
    if inside.max() > _NARROW * size or np.ptp(rows) < _TALL * np.ptp(cols):
        return False
    around = _grow(part, 2) & ~part & ~mask
    edge = part & _grow(around)
    step = np.linalg.norm(_average(lab, part) - _average(lab, around), axis=-1)[edge]
    return len(step) > 0 and bool(np.median(step) > _EDGE and (step < _FAINT).mean() < _WEAK)


def _average(lab: F32, part: Bool) -> F32:
    """Mean colour (H, W, 3) of ``part`` around each pixel."""
    weight = part.astype(np.float32)[..., None]
    total = cv2.GaussianBlur(lab * weight, (0, 0), _BLUR)
    return np.asarray(
        total / (cv2.GaussianBlur(weight, (0, 0), _BLUR)[..., None] + 1e-6), np.float32
    )
