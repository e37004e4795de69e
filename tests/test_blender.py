"""Runs tests/blender with every Blender there is: each file in a process of its own, under a time
limit.

Blenders are the interpreter of ``.venv-blender`` and those named by RESTAGE4D_BLENDER_PYTHONS
(separated as in PATH).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = ROOT / ".venv-blender" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
PYTHONS = [
    OWN,
    *(Path(p) for p in os.environ.get("RESTAGE4D_BLENDER_PYTHONS", "").split(os.pathsep) if p),
]
FILES = sorted((ROOT / "tests" / "blender").glob("test_*.py"))
LIMIT = 240  # seconds


@pytest.mark.parametrize("python", PYTHONS, ids=lambda p: p.parent.parent.name)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_in_blender(python: Path, file: Path) -> None:
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
