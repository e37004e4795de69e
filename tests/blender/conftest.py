"""These tests need bpy: `tests/test_blender.py` runs each file in a process of its own. Without bpy
they are not collected."""

import os
import sys
from pathlib import Path

import pytest

try:
    from bpy.app import version  # type stubs of bpy are a package, too, but an empty one
except ImportError:
    version = None

if version is None:
    collect_ignore_glob = ["test_*.py"]
else:
    sys.path[:0] = [
        str(Path(__file__).parents[2]),
        str(Path(__file__).parent),
    ]  # blender_addon is no installed package

    import bpy
    import puppets
    from skeleton_checks import FRAME

    import blender_addon
    from blender_addon.puppet import importer
    from blender_addon.puppet.nodes import native_splats

    @pytest.fixture(autouse=True)
    def empty_scene():
        bpy.ops.wm.read_factory_settings(use_empty=True)

    @pytest.fixture
    def registered(empty_scene, tmp_path, monkeypatch):
        """The extension, with a home of its own."""
        monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
        blender_addon.register()
        yield
        blender_addon.unregister()

    @pytest.fixture
    def out(tmp_path):
        folder = tmp_path / "out"
        folder.mkdir()
        return folder

    @pytest.fixture
    def walker(empty_scene):
        """A creature of the skeleton's tests, at the frame that they look at."""
        puppet = puppets.creature(n=5000, frames=10, size=(96, 72))
        imported = importer.import_puppet(puppet, name="walker")
        bpy.context.scene.frame_set(FRAME)
        return puppet, imported

    @pytest.fixture
    def drawn_by_the_extension(monkeypatch):
        """As in Blenders without splats of their own."""
        monkeypatch.setattr(native_splats, "is_available", lambda: False)

    @pytest.fixture
    def puppet():
        return puppets.random_puppet()

    @pytest.fixture
    def imported(empty_scene, puppet):
        return importer.import_puppet(puppet, name="stress")

    @pytest.fixture
    def creature():
        """A walking quadruped of seven bases, and what it became in Blender."""
        puppet = puppets.creature(n=1500, frames=10, size=(96, 72))
        return puppet, importer.import_puppet(puppet, name="creature")

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(config):
        """bpy may hang or crash while Python takes it apart."""
        code = getattr(config, "restage4d_exit", 1)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def pytest_sessionfinish(session, exitstatus):
        session.config.restage4d_exit = int(exitstatus)
