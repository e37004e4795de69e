"""Parts of the subject that a mask loses although the picture still shows them: unknown, not
background.

What was subject within the last frames is carried along the optical flow, as long as flow and
colour say that the same thing is seen. Where a mask then lacks most of a limb, or of the body, it
is the mask that failed: what leaves the picture or goes behind something is not carried on.
"""

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.frame_arrays import take_frames
from restage4d.priors.masks.regions import dilate, find_thin_parts, label, shrink
from restage4d.priors.motion.background_motion import is_lost
from restage4d.priors.motion.optical_flow import Flow, warp
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
    since, look = {seam: np.where(shrink(masks[seam] > 0.5), 0, _GONE)}, {seam: lab}
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
        near = dilate(known, _NEAR)
        limbs, body = _list_parts(carried <= _MEMORY)
        for part in (*limbs, body):
            lost = (part & ~dilate(known, 1)).sum() >= max(LOST * part.sum(), 1)
            if lost and (part is body or (part & near).any()):
                result[b][dilate(part, 1) & ~known] = -1
                if part is body:  # too much to be an error of the outline's: it is kept in mind
                    carried[part] = 0
        held[b] = np.where(known, np.where(seen, held[a][source], 0) + 1, 0)
        if given[b]:
            held[b] = np.where(known, _HELD, 0)
        firm = shrink(known) & (held[b] >= _HELD)
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
