"""These tests need bpy: `tests/test_blender.py` runs each file in a process of its own. Without bpy
they are not collected."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("bpy") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    sys.path[:0] = [
        str(Path(__file__).parents[2]),
        str(Path(__file__).parent),
    ]  # blender_addon is no installed package

    import bpy
    import puppets

    from blender_addon.puppet import importer

    @pytest.fixture(autouse=True)
    def empty_scene():
        bpy.ops.wm.read_factory_settings(use_empty=True)

    @pytest.fixture
    def puppet():
        return puppets.random_puppet()

    @pytest.fixture
    def imported(empty_scene, puppet):
        return importer.import_puppet(puppet, name="stress")

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(config):
        """bpy may hang or crash while Python takes it apart."""
        code = getattr(config, "restage4d_exit", 1)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def pytest_sessionfinish(session, exitstatus):
        session.config.restage4d_exit = int(exitstatus)
