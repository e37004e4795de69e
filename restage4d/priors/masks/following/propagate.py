"""Follows a subject through a clip from one mask, without any learned model.

Two things tell the subject: trails through the clip that hang together with the given mask
(`trails`), and then, pixel by pixel, the decision over all clues (`decision`).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.frame_arrays import make_frames, stack_on_cores
from restage4d.priors.masks.following.decision import Appearance, Decision, decide_pixels
from restage4d.priors.masks.following.kernels import spread
from restage4d.priors.masks.following.trails import find_trails
from restage4d.priors.masks.limbs import add_standing_limbs
from restage4d.priors.masks.regions import dilate, remove_fragments
from restage4d.priors.motion.background_motion import BackgroundMotion
from restage4d.priors.motion.optical_flow import Flow, warp
from restage4d.priors.motion.revealed_background import measure_change_around
from restage4d.progress import Task
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_CARRIED, _REACH = 0.3, 10  # where a carried mask surely covers the subject; pixels around it
_NEAR, _FAR_REACH = 0.1, 30  # where it may be; pixels around it (all at a longer side of 384)
_SPREAD = 3.0  # pixels over which trails' labels are spread
_SPREAD_CONTRAST = 1 / 200  # how much less across colours, per squared difference in Lab
_ROUNDS = 2  # of deciding pixels: the second one knows the background better
_AROUND = 0.7  # of the root of a mask's area: how far around it limbs are looked for that stand
_LIMB_SIZE = 64.0  # root of a mask's area, in pixels, at which they are looked for at most
STEPS = 4 + _ROUNDS  # by which `follow` advances its stage for every frame


def follow(rewound: Rewound, flow: Flow, first: Bool, task: Task) -> Bool:
    """Masks (T, H, W) of the subject from ``first`` (H, W), the mask of frame ``rewound.seam``,
    which is kept as it is."""
    scale = max(rewound.clip.size) / 384
    carried = _carry(rewound, flow, first)
    subject, near = (
        _widen(carried, share, reach * scale)
        for share, reach in ((_CARRIED, _REACH), (_NEAR, _FAR_REACH))
    )
    del carried
    motion = BackgroundMotion(rewound, flow, subject)

    speed = make_frames(subject.shape)
    velocity = make_frames((*subject.shape, 4), np.float16)

    def measure_own_motion(t: int) -> None:
        speed[t], velocity[t] = motion.measure_own_motion(t)

    map_on_cores(measure_own_motion, range(len(rewound)), task.advance)
    look = Appearance(rewound, scale)
    trails = find_trails(rewound, flow, speed, velocity, look.lab, first, near)
    task.advance(len(rewound))

    def spread_labels(t: int) -> F32:
        labels = trails.label[trails.node[t]]
        return spread(trails.xy[t], labels, look.lab[t], _SPREAD * scale, _SPREAD_CONTRAST)

    belongs = stack_on_cores(spread_labels, range(len(rewound)), task.advance)
    belongs[rewound.seam] = first
    masks = stack_on_cores(lambda label: label > 0.5, belongs)
    for _ in range(_ROUNDS):
        masks = decide_pixels(rewound, flow, motion, speed, look, belongs, masks, task, Decision())

    sizes = np.sqrt([float(mask.sum()) for mask in masks])
    ratio = min(1.0, _LIMB_SIZE / max(float(np.median(sizes)), 1.0))
    height, width = first.shape
    small = max(round(ratio * width), 1), max(round(ratio * height), 1)
    lab = stack_on_cores(
        lambda each: cv2.resize(each, small, interpolation=cv2.INTER_AREA), look.lab
    )

    def complete(t: int) -> Bool:
        mask = remove_fragments(masks[t])
        return mask if t == rewound.seam else _complete_limbs(motion, lab, t, mask)

    return stack_on_cores(complete, range(len(rewound)), task.advance)


def _complete_limbs(motion: BackgroundMotion, lab: F32, t: int, mask: Bool) -> Bool:
    """``mask`` (H, W) of frame ``t`` with limbs that stand; ``lab`` (T, h, w, 3) is of smaller
    pictures, in which they are as clear."""
    height, width = mask.shape
    shape = lab.shape[2], lab.shape[1]
    little = cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA) > 0.5
    if not little.any():
        return mask
    reach = round(_AROUND * float(np.sqrt(little.sum()))) + 2
    window = tuple(
        slice(max(int(at.min()) - reach, 0), int(at.max()) + reach + 1) for at in np.nonzero(little)
    )
    rows, cols = (slice(s.start, min(s.stop, n)) for s, n in zip(window, little.shape, strict=True))
    change = measure_change_around(lab, motion, t, (rows, cols), shape[0] / width)
    found = np.zeros(little.shape, np.float32)
    inside = little[rows, cols]
    found[rows, cols] = add_standing_limbs(lab[t][rows, cols], change, inside) & ~inside
    if not found.any():
        return mask
    if shape != (width, height):
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return mask | (found > 0.5)


def _carry(rewound: Rewound, flow: Flow, first: Bool) -> F32:
    """``first`` moved along the flow and nothing else: roughly where the subject may be, (T, H,
    W)."""
    masks = make_frames((len(rewound), *first.shape))
    masks[rewound.seam] = first
    for a, b in rewound.outward(rewound.seam):
        masks[b] = warp(masks[a], flow.get_flow(b, a))
    return masks


def _widen(carried: F32, share: float, reach: float) -> Bool:  # (T, H, W) -> (T, H, W)
    """Where ``carried`` is over ``share``, and ``reach`` pixels around."""
    return stack_on_cores(lambda mask: dilate(mask > share, round(reach)), carried)
