"""Masks of the subject without any learned model: selected in the first frame, then followed along
the tree of frames."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Rewound, Selection
from restage4d.frame_arrays import make_frames
from restage4d.priors.masks.following.propagate import STEPS, follow
from restage4d.priors.masks.selecting.select import select_subject
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


class GrabCutMasks:
    """A `MaskProvider`: GrabCut finds the subject, trails and pixel clues follow it."""

    name = "grabcut"

    def select(self, base: Clip, selection: Selection, progress: Progress) -> Bool:
        """See `restage4d.priors.masks.selecting.select.select_subject`."""
        return select_subject(base, selection, progress)

    def propagate(self, rewound: Rewound, first: Bool, progress: Progress) -> F32:
        """Masks (T, H, W) as in `Priors.masks`, from ``first`` (H, W), the mask of frame
        ``rewound.seam``."""
        flow = compute_optical_flow(rewound, progress)
        with progress.task(TaskId.MASKS, STEPS * len(rewound)) as task:
            masks = follow(rewound, flow, first, task)
        return mark_border_unknown(masks)


def mark_border_unknown(masks: Bool) -> F32:  # (T, H, W) -> (T, H, W)
    """0 and 1, and -1 on the pixels just outside the outline (inside, thin limbs would have nothing
    left)."""
    result = make_frames(masks.shape)
    for mask, out in zip(masks, result, strict=True):
        out[...] = mask
        out[(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~mask] = -1
    return result
