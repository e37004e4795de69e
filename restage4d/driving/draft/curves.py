"""Motion as curves over the frames, and the shapes that curves are made of."""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass
class Room:
    """How far the subject may go to the left, to the right, towards the camera and up, in pixels at
    its place."""

    left: float
    right: float
    near: float
    up: float


@dataclass
class Swing:
    """Swing of one limb: curves (T,)."""

    fore: F64  # foot towards the right of the body, in pixels
    lift: F64  # foot up, in pixels
    angle: F64  # the limb about its joint, radians; a hanging one's end to the right of the body

    @classmethod
    def at_rest(cls, frames: int) -> "Swing":
        return cls(np.zeros(frames), np.zeros(frames), np.zeros(frames))


@dataclass
class Curves:
    """The curves (T,) of a driving video; angles in radians, lengths in pixels at the subject's
    place."""

    fps: float
    right: F64
    away: F64
    up: F64
    yaw: F64  # counter-clockwise from above
    crouch: F64  # share of the legs' height
    front: F64  # extra crouch of the head end
    rear: F64  # extra crouch of the tail end
    stretch: F64  # share of the height
    lean: F64  # top of the body to the right of the screen
    tip: F64  # top of the body away from the camera
    head_up: F64
    head_yaw: F64
    tail_yaw: F64
    tail_up: F64
    bend: F64  # head end ahead of the tail end in a turn
    pitch: F64  # the whole body in its own plane, head end up
    roll: F64  # the whole body about its length, top away from the camera
    graze: F64  # share of the way from the head to the ground
    wheels: F64  # way gone towards the right of the body, by which wheels roll
    limbs: list[Swing] = field(default_factory=list)  # legs first, then others, as in the plan

    @classmethod
    def at_rest(cls, frames: int, limbs: int) -> "Curves":
        """Nothing moves."""
        names = [f.name for f in fields(cls) if f.name not in {"fps", "limbs"}]
        swings = [Swing.at_rest(frames) for _ in range(limbs)]
        return cls(1.0, **{name: np.zeros(frames) for name in names}, limbs=swings)

    def __len__(self) -> int:
        return len(self.yaw)


def ramp(t: F64, start: float, end: float) -> F64:
    """0 before ``start``, 1 after ``end``, with still ends (smootherstep)."""
    x = np.clip((t - start) / max(end - start, 1e-6), 0, 1)
    return x**3 * (x * (6 * x - 15) + 10)


def pulse(t: F64, start: float, end: float) -> F64:
    """0 outside, up to 1 and down again with still ends."""
    x = np.clip((t - start) / max(end - start, 1e-6), 0, 1)
    return np.sin(np.pi * x) ** 2


def plateau(t: F64, start: float, end: float, rise: float, fall: float) -> F64:
    """0 outside, 1 from ``rise`` seconds after the start to ``fall`` seconds before the end."""
    return ramp(t, start, start + rise) - ramp(t, end - fall, end)


def plateau_by_shares(t: F64, start: float, end: float, rise: float, fall: float) -> F64:
    """A `plateau` with flanks that are shares of its length."""
    return plateau(t, start, end, rise * (end - start), fall * (end - start))


def oscillate(t: F64, start: float, end: float, count: int) -> F64:
    """``count`` periods of a sine from start to end, 0 outside."""
    return np.sin(2 * np.pi * count * np.clip((t - start) / (end - start), 0, 1))


def smooth(curve: F64, sigma: float) -> F64:
    """A curve under a Gaussian of ``sigma`` frames."""
    n = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-n, n + 1) / max(sigma, 1e-3)) ** 2)
    return np.asarray(
        np.convolve(np.pad(curve, n, mode="edge"), kernel / kernel.sum(), mode="valid"), np.float64
    )


def follow(target: F64, fps: float, hertz: float, damping: float) -> F64:
    """A curve that follows ``target`` as a damped spring does: late, and a little beyond."""
    steps, x, v = 8, 0.0, 0.0
    dt, omega = 1 / fps / steps, 2 * np.pi * hertz
    result = np.zeros_like(target)
    for i, goal in enumerate(target):
        result[i] = x
        for _ in range(steps):
            v += (omega**2 * (goal - x) - 2 * damping * omega * v) * dt
            x += v * dt
    return result
