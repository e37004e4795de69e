"""What the artist keys in one performance is in that one alone, on the screen and in the file."""

import json

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Quaternion
from rig_checks import find_control

import blender_addon
from blender_addon.puppet import actions, capture, importer, rig
from blender_addon.puppet.output import export
from blender_addon.puppet.playback import nla
from restage4d.errors import InputError
from restage4d.puppet import Puppet

TURN = Quaternion((0.2, 1, 0.4), 0.9)


def key_turn(imported, frame=5, region=1):
    """A handle turned at that frame alone: at rest one frame before and after."""
    handle = find_control(imported, region)
    for at, turn in ((frame - 1, Quaternion()), (frame, TURN), (frame + 1, Quaternion())):
        handle.rotation_quaternion = turn
        handle.keyframe_insert("rotation_quaternion", frame=at)
    return handle


def save(imported, path):
    export.run(export.puppet_steps(imported, bpy.context.scene, path))
    return path.read_bytes()


def read_state(imported):
    """What an export must leave as it was."""
    scene, data = bpy.context.scene, imported.armature.animation_data
    owners = importer.get_animated(imported)
    return {
        "frame": (scene.frame_current, scene.frame_subframe, scene.frame_start, scene.frame_end),
        "played": [actions.find_played(o) for o in owners],
        "nla": [
            (o.animation_data.use_nla, o.animation_data.use_tweak_mode)
            for o in owners
            if o.animation_data
        ],
        "tracks": [(t.name, t.mute, t.is_solo) for t in data.nla_tracks],
        "pose": importer.read_pose(imported),
        "others": [tuple(o.location) for o in scene.objects],
        "bones": [tuple(map(tuple, b.matrix)) for b in imported.armature.pose.bones],
        "hidden": [o.hide_viewport for o in bpy.data.objects],
        "collections": [c.name for c in bpy.data.collections],
        "position": imported.armature.data.pose_position,
        "selected": [o.name for o in bpy.context.selected_objects],
        "mode": bpy.context.mode,
    }


def test_keys_of_one_performance_are_in_no_other_whatever_is_shown(tmp_path, imported, puppet):
    scene = bpy.context.scene
    plain = Puppet.load((save(imported, tmp_path / "plain.puppet"), tmp_path / "plain.puppet")[1])
    key_turn(imported)
    files = {}
    for playing in ("base", "jump"):
        importer.activate(imported, playing, scene=None)
        for frame in (1, 5, 8):
            scene.frame_set(frame)
            files[playing, frame] = save(imported, tmp_path / "a.puppet")
    scene.frame_set(5)
    find_control(imported, 2).location = (0.4, 0, 0)  # no key: of no performance
    bpy.context.view_layer.objects.active = imported.armature
    bpy.ops.object.mode_set(mode="POSE")
    files["pose mode"] = save(imported, tmp_path / "a.puppet")
    nla.blend(imported, "jump", "base", start=2, frames=3)
    nla.blend(imported, "base", "jump", start=2, frames=3)
    files["blended"] = save(imported, tmp_path / "a.puppet")
    assert len(set(files.values())) == 1, {k: hash(v) for k, v in files.items()}
    again = Puppet.load(tmp_path / "a.puppet")
    mine = rig.region_of_bases(imported.armature) == 1
    for name in ("base", "jump"):
        want = puppet.performance(name).bases
        got, before = again.performance(name).bases, plain.performance(name).bases
        np.testing.assert_allclose(before, want, atol=1e-6)
        touched = np.zeros(want.shape[:2], bool)
        touched[mine, 4] = name == "jump"
        np.testing.assert_array_equal(got[~touched], before[~touched])
        assert (np.abs(got - before).max(-1) > 0.05)[touched].all()
        np.testing.assert_array_equal(again.performance(name).w2c, plain.performance(name).w2c)


def test_a_single_key_shows_in_its_performance_alone(imported, puppet):
    """One key holds for all of its performance; chosen, the other one is as it came."""
    scene, handle = bpy.context.scene, find_control(imported, 1)
    handle.location = (0.3, 0.1, 0)
    handle.keyframe_insert("location", frame=5)
    for frame in (2, 5):
        scene.frame_set(frame)
        importer.activate(imported, "base", scene=None)
        assert tuple(handle.location) == (0, 0, 0)
        want = puppet.pose(puppet.performance("base"), frame - 1).means
        np.testing.assert_allclose(export.read_posed(imported).means, want, atol=1e-4)
        assert scene.frame_current == frame
        importer.activate(imported, "jump", scene=None)
        bpy.context.view_layer.update()
        np.testing.assert_allclose(handle.location, (0.3, 0.1, 0), atol=1e-6)


@pytest.mark.parametrize("shown", ["base", "jump", "blend", "tweak mode"])
def test_an_export_leaves_the_scene_as_it_was(tmp_path, imported, shown):
    scene = bpy.context.scene
    handle, other = key_turn(imported), find_control(imported, 0)
    other.location.z = 0.2
    if shown in ("base", "jump"):
        importer.activate(imported, shown, scene=None)
    else:
        nla.blend(imported, "base", "jump", start=2, frames=4)
    if shown == "tweak mode":
        data = imported.armature.animation_data
        data.nla_tracks.active = data.nla_tracks[1]
        data.use_tweak_mode = True
        assert data.action == imported.performance("jump").action
    bpy.ops.object.empty_add()
    mine = bpy.context.object
    mine.empty_display_type, mine.data = "IMAGE", bpy.data.images.new("a picture", 2, 2)
    mine.keyframe_insert("location", frame=1)
    scene.frame_start, scene.frame_end = 3, 70
    scene.frame_set(6, subframe=0.25)
    handle.rotation_quaternion = TURN  # moved away from its keys, not keyed yet
    other.location.x = mine.location.y = 0.7
    imported.armature.hide_viewport = imported.camera.hide_viewport = True
    imported.armature.data.pose_position = "REST"
    bpy.context.view_layer.update()
    before = read_state(imported)
    save(imported, tmp_path / "a.puppet")
    export.run(export.npz_steps(imported, scene, tmp_path / "a.npz", export.What(range(2, 4))))
    assert read_state(imported) == before
    steps = export.puppet_steps(imported, scene, tmp_path / "b.puppet")
    for _ in range(7):
        next(steps)
    steps.close()
    assert read_state(imported) == before


def test_what_is_hidden_moves_in_the_file_all_the_same(tmp_path, imported):
    plain = save(imported, tmp_path / "a.puppet")
    scene, bones = bpy.context.scene, imported.armature.data
    scene.camera = None
    imported.armature.hide_viewport = imported.camera.hide_viewport = True
    assert save(imported, tmp_path / "a.puppet") == plain
    imported.armature.hide_viewport = imported.camera.hide_viewport = False
    bones.pose_position = "REST"
    assert save(imported, tmp_path / "a.puppet") == plain
    bones.pose_position = "POSE"
    bpy.context.view_layer.layer_collection.children[0].exclude = True
    assert save(imported, tmp_path / "a.puppet") == plain
    bpy.context.view_layer.layer_collection.children[0].exclude = False
    bpy.context.view_layer.objects.active = imported.armature
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(InputError, match="is in Edit Mode"):
        save(imported, tmp_path / "a.puppet")
    what = export.What(range(2, 4))
    for steps in (export.ply_steps, export.npz_steps, export.usd_steps):
        with pytest.raises(InputError, match="is in Edit Mode"):
            export.run(steps(imported, scene, tmp_path / "a.file", what))
    assert [path.name for path in tmp_path.iterdir()] == ["a.puppet"]
    assert imported.armature.mode == "EDIT"


def test_points_in_edit_mode_are_in_the_file(tmp_path, imported):
    """The mode stays; it is the armature's in which no bones are posed."""
    plain = save(imported, tmp_path / "a.puppet")
    bpy.context.view_layer.objects.active = imported.points
    bpy.ops.object.mode_set(mode="EDIT")
    assert save(imported, tmp_path / "a.puppet") == plain
    assert imported.points.mode == "EDIT"


def test_a_lens_keyed_in_one_performance_is_as_filmed_in_the_others(tmp_path):
    """Blender gives the keys a slot of its own choice in the performance's Action."""
    puppet = puppets.random_puppet(n=60)
    for p in puppet.performances:
        K, p.w2c = puppets.cameras(p.n_frames, p.size, moving=True)
        p.K = np.repeat(K[:1], len(K), 0)
    imported, scene = importer.import_puppet(puppet, name="zoom"), bpy.context.scene
    lens = imported.camera.data
    filmed = lens.lens
    for frame, value in ((3, 20.0), (5, 60.0)):
        lens.lens = value
        lens.keyframe_insert("lens", frame=frame)
    jump = imported.performance("jump").action
    assert lens.animation_data.action == jump
    scene.frame_set(4)
    files = [save(imported, tmp_path / "a.puppet")]
    importer.activate(imported, "base", scene=None)
    assert lens.lens == filmed
    (again,) = importer.find_puppets(scene)  # as a file that is opened again knows it
    files.append(save(again, tmp_path / "a.puppet"))
    assert files[0] == files[1]
    importer.activate(imported, "jump", scene=None)
    bpy.context.view_layer.update()
    assert lens.lens == pytest.approx(40)
    saved = Puppet.load(tmp_path / "a.puppet")
    np.testing.assert_allclose(
        saved.performance("base").K, puppet.performance("base").K, rtol=1e-5, atol=2e-4
    )
    fx = saved.performance("jump").K[:, 0, 0] * 36 / 160
    np.testing.assert_allclose(fx[[0, 2, 3, 4, 9]], [20, 20, 40, 60, 60], rtol=1e-5)


def test_other_animated_values_fall_back_to_their_default(imported):
    """A custom property and a constraint, keyed in one performance."""
    scene, handle = bpy.context.scene, find_control(imported, 1)
    handle["wag"] = 0.25
    handle.id_properties_ui("wag").update(default=0.25)
    limit = handle.constraints.new("LIMIT_LOCATION")
    limit.influence = 0.75
    limit.keyframe_insert("influence", frame=2)
    handle["wag"] = 0.9
    handle.keyframe_insert('["wag"]', frame=2)
    importer.activate(imported, "base", scene=None)
    default = limit.bl_rna.properties["influence"].default  # 0 until 5.2, 1 in 5.3
    assert (handle["wag"], limit.influence) == (0.25, default)
    scene.frame_set(3)
    importer.activate(imported, "jump", scene=None)
    bpy.context.view_layer.update()
    assert (handle["wag"], limit.influence) == (pytest.approx(0.9), 0.75)


def test_an_action_of_the_artist_s_is_kept():
    """On a camera that no performance moves it plays on; on the bones it makes room and stays."""
    puppet = puppets.random_puppet(n=60, names=("base", "same"))
    puppet.performances[1].K, puppet.performances[1].w2c = puppets.cameras(
        10, (160, 90), moving=False
    )
    imported = importer.import_puppet(puppet, name="still")
    imported.camera.keyframe_insert("location", frame=1)
    flight = imported.camera.animation_data.action
    mine = imported.performance("same").action.copy()
    mine.use_fake_user = False
    actions.play(imported.armature, mine, mine.slots[0])
    importer.activate(imported, "base", scene=None)
    assert imported.camera.animation_data.action == flight
    assert imported.armature.animation_data.action == imported.performance("base").action
    assert mine.use_fake_user


def test_a_handle_keyed_in_the_first_goes_to_rest_with_the_second(imported, puppet):
    scene = bpy.context.scene
    importer.activate(imported, "base", scene=None)
    handle = find_control(imported, 1)
    handle.location, handle.rotation_quaternion = (1, 0, 0), TURN
    handle.keyframe_insert("location", frame=1)
    handle.keyframe_insert("rotation_quaternion", frame=1)
    nla.blend(imported, "base", "jump", start=4, frames=3)
    for frame, share in ((3, 1.0), (5, 2 / 3), (7, 0.0), (9, 0.0), (2, 1.0)):
        scene.frame_set(frame)
        np.testing.assert_allclose(handle.location, (share, 0, 0), atol=1e-6)
    taken = capture.capture_puppet(imported, scene, also="blend").performances[-1]
    jump = puppet.performance("jump").bases
    np.testing.assert_allclose(taken.bases[:, 6:], jump[:, 6:], atol=1e-5)


def test_what_has_no_key_is_named(tmp_path, imported, capfd):
    """When another performance is chosen, and when the puppet is exported without it."""
    blender_addon.register()
    try:
        key_turn(imported)
        handle = find_control(imported, 2)
        handle.name = "left ear"
        handle.location = (0.1, 0, 0)
        assert importer.describe_moved_bones(imported) == "left ear"
        nla.blend(imported, "base", "jump", start=2, frames=3)
        assert importer.describe_moved_bones(imported) == "left ear"
        bpy.ops.restage4d.export_puppet(filepath=str(tmp_path / "a.puppet"))
        assert "not in its performances: left ear" in capfd.readouterr().out
        bpy.ops.restage4d.play_performance(name="base")
        assert "at rest again, having no key: left ear" in capfd.readouterr().out
        assert importer.describe_moved_bones(imported) == ""
        handle.rotation_mode, handle.rotation_euler = "XYZ", (0, 0.2, 0)
        assert importer.describe_moved_bones(imported) == "left ear"
        for bone in imported.armature.pose.bones:
            bone.scale.x = 2
        assert importer.describe_moved_bones(imported).endswith(
            f"and {len(imported.armature.pose.bones) - 3} more"
        )
    finally:
        blender_addon.unregister()


def test_performances_of_an_older_file_are_found(imported):
    """Files from before say nothing of where the camera stood."""
    said = json.loads(imported.armature[importer.KEY]["said"])
    del said["standing"]
    imported.armature[importer.KEY]["said"] = json.dumps(said)
    (found,) = importer.find_puppets(bpy.context.scene)
    assert found.standing == {}
    importer.activate(found, "base", scene=None)
