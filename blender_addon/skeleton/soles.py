# SPDX-License-Identifier: GPL-3.0-or-later
"""Held soles that stand still themselves: what Eq. 1 bends of a sole, and what of its points hangs
on bones above, goes on after its bone is held. So the points are looked at as they are posed, and
the empty that holds is keyed against what they still do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from restage4d import se3
from restage4d.se3 import Array
from restage4d.skeleton.motion import fit_rigid
from restage4d.skeleton.posing import blend_changes

from ..puppet import attributes, bone_curves, importer, rig
from ..puppet.animation.performances import read_body
from ..puppet.animation.sampling import Body, pose_points
from ..puppet.playback.stepping import step_frames
from . import build
from .contact_list import Contact
from .plan import END, LIMB

_SHARE = 1 / 600  # of all points, around a limb's end, are its sole
_LEAST = 12
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Held:
    """Attributes:
    contact: what is held.
    empty: holds it, below the contact's circle.
    turns: whether a foot takes over the empty's turn, too.
    """

    contact: Contact
    empty: bpy.types.Object
    turns: bool


def settle(imported: importer.ImportedPuppet, scene: bpy.types.Scene, held: Sequence[Held]) -> None:
    """Keys empties so that the points around the limbs' ends keep their place, and where a foot is
    turned their turn, as they are in the middle of each contact."""
    body = read_body(imported)
    soles = [_find_sole(imported.armature, body, h.contact) for h in held]
    for _ in range(_ROUNDS):
        seen = _read(imported, scene, held, body, soles)
        for h, (points, stood) in zip(held, seen, strict=True):
            middle = points[(h.contact.last - h.contact.first) // 2]
            if h.turns:
                back = bone_curves.inverse(
                    fit_rigid(middle, np.swapaxes(points, 0, 1), np.ones(len(middle)))
                )
            else:
                back = np.tile(np.eye(4), (len(points), 1, 1))
                back[:, :3, 3] = (middle - points).mean(1)
            _key(h.empty, h.contact.first, back @ stood)


def _find_sole(armature: bpy.types.Object, body: Body, contact: Contact) -> NDArray[np.intp]:
    """The points around a limb's end at rest."""
    bones = rig.get_armature(armature).bones
    limb = bones[contact.control][LIMB]
    end = next(b for b in bones if b.get(rig.ROLE) == END and b[LIMB] == limb)
    far = np.linalg.norm(body.means - np.array(end.tail_local), axis=1)
    return np.argsort(far, kind="stable")[: max(_LEAST, round(_SHARE * len(far)))]


def _read(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    held: Sequence[Held],
    body: Body,
    soles: list[NDArray[np.intp]],
) -> list[tuple[Array, Array]]:  # (T, n, 3), (T, 4, 4) each
    """Of each contact's frames: the sole's points as they are posed, and where the empty stands,
    both within its circle."""
    armature = imported.armature
    names = rig.bone_names(armature)
    inverse_rest = np.linalg.inv(rig.rest_matrices(armature, names))
    skin = build.read_skin(attributes.get_mesh(imported.points))
    assert skin is not None  # contacts are of a skeleton's limbs
    points: list[list[Array]] = [[] for _ in held]
    stood: list[list[Array]] = [[] for _ in held]
    frames = sorted({f for h in held for f in range(h.contact.first, h.contact.last + 1)})
    with step_frames(imported, scene, points=False):
        for frame in frames:
            scene.frame_set(frame)
            depsgraph = bpy.context.evaluated_depsgraph_get()
            posed = armature.evaluated_get(depsgraph)
            bases, size = rig.read_bases(posed, names, inverse_rest)
            changes = build.read_changes(posed)
            grown = Body(size * body.means, body.index, body.weight, body.total, body.centre)
            for i, h in enumerate(held):
                if not h.contact.first <= frame <= h.contact.last:
                    continue
                circle = cast(bpy.types.Object, h.empty.parent)
                away = np.linalg.inv(np.array(circle.evaluated_get(depsgraph).matrix_world))
                R, t = blend_changes(changes, skin[0][soles[i]], skin[1][soles[i]])
                own = se3.transform(R, t, pose_points(bases[:, None], grown, soles[i])[0])
                points[i].append(own @ away[:3, :3].T + away[:3, 3])
                stood[i].append(np.array(h.empty.evaluated_get(depsgraph).matrix_basis))
    return [(np.array(p), np.array(s)) for p, s in zip(points, stood, strict=True)]


def _key(empty: bpy.types.Object, first: int, stands: Array) -> None:  # (T, 4, 4)
    empty.rotation_mode = "QUATERNION"
    for i, matrix in enumerate(stands):
        before = empty.rotation_quaternion.copy()
        empty.matrix_basis = Matrix(matrix.tolist())
        empty.rotation_quaternion.make_compatible(before)
        for path in ("location", "rotation_quaternion"):
            empty.keyframe_insert(path, frame=first + i)


def remove(empty: bpy.types.Object) -> None:
    """An empty and what keys it."""
    action = empty.animation_data.action if empty.animation_data is not None else None
    bpy.data.objects.remove(empty)
    if action is not None and not action.users:
        bpy.data.actions.remove(action)
