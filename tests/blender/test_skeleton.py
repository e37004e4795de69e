"""The body rig: exact when untouched, bends without tearing, carries children, reaches by inverse
kinematics, and everything that leaves Blender shows what one sees."""

from pathlib import Path

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Matrix, Quaternion, Vector
from rig_checks import assert_eq_1
from skeleton_checks import (
    FRAME,
    extent,
    find_limb,
    find_neighbours,
    main_bone,
    share_of_torn,
    turn,
)

from blender_addon.puppet import builder, capture, importer
from blender_addon.puppet.output import export
from blender_addon.puppet.playback import nla
from blender_addon.skeleton import build
from blender_addon.skeleton.plan import IK, LIMB
from blender_addon.skeleton.switching import switch_moved_limbs
from restage4d.puppet import Puppet
from restage4d.skeleton.extending import LOSS

pytestmark = pytest.mark.usefixtures("registered")


def test_names_and_hierarchy(walker):
    _, imported = walker
    bones, names = imported.armature.pose.bones, build.list_bones(imported.armature)
    limbs = [
        f"leg_{end}_{piece}.{s}"
        for end in ("front", "hind")
        for s in "LR"
        for piece in ("upper", "lower", "foot")
    ]
    assert set(names) >= {"hips", "chest", "head", "tail_1", "tail_2", "tail_3", *limbs}
    above = {name: [p.name for p in bones[name].parent_recursive] for name in names}
    assert "chest" in above["head"]
    assert "hips" in above["chest"]
    assert "chest" in above["leg_front_lower.L"]
    assert "leg_front_upper.L" in above["leg_front_lower.L"]
    assert "chest" not in above["leg_hind_lower.R"]
    assert "hips" in above["tail_3"]
    assert all("root" in parents for parents in above.values())
    # the creature's head is towards +x, so its left is +y
    for name in names:
        if name.endswith((".L", ".R")):
            assert (bones[name].bone.head_local.y > 0) == name.endswith(".L"), name
        if name.startswith("leg_front"):
            assert bones[name].bone.head_local.x > 0
    folders = imported.armature.data.collections
    assert {"Torso", "Head", "Tail", "Leg Front Left", "IK"} <= set(folders.keys())
    assert not folders["Mechanism"].is_visible
    assert not folders["Bases"].is_visible


def test_untouched_it_is_exact(walker):
    """At every frame of both performances, and between frames."""
    puppet, imported = walker
    scene = bpy.context.scene
    for p in puppet.performances:
        importer.activate(imported, p.name, scene=scene)
        for frame in range(p.n_frames):
            scene.frame_set(1 + frame)
            off = np.abs(export.read_posed(imported).means - puppet.pose(p, frame).means).max()
            assert off < 1e-6 * extent(puppet)
    scene.frame_set(3, subframe=0.37)
    armature = imported.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    changes = build.read_changes(armature)
    assert len(changes) == len(build.list_bones(imported.armature))
    np.testing.assert_allclose(changes, np.tile(np.eye(4), (len(changes), 1, 1)), atol=5e-6)


def test_untouched_it_costs_no_point_anything(walker):
    """Points pass as they are, to the bit: carried on by rounding, some would differ."""
    _, imported = walker
    carrying = imported.points.modifiers["Skeleton"]
    shown = []
    for carrying.show_viewport in (True, False):
        bpy.context.view_layer.update()
        shown.append(export.read_posed(imported))
    np.testing.assert_array_equal(shown[0].means, shown[1].means)
    np.testing.assert_array_equal(shown[0].quats, shown[1].quats)


def test_a_bend_of_any_joint_tears_nothing(walker):
    puppet, imported = walker
    before, near = export.read_posed(imported).means, find_neighbours(puppet.subject.means)
    for name in build.list_bones(imported.armature):
        turn(imported, name, 35, (0.3, 1, 0.2))
        after = export.read_posed(imported).means
        assert_eq_1(imported, puppet)
        assert np.abs(after - before).max() > 0.005
        assert share_of_torn(before, after, near) < 1e-3, name
        imported.armature.pose.bones[name].matrix_basis = Matrix()
        bpy.context.view_layer.update()


def test_a_bent_tail_leaves_nothing_behind(walker):
    """All of the outer two thirds turn with the bone at the root, by the same angle, and what does
    not belong to it stays."""
    _, imported = walker
    before = export.read_posed(imported)
    turn(imported, "tail_1", 60)
    after, owner = export.read_posed(imported), main_bone(imported)
    joint = np.array(imported.armature.pose.bones["tail_1"].matrix.translation)
    R = np.array(Matrix.Rotation(np.radians(60), 3, "Z"))
    outer = np.isin(owner, ["tail_2", "tail_3"])
    assert outer.sum() > 50
    want = (before.means - joint) @ R.T + joint
    assert np.linalg.norm(after.means - want, axis=1)[outer].max() < 0.03
    assert np.linalg.norm(after.means - before.means, axis=1)[owner == "chest"].max() < 1e-5


def test_a_turned_neck_carries_the_head(walker):
    _, imported = walker
    before, owner = export.read_posed(imported).means, main_bone(imported)
    root = "neck" if "neck" in build.list_bones(imported.armature) else "head"
    joint = np.array(imported.armature.pose.bones[root].matrix.translation)
    turn(imported, root, 35)
    R = np.array(Matrix.Rotation(np.radians(35), 3, "Z"))
    after = export.read_posed(imported).means
    want = (before - joint) @ R.T + joint
    far = (owner == "head") & (np.linalg.norm(before - joint, axis=1) > 0.18)
    assert far.sum() > 100
    assert np.linalg.norm(after - want, axis=1)[far].max() < 1e-3


@pytest.mark.parametrize("name", ["leg_front_lower.L", "leg_hind_lower.R"])
def test_inverse_kinematics_reaches_and_does_nothing_before(walker, name):
    puppet, imported = walker
    before = export.read_posed(imported).means
    control, end = find_limb(imported, name)
    assert control[build.SWITCH] == 0
    control.location = (0.05, 0.02, 0.08)
    bpy.context.view_layer.update()
    assert np.abs(export.read_posed(imported).means - before).max() < 1e-5  # FK: it waits
    control.location = (0, 0, 0)
    control[build.SWITCH] = 1.0
    imported.armature.update_tag()
    bpy.context.view_layer.update()
    assert np.abs(export.read_posed(imported).means - before).max() < 0.01 * extent(puppet)
    place = control.matrix.translation + Vector((0.04, 0.01, 0.1))
    control.matrix = Matrix.Translation(place) @ control.matrix.to_quaternion().to_matrix().to_4x4()
    bpy.context.view_layer.update()
    assert (end.tail - place).length < 1e-3
    after, owner = export.read_posed(imported).means, main_bone(imported)
    assert np.linalg.norm(after - before, axis=1)[owner == "head"].max() < 1e-5
    near = np.argsort(
        np.linalg.norm(before - np.array(end.tail - Vector((0.04, 0.01, 0.1))), axis=1)
    )
    moved = (after - before)[near[:20]]
    assert np.linalg.norm(moved.mean(0) - [0.04, 0.01, 0.1]) < 0.06  # the foot turns with the leg
    assert_eq_1(imported, puppet)


def test_every_limb_has_its_control_and_pole(walker):
    _, imported = walker
    bones = imported.armature.data.bones
    ends = {b[LIMB] for b in bones if b.get("restage4d_role") == IK}
    assert len(ends) == 4
    assert {b[LIMB] for b in bones if b.get("restage4d_role") == "pole"} == ends


def test_the_root_carries_everything(walker):
    _, imported = walker
    before = export.read_posed(imported).means
    imported.armature.pose.bones["root"].location = (0.3, 0.1, 0)
    bpy.context.view_layer.update()
    moved = export.read_posed(imported).means - before
    np.testing.assert_allclose(moved, np.tile(moved[0], (len(moved), 1)), atol=1e-5)
    assert np.linalg.norm(moved[0]) == pytest.approx(np.hypot(0.3, 0.1), abs=1e-5)


def test_what_leaves_as_a_puppet_is_what_one_sees(walker, tmp_path):
    """Keyed bends come back from the file within `LOSS`; performances without any come back
    to float32, with the same bases."""
    puppet, imported = walker
    scene = bpy.context.scene
    plain = capture.capture_puppet(imported, scene)
    assert plain.n_bases == puppet.n_bases
    np.testing.assert_array_equal(plain.index, puppet.index)
    for p, q in zip(puppet.performances, plain.performances, strict=True):
        np.testing.assert_allclose(q.bases, p.bases, atol=1e-5)
    for name, degrees in (("tail_1", 60), ("neck", 35)):
        turn(imported, name, degrees)
        imported.armature.pose.bones[name].keyframe_insert("rotation_quaternion", frame=FRAME)
        imported.armature.pose.bones[name].keyframe_insert("location", frame=FRAME)
    list(export.puppet_steps(imported, scene, tmp_path / "bent.puppet"))
    bent = Puppet.load(tmp_path / "bent.puppet")
    assert puppet.n_bases < bent.n_bases < 600
    for frame in (1, FRAME, 10):
        scene.frame_set(frame)
        want = export.read_posed(imported)
        seen = bent.pose(bent.performances[-1], frame - 1)
        assert np.linalg.norm(seen.means - want.means, axis=1).max() < 1.2 * LOSS * extent(puppet)
        still = bent.pose(bent.performances[0], frame - 1).means
        np.testing.assert_allclose(
            still, puppet.pose(puppet.performances[0], frame - 1).means, atol=2e-6
        )
    again = importer.import_puppet(bent, name="again")
    scene.frame_set(FRAME)
    np.testing.assert_allclose(
        export.read_posed(again).means, bent.pose(bent.performances[-1], FRAME - 1).means, atol=1e-5
    )


def test_saved_and_appended_it_is_posed_the_same(walker, tmp_path):
    _, imported = walker
    bone = imported.armature.pose.bones["tail_2"]
    bone.rotation_quaternion = Quaternion((0, 0, 1), 0.9)
    control, _ = find_limb(imported, "leg_front_lower.R")
    control[build.SWITCH], control.location = 1.0, (0, 0.03, 0.08)
    imported.armature.update_tag()
    bpy.context.view_layer.update()
    want = export.read_posed(imported).means
    path = str(Path(tmp_path) / "posed.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    (found,) = importer.find_puppets(bpy.context.scene)
    np.testing.assert_allclose(export.read_posed(found).means, want, atol=1e-5)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(path) as (there, here):
        here.collections = [n for n in there.collections if n == "Restage4D walker"]
    bpy.context.scene.collection.children.link(here.collections[0])
    bpy.context.scene.frame_set(FRAME)
    (found,) = importer.find_puppets(bpy.context.scene)
    np.testing.assert_allclose(export.read_posed(found).means, want, atol=1e-5)


def test_without_a_skeleton_it_says_so(monkeypatch):
    monkeypatch.setattr(builder, "find_skeleton", lambda puppet: None)
    importer.import_puppet(puppets.creature(n=500, frames=3, size=(96, 72)), name="c")
    assert not bpy.ops.restage4d.find_contacts.poll()
    with pytest.raises(RuntimeError, match="no skeleton"):
        bpy.ops.restage4d.set_ik()


def test_a_click_says_where_the_head_is(walker):
    """What was the tail is the head then; untouched it is exact again in every performance, and it
    bends."""
    puppet, imported = walker
    scene = bpy.context.scene
    imported.armature.location = (0.4, 0.1, 0)
    turn(imported, "tail_1", 30)
    imported.armature.pose.bones["tail_1"].keyframe_insert("rotation_quaternion", frame=FRAME)
    point = int(puppet.subject.means[:, 0].argmin())
    assert bpy.ops.restage4d.place_head(point=point) == {"FINISHED"}
    names, bones = build.list_bones(imported.armature), imported.armature.data.bones
    assert bones["head"].head_local.x < 0
    assert len(names) == len(set(names))
    assert not [b.name for b in bones if "." in b.name and b.name[-1].isdigit()]
    for p in puppet.performances:
        importer.activate(imported, p.name, scene=scene)
        for frame in (0, 5, 9):
            scene.frame_set(1 + frame)
            want = puppet.pose(p, frame).means + np.float32([0.4, 0.1, 0])
            np.testing.assert_allclose(export.read_posed(imported).means, want, atol=3e-6)
    before = export.read_posed(imported).means
    head = next(x for x in importer.recall(imported.armature).about["body"] if x.kind == "head")
    assert head.tip[0] < -0.3  # the plan that the file gets
    turn(imported, "head", 35)
    assert np.linalg.norm(export.read_posed(imported).means - before, axis=1).max() > 0.05
    assert_eq_1(imported, puppet)


def test_a_copy_of_the_scene_is_posed_by_itself(walker):
    """Bones, inverse kinematics and the helper meshes of the copy are its own."""
    _, imported = walker
    before = export.read_posed(imported).means
    bpy.ops.scene.new(type="FULL_COPY")
    bpy.context.scene.frame_set(FRAME)
    (copy,) = importer.find_puppets(bpy.context.scene)
    control, end = find_limb(copy, "leg_front_lower.L")
    control[build.SWITCH] = 1.0
    control.location = (0, 0.02, 0.08)
    copy.armature.pose.bones["tail_1"].rotation_quaternion = Quaternion((1, 0, 0), 0.6)
    copy.armature.update_tag()
    bpy.context.view_layer.update()
    assert (end.tail - control.matrix.translation).length < 1e-3
    assert np.abs(export.read_posed(copy).means - before).max() > 0.05
    bpy.context.window.scene = next(
        s for s in bpy.data.scenes if imported.armature.name in s.objects
    )
    bpy.context.view_layer.update()
    np.testing.assert_allclose(export.read_posed(imported).means, before, atol=1e-6)


def test_while_performances_blend_it_stays_out_of_the_way(walker):
    """In the NLA between two performances an untouched skeleton changes nothing."""
    _, imported = walker
    nla.blend(imported, "base", "gallop", start=2, frames=5)
    for frame in (3, 5):
        bpy.context.scene.frame_set(frame)
        armature = imported.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        changes = build.read_changes(armature)
        np.testing.assert_allclose(changes, np.tile(np.eye(4), (len(changes), 1, 1)), atol=5e-6)


def test_a_control_that_is_moved_switches_its_limb_on(walker):
    """Once, at the frame where it was moved; not while the switch is keyed or set back to 0."""
    _, imported = walker
    armature = imported.armature
    control, _ = find_limb(imported, "leg_front_lower.L")
    assert switch_moved_limbs(armature, FRAME) == []
    assert switch_moved_limbs(armature, FRAME) == []
    control.location = (0.05, 0.02, 0.08)
    assert switch_moved_limbs(armature, FRAME) == ["Leg Front Left"]
    assert control[build.SWITCH] == 1
    control[build.SWITCH] = 0.0  # the artist's will
    assert switch_moved_limbs(armature, FRAME) == []
    control.location = (0.05, 0.02, 0.09)
    assert switch_moved_limbs(armature, FRAME + 1) == []  # another frame plays
    other, _ = find_limb(imported, "leg_hind_lower.R")
    armature.keyframe_insert(f'pose.bones["{other.name}"]["{build.SWITCH}"]', frame=FRAME)
    other.location = (0.05, 0.02, 0.08)
    assert switch_moved_limbs(armature, FRAME + 1) == []
    assert other[build.SWITCH] == 0
