"""From directions to motion: every action becomes smooth curves over the frames of the driving
video."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.actor import Actor
from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.curves import (
    F64,
    Curves,
    Room,
    Swing,
    follow,
    oscillate,
    plateau,
    pulse,
    ramp,
    smooth,
)
from restage4d.driving.draft.gait import swing_legs
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
        _ACT[action.verb](actor, timed)
    _shuffle(actor)
    limbs = swing_legs(body, actor.steps)
    limbs += [Swing.at_rest(frames) for _ in body.others]
    for limb, angle in zip(limbs, actor.limb_angles, strict=True):
        limb.raise_ = angle
    _follow_through(actor)
    for curve in actor.curves.values():
        curve -= curve[0]
    return Curves(fps, **actor.curves, limbs=limbs)


def _turn(actor: Actor, a: Action) -> None:
    sign = -1 if a.direction == "right" else 1
    actor.hold("yaw", actor.held["yaw"] + sign * np.radians(a.degrees), a.start, a.end)


def _face(actor: Actor, a: Action) -> None:
    direction = {"around": "back"}.get(a.direction, a.direction)
    known = direction in {"left", "right", "away", "back"}
    heading = actor.find_heading(direction if known else "toward")
    assert heading is not None
    actor.turn_to(heading, a.start, a.end)


def _look(actor: Actor, a: Action) -> None:
    p = PARAMETERS.look
    if a.direction in {"up", "down"}:
        up = p.up if a.direction == "up" else -p.up
        actor.hold("head_up", up * a.amount, a.start, a.end)
        return
    toward = {"left": 180.0, "right": 0.0, "away": 90.0}.get(a.direction, -90.0)
    angle = (toward - actor.heading + 180) % 360 - 180
    if abs(angle) < p.ahead_degrees and actor.body.facing:
        angle = -p.aside_degrees * actor.body.facing
    yaw = np.radians(np.clip(angle, -p.most_degrees, p.most_degrees))
    actor.hold("head_yaw", float(yaw * min(a.amount, p.amount_most)), a.start, a.end)


def _walk(actor: Actor, a: Action) -> None:
    gait = PARAMETERS.run if a.verb == "run" else PARAMETERS.walk
    held = "crouch", "front", "rear", "lean", "tip", "stretch"
    actor.release(a.start, a.start + gait.release, *held)
    turned = a.start + min(gait.turn, gait.turn_share * (a.end - a.start))
    backing = a.direction == "back"
    fixed = a.direction in {"left", "right", "away", "toward"}
    heading = actor.find_heading(a.direction if fixed else "back" if backing else "forward")
    assert heading is not None
    if fixed:
        actor.turn_to(heading, a.start, turned)
        if actor.body.facing:  # it goes where its head points, edge-on excepted
            heading = actor.heading
    pace = a.pace ** (gait.paced_exponent if a.seconds else 1.0)
    way = None if a.direction == "place" else heading
    actor.step_along(gait, pace, way, backing, a.start, a.end)


def _jump(actor: Actor, a: Action) -> None:
    p, t, c = PARAMETERS.jump, actor.t, actor.curves
    actor.release(a.start, a.start + p.release, "crouch", "front", "rear")
    one = (a.end - a.start) / a.count
    height = min((p.height * actor.height + p.leg_height * actor.leg) * a.amount, actor.room.up)
    give = p.crouch * min(a.amount, p.crouch_amount_most) ** 0.5
    for k in range(a.count):
        start = a.start + k * one
        off, land, end = start + p.take_off * one, start + p.landing * one, start + one
        down = start + p.deepest * one
        flight = np.clip((t - off) / (land - off), 0, 1)
        c["up"] += height * 4 * flight * (1 - flight)
        c["crouch"] += give * (ramp(t, start, down) - ramp(t, down, off))
        c["crouch"] += give * (
            ramp(t, land - p.touch, land + p.absorb * one) - ramp(t, land + p.recover * one, end)
        )
        actor.steps.tuck += p.tuck * pulse(t, off, land)
        rising = pulse(t, down, start + p.rise_end * one)
        landing = pulse(t, land - p.brace * one, end)
        c["stretch"] += p.stretch * pulse(t, down, start + p.stretch_end * one)
        c["head_up"] += p.head_rising * rising - p.head_landing * landing
        c["tail_up"] += -p.tail_rising * rising + p.tail_landing * landing
        heading = actor.find_heading(a.direction)
        if heading is not None:
            right, away = np.cos(np.radians(heading)), np.sin(np.radians(heading))
            way = p.forward * actor.width * a.amount
            way *= actor.limit_way(right * way, away * way)
            actor.go(right * way * flight, away * way * flight)


def _crouch(actor: Actor, a: Action) -> None:
    p = PARAMETERS.crouch
    actor.hold("crouch", float(np.clip(p.depth * a.amount, p.least, p.most)), a.start, a.end)
    dip = pulse(actor.t, a.start, a.end + p.head_recover)
    actor.curves["head_up"] += -p.head_dip * a.amount * dip


def _sit(actor: Actor, a: Action) -> None:
    if actor.body.upright or not actor.body.facing:
        actor.hold("crouch", PARAMETERS.sit.crouch, a.start, a.end)
    else:
        actor.hold("rear", PARAMETERS.sit.rear, a.start, a.end)


def _bow(actor: Actor, a: Action) -> None:
    p, c = PARAMETERS.bow, actor.curves
    down = _plateau_by_shares(actor.t, a, p.ramp, p.ramp) * a.amount
    if actor.body.upright:
        c["tip"] -= p.tip * down
    else:
        c["front"] += p.front * np.minimum(down, p.front_amount_most)
    c["head_up"] -= p.head_dip * down


def _rise(actor: Actor, a: Action) -> None:
    actor.release(a.start, a.end, "crouch", "front", "rear", "lean", "tip", "stretch")


def _lean(actor: Actor, a: Action) -> None:
    angle = PARAMETERS.lean.angle * a.amount
    heading = actor.find_heading(a.direction)
    to = np.radians(actor.heading if heading is None else heading)
    actor.hold("lean", float(angle * np.cos(to)), a.start, a.end)
    actor.hold("tip", float(angle * np.sin(to)), a.start, a.end)


def _nod(actor: Actor, a: Action) -> None:
    one = (a.end - a.start) / a.count
    for k in range(a.count):
        nod = a.amount * pulse(actor.t, a.start + k * one, a.start + (k + 1) * one)
        actor.curves["head_up"] -= PARAMETERS.nod.head * nod
        if actor.body.head is None:
            bending = "front" if actor.body.facing else "crouch"
            actor.curves[bending] += PARAMETERS.nod.body * nod


def _shake(actor: Actor, a: Action) -> None:
    p = PARAMETERS.shake
    size = _plateau_by_shares(actor.t, a, p.ramp, p.ramp)
    swing = oscillate(actor.t, a.start, a.end, a.count) * size * a.amount
    if a.limb == "body" or actor.body.head is None:
        actor.curves["lean"] += p.lean * swing
        actor.curves["yaw"] += p.yaw * swing
    actor.curves["head_yaw"] += p.head * swing


def _stretch(actor: Actor, a: Action) -> None:
    p = PARAMETERS.stretch
    up = _plateau_by_shares(actor.t, a, p.rise, p.fall)
    actor.curves["stretch"] += p.height * min(a.amount, p.amount_most) * up
    actor.curves["head_up"] += p.head * up


def _wave(actor: Actor, a: Action) -> None:
    _raise_limb(actor, a, a.start, a.end, wave=True)


def _lift(actor: Actor, a: Action) -> None:
    _raise_limb(actor, a, a.start, a.end + PARAMETERS.raise_limb.hold, wave=False)


def _raise_limb(actor: Actor, a: Action, start: float, end: float, wave: bool) -> None:
    """Lifts one limb: an arm if there is one, else the leg nearest the head; without limbs the
    whole body sways."""
    p, body, c = PARAMETERS.raise_limb, actor.body, actor.curves
    seconds = end - start
    up = plateau(actor.t, start, end, p.rise * seconds, p.fall * seconds)
    swing = oscillate(actor.t, start, end, a.count) * up if wave else 0.0 * up
    if not body.limbs:
        c["lean"] += p.sway * a.amount * (swing if wave else up)
        return
    legs = list(range(len(body.legs)))
    others = list(range(len(legs), len(body.limbs)))
    # an animal waves a paw, not an ear
    candidates = (others or legs) if body.upright else (legs or others)
    side = {"left": -1, "right": 1}.get(a.direction, body.facing or 1)
    chosen = max(candidates, key=lambda k: side * body.limbs[k].pivot[0])
    limb = body.limbs[chosen]
    across, down = abs(limb.tip[0] - limb.pivot[0]), limb.tip[1] - limb.pivot[1]
    hanging = np.arctan2(across, down)  # 0 straight down
    reach = p.leg if chosen < len(legs) else max(p.arm - hanging, p.arm_least)
    actor.limb_angles[chosen] += min(a.amount, p.amount_most) * (reach * up + p.swing * swing)
    c["lean"] += -p.counter_lean * side * up
    c["head_up"] += p.head * up


def _wag(actor: Actor, a: Action) -> None:
    p, c = PARAMETERS.wag, actor.curves
    size = plateau(actor.t, a.start, a.end, p.ramp, p.ramp)
    swing = oscillate(actor.t, a.start, a.end, a.count) * size * a.amount
    c["tail_yaw"] += p.tail_yaw * swing
    c["tail_up"] += p.tail_up * size + p.tail_beat * swing
    c["yaw"] += -p.yaw * swing
    if actor.body.tail is None:
        c["lean"] += p.lean * swing


def _stay(actor: Actor, a: Action) -> None:
    """Nothing moves."""


_ACT: dict[str, Callable[[Actor, Action], None]] = {
    "turn": _turn,
    "spin": _turn,
    "face": _face,
    "look": _look,
    "walk": _walk,
    "run": _walk,
    "jump": _jump,
    "crouch": _crouch,
    "sit": _sit,
    "bow": _bow,
    "rise": _rise,
    "lean": _lean,
    "nod": _nod,
    "shake": _shake,
    "stretch": _stretch,
    "wave": _wave,
    "lift": _lift,
    "wag": _wag,
    "stay": _stay,
}


def _plateau_by_shares(t: F64, a: Action, rise: float, fall: float) -> F64:
    """0 outside an action, 1 in it, with flanks that are shares of its length."""
    seconds = a.end - a.start
    return plateau(t, a.start, a.end, rise * seconds, fall * seconds)


def _shuffle(actor: Actor) -> None:
    """Lets the legs step on the spot where the body turns."""
    p, t, steps = PARAMETERS.shuffle, actor.t, actor.steps
    turning = np.abs(np.gradient(actor.curves["yaw"], t))
    going = (
        np.clip(turning / p.full_rate, 0, 1)
        * (steps.gait < p.gait_most)
        * np.clip(1 - actor.curves["up"] / (p.height_most * actor.height), 0, 1)
    )
    going = smooth(going * ramp(t, 0, p.begin), p.smooth * actor.fps)
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


def _lag(target: F64, most: float, fps: float) -> F64:
    p = PARAMETERS.follow_through
    return np.clip(follow(target, fps, p.spring_hertz, p.spring_damping), -most, most)
