# SPDX-License-Identifier: GPL-3.0-or-later
"""A performance with few keys, within an error that is measured on the points it moves."""

from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.puppet import F32
from restage4d.se3 import Array

from ...session.steps import Steps
from .. import actions, capture, importer, rig
from ..playback import alone
from ..playback.stepping import step_frames
from . import curve_fitting, curves
from .performances import read_body
from .sampling import Body, pose_points, spread_weights

MM = 1e-3  # Blender's unit is a metre
_ROUNDS = 12
_START = 0.7  # share of the error allowed from which is begun, for rotation and place each
_AIM = 0.93  # share of the error allowed that a bone's points may come to
_SHARE = 0.3  # of a bone's largest: points with less are not judged as its own
_ABOVE = 4.0  # an error of a bone with bones below counts so much more: it adds to theirs
_CHECKED = 4000  # points that are looked at in between; at the end all are


@dataclass(frozen=True)
class Simplified:
    """What became of a performance's keys: their number before and after, and how far any point is
    from where it was, at most: in mm of the scene, and in pixels of the shot's camera."""

    before: int
    after: int
    mm: float
    pixels: float


@dataclass(frozen=True)
class _Bone:
    """A bone's place or rotation: its curves get their keys at the same frames.

    Attributes:
        curves, values: C of them, (T, C) what they were.
        weight: (C,) how far an error in each moves points, at most.
        part: (N,) how much each point is moved by it.
    """

    curves: list[bpy.types.FCurve]
    values: Array
    weight: Array
    part: Array


def simplify_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    performance: importer.ImportedPerformance,
    tolerance: float,
) -> Steps[Simplified]:
    """Replaces a key per frame by few Bézier keys so that no point is more than ``tolerance`` mm
    from where it was, in no frame. The capture is kept. Ended early, all is as it was.

    Raises:
        InputError: there are few keys already; or bones are driven such that no keys are within
            the error.
    """
    p, before = performance, curves.count_keys(performance.action)
    frames = range(actions.FIRST_FRAME, actions.FIRST_FRAME + p.n_frames)
    body = read_body(imported)
    bones = _list_bones(imported, p, body, frames)
    if not bones:
        raise InputError(
            f"{p.name!r} has few keys already.", "Restore its capture first to begin anew."
        )
    everything = np.arange(len(body.means))
    some = everything[:: max(len(everything) // _CHECKED, 1)]
    had_capture = curves.has_capture(p.action)
    curves.keep_capture(p.action)
    try:
        take = yield from _read(imported, scene, p, frames)
        truth = take.bases
        allowed = tolerance * MM
        attempt, done = np.full(len(bones), _START * allowed), np.zeros(len(bones))
        for i in range(_ROUNDS):
            for j in np.flatnonzero(attempt != done):
                yield i * len(bones) + int(j), _ROUNDS * len(bones)
                _write(bones[j], float(attempt[j]))
            done = attempt.copy()
            read = (yield from _read(imported, scene, p, frames)).bases
            off = _measure(truth, read, body, some)
            if off.max() <= allowed:
                off = _measure(truth, read, body, everything)
                if off.max() <= allowed:
                    break
                some = np.union1d(some, np.flatnonzero(off > _AIM * allowed))
                off = off[some]
            for j, bone in enumerate(bones):
                worst = off[bone.part[some] > _SHARE * bone.part.max()].max(initial=0)
                if worst > allowed:
                    attempt[j] *= np.clip(_AIM * allowed / worst, 0.5, 0.95)
        else:
            raise InputError(
                f"Few keys are never within {tolerance:g} mm.", "Allow a larger error."
            )
    except BaseException:
        curves.restore_capture(p.action)
        if had_capture:
            curves.keep_capture(p.action)
        raise
    pixels = _measure_pixels(truth, read, body, take.K, take.w2c)
    return Simplified(before, curves.count_keys(p.action), float(off.max()) / MM, pixels)


def _list_bones(
    imported: importer.ImportedPuppet,
    performance: importer.ImportedPerformance,
    body: Body,
    frames: range,
) -> list[_Bone]:
    """The bones with about a key per frame. An error of a bone's place counts by the largest share
    that it has in any point, one of its rotation by the distance of its points, too."""
    bones, names = rig.get_armature(imported.armature).bones, rig.bone_names(imported.armature)
    share = spread_weights(body.index, body.weight, len(names))
    order = {name: k for k, name in enumerate(names)}
    out = []
    for path, transform in curves.find_transforms(performance.action).items():
        mine = list(transform.values())
        name = bpy.utils.unescape_identifier(path.split('"')[1])
        dense = min(len(curve.keyframe_points) for curve in mine) > 0.6 * len(frames)
        if not dense or name not in bones:
            continue
        below = [order[b.name] for b in (bones[name], *bones[name].children_recursive)
                 if b.name in order]  # fmt: skip
        part = share[:, below].sum(1)
        apart = np.linalg.norm(body.means - np.array(bones[name].head_local), axis=1)
        # Captured bones and followers of a skeleton move no points, only what the artist adds.
        most = max(float(part.max(initial=0)), 1e-3) if below else 1.0
        reach = float(np.quantile(apart[part > 0.2 * most], 0.98)) if part.any() else 0.1
        far = 2 * reach if ".rotation" in path else 1.0
        weight = np.full(len(mine), most * far * (_ABOVE if len(below) > 1 else 1.0))
        out.append(_Bone(mine, curves.sample(mine, frames), weight, part))
    return out


def _write(bone: _Bone, allowed: float) -> None:
    """Writes few keys within an error."""
    at, values, slopes = curve_fitting.fit_keys(bone.values, bone.weight, allowed)
    for i, curve in enumerate(bone.curves):
        keys = slice(None) if np.ptp(bone.values[:, i]) > 1e-9 else slice(0, 1)
        frames = (actions.FIRST_FRAME + at)[keys]
        actions.write_keys(curve, frames, values[keys, i], slopes[keys, i])


def _read(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    performance: importer.ImportedPerformance,
    frames: range,
) -> Steps[capture.Take]:
    """The bases and the camera as Blender evaluates them."""
    with step_frames(imported, scene, points=False), alone.perform_alone(imported):
        alone.play_alone(imported, performance)
        size, aspect = performance.size, performance.aspect
        steps = capture.read_steps(imported, scene, frames, size, aspect, imported.camera)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            yield 0, 1


def _measure(truth: F32, read: F32, body: Body, rows: NDArray[np.intp]) -> Array:  # -> (N,)
    """How far each of these points is from where it was, at most."""
    worst = np.zeros(len(rows))
    for t in range(truth.shape[1]):
        a, b = (pose_points(bases[:, t : t + 1], body, rows)[0] for bases in (truth, read))
        worst = np.maximum(worst, np.linalg.norm(a - b, axis=1))
    return worst


def _measure_pixels(truth: F32, read: F32, body: Body, K: F32, w2c: F32) -> float:
    """The same in pixels of the camera."""
    worst = 0.0
    for t in range(truth.shape[1]):
        seen = []
        for bases in (truth, read):
            points = pose_points(bases[:, t : t + 1], body)[0] @ w2c[t, :3, :3].T + w2c[t, :3, 3]
            front = np.maximum(points[:, 2:], 1e-6)
            seen.append((points / front) @ K[t].T.astype(np.float64))
        worst = max(worst, float(np.linalg.norm((seen[0] - seen[1])[:, :2], axis=1).max()))
    return worst
