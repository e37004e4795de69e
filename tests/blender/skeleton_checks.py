"""What tests of the body rig share."""

import bpy
import numpy as np
from mathutils import Matrix, Vector

from blender_addon.puppet.posing import hand
from blender_addon.skeleton import build

FRAME = 6
OFFSET = (0.12, 0.0, 0.08)  # of a drag


def extent(puppet):
    return np.linalg.norm(np.ptp(puppet.subject.means, axis=0))


def turn(imported, name, degrees, axis=(0, 0, 1)):
    """Turns a control about an axis of the world, from where it is."""
    bone = imported.armature.pose.bones[name]
    place = bone.matrix.translation.copy()
    about = Matrix.Translation(place) @ Matrix.Rotation(np.radians(degrees), 4, Vector(axis))
    bone.matrix = about @ Matrix.Translation(-place) @ bone.matrix
    bpy.context.view_layer.update()


def main_bone(imported):  # -> (N,) names
    index, _ = build.read_skin(imported.points.data)
    return np.array(build.list_bones(imported.armature))[index[:, 0]]


def find_neighbours(means):  # (N, 3) -> (N, 8)
    square = (means**2).sum(1)
    square = square[:, None] + square - 2 * means @ means.T
    np.fill_diagonal(square, np.inf)
    return np.argpartition(square, 8, axis=1)[:, :8]


def share_of_torn(before, after, near):
    """How many of the edges to the nearest neighbours got more than three times longer."""
    a, b = (np.linalg.norm(x[:, None] - x[near], axis=2) for x in (before, after))
    return float((b > 3 * np.maximum(a, 1e-9)).mean())


def find_limb(imported, name):
    bones = imported.armature.pose.bones
    control = bones[name.replace("_lower", "_ik")]
    return control, bones[name.replace("_lower", "_end")]


def find_paw(imported, limb="leg_front_lower.L"):
    """A point at the end of a leg, and the bone there."""
    skin, _ = build.read_skin(imported.points.data)
    names = build.list_bones(imported.armature)
    foot = names.index(limb.replace("_lower", "_foot"))
    means = hand.read_rest(imported)
    mine = np.flatnonzero(skin[:, 0] == foot)
    return int(mine[means[mine, 2].argmin()])
