"""Arrays of many frames lie in files without a name; what is computed with them is the same to the
bit, and what stays in memory hardly grows with the frames."""

import errno
import gc
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restage4d import frame_arrays
from restage4d.frame_arrays import make_frames, stack_on_cores, take_frames
from restage4d.io.content_cache import Cache
from restage4d.priors.estimate import estimate_priors, weight_free_providers
from restage4d.progress import Progress, TaskId
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fit import prepare_priors
from restage4d.reconstruct.fusion.optimisation import measure_typical_depth
from restage4d.reconstruct.losses.hull import Hull

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "benchmarks"))
from workloads import Size, make_fusion, make_scene


@pytest.fixture
def in_files(tmp_path, monkeypatch):
    """Every array of frames lies in a file, of which nothing stays with the process for long."""
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(frame_arrays, "IN_MEMORY", 0)
    monkeypatch.setattr(frame_arrays, "_EVERY", 0.001)
    return tmp_path / "cache"


def is_in_file(array: np.ndarray) -> bool:
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base is not None


def count_maps(folder: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(folder))


def test_only_what_is_large_lies_in_a_file():
    side = int((frame_arrays.IN_MEMORY / 4) ** 0.5)
    assert not is_in_file(make_frames((1, side, side)))
    assert is_in_file(make_frames((3, side, side)))


def test_arrays_are_as_those_in_memory(in_files):
    zeros, nan = make_frames((3, 4, 5), np.uint8), make_frames((2, 3), fill=np.nan)
    assert is_in_file(zeros)
    assert is_in_file(nan)
    assert zeros.dtype == np.uint8
    assert zeros.shape == (3, 4, 5)
    assert not zeros.any()
    assert nan.dtype == np.float32
    assert np.isnan(nan).all()
    squares = stack_on_cores(lambda x: np.full((2, 2), x * x, np.int16), range(5))
    assert is_in_file(squares)
    assert squares.dtype == np.int16
    assert squares[:, 1, 0].tolist() == [0, 1, 4, 9, 16]
    assert take_frames(squares, np.array([4, 0]))[:, 0, 0].tolist() == [16, 0]
    assert take_frames(squares, np.array([False, True, False, True, False])).shape == (2, 2, 2)
    assert take_frames(squares, np.zeros(5, bool)).shape == (0, 2, 2)
    with pytest.raises(ValueError, match="nothing to stack"):
        stack_on_cores(lambda x: np.zeros(x), [])


def test_nothing_is_lost_while_pages_are_let_go(in_files):
    frames = make_frames((64, 128, 128), np.int32)
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        frames += 1
    assert (frames == frames[0, 0, 0]).all()
    assert frames[0, 0, 0] > 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_has_no_name_and_ends_with_its_array(in_files):
    frames = make_frames((4, 64, 64))
    part = frames[2:]
    assert list(in_files.iterdir()) == []
    assert count_maps(in_files) == 1
    del frames
    gc.collect()
    assert count_maps(in_files) == 1, "a part of it is still in use"
    del part
    deadline = time.monotonic() + 5
    while count_maps(in_files) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert count_maps(in_files) == 0
    while frame_arrays._releaser is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert frame_arrays._releaser is None, "nobody is left to look after"


def test_a_killed_process_leaves_nothing(in_files):
    code = (
        "from restage4d import frame_arrays; frame_arrays.IN_MEMORY = 0\n"
        "kept = frame_arrays.make_frames((9, 64, 64), fill=1)\n"
        "print('made', flush=True)\nimport time; time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait(20)
    assert [p for p in in_files.rglob("*") if p.is_file()] == []


def test_where_the_disk_is_full_arrays_stay_in_memory(in_files, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    frames = make_frames((4, 8, 8), fill=2)
    assert not is_in_file(frames)
    assert (frames == 2).all()


def test_the_room_is_taken_at_once(small_disk, in_files, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_CACHE", str(small_disk))
    assert is_in_file(make_frames((4, 50, 50)))
    assert not is_in_file(make_frames((40, 100, 100)))  # 1.6 MB on a disk of 300 kB


def test_the_cache_gives_large_arrays_in_files(in_files):
    cache = Cache(in_files)
    arrays = {
        "masks": np.random.default_rng(0).random((5, 60, 70)).astype(np.float32),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": np.array([True, False]),
        "kind": np.array("moving"),
        "none": np.zeros((0, 3), np.float32),
    }
    cache.put("key", arrays)
    found = cache.get("key")
    assert found is not None
    assert found.keys() == arrays.keys()
    assert is_in_file(found["masks"])
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    whole = (in_files / "key.npz").read_bytes()
    (in_files / "key.npz").write_bytes(whole[:-2000])
    assert cache.get("key") is None
    assert not (in_files / "key.npz").exists()
    np.savez(in_files / "key.npz", a=np.array([{}], dtype=object))
    assert cache.get("key") is None, "pickles are never opened"


def make_clip(frames: int, width: int = 160, height: int = 96):
    """A made-up clip and the subject in b_0."""
    rewound, truth = make_scene(Size(frames=frames, width=width, height=height))
    return rewound, truth.masks[rewound.seam] > 0.5


def estimate_everything(rewound, first):
    """Priors of a clip from its pictures, and what the fit makes of them."""
    priors = estimate_priors(
        rewound, first, weight_free_providers(), priors_dir=None, cache=None, progress=Progress()
    )
    return prepare_priors(rewound, priors, FitConfig())


def test_priors_and_hull_are_the_same_in_files(tmp_path, monkeypatch):
    rewound, first = make_clip(6)
    memory = estimate_everything(rewound, first)
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path))
    monkeypatch.setattr(frame_arrays, "IN_MEMORY", 0)
    monkeypatch.setattr(frame_arrays, "_EVERY", 0.001)
    again, first = make_clip(6)
    files = estimate_everything(again, first)
    assert is_in_file(again.clip.frames)
    assert is_in_file(files.masks)
    assert is_in_file(files.depth)
    np.testing.assert_array_equal(again.clip.frames, rewound.clip.frames)
    assert (memory.masks > 0.5).any()
    assert (memory.depth > 0).any()
    np.testing.assert_array_equal(files.masks, memory.masks)
    np.testing.assert_array_equal(files.depth, memory.depth)
    np.testing.assert_array_equal(files.tracks.xy, memory.tracks.xy)
    np.testing.assert_array_equal(files.cameras.w2c, memory.cameras.w2c)
    for name in ("outside", "front", "thick"):
        torch.testing.assert_close(getattr(Hull(files), name), getattr(Hull(memory), name))


def test_memory_hardly_grows_with_frames(in_files):
    """Bytes a pixel of the process's own that one more frame costs, at the peak of all priors: one
    float32 map would be 4. In memory it is about 68."""

    def measure_peak(frames: int, width: int = 256, height: int = 144) -> int:
        clip = make_clip(frames, width, height)
        gc.collect()
        tracemalloc.start()
        try:
            estimate_everything(*clip)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measure_peak(4, 128, 72)  # what is made once
    few, many = measure_peak(6), measure_peak(12)
    assert (many - few) / 6 / (256 * 144) < 8


def test_a_step_of_fusion_is_the_same_in_files(tmp_path, monkeypatch):
    one = replace(FitConfig().fusion, at_once=1, steps=50)

    def take_step():
        fusion = make_fusion(Size(6, 200, 200, 4), replace(FitConfig(), fusion=one))
        with Progress().task(TaskId.FUSE, fusion.steps) as task:
            fusion.take_step(task)
        return fusion

    memory = take_step()
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path))
    monkeypatch.setattr(frame_arrays, "IN_MEMORY", 0)
    files = take_step()
    assert is_in_file(files.objective.hull.outside.numpy())
    assert is_in_file(files.targets.frames.numpy())
    for name, value in memory.model.params.items():
        torch.testing.assert_close(files.model.params[name], value, rtol=0, atol=0)


def test_typical_depth_is_the_median_of_what_is_known():
    depth = np.random.default_rng(0).uniform(-1, 3, (7, 300, 200)).astype(np.float32)
    known = depth[depth > 0]
    step = len(known) // 100_000
    assert step == 3
    assert measure_typical_depth(depth) == float(np.median(known[::step]))
    assert measure_typical_depth(np.zeros((2, 3, 3), np.float32)) == 1.0
