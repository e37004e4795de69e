"""Animations of the creature: where its bones are at a time. Numpy only.

Every animation is a function of seconds, begins near the origin looking along +X, and returns per
bone the rigid motion from the rest pose, (B, 4, 4). Feet are planted by inverse kinematics, so they
do not slide.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from stage.skeleton import FRONT, HIND, Pose, reach, turn

Array = NDArray[Any]
PIVOT = np.array([-0.10, 0.0, 0.42])
LEGS = ("front.L", "front.R", "hind.L", "hind.R")
ANKLE = {
    leg: np.array((FRONT if leg[0] == "f" else HIND)[2]) * [1, 1 if leg[-1] == "L" else -1, 1]
    for leg in LEGS
}
SOLE = {
    leg: np.array((FRONT if leg[0] == "f" else HIND)[3]) * [1, 1 if leg[-1] == "L" else -1, 1]
    for leg in LEGS
}


@dataclass
class Posture:
    """A whole-body pose in a few numbers: metres-like units of the creature, radians; pitch > 0 is
    nose down, yaw > 0 is left.

    ``at`` and ``heading`` say where on the ground the body is; ``shift`` moves the body over its
    feet. A sole (3,) is a world position, its pitch tips the heel up (> 0).
    """

    at: Array = field(default_factory=lambda: np.zeros(3))
    heading: float = 0.0
    shift: Array = field(default_factory=lambda: np.zeros(3))
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    spine: tuple[float, float] = (0.0, 0.0)  # pitch, yaw of chest against pelvis
    neck: tuple[float, float] = (0.0, 0.0)
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)  # roll, pitch, yaw
    jaw: float = 0.0
    tail: tuple[float, float] = (0.0, 0.0)  # lift, yaw of the tip
    ears: tuple[float, float] = (0.0, 0.0)  # backward turn of left and right
    soles: dict[str, Array] = field(default_factory=dict)
    tips: dict[str, float] = field(default_factory=dict)

    def ground(self, p: Array) -> Array:
        """A rest-pose point carried to where the body stands, without the body's own sway."""
        return self.at + turn(yaw=self.heading) @ p

    def matrices(self) -> Array:  # -> (B, 4, 4)
        pose = Pose()
        stand = turn(yaw=self.heading)
        R = stand @ turn(self.roll, self.pitch, self.yaw)
        pose.set("root", world=R, at=self.at + stand @ (PIVOT + self.shift) - R @ PIVOT)
        sp, sy = self.spine
        pose.set("pelvis", turn(pitch=-0.3 * sp, yaw=-0.4 * sy))
        pose.set("spine", turn(pitch=0.3 * sp, yaw=0.2 * sy))
        pose.set("chest", turn(pitch=0.4 * sp, yaw=0.4 * sy))
        pose.set("neck1", turn(pitch=0.5 * self.neck[0], yaw=0.5 * self.neck[1]))
        pose.set("neck2", turn(pitch=0.5 * self.neck[0], yaw=0.5 * self.neck[1]))
        pose.set("head", turn(*self.head))
        pose.set("jaw", turn(pitch=self.jaw))
        lift, swing = self.tail
        for i in range(1, 5):
            pose.set(f"tail{i}", turn(pitch=lift / 4, yaw=swing * (0.15 + 0.1 * i)))
        for s, sign, back in (("L", 1, self.ears[0]), ("R", -1, self.ears[1])):
            pose.set(f"ear1.{s}", turn(pitch=-0.6 * back, roll=-0.3 * sign * back))
            pose.set(f"ear2.{s}", turn(pitch=-0.4 * back))
        for leg in LEGS:
            s, front = leg[-1], leg[0] == "f"
            names = [
                f"{n}.{s}"
                for n in (
                    ("arm", "forearm", "pastern", "paw")
                    if front
                    else ("thigh", "shin", "hock", "foot")
                )
            ]
            sole = self.soles.get(leg, self.ground(SOLE[leg]))
            tip = self.tips.get(leg, 0.0)
            foot = stand @ turn(pitch=tip)
            reach(pose, names[0], names[1], sole + foot @ (ANKLE[leg] - SOLE[leg]), R)
            pose.set(names[2], world=foot)
            pose.set(names[3], world=stand @ turn(pitch=max(0.6 * tip, 0.0)))
        return pose.matrices()


def ease(t: float, low: float, high: float) -> float:
    """0 before ``low``, 1 after ``high``, smooth (C2) between."""
    x = float(np.clip((t - low) / (high - low), 0, 1))
    return x**3 * (x * (6 * x - 15) + 10)


def hermite(t: float, knots: list[tuple[float, float, float]]) -> float:
    """A smooth curve through (time, value, slope) knots, at rest outside."""
    t = float(np.clip(t, knots[0][0], knots[-1][0]))
    (t0, a, da), (t1, b, db) = next((k, m) for k, m in pairwise(knots) if t <= m[0])
    h = t1 - t0
    x = (t - t0) / h
    return (
        (1 + 2 * x) * (1 - x) ** 2 * a
        + x * (1 - x) ** 2 * h * da
        + x * x * (3 - 2 * x) * b
        + x * x * (x - 1) * h * db
    )


@dataclass(frozen=True)
class Gait:
    """Steps on a circular path: ``cycle`` seconds per stride, ``duty`` the share of it on the
    ground, phases per leg."""

    speed: float
    yaw_rate: float
    cycle: float
    duty: float
    lift: float
    bounce: float
    phase: tuple[float, float, float, float]  # LEGS

    def stand(self, t: float) -> Posture:
        angle = self.yaw_rate * t
        r = self.speed / self.yaw_rate
        return Posture(
            at=np.array([r * np.sin(angle), r * (1 - np.cos(angle)), 0.0]), heading=angle
        )

    def posture(self, t: float) -> Posture:
        body = self.stand(t)
        for leg, phase in zip(LEGS, self.phase, strict=True):
            u = t / self.cycle + phase
            k, f = np.floor(u), u % 1.0
            plants = [
                self.stand((k + i + self.duty / 2 - phase) * self.cycle).ground(SOLE[leg])
                for i in (0, 1)
            ]
            swing = np.clip((f - self.duty) / (1 - self.duty), 0, 1)
            way = swing - np.sin(2 * np.pi * swing) / (2 * np.pi)
            body.soles[leg] = (
                plants[0]
                + way * (plants[1] - plants[0])
                + [0, 0, self.lift * np.sin(np.pi * swing) ** 2]
            )
            roll_off = (
                0.5
                * ease(f, self.duty - 0.22, self.duty)
                * (1 - ease(f, self.duty, 0.5 + 0.5 * self.duty))
            )
            body.tips[leg] = roll_off + (1.0 if leg[0] == "f" else 0.5) * np.sin(np.pi * swing) ** 2
        beat = 2 * np.pi * t / self.cycle
        body.shift = np.array(
            [0.0, 0.008 * np.sin(beat), self.bounce * np.cos(2 * beat + 0.6) - 0.022]
        )
        body.roll = 0.03 * np.sin(beat)
        body.pitch = 0.02 * np.sin(2 * beat)
        body.yaw = 0.05 * np.sin(beat + 0.8)
        body.spine = (0.04 * np.sin(2 * beat), -0.10 * np.sin(beat + 0.8))
        body.neck = (0.10 + 0.05 * np.sin(2 * beat + 1.0), 0.0)
        body.head = (0.0, -0.06 + 0.04 * np.sin(2 * beat + 2.0), 0.05 * np.sin(beat))
        body.tail = (0.15 + 0.12 * np.sin(2 * beat - 1), 0.35 * np.sin(beat - 1.2))
        body.ears = (0.10 + 0.10 * np.sin(2 * beat - 2), 0.10 + 0.10 * np.sin(2 * beat - 2.4))
        return body


def walk(t: float) -> Posture:
    """A gentle walk on a bend; the head looks to the left, into the bend, then out of it."""
    body = Gait(0.46, 0.34, 0.92, 0.64, 0.055, 0.007, (0.25, 0.75, 0.0, 0.5)).posture(t)
    look = ease(t, 0.15, 0.75) - 1.4 * ease(t, 1.10, 1.75)
    body.neck = (body.neck[0], 0.48 * look)
    body.head = (body.head[0] - 0.08 * look, body.head[1] - 0.05 * look, body.head[2] + 0.42 * look)
    return body


def trot(t: float) -> Posture:
    """A brisk trot on a tighter bend."""
    body = Gait(0.72, 1.15, 0.55, 0.48, 0.085, 0.018, (0.0, 0.5, 0.5, 0.0)).posture(t)
    body.shift[2] -= 0.012
    body.tail = (body.tail[0] - 0.4, body.tail[1])
    return body


def idle(t: float) -> Posture:
    """Stands, breathes, wags its tail a little and tilts its head."""
    tilt = ease(t, 0.5, 0.9) - ease(t, 1.5, 1.9)
    flick = ease(t, 1.05, 1.12) - ease(t, 1.18, 1.30)
    return Posture(
        shift=np.array([0.0, 0.006 * np.sin(1.3 * t), -0.006 + 0.004 * np.sin(3.2 * t)]),
        spine=(0.02 * np.sin(3.2 * t), 0.0),
        neck=(0.04 * np.sin(1.6 * t), 0.15 * np.sin(1.1 * t)),
        head=(0.35 * tilt, 0.03, 0.12 * np.sin(1.1 * t)),
        tail=(-0.1, 0.5 * np.sin(5.0 * t)),
        ears=(0.5 * flick, 0.12 * np.sin(2.0 * t)),
    )


def look_around(t: float) -> Posture:
    """Stands, looks far over its left shoulder, then over the right one, and leans with it."""
    look = ease(t, 0.1, 0.7) - 2 * ease(t, 0.95, 1.6) + 0.6 * ease(t, 1.75, 2.2)
    return Posture(
        shift=np.array([-0.01, 0.03 * look, -0.01]),
        yaw=0.10 * look,
        spine=(0.0, 0.35 * look),
        neck=(0.05 - 0.15 * abs(look), 0.75 * look),
        head=(-0.15 * look, 0.05, 0.45 * look),
        tail=(-0.2, -0.6 * look),
        ears=(0.2 * max(look, 0), 0.2 * max(-look, 0)),
    )


def sit(t: float) -> Posture:
    """Sits down, looks up and wags its tail."""
    down = ease(t, 0.1, 1.0)
    wag = ease(t, 0.9, 1.2) * np.sin(9 * t)
    body = Posture(
        shift=down * np.array([0.03, 0.0, -0.185]) + [0, 0, -0.006],
        pitch=-0.66 * down + 0.12 * np.sin(np.pi * down),
        spine=(0.20 * down, 0.0),
        neck=(0.30 * down, 0.0),
        head=(0.30 * ease(t, 1.2, 1.6), 0.16 * down, 0.0),
        tail=(0.62 * down, 0.6 * wag),
        ears=(0.15 * wag, -0.15 * wag),
    )
    for leg in ("hind.L", "hind.R"):
        sign = 1 if leg[-1] == "L" else -1
        body.soles[leg] = body.ground(SOLE[leg]) + down * np.array([0.085, 0.025 * sign, 0.0])
        body.tips[leg] = -1.18 * down
    for leg in ("front.L", "front.R"):
        body.soles[leg] = body.ground(SOLE[leg]) + down * np.array(
            [-0.045, -0.01 if leg[-1] == "L" else 0.01, 0.0]
        )
    return body


def play_bow(t: float) -> Posture:
    """Drops onto its forelegs, rump high, tail wagging: an invitation to play."""
    down = ease(t, 0.1, 0.75)
    hop = np.sin(np.pi * np.clip((t - 1.2) / 0.3, 0, 1)) ** 2
    body = Posture(
        shift=down * np.array([-0.05, 0.0, -0.035]) + [0, 0, -0.006 + 0.02 * hop],
        pitch=0.58 * down - 0.1 * hop,
        spine=(0.25 * down, 0.12 * down * np.sin(7 * t)),
        neck=(-0.62 * down, 0.0),
        head=(0.20 * np.sin(3.5 * t) * down, -0.18 * down, 0.0),
        jaw=0.22 * down,
        tail=(1.0 * down, 0.9 * down * np.sin(14 * t)),
        ears=(0.15 * hop, 0.15 * hop),
    )
    for leg in ("front.L", "front.R"):
        sign = 1 if leg[-1] == "L" else -1
        body.soles[leg] = body.ground(SOLE[leg]) + down * np.array([0.13, 0.012 * sign, 0.0])
        body.tips[leg] = -0.85 * down
    return body


def jump(t: float) -> Posture:
    """Crouches, leaps forward and up with the legs tucked, lands and recovers."""
    begin, land, stride = 0.50, 1.06, 0.55
    fly = float(np.clip((t - begin) / (land - begin), 0, 1))
    up = hermite(
        t,
        [
            (0.05, 0, 0),
            (0.30, -0.13, 0),
            (begin, 0, 1.93),
            (land, 0, -1.93),
            (1.22, -0.13, 0),
            (1.75, 0, 0),
        ],
    )  # 1.93 makes the middle a ballistic arc
    ahead = hermite(
        t,
        [(0.25, 0, 0), (begin, 0.06, 0.98), (land, 0.61, 0.98), (1.24, 0.66, 0), (1.75, stride, 0)],
    )
    crouch = max(-up, 0.0) / 0.13
    air = 4 * fly * (1 - fly)
    body = Posture(at=np.array([stride * fly, 0.0, 0.0]))
    body.shift = np.array([ahead - stride * fly, 0.0, up - 0.006])
    body.pitch = hermite(
        t,
        [
            (0.05, 0, 0),
            (0.30, 0.10, 0),
            (begin, -0.22, -2.2),
            (0.64, -0.40, 0),
            (0.95, 0.34, 0),
            (1.22, 0.12, 0),
            (1.75, 0, 0),
        ],
    )
    body.spine = (0.25 * crouch - 0.15 * air, 0.0)
    body.neck = (0.15 * crouch - 0.15 * air, 0.0)
    body.head = (0.0, -0.15 * crouch + 0.1 * air, 0.0)
    body.tail = (0.5 * crouch - 0.5 * air, 0.1 * np.sin(9 * t))
    body.ears = (0.8 * air, 0.8 * air)
    free = float(ease(fly, 0.0, 0.5) * (1 - ease(fly, 0.55, 1.0)))
    tilt, centre = turn(pitch=body.pitch), body.ground(PIVOT) + body.shift
    for leg in LEGS:
        fore = leg[0] == "f"
        tucked = centre + tilt @ (
            SOLE[leg] - PIVOT + ([0.07, 0.0, 0.10] if fore else [-0.03, 0.0, 0.07])
        )
        below = body.ground(SOLE[leg]) + np.array([0.0, 0.0, max(up, 0.0)])
        body.soles[leg] = (1 - free) * below + free * tucked
        body.tips[leg] = (1.1 if fore else 0.9) * free
    return body


ANIMATIONS: dict[str, Callable[[float], Posture]] = {
    f.__name__: f for f in (walk, idle, trot, look_around, sit, play_bow, jump)
}


def named(animation: str) -> Callable[[float], Posture]:
    """The animation of that name. Raises `InputError` naming those there are."""
    if animation not in ANIMATIONS:
        raise InputError(
            f"The creature has no animation {animation!r}.",
            f"Take one of: {', '.join(ANIMATIONS)}.",
        )
    return ANIMATIONS[animation]
