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
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from backend.jobs.job_folder import Folder, Result
from backend.store.content_store import Store, disk_full_error, is_disk_full
from restage4d.errors import Cancelled, FitError, InputError
from restage4d.progress import Progress
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Artefact, Fault
from restage4d.puppet import Puppet
from restage4d.threads import let_waiting_threads_sleep

GPU_GIGABYTES = "RESTAGE4D_GPU_GIGABYTES"  # variable: how much of a GPU's memory a job may take
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
    folder.work.mkdir(exist_ok=True)
    if spec.job_kind == "driving":
        from restage4d.jobs.driving_videos import make_driving_videos

        made = {
            p.relative_to(folder.work).as_posix(): p
            for p in make_driving_videos(inputs.restaging_job(spec, store, folder), progress)
        }
    else:
        from restage4d.jobs.restaging import run
        from restage4d.jobs.results_folder import RECORD

        run(inputs.restaging_job(spec, store, folder), progress)
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
