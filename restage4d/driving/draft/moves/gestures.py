"""What head, tail and limbs do, and what the body does in its place."""

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.actor import Actor
from restage4d.driving.draft.body_plan import split_legs
from restage4d.driving.draft.curves import oscillate, plateau, plateau_by_shares, pulse, ramp
from restage4d.driving.draft.moves.limbs import find_limb, find_outward, measure_elevation
from restage4d.driving.draft.prompt import Action


def look(actor: Actor, a: Action) -> None:
    p = PARAMETERS.look
    if a.direction in {"up", "down"}:
        up = p.up if a.direction == "up" else -p.up
        actor.hold("head_up", up * a.amount, a.start, a.end)
        return
    if a.direction == "forward":
        actor.release(a.start, a.end, "head_up", "head_yaw")
        return
    aside = (-90 - actor.heading + 180) % 360 - 180  # the camera's side
    if a.direction == "back":
        yaw = np.radians(p.back_degrees) * (1 if aside >= 0 else -1)
        actor.hold("head_yaw", float(yaw * min(a.amount, p.amount_most)), a.start, a.end)
        return
    toward = actor.find_heading(a.direction or "toward", a.view)
    angle = aside if toward is None else (toward - actor.heading + 180) % 360 - 180
    if abs(angle) < p.ahead_degrees and actor.body.facing:
        angle = -p.aside_degrees * actor.body.facing
    yaw = np.radians(np.clip(angle, -p.most_degrees, p.most_degrees))
    actor.hold("head_yaw", float(yaw * min(a.amount, p.amount_most)), a.start, a.end)


def nod(actor: Actor, a: Action) -> None:
    one = (a.end - a.start) / a.count
    for k in range(a.count):
        nod = a.amount * pulse(actor.t, a.start + k * one, a.start + (k + 1) * one)
        actor.curves["head_up"] -= PARAMETERS.nod.head * nod
        if actor.body.head is None:
            bending = "front" if actor.body.facing else "crouch"
            actor.curves[bending] += PARAMETERS.nod.body * nod


def shake(actor: Actor, a: Action) -> None:
    p = PARAMETERS.shake
    size = plateau_by_shares(actor.t, a.start, a.end, p.ramp, p.ramp)
    swing = oscillate(actor.t, a.start, a.end, a.count) * size * a.amount
    if a.limb == "body" or actor.body.head is None:
        actor.curves["lean"] += p.lean * swing
        actor.curves["yaw"] += p.yaw * swing
    actor.curves["head_yaw"] += p.head * swing


def wave(actor: Actor, a: Action) -> None:
    _raise_limb(actor, a, a.end)


def lift(actor: Actor, a: Action) -> None:
    _raise_limb(actor, a, a.end + PARAMETERS.raise_limb.hold)


def _raise_limb(actor: Actor, a: Action, end: float) -> None:
    """Lifts one limb; without it the whole body sways."""
    p, body, c = PARAMETERS.raise_limb, actor.body, actor.curves
    up = plateau_by_shares(actor.t, a.start, end, p.rise, p.fall)
    swing = oscillate(actor.t, a.start, end, a.count) * up * (a.verb == "wave")
    chosen = find_limb(body, a)
    if chosen is None:
        c["lean"] += p.sway * a.amount * (swing if a.verb == "wave" else up)
        return
    limb = body.limbs[chosen]
    hanging = np.pi / 2 + measure_elevation(limb)
    reach = p.leg if chosen < len(body.legs) else max(p.arm - hanging, p.arm_least)
    out = find_outward(body, limb)
    size = min(a.amount, p.amount_most)
    actor.limb_angles[chosen] += out * size * (reach * up + p.swing * swing)
    c["lean"] += -p.counter_lean * out * up
    c["head_up"] += p.head * up


def kick(actor: Actor, a: Action) -> None:
    """Draws a leg up, thrusts it out (a hind leg backward), and puts it down."""
    p, t, c, body = PARAMETERS.kick, actor.t, actor.curves, actor.body
    chosen = find_limb(body, a)
    if chosen is None:
        sway = plateau_by_shares(t, a.start, a.end, p.drawn, 1 - p.held)
        c["lean"] += PARAMETERS.raise_limb.sway * a.amount * sway
        return
    seconds = a.end - a.start
    drawn, out, held = (a.start + x * seconds for x in (p.drawn, p.thrust, p.held))
    draw = ramp(t, a.start, drawn) - ramp(t, drawn, out)
    thrust = ramp(t, drawn, out) - ramp(t, held, a.end)
    limb, size = body.limbs[chosen], min(a.amount, p.amount_most)
    long = bool(body.facing) and not body.upright
    hind = long and chosen in split_legs(body)[1]
    way = (-1 if hind else 1) * body.facing if long else find_outward(body, limb)
    actor.limb_angles[chosen] += way * size * (p.reach * thrust - p.draw * draw)
    actor.limb_lifts[chosen] += p.draw_lift * limb.length * draw
    whole = plateau(t, a.start, a.end, p.drawn * seconds, (1 - p.held) * seconds)
    if long:
        c["pitch"] += (-p.hind_pitch if hind else p.front_pitch) * thrust * size
        c["head_up"] += (-p.head if hind else p.head) * whole
    else:
        c["lean"] -= p.lean * way * whole


def wag(actor: Actor, a: Action) -> None:
    p, c = PARAMETERS.wag, actor.curves
    size = plateau(actor.t, a.start, a.end, p.ramp, p.ramp)
    swing = oscillate(actor.t, a.start, a.end, a.count) * size * a.amount
    c["tail_yaw"] += p.tail_yaw * swing
    c["tail_up"] += p.tail_up * size + p.tail_beat * swing
    c["yaw"] += -p.yaw * swing
    if actor.body.tail is None:
        c["lean"] += p.lean * swing


def raise_tail(actor: Actor, a: Action) -> None:
    """Lifts the tail and lets it down; one that is up already has less way to go."""
    p, tail = PARAMETERS.raise_tail, actor.body.tail
    if tail is None:
        return
    up = min(p.up * min(a.amount, p.amount_most), p.most - measure_elevation(tail))
    size = plateau_by_shares(actor.t, a.start, a.end, p.rise, p.fall)
    actor.curves["tail_up"] += max(up, p.least) * size


def dance(actor: Actor, a: Action) -> None:
    """Bounces from leg to leg, the body swaying with them."""
    p, t, c, body = PARAMETERS.dance, actor.t, actor.curves, actor.body
    going = plateau(t, a.start, a.end, p.ramp, p.ramp)
    size = going * a.amount
    beats = actor.integrate(a.pace * going) / p.beat
    side = np.sin(np.pi * beats)
    bounce = np.sin(np.pi * beats) ** 2  # highest between the beats
    c["lean"] += p.sway * side * size
    c["yaw"] += p.yaw * np.sin(np.pi * (beats - 0.25)) * size
    c["head_up"] += p.head * (bounce - 0.5) * size
    if not body.legs:
        c["stretch"] += p.squash * (bounce - 0.5) * size
        return
    c["up"] += min(p.bounce * actor.height, actor.room.up) * bounce * size
    c["crouch"] += p.give * (1 - bounce) * size
    actor.steps.add(going, 0.0, 2 * p.beat / a.pace)
    actor.steps.high = np.maximum(actor.steps.high, p.lift * size)
    if body.upright:
        for k in range(len(body.legs), len(body.limbs)):
            out = find_outward(body, body.limbs[k])
            actor.limb_angles[k] += out * p.arm * size * (0.5 + 0.5 * out * side)
