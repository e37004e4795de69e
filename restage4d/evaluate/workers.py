"""Runs side by side in processes of their own: small fits leave most cores idle when they run
alone."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import psutil

from restage4d.evaluate.metrics.perceptual import PerceptualWeights
from restage4d.evaluate.runs import (
    Bench,
    Record,
    Run,
    forward_cancellation,
)
from restage4d.progress import Progress, TaskId

_BYTES_EACH = 2 << 30  # of memory, that one run may need
_bench: Bench | None = None


def count_workers() -> int:
    """How many runs go side by side: one per core, as far as the memory goes."""
    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // _BYTES_EACH))


def run_all(
    runs: list[Run], out: Path, perceptual: PerceptualWeights, progress: Progress
) -> Iterator[tuple[Run, Record]]:
    """Does all runs, each as `Bench.execute`; yields them in the order in which they end.

    Raises:
        What the first failing run raises, or Cancelled; the other ones end at once and go on the
        next time.
    """
    workers = min(count_workers(), len(runs))
    with progress.task(TaskId.FIT_STAGES, len(runs)) as task:
        if workers == 1:
            bench = Bench(out, perceptual)
            for run in runs:
                yield run, bench.execute(run, Progress(cancelled=forward_cancellation(progress)))
                task.advance()
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start_worker, (out, perceptual)) as pool:
            futures = {pool.submit(_execute, run): run for run in runs}
            try:
                open_ones = set(futures)
                while open_ones:
                    done, open_ones = wait(open_ones, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=lambda f: runs.index(futures[f])):
                        yield futures[future], future.result()
                        task.advance()
                    progress.check()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise


def _start_worker(out: Path, perceptual: PerceptualWeights) -> None:
    """A worker's one-time set-up: one thread each."""
    global _bench
    import numba
    import torch

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    _bench = Bench(out, perceptual)


def _execute(run: Run) -> Record:
    assert _bench is not None
    return _bench.execute(run, Progress())
