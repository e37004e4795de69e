"""What a drag does to the skeleton: it goes along with its points, at this frame and over the
frames around it, and nothing else changes."""

import bpy
import numpy as np
import pytest
from skeleton_checks import FRAME, OFFSET, extent, find_limb, find_paw, turn

from blender_addon.operators.posing import drag
from blender_addon.puppet.animation import layers
from blender_addon.puppet.output import export
from blender_addon.puppet.posing import hand
from blender_addon.skeleton import build, new_keys
from blender_addon.skeleton.plan import CAPTURED
from restage4d.puppet import Puppet
from restage4d.skeleton.motion import compute_motion

pytestmark = pytest.mark.usefixtures("registered")


def read_bones(imported, role=CAPTURED):  # -> (S, 4, 4)
    bpy.context.view_layer.update()
    bones = imported.armature.pose.bones
    return np.array([bones[n].matrix for n in build.list_bones(imported.armature, role)])


def measure_off(imported, puppet):  # -> (S,)
    """How far both ends of each bone are from where the bone's points have them."""
    armature = imported.armature
    bases = hand.take_hold(imported).body.bases[:, None]
    skeleton = new_keys.read_skeleton(armature, imported.points)
    there = Puppet(puppet.subject, puppet.index, puppet.weight, [], puppet.subject)
    moved = compute_motion(skeleton, there, bases).bones[:, 0]
    posed, off = read_bones(imported, "control"), []
    for s, (bone, motion) in enumerate(zip(skeleton.bones, moved, strict=True)):
        head, tail = (motion[:3, :3] @ x + motion[:3, 3] for x in (bone.head, bone.tail))
        mine = posed[s][:3, 3], posed[s][:3, 3] + posed[s][:3, 1] * bone.length
        off.append(max(np.linalg.norm(mine[0] - head), np.linalg.norm(mine[1] - tail)))
    return np.array(off)


def dump_keys(action):
    """Every key and handle of an Action."""
    curves = [c for x in action.layers for s in x.strips for b in s.channelbags for c in b.fcurves]
    return [
        (c.data_path, c.array_index, [(*k.co, *k.handle_left, *k.handle_right) for k in
                                      c.keyframe_points])
        for c in curves
    ]  # fmt: skip


def test_bones_stand_where_the_body_is(walker):
    puppet, imported = walker
    size, before = extent(puppet), read_bones(imported)
    was_off = measure_off(imported, puppet)
    paw = find_paw(imported)
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=2) == {"FINISHED"}
    names = build.list_bones(imported.armature)
    shift = np.linalg.norm(read_bones(imported)[:, :3, 3] - before[:, :3, 3], axis=1)
    assert shift[names.index("leg_front_foot.L")] > 0.05
    assert shift[names.index("tail_3")] < 0.01
    assert measure_off(imported, puppet).max() < was_off.max() + 5e-3 * size
    # untouched controls: the bases alone say where points are
    np.testing.assert_allclose(
        read_bones(imported), read_bones(imported, "control"), atol=2e-6 * size
    )
    eq_1 = hand.take_hold(imported).body.pose()
    np.testing.assert_allclose(export.read_posed(imported).means, eq_1, atol=2e-6 * size)
    control, end = find_limb(imported, "leg_front_lower.L")
    assert np.linalg.norm(end.tail - control.matrix.translation) < 5e-3 * size
    stood = export.read_posed(imported).means
    control[build.SWITCH] = 1.0  # the leg is where it reaches already
    imported.armature.update_tag()
    bpy.context.view_layer.update()
    assert np.linalg.norm(export.read_posed(imported).means - stood, axis=1).max() < 0.02 * size


def test_frames_beyond_keep_bones_and_points(walker):
    puppet, imported = walker
    frames = np.arange(1, 11, 0.5)

    def read(frame):
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        return read_bones(imported), export.read_posed(imported).means

    before = [read(f) for f in frames]
    bpy.context.scene.frame_set(FRAME)
    moving = {"point": find_paw(imported), "offset": OFFSET, "frames": 1}
    assert bpy.ops.restage4d.drag(**moving) == {"FINISHED"}
    far = []
    for frame, old in zip(frames, before, strict=True):
        new = read(frame)
        far.append([np.abs(a - b).max() for a, b in zip(new, old, strict=True)])
    bones, points = np.array(far).T
    beyond = np.abs(frames - FRAME) >= 2
    assert bones[beyond].max() < 1e-6 * extent(puppet)
    assert points[beyond].max() < 1e-6 * extent(puppet)
    assert bones[np.abs(frames - FRAME) <= 1].min() > 0.02
    assert np.all(points[np.abs(frames - FRAME) <= 1] > 0.02)


def test_pulled_forth_and_back_bones_are_where_they_were(walker):
    puppet, imported = walker
    before, stood = read_bones(imported), export.read_posed(imported).means
    mixins = tuple(b for b in drag.RESTAGE4D_OT_drag.__bases__ if b is not bpy.types.Operator)
    tool = type("Tool", mixins, {**vars(drag.RESTAGE4D_OT_drag)})()
    tool.armature, tool.point = imported.armature.name, find_paw(imported)
    tool.size, tool.reach, tool.frames, tool.set_keys = 0.03, 0.35, 0, True
    tool._begin(imported)
    for share in (*np.linspace(0.1, 1, 10), *np.linspace(0.9, 0, 10)):
        tool.offset = share * np.array(OFFSET)
        tool._pull(imported)
        if share == 1:  # while pulling, too
            assert np.abs(read_bones(imported) - before).max() > 0.05
    hand.pose_bones(imported.armature, tool.hold, tool.pulled.settle())
    np.testing.assert_allclose(read_bones(imported), before, atol=1e-3 * extent(puppet))
    bpy.context.view_layer.update()
    after = export.read_posed(imported).means
    np.testing.assert_allclose(after, stood, atol=1e-3 * extent(puppet))


def test_layers_and_other_performances_stay_to_the_bit(walker):
    _, imported = walker
    actions = [p.action for p in imported.performances]
    bpy.ops.restage4d.add_layer(name="below")
    turn(imported, "head", 20)
    assert bpy.ops.restage4d.key_layer() == {"FINISHED"}
    below = layers.find_edited(imported.armature).action
    bpy.ops.restage4d.add_layer(name="dragged")
    own = layers.find_edited(imported.armature).action
    before = [dump_keys(a) for a in (*actions, below)]
    bones = read_bones(imported)
    moving = {"point": find_paw(imported), "offset": OFFSET, "frames": 1}
    assert bpy.ops.restage4d.drag(**moving) == {"FINISHED"}
    assert [dump_keys(a) for a in (*actions, below)] == before
    assert any("leg_front_foot.L captured" in path for path, *_ in dump_keys(own))
    assert np.abs(read_bones(imported) - bones).max() > 0.05
    hips = read_bones(imported)[0, :3, 3] - bones[0, :3, 3]
    assert np.abs(hips).max() < 0.01  # far from the paw


def test_undo_brings_all_keys_back(walker):
    _, imported = walker
    action = imported.performances[-1].action
    name, armature = action.name, imported.armature.name
    paw, before = find_paw(imported), dump_keys(action)
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET) == {"FINISHED"}
    bpy.ops.ed.undo_push(message="dragged")
    assert dump_keys(bpy.data.actions[name]) != before
    bpy.ops.ed.undo()
    assert dump_keys(bpy.data.actions[name]) == before
    assert armature in bpy.data.objects


def test_a_place_that_the_skeleton_carries_goes_to_the_hand(walker):
    """The offset is the world's, also where the artist turned the bones there."""
    _, imported = walker
    turn(imported, "leg_front_upper.L", 60, axis=(0, 1, 0))
    paw, before = find_paw(imported), export.read_posed(imported).means
    moving = {"point": paw, "offset": OFFSET, "frames": 0}
    assert bpy.ops.restage4d.drag(**moving) == {"FINISHED"}
    turned = imported.armature.pose.bones["leg_front_upper.L"]
    assert turned.rotation_quaternion.angle > 0.5, "what was not keyed stays where it is"
    bpy.context.view_layer.update()
    moved = (export.read_posed(imported).means - before)[paw]
    np.testing.assert_allclose(moved, OFFSET, atol=0.02)
