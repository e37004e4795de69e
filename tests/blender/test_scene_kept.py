"""The artist's scene stays as it is when a puppet comes in or a performance is chosen, unless the
shot's settings are asked for."""

from pathlib import Path

import bpy
import puppets
import pytest

from blender_addon import runtime
from blender_addon.puppet import actions, importer, shot_settings
from blender_addon.session.models import WatchedJob

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def puppet_file(tmp_path):
    path = tmp_path / "dog.puppet"
    puppets.random_puppet(n=60).save(path)
    return path


def read_settings():
    scene, r = bpy.context.scene, bpy.context.scene.render
    return {
        "size": (r.resolution_x, r.resolution_y, r.resolution_percentage),
        "aspect": (r.pixel_aspect_x, r.pixel_aspect_y),
        "rate": (r.fps, r.fps_base),
        "range": (scene.frame_start, scene.frame_end),
        "frame": scene.frame_current,
        "camera": scene.camera,
        "colours": (scene.view_settings.view_transform, scene.cycles.transparent_max_bounces),
        "shading": (scene.display.shading.light, scene.display.shading.color_type),
    }


def make_own_scene():
    """A cube, a camera, settings and a frame of the artist's."""
    bpy.ops.mesh.primitive_cube_add(location=(1, 2, 3))
    bpy.ops.object.camera_add()
    scene, r = bpy.context.scene, bpy.context.scene.render
    scene.camera = bpy.context.object
    r.resolution_x, r.resolution_y, r.resolution_percentage, r.fps = 1280, 536, 50, 30
    scene.frame_start, scene.frame_end = 11, 90
    scene.frame_set(40)
    return read_settings()


SHOT = {"size": (160, 90, 100), "rate": (24, pytest.approx(24 / 23.976)), "frame": 1}


@pytest.mark.parametrize("startup", [True, False])
def test_an_untouched_scene_becomes_the_shot_s(puppet_file, startup, capfd):
    """The empty one, and the one with Blender's own cube, light and camera."""
    bpy.ops.wm.read_factory_settings(use_empty=not startup)
    assert len(bpy.context.scene.objects) == (3 if startup else 0)
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file))
    (imported,) = importer.find_puppets(bpy.context.scene)
    now = read_settings()
    assert {k: now[k] for k in SHOT} == SHOT
    assert (now["range"], now["camera"]) == ((1, 10), imported.camera)
    assert now["colours"] == ("Standard", 1024)
    assert "the scene has the shot's size, rate, range" in capfd.readouterr().out


@pytest.mark.parametrize("own", [False, True])
def test_the_first_puppet_is_seen(puppet_file, own, capfd):
    """Through its camera, and not inside of Blender's own cube; an artist's cube stays."""
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    cube = scene.objects["Cube"]
    cube.location.x += 0.1 * own
    views = [a.spaces.active for a in bpy.context.window.screen.areas if a.type == "VIEW_3D"]
    assert views
    for view in views:
        view.region_3d.view_perspective = "PERSP"
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file))
    assert cube.visible_get() == own
    assert cube.hide_render == (not own)
    assert {v.region_3d.view_perspective for v in views} == {"PERSP" if own else "CAMERA"}
    assert ("Blender's cube is hidden" in capfd.readouterr().out) == (not own)


def test_a_scene_of_the_artist_s_is_kept_and_that_is_said(puppet_file, capfd):
    before = make_own_scene()
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file))
    assert read_settings() == before
    said = capfd.readouterr().out
    assert "your scene is kept (it has a camera of its own)" in said
    assert "Frames a second: 30 here, 23.976 in the shot" in said
    assert "1.25 times as fast" in said
    assert bpy.context.scene.restage4d.scene_use == "AUTO"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: setattr(s.render, "resolution_x", 1921), "picture size, rate or range"),
        (lambda s: setattr(s.render, "fps_base", 1.001), "picture size, rate or range"),
        (lambda s: setattr(s, "frame_end", 251), "picture size, rate or range"),
        (lambda s: setattr(s.objects["Cube"], "location", (0, 0, 0.1)), "'Cube'"),
        (lambda s: s.objects["Cube"].modifiers.new("Wave", "WAVE"), "'Cube'"),
        (
            lambda s: setattr(s.objects["Camera"], "rotation_euler", (1, 0, 0)),
            "a camera of its own",
        ),
        (lambda s: bpy.ops.object.empty_add(), "'Empty'"),
    ],
)
def test_what_is_the_artist_s_own(change, reason):
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    assert shot_settings.find_own(scene) == ""
    change(scene)
    assert reason in shot_settings.find_own(scene)


def test_the_choice_is_the_artist_s_and_is_remembered(puppet_file):
    """Against what would be done by itself, in both kinds of scene; the next puppet follows."""
    scene = bpy.context.scene
    before = read_settings()
    for _ in range(2):
        keep = {"keep_scene": True} if scene.restage4d.scene_use == "AUTO" else {}
        bpy.ops.restage4d.import_puppet(filepath=str(puppet_file), **keep)
        assert read_settings() == before
        assert scene.restage4d.scene_use == "KEEP"
    before = make_own_scene()
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file), keep_scene=False)
    assert read_settings()["size"] == (160, 90, 100)
    assert scene.restage4d.scene_use == "SHOT"
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file), keep_scene=True)
    assert scene.restage4d.scene_use == "AUTO"


@pytest.mark.parametrize("own", [True, False])
def test_a_finished_puppet_keeps_the_scene_as_an_import_does(puppet_file, own):
    before = make_own_scene() if own else None
    puppet = puppets.random_puppet(n=60)
    job = runtime.session().job = WatchedJob(
        "0" * 32, state="done", loaded=puppet, puppet=Path(puppet_file)
    )
    bpy.context.scene.restage4d.job = job.id
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.restage4d.bring_in() == {"FINISHED"}
    now = read_settings()
    if own:
        assert now == before
    else:
        assert {k: now[k] for k in SHOT} == SHOT
    # Undone and done again with the other choice, as the redo panel does it.
    bpy.ops.ed.undo_push(message="Bring In the Puppet")
    bpy.ops.ed.undo()
    assert importer.find_puppets(bpy.context.scene) == []
    assert bpy.ops.restage4d.bring_in(keep_scene=not own) == {"FINISHED"}
    assert len(importer.find_puppets(bpy.context.scene)) == 1
    assert (read_settings()["size"] == (160, 90, 100)) == own


def test_choosing_a_performance_leaves_the_scene_alone(puppet_file):
    make_own_scene()
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file))
    (imported,) = importer.find_puppets(bpy.context.scene)
    before = read_settings()
    for name in ("base", "jump", "base"):
        assert bpy.ops.restage4d.play_performance(name=name) == {"FINISHED"}
        assert read_settings() == before
        assert actions.find_played(imported.armature)[0] == imported.performance(name).action
    bpy.ops.restage4d.blend_performances(first="base", second="jump", start=3, frames=4)
    assert read_settings() == before


def test_a_range_that_was_the_puppet_s_follows_the_performance(puppet_file):
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file))
    scene = bpy.context.scene
    scene.frame_set(4)
    before = read_settings()
    assert before["range"] == (1, 10)
    bpy.ops.restage4d.play_performance(name="base")
    assert read_settings() == before | {"range": (1, 9)}
    bpy.ops.restage4d.blend_performances(first="base", second="jump", start=3, frames=4)
    assert read_settings() == before
    scene.frame_end = 8
    bpy.ops.restage4d.play_performance(name="base")
    assert scene.frame_end == 8, "the artist's own"


def test_the_shot_s_settings_are_one_button_and_one_undo(puppet_file):
    before = make_own_scene()
    bpy.ops.restage4d.import_puppet(filepath=str(puppet_file))
    bpy.ops.restage4d.play_performance(name="base")
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.restage4d.use_shot_settings() == {"FINISHED"}
    (imported,) = importer.find_puppets(bpy.context.scene)
    now = read_settings()
    assert {k: now[k] for k in ("size", "rate")} == {k: SHOT[k] for k in ("size", "rate")}
    assert (now["range"], now["camera"], now["frame"]) == ((1, 9), imported.camera, 40)
    with pytest.raises(RuntimeError, match="has the shot's settings"):
        bpy.ops.restage4d.use_shot_settings()
    bpy.ops.ed.undo_push(message="Use the Shot's Settings")
    bpy.ops.ed.undo()
    after = read_settings()
    assert {k: after[k] for k in ("size", "rate", "range", "frame")} == {
        k: before[k] for k in ("size", "rate", "range", "frame")
    }
    assert after["camera"].name == "Camera"


def test_a_scene_at_another_rate_is_told_what_that_means(imported):
    scene, p = bpy.context.scene, imported.performances[0]
    assert shot_settings.describe_rates(p, scene) == ""
    scene.render.fps, scene.render.fps_base = 12, 1.0
    assert "plays 0.501 times as fast" in shot_settings.describe_rates(p, scene)
