"""What comes back out of Blender: captured puppets, numpy and Alembic caches."""

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Quaternion

from blender_addon import capture, export, importing, rig
from restage4d import se3
from restage4d.errors import Cancelled, InputError
from restage4d.progress import Progress
from restage4d.puppet import Puppet


def assert_same(a, b):
    for part in ("subject", "background"):
        for key, value in vars(getattr(a, part)).items():
            np.testing.assert_array_equal(value, getattr(getattr(b, part), key), err_msg=f"{part}.{key}")
    np.testing.assert_array_equal(a.index, b.index)
    np.testing.assert_array_equal(a.weight, b.weight)
    assert (a.metres_per_unit, a.provenance, a.metrics) == (b.metres_per_unit, b.provenance, b.metrics)
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
    imported = importing.import_puppet(puppet, name="round")
    bpy.context.scene.frame_set(3)
    before = imported.armature.animation_data.action
    captured = capture.capture_puppet(imported, bpy.context.scene)
    assert_same(puppet, captured)
    captured.save(tmp_path / "again.puppet")
    assert_same(puppet, Puppet.load(tmp_path / "again.puppet"))
    assert imported.armature.animation_data.action == before
    assert bpy.context.scene.frame_current == 3
    assert not imported.splats.hide_viewport


def test_captured_from_a_reloaded_file(tmp_path, imported, puppet):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    (found,) = importing.find_puppets(bpy.context.scene)
    assert found.collection.name == "Restage4D stress"
    assert_same(puppet, capture.capture_puppet(found, bpy.context.scene))


def test_appended_with_one_object(tmp_path, imported, puppet):
    """Appending the armature brings everything that belongs to it."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.append(directory=str(tmp_path / "a.blend" / "Object") + "/", filename="stress bases")
    (found,) = importing.find_puppets(bpy.context.scene)
    importing.activate(found, "jump", scene=bpy.context.scene)
    bpy.context.scene.frame_set(5)
    want = puppet.posed(puppet.performance("jump"), 4)
    assert np.abs(export.posed(found).means - want.means).max() < 2e-4
    assert [p.name for p in found.performances] == ["base", "jump"]


def test_duplicated_puppets_are_apart(imported, puppet):
    for o in (imported.armature, imported.points, imported.bases_frames, imported.splats):
        o.hide_select = o.hide_viewport = False
        o.select_set(True)
    bpy.ops.object.duplicate()
    copy = next(p for p in importing.find_puppets(bpy.context.scene) if p.armature != imported.armature)
    assert copy.points != imported.points
    bpy.context.scene.frame_set(2)
    before, other = export.posed(imported).means, export.posed(copy).means
    np.testing.assert_array_equal(before, other)
    copy.armature.location.x += 1
    bpy.context.view_layer.update()
    np.testing.assert_array_equal(export.posed(imported).means, before)
    np.testing.assert_allclose(export.posed(copy).means, other + np.eye(3)[0], atol=1e-5)


def test_an_artist_s_keyframes_come_back(imported, puppet):
    """A keyed turn of a region, whose handle was renamed, and a moved armature: both are in the captured bases, by Eq. 1."""
    scene = bpy.context.scene
    control = next(b for b in imported.armature.pose.bones if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == 2)
    mine = np.array([imported.armature.data.bones[n][rig.REGION] == 2 for n in rig.bone_names(imported.armature)])
    control.name = "left ear"
    turned = Quaternion((0, 1, 0), 1.2)
    for frame, turn in ((1, Quaternion()), (6, turned)):
        control.rotation_quaternion = turn
        control.keyframe_insert("rotation_quaternion", frame=frame)
    imported.armature.location = (0.5, 0, 0)
    scene.frame_start, scene.frame_end = 2, 6
    p = capture.capture_performance(imported, scene, name="tweaked", prompt="by hand")
    assert (p.name, p.n_frames, p.size) == ("tweaked", 5, (160, 90))
    for i, frame in enumerate(range(2, 7)):
        scene.frame_set(frame)
        want = puppet.posed(p, i).means
        np.testing.assert_allclose(export.posed(imported).means, want, atol=2e-4)
    original = puppet.performances[-1].bases[:, 1:6]
    scene.frame_set(6)
    parent = np.array(imported.armature.matrix_world @ control.parent.matrix, np.float64)
    parent = parent[:3, :3] @ np.array(turned.to_matrix()) @ parent[:3, :3].T
    want = parent @ se3.gram_schmidt(original[mine, -1, :6].astype(np.float64))
    np.testing.assert_allclose(se3.gram_schmidt(p.bases[mine, -1, :6].astype(np.float64)), want, atol=1e-5)
    np.testing.assert_allclose(p.bases[~mine], original[~mine] + np.eye(9)[6] * 0.5, atol=1e-5)


def test_a_scaled_bone_is_refused_by_name(imported):
    bone = imported.armature.pose.bones[rig.bone_names(imported.armature)[2]]
    bone.scale = (1.5, 1.5, 1.5)
    with pytest.raises(InputError, match=f"Bone '{bone.name}' is scaled or sheared at frame 1"):
        capture.capture_performance(imported, bpy.context.scene, name="x")


def test_a_deleted_bone_is_told(imported):
    bpy.context.view_layer.objects.active = imported.armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = imported.armature.data.edit_bones
    bones.remove(bones["basis_11"])
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(InputError, match=r"lost the bones of bases \[11\]"):
        rig.bone_names(imported.armature)


def test_npz_holds_every_frame(tmp_path, imported, puppet):
    path = tmp_path / "cache.npz"
    export.export_npz(imported, bpy.context.scene, path)
    cache = np.load(path, allow_pickle=False)
    p = puppet.performances[-1]
    assert cache["means"].shape == (p.n_frames, len(puppet.subject), 3)
    for i in range(p.n_frames):
        np.testing.assert_allclose(cache["means"][i], puppet.posed(p, i).means, atol=2e-4)
    np.testing.assert_array_equal(cache["scales"], puppet.subject.scales)
    np.testing.assert_array_equal(cache["frames"], np.arange(1, p.n_frames + 1))


def test_a_cancelled_export_leaves_nothing(tmp_path, imported):
    with pytest.raises(Cancelled):
        export.export_npz(
            imported, bpy.context.scene, tmp_path / "c.npz", progress=Progress(cancelled=iter([False] * 4 + [True]).__next__)
        )
    assert list(tmp_path.iterdir()) == []
    assert not imported.splats.hide_viewport


@pytest.mark.skipif(not export.has_alembic(), reason="this bpy was built without Alembic")
def test_alembic_moves_as_eq_1(tmp_path, imported, puppet):
    """The exported file, imported by Blender's own importer, has the points of every frame."""
    path, p = tmp_path / "points.abc", puppet.performances[-1]
    export.export_alembic(imported, bpy.context.scene, path)
    assert [f.name for f in tmp_path.iterdir()] == ["points.abc"]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 24, 24 / 23.976
    bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    (obj,) = [o for o in bpy.data.objects if o.type == "MESH"]
    for frame in (0, 4, p.n_frames - 1):
        bpy.context.scene.frame_set(1 + frame)
        evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
        seen = np.array([evaluated.matrix_world @ v.co for v in evaluated.data.vertices])
        np.testing.assert_allclose(seen, puppet.posed(p, frame).means, atol=2e-4)
