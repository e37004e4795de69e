# SPDX-License-Identifier: GPL-3.0-or-later
"""From where a puppet was filmed: directions from the subject, as the subject stood at each frame.

A side that no camera saw is a guess of the method. How far a view is from the nearest filmed
direction tells how much of a guess one looks at; a subject that turned was filmed from all sides
that it turned to the camera.
"""

from typing import cast

import bpy
import numpy as np

from restage4d import se3
from restage4d.se3 import Array

from .. import actions, camera, importer, rig

GOOD, FAIR = 20.0, 45.0  # degrees up to which a view is near, or not far, from what was filmed
_SIDES, _SPOKES = 96, 12  # of a cone


def find_directions(imported: importer.ImportedPuppet) -> Array:  # -> (T, 3)
    """Unit directions to the camera in the space of the subject's own bone, of all frames of the
    filmed performance ("base", else the first); empty where the bone is gone."""
    follower = find_follower(imported.armature)
    if follower is None or not imported.performances:
        return np.zeros((0, 3))
    names = {p.name: p for p in imported.performances}
    performance = names.get("base", imported.performances[0])
    times = actions.FIRST_FRAME + np.arange(performance.n_frames, dtype=np.float64)
    path = f'pose.bones["{bpy.utils.escape_identifier(follower.name)}"]'
    bones = actions.find_slot(performance.action, imported.armature, actions.SLOT)
    moved = _sample(performance.action, bones, f"{path}.location", (0.0,) * 3, times)
    turned = _sample(
        performance.action, bones, f"{path}.rotation_quaternion", (1.0, 0.0, 0.0, 0.0), times
    )
    filming = actions.find_slot(performance.action, imported.camera, camera.SLOT)
    eyes = _sample(
        performance.action, filming, "location", tuple(imported.camera.location[:]), times
    )
    head = np.array(follower.bone.head_local, np.float64)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    R = se3.quat_to_matrix(turned)
    return _normalize(np.einsum("tji,tj->ti", R, eyes - head - moved))


def find_follower(armature: bpy.types.Object) -> bpy.types.PoseBone | None:
    """The bone that the whole subject's motion is keyed on."""
    for posed in armature.pose.bones:
        bone = posed.bone
        if bone.get(rig.ROLE) == rig.FOLLOWER and bone.get(rig.REGION) == rig.WHOLE:
            return posed
    return None


def measure_angle(
    directions: Array, armature: bpy.types.Object, eye: Array
) -> float | None:  # (T, 3), evaluated, (3,)
    """Degrees between where an eye looks from now and the nearest filmed direction."""
    follower = find_follower(armature)
    if follower is None or not len(directions):
        return None
    world = np.array(armature.matrix_world @ follower.matrix, np.float64)
    local = np.linalg.solve(world, np.append(eye, 1.0))[:3]
    cosine = float((directions @ _normalize(local[None])[0]).max())
    return float(np.degrees(np.arccos(min(max(cosine, -1.0), 1.0))))


def compute_cone(directions: Array, angle: float) -> Array:  # (T, 3) -> (S, 2, 3)
    """Lines around all directions within ``angle`` degrees (below 90) of a filmed one: the outline
    of these places on the unit sphere, and spokes to it from the origin.

    One direction gives a cone; those of a moving camera or a turning subject give the outline of
    all their cones together, true to 1 degree.

    Example:
        >>> compute_cone(np.array([[0.0, 0.0, 1.0]]), 20.0).shape  # a circle and its spokes
        (108, 2, 3)
    """
    axes = _thin_out(directions)
    if not len(axes):
        return np.zeros((0, 2, 3))
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.linspace(0, 2 * np.pi, _SIDES + 1)
    lines = []
    for i, axis in enumerate(axes):
        rim = cosine * axis + sine * _go_around(axis, turn)
        middle = cosine * axis + sine * _go_around(axis, (turn[:-1] + turn[1:]) / 2)
        others = np.delete(axes, i, axis=0)
        outer = (middle @ others.T < cosine).all(1)
        lines.append(np.stack([rim[:-1], rim[1:]], 1)[outer])
    outline = np.concatenate(lines)
    middle = _normalize(axes.sum(0, keepdims=True) + 1e-9)[0]
    aims = _go_around(middle, turn[: -1 : _SIDES // _SPOKES])  # evenly, however dense the outline
    flat = _normalize(outline[:, 0] - np.outer(outline[:, 0] @ middle, middle))
    ends = outline[(flat @ aims.T).argmax(0), 0]
    return np.concatenate([outline, np.stack([np.zeros_like(ends), ends], 1)])


def _go_around(axis: Array, turn: Array) -> Array:  # (3,), (A,) radians -> (A, 3)
    """Unit directions square to an axis."""
    across = _normalize(np.cross(axis, np.eye(3)[np.abs(axis).argmin()])[None])[0]
    return np.outer(np.cos(turn), across) + np.outer(np.sin(turn), np.cross(axis, across))


def _thin_out(directions: Array) -> Array:  # (T, 3) -> (K, 3)
    """Some of the directions, so that each lies within a degree of one of them."""
    kept = np.zeros((0, 3))
    for direction in directions:
        if (kept @ direction < np.cos(np.radians(1.0))).all():
            kept = np.concatenate([kept, direction[None]])
    return kept


def _normalize(v: Array) -> Array:
    return v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-12)


def _sample(
    action: bpy.types.Action,
    slot: bpy.types.ActionSlot | None,
    path: str,
    rest: tuple[float, ...],
    times: Array,
) -> Array:  # -> (T, C)
    """A property's keys at scene frames; ``rest`` where it has none."""
    values = np.tile(np.array(rest, np.float64), (len(times), 1))
    strips = [strip for layer in action.layers for strip in layer.strips] if slot else []
    for strip in strips:
        bag = cast(bpy.types.ActionKeyframeStrip, strip).channelbag(
            cast(bpy.types.ActionSlot, slot)
        )
        for curve in bag.fcurves if bag is not None else ():
            if curve.data_path == path:
                values[:, curve.array_index] = [curve.evaluate(t) for t in times]
    return values
