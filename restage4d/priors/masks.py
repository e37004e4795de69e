"""Masks of the subject without any learned model: selected in the first frame, then carried along the tree of frames."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.priors.flow import optical_flow, outward, warp
from restage4d.priors.select import disk, grab, select_subject
from restage4d.progress import Progress
from restage4d.scene import Clip, Rewound, Selection

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_BAND = 6  # pixels around the warped outline that are decided anew, at a longer side of 384


class GrabCutMasks:
    """A `MaskProvider` from optical flow and GrabCut."""

    name = "grabcut"

    def select(self, base: Clip, selection: Selection, progress: Progress) -> Bool:
        """See `restage4d.priors.select.select_subject`."""
        return select_subject(base, selection, progress)

    def propagate(self, rewound: Rewound, first: Bool, progress: Progress) -> F32:
        """Masks (T, H, W) as in `Priors.masks`, from ``first`` (H, W), the mask of frame ``rewound.seam``."""
        flow = optical_flow(rewound, progress)
        frames = rewound.clip.frames
        masks = np.zeros(frames.shape[:3], bool)
        masks[rewound.seam] = first
        band = max(2, round(_BAND * max(rewound.clip.size) / 384))
        with progress.stage("masks", len(rewound)) as stage:
            for a, b in outward(rewound, rewound.seam):
                carried = warp(masks[a].astype(np.float32), flow.between(b, a)) > 0.5
                if carried.any():
                    kind = carried.astype(np.uint8)
                    labels = np.where(carried, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
                    labels[cv2.erode(kind, disk(band)) > 0] = cv2.GC_FGD
                    labels[cv2.dilate(kind, disk(band)) == 0] = cv2.GC_BGD
                    masks[b] = grab(frames[b], labels, rounds=2)
                stage.advance()
        return with_unknown_border(masks)


def with_unknown_border(masks: Bool) -> F32:  # (T, H, W) -> (T, H, W)
    """0 and 1, and -1 on the pixels at either side of the outline."""
    result = masks.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    for mask, out in zip(masks.astype(np.uint8), result, strict=True):
        out[cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)] = -1
    return result
