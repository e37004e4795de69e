"""Structure from motion by COLMAP on point tracks, in processes of its own.

pycolmap brings libraries that crash beside OpenCV when loaded in the wrong order, and its mapper
cannot be stopped from outside: a child process (`colmap_program`) ends both troubles. It works at a
longer side of 384 "pixels", so that its tolerances hold for every size.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.priors.cameras.focal import LONGER_SIDE
from restage4d.progress import Task

F32 = NDArray[np.float32]

_PER_KEYFRAME = 300  # tracks that every keyframe brings into the map, longest first


@dataclass
class ColmapMap:
    """Cameras and points from COLMAP; ``w2c`` (T, 4, 4) is NaN for frames that could not be placed.

    ``error`` is the mean reprojection error in pixels of the observations that agree with the map,
    ``score`` what focal lengths are compared by: the log of the mean squared error over all
    observations, capped, a pull to the guess, and that low things are near.
    """

    focal: float
    w2c: F32
    points: F32
    error: float
    score: float


def map_tracks(
    xy: NDArray[np.floating],
    keyframes: NDArray[np.integer],
    size: tuple[int, int],
    focals: Sequence[float],
    search: bool,
    seed: int,
    task: Task,
    timeout: float,
) -> ColmapMap | str:
    """Cameras from tracks (P, T, 2; NaN where not seen): keyframes mapped incrementally, the other
    frames placed in that map.

    Args:
        keyframes: positions of the frames that make the map.
        size: (width, height) in pixels.
        focals: in pixels, the guess first; a map is made with each, side by side, and the best one
            taken.
        search: whether the focal length may then move on from there, within
            `restage4d.priors.cameras.focal.RATIOS`.
        task: advanced by one for every keyframe placed: ``len(keyframes) * len(focals)`` steps at
            most.
        timeout: seconds for all of it.

    Returns:
        The map, or one sentence that says why there is none. Raises `Cancelled` through ``task``.
    """
    scale = max(size) / LONGER_SIDE
    xy = xy[_choose_tracks(xy, keyframes)]
    with tempfile.TemporaryDirectory(prefix="restage4d-", ignore_cleanup_errors=True) as name:
        folders = [Path(name) / str(i) for i in range(len(focals))]
        for folder, focal in zip(folders, focals, strict=True):
            folder.mkdir()
            lens = {
                "focal": focal / scale,
                "guess": focals[0] / scale,
                "size": np.array(size) / scale,
                "search": search,
            }
            np.savez(folder / "in.npz", xy=xy / scale, keyframes=keyframes, seed=seed, **lens)
        with ExitStack() as stack:
            children = [stack.enter_context(_start_child(folder)) for folder in folders]
            began, reported = time.monotonic(), 0
            while any(child.poll() is None for child in children):
                time.sleep(0.05)
                done = sum(
                    min((folder / "out.txt").stat().st_size, len(keyframes)) for folder in folders
                )
                task.advance(done - reported)
                reported = done
                if time.monotonic() - began > timeout:
                    return f"structure from motion took longer than {timeout:.0f} s"
        maps, trouble = [], "too little of the background is seen from two places"
        for folder, child in zip(folders, children, strict=True):
            if child.returncode:
                output = (folder / "err.txt").read_text(errors="replace").strip().splitlines() or [
                    "no message"
                ]
                trouble = f"COLMAP ended with {child.returncode}: {output[-1]}"
            elif (folder / "map.npz").exists():
                with np.load(folder / "map.npz", allow_pickle=False) as found:
                    focal, error, score = (float(found[key]) for key in ("focal", "error", "score"))
                    maps.append(
                        ColmapMap(
                            focal * scale, found["w2c"], found["points"], error * scale, score
                        )
                    )
        return (
            min(maps, key=lambda m: m.score)
            if maps
            else f"structure from motion found no map: {trouble}"
        )


def _choose_tracks(xy: NDArray[np.floating], keyframes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which tracks are enough for a map: more only cost time."""
    seen = np.isfinite(xy[:, keyframes, 0])
    count = seen.sum(1)
    chosen = np.zeros(len(xy), bool)
    for k in range(len(keyframes)):
        here = np.flatnonzero(seen[:, k] & (count >= 3))
        chosen[here[np.argsort(-count[here], kind="stable")[:_PER_KEYFRAME]]] = True
    return chosen


@contextmanager
def _start_child(folder: Path) -> Iterator[subprocess.Popen]:
    """The mapper under way in ``folder``; killed if still alive at the end."""
    with open(folder / "out.txt", "wb") as out, open(folder / "err.txt", "wb") as err:
        command = [sys.executable, "-m", "restage4d.priors.cameras.colmap_program", str(folder)]
        single = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # as above, and children run side by side
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=single
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
