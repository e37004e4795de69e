"""The pair of clips of a stage: one camera, one first pose, two performances; and the views held
out from the fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from stage import render
from stage.clip import Shot
from stage.subject import Subject, bounds
from stage.truth import geometry

Array = NDArray[Any]
FILMED_FROM = (
    50.0  # azimuth of the camera at the shared first frame, degrees left of the subject's front
)
WALL = 5.0  # radius of the set
# azimuth of held-out views against the subject's own heading
TURNING = {"beside": -90.0, "behind": 180.0}
OBLIQUE = 45.0  # and of "oblique" against the film camera's, to the subject's left
VIEWS = (*TURNING, "oblique")


@dataclass(frozen=True)
class Plan:
    """What to film.

    Attributes:
        base, driving: names of animations, one for the base clip and one per driving clip.
        frames: of each clip, the shared first one included in both.
        fps: frames per second.
        orbit: degrees the camera travels around the subject in the base clip, to the subject's
            right.
        turn: degrees the subject turns in the driving clip, to its right, before a still camera.
        blend: frames over which the driving clip leaves the shared pose.
    """

    base: str
    driving: tuple[str, ...] = ()
    frames: int = 48
    fps: int = 24
    orbit: float = 80.0
    turn: float = 60.0
    blend: int = 12


def smooth(x: Array) -> Array:
    return x * x * (3 - 2 * x)


def stage(subject: Subject, plan: Plan) -> tuple[dict[str, Shot], float]:
    """The clips "base", "driving_1" ..., framed so that the subject stays in the picture, and the
    subject's extent."""
    n = plan.frames
    base = subject.poses(plan.base, n, plan.fps)
    subject.place((0.0, 0.0), 0.0)
    subject.settle(base)
    subject.show(base, 0)
    low, high = bounds(subject.meshes)
    extent = float((high - low).max())
    u = np.arange(n) / max(n - 1, 1)
    still, ground = np.zeros(n), np.zeros((n, 2))
    shots = {"base": Shot(base, ground, still, ground, ground)}
    for i, name in enumerate(plan.driving, 1):
        poses = subject.poses(name, n, plan.fps).blended_from(base, 0, plan.blend)
        shots[f"driving_{i}"] = Shot(
            poses, ground, -np.radians(plan.turn) * smooth(u), ground, ground
        )
    around, followed = (
        np.radians(FILMED_FROM - plan.orbit * smooth(u)),
        _smoothed(_middles(subject, shots["base"])),
    )
    ways = [_middles(subject, shot) for name, shot in shots.items() if name != "base"]
    # the steady driving cameras look at the middle of what happens before them; the base's leaves
    # from there
    if ways:
        centre = 0.5 * (np.min(ways, (0, 1)) + np.max(ways, (0, 1)))
        followed = followed + (centre - followed[0]) * (1 - smooth(u))[:, None]
    begin = np.zeros(n, int)  # driving cameras stay where the base's begins

    def framed(distance: float) -> dict[str, Shot]:
        return {
            name: _camera(shot, followed, around, distance)
            if name == "base"
            else _camera(shot, followed[begin], around[begin], distance)
            for name, shot in shots.items()
        }

    return _fitted(subject, framed, 1.5 * extent), extent


def views(subject: Subject, shot: Shot) -> dict[str, Shot]:
    """The same performance from behind and beside, from cameras that follow and turn with the
    subject, and from 45 degrees beside the film camera."""
    target = _smoothed(_middles(subject, shot))
    away = shot.eye - shot.target
    azimuths = {name: shot.heading + np.radians(a) for name, a in TURNING.items()}
    azimuths["oblique"] = np.arctan2(away[:, 1], away[:, 0]) + np.radians(OBLIQUE)

    def framed(distance: float) -> dict[str, Shot]:
        return {
            name: _camera(shot, target, azimuth, distance, lift=0.45)
            for name, azimuth in azimuths.items()
        }

    return _fitted(subject, framed, float(np.linalg.norm(shot.eye[0] - shot.target[0])))


def _fitted(
    subject: Subject, framed: Callable[[float], dict[str, Shot]], distance: float
) -> dict[str, Shot]:
    """``framed`` at the smallest distance from ``distance`` on at which the whole subject stays in
    every picture."""
    while distance < 0.88 * WALL:
        made = framed(distance)
        if all(_inside(subject, shot) for shot in made.values()):
            return made
        distance *= 1.08
    raise InputError(
        "The animations carry the subject out of the picture.",
        "Take animations that stay on the spot, or fewer frames.",
    )


def _camera(shot: Shot, target: Array, azimuth: Array, distance: float, lift: float = 0.2) -> Shot:
    away = np.stack([np.cos(azimuth), np.sin(azimuth), np.full(len(azimuth), lift)], 1)
    return shot.seen_from(
        target + distance * away / np.linalg.norm(away, axis=1, keepdims=True), target
    )


def _middles(subject: Subject, shot: Shot) -> Array:  # -> (T, 3)
    out = []
    for t in range(len(shot)):
        subject.show(shot.poses, t)
        subject.place((shot.at[t, 0], shot.at[t, 1]), shot.heading[t])
        low, high = bounds(subject.meshes)
        out.append(0.5 * (low + high))
    return np.stack(out)


def _smoothed(x: Array, sigma: float = 8.0) -> Array:  # (T, 3) -> (T, 3)
    t = np.arange(len(x))
    weight = np.exp(-0.5 * ((t[:, None] - t) / sigma) ** 2)
    return weight @ x / weight.sum(1, keepdims=True)


def _inside(subject: Subject, shot: Shot, margin: float = 0.04) -> bool:
    """Whether the whole subject stays in the picture, ``margin`` of the picture's size away from
    the border."""
    for t in range(0, len(shot), 3):
        shot.show(subject, t)
        vertices, _ = geometry(subject.meshes)
        K, w2c = render.camera_matrices()
        at = vertices @ w2c[:3, :3].T + w2c[:3, 3]
        xy = at[:, :2] / at[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
        size = 2 * K[:2, 2]
        if (at[:, 2] < 0.1).any() or (xy < margin * size).any() or (xy > (1 - margin) * size).any():
            return False
    return True
