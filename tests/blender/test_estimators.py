"""*Get Better Estimators* from the panel to the files: the backend's own command line, and a local
server that stands in for the hub."""

import hashlib
import sys
import threading
import time
from pathlib import Path

import bpy
import pytest
from layout_recorder import LayoutRecorder

from blender_addon import preferences, runtime, sync
from blender_addon.ui.estimators_box import draw_estimators

sys.path.append(str(Path(__file__).parents[1]))
from stub_server import serve

ROOT = Path(__file__).parents[2]
BACKEND = ROOT / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
REPOS = {
    "sam2-tiny": "facebook/sam2.1-hiera-tiny",
    "depth-anything-v2": "depth-anything/Depth-Anything-V2-Small-hf",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG, TENSORS = b'{"model_type": "x"}', bytes(range(256)) * 8000  # 2 MB


class Hub:
    """Two models; the first reading of a large file breaks off in the middle, and the next waits
    until it is told to go on."""

    def __init__(self, stub) -> None:
        self.stub, self.reads, self.go_on = stub, 0, threading.Event()
        self.etag = hashlib.sha256(TENSORS).hexdigest()
        for repo in REPOS.values():
            for revision in ("main", COMMIT):
                for name in ("config.json", "model.safetensors"):
                    path = f"/{repo}/resolve/{revision}/{name}"
                    stub.on("HEAD", path, self.answer)
                    stub.on("GET", path, self.answer)

    def answer(self, asked):
        large = asked.path.endswith(".safetensors")
        content = TENSORS if large else CONFIG
        small = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
        headers = {"ETag": f'"{self.etag if large else small}"', "X-Repo-Commit": COMMIT}
        if asked.method == "HEAD" or not large:
            return 200, content, headers
        self.reads += 1
        if self.reads == 1:
            return 200, content[: 3 << 19], headers | {"Content-Length": str(len(content))}
        if self.reads == 2:
            self.go_on.wait(60)
        begins = int((asked.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        headers["Content-Range"] = f"bytes {begins}-{len(content) - 1}/{len(content)}"
        return 206 if begins else 200, content[begins:], headers


@pytest.fixture
def hub(registered, tmp_path, monkeypatch):
    if not BACKEND.exists():
        pytest.skip(f"no backend: {BACKEND} is missing (scripts/run.sh makes it)")
    for name in ("WEIGHTS", "DOWNLOAD", "COMMERCIAL"):
        monkeypatch.delenv(f"RESTAGE4D_{name}", raising=False)
    monkeypatch.setenv("RESTAGE4D_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", str(tmp_path))  # no driver's tool: what a CPU may run is offered
    bpy.context.preferences.system.use_online_access = True
    with serve() as stub:
        monkeypatch.setenv("HF_ENDPOINT", stub.url)
        made = Hub(stub)
        yield made
        made.go_on.set()
    bpy.context.preferences.system.use_online_access = False


def get_state():
    return runtime.session().estimators.state


def wait(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        sync.tick()
        assert time.monotonic() < end, get_state()
        time.sleep(0.02)


def draw():
    """Texts and buttons of the box as it is now."""
    layout = LayoutRecorder()
    draw_estimators(layout, bpy.context)
    return " ".join(layout.texts), [name for name, _ in layout.buttons]


def test_from_the_button_to_the_files(hub, tmp_path):
    ops, weights = bpy.ops.restage4d, tmp_path / "data" / "restage4d" / "weights"
    assert draw() == ("Get Better Estimators", ["restage4d.get_estimators"])
    assert not ops.fetch_estimators.poll()
    assert ops.get_estimators() == {"FINISHED"}
    assert "Looking what fits" in draw()[0]
    assert not ops.get_estimators.poll()
    wait(lambda: get_state().phase != "looking")
    assert get_state().phase == "asking"
    told, buttons = draw()
    assert "commercial use?" in told
    assert buttons == ["restage4d.answer_commercial"] * 2

    assert ops.answer_commercial(commercial=True) == {"FINISHED"}
    wait(lambda: get_state().phase == "offered")
    assert "commercial = true" in (tmp_path / "settings.toml").read_text()
    told, buttons = draw()
    assert "SAM 2.1 tiny, video: 0.16 GB, Apache-2.0" in told
    assert "Depth Anything V2 small: 0.1 GB, Apache-2.0" in told
    assert "followed by a network" in told
    assert "Download 0.26 GB" in told
    assert "no weights" in told  # who estimates until then
    assert hub.stub.asked == [], "nothing is fetched before a yes"
    if get_state().libraries:
        pytest.skip("the extra models is not installed: pip would be asked")

    bpy.context.preferences.system.use_online_access = False
    assert not ops.fetch_estimators.poll()
    bpy.context.preferences.system.use_online_access = True
    assert ops.fetch_estimators() == {"FINISHED"}
    wait(lambda: hub.reads == 2 and get_state().fraction > 0.001)  # broken off, and tried again
    told, buttons = draw()
    assert f"Downloading sam2-tiny {get_state().fraction:.0%}" in told.replace("  ", " ")
    told_bytes = round(get_state().fraction * 0.26e9)
    assert told_bytes in (1 << 20, 3 << 19)  # one or two blocks of it came
    assert buttons == ["restage4d.stop_fetching"]
    assert ops.stop_fetching() == {"FINISHED"}
    wait(lambda: get_state().phase == "offered")
    hub.go_on.set()
    assert get_state().fault is None
    part = weights / "sam2-tiny" / f"model.safetensors.{hub.etag[:16]}.part"
    assert part.read_bytes() == TENSORS[: 3 << 19]

    assert ops.fetch_estimators() == {"FINISHED"}
    wait(lambda: get_state().phase == "offered")
    assert get_state().fault is None
    assert f"bytes={3 << 19}-" in [a.headers.get("Range") for a in hub.stub.asked]
    for name in REPOS:
        assert (weights / name / "model.safetensors").read_bytes() == TENSORS
        assert (weights / name / "config.json").read_bytes() == CONFIG
    told, buttons = draw()
    assert "They are here and used" in told
    assert "Masks: SAM 2.1 tiny, video; " in told
    assert "Depth: Depth Anything V2 small; " in told
    assert buttons == ["restage4d.close_estimators"]
    assert ops.close_estimators() == {"FINISHED"}
    assert draw()[1] == ["restage4d.get_estimators"]

    asked = len(hub.stub.asked)
    ops.get_estimators()  # later: commercial use is not asked again, nothing goes online
    wait(lambda: get_state().phase == "offered")
    assert get_state().missing == []
    assert len(hub.stub.asked) == asked


def test_a_file_that_is_not_what_the_hub_says_is_told(hub, tmp_path):
    hub.reads, hub.etag = 2, "0" * 64
    bpy.ops.restage4d.answer_commercial(commercial=False)
    wait(lambda: get_state().phase == "offered")
    if get_state().libraries:
        pytest.skip("the extra models is not installed: pip would be asked")
    bpy.ops.restage4d.fetch_estimators()
    wait(lambda: get_state().fault is not None)
    assert "its hash differs" in get_state().fault.what
    assert "its hash differs" in draw()[0]
    assert list(tmp_path.rglob("model.safetensors*")) == []
    assert bpy.ops.restage4d.fetch_estimators.poll(), "it can be tried again"


def test_a_backend_elsewhere_has_models_of_its_own(registered, monkeypatch):
    there = preferences.Preferences(connection="FILE", connection_file="/nowhere.json")
    monkeypatch.setattr(preferences, "get", lambda: there)
    assert draw() == ("", [])
    with pytest.raises(RuntimeError, match="another computer"):
        bpy.ops.restage4d.get_estimators()
