"""Tests run on the CPU on every machine, where numbers are the same each time; `test_gpu.py` runs
those that want a GPU."""

import os
import subprocess
import sys

import pytest

from restage4d.threads import let_waiting_threads_sleep

let_waiting_threads_sleep()  # as the command line and the service do; before torch is loaded
if not os.environ.get("RESTAGE4D_TEST_GPU"):  # which test_gpu.py sets
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config, items):
    """Workers take whole files, whose fits are made once; Blender's are processes of their own."""
    for item in items:
        if config.pluginmanager.hasplugin("xdist") and item.path.name != "test_blender.py":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    yield from mount_disk(tmp_path / "disk", "size=300k")


@pytest.fixture
def locked_disk(tmp_path):
    """A file system that nobody may write, not even root."""
    yield from mount_disk(tmp_path / "locked", "ro")


def mount_disk(disk, options):
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
