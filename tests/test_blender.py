"""Runs tests/blender with every Blender there is: each file in a process of its own, under a time
limit.

Blenders are the interpreters of ``.venv-blender`` and, where they are, ``.venv-blender-lts`` and
``.venv-blender-newest``, and those named by RESTAGE4D_BLENDER_PYTHONS (separated as in PATH). In
newer ones what differs between versions is tested always, the rest among the slow tests of the
newest.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
LTS = ROOT / ".venv-blender-lts" / PYTHON
NEWEST = ROOT / ".venv-blender-newest" / PYTHON
PYTHONS = [
    ROOT / ".venv-blender" / PYTHON,
    *(Path(p) for p in os.environ.get("RESTAGE4D_BLENDER_PYTHONS", "").split(os.pathsep) if p),
]
FILES = sorted((ROOT / "tests" / "blender").glob("test_*.py"))
DIFFERENT = {"test_imports", "test_rig", "test_native_splats", "test_writing"}  # most of all
LIMIT = 240  # seconds


@pytest.mark.parametrize("python", PYTHONS, ids=lambda p: p.parent.parent.name)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_in_blender(python: Path, file: Path) -> None:
    run_in(python, file)


@pytest.mark.parametrize("file", [f for f in FILES if f.stem in DIFFERENT], ids=lambda f: f.stem)
def test_in_the_lts_between(file: Path) -> None:
    run_in(LTS, file)


@pytest.mark.parametrize(
    "file",
    [f if f.stem in DIFFERENT else pytest.param(f, marks=pytest.mark.slow) for f in FILES],
    ids=lambda f: f.stem,
)
def test_in_the_newest_blender(file: Path) -> None:
    run_in(NEWEST, file)


def run_in(python: Path, file: Path) -> None:
    if not python.exists():
        pytest.skip(f"no Blender: {python} is missing (scripts/test.sh makes it)")
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
