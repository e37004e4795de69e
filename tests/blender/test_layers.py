"""What an artist adds on a layer is on the layer alone, and in its ramp alone."""

import bpy
import numpy as np
import pytest
from layout_recorder import draw_panel
from mathutils import Quaternion
from rig_checks import basis_bones, find_control

from blender_addon.puppet import importer
from blender_addon.puppet.animation import layers, performances
from blender_addon.puppet.playback import nla
from blender_addon.ui import puppet_panel


def read(imported, name):
    scene = bpy.context.scene
    return performances.read_performances(imported, scene, [name])[name].bases


def add_layer(imported, name="gallop", label="lean", ramps=(4, 3)):
    performance = imported.performance(name)
    layer = layers.add_layer(imported.armature, performance.action, label, ramps)
    importer.play(imported, performance)
    return layer


def key(imported, frame, region=-1, height=0.3):
    """A handle raised at a frame, with the key that the I key sets."""
    bpy.context.scene.frame_set(frame)
    handle = find_control(imported, region)
    handle.location.z = height
    handle.keyframe_insert("location", frame=frame)
    layers.fit_ramps(imported.armature)


@pytest.fixture
def gallop(creature):
    puppet, imported = creature
    return imported, {p.name: read(imported, p.name) for p in puppet.performances}


def test_a_key_touches_its_ramp_and_nothing_else(gallop):
    imported, before = gallop
    layer = add_layer(imported)
    bpy.context.scene.frame_set(6)
    limb = basis_bones(imported)[2]
    limb.rotation_quaternion = Quaternion((1, 0, 0), 0.2) @ limb.rotation_quaternion
    limb.keyframe_insert("rotation_quaternion", frame=6)
    key(imported, 6)
    after = read(imported, "gallop")
    np.testing.assert_array_equal(read(imported, "base"), before["base"])
    changed = (after != before["gallop"]).any((0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed) + 1, [3, 4, 5, 6, 7, 8])
    others = np.arange(len(after)) != 2
    np.testing.assert_allclose((after - before["gallop"])[others, 5, 8], 0.3, atol=1e-3)
    for curve in layers.iter_curves(layer.action):
        keys = [(k.co.x, k.type) for k in curve.keyframe_points]
        assert keys == [(2, "GENERATED"), (6, "KEYFRAME"), (9, "GENERATED")]


def test_the_other_performance_shows_nothing_of_it(gallop):
    imported, _ = gallop
    add_layer(imported)
    key(imported, 6)
    importer.activate(imported, "base", scene=None)
    bpy.context.scene.frame_set(6)
    assert tuple(find_control(imported, -1).location) == (0, 0, 0)
    importer.activate(imported, "gallop", scene=None)
    bpy.context.scene.frame_set(6)
    assert find_control(imported, -1).location.z == pytest.approx(0.3, abs=1e-6)


def test_a_key_that_was_just_set_has_its_ramp_in_what_is_read(gallop):
    """Without waiting for the timer, which adds the ramps' ends in a window."""
    imported, before = gallop
    add_layer(imported)
    bpy.context.scene.frame_set(6)
    handle = find_control(imported, -1)
    handle.location.z = 0.3
    handle.keyframe_insert("location", frame=6)
    changed = (read(imported, "gallop") != before["gallop"]).any((0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed) + 1, [3, 4, 5, 6, 7, 8])


def test_any_bone_is_keyed_beyond_the_ramps_too(gallop):
    """A basis' bone has keys in the performance: the layer holds what leads from there."""
    imported, before = gallop
    add_layer(imported, ramps=(1, 1))
    bone, scene = basis_bones(imported)[1], bpy.context.scene
    turns = {}
    for frame in (3, 8):
        scene.frame_set(frame)
        turns[frame] = Quaternion((1, 0.2, 0), 0.5) @ bone.rotation_quaternion
        bone.rotation_quaternion = turns[frame]
        assert bone.keyframe_insert("rotation_quaternion")
        layers.fit_ramps(imported.armature)
    for frame, turn in turns.items():
        scene.frame_set(frame)
        assert abs(bone.rotation_quaternion.dot(turn)) == pytest.approx(1, abs=1e-6)
    after = read(imported, "gallop")
    others = np.arange(len(after)) != 1
    np.testing.assert_array_equal(after[others], before["gallop"][others])
    far = [0, 8, 9]
    np.testing.assert_array_equal(after[:, [0, 9]], before["gallop"][:, [0, 9]])
    np.testing.assert_allclose(after[:, far], before["gallop"][:, far], atol=1e-6)


def test_weight_mute_and_ramps_count(gallop, registered):
    imported, before = gallop
    layer = add_layer(imported)
    key(imported, 6)
    layer.action.restage4d_weight = 0.5
    height = (read(imported, "gallop") - before["gallop"])[:, 5, 8]
    np.testing.assert_allclose(height, 0.15, atol=1e-3)
    layer.action.restage4d_weight = 1
    layer.action.restage4d_ramp_in = 1
    assert layers.get_ramps(layer.action) == (1, 3)
    changed = (read(imported, "gallop") != before["gallop"]).any((0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed) + 1, [6, 7, 8])
    layer.strip.mute = True
    np.testing.assert_array_equal(read(imported, "gallop"), before["gallop"])


def test_two_layers_add_and_either_can_be_edited(gallop):
    imported, before = gallop
    add_layer(imported, label="one")
    key(imported, 6)
    add_layer(imported, label="two")
    key(imported, 6, height=0.5)  # stands at 0.5 then: 0.2 more
    both = read(imported, "gallop")
    np.testing.assert_allclose((both - before["gallop"])[:, 5, 8], 0.5, atol=1e-3)
    gallop_ = imported.performance("gallop")
    one, two = layers.find_layers(imported.armature, gallop_.action)
    assert layers.find_edited(imported.armature).action == two.action
    layers.edit(imported.armature, one)
    edited = layers.find_edited(imported.armature)
    assert (edited.name, nla.find_playing(imported).name) == ("one", "gallop")
    names = [x.name for x in layers.find_layers(imported.armature, gallop_.action)]
    assert names == ["one", "two"]  # the list stays as it is
    np.testing.assert_allclose(read(imported, "gallop"), both, atol=1e-6)
    layers.remove_layer(imported.armature, edited)
    importer.play(imported, gallop_)
    np.testing.assert_allclose(
        (read(imported, "gallop") - before["gallop"])[:, 5, 8], 0.2, atol=1e-3
    )
    layers.remove_layer(imported.armature, layers.find_edited(imported.armature))
    importer.play(imported, gallop_)
    assert imported.armature.animation_data.action == gallop_.action
    assert len(imported.armature.animation_data.nla_tracks) == 0
    np.testing.assert_array_equal(read(imported, "gallop"), before["gallop"])


def test_layers_are_saved_exported_and_baked(gallop, tmp_path, registered):
    imported, before = gallop
    add_layer(imported)
    key(imported, 6)
    layered = read(imported, "gallop")
    importer.activate(imported, "base", scene=None)
    np.testing.assert_array_equal(read(imported, "gallop"), layered)
    assert nla.find_playing(imported).name == "base"
    importer.activate(imported, "gallop", scene=None)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    (imported,) = importer.find_puppets(bpy.context.scene)
    assert layers.find_edited(imported.armature).name == "lean"
    np.testing.assert_array_equal(read(imported, "gallop"), layered)
    bpy.ops.restage4d.bake_layers()
    assert [p.name for p in imported.performances] == ["base", "gallop"]
    (imported,) = importer.find_puppets(bpy.context.scene)
    assert [p.name for p in imported.performances] == ["base", "gallop", "gallop baked"]
    baked = imported.performance("gallop baked")
    assert imported.armature.animation_data.action == baked.action
    np.testing.assert_allclose(read(imported, "gallop baked"), layered, atol=1e-6)
    np.testing.assert_array_equal(read(imported, "gallop"), layered)
    np.testing.assert_array_equal(read(imported, "base"), before["base"])


def test_layers_come_along_when_a_puppet_is_appended(gallop, tmp_path):
    imported, before = gallop
    add_layer(imported)
    key(imported, 6)
    layered, collection = read(imported, "gallop"), imported.collection.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.append(directory=str(tmp_path / "a.blend" / "Collection"), filename=collection)
    (found,) = importer.find_puppets(bpy.context.scene)
    assert layers.find_performed(found.armature) == found.performance("gallop").action
    np.testing.assert_array_equal(read(found, "gallop"), layered)
    importer.activate(found, "gallop", scene=None)  # a click: Blender appends out of tweak mode
    assert layers.find_edited(found.armature).name == "lean"
    np.testing.assert_array_equal(read(found, "base"), before["base"])


def test_operators_key_the_pose_and_say_why_they_cannot(creature, registered, capfd):
    _, imported = creature
    ops, scene = bpy.ops.restage4d, bpy.context.scene
    importer.activate(imported, "gallop", scene=None)
    assert not ops.key_layer.poll()
    before = read(imported, "gallop")
    assert ops.add_layer(name="ears", ramp_in=2, ramp_out=2) == {"FINISHED"}
    scene.frame_set(5)
    with pytest.raises(RuntimeError, match="No bone is moved"):
        ops.key_layer()
    find_control(imported, 1).rotation_quaternion = Quaternion((0, 1, 0), 0.4)
    basis_bones(imported)[0].location.x += 0.1
    assert ops.key_layer() == {"FINISHED"}
    changed = (read(imported, "gallop") != before).any((0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed) + 1, [4, 5, 6])
    assert find_control(imported, 1).rotation_quaternion.angle == pytest.approx(0.4, abs=1e-5)
    scene.frame_set(9)
    assert find_control(imported, 1).rotation_quaternion.angle == pytest.approx(0, abs=1e-6)
    scene.frame_set(5)
    ops.edit_layer(number=0)
    assert imported.armature.animation_data.action == imported.performance("gallop").action
    np.testing.assert_array_equal(
        np.flatnonzero((read(imported, "gallop") != before).any((0, 2))) + 1, [4, 5, 6]
    )
    ops.edit_layer(number=1)
    shown = draw_panel(puppet_panel.RESTAGE4D_PT_puppet)
    assert "Tweak Layers (1)" in shown.text
    assert "restage4d_weight" in shown.properties
    assert {"restage4d.key_layer", "restage4d.bake_layers"} <= {b for b, _ in shown.buttons}
    ops.remove_layer(number=1)
    np.testing.assert_array_equal(read(imported, "gallop"), before)
