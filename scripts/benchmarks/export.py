"""Speed, size and peak memory of the exports, on a synthetic puppet.

    python scripts/benchmarks/export.py [--points 100000] [--frames 100] [--degree 0]

Each format runs in a process of its own: megabytes on disk, seconds and megabytes a second by the
clock, seconds of processor time (all threads), those of a plain write of the same bytes to as many
files just after, and peak memory. On a busy machine the processor's time is what tells.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from restage4d import se3
from restage4d.exporting.formats import FORMATS
from restage4d.exporting.shot import Shot
from restage4d.puppet import Gaussians, Performance, Puppet

_NAMES = (
    *("ply", "compressed-ply", "spz", "glb", "npz"),
    *("usd-splats", "usd-points", "usd-skeleton", "alembic"),
)
_DIGITS = (0, 0, 1, 2, 2, 0)


def make_puppet(points: int, frames: int, degree: int = 0, bases: int = 30) -> Puppet:
    """Random Gaussians on bases that wander by themselves, eight influences each."""
    rng = np.random.default_rng(0)
    gaussians = Gaussians(
        means=rng.normal(0, 0.3, (points, 3)).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (points, 1)),
        scales=rng.uniform(0.005, 0.02, (points, 3)).astype(np.float32),
        opacities=rng.uniform(0.2, 0.95, points).astype(np.float32),
        sh=rng.normal(0, 0.3, (points, (degree + 1) ** 2, 3)).astype(np.float32),
    )
    weight = rng.uniform(0, 1, (points, 8)).astype(np.float32)
    turns = rng.normal(0, 0.05, (bases, frames, 4)).cumsum(1)
    turns[..., 0] += 1
    moves = rng.normal(0, 0.01, (bases, frames, 3)).cumsum(1)
    performance = Performance(
        "base",
        se3.pack(se3.quat_to_matrix(turns), moves).astype(np.float32),
        24.0,
        np.tile(np.float32([[500, 0, 192], [0, 500, 144], [0, 0, 1]]), (frames, 1, 1)),
        np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        (384, 288),
    )
    empty = Gaussians(*(v[:0] for v in vars(gaussians).values()))
    index = rng.integers(0, bases, (points, 8)).astype(np.uint16)
    weight /= weight.sum(1, keepdims=True)
    return Puppet(gaussians, index, weight, [performance], empty)


def measure(name: str, points: int, frames: int, degree: int) -> str:
    """One row of the table."""
    from restage4d.exporting.writing import export_performance

    puppet = make_puppet(points, frames, degree)
    shot = Shot(puppet, puppet.performances[0], range(frames), axes=FORMATS[name].axes)
    with tempfile.TemporaryDirectory() as folder:
        form = FORMATS[name]
        place = Path(folder) / ("sequence" if form.by_frame else f"a{form.suffix}")
        began = time.perf_counter(), time.process_time()
        paths = export_performance(shot, name, place)
        seconds, busy = time.perf_counter() - began[0], time.process_time() - began[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sizes = [path.stat().st_size for path in paths]
        plain = write_plainly(Path(folder), sizes)
    megabytes = sum(sizes) / 1e6
    figures = (megabytes, megabytes / seconds, seconds, busy, plain, peak)
    return (
        f"| {name} | "
        + " | ".join(f"{x:.{d}f}" for x, d in zip(figures, _DIGITS, strict=True))
        + " |"
    )


def write_plainly(folder: Path, sizes: list[int]) -> float:
    """Seconds that writing so many bytes to so many files takes."""
    content = np.random.default_rng(0).bytes(1 << 20)
    began = time.perf_counter()
    for i, size in enumerate(sizes):
        with (folder / f"plain_{i}").open("wb") as file:
            for at in range(0, size, len(content)):
                file.write(content[: size - at])
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--degree", type=int, default=0, choices=range(4), help="of the SH")
    parser.add_argument("--format", choices=_NAMES, help="this one alone, in this process")
    options = parser.parse_args()
    if options.format:
        print(measure(options.format, options.points, options.frames, options.degree))
        return
    print("| format | MB | MB/s | seconds | processor | plain write | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for name in _NAMES:
        command = [sys.executable, __file__, "--format", name]
        command += ["--points", str(options.points), "--frames", str(options.frames)]
        command += ["--degree", str(options.degree)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
