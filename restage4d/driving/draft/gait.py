"""Gait: what the legs do where the body goes or turns, and what the body does with its legs."""

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.curves import F64, Swing


class Steps:
    """How the legs go, as curves (T,).

    Attributes:
        gait: how much they go, 0..1.
        cycles: steps gone so far, in cycles of both legs.
        stride: swing of a foot to either side, in pixels.
        tuck: feet drawn up in the air, in leg lengths.
    """

    def __init__(self, frames: int, fps: float) -> None:
        self.fps = fps
        self.gait, self.cycles = np.zeros(frames), np.zeros(frames)
        self.stride, self.tuck = np.zeros(frames), np.zeros(frames)

    def add(self, going: F64, stride: float, cycle: float, backing: bool = False) -> None:
        """Adds steps of ``stride`` pixels, ``cycle`` seconds for both legs, as far as ``going``
        (T,) in 0..1 says."""
        self.gait = np.maximum(self.gait, going)
        self.stride = np.maximum(self.stride, stride * going)
        self.cycles += (-1 if backing else 1) * np.cumsum(going) / self.fps / cycle


def swing_legs(body: BodyPlan, steps: Steps) -> list[Swing]:
    """Every leg's way: back with the ground while it stands, forward through the air."""
    return [_swing_leg(body, k, steps) for k in range(len(body.legs))]


def _swing_leg(body: BodyPlan, k: int, steps: Steps) -> Swing:
    p, legs = PARAMETERS.legs, body.legs
    leg = legs[k]
    forward = 1 if body.facing >= 0 else -1
    middle = (body.box[0] + body.box[2]) / 2
    front = [i for i in range(len(legs)) if (legs[i].pivot[0] - middle) * forward > 0]
    rear = [i for i in range(len(legs)) if i not in front]
    if body.upright or not front or not rear:
        phase = p.pair_phase * (k % 2)
    else:  # a walk: rear left, front left, rear right, front right, a quarter apart
        pair = front if k in front else rear
        phase = p.pair_phase * (pair.index(k) % 2) + p.front_phase * (k in front)
    at_rest = forward * (leg.tip[0] - leg.pivot[0])
    u = (steps.cycles + phase + _find_initial_phase(body, forward)) % 1.0
    standing = u < p.stance
    s = np.where(standing, u / p.stance, (u - p.stance) / (1 - p.stance))
    swing = s * s * (3 - 2 * s)
    way = np.where(standing, 1 - 2 * s, -1 + 2 * swing)
    lift = np.where(standing, 0.0, np.sin(np.pi * s) ** p.arc)
    size = np.clip(steps.stride / (p.full_stride * leg.length), 0, 1)
    fore = forward * (way * steps.stride - p.rest_share * at_rest * size)
    up = (
        lift * (p.lift_of_stride * steps.stride + p.lift_of_leg * leg.length * steps.gait)
        + steps.tuck * leg.length
    )
    return Swing(fore, up, np.zeros_like(fore))


def _find_initial_phase(body: BodyPlan, forward: int) -> float:
    """Where in the cycle the legs are at rest, so that the first step goes on from there."""
    ahead = [forward * (leg.tip[0] - leg.pivot[0]) for leg in body.legs]
    lead = int(np.argmax(np.abs(ahead)))
    p = PARAMETERS.legs
    return p.initial_phase_ahead if ahead[lead] > 0 else p.initial_phase_behind
