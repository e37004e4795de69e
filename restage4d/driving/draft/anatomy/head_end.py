"""Which end of a body is the head: what silhouette and own motion say, as log odds.

The weights were set by hand on a camel, cows, a dog and the demo's fawn (true and estimated masks)
and judged on other animals and people: docs/driving.md.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import Limb

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]

_AREA, _BULK, _TOP = 8.0, 3.0, 2.5  # log odds per share: heads are heavy, thick and high
_MOST_SHAPE = 3.0
_MOTION, _MOST_MOTION = 12.0, 3.5  # log odds per width per second
# Widths in heights: a body seen end-on says nothing, one seen from the side all.
_NARROW, _FULL = 0.6, 1.1  # by its shape
_END_ON, _ASLANT = 0.4, 0.8  # by its motion
_LONG_LEGS, _SHORT_LEGS = 0.30, 0.26  # of the height
HEAD_RADIUS = 0.38  # of the torso's, of a person's head; arms are thinner
_SLENDER = 0.17  # torso radius by height; people are slimmer, dogs from the front are not


@dataclass(frozen=True)
class Odds:
    """Log odds that the head is on the right, by what says so."""

    shape: float
    motion: float

    @property
    def total(self) -> float:
        return self.shape + self.motion

    @property
    def confidence(self) -> float:
        """0 (even odds) to 1."""
        return to_confidence(abs(self.total))


def to_confidence(log_odds: float) -> float:
    """How much better than a toss-up: 2 p - 1, 0 for a p below a half."""
    return float(max(np.tanh(log_odds / 2), 0.0))


def weigh_ends(
    trunk: Mask, radius: float, legs: list[Limb], has_limbs: bool, box: Box, own_speed: float
) -> Odds:
    """Odds of the head's side of a body that is long rather than upright.

    Args:
        trunk: (H, W) the mask without its legs.
        radius: the torso's, pixels.
        legs: to the ground.
        has_limbs: whether anything sticks out at all; a blob has no ends.
        box: of the mask.
        own_speed: see `restage4d.driving.draft.anatomy.own_motion.measure_own_speed`.
    """
    x0, y0, x1, y1 = box
    length = (x1 - x0) / (y1 - y0)
    shape = 0.0
    if has_limbs and not reaches_out(trunk):
        right, left = (_measure_end(trunk, radius, legs, box, side) for side in (1, -1))
        shape = float(np.dot(right - left, (_AREA, _BULK, _TOP)))
        shape *= float(np.clip((length - _NARROW) / (_FULL - _NARROW), 0, 1))
    motion = float(np.clip(_MOTION * own_speed, -_MOST_MOTION, _MOST_MOTION))
    motion *= float(np.clip((length - _END_ON) / (_ASLANT - _END_ON), 0, 1))
    return Odds(float(np.clip(shape, -_MOST_SHAPE, _MOST_SHAPE)), motion)


def reaches_out(trunk: Mask) -> bool:
    """Whether an end of the body is outside the picture."""
    return bool(trunk[:, 0].any() or trunk[:, -1].any() or trunk[0].any())


def _measure_end(
    trunk: Mask, radius: float, legs: list[Limb], box: Box, side: int
) -> NDArray[np.float64]:
    """What lies beyond the legs at an end: its share of the trunk, the thickest ball in it (of the
    torso's radius), how high a ball a quarter as thick as the torso gets (of the height)."""
    x0, y0, x1, y1 = box
    edge, middle, width = (x1 if side > 0 else x0), (x0 + x1) / 2, x1 - x0
    joints = [abs(leg.pivot[0] - edge) for leg in legs if side * (leg.pivot[0] - middle) > 0]
    reach = float(np.clip(min(joints, default=0.3 * width), 0.02 * width, 0.45 * width))
    cols = np.arange(trunk.shape[1]) + 0.5
    part = trunk & (np.abs(cols - edge) <= reach)[None]
    if not part.any():
        return np.zeros(3)
    depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    thickest = float(depth.max())
    ball = min(0.25 * radius, 0.9 * thickest)
    highest = float(np.flatnonzero((depth >= ball).any(1))[0]) - ball
    return np.array([part.sum() / trunk.sum(), thickest / radius, (y1 - highest) / (y1 - y0)])


def weigh_upright(has_neck: bool, radius: float, legs: list[Limb], box: Box) -> float:
    """Log odds that a round end at the top of what is taller than long is the head, as people have
    it; a dog that comes at the camera has it below.

    Args:
        has_neck: whether the body narrows below it and widens again.
        radius: the torso's, pixels.
        legs: to the ground.
        box: of the mask.
    """
    height = box[3] - box[1]
    longest = max((leg.length for leg in legs), default=0.0) / height
    odds = 1.2 + 20 * (_SLENDER - radius / height)
    if longest >= _LONG_LEGS:
        odds += 1.5
    elif longest < _SHORT_LEGS:
        odds -= 0.7
    return odds + (1.5 if has_neck else 0.0)
