"""Curves with few keys, within an error that is measured on what Blender shows."""

import bpy
import numpy as np
import pytest
from mathutils import Quaternion
from rig_checks import basis_bones, find_control

from blender_addon.puppet import actions, importer
from blender_addon.puppet.animation import curves, performances, simplify
from blender_addon.puppet.output import export
from blender_addon.session.steps import drain


@pytest.fixture
def walker(empty_scene):
    import puppets

    return importer.import_puppet(puppets.creature(n=600, frames=60, size=(96, 72)), name="walker")


def read_keys(action):
    return {
        (c.data_path, c.array_index): [
            (*k.co, *k.handle_left, *k.handle_right, k.interpolation) for k in c.keyframe_points
        ]
        for c in curves.find_bone_curves(action)
    }


def read_points(imported, n_frames):
    """The evaluated mesh, frame by frame: (T, N, 3)."""
    out = []
    for frame in range(actions.FIRST_FRAME, actions.FIRST_FRAME + n_frames):
        bpy.context.scene.frame_set(frame)
        out.append(export.read_posed(imported).means)
    return np.array(out)


def test_few_keys_within_the_error_and_the_capture_back(walker, monkeypatch):
    monkeypatch.setattr(simplify, "_CHECKED", 2)  # few points in between, all at the end
    scene, gallop = bpy.context.scene, walker.performance("gallop")
    before, keys = read_points(walker, 60), read_keys(gallop.action)
    base = read_keys(walker.performance("base").action)
    made = drain(simplify.simplify_steps(walker, scene, gallop, 2.0))
    assert (
        made.before
        == sum(map(len, keys.values()))
        == curves.count_keys(gallop.action) * (made.before / made.after)
    )
    assert made.after * 5 <= 60 * len(keys)  # a key a frame
    off = np.linalg.norm(read_points(walker, 60) - before, axis=-1)
    assert off.max() <= 2.0e-3
    assert off.max() == pytest.approx(made.mm / 1000, rel=0.02)
    assert 0 < made.pixels < 1
    assert read_keys(walker.performance("base").action) == base
    tight = curves.count_keys(gallop.action)
    assert curves.restore_capture(gallop.action) == len(keys)
    assert read_keys(gallop.action) == keys
    assert not curves.has_capture(gallop.action)
    assert [a.name for a in bpy.data.actions] == ["walker base", "walker gallop"]
    np.testing.assert_array_equal(read_points(walker, 60), before)
    loose = drain(simplify.simplify_steps(walker, scene, gallop, 10.0))
    assert loose.after < tight


def test_given_up_midway_the_keys_are_as_they_were(walker):
    scene, gallop = bpy.context.scene, walker.performance("gallop")
    keys = read_keys(gallop.action)
    steps = simplify.simplify_steps(walker, scene, gallop, 2.0)
    for _ in range(70):
        next(steps)
    assert read_keys(gallop.action) != keys
    steps.close()
    assert read_keys(gallop.action) == keys
    assert not curves.has_capture(gallop.action)


@pytest.mark.parametrize("few", [False, True])
def test_a_change_fades_out_over_the_frames_around(walker, few):
    scene, gallop = bpy.context.scene, walker.performance("gallop")
    if few:
        drain(simplify.simplify_steps(walker, scene, gallop, 2.0))
    before = performances.read_performances(walker, scene, ["gallop"])["gallop"].bases
    scene.frame_set(20)
    bone, handle = basis_bones(walker)[3], find_control(walker, 0)
    bone.rotation_quaternion = Quaternion((0, 1, 0), 0.5) @ bone.rotation_quaternion
    turn = bone.rotation_quaternion.normalized()  # few keys are of unit length at keys alone
    bone.location.x += 0.1
    handle.location.z = 0.2
    assert curves.spread_pose(walker, scene, gallop, 4) == 2
    assert abs(bone.rotation_quaternion.normalized().dot(turn)) == pytest.approx(1, abs=1e-6)
    after = performances.read_performances(walker, scene, ["gallop"])["gallop"].bases
    moved = np.abs(after - before).max((0, 2))
    inside = np.arange(15, 24)  # frames 16 to 24
    assert (moved[inside] > 1e-3).all()
    outside = np.setdiff1d(np.arange(60), inside)
    assert moved[outside].max() < (1e-5 if few else 1e-6)
    assert moved[19] == moved.max()
    assert moved[16] < moved[17] < moved[18] < moved[19] > moved[20] > moved[21] > moved[22]
    curves.restore_capture(gallop.action)
    importer.play(walker, gallop)
    scene.frame_set(20)
    again = performances.read_performances(walker, scene, ["gallop"])["gallop"].bases
    np.testing.assert_allclose(again, before, atol=2e-2 if few else 0)
    with pytest.raises(Exception, match="No bone is moved"):
        curves.spread_pose(walker, scene, gallop, 4)


def test_a_range_is_smoothed_and_the_rest_stays(walker):
    rng, gallop = np.random.default_rng(0), walker.performance("gallop")
    bone = basis_bones(walker)[3].name
    for curve in curves.find_transforms(gallop.action, [bone])[
        f'pose.bones["{bone}"].location'
    ].values():
        for key in curve.keyframe_points:
            key.co.y += rng.normal(0, 0.02)
        curve.update()
    scene = bpy.context.scene
    before = performances.read_performances(walker, scene, ["gallop"])["gallop"].bases
    assert curves.smooth_range(gallop.action, [bone], 10, 40, 2.0, 60) == 7
    after = performances.read_performances(walker, scene, ["gallop"])["gallop"].bases
    others = np.arange(len(after)) != 3
    np.testing.assert_array_equal(after[others], before[others])
    changed = np.flatnonzero((after != before).any((0, 2))) + 1
    assert changed.min() > 10
    assert changed.max() < 40
    bend = [np.abs(np.diff(x[3, 9:40, 6:], 2, axis=0)).mean() for x in (before, after)]
    assert bend[1] < 0.5 * bend[0]


def test_smoothing_keeps_turns_that_are_keyed_few_times(walker):
    """A key of w among those of x, y and z, at frames of their own, as a posed bone leaves it."""
    action = walker.performance("gallop").action
    paths = curves.find_transforms(action, [basis_bones(walker)[5].name])
    path = next(path for path in paths if path.endswith("rotation_quaternion"))
    for i, curve in paths[path].items():
        curve.keyframe_points.clear()
        for frame in (1, 60) if i == 0 else (1, 12, 24, 36, 48, 60):
            curve.keyframe_points.insert(frame, (1.0, 0.8, 0.3, 0.0)[i], options={"FAST"})
    paths[path][0].keyframe_points.insert(20, 1.1)
    frames = range(1, 61)
    before = np.array([[curve.evaluate(f) for curve in paths[path].values()] for f in frames])
    curves.smooth_range(action, [basis_bones(walker)[5].name], 2, 58, 1e-3, 60)
    after = np.array([[curve.evaluate(f) for curve in paths[path].values()] for f in frames])
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_operators_say_what_they_did_and_why_they_cannot(walker, registered, capfd):
    ops, before = bpy.ops.restage4d, curves.count_keys(walker.performance("gallop").action)
    assert not ops.restore_capture.poll()
    assert ops.simplify_curves(tolerance=4.0) == {"FINISHED"}
    assert "no point is off by more than" in capfd.readouterr().out
    with pytest.raises(RuntimeError, match="has few keys already"):
        ops.simplify_curves()
    with pytest.raises(RuntimeError, match="no frame between"):
        ops.smooth_curves(first=4, last=5)
    assert ops.smooth_curves(first=10, last=30) == {"FINISHED"}
    bpy.context.scene.frame_set(10)
    basis_bones(walker)[0].location.x += 0.1
    assert ops.spread_pose(reach=3) == {"FINISHED"}
    assert ops.restore_capture() == {"FINISHED"}
    assert curves.count_keys(walker.performance("gallop").action) == before
