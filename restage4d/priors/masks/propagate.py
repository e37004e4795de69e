"""Follows a subject through a clip from one mask, without any learned model.

Two things tell the subject: trails through the clip that hang together with the given mask
(`trails`), and then, pixel by pixel, what the frame before shows there, what the given mask's frame
shows there, motion against the background, and the background itself as other frames show it. What
motion and background are worth is learned from the clip (`odds`).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.priors.masks.kernels import (
    around,
    likeness,
    settle,
    spread,
    unlike_background,
)
from restage4d.priors.masks.likelihood_ratio import Odds
from restage4d.priors.masks.regions import disk, label, tidy
from restage4d.priors.masks.trails import find_trails
from restage4d.priors.motion.background_motion import BackgroundMotion
from restage4d.priors.motion.optical_flow import Flow, warp
from restage4d.progress import Task

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_BAND = 14  # pixels around what may be subject that are decided one by one, at a longer side of 384
_OFFSETS = (5, 9, 14, 21, 30)  # frames before and after in which the background is looked up
_SHARE = 0.3  # of those frames must show it as it is here
_ROUNDS = 2  # of deciding pixels: the second one knows the background better
# What the clues weigh, for log odds. Fitted by logistic regression on four clips of DAVIS, both
# ways in time, then rounded.
_BEFORE, _LIKE_BEFORE, _LIKE_FIRST, _MOTION, _TRAILS, _BACKGROUND, _BIAS = (
    0.25,
    0.7,
    0.7,
    0.5,
    1.3,
    0.8,
    -0.3,
)
_UNLIKE = 60.0  # squared feature distance that counts as one unit of log odds
_EDGES = 0.5  # strength of agreement between neighbouring pixels
_SURE = 6.0  # log odds of pixels that are not in question
STEPS = 3 + _ROUNDS  # by which `follow` advances its task for every frame


def follow(rewound: Rewound, flow: Flow, first: Bool, task: Task) -> Bool:
    """Masks (T, H, W) of the subject from ``first`` (H, W), the mask of frame ``rewound.seam``,
    which is kept as it is."""
    scale = max(rewound.clip.size) / 384
    carried = _carried(rewound, flow, first)
    subject = np.stack(
        [cv2.dilate((mask > 0.3).astype(np.uint8), disk(round(10 * scale))) > 0 for mask in carried]
    )
    near = np.stack(
        [cv2.dilate((mask > 0.1).astype(np.uint8), disk(round(30 * scale))) > 0 for mask in carried]
    )
    motion = BackgroundMotion(rewound, flow, subject)
    speed = np.empty(carried.shape, np.float32)
    velocity = []
    for t in range(len(rewound)):
        speed[t], own = motion.apart(t)
        velocity.append(own.astype(np.float16))
        task.advance()
    look = _Look(rewound, scale)
    trails = find_trails(rewound, flow, speed, velocity, look.lab, first, near)
    task.advance(len(rewound))
    belongs = np.empty(carried.shape, np.float32)
    for t, (xy, node, lab) in enumerate(zip(trails.xy, trails.node, look.lab, strict=True)):
        belongs[t] = spread(xy, trails.label[node], lab, 3.0 * scale, 1 / 200)
        task.advance()
    belongs[rewound.seam] = first
    masks = belongs > 0.5
    for _ in range(_ROUNDS):
        masks = _decide(rewound, flow, motion, speed, look, belongs, masks, task)
    return np.stack([_whole(mask) for mask in masks])


def _carried(rewound: Rewound, flow: Flow, first: Bool) -> F32:
    """``first`` moved along the flow and nothing else: roughly where the subject may be, (T, H,
    W)."""
    masks = np.zeros((len(rewound), *first.shape), np.float32)
    masks[rewound.seam] = first
    for a, b in rewound.outward(rewound.seam):
        masks[b] = warp(masks[a], flow.between(b, a))
    return masks


class _Look:
    """What frames look like: ``features`` (T, H, W, 7) are Lab finely smoothed (``lab``), widely
    smoothed, and roughness."""

    def __init__(self, rewound: Rewound, scale: float) -> None:
        width, height = rewound.clip.size
        self.features = np.empty((len(rewound), height, width, 7), np.float32)
        for frame, out in zip(rewound.clip.frames, self.features, strict=True):
            lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            wide = cv2.GaussianBlur(lab, (0, 0), 2.0 * scale)
            square = cv2.GaussianBlur(lab[..., 0] ** 2, (0, 0), 2.0 * scale)
            out[..., :3] = cv2.GaussianBlur(lab, (0, 0), 0.7 * scale)
            out[..., 3:6] = 0.7 * wide
            out[..., 6] = np.sqrt(np.maximum(square - wide[..., 0] ** 2, 0))

    @property
    def lab(self) -> F32:
        return self.features[..., :3]


def _decide(
    rewound: Rewound,
    flow: Flow,
    motion: BackgroundMotion,
    speed: F32,
    look: _Look,
    belongs: F32,
    masks: Bool,
    task: Task,
) -> Bool:
    """Masks (T, H, W) anew, pixel by pixel from all clues; ``masks`` tells where the background is
    and what clues are worth."""
    seam = rewound.seam
    scale = max(rewound.clip.size) / 384
    step, nearby, wide = max(1, round(scale)), around(4), around(5)
    solid = np.stack(
        [cv2.dilate(mask.astype(np.uint8), disk(round(2 * scale))) > 0 for mask in masks]
    )
    bands, behind = [], []
    moving_odds, behind_odds = Odds(0.03, 12.0), Odds(1.0, 60.0)
    for t in range(len(rewound)):
        candidate = masks[t] | (belongs[t] > 0.7)
        band = np.nonzero(cv2.dilate(candidate.astype(np.uint8), disk(round(_BAND * scale))))
        frames, places = motion.reach(t, _OFFSETS)
        bands.append(band)
        behind.append(
            unlike_background(band[0], band[1], t, look.features, solid, frames, places, _SHARE)
        )
        moving_odds.learn(speed[t][band], masks[t][band])
        behind_odds.learn(behind[t], masks[t][band])
    labels = np.zeros(masks.shape, np.float32)
    labels[seam] = masks[seam]
    from_seam = {seam: np.zeros((*labels.shape[1:], 2), np.float32)}
    for a, b in rewound.outward(seam):
        task.advance()
        back = flow.between(b, a)
        from_seam[b] = back + warp(from_seam[a], back)
        band = bands[b]
        rows, cols = band
        if not len(rows):
            continue
        here, there = look.features[b], look.features[a]
        moved = likeness(rows, cols, here, there, labels[a], back, nearby, step, 0.6)
        still = likeness(rows, cols, here, there, labels[a], motion.flow(b, a), nearby, step, 0.6)
        first = likeness(
            rows, cols, here, look.features[seam], labels[seam], from_seam[b], wide, 2 * step, 0.6
        )
        clues = np.stack(
            [
                np.exp(-(flow.error(b, a)[band] ** 2)) * _logit(warp(labels[a], back)[band], 0.02),
                np.clip((np.minimum(moved[:, 1], still[:, 1]) - moved[:, 0]) / _UNLIKE, -3, 3),
                np.clip((first[:, 1] - first[:, 0]) / _UNLIKE, -3, 3),
                np.clip(moving_odds(speed[b][band]), -3, 3),
                _logit(belongs[b][band], 0.05),
                np.clip(behind_odds(behind[b]), -4, 4),
                np.ones(len(rows)),
            ]
        )
        logit = np.full(labels.shape[1:], -_SURE, np.float32)
        logit[band] = (
            np.array([_BEFORE, _LIKE_BEFORE, _LIKE_FIRST, _MOTION, _TRAILS, _BACKGROUND, _BIAS])
            @ clues
        )
        lab = np.ascontiguousarray(look.lab[b])
        contrast = 0.5 / max(float((np.diff(lab, axis=1) ** 2).sum(-1).mean()), 1e-3)
        labels[b] = settle(rows, cols, logit, lab, _EDGES, contrast, 8)
        labels[b][
            _out_of_nowhere(labels[b] > 0.5, warp(labels[a], back) > 0.5, round(_BAND * scale))
        ] = 0
    return labels > 0.5


def _out_of_nowhere(mask: Bool, before: Bool, reach: int) -> Bool:
    """The parts of ``mask`` farther than ``reach`` pixels from where the subject was in the frame
    before, if it was seen."""
    if not before.any():
        return np.zeros_like(mask)
    near = cv2.dilate(before.astype(np.uint8), disk(reach)) > 0
    parts = label(mask, corners=True)
    return mask & ~np.isin(parts, np.unique(parts[near & mask]))


def _logit(share: F32, floor: float) -> F32:
    share = np.clip(share, floor, 1 - floor)
    return np.log(share / (1 - share))


def _whole(mask: Bool) -> Bool:
    """``mask`` without specks and pinholes."""
    parts = label(mask, corners=True)
    area = np.bincount(parts.ravel())
    area[0] = 0
    return tidy(mask, (area >= 0.03 * area.max())[parts]) if mask.any() else mask
