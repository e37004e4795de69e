"""Damaged files end in frames or in a sentence, soon, and in little memory."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_image_folders import numbered, packed, save
from video_files import Kind, moving_scene, write_video

KINDS = {
    "mp4": Kind(".mp4", options={"bf": "2", "g": "12"}),
    "webm": Kind(".webm", "libvpx-vp9", options={"deadline": "realtime"}),
    "avi": Kind(".avi", "mpeg4", options={"bf": "2"}),
    "ts": Kind(".ts", options={"bf": "2", "g": "12"}),
    "gif": Kind(".gif", "gif", "rgb8", rate=Fraction(25)),
}
_SECONDS, _MEMORY = 2.0, 1 << 30

# In a process of its own, as a crash or a hang of a decoder must fail the test and not end it.
_DECODE_ALL = """
import json, sys, time
from restage4d.errors import InputError
from restage4d.io import video
for path in sys.argv[1:]:
    start = time.monotonic()
    try:
        outcome = f"{len(video.decode(path))} frames"
    except InputError as error:
        outcome = "refused" if error.remedy and path in error.what else f"bad sentence: {error}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    status = open("/proc/self/status").read()  # not ru_maxrss, which begins at the parent's
    memory = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps([path, outcome, time.monotonic() - start, memory]), flush=True)
"""


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bits flipped, or the end cut off, or blocks zeroed."""
    out = bytearray(data)
    way = rng.integers(3)
    if way == 0:
        for at in rng.integers(len(out), size=rng.integers(1, 40)):
            out[at] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del out[int(rng.integers(1, len(out))) :]
    else:
        for at in rng.integers(len(out), size=rng.integers(1, 4)):
            end = min(at + int(rng.integers(1, max(2, len(out) // 8))), len(out))
            out[at:end] = bytes(end - at)
    return bytes(out)


def check(folder: Path, path: Path, seed: int, times: int) -> None:
    rng, data, files = np.random.default_rng(seed), path.read_bytes(), []
    for i in range(times):
        files.append(folder / f"{i}{path.suffix}")
        files[-1].write_bytes(damage(data, rng))
    process = subprocess.run(
        [sys.executable, "-c", _DECODE_ALL, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60 + times * _SECONDS,
    )
    results = [json.loads(line) for line in process.stdout.splitlines()]
    assert process.returncode == 0, (process.returncode, results[-1:], process.stderr[-500:])
    assert len(results) == times
    for name, outcome, seconds, memory in results:
        assert outcome == "refused" or outcome.endswith(" frames"), (name, outcome)
        assert seconds < _SECONDS, (name, seconds)
        assert memory < _MEMORY, (name, memory)


def make(folder: Path, name: str) -> Path:
    scene = moving_scene(24)
    if name == "zip":
        return packed(save(folder / "f", numbered("f_{}.png", list(range(24)))), folder / "f.zip")
    return write_video(folder / f"whole{KINDS[name].suffix}", scene, KINDS[name])


@pytest.mark.skipif(sys.platform == "win32", reason="resource is POSIX")
@pytest.mark.parametrize("name", [*KINDS, "zip"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    check(tmp_path, make(tmp_path, name), 0, 12)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is POSIX")
@pytest.mark.parametrize("name", [*KINDS, "zip"])
def test_many_damaged_files(tmp_path: Path, name: str) -> None:
    check(tmp_path, make(tmp_path, name), 1, 60)
