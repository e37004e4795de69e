"""Performances as clips: the list, and new ones made of those there are."""

import bpy
import numpy as np
import puppets
import pytest
from layout_recorder import draw_panel
from rig_checks import assert_eq_1, find_control

import blender_addon
from blender_addon import compat
from blender_addon.puppet import actions, importer, rig
from blender_addon.puppet.animation import clips, layers, performances, sampling, speed
from blender_addon.puppet.playback import nla
from blender_addon.ui import puppet_panel
from restage4d import se3
from restage4d.finding import Finding


@pytest.fixture
def puppet():
    """A creature that steps on the spot, and walks off to one side."""
    made = puppets.creature(n=600, frames=20, size=(96, 72))
    walk = made.performances[1]
    way = np.linspace(0, 1, walk.n_frames)
    walk.name, walk.bases = "walk", walk.bases.copy()
    walk.bases[..., 6] += 1.5 * way
    made.findings = [Finding("late", "warning", "It is late.", "", 3, 4, "walk")]
    return made


@pytest.fixture
def walker(empty_scene, puppet):
    blender_addon.register()
    yield importer.import_puppet(puppet, name="walker")
    blender_addon.unregister()


def read(imported, *names):
    found = performances.read_performances(imported, bpy.context.scene, list(names))
    return [found[name] for name in names]


def again():
    """The puppet as the armature says it, which operators change."""
    return importer.find_puppets(bpy.context.scene)[0]


def names(imported):
    return [p.name for p in imported.performances]


def test_walk_then_the_base_in_one_call(walker, puppet):
    before = read(walker, "base", "walk")
    importer.activate(walker, "walk", scene=None)
    assert bpy.ops.restage4d.sequence_performances(second="base", frames=6) == {"FINISHED"}
    imported = again()
    assert names(imported) == ["base", "walk", "walk, base"]
    made = imported.performance("walk, base")
    assert nla.find_playing(imported).name == made.name
    assert (made.n_frames, made.fps, made.size) == (34, 24.0, (96, 72))
    bases = read(imported, made.name)[0].bases
    body = performances.read_body(imported)
    points = sampling.pose_points(bases, body)
    jumps = np.linalg.norm(np.diff(points, axis=0), axis=-1).max(1)
    own = [np.linalg.norm(np.diff(sampling.pose_points(p.bases, body), axis=0), axis=-1).max()
           for p in before]  # fmt: skip
    assert jumps.max() < 1.25 * max(own)
    root = sampling.measure_root(bases, body)
    assert root[-1, 0, 3] - root[0, 0, 3] == pytest.approx(1.3, abs=0.15)  # it stays away
    np.testing.assert_allclose(bases[:, :14], before[1].bases[:, :14], atol=1e-6)
    for was, is_ in zip(before, read(imported, "base", "walk"), strict=True):
        np.testing.assert_array_equal(is_.bases, was.bases)
    bpy.context.scene.frame_set(25)
    assert_eq_1(imported, puppet)
    assert len(imported.armature.animation_data.action.slots) == 1  # the camera stands


def test_loop_reverse_and_retime(walker):
    (walk,) = read(walker, "walk")
    importer.activate(walker, "walk", scene=None)
    ops = bpy.ops.restage4d
    ops.loop_performance(times=3, frames=4)
    assert again().performance("walk x3").n_frames == 52
    ops.play_performance(name="walk")
    ops.reverse_performance()
    (back,) = read(again(), "walk reversed")
    np.testing.assert_allclose(back.bases, walk.bases[:, ::-1], atol=1e-6)
    ops.play_performance(name="walk")
    with pytest.raises(RuntimeError, match="The speed is 1 throughout"):
        ops.retime_performance()
    ops.retime_performance(speed=0.5)
    assert again().performance("walk retimed").n_frames == 39
    ops.play_performance(name="walk")
    assert ops.add_speed_curve() == {"FINISHED"}
    assert not ops.add_speed_curve.poll()
    curve = speed.find_curve(again().performance("walk").action)
    assert [tuple(k.co) for k in curve.keyframe_points] == [(1, 1), (20, 1)]
    curve.keyframe_points[1].co.y = 3.0
    curve.update()
    ops.retime_performance()
    (eased,) = read(again(), "walk retimed 2")
    assert 9 <= eased.n_frames <= 12
    steps = np.diff(eased.bases[0, :, 6])
    assert steps[-1] > 2 * steps[0]
    (after,) = read(again(), "walk")
    np.testing.assert_array_equal(after.bases, walk.bases)


def test_parts_of_one_on_the_other(walker):
    base, walk = read(walker, "base", "walk")
    importer.activate(walker, "walk", scene=None)
    bpy.context.view_layer.objects.active = walker.armature
    assert not bpy.ops.restage4d.mix_performances.poll()
    bones = [walker.armature.pose.bones[n] for n in rig.bone_names(walker.armature)]
    for posed in walker.armature.pose.bones:
        compat.select_bone(posed, False)
    region = bones[1].bone[rig.REGION]
    compat.select_bone(find_control(walker, region), True)
    assert bpy.ops.restage4d.mix_performances(other="base") == {"FINISHED"}
    (mixed,) = read(again(), "walk with base")
    mine = rig.region_of_bases(walker.armature) == region
    np.testing.assert_allclose(mixed.bases[~mine], walk.bases[~mine], atol=1e-6)
    assert np.abs(mixed.bases[mine] - walk.bases[mine]).max() > 0.05
    body = performances.read_body(walker)
    apart = [
        np.linalg.norm(p.bases[mine][:, :, 6:] - walk.bases[mine][:, :, 6:], axis=-1).max()
        for p in (mixed, base)
    ]
    assert apart[1] > 1.2
    assert apart[0] < 0.5  # it goes along with the body
    assert len(body.total) == len(mine)


def test_the_list_is_changed_and_kept(walker, tmp_path):
    ops = bpy.ops.restage4d
    importer.activate(walker, "walk", scene=None)
    layers.add_layer(walker.armature, walker.performance("walk").action, "lean")
    importer.activate(walker, "walk", scene=None)
    with pytest.raises(RuntimeError, match="There is a performance 'base' already"):
        ops.rename_performance(name="base")
    ops.rename_performance(name="off it goes")
    assert names(again()) == ["base", "off it goes"]
    assert [f.video for f in again().about["findings"]] == ["off it goes"]
    ops.duplicate_performance()
    assert names(again()) == ["base", "off it goes", "off it goes 2"]
    copy = again().performance("off it goes 2")
    assert [x.name for x in layers.find_layers(walker.armature, copy.action)] == ["lean"]
    assert nla.find_playing(again()).name == "off it goes 2"
    ops.move_performance(by=-1)
    ops.move_performance(by=-1)
    assert names(again()) == ["off it goes 2", "base", "off it goes"]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert names(again()) == ["off it goes 2", "base", "off it goes"]
    ops.delete_performance()
    assert names(again()) == ["base", "off it goes"]
    assert nla.find_playing(again()).name == "base"
    assert len(layers.find_layers(again().armature, again().performance("off it goes").action)) == 1
    ops.play_performance(name="off it goes")
    ops.delete_performance()
    assert not ops.delete_performance.poll()
    assert sorted(a.name for a in bpy.data.actions) == ["walker base"]
    shown = draw_panel(puppet_panel.RESTAGE4D_PT_puppet)
    buttons = {name for name, _ in shown.buttons}
    assert "restage4d.duplicate_performance" in buttons
    assert "restage4d.delete_performance" not in buttons


def test_a_performance_of_another_puppet(walker, puppet):
    other = puppets.creature(n=500, frames=8, size=(96, 72), seed=3)
    for p in other.performances:
        p.bases = p.bases.copy()
        p.bases[..., 7] += 4.0
    assert not bpy.ops.restage4d.transfer_performance.poll()
    importer.import_puppet(other, name="second", set_up_scene=False)
    second = next(
        p for p in importer.find_puppets(bpy.context.scene) if p.armature.name.startswith("second")
    )
    bpy.context.view_layer.objects.active = second.armature
    done = bpy.ops.restage4d.transfer_performance(source=f"{walker.armature.name}|walk")
    assert done == {"FINISHED"}
    second = next(
        p for p in importer.find_puppets(bpy.context.scene) if p.armature.name.startswith("second")
    )
    assert names(second) == ["base", "gallop", "walk"]
    made, source = read(second, "walk")[0], read(walker, "walk")[0]
    assert made.n_frames == 20
    np.testing.assert_allclose(made.bases[:, 0, 7] - 4, source.bases[:, 0, 7], atol=0.2)
    gone = made.bases[:, -1, 6] - made.bases[:, 0, 6]
    np.testing.assert_allclose(gone[0], 1.5, atol=0.1)
    R = se3.gram_schmidt(made.bases[..., :6])
    want = se3.gram_schmidt(source.bases[..., :6])
    turned = [np.trace(np.swapaxes(x[:, :1], -1, -2) @ x, axis1=-2, axis2=-1) for x in (R, want)]
    swing = [np.arccos(np.clip((t - 1) / 2, -1, 1)).max(1) for t in turned]
    np.testing.assert_allclose(swing[0], swing[1], atol=0.35)  # each limb as far as its like
    assert actions.FIRST_FRAME == 1


def test_a_puppet_that_was_moved_stays_where_it_is(walker):
    before = read(walker, "walk")[0]
    importer.activate(walker, "walk", scene=None)
    walker.armature.location, walker.armature.rotation_euler = (3, -2, 1), (0.2, 0, 1.1)
    bpy.context.view_layer.update()
    bpy.ops.restage4d.reverse_performance()
    np.testing.assert_allclose(
        read(again(), "walk reversed")[0].bases, before.bases[:, ::-1], atol=2e-6
    )


def test_the_camera_goes_on_from_where_it_is(walker):
    base, walk = read(walker, "base", "walk")
    body = performances.read_body(walker)
    both = clips.sequence(walk, base, body, 4)
    here, there = walk.w2c[walk.n_frames - 3], base.w2c[2]  # the middle of the seam
    moved = base.w2c[-1].astype(np.float64) @ np.linalg.inv(there.astype(np.float64)) @ here
    np.testing.assert_allclose(both.w2c[-1], moved, atol=1e-4)
    jumps = np.linalg.norm(np.diff(both.w2c[:, :3, 3], axis=0), axis=1)
    own = max(np.linalg.norm(np.diff(p.w2c[:, :3, 3], axis=0), axis=1).max() for p in (walk, base))
    assert jumps.max() < own + 0.05
