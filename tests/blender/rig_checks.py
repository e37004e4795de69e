"""Bones of an imported puppet, and whether Blender shows Eq. 1 of what they hold."""

import bpy
import numpy as np

from blender_addon.puppet import rig
from blender_addon.puppet.output import export
from blender_addon.skeleton import build
from restage4d import se3
from restage4d.skeleton.posing import blend_changes


def basis_bones(imported):
    return [imported.armature.pose.bones[n] for n in rig.bone_names(imported.armature)]


def find_control(imported, region):
    bones_ = imported.armature.pose.bones
    return next(
        b for b in bones_ if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == region
    )


def assert_eq_1(imported, puppet):
    """What Blender shows is `se3.blend` of what its bones hold now, carried on by what was changed
    of a skeleton."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    names = rig.bone_names(imported.armature)
    rest = np.linalg.inv(rig.rest_matrices(imported.armature, names))
    bases, _ = rig.read_bases(imported.armature.evaluated_get(depsgraph), names, rest)
    R, t = se3.blend(
        bases,
        *(
            x if x.dtype.kind == "u" else x.astype(np.float64)
            for x in (puppet.index, puppet.weight)
        ),
    )
    want = se3.transform(R, t, puppet.subject.means.astype(np.float64))
    skin = build.read_skin(imported.points.data)
    if skin is not None:
        changes = build.read_changes(imported.armature.evaluated_get(depsgraph))
        want = se3.transform(*blend_changes(changes, *skin), want)
    extent = np.linalg.norm(np.ptp(puppet.subject.means, axis=0))
    assert np.linalg.norm(export.read_posed(imported).means - want, axis=1).max() < 1e-4 * extent
    return bases
