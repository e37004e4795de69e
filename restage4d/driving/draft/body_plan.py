"""The subject's build as the draft driver knows it: which end is the head, where legs and tail
hang, and how sure that is. `restage4d.driving.draft.anatomy` reads it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

SURE = 0.5  # confidence below which a part counts as unknown
_APART = 1.5  # times as far from a pair of legs as they hang apart, a third is of the other end


@dataclass
class Limb:
    """A part that swings about ``pivot``; all in pixels of the frame.

    Attributes:
        pivot, tip: (x, y) where it joins the torso and its far end.
        weight: (H, W) 0 in the torso, 1 in the limb, smooth over the joint.
        along: (H, W) 0 at the joint to 1 at the tip.
        confidence: 0 to 1, that it is what the plan calls it.
        hidden: whether it stands behind the leg before it in the plan, and shares its outline above
            the feet.
    """

    pivot: tuple[float, float]
    tip: tuple[float, float]
    weight: F32
    along: F32
    confidence: float = 1.0
    hidden: bool = False

    @property
    def length(self) -> float:
        return float(np.hypot(self.tip[0] - self.pivot[0], self.tip[1] - self.pivot[1]))

    @property
    def area(self) -> float:
        """Pixels."""
        return float(self.weight.sum())


@dataclass
class BodyPlan:
    """What is known of the subject's build. What is less sure than `SURE` is left out: 0, None or
    empty, and motion then falls back to the whole body.

    Attributes:
        facing: +1 head to the right of the screen, -1 to the left, 0 unknown or towards the camera.
        upright: taller than long, as people are.
        box: x0, y0, x1, y1 of the mask.
        radius: half the torso's thickness.
        yaw: of the body's axis to the screen, radians counter-clockwise from above; found later,
            from the feet.
        legs: from left to right; head, tail, others: see `Limb`.
        confidence: 0 to 1, that head and facing are right.
        doubt: why head and facing are not known, a plain sentence; "" where they are.
    """

    facing: int
    upright: bool
    box: tuple[int, int, int, int]
    radius: float
    yaw: float = 0.0
    legs: list[Limb] = field(default_factory=list)
    head: Limb | None = None
    tail: Limb | None = None
    others: list[Limb] = field(default_factory=list)
    confidence: float = 0.0
    doubt: str = ""

    @property
    def limbs(self) -> list[Limb]:
        """Legs first, then the others."""
        return [*self.legs, *self.others]


def split_legs(body: BodyPlan) -> tuple[list[int], list[int]]:
    """The legs at the head end and those behind, as indices: two and two of four; of three, two
    that hang close together are a pair; else the middle of the outline parts them."""
    forward = 1 if body.facing >= 0 else -1
    middle = (body.box[0] + body.box[2]) / 2
    at = sorted(leg.pivot[0] for leg in body.legs)
    if len(at) == 4 and not body.upright:
        middle = (at[1] + at[2]) / 2
    elif len(at) == 3 and not body.upright:
        near, far = sorted([(at[1] - at[0], at[0] + at[1]), (at[2] - at[1], at[1] + at[2])])
        if far[0] > _APART * near[0]:
            middle = far[1] / 2
    legs = range(len(body.legs))
    front = [k for k in legs if (body.legs[k].pivot[0] - middle) * forward > 0]
    return front, [k for k in legs if k not in front]
