"""What the panel says of a path or a selection is of that one, and never of the one before."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from layout_recorder import draw_panel

from blender_addon import orders, preferences, runtime, sync
from blender_addon.session.models import Shot
from blender_addon.ui import thumbnails
from blender_addon.ui.direction_panel import RESTAGE4D_PT_direction
from blender_addon.ui.panels import RESTAGE4D_PT_restage, RESTAGE4D_PT_shot
from blender_addon.viewport import display

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A shot that the backend has looked at."""
    video, session = tmp_path / "film.mp4", runtime.session()
    video.write_bytes(b"x")
    chosen = bpy.context.scene.restage4d
    chosen.video = str(video)

    def open_shot(path, frames, longer_side, place):
        session.shot = Shot(path, frames, longer_side, place, phase="ready", content="a" * 64)
        session.shot.first = np.zeros((8, 8, 3), np.uint8)
        session.shot.mask = np.ones((8, 8), bool)
        return session.shot

    monkeypatch.setattr(session, "open_shot", open_shot)
    sync.tick()
    sync.tick()
    thumbnails.show("shot", session.shot.first)
    assert RESTAGE4D_PT_shot.done(bpy.context)
    return chosen, session


def test_a_wrong_path_takes_picture_and_check_mark_away_at_once(opened, monkeypatch):
    chosen, session = opened
    redrawn = []
    monkeypatch.setattr(sync, "redraw", lambda **_: redrawn.append(session.shot.phase))
    chosen.video = "/nowhere/film.mp4"
    assert not RESTAGE4D_PT_shot.done(bpy.context), "before the timer's next turn"
    pictures = []
    monkeypatch.setattr(thumbnails, "get_icon", lambda name: pictures.append(name))
    draw_panel(RESTAGE4D_PT_shot)
    assert pictures == []
    sync.tick()
    sync.tick()
    assert "failed" in redrawn, "nobody would see it until the mouse moves over the panel"
    assert "does not exist" in draw_panel(RESTAGE4D_PT_shot).text


def test_a_video_that_goes_away_is_noticed(opened):
    chosen, session = opened
    Path(chosen.video).unlink()
    sync.tick()
    sync.tick()
    assert session.shot.phase == "failed"
    assert not RESTAGE4D_PT_shot.done(bpy.context)


def test_a_movie_that_went_away_has_no_thumbnail(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    thumbnails.get_movie_icon(str(path))
    path.unlink()
    assert thumbnails.get_movie_icon(str(path)) is None


def test_a_driving_video_that_is_not_there_is_no_finished_step(tmp_path):
    chosen = bpy.context.scene.restage4d
    chosen.source, chosen.driving = "FILE", str(tmp_path / "drive.mp4")
    assert not RESTAGE4D_PT_direction.done(bpy.context)
    assert "There is no such video" in draw_panel(RESTAGE4D_PT_direction).text
    (tmp_path / "drive.mp4").write_bytes(b"x")
    assert RESTAGE4D_PT_direction.done(bpy.context)
    assert "There is no such video" not in draw_panel(RESTAGE4D_PT_direction).text


def test_a_selection_that_undo_changes_gets_its_own_mask(opened, monkeypatch):
    chosen, session = opened
    asked = []

    def select(place):
        asked.append(place)
        session.shot.place = place

    monkeypatch.setattr(session, "select", select)
    sync.tick()
    assert asked == []
    chosen.selection, chosen.place = "BOX", (1, 2, 30, 40)
    sync.tick()
    sync.tick()
    assert asked == [{"box": (1, 2, 30, 40)}]


def test_the_working_size_stands_beside_quality_and_is_the_scene_s(opened, monkeypatch, tmp_path):
    chosen, session = opened
    shown = draw_panel(RESTAGE4D_PT_restage).properties
    assert shown.index("longer_side") == shown.index("quality") + 1
    assert orders.make_order(chosen).longer_side == preferences.DEFAULTS.longer_side
    chosen.longer_side = 640
    assert orders.make_order(chosen).longer_side == 640
    sync.tick()
    sync.tick()
    assert session.shot.longer_side == 640
    usual = preferences.Preferences(longer_side=512, quality="draft")
    monkeypatch.setattr(preferences, "get", lambda: usual)
    chosen.video = ""
    (tmp_path / "other.mp4").write_bytes(b"x")
    bpy.ops.restage4d.pick_video(filepath=str(tmp_path / "other.mp4"))
    assert (chosen.longer_side, chosen.quality) == (512, "draft")


def test_no_two_buttons_have_one_name():
    names = [
        getattr(bpy.ops.restage4d, name).get_rna_type().name for name in dir(bpy.ops.restage4d)
    ]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(("kind", "while_saved"), [("AUTO", "SCREENSHOT"), ("NONE", "NONE")])
def test_saving_takes_no_picture_of_ellipsoids(
    drawn_by_the_extension, tmp_path, imported, kind, while_saved
):
    files, seen = bpy.context.preferences.filepaths, []
    files.file_preview_type = kind
    display.get_display(imported.armature).mode = "GAUSSIANS"

    def look(*_):
        seen.append((files.file_preview_type, imported.splats.hide_viewport))

    bpy.app.handlers.save_pre.append(look)
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    finally:
        bpy.app.handlers.save_pre.remove(look)
        put_back, files.file_preview_type = files.file_preview_type, "AUTO"
    assert seen == [(while_saved, False)]
    assert put_back == kind
    assert imported.splats.hide_viewport
