"""Gait: what the legs do where the body goes or turns, and what the body does with its legs."""

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.body_plan import BodyPlan, split_legs
from restage4d.driving.draft.curves import F64, Swing


class Steps:
    """How the legs go, as curves (T,).

    Attributes:
        gait: how much they go, 0..1.
        cycles: steps gone so far, in cycles of both legs.
        stride: swing of a foot to either side, in pixels.
        tuck: feet drawn up in the air, in leg lengths.
        high: how much higher than for their stride feet are lifted, in leg lengths.
        lame: how much one leg is spared, 0..1; which: `find_lame_leg`.
    """

    def __init__(self, frames: int, fps: float) -> None:
        self.fps = fps
        self.gait, self.cycles = np.zeros(frames), np.zeros(frames)
        self.stride, self.tuck = np.zeros(frames), np.zeros(frames)
        self.high, self.lame = np.zeros(frames), np.zeros(frames)

    def add(
        self,
        going: F64,
        stride: float,
        cycle: float,
        backing: bool = False,
        rate: F64 | float = 1.0,
    ) -> None:
        """Adds steps of ``stride`` pixels, ``cycle`` seconds for both legs at a ``rate`` of 1, as
        far as ``going`` (T,) in 0..1 says."""
        self.gait = np.maximum(self.gait, going)
        self.stride = np.maximum(self.stride, stride * going)
        self.cycles += (-1 if backing else 1) * np.cumsum(going * rate) / self.fps / cycle


def swing_legs(body: BodyPlan, steps: Steps) -> list[Swing]:
    """Every leg's way: back with the ground while it stands, forward through the air."""
    return [_swing_leg(body, k, steps) for k in range(len(body.legs))]


def find_lame_leg(body: BodyPlan) -> int | None:
    """The leg that limps: of those nearest the head, the one nearest the camera."""
    front = split_legs(body)[0] or list(range(len(body.legs)))
    return max(front, key=lambda k: body.legs[k].tip[1], default=None)


def measure_load(body: BodyPlan, k: int, steps: Steps) -> F64:
    """How much leg ``k`` bears (T,): 0 in the air, up to 1 and down again while it stands."""
    u, stance = _find_phase(body, k, steps)
    return np.where(u < stance, np.sin(np.pi * np.clip(u / stance, 0, 1)) ** 2, 0.0)


def _find_phase(body: BodyPlan, k: int, steps: Steps) -> tuple[F64, F64]:
    """Where leg ``k`` is in its cycle, 0..1, and until where it stands."""
    p = PARAMETERS.legs
    front, rear = split_legs(body)
    if body.upright or not front or not rear:
        phase = p.pair_phase * (k % 2)
    else:  # a walk: rear left, front left, rear right, front right, a quarter apart
        pair = front if k in front else rear
        phase = p.pair_phase * (pair.index(k) % 2) + p.front_phase * (k in front)
    u = (steps.cycles + phase + _find_initial_phase(body, 1 if body.facing >= 0 else -1)) % 1.0
    lame = steps.lame * (k == find_lame_leg(body))
    return u, p.stance + (PARAMETERS.limp.stance - p.stance) * lame


def _swing_leg(body: BodyPlan, k: int, steps: Steps) -> Swing:
    p, leg = PARAMETERS.legs, body.legs[k]
    forward = 1 if body.facing >= 0 else -1
    at_rest = forward * (leg.tip[0] - leg.pivot[0])
    u, stance = _find_phase(body, k, steps)
    standing = u < stance
    s = np.where(standing, u / stance, (u - stance) / (1 - stance))
    swing = s * s * (3 - 2 * s)
    way = np.where(standing, 1 - 2 * s, -1 + 2 * swing)
    lift = np.where(standing, 0.0, np.sin(np.pi * s) ** p.arc)
    lift *= 1 - (1 - PARAMETERS.limp.lift) * steps.lame * (k == find_lame_leg(body))
    size = np.clip(steps.stride / (p.full_stride * leg.length), 0, 1)
    # who stands for less of the cycle goes less far with the ground
    stride = steps.stride * stance / p.stance
    fore = forward * (way * stride - p.rest_share * at_rest * size)
    high = p.lift_of_leg * steps.gait + steps.high
    up = lift * (p.lift_of_stride * steps.stride + high * leg.length) + steps.tuck * leg.length
    return Swing(fore, up, np.zeros_like(fore))


def _find_initial_phase(body: BodyPlan, forward: int) -> float:
    """Where in the cycle the legs are at rest, so that the first step goes on from there."""
    ahead = [forward * (leg.tip[0] - leg.pivot[0]) for leg in body.legs]
    lead = int(np.argmax(np.abs(ahead)))
    p = PARAMETERS.legs
    return p.initial_phase_ahead if ahead[lead] > 0 else p.initial_phase_behind
