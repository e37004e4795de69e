"""A skeleton's bones come with few keys, which carry everything to where a key per frame does."""

import bpy
import numpy as np
import pytest

from blender_addon.puppet import actions, importer
from blender_addon.puppet.animation import curves
from blender_addon.puppet.posing import hand
from blender_addon.session.steps import drain, in_thread
from blender_addon.skeleton import new_keys
from blender_addon.skeleton.plan import PART, find_few
from restage4d.skeleton.motion import compute_motion

CHANNELS = "location", "rotation_quaternion"


def find_few_bones(imported):
    bones = imported.armature.data.bones
    first = imported.performances[0].action
    paths = curves.find_transforms(first)
    names = {bpy.utils.unescape_identifier(path.split('"')[1]) for path in paths}
    return find_few(name for name in names if PART in bones[name])


def test_bones_carry_all_within_the_error_and_by_few_keys(walker):
    """As Blender plays them: the ends of all bones, and points that are theirs."""
    puppet, imported = walker
    armature = imported.armature
    skeleton = new_keys.read_skeleton(armature, imported.points)
    performance = puppet.performance("gallop")
    moved = compute_motion(skeleton, puppet, performance.bases).bones
    importer.activate(imported, "gallop", scene=None)
    main, firm = skeleton.index[:, 0], skeleton.weight[:, 0] > 0.5
    off = []
    for t in range(performance.n_frames):
        bpy.context.scene.frame_set(actions.FIRST_FRAME + t)
        for s, bone in enumerate(skeleton.bones):
            posed = armature.pose.bones[f"{bone.name} captured"]
            M = np.array(posed.matrix @ posed.bone.matrix_local.inverted())
            own = puppet.subject.means[(main == s) & firm]
            places = np.concatenate([[bone.head, bone.tail], own])
            apart = (M - moved[s, t])[:3]
            off.append(np.linalg.norm(places @ apart[:, :3].T + apart[:, 3], axis=1).max())
    assert 0.5e-3 < max(off) < 1.05 * actions.FEW
    few, transforms = (
        find_few_bones(imported),
        curves.find_transforms(imported.performance("gallop").action),
    )
    counts = [
        len(curve.keyframe_points)
        for path, transform in transforms.items()
        if bpy.utils.unescape_identifier(path.split('"')[1]) in few
        for curve in transform.values()
    ]
    assert len(counts) == 7 * len(few)
    assert sum(counts) < len(counts) * performance.n_frames / 3


def test_a_chain_is_the_bones_that_have_keys_of_their_own(walker):
    _, imported = walker
    armature, few = imported.armature, find_few_bones(imported)
    armature.pose.bones["root"].name = "everything"  # artists rename controls
    chain = new_keys.read_chain(armature, imported.points, few)
    assert sorted(chain.names) == sorted(set(few.values()))
    bones, above = armature.data.bones, dict(zip(chain.names, chain.parent, strict=True))
    for i, name in enumerate(chain.names):
        parent = bones[name].parent
        if name.endswith(" captured") and parent is not None:
            assert chain.names[above[name]] == parent.name
        elif parent is not None and parent.name == "everything":
            assert chain.names[above[name]] == "root captured"
        assert above[name] < i, "parents come first"
        np.testing.assert_allclose(chain.marks[i][1], [0, bones[name].length, 0], atol=1e-9)
    posed, _ = chain.pose(
        *np.split(np.tile([0.0] * 3 + [1.0] + [0.0] * 3, (len(above), 2, 1)), [3], -1)
    )
    for M, name in zip(posed, chain.names, strict=True):
        np.testing.assert_allclose(M[0], np.array(bones[name].matrix_local), atol=1e-5)


def test_they_are_found_beside_blender_and_are_those_of_the_performance(walker):
    puppet, imported = walker
    few = find_few_bones(imported)
    chain = new_keys.read_chain(imported.armature, imported.points, few)
    keys = new_keys.find_keys(imported.armature, imported.points, puppet.performance("base"))
    found = drain(in_thread((0, 1), lambda: actions.thin_keys(keys, chain)))
    assert set(found) == {(name, channel) for name in chain.names for channel in CHANNELS}
    transforms = curves.find_transforms(imported.performance("base").action)
    for name, source in few.items():
        for channel in CHANNELS:
            mine = transforms[f'pose.bones["{name}"].{channel}']
            for i, (frames, values, _) in enumerate(found[source, channel]):
                there = np.array([key.co for key in mine[i].keyframe_points])
                np.testing.assert_array_equal(there[:, 0], frames + actions.FIRST_FRAME)
                np.testing.assert_allclose(there[:, 1], values, atol=1e-5)


def test_a_turned_bone_is_keyed_at_the_length_of_its_quaternion(walker):
    """Few keys hold w at 1: a key set among them must not pull the frames around."""
    _, imported = walker
    bone = imported.armature.pose.bones["leg_front_upper.L captured"]
    for frame in range(1, 10):
        bpy.context.scene.frame_set(frame)
        if bone.rotation_quaternion.magnitude > 1.001:
            break
    before, length = bone.matrix_basis.copy(), bone.rotation_quaternion.magnitude
    assert length > 1.001
    assert bone.rotation_quaternion[0] == 1
    hand.set_bone(bone, before)
    assert bone.rotation_quaternion.magnitude == pytest.approx(length, abs=1e-6)
