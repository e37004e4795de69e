"""The extension's preferences: they hold for every .blend."""

import os

import bpy
import pytest

import blender_addon
from blender_addon import paths, preferences

pytestmark = pytest.mark.filterwarnings("ignore:.*blend relative")


@pytest.fixture
def page(empty_scene):
    blender_addon.register()
    addon = bpy.context.preferences.addons.new()
    addon.module = preferences.PACKAGE
    yield addon.preferences
    bpy.context.preferences.addons.remove(addon)
    blender_addon.unregister()


@pytest.mark.parametrize("name", ["connection_file", "folder", "store"])
def test_a_path_beside_the_blend_stays_where_it_is(page, tmp_path, name):
    """`//` is another folder in the next .blend."""
    setattr(page, name, "//work")  # the .blend has no folder yet: as it was typed, and marked
    assert getattr(page, name) == "//work"
    (tmp_path / "first").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "first" / "a.blend"))
    setattr(page, name, "//../work")
    assert getattr(page, name) == str(tmp_path / "first" / ".." / "work")
    setattr(page, name, os.path.join(os.sep, "elsewhere"))
    assert getattr(page, name) == os.path.join(os.sep, "elsewhere")


def test_the_store_is_the_same_for_every_blend(page, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    page.store = "//store"
    (tmp_path / "second").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "second" / "b.blend"))
    assert paths.store() == tmp_path / "store"
