"""A job's own process: ``python -m backend.jobs.worker JOB_FOLDER STORE_FOLDER``. Nothing here
knows of the network.

Exit codes: 0 it has said its last word in the folder; 3 another process already works in it;
anything else is a crash.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from backend.file_lock import FileLock
from backend.jobs.job_folder import Folder, Result
from backend.store.content_store import Store, disk_full_error, is_disk_full
from restage4d.errors import Cancelled, FitError, InputError
from restage4d.progress import Progress, TaskId, at_once
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Artefact, Fault
from restage4d.puppet import Puppet
from restage4d.threads import let_waiting_threads_sleep

# variables: how much of a GPU's memory a job may take; the lock of who fits on its slot; set where
# another job fits there while this one prepares
GPU_GIGABYTES, FIT_LOCK = "RESTAGE4D_GPU_GIGABYTES", "RESTAGE4D_FIT_LOCK"
AHEAD = "RESTAGE4D_AHEAD"
_EVERY_S = 0.1  # whoever waits for the fit before looks whether it has ended
_BEHIND = 15  # niceness of a job that prepares while another one fits
_TAKEN = 3  # the exit code where another process works in the folder


def main(argv: list[str]) -> int:
    let_waiting_threads_sleep()
    folder, store_folder = Folder(Path(argv[0])), Path(argv[1])
    lock = folder.enter()
    if lock is None:
        return _TAKEN
    _lower_priority()
    if leader := os.environ.get("RESTAGE4D_WITH"):
        threading.Thread(target=_end_with_leader, args=(int(leader),), daemon=True).start()
    folder.write_result(run_job(folder, store_folder))
    return 0


def _lower_priority() -> None:
    """Blender and the service go first."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process()
        process.nice(
            psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else max(process.nice(), 5)
        )


class FitTurn:
    """Lets the jobs of a slot fit one after the other, though one may prepare while another fits.

    Whoever fits holds a lock until the end of its process, however that ends.

    Args:
        path: of the lock.
        progress: is told while it waits; ends cancelled work.
        ahead: whether another job fits now: this thread, and those that it starts, then leave the
            processor to that one. The fit itself has a thread of the usual priority.
    """

    def __init__(self, path: Path, progress: Progress, ahead: bool) -> None:
        self._lock, self._progress, self._has_it = FileLock(path), progress, False
        self._thread: ThreadPoolExecutor | None = None
        if ahead:
            self._thread = ThreadPoolExecutor(1, "fit")
            self._thread.submit(int).result()  # it begins now, with the priority of now
            _stand_behind()

    def __call__(self, work: Callable[[], Any]) -> Any:
        """What ``work`` gives, done when no other job of the slot fits. Raises `Cancelled`."""
        if not self._has_it and not self._lock.acquire():
            with self._progress.task(TaskId.WAIT):
                while not self._lock.acquire():
                    self._progress.check()
                    time.sleep(_EVERY_S)
        self._has_it = True
        if self._thread is None:
            return work()
        _stand_in_line()
        return self._thread.submit(work).result()


def _stand_behind() -> None:
    """Lowers the priority of this thread and of those that it starts; on Windows of the process. On
    macOS it stays, as a process could not take that back."""
    with suppress(psutil.Error, OSError):
        if os.name == "nt":
            psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)
        elif sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), _BEHIND))


def _stand_in_line() -> None:
    """On Windows takes `_stand_behind` back; elsewhere threads that are there already were left
    out of it."""
    if os.name == "nt":
        _lower_priority()


def _end_with_leader(leader: int) -> None:
    """On a cluster a job's process does not outlive the task that started it."""
    with suppress(psutil.Error):
        process = psutil.Process(leader)
        while process.is_running():
            time.sleep(0.5)
    os._exit(1)


def run_job(folder: Folder, store_folder: Path) -> Result:
    """Does what the folder's spec asks; whatever goes wrong becomes part of the result."""

    def fail(code: Any, what: str, remedy: str) -> Result:
        return Result(outcome="failed", error=Fault(code=code, what=what, remedy=remedy))

    allowed = float(os.environ.get(GPU_GIGABYTES) or 0.0)
    try:
        if allowed:
            _limit_gpu_memory(allowed)
        return _make_results(folder, Store(store_folder))
    except Cancelled:
        return Result(outcome="cancelled" if folder.read_command() == "cancel" else "paused")
    except Exception as error:  # whatever it is, the client must hear of it
        traceback.print_exc()
        if is_disk_full(error):
            full = disk_full_error()
            fault = Fault(
                code="no_room", what=full.what, remedy="Free some space there, then resume the job."
            )
            return Result(outcome="paused", error=fault)
        if _is_out_of_memory(error):
            on_gpu = "cuda" in str(error).lower()
            whose = "GPU's memory" if on_gpu else "memory"
            if on_gpu and allowed:
                whose += f" that a job may take here ({allowed:g} GB)"
            return fail(
                "limit",
                f"The {whose} was full: {str(error).splitlines()[0] if str(error) else ''}"[:300],
                "Try the draft quality, a smaller picture or fewer frames; then resume the job.",
            )
        if isinstance(error, WireError):
            return fail(error.code, error.what, error.remedy)
        if isinstance(error, InputError):
            return fail("bad_input", error.what, error.remedy)
        if isinstance(error, FitError):
            return fail(
                "fit", str(error), "Try another selection, a clearer clip, or the draft quality."
            )
        return fail(
            "internal",
            f"{type(error).__name__}: {error}"[:1000],
            f"The job's log is {folder.log} on the service's machine.",
        )


def _is_out_of_memory(error: Exception) -> bool:
    """Also of what CUDA itself, or Warp, says beside torch."""
    said = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "out of memory" in said)
        or (isinstance(error, RuntimeError) and "failed to allocate" in said)
    )


def _limit_gpu_memory(gigabytes: float) -> None:
    """Tensors beyond so much are refused as if the GPU were full."""
    import torch  # late: see `_make_results`

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(gigabytes * 1e9 / total, 1.0), 0)


def _make_results(folder: Folder, store: Store) -> Result:
    # late: it takes seconds to import torch, and the folder's lock must not wait for that
    from backend.jobs import inputs
    from backend.jobs.progress_events import Observer

    spec = folder.read_spec()
    observer = Observer(folder, spec.key)
    progress = Progress(observer, lambda: folder.read_command() != "", observer.observe)
    lock = os.environ.get(FIT_LOCK)
    turn = FitTurn(Path(lock), progress, AHEAD in os.environ) if lock else at_once
    folder.work.mkdir(exist_ok=True)
    if spec.job_kind == "driving":
        from restage4d.jobs.driving_videos import make_driving_videos
        from restage4d.jobs.provider_choice import needs_gpu
        from restage4d.jobs.restaging import settle_estimators

        job = settle_estimators(inputs.restaging_job(spec, store, folder))
        waits = needs_gpu(job.choice, makes_driving=True)
        paths = (turn if waits else at_once)(lambda: make_driving_videos(job, progress))
        made = {p.relative_to(folder.work).as_posix(): p for p in paths}
    else:
        from restage4d.jobs.restaging import run
        from restage4d.jobs.results_folder import RECORD

        run(inputs.restaging_job(spec, store, folder), progress, turn=turn)
        made = {"puppet": folder.work / "puppet.puppet"}
        for path in (*folder.work.glob("*.*"), *folder.work.glob("footage/*")):
            if path.suffix in (".png", ".mp4", ".json", ".npz") and path.name != RECORD:
                made[path.relative_to(folder.work).as_posix()] = path
    return _store_results(made, store)


def _store_results(made: dict[str, Path], store: Store) -> Result:
    """Results into the store; a puppet only if its file reads back as one."""
    if "puppet" in made:
        Puppet.load(made["puppet"])
    artefacts = {}
    for name, path in made.items():
        content, size = store.add(path)
        artefacts[name] = Artefact(content=content, size=size)
    return Result(outcome="done", artefacts=artefacts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
