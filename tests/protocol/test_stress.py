"""The short form of the load and fault script: everything it counts must be right; what it times is
printed, not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "stress_backend.py"
TIMED = ("MB/s", "ms", "s")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_load_and_faults(tmp_path):
    command = [sys.executable, str(SCRIPT), "--short", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1400, check=False)
    print(done.stdout)
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert len(figures) > 40
    assert [f["name"] for f in figures if not f["good"] and f["unit"] not in TIMED] == [], (
        done.stdout
    )
