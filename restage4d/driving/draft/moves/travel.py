"""Going from place to place: on legs, on wheels, and through the air."""

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS, Gait
from restage4d.driving.draft.actor import STANCE, Actor
from restage4d.driving.draft.body_plan import split_legs
from restage4d.driving.draft.curves import F64, pulse, ramp
from restage4d.driving.draft.prompt import Action

_FIXED = frozenset({"left", "right", "away", "toward"})


def walk(actor: Actor, a: Action) -> None:
    step(actor, a, PARAMETERS.run if a.verb == "run" else PARAMETERS.walk)


def step(actor: Actor, a: Action, gait: Gait, pace: float = 1.0, rate: F64 | float = 1.0) -> F64:
    """Steps the way that an action says; returns how much it goes (T,), 0..1.

    Args:
        actor: who goes.
        a: the action.
        gait: how.
        pace: beside the action's own.
        rate: (T,) how fast the legs go, 1 = as the pace says.
    """
    actor.release(a.start, a.start + gait.release, *STANCE)
    heading = _turn_into_way(actor, a, gait)
    paced = a.pace ** (gait.paced_exponent if a.seconds else 1.0)
    way = None if a.direction == "place" else heading
    backing = a.direction == "back"
    return actor.step_along(gait, pace * paced, way, backing, a.start, a.end, rate)


def _turn_into_way(actor: Actor, a: Action, gait: Gait) -> float:
    """Turns where a direction needs it; returns the heading of the way."""
    direction = a.direction if a.direction in {*_FIXED, "back"} else "forward"
    heading = actor.find_heading(direction, a.view)
    assert heading is not None
    if direction in _FIXED:
        turned = a.start + min(gait.turn, gait.turn_share * (a.end - a.start))
        actor.turn_to(heading, a.start, turned)
        if actor.body.facing:  # it goes where its head points, edge-on excepted
            heading = actor.heading
    return heading


def drive(actor: Actor, a: Action) -> None:
    """Rolls the way that the body points, also while it turns; what has no front glides."""
    gait = PARAMETERS.drive
    actor.release(a.start, a.start + gait.release, *STANCE)
    heading = _turn_into_way(actor, a, gait)
    going = actor.plan_going(gait, a.start, a.end)
    speed = gait.glide * max(actor.width, actor.height) * a.pace**gait.paced_exponent * going
    if a.direction == "back":
        speed = -speed
    heads = np.radians(actor.heading_curve())
    if not actor.body.facing:
        heads = np.full(len(speed), np.radians(heading))
        speed = np.abs(speed)
    right, away = (actor.integrate(speed * f(heads)) for f in (np.cos, np.sin))
    ends = [(right[k], away[k]) for k in (right.argmin(), right.argmax(), away.argmin(), -1)]
    share = min(actor.limit_way(*end) for end in ends)
    if a.direction != "place":
        actor.go(right * share, away * share)
    forward = actor.body.facing or np.sign(np.cos(heads[-1])) or 1
    actor.curves["wheels"] += forward * actor.integrate(speed) * share


def climb(actor: Actor, a: Action) -> None:
    """A walk with the body tipped up, that rises a little; it stays so until it goes elsewhere."""
    p, c = PARAMETERS.climb, actor.curves
    going = step(actor, a, PARAMETERS.walk, p.pace)
    tipped = a.start + min(p.ramp, 0.4 * (a.end - a.start))
    heading = np.radians(actor.heading)
    if actor.body.upright or not actor.body.facing:
        actor.hold("lean", float(p.lean * np.cos(heading)), a.start, tipped)
        actor.hold("tip", float(p.lean * np.sin(heading)), a.start, tipped)
    else:
        most = np.arcsin(np.clip(actor.room.up / actor.width, 0, 1))
        actor.hold("pitch", min(np.radians(p.pitch_degrees), most), a.start, tipped)
    way = actor.integrate(going)
    rise = min(p.rise * actor.height * a.amount, actor.room.up - actor.held["up"])
    c["up"] += max(rise, 0.0) * way / max(way[-1], 1e-6)
    actor.held["up"] += max(rise, 0.0)
    actor.steps.high = np.maximum(actor.steps.high, p.lift * going)


def limp(actor: Actor, a: Action) -> None:
    going = step(actor, a, PARAMETERS.walk, PARAMETERS.limp.pace)
    actor.steps.lame = np.maximum(actor.steps.lame, going)


def stumble(actor: Actor, a: Action) -> None:
    """A walk in which a foot catches: the front goes down, and quick steps catch it."""
    p, t, c = PARAMETERS.stumble, actor.t, actor.curves
    seconds = a.end - a.start
    caught = a.start + p.catch * seconds
    deep, over = caught + p.deepest * seconds, caught + (p.deepest + p.recover) * seconds
    rate = 1 - 0.6 * pulse(t, caught - 0.1 * seconds, deep) + (p.quick - 1) * pulse(t, caught, over)
    step(actor, a, PARAMETERS.walk, rate=rate)
    down = a.amount * (ramp(t, caught, deep) - ramp(t, deep, over))
    c["head_up"] -= p.head_dip * down
    if actor.body.upright or not actor.body.facing:
        _lean_toward(actor, a, p.lean * down)
        c["crouch"] += p.crouch * down
    else:
        c["front"] += p.front * down
        c["pitch"] -= p.pitch * down


def _lean_toward(actor: Actor, a: Action, angle: F64) -> None:
    heading = actor.find_heading(a.direction, a.view)
    to = np.radians(actor.heading if heading is None else heading)
    actor.curves["lean"] += angle * np.cos(to)
    actor.curves["tip"] += angle * np.sin(to)


def jump(actor: Actor, a: Action) -> None:
    p, t, c = PARAMETERS.jump, actor.t, actor.curves
    actor.release(a.start, a.start + p.release, *STANCE)
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
        heading = actor.find_heading(a.direction, a.view)
        if heading is not None:
            actor.go_toward(heading, p.forward * actor.width * a.amount * flight)


def pounce(actor: Actor, a: Action) -> None:
    p, t, c = PARAMETERS.pounce, actor.t, actor.curves
    seconds = a.end - a.start
    actor.release(a.start, a.start + PARAMETERS.jump.release, *STANCE)
    heading = _turn_into_way(actor, a, PARAMETERS.run)
    names = ("loaded", "wiggle_end", "take_off", "landing")
    down, still, off, land = (a.start + getattr(p, name) * seconds for name in names)
    loaded = ramp(t, a.start, down) - ramp(t, still, off)
    c["crouch"] += p.crouch * loaded
    flight = np.clip((t - off) / (land - off), 0, 1)
    height = (p.height * actor.height + p.leg_height * actor.leg) * a.amount
    c["up"] += min(height, actor.room.up) * 4 * flight * (1 - flight)
    longer = max(actor.width, actor.height)
    actor.go_toward(heading, p.forward * longer * a.amount * flight)
    c["yaw"] += p.wiggle * np.sin(6 * np.pi * np.clip((t - down) / (still - down), 0, 1))
    air = pulse(t, off - 0.06 * seconds, land + 0.04 * seconds)
    c["head_up"] += p.head * air
    if actor.body.upright or not actor.body.facing:
        _lean_toward(actor, a, p.lean * air)
        actor.steps.tuck += PARAMETERS.jump.tuck * pulse(t, off, land)
        c["crouch"] += p.crouch * pulse(t, land - 0.02, a.end)
        return
    c["rear"] += p.rear * loaded
    middle = (off + land) / 2
    c["pitch"] += p.pitch * (pulse(t, off - 0.1 * seconds, middle) - pulse(t, middle, a.end))
    c["front"] += p.front * pulse(t, land - 0.02, a.end)
    front, hind = split_legs(actor.body)
    for legs, way in ((front, 1), (hind, -1)):
        for k in legs:
            actor.limb_angles[k] += way * actor.body.facing * p.reach * air
