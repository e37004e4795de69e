"""The panel where the wheels of the extension are not installed, and what it asks of Blender."""

import sys
import time
from pathlib import Path

import bpy
import pytest

import blender_addon
from blender_addon import pump
from blender_addon.state import Job
from restage4d.puppet import Puppet


@pytest.fixture
def registered(empty_scene):
    blender_addon.register()
    yield
    blender_addon.unregister()


def tick(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        pump.tick()
        assert time.monotonic() < end, pump.session().backend
        time.sleep(0.05)


def test_it_registers_twice(registered):
    blender_addon.unregister()
    blender_addon.register()
    assert hasattr(bpy.context.scene, "restage4d")


def test_every_button_has_a_name_and_a_tip(registered):
    names = dir(bpy.ops.restage4d)
    assert {"restage", "start_backend", "select_subject", "report_bug", "import_puppet"} <= set(names)
    for name in names:
        told = getattr(bpy.ops.restage4d, name).get_rna_type()
        assert told.name, name
        assert len(told.description) > 3, name


def test_buttons_say_why_they_are_off(registered):
    for name in ("restage", "cancel", "pause", "bring_in"):
        with pytest.raises(RuntimeError, match=r"poll\(\) \w+"):
            getattr(bpy.ops.restage4d, name)()


def test_without_its_wheels_the_panel_says_so(registered, monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)
    tick(lambda: pump.session().backend.phase == "refused")
    fault = pump.session().backend.fault
    assert fault is not None
    assert "missing" in fault.what
    assert "zip" in fault.remedy


def test_a_missing_video_is_told(registered):
    bpy.context.scene.restage4d.video = "/nowhere/film.mp4"
    tick(lambda: pump.session().shot is not None)
    shot = pump.session().shot
    assert shot.phase == "failed"
    assert "does not exist" in shot.fault.what


def test_a_finished_puppet_comes_in_with_its_footage_and_waits_for_object_mode(registered, puppet: Puppet):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    scene = bpy.context.scene.restage4d
    job = pump.session().job = Job("0" * 32, state="done", loaded=puppet, puppet=Path("x"))
    scene.job = job.id
    pump.tick()
    assert not job.brought_in, "the artist is editing"
    bpy.ops.object.mode_set(mode="OBJECT")
    pump.tick()
    assert job.brought_in
    assert scene.job == ""
    armature = next(o for o in bpy.context.scene.objects if o.type == "ARMATURE")
    assert armature.restage4d_display.mode == "GAUSSIANS"


def test_what_was_chosen_is_saved(registered, tmp_path):
    chosen = bpy.context.scene.restage4d
    chosen.prompt, chosen.job, chosen.quality, chosen.selection = "it jumps", "a" * 32, "high", "BOX"
    chosen.place = (1, 2, 3, 4)
    path = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert bpy.context.scene.restage4d.job == ""
    bpy.ops.wm.open_mainfile(filepath=path)
    chosen = bpy.context.scene.restage4d
    assert (chosen.prompt, chosen.job, chosen.quality, chosen.selection) == ("it jumps", "a" * 32, "high", "BOX")
    assert pump.place_of(chosen) == {"box": (1, 2, 3, 4)}
