"""Parts of the panel's session that need no running backend."""

import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from blender_addon.session import launcher
from blender_addon.session.models import format_duration, thin_points
from blender_addon.session.session import Link, Session
from restage4d.errors import InputError
from restage4d.protocol.framing import new_id

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "scripts" / "demo_clip" / "base.mp4"


def test_requests_return_at_once_and_draining_keeps_its_budget() -> None:
    def nobody() -> None:
        time.sleep(5)
        raise InputError("Nobody.", "Wait.")

    session = Session(Link(nobody))
    try:
        began = time.perf_counter()
        session.open_shot(CLIP, None, 384, {})
        job = session.attach(new_id())
        session.cancel(job)
        session.pause(job)
        assert time.perf_counter() - began < 1.0, "a request waited for the network"
        for i in range(20_000):
            session.updates.put(session.backend, message=str(i))
        session.drain(0.0)
        assert session.updates.revision == 0
        while session.drain():
            pass
        assert session.backend.message == "19999"
    finally:
        session.close()


def test_points_are_thinned_to_the_newest_performance_in_playing_order() -> None:
    n, k, moments = 40_000, 3, 7
    rng = np.random.default_rng(0)
    source = np.array([0, 0, 0, 1, 1, 2, 2], np.int32)
    index = np.array([2, 1, 0, 1, 2, 1, 2], np.int32)
    arrays = {
        "means": rng.normal(size=(n, 3)).astype(np.float32),
        "colors": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "influence_index": np.zeros((n, 2), np.uint16),
        "influence_weight": np.full((n, 2), 0.5, np.float32),
        "bases": np.arange(k * moments * 9, dtype=np.float32).reshape(k, moments, 9),
        "source": source,
        "index": index,
    }
    points = thin_points(arrays, 24.0)
    assert len(points.means) == len(points.weight) == len(points.colors) <= 8_000
    assert points.colors.max() <= 1
    assert np.array_equal(points.bases, arrays["bases"][:, [2, 5, 6]])


def test_durations() -> None:
    assert [format_duration(s) for s in (1, 22, 89, 200, 3900)] == [
        "5 s",
        "20 s",
        "90 s",
        "3 min",
        "1 h 05 min",
    ]


def test_a_backend_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bootstrap.py").write_text(
        "import sys; sys.exit('restage4d: no room on the disk')"
    )
    with pytest.raises(InputError, match="no room on the disk"):
        launcher.start(
            tmp_path,
            tmp_path / "log",
            [],
            None,
            lambda: False,
            30,
            threading.Event(),
            lambda line, setting_up: None,
        )


def test_the_backend_s_source_is_unpacked_once_per_version(tmp_path: Path) -> None:
    source, root = tmp_path / "source.zip", tmp_path / "backend"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("scripts/bootstrap.py", "1")
        archive.writestr("restage4d/new.py", "1")
    launcher.unpack(source, root, "1")
    assert launcher.can_start(root)
    (root / ".venv").mkdir()
    (root / "restage4d" / "old.py").touch()
    launcher.unpack(source, root, "1")
    assert (root / "restage4d" / "old.py").exists()
    launcher.unpack(source, root, "2")
    assert not (root / "restage4d" / "old.py").exists()
    assert (root / ".venv").exists()
    with pytest.raises(InputError, match="without the backend"):
        launcher.unpack(tmp_path / "none.zip", root, "3")
