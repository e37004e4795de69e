"""What comes back out of Blender: captured puppets, numpy and Alembic caches."""

import re
import threading
from itertools import chain, repeat

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Quaternion

from blender_addon.puppet import (
    attributes,
    capture,
    importer,
    rig,
)
from blender_addon.puppet.output import export
from restage4d import se3
from restage4d import sh as sh_module
from restage4d.errors import Cancelled, InputError
from restage4d.io import ply
from restage4d.progress import Progress
from restage4d.puppet import Puppet


def assert_same(a, b):
    for part in ("subject", "background"):
        for key, value in vars(getattr(a, part)).items():
            np.testing.assert_array_equal(
                value, getattr(getattr(b, part), key), err_msg=f"{part}.{key}"
            )
    np.testing.assert_array_equal(a.index, b.index)
    np.testing.assert_array_equal(a.weight, b.weight)
    assert (a.metres_per_unit, a.provenance, a.metrics) == (
        b.metres_per_unit,
        b.provenance,
        b.metrics,
    )
    assert len(a.performances) == len(b.performances)
    for p, q in zip(a.performances, b.performances, strict=True):
        assert (p.name, p.fps, p.size, p.prompt) == (q.name, q.fps, q.size, q.prompt)
        np.testing.assert_allclose(p.bases, q.bases, atol=1e-5)
        np.testing.assert_allclose(p.w2c, q.w2c, atol=1e-5)
        np.testing.assert_allclose(p.K, q.K, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("sh", [1, 4, 16])
def test_captured_is_what_was_imported(tmp_path, sh):
    puppet = puppets.random_puppet(n=200, sh=sh)
    puppet.metrics = {"psnr_base": 31.5}
    puppet.metres_per_unit = 0.7
    imported = importer.import_puppet(puppet, name="round")
    bpy.context.scene.frame_set(3)
    before, hidden = imported.armature.animation_data.action, imported.splats.hide_viewport
    captured = capture.capture_puppet(imported, bpy.context.scene)
    assert_same(puppet, captured)
    captured.save(tmp_path / "again.puppet")
    assert_same(puppet, Puppet.load(tmp_path / "again.puppet"))
    assert imported.armature.animation_data.action == before
    assert bpy.context.scene.frame_current == 3
    assert imported.splats.hide_viewport == hidden


def test_captured_from_a_reloaded_file(tmp_path, imported, puppet):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    (found,) = importer.find_puppets(bpy.context.scene)
    assert found.collection.name == "Restage4D stress"
    assert_same(puppet, capture.capture_puppet(found, bpy.context.scene))


def test_appended_with_one_object(tmp_path, imported, puppet):
    """Appending the armature brings everything that belongs to it."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.append(directory=str(tmp_path / "a.blend" / "Object") + "/", filename="stress bases")
    (found,) = importer.find_puppets(bpy.context.scene)
    importer.activate(found, "jump", scene=bpy.context.scene)
    bpy.context.scene.frame_set(5)
    want = puppet.pose(puppet.performance("jump"), 4)
    assert np.abs(export.read_posed(found).means - want.means).max() < 2e-4
    assert [p.name for p in found.performances] == ["base", "jump"]


def test_duplicated_puppets_are_apart(imported, puppet):
    for o in (imported.armature, imported.points, imported.bases_frames, imported.splats):
        o.hide_select = o.hide_viewport = False
        o.select_set(True)
    bpy.ops.object.duplicate()
    copy = next(
        p for p in importer.find_puppets(bpy.context.scene) if p.armature != imported.armature
    )
    assert copy.points != imported.points
    bpy.context.scene.frame_set(2)
    before, other = export.read_posed(imported).means, export.read_posed(copy).means
    np.testing.assert_array_equal(before, other)
    copy.armature.location.x += 1
    bpy.context.view_layer.update()
    np.testing.assert_array_equal(export.read_posed(imported).means, before)
    np.testing.assert_allclose(export.read_posed(copy).means, other + np.eye(3)[0], atol=1e-5)


def test_an_artist_s_keyframes_come_back(imported, puppet):
    """A keyed turn of a region, whose handle was renamed, and a moved armature: both are in the
    captured bases, by Eq. 1."""
    scene = bpy.context.scene
    control = next(
        b
        for b in imported.armature.pose.bones
        if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == 2
    )
    mine = np.array(
        [
            imported.armature.data.bones[n][rig.REGION] == 2
            for n in rig.bone_names(imported.armature)
        ]
    )
    control.name = "left ear"
    turned = Quaternion((0, 1, 0), 1.2)
    for frame, turn in ((1, Quaternion()), (6, turned)):
        control.rotation_quaternion = turn
        control.keyframe_insert("rotation_quaternion", frame=frame)
    imported.armature.location = (0.5, 0, 0)
    scene.frame_start, scene.frame_end = 2, 6
    p = capture.capture_puppet(imported, scene, also="tweaked").performances[-1]
    assert (p.name, p.n_frames, p.size) == ("tweaked", 5, (160, 90))
    for i, frame in enumerate(range(2, 7)):
        scene.frame_set(frame)
        want = puppet.pose(p, i).means
        np.testing.assert_allclose(export.read_posed(imported).means, want, atol=2e-4)
    original = puppet.performances[-1].bases[:, 1:6]
    scene.frame_set(6)
    parent = np.array(imported.armature.matrix_world @ control.parent.matrix, np.float64)
    parent = parent[:3, :3] @ np.array(turned.to_matrix()) @ parent[:3, :3].T
    want = parent @ se3.gram_schmidt(original[mine, -1, :6].astype(np.float64))
    np.testing.assert_allclose(
        se3.gram_schmidt(p.bases[mine, -1, :6].astype(np.float64)), want, atol=1e-5
    )
    np.testing.assert_allclose(p.bases[~mine], original[~mine] + np.eye(9)[6] * 0.5, atol=1e-5)


def test_a_scaled_bone_is_refused_by_name(imported):
    bone = imported.armature.pose.bones[rig.bone_names(imported.armature)[2]]
    bone.scale = (1.5, 1.5, 1.5)
    with pytest.raises(InputError, match=f"Bone '{bone.name}' is scaled or sheared at frame 1"):
        capture.capture_puppet(imported, bpy.context.scene, also="x")


def test_a_deleted_bone_is_told(imported):
    bpy.context.view_layer.objects.active = imported.armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = imported.armature.data.edit_bones
    bones.remove(bones["basis_11"])
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(InputError, match=r"lost the bones of bases \[11\]"):
        rig.bone_names(imported.armature)


def everything(scene, **choices):
    return export.What(range(scene.frame_start, scene.frame_end + 1), **choices)


def test_npz_sequence_holds_every_frame(tmp_path, imported, puppet):
    scene, p = bpy.context.scene, puppet.performances[-1]
    export.run(export.npz_steps(imported, scene, tmp_path / "cache.npz", everything(scene)))
    assert [f.name for f in sorted(tmp_path.iterdir())] == [
        f"cache_{i + 1:04d}.npz" for i in range(p.n_frames)
    ]
    for i in range(p.n_frames):
        cache = np.load(tmp_path / f"cache_{i + 1:04d}.npz", allow_pickle=False)
        np.testing.assert_allclose(cache["means"], puppet.pose(p, i).means, atol=2e-4)
        np.testing.assert_array_equal(cache["scales"], puppet.subject.scales)
        assert (cache["frame"], round(float(cache["fps"]), 3)) == (i + 1, 23.976)


@pytest.mark.parametrize("sh", [1, 4])
def test_ply_sequence_is_the_posed_puppet(tmp_path, sh):
    """Range, background and space; higher harmonics turn with their Gaussians, as `Puppet.pose`
    turns them."""
    puppet = puppets.random_puppet(n=120, sh=sh)
    imported, scene = importer.import_puppet(puppet, name="x"), bpy.context.scene
    turn = Quaternion((0.4, 0, 0.2, 1)).normalized()
    imported.armature.rotation_mode = "QUATERNION"
    imported.armature.rotation_quaternion, imported.armature.location = turn, (1, 2, 3)
    for number in (2, 77):
        (tmp_path / f"a_{number:04d}.ply").write_text("of an older, longer sequence")
    (tmp_path / "a_note.ply").write_text("not of a sequence")
    export.run(
        export.ply_steps(
            imported, scene, tmp_path / "a.ply", export.What(range(3, 6), background=True)
        )
    )
    export.run(
        export.ply_steps(imported, scene, tmp_path / "b.ply", export.What(range(4, 5), local=True))
    )
    export.run(
        export.ply_steps(
            imported,
            scene,
            tmp_path / "c.ply",
            export.What(range(4, 5), subject=False, background=True),
        )
    )
    files = {f.name for f in tmp_path.iterdir()}
    assert files == {
        "a_0002.ply",
        "a_0003.ply",
        "a_0004.ply",
        "a_0005.ply",
        "a_0077.ply",
        "a_note.ply",
        "b_0004.ply",
        "c_0004.ply",
    }
    want = puppet.pose(puppet.performances[-1], 3)
    local, world, still = (ply.read_ply(tmp_path / f"{n}_0004.ply") for n in "bac")
    for key, atol in (("means", 2e-4), ("scales", 1e-6), ("opacities", 1e-5), ("sh", 2e-3)):
        np.testing.assert_allclose(getattr(local, key), getattr(want, key), atol=atol, err_msg=key)
    assert np.median(np.abs(np.abs((local.quats * want.quats).sum(1)) - 1)) < 1e-5
    R = np.array(turn.to_matrix())
    np.testing.assert_allclose(world.means[:120], want.means @ R.T + [1, 2, 3], atol=2e-4)
    np.testing.assert_array_equal(world.means[120:], puppet.background.means)
    np.testing.assert_array_equal(still.means, puppet.background.means)
    turned = sh_module.rotate(want.sh, np.broadcast_to(R, (120, 3, 3)))
    np.testing.assert_allclose(world.sh[:120, : want.sh.shape[1]], turned, atol=2e-3)


def test_a_puppet_with_what_the_artist_made(tmp_path, imported, puppet):
    """The performances as they were, and one more with the moved handle in it."""
    handle = next(
        b
        for b in imported.armature.pose.bones
        if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == 1
    )
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 2, 5
    handle.rotation_quaternion = Quaternion((0, 0, 1), 0.5)
    handle.keyframe_insert("rotation_quaternion", frame=1)
    export.run(export.puppet_steps(imported, scene, tmp_path / "t.puppet", "tweaked"))
    again = Puppet.load(tmp_path / "t.puppet")
    assert [p.name for p in again.performances] == ["base", "jump", "tweaked"]
    np.testing.assert_allclose(
        again.performance("tweaked").bases, again.performance("jump").bases[:, 1:5], atol=1e-5
    )
    assert np.abs(again.performance("jump").bases - puppet.performance("jump").bases).max() > 0.1
    scene.frame_set(4)
    np.testing.assert_allclose(
        again.pose(again.performance("tweaked"), 2).means,
        export.read_posed(imported).means,
        atol=2e-4,
    )
    with pytest.raises(InputError, match="performance 'jump' already"):
        export.run(export.puppet_steps(imported, scene, tmp_path / "u.puppet", "jump"))


@pytest.mark.parametrize("writer", [export.npz_steps, export.ply_steps])
def test_a_cancelled_export_leaves_nothing(tmp_path, imported, writer):
    hidden = imported.splats.hide_viewport
    scene = bpy.context.scene
    scene.frame_set(2)
    steps = writer(imported, scene, tmp_path / f"c.{writer.__name__[:3]}", everything(scene))
    with pytest.raises(Cancelled):
        export.run(steps, Progress(cancelled=chain([False] * 9, repeat(True)).__next__))
    assert list(tmp_path.iterdir()) == []
    assert imported.splats.hide_viewport == hidden
    assert scene.frame_current == 2


def test_no_step_of_reading_does_two_things(imported, monkeypatch):
    """A window lives between steps; what needs no Blender runs in a thread."""
    done = []

    def watch(owner, name):
        original = getattr(owner, name)

        def call(*arguments, **options):
            done.append((name, threading.current_thread() is threading.main_thread()))
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    for owner, name in (
        (attributes, "read_influences"),
        (attributes, "read_gaussians"),
        (capture.body_rig, "read_skin"),
        (capture, "Puppet"),
    ):
        watch(owner, name)
    steps, seen = capture.puppet_steps(imported, bpy.context.scene), []
    for _ in steps:
        assert len(done) - len(seen) <= 1
        seen = list(done)
    assert seen == done, "the last step makes nothing"
    assert [name for name, _ in done].count("read_gaussians") == 2, "subject and background"
    assert [on_main for name, on_main in done if name == "Puppet"] == [False]


def test_nothing_to_export_is_told_before_work_starts(tmp_path, imported):
    scene = bpy.context.scene
    for what, message in (
        (export.What(range(4, 4)), "range is empty"),
        (export.What(range(1, 2), False), "Neither"),
    ):
        with pytest.raises(InputError, match=message):
            export.run(export.ply_steps(imported, scene, tmp_path / "x.ply", what))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not export.has_alembic(), reason="this bpy was built without Alembic")
@pytest.mark.parametrize("local", [False, True])
def test_alembic_moves_as_eq_1(tmp_path, imported, puppet, local):
    """The exported file, imported by Blender's own importer, has the points of every frame, the
    background's behind them."""
    path, p, scene = tmp_path / "points.abc", puppet.performances[-1], bpy.context.scene
    imported.armature.location = (1, 0, 0)
    objects, trees = len(bpy.data.objects), len(bpy.data.node_groups)
    export.run(
        export.alembic_steps(imported, scene, path, everything(scene, background=True, local=local))
    )
    assert [f.name for f in tmp_path.iterdir()] == ["points.abc"]
    assert (len(bpy.data.objects), len(bpy.data.node_groups)) == (objects, trees)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 24, 24 / 23.976
    bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    (obj,) = [o for o in bpy.data.objects if o.type == "MESH"]
    for frame in (0, 4, p.n_frames - 1):
        bpy.context.scene.frame_set(1 + frame)
        evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
        seen = np.array([evaluated.matrix_world @ v.co for v in evaluated.data.vertices])
        want = puppet.pose(p, frame).means + np.eye(3)[0] * (not local)
        np.testing.assert_allclose(seen, np.concatenate([want, puppet.background.means]), atol=2e-4)


@pytest.mark.skipif(not export.has_usd(), reason="this bpy was built without USD")
def test_usd_points_move_as_eq_1(tmp_path, imported, puppet):
    """As text, so that it is read without any USD library: time samples of points, rotations and
    widths."""
    path, p, scene = tmp_path / "points.usda", puppet.performances[-1], bpy.context.scene
    imported.armature.data.bones["basis_03"].name = "left ear"
    first, last = scene.frame_start, scene.frame_end
    export.run(export.usd_steps(imported, scene, path, export.What(range(3, 6))))
    assert [f.name for f in tmp_path.iterdir()] == ["points.usda"]
    assert (scene.frame_start, scene.frame_end) == (first, last)
    text = path.read_text()
    assert "def Points" in text
    samples = re.search(r"point3f\[\] points\.timeSamples = \{(.*?)\n\s*\}", text, re.S)
    assert samples, text[:3000]
    frames = dict(re.findall(r"(\d+): \[(.*?)\]", samples[1]))
    assert sorted(frames) == ["3", "4", "5"]
    for frame, numbers in frames.items():
        seen = np.array(re.findall(r"[-\d.e]+", numbers), float).reshape(-1, 3)
        np.testing.assert_allclose(seen, puppet.pose(p, int(frame) - 1).means, atol=2e-4)
    for name in ("rotation", "scale", "opacity", attributes.COLOR):
        assert f"primvars:{name}" in text
    for name in ("influence_0", "basis_", "left ear", attributes.REGION_COLOR, attributes.WEIGHT):
        assert name not in text
