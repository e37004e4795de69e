"""Where jobs run: here, a process each (`LocalExecutor`), or on a Ray cluster
(`backend.jobs.ray_executor.RayExecutor`)."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from backend.jobs.job_folder import Folder
from backend.jobs.worker import AHEAD, FIT_LOCK, GPU_GIGABYTES
from backend.store.content_store import Store
from restage4d.protocol.messages import Device
from restage4d.protocol.service import spawn_detached


class Executor(Protocol):
    """Starts jobs and knows whether they live. Everything else goes through the job's `Folder`."""

    name: str

    def list_devices(self) -> list[Device]:
        """What jobs can run on."""
        ...

    def list_slots(self) -> list[str]:
        """A name per job that can run at the same time; a slot is one GPU where there are GPUs."""
        ...

    def make_environment(self, slot: str) -> dict[str, str]:
        """Environment of a process on this machine that works on a slot."""
        ...

    def find_fit_lock(self, slot: str) -> Path | None:
        """The file that whoever fits on a slot holds locked, where the next job may prepare
        meanwhile; None where jobs come one after the other."""
        ...

    def start(self, job: str, folder: Folder, slot: str, ahead: bool = False) -> None:
        """Starts a prepared job; ``ahead``: another one fits on the slot. Raises OSError where no
        process can be made."""
        ...

    def is_alive(self, job: str, folder: Folder) -> bool:
        """Whether the job still works, also one that an earlier service started."""
        ...

    def kill(self, job: str, folder: Folder) -> None:
        """Ends the job's process, and all that it started, at once."""
        ...

    def explain_end(self, job: str) -> str:
        """How the job's process ended, for the artist."""
        ...

    def close(self) -> None:
        """The service ends; jobs that still run are left alone."""
        ...


class LocalExecutor:
    """A process per job on this machine; one job per GPU, or ``slots`` at a time without one.

    Args:
        store: whose folder the processes read and write.
        slots: jobs at a time on the CPU.
        gpu_gigabytes: of its GPU's memory that a job may take; 0: all of it.
        prepare_ahead: as in `ServiceSettings`.
    """

    name = "local"

    def __init__(
        self, store: Store, slots: int, gpu_gigabytes: float = 0.0, prepare_ahead: str = "gpu"
    ) -> None:
        self.store, self._gpu_gigabytes, self._prepare_ahead = store, gpu_gigabytes, prepare_ahead
        self._gpus = list_gpus()
        self._slots = slots
        self._children: dict[str, subprocess.Popen] = {}
        self._exit_codes: dict[str, int] = {}

    def list_devices(self) -> list[Device]:
        cpu = Device(
            kind="cpu", name=f"{os.cpu_count()} cores", memory=psutil.virtual_memory().total
        )
        return [*(gpu.device for gpu in self._gpus), cpu]

    def list_slots(self) -> list[str]:
        return [f"cuda:{i}" for i in range(len(self._gpus))] or [
            f"cpu:{i}" for i in range(self._slots)
        ]

    def make_environment(self, slot: str) -> dict[str, str]:
        """Environment of a process that works on a slot: it sees that slot's GPU alone."""
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        if slot.startswith("cuda:"):
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[int(slot[5:])].visible
            environment |= limit_gpu_memory(self._gpu_gigabytes)
        return environment

    def find_fit_lock(self, slot: str) -> Path | None:
        drawing = self._gpus[int(slot[5:])].device.drawing if slot.startswith("cuda:") else ""
        on_gpu = drawing != "" and not drawing.startswith("on the CPU")
        if self._prepare_ahead == "always" or (self._prepare_ahead == "gpu" and on_gpu):
            return self.store.folder.parent / f"fit-{slot.replace(':', '-')}.lock"
        return None

    def start(self, job: str, folder: Folder, slot: str, ahead: bool = False) -> None:
        self._exit_codes.pop(job, None)
        environment = self.make_environment(slot)
        if lock := self.find_fit_lock(slot):
            environment |= {FIT_LOCK: str(lock)} | ({AHEAD: "1"} if ahead else {})
        self._children[job] = spawn_worker(folder, self.store, environment)

    def is_alive(self, job: str, folder: Folder) -> bool:
        child = self._children.get(job)
        if child is not None:
            code = child.poll()
            if code is None:
                return True
            self._exit_codes[job] = code
            del self._children[job]
        return folder.is_running()

    def kill(self, job: str, folder: Folder) -> None:
        kill_tree(folder)
        child = self._children.get(job)
        if child is not None:
            child.kill()

    def explain_end(self, job: str) -> str:
        code = self._exit_codes.get(job)
        if code is None:
            return "ended by itself"
        if code in (-9, 137):
            return "was killed, most likely because the memory was full"
        return f"ended with code {code}"

    def close(self) -> None:
        self._children.clear()


def limit_gpu_memory(gigabytes: float) -> dict[str, str]:
    """Environment of a worker that may take so much of a GPU's memory; 0: all of it."""
    return {GPU_GIGABYTES: str(gigabytes)} if gigabytes else {}


def spawn_worker(folder: Folder, store: Store, environment: Mapping[str, str]) -> subprocess.Popen:
    """The process of a job, which outlives the service."""
    return spawn_detached(
        [sys.executable, "-m", "backend.jobs.worker", str(folder.path), str(store.folder)],
        folder.log,
        environment,
    )


def kill_tree(folder: Folder) -> None:
    """Kills the process that works in a folder, if any, and its children."""
    pid = folder.read_pid()
    if pid is None:
        return
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.Error):
                one.kill()


@dataclass(frozen=True)
class Gpu:
    """A GPU that jobs may use.

    Attributes:
        device: as clients are told of it.
        visible: what CUDA_VISIBLE_DEVICES names it.
    """

    device: Device
    visible: str


def list_gpus() -> list[Gpu]:
    """The machine's NVIDIA GPUs: those that CUDA_VISIBLE_DEVICES names, in its order, or all.

    Where the variable is not set, a GPU is named by its UUID, as CUDA's numbers (CUDA_DEVICE_ORDER)
    need not be the driver's. Where it is set, its own words are handed on to the jobs.
    """
    command = ["nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found, drawing = [], _describe_drawing()
    for line in listed.strip().splitlines():
        uuid, rest = line.split(",", 1)
        name, mib = rest.rsplit(",", 1)
        memory = int(float(mib) * 2**20)
        device = Device(kind="cuda", name=name.strip(), memory=memory, drawing=drawing)
        found.append(Gpu(device, uuid.strip()))
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if allowed is None else _choose_visible(found, allowed)


def _choose_visible(gpus: list[Gpu], allowed: str) -> list[Gpu]:
    """As CUDA reads it: numbers or beginnings of UUIDs; what follows a wrong one is hidden."""
    chosen = []
    for word in (word.strip() for word in allowed.split(",")):
        if word.isdecimal() and int(word) < len(gpus):
            chosen.append(Gpu(gpus[int(word)].device, word))
            continue
        beginning = word.lower() if word.lower().startswith(("gpu-", "mig-")) else "?"
        same = [gpu for gpu in gpus if gpu.visible.lower().startswith(beginning)]
        if len(same) != 1:
            break
        chosen.append(Gpu(same[0].device, word))
    return chosen


def _describe_drawing() -> str:
    """Where fits will run and why; found out by another process, as it takes all of torch."""
    script = "from restage4d.splatting.choice import expect_drawing; print(expect_drawing().why)"
    command = [sys.executable, "-W", "ignore", "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.strip().splitlines() or [""])[-1]
