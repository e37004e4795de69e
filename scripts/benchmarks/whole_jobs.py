"""What priors and fit of a whole clip take, against its frames and its size: of every task the
processor seconds, and the peak of memory: the process's own, and all that is resident (files that
are mapped count there, which the system may take back).

    python scripts/benchmarks/whole_jobs.py [--frames 24 48] [--sizes 384x216 854x480] [--steps 7]
                                            [--files] [--given]

Each clip is a process of its own: a made-up one (`workloads.make_scene`) of so many frames with the
driving ones, its priors estimated from the pictures, then a draft's fit with so many visits of each
frame. Nothing is read from the cache. With ``--files`` all arrays of frames lie in files, as those
of a long clip do. With ``--given`` the priors are the scene's own, and only the fit is looked at.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import psutil

from restage4d import frame_arrays
from restage4d.priors.estimate import estimate_priors, weight_free_providers
from restage4d.progress import Event, Progress
from restage4d.reconstruct.config import preset
from restage4d.reconstruct.fit import fit
from restage4d.threads import let_waiting_threads_sleep

_EVERY = 0.02  # seconds between looks
_BETWEEN = "between tasks"


class Watch:
    """A `Progress` sink that notes what every task takes.

    Attributes:
        seconds: of the processor, children that ended counted.
        own, resident: peaks in MB, sampled by a thread.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.own: dict[str, float] = defaultdict(float)
        self.resident: dict[str, float] = defaultdict(float)
        self._task, self._since, self._process = _BETWEEN, _count_seconds(), psutil.Process()
        threading.Thread(target=self._look, daemon=True).start()

    def __call__(self, event: Event) -> None:
        now, before = _count_seconds(), self._since
        self.seconds[event.task.label if event.step else _BETWEEN] += now - before
        self._task, self._since = event.task.label, now

    def _look(self) -> None:
        while True:
            info, task = self._process.memory_info(), self._task
            self.own[task] = max(self.own[task], (info.rss - info.shared) / 1e6)
            self.resident[task] = max(self.resident[task], info.rss / 1e6)
            time.sleep(_EVERY)


def _count_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def run_job(frames: int, width: int, height: int, visits: int, *, given: bool) -> Watch:
    """Priors and fit of a made-up clip in this process."""
    sys.path.insert(0, str(Path(__file__).parent))
    from workloads import Size, make_scene

    let_waiting_threads_sleep()
    rewound, priors = make_scene(Size(frames=frames, width=width, height=height))
    watch = Watch()
    progress = Progress(watch)
    if not given:
        first, priors = priors.masks[rewound.seam] > 0.5, None
        providers = weight_free_providers()
        priors = estimate_priors(
            rewound, first, providers, priors_dir=None, cache=None, progress=progress
        )
    config = preset("draft")
    config = replace(config, fusion=replace(config.fusion, steps=visits * frames))
    fit(rewound, priors, config, None, progress)
    return watch


def make_table(names: list[str], found: list[dict[str, dict[str, float]]]) -> str:
    """Of every task and clip: processor seconds, own and resident MB."""
    lines = [f"| s, MB own, MB resident | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    tasks = list(dict.fromkeys(task for job in found for task in job["seconds"]))
    for task in tasks:
        cells = [
            f"{job['seconds'].get(task, 0):.1f}, {job['own'].get(task, np.nan):.0f}, "
            f"{job['resident'].get(task, np.nan):.0f}"
            for job in found
        ]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    whole = [
        f"{sum(job['seconds'].values()):.0f}, {max(job['own'].values()):.0f}, "
        f"{max(job['resident'].values()):.0f}"
        for job in found
    ]
    return "\n".join([*lines, f"| all | {' | '.join(whole)} |"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[24, 48])
    parser.add_argument("--sizes", nargs="+", default=["384x216", "854x480"])
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--given", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = list(product(arguments.frames, arguments.sizes))
    if arguments.files:
        frame_arrays.IN_MEMORY = 0
    if arguments.alone:
        ((frames, size),) = cases
        watch = run_job(frames, *map(int, size.split("x")), arguments.steps, given=arguments.given)
        print(json.dumps({n: getattr(watch, n) for n in ("seconds", "own", "resident")}))
        return 0
    names, found = [], []
    for frames, size in cases:
        given = ["--frames", str(frames), "--sizes", size, "--steps", str(arguments.steps)]
        given += ["--files"] * arguments.files + ["--given"] * arguments.given
        command = [sys.executable, __file__, "--alone", *given]
        out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        names.append(f"{frames} of {size}")
        found.append(json.loads(out.splitlines()[-1]))
        print(make_table(names, found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
