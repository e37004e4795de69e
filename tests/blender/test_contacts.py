"""Feet that stand: found, marked and held."""

import bpy
import numpy as np
import puppets
import pytest
from layout_recorder import draw_panel
from mathutils import Vector
from skeleton_checks import (
    extent,
    turn,
)

from blender_addon.puppet import importer
from blender_addon.puppet.animation.curves import find_bone_curves
from blender_addon.puppet.output import export
from blender_addon.skeleton import contacts
from blender_addon.skeleton.contact_list import read_contacts
from blender_addon.ui.puppet_panel import RESTAGE4D_PT_puppet
from restage4d.skeleton.finding import find_skeleton
from restage4d.skeleton.motion import compute_motion

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def stander():
    """Walks, stands from its frame 6 to 14 while it slips by 2 hundredths, then walks on."""
    puppet = puppets.creature(n=5000, frames=22, size=(96, 72))
    for p in puppet.performances:
        p.bases[:, 6:15] = p.bases[:, 11:12]
        p.bases[:, 6:15, 6] += np.linspace(0, 0.02, 9)
        p.bases[:, 15:, 6] += 0.02
    return puppet, importer.import_puppet(puppet, name="stander")


def read_sole(imported, puppet, control, frames):
    """(T, 12, 3) the points at a limb's end."""
    scene = bpy.context.scene
    scene.frame_set(frames[0])
    means = export.read_posed(imported).means
    end = imported.armature.pose.bones[control.replace("_ik", "_end")].tail
    sole = np.argsort(np.linalg.norm(means - np.array(end), axis=1))[:12]
    out = []
    for frame in frames:
        scene.frame_set(frame)
        out.append(export.read_posed(imported).means[sole])
    return np.array(out)


def test_a_contact_is_found_marked_and_held(stander, tmp_path):
    puppet, imported = stander
    scene = bpy.context.scene
    assert bpy.ops.restage4d.find_contacts() == {"FINISHED"}
    found = [c for c in read_contacts(imported.armature, "gallop") if c.first <= 10 <= c.last]
    assert {c.part for c in found} >= {"leg_front.L", "leg_hind.R"}
    assert all(abs(c.first - 7) <= 1 and abs(c.last - 15) <= 1 for c in found)
    marked = {m.frame for m in scene.timeline_markers if "leg_front.L down" in m.name}
    contact = next(c for c in found if c.part == "leg_front.L")
    assert marked == {contact.first, contact.last}
    frames = range(contact.first, contact.last + 1)
    loose = read_sole(imported, puppet, contact.control, frames).mean(1)
    assert np.linalg.norm(np.ptp(loose, axis=0)) > 0.015
    before = dict.fromkeys((1, contact.last + 6))
    for frame in before:
        scene.frame_set(frame)
        before[frame] = export.read_posed(imported).means
    scene.frame_set(10)
    assert bpy.ops.restage4d.lock_contacts(scope="CURRENT", blend=3) == {"FINISHED"}
    held = read_sole(imported, puppet, contact.control, frames).mean(1)
    assert np.linalg.norm(np.ptp(held, axis=0)) < 0.002 * extent(puppet)
    for frame, want in before.items():  # beyond the blends nothing is changed
        scene.frame_set(frame)
        np.testing.assert_allclose(export.read_posed(imported).means, want, atol=1e-5)
    importer.activate(imported, "base", scene=scene)  # another performance is not held
    scene.frame_set(10)
    np.testing.assert_allclose(
        export.read_posed(imported).means,
        puppet.pose(puppet.performance("base"), 9).means,
        atol=2e-6,
    )
    importer.activate(imported, "gallop", scene=scene)
    scene.frame_set(10)
    assert bpy.ops.restage4d.free_contacts(scope="ALL") == {"FINISHED"}
    again = read_sole(imported, puppet, contact.control, frames).mean(1)
    np.testing.assert_allclose(again, loose, atol=1e-5)


def test_a_held_sole_does_not_turn(stander):
    """The leg above it sways by 8 degrees: each point of the sole stays, not their middle alone."""
    puppet, imported = stander
    scene = bpy.context.scene
    bpy.ops.restage4d.find_contacts()
    contact = next(
        c
        for c in read_contacts(imported.armature, "gallop")
        if c.part == "leg_front.L" and c.first <= 10 <= c.last
    )
    bone = imported.armature.pose.bones["leg_front_upper.L"]
    for frame, degrees in ((contact.first, 4), (contact.last, -4)):
        scene.frame_set(frame)
        turn(imported, bone.name, degrees, (0, 1, 0))
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    frames = range(contact.first, contact.last + 1)
    loose = read_sole(imported, puppet, contact.control, frames)
    assert np.linalg.norm(np.ptp(loose, axis=0), axis=1).min() > 0.02
    scene.frame_set(10)
    bpy.ops.restage4d.lock_contacts(scope="CURRENT", blend=3)
    foot = imported.armature.pose.bones["leg_front_foot.L"]
    assert len(foot.constraints) == 2
    held = read_sole(imported, puppet, contact.control, frames)
    assert np.linalg.norm(np.ptp(held, axis=0), axis=1).max() < 1e-3 * extent(puppet)
    bpy.ops.restage4d.free_contacts(scope="ALL")
    assert not foot.constraints
    assert not [o for o in bpy.data.objects if o.name.startswith("leg_front.L")]


def test_a_sole_that_bends_stands_all_the_same(stander):
    """It goes to and fro below the foot while it stands: its points are held, not the bone."""
    puppet, _ = stander
    scene = bpy.context.scene
    low = puppet.subject.means[:, 2] < 0.05  # the soles get bases of their own
    puppet.index[low] += np.uint16(puppet.n_bases)
    for p in puppet.performances:
        soles = p.bases.copy()
        soles[:, 6:15, 6] += 0.03 * np.sin(np.linspace(0, 6, 9))
        p.bases = np.concatenate([p.bases, soles])
    imported = importer.import_puppet(puppet, name="bender")
    bpy.ops.restage4d.find_contacts(speed=3.0)
    contact = next(
        c
        for c in read_contacts(imported.armature, "gallop")
        if c.part == "leg_front.L" and c.first <= 10 <= c.last
    )
    frames = range(max(contact.first, 7), min(contact.last, 15) + 1)
    loose = read_sole(imported, puppet, contact.control, frames).mean(1)
    scene.frame_set(10)
    bpy.ops.restage4d.lock_contacts(scope="CURRENT", blend=3)
    held = read_sole(imported, puppet, contact.control, frames).mean(1)
    assert np.linalg.norm(np.ptp(loose, axis=0)) > 0.015
    assert np.linalg.norm(np.ptp(held, axis=0)) < 0.002 * extent(puppet)
    assert [a for a in bpy.data.actions if "foot" in a.name]
    bpy.ops.restage4d.free_contacts(scope="ALL")
    assert not [a for a in bpy.data.actions if "foot" in a.name]


def test_what_is_out_of_reach_is_the_last_thing_told(stander, monkeypatch, capfd):
    """The status bar shows the last report alone."""
    monkeypatch.setattr(contacts, "measure_misses", lambda i, s, done: [(done[0], 0.04)])
    bpy.ops.restage4d.find_contacts()
    capfd.readouterr()
    bpy.ops.restage4d.lock_contacts(scope="ALL", blend=2)
    last = capfd.readouterr().out.strip().splitlines()[-1]
    assert "Warning: " in last or "WARNING" in last, last
    assert "1 of them out of reach" in last
    assert "by 4.0 % of the subject" in last


def test_the_panel_says_which_foot_cannot_reach(stander):
    _, imported = stander
    armature = imported.armature
    bpy.context.view_layer.objects.active = armature
    bpy.ops.restage4d.find_contacts()
    bpy.ops.restage4d.lock_contacts(scope="ALL", blend=2)
    short = next(c for c in read_contacts(armature, "gallop") if c.part == "leg_front.L")
    assert short.miss == 0
    assert not [t for t in draw_panel(RESTAGE4D_PT_puppet).texts if "too short" in t]
    circle = next(o for o in bpy.data.objects if o.name.startswith(f"leg_front.L {short.first}-"))
    away = 0.5 * max(imported.points.dimensions)
    circle.location.x += away  # farther than the leg is long
    missed = contacts.measure_misses(imported, bpy.context.scene, [short])
    assert [c.part for c, _ in missed] == ["leg_front.L"]
    again = next(c for c in read_contacts(armature, "gallop") if c.part == "leg_front.L")
    assert again.miss == pytest.approx(missed[0][1])
    assert 0.1 < again.miss < 0.5
    told = " ".join(draw_panel(RESTAGE4D_PT_puppet).texts)
    mm = 1000 * again.miss * max(imported.points.dimensions)
    assert f"Leg Front Left is {mm:.1f} mm too short at frames {short.first} to" in told
    assert bpy.ops.restage4d.free_contacts(scope="ALL") == {"FINISHED"}
    assert all(c.miss == 0 for c in read_contacts(armature))
    assert "too short" not in " ".join(draw_panel(RESTAGE4D_PT_puppet).texts)


def test_the_panel_shows_the_skeleton_by_the_names_of_its_parts(stander):
    _, imported = stander
    bpy.context.view_layer.objects.active = imported.armature
    layout = draw_panel(RESTAGE4D_PT_puppet)
    buttons = [name for name, _ in layout.buttons]
    assert buttons.index("restage4d.find_contacts") < buttons.index("restage4d.make_proxy")
    assert "IK: Leg Front Left" in layout.texts
    assert "Find Contacts" in layout.texts


def test_a_contact_follows_an_object(stander):
    _, imported = stander
    scene = bpy.context.scene
    platform = bpy.data.objects.new("platform", None)
    scene.collection.objects.link(platform)
    bpy.ops.restage4d.find_contacts()
    contact = next(
        c
        for c in read_contacts(imported.armature, "gallop")
        if c.part == "leg_front.L" and c.first <= 10 <= c.last
    )
    scene.frame_set(10)
    bpy.ops.restage4d.lock_contacts(scope="ALL", blend=2, on="platform")
    end = imported.armature.pose.bones[contact.control.replace("_ik", "_end")]
    before = end.tail.copy()
    platform.location = (0.02, 0, 0.04)
    bpy.context.view_layer.update()
    assert ((end.tail - before) - Vector((0.02, 0, 0.04))).length < 2e-3


def test_locking_before_finding_is_told(walker):
    with pytest.raises(RuntimeError, match="Find contacts first"):
        bpy.ops.restage4d.lock_contacts()


def test_the_skeleton_s_curves_have_few_keys_and_move_nothing(stander):
    """Captured bones and followers have the same few keys; joints stay near where they were
    measured; the bases keep a key a frame, so that the points are exact."""
    puppet, imported = stander
    scene, action = bpy.context.scene, imported.performance("gallop").action
    keys = {(c.data_path, c.array_index): c.keyframe_points for c in find_bone_curves(action)}
    of_skeleton = [len(k) for (path, _), k in keys.items() if " captured" in path]
    assert sum(of_skeleton) < 22 / 4.4 * len(of_skeleton)
    for (path, i), points in keys.items():
        if " captured" in path:
            other = keys[path.replace(" captured", " follows"), i]
            assert [tuple(k.co) for k in points] == [tuple(k.co) for k in other]
        elif "basis" in path:
            assert len(points) == 22
    skeleton = find_skeleton(puppet)
    moved = compute_motion(skeleton, puppet, puppet.performance("gallop").bases).bones
    for frame in (0, 7, 15, 21):
        scene.frame_set(1 + frame)
        for s, bone in enumerate(skeleton.bones):
            want = moved[s, frame, :3, :3] @ bone.head + moved[s, frame, :3, 3]
            got = imported.armature.pose.bones[bone.name].head
            assert np.linalg.norm(want - got) < 2e-3, bone.name
