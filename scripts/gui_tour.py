"""A walk through the panel in a real Blender window with a live backend: from the demo clip to an
export, with screenshots.

    python scripts/gui_tour.py --out DIR [--root ROOT] [--longer-side 192] [--frames 16] [--quality
    draft] [--steps 150]

Without ``--root``: the ``blender`` on the path, under Xvfb where there is no display. With it: the
Blender of another system in that folder (debootstrap with blender, xvfb, imagemagick, xdotool;
needs root), whose backend runs in this checkout. The backend is started by the panel, killed in the
middle and must come back by itself. A local stand-in of a paid service answers where driving videos
are asked for. The walk prints what it did and how long each part of the extension held the
interface; figures.json has the same. Exit code 1: something did not happen. The walk itself is
scripts/gui_walk.py.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from stub_server import Asked, Stub, serve  # noqa: E402

from restage4d.io.video import encode  # noqa: E402


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing stays mounted
    parser = argparse.ArgumentParser(description="Walk through the panel in a real window.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for screenshots and figures.json"
    )
    parser.add_argument("--root", type=Path, help="folder of a system with Blender")
    parser.add_argument("--zip", type=Path, help="the extension (default: built now)")
    parser.add_argument("--longer-side", type=int, default=192)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--quality", default="draft")
    parser.add_argument(
        "--steps", type=int, default=150, help="of the fit; 0: what the quality has"
    )
    parser.add_argument("--limit", type=float, default=600, help="seconds for the whole walk")
    given = parser.parse_args()
    place = given.root or Path("/")
    extra = given.out.resolve() / "inside"
    shutil.rmtree(extra, ignore_errors=True)
    (extra / "shots").mkdir(parents=True)
    package = given.zip
    if package is None:
        sys.path.insert(0, str(ROOT / "scripts"))
        import build_extension

        package = build_extension.build(given.out.resolve())
    shutil.copy(package, extra / "extension.zip")
    shutil.copy(ROOT / "scripts" / "demo_clip" / "base.mp4", extra / "base.mp4")
    for script in ("gui_walk.py", "gui_watch.py"):
        shutil.copy(ROOT / "scripts" / script, extra / script)
    seen = Path("/extra") if given.root else extra  # the same folder as Blender's side sees it
    folder = ROOT
    if given.root:
        folder = extra / "checkout"
        (folder / "scripts").mkdir(parents=True)
        (folder / ".venv").mkdir()
        (folder / "scripts" / "bootstrap.py").write_text(
            _SHIM.format(root=str(ROOT), home=str(extra / "home"), path=os.environ["PATH"])
        )
        folder = seen / "checkout"
    wanted = {"folder": str(folder), "inside": str(seen), "limit": given.limit}
    wanted |= {
        "longer_side": given.longer_side,
        "frames": given.frames,
        "quality": given.quality,
        "steps": given.steps,
    }
    (extra / "wanted.json").write_text(json.dumps(wanted))
    variables = {
        "BLENDER_USER_RESOURCES": str(seen / "user"),
        "RESTAGE4D_TOUR": str(seen),
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "LC_ALL": "C.UTF-8",
        "XDG_RUNTIME_DIR": "/tmp",
    }
    window = (
        []
        if os.environ.get("DISPLAY") and not given.root
        else ["xvfb-run", "-a", "-s", "-screen 0 1440x1000x24 +extension GLX"]
    )
    blender = [
        "blender",
        "--window-geometry",
        "0",
        "0",
        "1440",
        "1000",
        "--python-exit-code",
        "3",
        "--python",
        str(seen / "gui_walk.py"),
    ]
    install = [
        "blender",
        "--command",
        "extension",
        "install-file",
        "-r",
        "user_default",
        "-e",
        str(seen / "extension.zip"),
    ]
    with serve() as service, mounted(place, extra) if given.root else _nothing():
        answer_as_runway(service, extra / "made.mp4")
        variables |= {
            "RUNWAYML_API_SECRET": "key-of-the-stand-in",
            "RUNWAYML_BASE_URL": service.url,
        }
        prefix = [
            *(["chroot", str(given.root)] if given.root else []),
            "env",
            *(f"{k}={v}" for k, v in variables.items()),
        ]
        subprocess.run(
            [*prefix, *install],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
        with subprocess.Popen([*prefix, *window, *blender], start_new_session=True) as process:
            try:
                code = process.wait(given.limit + 60)
            except subprocess.TimeoutExpired:
                code = 1
            finally:
                with suppress(ProcessLookupError):  # Xvfb, too
                    os.killpg(process.pid, signal.SIGTERM)
    for picture in sorted((extra / "shots").iterdir()):
        shutil.copy(picture, given.out)
    stop_backend(extra / "home")
    print(f"exit code {code}; pictures in {given.out}")
    return code


# Blender's own Python runs this instead of scripts/bootstrap.py: out of its system, into this one.
_SHIM = """
import os, sys
os.environ["RESTAGE4D_HOME"] = {home!r}
os.environ["PATH"] = {path!r}
print("starting", flush=True)
os.execv("/usr/sbin/chroot", ["chroot", "/host", {root!r} + "/.venv/bin/python", "-c",
"import os, runpy, sys; os.chdir({root!r}); sys.path.insert(0, {root!r}); sys.argv[1:] = " +
repr(sys.argv[2:]) +
"; runpy.run_module('backend', run_name='__main__')"])
"""


def answer_as_runway(service: Stub, path: Path) -> None:
    """Makes of the frame that was sent a video in which the picture slides, another way for every
    task."""
    task = "17f20503-6c24-4c16-946b-35dbbce2af2"
    pictures: list[np.ndarray] = []

    def begin(asked: Asked) -> tuple[int, dict]:
        data = base64.b64decode(asked.body["promptImage"].split(",")[1])
        pictures.append(
            cv2.cvtColor(
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
            )
        )
        return 200, {"id": f"{task}{len(pictures)}"}

    def look(asked: Asked) -> tuple[int, dict]:
        done = {"status": "SUCCEEDED", "createdAt": "2026-10-01T00:00:00Z", "cost": {"credits": 25}}
        return 200, done | {
            "id": asked.path.rsplit("/", 1)[1],
            "output": [f"{service.url}/{asked.path[-1]}.mp4"],
        }

    def send(asked: Asked) -> tuple[int, bytes]:
        number = int(asked.path[1])
        frames = [np.roll(pictures[number - 1], (3 - number) * n, 1) for n in range(24)]
        encode(path, frames, 24.0)
        return 200, path.read_bytes()

    service.on("POST", "/v1/image_to_video", begin)
    service.on("GET", f"/v1/tasks/{task}", look)
    for number in range(1, 9):
        service.on("GET", f"/{number}.mp4", send)


def stop_backend(home: Path) -> None:
    """Ends the backend that the walk started."""
    os.environ["RESTAGE4D_HOME"] = str(home)
    command = [
        str(ROOT / ".venv" / "bin" / "python"),
        "-c",
        "from restage4d.protocol.service import stop_service; stop_service()",
    ]
    subprocess.run(command, check=False, cwd=ROOT, timeout=60)


@contextmanager
def _nothing():
    yield


@contextmanager
def mounted(place: Path, extra: Path):
    """/proc and /dev for Blender, this system at /host, and the walk's folder at /extra."""
    binds = [
        ("/dev", "dev"),
        (str(extra), "extra"),
        ("/", "host"),
        ("/proc", "host/proc"),
        ("/dev", "host/dev"),
    ]
    if os.path.ismount("/tmp"):
        binds.append(("/tmp", "host/tmp"))
    done = []
    try:
        (place / "host").mkdir(exist_ok=True)
        (place / "extra").mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "proc", "proc", str(place / "proc")], check=True)
        done.append("proc")
        for source, target in binds:
            subprocess.run(["mount", "--bind", source, str(place / target)], check=True)
            done.append(target)
        yield
    finally:
        for target in reversed(done):
            subprocess.run(["umount", "-l", str(place / target)], check=False)


if __name__ == "__main__":
    sys.exit(main())
