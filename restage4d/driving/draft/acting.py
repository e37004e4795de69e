"""From directions to motion: every action becomes smooth curves over the frames of the driving
video."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.actor import Actor
from restage4d.driving.draft.body_plan import BodyPlan, split_legs
from restage4d.driving.draft.curves import (
    F64,
    Curves,
    Room,
    Swing,
    follow,
    ramp,
    smooth,
)
from restage4d.driving.draft.gait import find_lame_leg, measure_load, swing_legs
from restage4d.driving.draft.moves import gestures, postures, travel
from restage4d.driving.draft.prompt import Action, Directions
from restage4d.errors import InputError

SHORTEST, LONGEST = 24, 60  # frames: usual bounds
MOST = 240  # frames that directions may ask for
_STRETCH, _SQUEEZE = 1.4, 0.75  # how far the directions' times give way to the usual length


def compute_length(directions: Directions, base_frames: int, fps: float) -> tuple[int, float]:
    """Frames of the driving video, and the factor by which the directions' times are stretched to
    fill it.

    As long as the base within 24 to 60 frames, longer where the directions need it.

    Raises:
        InputError: the directions take more than 240 frames.
    """
    usual = int(np.clip(base_frames, SHORTEST, LONGEST))
    needed = directions.seconds * fps
    if needed > MOST:
        raise InputError(
            f"The directions take {directions.seconds:.0f} s ({needed:.0f} frames at {fps:g} fps); "
            f"at most {MOST} are made.",
            "Give fewer or quicker actions.",
        )
    if needed <= usual - 1:
        own_pace = any(a.pace != 1 for a in directions.actions)
        return usual, min((usual - 1) / needed, 1.0 if own_pace else _STRETCH)
    squeeze = max((usual - 1) / needed, _SQUEEZE)
    return max(usual, int(np.ceil(needed * squeeze)) + 1), squeeze


def perform(
    directions: Directions, body: BodyPlan, base_frames: int, fps: float, room: Room
) -> Curves:
    """Curves for all actions.

    Args:
        directions: what to do.
        body: who does it.
        base_frames: length of the base.
        fps: frames per second.
        room: how far the subject may go.
    """
    frames, factor = compute_length(directions, base_frames, fps)
    actor = Actor(body, frames, fps, room)
    for action in directions.actions:
        timed = replace(action, start=action.start * factor, seconds=action.seconds * factor)
        _lift_head(actor, timed)
        _ACT[action.verb](actor, timed)
    _shuffle(actor)
    limbs = swing_legs(body, actor.steps)
    limbs += [Swing.at_rest(frames) for _ in body.others]
    for limb, angle, lift in zip(limbs, actor.limb_angles, actor.limb_lifts, strict=True):
        limb.angle = angle
        limb.lift = limb.lift + lift
    _follow_through(actor)
    for curve in actor.curves.values():
        curve -= curve[0]
    return Curves(fps, **actor.curves, limbs=limbs)


_ACT: dict[str, Callable[[Actor, Action], None]] = {
    "turn": postures.turn,
    "spin": postures.turn,
    "face": postures.face,
    "look": gestures.look,
    "walk": travel.walk,
    "run": travel.walk,
    "jump": travel.jump,
    "crouch": postures.crouch,
    "sit": postures.sit,
    "bow": postures.bow,
    "rise": postures.rise,
    "lean": postures.lean,
    "nod": gestures.nod,
    "shake": gestures.shake,
    "stretch": postures.stretch,
    "wave": gestures.wave,
    "lift": gestures.lift,
    "wag": gestures.wag,
    "drive": travel.drive,
    "climb": travel.climb,
    "limp": travel.limp,
    "stumble": travel.stumble,
    "pounce": travel.pounce,
    "kick": gestures.kick,
    "raise_tail": gestures.raise_tail,
    "dance": gestures.dance,
    "fall": postures.fall,
    "roll": postures.roll,
    "graze": postures.graze,
    "stay": postures.stay,
}


def _lift_head(actor: Actor, a: Action) -> None:
    """Lets who grazes look up for what comes next, unless it comes along with grazing."""
    goes_on = a.together or a.verb in {"graze", "stay", "wag", "raise_tail"}
    if actor.held["graze"] and not goes_on:
        actor.release(a.start, a.start + PARAMETERS.graze.up, "graze")
        if actor.body.head is None:
            actor.release(a.start, a.start + PARAMETERS.graze.up, "front", "crouch")


def _shuffle(actor: Actor) -> None:
    """Lets the legs step on the spot where the body turns."""
    p, t, steps = PARAMETERS.shuffle, actor.t, actor.steps
    turning = np.abs(np.gradient(actor.curves["yaw"], t))
    going = (
        np.clip(turning / p.full_rate, 0, 1)
        * (steps.gait < p.gait_most)
        * np.clip(1 - actor.curves["up"] / (p.height_most * actor.height), 0, 1)
    )
    going = smooth(going, p.smooth * actor.fps) * ramp(t, 0, p.begin)
    steps.add(going, p.stride * actor.leg, p.cycle)


def _follow_through(actor: Actor) -> None:
    """Lets head, tail and back follow what legs and body do."""
    p, t, c, steps = PARAMETERS.follow_through, actor.t, actor.curves, actor.steps
    bob = np.sin(4 * np.pi * steps.cycles) * steps.gait
    sway = np.sin(2 * np.pi * steps.cycles)
    drop = np.clip(steps.stride / max(actor.leg, 1), 0, p.drop_stride_most) ** 2
    drop = drop * actor.leg * p.drop
    c["up"] -= drop * (1 - np.cos(4 * np.pi * steps.cycles)) * 0.5 * steps.gait
    if not actor.body.legs:  # without legs to move, the body waddles
        c["lean"] += p.waddle_lean * sway * steps.gait
        c["up"] += p.waddle_up * actor.height * np.abs(sway) * steps.gait
    _spare_lame_leg(actor)
    c["head_up"] += p.head_bob * bob
    c["tail_up"] += p.tail_bob * np.roll(bob, 1) * (t > 0)
    c["tail_yaw"] += p.tail_swing * sway * steps.gait
    acceleration = np.gradient(np.gradient(c["up"], t), t) / max(actor.height, 1)
    c["head_up"] += _lag(-p.head_lag * acceleration, p.head_lag_most, actor.fps)
    rate = np.gradient(c["yaw"], t)
    if not actor.body.upright:
        c["bend"] += _lag(p.bend * rate, p.bend_most, actor.fps)
    lead = np.clip(p.head_lead * rate, -p.head_lead_most, p.head_lead_most)
    c["head_yaw"] += lead * ramp(t, 0, p.head_lead_begin)


def _spare_lame_leg(actor: Actor) -> None:
    """Lets the body dip, and the head come up, where a lame leg bears."""
    p, c, steps, body = PARAMETERS.limp, actor.curves, actor.steps, actor.body
    k = find_lame_leg(body)
    if k is None:
        c["lean"] += p.lean * steps.lame * np.clip(np.sin(2 * np.pi * steps.cycles), 0, 1)
        return
    load = measure_load(body, k, steps) * steps.lame
    long = body.facing and not body.upright and k in split_legs(body)[0]
    c["front" if long else "crouch"] += p.dip * load
    c["head_up"] += p.head * load


def _lag(target: F64, most: float, fps: float) -> F64:
    p = PARAMETERS.follow_through
    return np.clip(follow(target, fps, p.spring_hertz, p.spring_damping), -most, most)
