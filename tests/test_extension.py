"""The extension's zip: built and validated by Blender's tool, installed into every Blender there
is, working with a real backend.

Builds with pip's downloads, so it is slow. The walk in a real window skips where no system with a
window is at hand: RESTAGE4D_BLENDER_ROOT names its folder (see scripts/gui_tour.py).
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_blender import PYTHONS
from tiny_job import tiny_job

from restage4d.protocol.client import Client
from restage4d.protocol.service import start_service, stop_service

ROOT = Path(__file__).resolve().parent.parent
WINDOW = os.environ.get("RESTAGE4D_BLENDER_ROOT", "")
pytestmark = pytest.mark.slow

# What an artist does, without a window: timers do not fire there, so the panel's turn is called by
# hand.
_ARTIST = """
import importlib, json, os, sys, time
import bpy
zip_file, home, clip, folder = sys.argv[1:5]
bpy.ops.extensions.package_install_files(
    filepath=zip_file, repo="user_default", enable_on_install=True
)
name = "bl_ext.user_default.restage4d"
runtime = importlib.import_module(name + ".runtime")
sync = importlib.import_module(name + ".sync")
from pathlib import Path
resources = Path(os.environ["BLENDER_USER_RESOURCES"])
(place,) = resources.glob("extensions/.local/lib/python3.*/site-packages")
for package in ("zmq", "msgspec", "safetensors", "restage4d"):
    assert (place / package / "__init__.py").is_file(), package
mine = bpy.context.preferences.addons[name].preferences
mine.store, mine.longer_side, mine.quality = home, 128, "draft"

def until(condition, what, seconds=100):
    end = time.monotonic() + seconds
    while not condition():
        sync.tick()
        here = runtime.session()
        assert time.monotonic() < end, (what, here.backend, here.shot, here.job)
        time.sleep(0.05)

assert not bpy.ops.restage4d.restage.poll()
until(lambda: runtime.session().backend.phase == "ready", "backend")
assert bpy.ops.restage4d.pick_video(filepath=clip) == {"FINISHED"}
chosen = bpy.context.scene.restage4d
chosen.use_range, chosen.last_frame = True, 12
until(lambda: getattr(runtime.session().shot, "frames", None) == (1, 12), "part")
until(lambda: runtime.session().shot.phase == "ready", "shot")
assert runtime.session().shot.first is not None
assert not bpy.ops.restage4d.restage.poll(), "without a prompt"
chosen.prompt = "xyzzy"
assert not bpy.ops.restage4d.restage.poll(), "nothing of it understood"
chosen.prompt = "it jumps"
assert bpy.ops.restage4d.restage() == {"FINISHED"}
job = chosen.job
assert len(job) == 32
until(lambda: runtime.session().job.state == "running", "running")
blend = os.path.join(folder, "shot.blend")
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.wm.read_homefile()
sync.tick()
assert runtime.session().job is None
bpy.ops.wm.open_mainfile(filepath=blend)
until(lambda: getattr(runtime.session().job, "state", "") == "running", "attached again")
assert runtime.session().job.id == job
bpy.ops.restage4d.cancel()
until(lambda: runtime.session().job.state == "cancelled", "cancelled")
bpy.ops.restage4d.forget_job()

bpy.context.scene.restage4d.job = sys.argv[5]
until(lambda: getattr(runtime.session().job, "brought_in", False), "a finished puppet comes in")
importer = importlib.import_module(name + ".puppet.importer")
puppet, = importer.find_puppets(bpy.context.scene)
assert bpy.context.scene.restage4d.job == ""
assert os.path.isdir(os.path.join(folder, "restage4d")), "beside the .blend"
report = os.path.join(folder, "report.zip")
assert bpy.ops.restage4d.report_bug(filepath=report) == {"FINISHED"}
bpy.ops.preferences.addon_disable(module=name)
print("WALKED", flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, str(ROOT / "scripts" / "build_extension.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.zip"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTAGE4D_HOME", str(place))
        start_service(arguments=()).close()
        yield place
        stop_service()


def test_the_zip_serves_every_system_and_python(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        assert archive.getinfo("backend/source.zip").file_size < 5 << 20
    wheels = [Path(n).name for n in names if n.endswith(".whl")]
    for system in ("manylinux", "win_amd64", "macosx_11_0_arm64", "macosx_10"):
        for project in ("pyzmq", "msgspec", "safetensors"):
            assert any(
                w.startswith(project) and (system in w or "universal2" in w) for w in wheels
            ), (system, project)
    for python in ("cp311", "cp313", "cp314"):
        assert any(w.startswith("msgspec") and python in w for w in wheels)
    assert any(w.startswith("restage4d") and w.endswith("py3-none-any.whl") for w in wheels)
    assert not [n for n in names if "__pycache__" in n]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda p: p.parent.parent.name)
def test_an_artist_s_way_in_blender(
    python: Path, package: Path, home: Path, tmp_path: Path
) -> None:
    if not python.exists():
        pytest.skip(f"no Blender: {python} is missing (scripts/test.sh makes it)")
    script = tmp_path / "artist.py"
    script.write_text(_ARTIST)
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    clip = ROOT / "scripts" / "demo_clip" / "base.mp4"
    with Client.connect(home / "connection.json") as client:
        job = client.submit(tiny_job(client.upload))
    command = [str(python), str(script), str(package), str(home), str(clip), str(tmp_path), job]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert "WALKED" in done.stdout, f"{done.stdout}\n{done.stderr}"
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        assert "versions.json" in archive.namelist()
        assert json.loads(archive.read("versions.json"))["wheels"]["pyzmq"] != "missing"


def test_the_walk_in_a_real_window(package: Path, tmp_path: Path) -> None:
    if not WINDOW and not (shutil.which("blender") and shutil.which("import")):
        pytest.skip("no window: no blender on the path, and RESTAGE4D_BLENDER_ROOT is not set")
    command = [
        sys.executable,
        str(ROOT / "scripts" / "gui_tour.py"),
        "--out",
        str(tmp_path),
        "--zip",
        str(package),
        "--limit",
        "280",
    ]
    done = subprocess.run(
        [*command, *(["--root", WINDOW] if WINDOW else [])],
        capture_output=True,
        text=True,
        timeout=299,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert (tmp_path / "17_exported.png").is_file()
