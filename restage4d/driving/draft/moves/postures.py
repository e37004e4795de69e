"""How the body stands, sits or lies, and turns."""

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.actor import STANCE, Actor
from restage4d.driving.draft.curves import F64, plateau, plateau_by_shares, pulse, ramp
from restage4d.driving.draft.prompt import Action


def turn(actor: Actor, a: Action) -> None:
    sign = -1 if a.direction == "right" else 1
    toward = actor.find_heading(a.direction, a.view)
    if a.view == "picture" and toward is not None:  # its front goes to that side first
        aside = np.sin(np.radians(toward - actor.heading))
        sign = sign if abs(aside) < 1e-6 else int(np.sign(aside))
    actor.hold("yaw", actor.held["yaw"] + sign * np.radians(a.degrees), a.start, a.end)


def face(actor: Actor, a: Action) -> None:
    direction = {"around": "back"}.get(a.direction, a.direction)
    known = direction in {"left", "right", "away", "back"}
    heading = actor.find_heading(direction if known else "toward", a.view)
    assert heading is not None
    actor.turn_to(heading, a.start, a.end)


def crouch(actor: Actor, a: Action) -> None:
    p = PARAMETERS.crouch
    actor.hold("crouch", float(np.clip(p.depth * a.amount, p.least, p.most)), a.start, a.end)
    dip = pulse(actor.t, a.start, a.end + p.head_recover)
    actor.curves["head_up"] += -p.head_dip * a.amount * dip


def sit(actor: Actor, a: Action) -> None:
    if actor.body.upright or not actor.body.facing:
        actor.hold("crouch", PARAMETERS.sit.crouch, a.start, a.end)
    else:
        actor.hold("rear", PARAMETERS.sit.rear, a.start, a.end)


def bow(actor: Actor, a: Action) -> None:
    p, c = PARAMETERS.bow, actor.curves
    down = plateau_by_shares(actor.t, a.start, a.end, p.ramp, p.ramp) * a.amount
    if actor.body.upright:
        c["tip"] -= p.tip * down
    else:
        c["front"] += p.front * np.minimum(down, p.front_amount_most)
    c["head_up"] -= p.head_dip * down


def rise(actor: Actor, a: Action) -> None:
    actor.release(a.start, a.end, *STANCE)


def lean(actor: Actor, a: Action) -> None:
    angle = PARAMETERS.lean.angle * a.amount
    heading = actor.find_heading(a.direction, a.view)
    to = np.radians(actor.heading if heading is None else heading)
    actor.hold("lean", float(angle * np.cos(to)), a.start, a.end)
    actor.hold("tip", float(angle * np.sin(to)), a.start, a.end)


def stretch(actor: Actor, a: Action) -> None:
    p = PARAMETERS.stretch
    up = plateau_by_shares(actor.t, a.start, a.end, p.rise, p.fall)
    actor.curves["stretch"] += p.height * min(a.amount, p.amount_most) * up
    actor.curves["head_up"] += p.head * up


def fall(actor: Actor, a: Action) -> None:
    """Tips over and lies: a long body about its length, away from the camera; an upright one to the
    side with more room."""
    p, t, c = PARAMETERS.fall, actor.t, actor.curves
    lies = a.end - p.settle * (a.end - a.start)
    down = np.clip((t - a.start) / (lies - a.start), 0, 1) ** p.faster
    bounce = p.bounce * pulse(t, lies, a.end)
    if actor.body.upright:
        angle = np.radians(p.topple_degrees)
        _topple(actor, _choose_side(actor, a), angle, down, bounce)
        return
    angle = np.radians(p.angle_degrees)
    if actor.body.legs:
        actor.hold("crouch", max(p.buckle, actor.held["crouch"]), a.start, lies)
        if actor.body.head is not None:
            actor.hold("graze", p.head_down, a.start, lies)
    side = _choose_flank(actor, a)
    c["roll"] += side * (angle - actor.held["roll"]) * down - side * bounce
    actor.held["roll"] = side * angle
    way = p.way * actor.height * down
    actor.go_toward(actor.heading + 90 * side * (actor.body.facing or 1), way)


def _topple(actor: Actor, side: int, angle: float, down: F64, bounce: F64) -> None:
    """An upright body's fall in its own plane: its side foot stays, or gives way where the picture
    ends."""
    c, target = actor.curves, -side * angle
    c["pitch"] += (target - actor.held["pitch"]) * down + side * bounce
    actor.held["pitch"] = target
    room = (
        actor.room.right - actor.held["right"]
        if side > 0
        else actor.room.left + actor.held["right"]
    )
    lack = max(actor.height - actor.width / 4 - room, 0.0)
    actor.go(-side * lack * down, 0.0 * down)


def _choose_side(actor: Actor, a: Action) -> int:
    """The side of the picture to which an upright body goes, +1 to the right."""
    heading = actor.find_heading(a.direction, a.view)
    if heading is not None and abs(np.cos(np.radians(heading))) > 0.1:
        return 1 if np.cos(np.radians(heading)) > 0 else -1
    return 1 if actor.room.right >= actor.room.left else -1


def _choose_flank(actor: Actor, a: Action) -> int:
    """The way a long body rolls: +1 with its top away from the camera as it was filmed."""
    if a.direction not in {"left", "right"}:
        return 1
    ahead = actor.body.facing or 1
    if a.view == "own":
        return ahead if a.direction == "left" else -ahead
    toward = 180.0 if a.direction == "left" else 0.0
    aside = np.sin(np.radians(toward - actor.heading))  # that side of the picture is its left
    return 1 if abs(aside) < 0.1 else ahead * int(np.sign(aside))


def roll(actor: Actor, a: Action) -> None:
    """Lies down where it does not lie yet, and rolls once about its length."""
    p, t, c, body = PARAMETERS.roll, actor.t, actor.curves, actor.body
    begin = a.start
    down = p.down * (a.end - a.start)
    side, aside = _choose_flank(actor, a), 90.0  # an upright body, lying, rolls away
    if body.upright:
        if not actor.held["pitch"]:
            begin += down
            fallen = ramp(t, a.start, begin)
            angle = np.radians(p.topple_degrees)
            _topple(actor, _choose_side(actor, a), angle, fallen, 0.0 * t)
        side = 1 if actor.held["pitch"] > 0 else -1
    else:
        aside = actor.heading + 90 * side * (body.facing or 1)
        if body.legs and actor.held["crouch"] < p.crouch and not actor.held["roll"]:
            begin += down
            actor.hold("crouch", p.crouch, a.start, begin)
    turned = ramp(t, begin, a.end)
    c["roll"] += 2 * np.pi * side * turned
    if not body.upright and body.legs:
        legs_up = actor.held["crouch"] - p.open
        c["crouch"] -= max(legs_up, 0.0) * pulse(t, begin, a.end)
        c["graze"] += p.head_down * plateau(t, a.start, a.end, 0.3, 0.3)
    way = 2 * np.pi * body.radius * p.way * turned
    actor.go_toward(aside, way)


def graze(actor: Actor, a: Action) -> None:
    """The head goes down to the ground, plucks there, and stays."""
    p, t, c = PARAMETERS.graze, actor.t, actor.curves
    seconds = a.end - a.start
    down = a.start + min(p.down / a.pace, p.down_share * seconds)
    if actor.body.head is None:
        bending = "front" if actor.body.facing and not actor.body.upright else "crouch"
        actor.hold(bending, p.body, a.start, down)
    actor.hold("graze", 1.0, a.start, down)
    plucks = max(round((a.end - down) * a.pace / p.pluck_seconds), 1)
    one = (a.end - down) / plucks
    for k in range(plucks):
        pluck = pulse(t, down + k * one, down + (k + 1) * one)
        c["graze"] -= p.pluck * pluck
        c["head_yaw"] += p.sway * (-1) ** k * pluck


def stay(actor: Actor, a: Action) -> None:
    """Nothing moves."""
