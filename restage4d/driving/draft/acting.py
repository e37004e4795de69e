"""From directions to motion: every action becomes smooth curves over the frames of the driving
video.

The body's frame: a along the screen at rest (right), b up, c away from the camera; lengths in
pixels at the subject's place. All curves are 0 in the first frame, so that it is the base's first
frame exactly.
"""

from dataclasses import fields, replace

import numpy as np

from restage4d.driving.draft.body_plan import BodyPlan, Limb
from restage4d.driving.draft.curves import (
    F64,
    Curves,
    Room,
    Swing,
    follow,
    pulse,
    ramp,
    smoothed,
    still,
)
from restage4d.driving.draft.prompt import Action, Directions
from restage4d.errors import InputError

SHORTEST, LONGEST, MOST = (
    24,
    60,
    240,
)  # frames: usual bounds, and what directions may ask for at most
_BEST_YAW = 65.0  # degrees; further round, a relief shows its edge
_STRIDE = {"walk": 0.30, "run": 0.42}  # swing of a foot to either side, in leg lengths
_CYCLE = {"walk": 1.0, "run": 0.62}  # seconds for both legs
_STANCE = {"walk": 0.62, "run": 0.45}  # share of the cycle with the foot on the ground


def limbs_of(body: BodyPlan) -> list[Limb]:
    return [*body.legs, *body.others]


def length(directions: Directions, base_frames: int, fps: float) -> tuple[int, float]:
    """Frames of the driving video, and the factor by which the directions' times are stretched to
    fill it.

    As long as the base within 24 to 60 frames, longer where the directions need it.
    """
    usual = int(np.clip(base_frames, SHORTEST, LONGEST))
    asked = directions.seconds * fps
    if asked > MOST:
        raise InputError(
            f"The directions take {directions.seconds:.0f} s ({asked:.0f} frames at {fps:g} fps); "
            f"at most {MOST} are made.",
            "Give fewer or quicker actions.",
        )
    if asked <= usual - 1:
        own_pace = any(a.pace != 1 for a in directions.actions)
        return usual, min((usual - 1) / asked, 1.0 if own_pace else 1.4)
    squeeze = max((usual - 1) / asked, 0.75)
    return max(usual, int(np.ceil(asked * squeeze)) + 1), squeeze


class _Actor:
    """Adds actions to curves, in order, keeping what holds on (heading, crouch, lean, look)."""

    def __init__(self, body: BodyPlan, frames: int, fps: float, room: Room) -> None:
        self.body, self.fps = body, fps
        self.t = np.arange(frames) / fps
        names = [f.name for f in fields(Curves) if f.name not in {"fps", "limbs"}]
        self.c: dict[str, F64] = {name: np.zeros(frames) for name in names}
        self.limbs = limbs_of(body)
        self.lift_angle = [np.zeros(frames) for _ in self.limbs]
        self.gait = np.zeros(frames)  # how much the legs go, 0..1
        self.cycles = np.zeros(frames)  # steps gone so far, in cycles
        self.stride = np.zeros(frames)
        self.tuck = np.zeros(frames)  # feet up in the air, in leg lengths
        self.room = room
        self.held = dict.fromkeys(names, 0.0)
        x0, y0, x1, y1 = body.box
        self.height, self.width = float(y1 - y0), float(x1 - x0)
        legs = [leg.length for leg in body.legs]
        self.leg = float(np.mean(legs)) if legs else 0.35 * self.height
        side = (
            0.0 if body.facing > 0 else 180.0 if body.facing < 0 else -90.0 if body.upright else 0.0
        )
        self.at_rest = float(np.degrees(body.yaw))
        self.rest_heading = side + self.at_rest

    def hold(self, name: str, value: float, start: float, end: float) -> None:
        """Brings a curve from where it is to ``value``, where it stays."""
        self.c[name] += (value - self.held[name]) * ramp(self.t, start, end)
        self.held[name] = value

    def stand(self, start: float, end: float, *names: str) -> None:
        """Lets go of held poses."""
        for name in names:
            if self.held[name]:
                self.hold(name, 0.0, start, end)

    def turn_to(self, heading: float, start: float, end: float) -> None:
        """Turns until the head points that way (degrees from screen right, counter-clockwise from
        above), edge-on excepted."""
        now = np.degrees(self.held["yaw"])
        yaw = (heading - self.rest_heading + 180) % 360 - 180
        if self.body.upright or not self.body.facing:
            yaw = float(np.clip(yaw, -_BEST_YAW, _BEST_YAW)) if abs(yaw) < 150 else 0.0
        elif abs((yaw + self.at_rest) % 180 - 90) < 90 - _BEST_YAW:  # edge-on
            middle = 180 * np.floor((yaw + self.at_rest) / 180) + 90 - self.at_rest
            yaw = float(
                min(
                    (middle - (90 - _BEST_YAW), middle + (90 - _BEST_YAW)),
                    key=lambda y: abs(y - now),
                )
            )
        yaw += 360 * round((now - yaw) / 360)
        self.hold("yaw", float(np.radians(yaw)), start, end)

    def heading(self) -> float:
        return self.rest_heading + float(np.degrees(self.held["yaw"]))

    def act(self, action: Action) -> None:
        getattr(self, f"_{action.verb}")(action, action.start, action.end)

    def _turn(self, a: Action, start: float, end: float) -> None:
        sign = -1 if a.direction == "right" else 1
        self.hold("yaw", self.held["yaw"] + sign * np.radians(a.degrees), start, end)

    _spin = _turn

    def _face(self, a: Action, start: float, end: float) -> None:
        around = {
            "left": 180.0,
            "right": 0.0,
            "away": 90.0,
            "back": self.heading() + 180,
            "around": self.heading() + 180,
        }
        self.turn_to(around.get(a.direction, -90.0), start, end)

    def _look(self, a: Action, start: float, end: float) -> None:
        if a.direction in {"up", "down"}:
            self.hold("head_up", (0.5 if a.direction == "up" else -0.5) * a.amount, start, end)
            return
        facing = self.body.facing
        toward = {"left": 180.0, "right": 0.0, "away": 90.0}.get(a.direction, -90.0)
        angle = (toward - self.heading() + 180) % 360 - 180
        if abs(angle) < 10 and facing:
            angle = -30.0 * facing
        self.hold(
            "head_yaw", float(np.radians(np.clip(angle, -38, 38)) * min(a.amount, 1.2)), start, end
        )

    def _walk(self, a: Action, start: float, end: float) -> None:
        self.stand(start, start + 0.4, "crouch", "front", "rear", "lean", "tip", "stretch")
        fixed = {"left": 180.0, "right": 0.0, "away": 90.0, "toward": -90.0}
        seconds = end - start
        turning = min(0.9, 0.5 * seconds)
        backing = a.direction == "back"
        if a.direction in fixed and self.body.facing:
            self.turn_to(fixed[a.direction], start, start + turning)
            heading = self.heading()
        elif a.direction in fixed:
            heading = fixed[a.direction]
            self.turn_to(heading, start, start + turning)
        else:
            heading = self.heading() + 180 * backing
        pace = a.pace ** (0.7 if a.seconds else 1.0)
        cycle = _CYCLE[a.verb] / pace * np.sqrt(self.leg / 40) ** 0.5
        stride = _STRIDE[a.verb] * self.leg if self.body.legs else 0.5 * _STRIDE[a.verb] * self.leg
        speed = 2 * stride / (_STANCE[a.verb] * cycle)
        if not self.body.legs:
            speed = (0.75 if a.verb == "run" else 0.4) * pace * max(self.width, self.height)
        going = ramp(self.t, start, start + min(0.45, 0.4 * seconds)) - ramp(
            self.t, end - min(0.45, 0.4 * seconds), end
        )
        if a.direction != "place":
            path = (
                np.concatenate([[0.0], np.cumsum((going[1:] + going[:-1]) / 2)]) / self.fps * speed
            )
            c, s = np.cos(np.radians(heading)), np.sin(np.radians(heading))
            scale = self._fitting(c * path[-1], s * path[-1])
            path, stride = path * scale, stride * (0.4 + 0.6 * scale)
            self._go(c * path, s * path)
        self._step(going, stride, cycle, backing)

    _run = _walk

    def _fitting(self, right: float, away: float) -> float:
        """The share of a way that keeps the subject well inside the picture."""
        share = 1.0
        if right > 0:
            share = min(share, max(self.room.right - self.held["right"], 0.0) / right)
        elif right < 0:
            share = min(share, max(self.room.left + self.held["right"], 0.0) / -right)
        if away < 0:
            share = min(share, max(self.room.near + self.held["away"], 0.0) / -away)
        return float(np.clip(share, 0.12, 1.0))

    def _step(self, going: F64, stride: float, cycle: float, backing: bool = False) -> None:
        self.gait = np.maximum(self.gait, going)
        self.stride = np.maximum(self.stride, stride * going)
        self.cycles += (-1 if backing else 1) * np.cumsum(going) / self.fps / cycle

    def _jump(self, a: Action, start: float, end: float) -> None:
        self.stand(start, start + 0.3, "crouch", "front", "rear")
        one, t, c = (end - start) / a.count, self.t, self.c
        height = min((0.15 * self.height + 0.4 * self.leg) * a.amount, self.room.up)
        give = 0.30 * min(a.amount, 1.5) ** 0.5
        for k in range(a.count):
            s = start + k * one
            off, land = s + 0.30 * one, s + 0.76 * one
            flight = np.clip((t - off) / (land - off), 0, 1)
            c["up"] += height * 4 * flight * (1 - flight)
            c["crouch"] += give * (ramp(t, s, s + 0.2 * one) - ramp(t, s + 0.2 * one, off))
            c["crouch"] += give * (
                ramp(t, land - 0.01, land + 0.09 * one) - ramp(t, land + 0.1 * one, s + one)
            )
            self.tuck += 0.32 * pulse(t, off, land)
            rising, landing = (
                pulse(t, s + 0.2 * one, s + 0.55 * one),
                pulse(t, land - 0.1 * one, s + one),
            )
            c["stretch"] += 0.07 * pulse(t, s + 0.2 * one, s + 0.5 * one)
            c["head_up"] += 0.14 * rising - 0.16 * landing
            c["tail_up"] += -0.3 * rising + 0.35 * landing
            heading = self.headings().get(a.direction)
            if heading is not None:
                right, away = np.cos(np.radians(heading)), np.sin(np.radians(heading))
                way = 0.45 * self.width * a.amount
                way *= self._fitting(right * way, away * way)
                self._go(right * way * flight, away * way * flight)

    def headings(self) -> dict[str, float]:
        """What a direction means now, in degrees counter-clockwise from screen right."""
        ahead = self.heading()
        return {
            "left": 180.0,
            "right": 0.0,
            "away": 90.0,
            "toward": -90.0,
            "forward": ahead,
            "back": ahead + 180,
        }

    def _go(self, right: F64, away: F64) -> None:
        for name, way in (("right", right), ("away", away)):
            self.c[name] += way
            self.held[name] += float(way[-1])

    def _crouch(self, a: Action, start: float, end: float) -> None:
        self.hold("crouch", float(np.clip(0.45 * a.amount, 0.1, 0.8)), start, end)
        self.c["head_up"] += -0.15 * a.amount * pulse(self.t, start, end + 0.3)

    def _sit(self, a: Action, start: float, end: float) -> None:
        if self.body.upright or not self.body.facing:
            self.hold("crouch", 0.5, start, end)
        else:
            self.hold("rear", 0.75, start, end)

    def _bow(self, a: Action, start: float, end: float) -> None:
        down = (
            ramp(self.t, start, start + 0.35 * (end - start))
            - ramp(self.t, end - 0.35 * (end - start), end)
        ) * a.amount
        if self.body.upright:
            self.c["tip"] -= 0.7 * down
        else:
            self.c["front"] += 0.6 * np.minimum(down, 1.2)
        self.c["head_up"] -= 0.35 * down

    def _rise(self, a: Action, start: float, end: float) -> None:
        self.stand(start, end, "crouch", "front", "rear", "lean", "tip", "stretch")

    def _lean(self, a: Action, start: float, end: float) -> None:
        angle = 0.22 * a.amount
        to = np.radians(self.headings().get(a.direction, self.heading()))
        self.hold("lean", float(angle * np.cos(to)), start, end)
        self.hold("tip", float(angle * np.sin(to)), start, end)

    def _nod(self, a: Action, start: float, end: float) -> None:
        one = (end - start) / a.count
        for k in range(a.count):
            nod = a.amount * pulse(self.t, start + k * one, start + (k + 1) * one)
            self.c["head_up"] -= 0.5 * nod
            if self.body.head is None:
                self.c["front" if self.body.facing else "crouch"] += 0.2 * nod

    def _shake(self, a: Action, start: float, end: float) -> None:
        size = ramp(self.t, start, start + 0.25 * (end - start)) - ramp(
            self.t, end - 0.25 * (end - start), end
        )
        swing = (
            np.sin(2 * np.pi * a.count * np.clip((self.t - start) / (end - start), 0, 1))
            * size
            * a.amount
        )
        if a.limb == "body" or self.body.head is None:
            self.c["lean"] += 0.12 * swing
            self.c["yaw"] += 0.20 * swing
        self.c["head_yaw"] += 0.5 * swing

    def _stretch(self, a: Action, start: float, end: float) -> None:
        up = ramp(self.t, start, start + 0.45 * (end - start)) - ramp(
            self.t, end - 0.35 * (end - start), end
        )
        self.c["stretch"] += 0.22 * min(a.amount, 1.6) * up
        self.c["head_up"] += 0.3 * up

    def _wave(self, a: Action, start: float, end: float) -> None:
        self._raise(a, start, end, wave=True)

    def _lift(self, a: Action, start: float, end: float) -> None:
        self._raise(a, start, end + 0.4, wave=False)

    def _raise(self, a: Action, start: float, end: float, wave: bool) -> None:
        """Lifts one limb: an arm if there is one, else the leg nearest the head; without limbs the
        whole body sways."""
        seconds = end - start
        up = ramp(self.t, start, start + 0.35 * seconds) - ramp(self.t, end - 0.3 * seconds, end)
        swing = (
            np.sin(2 * np.pi * a.count * np.clip((self.t - start) / seconds, 0, 1)) * up
            if wave
            else 0.0 * up
        )
        if not self.limbs:
            self.c["lean"] += 0.14 * a.amount * (swing if wave else up)
            return
        legs = list(range(len(self.body.legs)))
        others = list(range(len(legs), len(self.limbs)))
        arms = (
            (others or legs) if self.body.upright else (legs or others)
        )  # an animal waves a paw, not an ear
        side = {"left": -1, "right": 1}.get(a.direction, self.body.facing or 1)
        chosen = max(arms, key=lambda k: side * self.limbs[k].pivot[0])
        limb = self.limbs[chosen]
        hanging = np.arctan2(
            abs(limb.tip[0] - limb.pivot[0]), limb.tip[1] - limb.pivot[1]
        )  # 0 straight down
        reach = 0.85 if chosen < len(self.body.legs) else max(2.2 - hanging, 0.3)
        self.lift_angle[chosen] += min(a.amount, 1.25) * (reach * up + 0.3 * swing)
        self.c["lean"] += -0.03 * side * up
        self.c["head_up"] += 0.06 * up

    def _wag(self, a: Action, start: float, end: float) -> None:
        size = ramp(self.t, start, start + 0.2) - ramp(self.t, end - 0.2, end)
        swing = (
            np.sin(2 * np.pi * a.count * np.clip((self.t - start) / (end - start), 0, 1))
            * size
            * a.amount
        )
        self.c["tail_yaw"] += 0.55 * swing
        self.c["tail_up"] += 0.12 * size + 0.18 * swing
        self.c["yaw"] += -0.04 * swing
        if self.body.tail is None:
            self.c["lean"] += 0.05 * swing

    def _stay(self, a: Action, start: float, end: float) -> None:
        """Nothing moves."""

    def finish(self) -> Curves:
        """Legs step where the body goes or turns, and head, tail and back follow through."""
        t = self.t
        turning = np.abs(np.gradient(self.c["yaw"], t))
        shuffle = (
            np.clip(turning / 1.5, 0, 1)
            * (self.gait < 0.2)
            * np.clip(1 - self.c["up"] / (0.05 * self.height), 0, 1)
        )
        shuffle = smoothed(shuffle * ramp(t, 0, 0.2), 0.1 * self.fps)
        self._step(shuffle, 0.10 * self.leg, 0.7)
        forward = 1 if self.body.facing >= 0 else -1
        c = self.c
        limbs = [
            self._leg(k, forward) if k < len(self.body.legs) else still(len(t))
            for k in range(len(self.limbs))
        ]
        for limb, angle in zip(limbs, self.lift_angle, strict=True):
            limb.raise_ = angle
        bob = np.sin(4 * np.pi * self.cycles) * self.gait
        drop = np.clip(self.stride / max(self.leg, 1), 0, 0.5) ** 2 * self.leg * 0.5
        c["up"] -= drop * (1 - np.cos(4 * np.pi * self.cycles)) * 0.5 * self.gait
        if not self.body.legs:  # without legs to move, the body waddles
            c["lean"] += 0.05 * np.sin(2 * np.pi * self.cycles) * self.gait
            c["up"] += 0.03 * self.height * np.abs(np.sin(2 * np.pi * self.cycles)) * self.gait
        c["head_up"] += 0.05 * bob
        c["tail_up"] += 0.06 * np.roll(bob, 1) * (t > 0)
        c["tail_yaw"] += 0.12 * np.sin(2 * np.pi * self.cycles) * self.gait
        acceleration = np.gradient(np.gradient(c["up"], t), t) / max(self.height, 1)
        c["head_up"] += np.clip(follow(-0.006 * acceleration, self.fps), -0.25, 0.25)
        rate = np.gradient(c["yaw"], t)
        c["bend"] += np.clip(follow(0.09 * rate, self.fps), -0.35, 0.35) * (
            0 if self.body.upright else 1
        )
        c["head_yaw"] += np.clip(0.08 * rate, -0.3, 0.3) * ramp(t, 0, 0.15)
        for name in c:
            c[name] -= c[name][0]
        return Curves(self.fps, **c, limbs=limbs)

    def _leg(self, k: int, forward: int) -> Swing:
        """One leg's way: back with the ground while it stands, forward through the air."""
        legs = self.body.legs
        leg = legs[k]
        middle = (self.body.box[0] + self.body.box[2]) / 2
        front = [i for i in range(len(legs)) if (legs[i].pivot[0] - middle) * forward > 0]
        rear = [i for i in range(len(legs)) if i not in front]
        if self.body.upright or not front or not rear:
            phase = 0.5 * (k % 2)
        else:  # a walk: rear left, front left, rear right, front right, a quarter apart
            group = front if k in front else rear
            phase = 0.5 * (group.index(k) % 2) + 0.25 * (k in front)
        at_rest = forward * (leg.tip[0] - leg.pivot[0])
        stance = 0.6
        u = (self.cycles + phase + self._first_phase()) % 1.0
        standing = u < stance
        s = np.where(standing, u / stance, (u - stance) / (1 - stance))
        swing = s * s * (3 - 2 * s)
        way = np.where(standing, 1 - 2 * s, -1 + 2 * swing)
        lift = np.where(standing, 0.0, np.sin(np.pi * s) ** 1.5)
        size = np.clip(self.stride / (0.25 * leg.length), 0, 1)
        fore = forward * (way * self.stride - 0.7 * at_rest * size)
        up = lift * (0.35 * self.stride + 0.08 * leg.length * self.gait) + self.tuck * leg.length
        return Swing(fore, up, np.zeros_like(fore))

    def _first_phase(self) -> float:
        """Where in the cycle the legs are at rest, so that the first step goes on from there."""
        legs = self.body.legs
        forward = 1 if self.body.facing >= 0 else -1
        ahead = [forward * (leg.tip[0] - leg.pivot[0]) for leg in legs]
        lead = int(np.argmax(np.abs(ahead)))
        return 0.05 if ahead[lead] > 0 else 0.55


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
    frames, factor = length(directions, base_frames, fps)
    actor = _Actor(body, frames, fps, room)
    for action in directions.actions:
        actor.act(replace(action, start=action.start * factor, seconds=action.seconds * factor))
    return actor.finish()
