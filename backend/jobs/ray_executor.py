"""Jobs on a Ray cluster: each is a Ray task around the very same `backend.jobs.worker`, on
whichever node is free.

A task mirrors its job's folder to a mailbox, an actor beside the service; the service mirrors the
mailbox to its own folder of the job. So a node may die: Ray starts the task again elsewhere, and it
goes on from the last checkpoint in the mailbox. Where the service itself dies, Ray ends its tasks,
and the next service queues their jobs again, with the checkpoints that came home. Every node needs
Restage4D installed.
"""

import logging
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import ray  # pyright: ignore[reportMissingImports]  (the extra "farm")
import ray.exceptions  # pyright: ignore[reportMissingImports]
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

from backend.jobs.executors import limit_gpu_memory, spawn_worker
from backend.jobs.job_folder import EVENTS, Folder, Result
from backend.jobs.job_rows import list_inputs
from backend.network.ray_token import check_cluster_asks
from backend.store.content_store import Store, read_packed_files
from restage4d.errors import InputError
from restage4d.protocol.messages import Device, Submit

_EVERY_S = 0.3
_RETRIES = 3
_CHECKPOINT = "checkpoint.safetensors"
_log = logging.getLogger("restage4d.farm")


@ray.remote(num_cpus=0)
class Mailbox:
    """What the two sides of a job tell each other: named bytes with a number that grows."""

    def __init__(self, first: dict[str, bytes]) -> None:
        self._entries = {name: (1, data) for name, data in first.items()}

    def put(self, new: dict[str, bytes]) -> str:
        """Takes bytes; gives back what the service asks: "", "pause" or "cancel"."""
        for name, data in new.items():
            self._entries[name] = (self._entries.get(name, (0, b""))[0] + 1, data)
        return self._entries.get("command", (0, b""))[1].decode()

    def get(self, seen: dict[str, int]) -> dict[str, tuple[int, bytes]]:
        """Everything newer than what was ``seen``."""
        return {
            name: entry for name, entry in self._entries.items() if entry[0] > seen.get(name, 0)
        }


@ray.remote
def run_job(
    spec: bytes, inputs: list[tuple[str, Any]], mailbox: Any, environment: dict[str, str]
) -> None:
    """One job, on some node. ``inputs`` are references to the contents it needs, ``environment`` is
    added to the node's."""
    with tempfile.TemporaryDirectory(prefix="restage4d_", ignore_cleanup_errors=True) as place:
        store, folder = Store(Path(place) / "store"), Folder(Path(place) / "job")
        for content, reference in inputs:
            path = store.path(content)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(ray.get(reference))
        folder.prepare(msgspec.msgpack.decode(spec, type=Submit))
        folder.work.mkdir()
        kept: Any = ray.get(mailbox.get.remote({}))
        if _CHECKPOINT in kept:
            (folder.work / _CHECKPOINT).write_bytes(kept[_CHECKPOINT][1])
        worker = spawn_worker(
            folder, store, os.environ | environment | {"RESTAGE4D_WITH": str(os.getpid())}
        )
        files = {name: folder.path / name for name in EVENTS} | {
            _CHECKPOINT: folder.work / _CHECKPOINT
        }
        stamps: dict[str, int] = {}
        ends = False
        while not ends:
            ends = worker.poll() is not None
            new = {}
            for name, path in files.items():
                with suppress(OSError):
                    stamp = path.stat().st_mtime_ns
                    if stamps.get(name) != stamp:
                        stamps[name], new[name] = stamp, path.read_bytes()
            asked: Any = ray.get(mailbox.put.remote(new))
            if asked and not folder.read_command():
                folder.write_command(asked)
            if not ends:
                time.sleep(_EVERY_S)
        log = folder.log.read_bytes()[-100_000:]
        result = folder.read_result()
        if result is None:
            ray.get(mailbox.put.remote({"log": log}))
            raise RuntimeError(f"the job's process ended with code {worker.returncode}")
        for artefact in result.artefacts.values():
            ray.get(
                mailbox.put.remote(
                    {f"content:{artefact.content}": store.path(artefact.content).read_bytes()}
                )
            )
        ray.get(mailbox.put.remote({"log": log, "result": msgspec.msgpack.encode(result)}))


class _RemoteJob:
    """A job under way on the cluster, seen from the service."""

    def __init__(self, folder: Folder, mailbox: Any, task: Any) -> None:
        self.folder, self.mailbox, self.task = folder, mailbox, task
        self.seen: dict[str, int] = {}
        self.asked = ""


class RayExecutor:
    """Puts jobs on a Ray cluster; one GPU each where the cluster has any.

    Args:
        store: where contents come from and results go.
        address: of the cluster's head, or "auto".
        slots: jobs at a time on a cluster without GPUs.
        gpu_gigabytes: of a GPU's memory that a job may take; 0: all of it.
    """

    name = "ray"

    def __init__(self, store: Store, address: str, slots: int, gpu_gigabytes: float = 0.0) -> None:
        self.store, self._slots = store, slots
        self._limits = limit_gpu_memory(gpu_gigabytes)
        try:
            ray.init(
                address=address, namespace="restage4d", log_to_driver=False, configure_logging=False
            )
        except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            raise InputError(
                f"There is no Ray cluster at {address!r}, or it has another token: {error}.",
                "Start one (ray start --head); every machine needs the same ~/.ray/auth_token.",
            ) from error
        if os.environ.get("RAY_AUTH_MODE") == "token":
            try:
                check_cluster_asks(ray.get_runtime_context().gcs_address)
            except InputError:
                ray.shutdown()
                raise
        self._home = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._jobs: dict[str, _RemoteJob] = {}
        self._ends: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        threading.Thread(target=self._follow, name="farm", daemon=True).start()

    def list_devices(self) -> list[Device]:
        found = []
        for node in ray.nodes():
            if node["Alive"]:
                has, name = node["Resources"], node["NodeManagerHostname"]
                found += [Device(kind="cuda", name=f"GPU of {name}", memory=0)] * int(
                    has.get("GPU", 0)
                )
                found.append(
                    Device(
                        kind="cpu",
                        name=f"{has.get('CPU', 0):.0f} cores of {name}",
                        memory=int(has.get("memory", 0)),
                    )
                )
        return found

    def list_slots(self) -> list[str]:
        return [
            f"ray:{i}" for i in range(int(ray.cluster_resources().get("GPU", 0)) or self._slots)
        ]

    def make_environment(self, slot: str) -> dict[str, str]:
        return dict(os.environ)  # jobs run elsewhere; this machine's GPU, if any, is free to draw

    def find_fit_lock(self, slot: str) -> Path | None:
        return None  # Ray gives a GPU to one task at a time

    def start(self, job: str, folder: Folder, slot: str, ahead: bool = False) -> None:
        spec = folder.read_spec()
        contents = list_inputs(spec)
        inputs = [
            (content, ray.put(self.store.path(content).read_bytes()))
            for content in self._add_frames(contents)
        ]
        first = {}
        with suppress(OSError):
            first[_CHECKPOINT] = (folder.work / _CHECKPOINT).read_bytes()
        mailbox = Mailbox.options(scheduling_strategy=self._home).remote(first)  # type: ignore[attr-defined]
        gpus = 1 if ray.cluster_resources().get("GPU", 0) else 0
        task = run_job.options(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES).remote(  # type: ignore[attr-defined]
            msgspec.msgpack.encode(spec), inputs, mailbox, self._limits
        )
        self._ends.pop(job, None)
        with self._lock:
            self._jobs[job] = _RemoteJob(folder, mailbox, task)

    def _add_frames(self, contents: set[str]) -> set[str]:
        """And the frames of packed folders."""
        return contents | {
            file.content
            for content in contents
            for file in read_packed_files(self.store, content) or []
        }

    def is_alive(self, job: str, folder: Folder) -> bool:
        with self._lock:
            return job in self._jobs

    def kill(self, job: str, folder: Folder) -> None:
        with self._lock:
            one = self._jobs.pop(job, None)
        if one is not None:
            ray.cancel(one.task, force=True)
            ray.kill(one.mailbox)
            self._ends[job] = "was ended"

    def explain_end(self, job: str) -> str:
        return self._ends.get(job, "ended with the service")

    def close(self) -> None:
        self._closing.set()
        ray.shutdown()

    def _follow(self) -> None:
        """Brings home what the tasks say, and takes the service's wishes there."""
        while not self._closing.wait(_EVERY_S):
            with self._lock:
                jobs = dict(self._jobs)
            for job, one in jobs.items():
                try:
                    self._follow_one(job, one)
                except (ray.exceptions.RayError, OSError, InputError) as error:
                    _log.warning("job %s: %s", job, error)

    def _follow_one(self, job: str, one: _RemoteJob) -> None:
        asked = one.folder.read_command()
        if asked != one.asked:
            ray.get(one.mailbox.put.remote({"command": asked.encode()}), timeout=30)
            one.asked = asked
        ended, _ = ray.wait([one.task], timeout=0)
        news: Any = ray.get(one.mailbox.get.remote(one.seen), timeout=60)
        for name, (number, data) in news.items():
            self._take_in(one.folder, name, data)
            one.seen[name] = number
        if not ended:
            return
        why = ""
        try:
            ray.get(one.task)
        except ray.exceptions.RayError as error:
            why = f"ended on the cluster ({str(error).strip().splitlines()[-1][:200]})"
        ray.kill(one.mailbox)
        with self._lock:
            self._jobs.pop(job, None)
        if why:
            self._ends[job] = why

    def _take_in(self, folder: Folder, name: str, data: bytes) -> None:
        if name in EVENTS:
            folder.write_file(name, data)
        elif name == _CHECKPOINT:
            folder.work.mkdir(exist_ok=True)
            folder.write_file(f"work/{_CHECKPOINT}", data)
        elif name == "log":
            folder.log.write_bytes(data)
        elif name.startswith("content:"):
            with tempfile.TemporaryDirectory(prefix="restage4d_") as place:
                path = Path(place) / "content"
                path.write_bytes(data)
                if self.store.add(path)[0] != name[8:]:
                    raise OSError("a result came damaged from the cluster")
        elif name == "result":
            folder.write_result(msgspec.msgpack.decode(data, type=Result))
