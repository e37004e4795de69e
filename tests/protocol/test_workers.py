"""Processes of jobs: which GPU they see, what they may take, and who is told when they stand."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from backend.jobs.executors import LocalExecutor, list_gpus
from backend.jobs.job_folder import Folder
from backend.jobs.job_table import JobTable
from backend.jobs.process_watch import ProcessWatch
from backend.jobs.supervisor import Supervisor
from backend.jobs.worker import GPU_GIGABYTES, run_job
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from restage4d.protocol.messages import Submit

from .test_jobs import until

JOB = "a" * 32
_WORKER = """
import sys, time
from pathlib import Path
from backend.jobs.job_folder import Folder
lock = Folder(Path(sys.argv[1])).enter()
kept = bytearray(int(sys.argv[2]))
kept[::4096] = b"x" * len(kept[::4096])
print(1, flush=True)
time.sleep(600)
"""


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """A driver that lists three GPUs."""
    tool = tmp_path / "nvidia-smi"
    rows = "".join(f"GPU-{c * 4}, Card {c}, 24000\\n" for c in "abc")
    tool.write_text(f"#!/bin/sh\nprintf '{rows}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.skipif(os.name == "nt", reason="the driver is a shell script")
@pytest.mark.parametrize(
    ("visible", "names", "handed"),
    [
        (None, "abc", ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]),
        ("", "", []),
        ("2,0", "ca", ["2", "0"]),
        ("GPU-b", "b", ["GPU-b"]),
        ("1,-1,0", "b", ["1"]),
        ("0,7", "a", ["0"]),
        ("NoDevFiles", "", []),
    ],
)
def test_jobs_see_the_gpus_that_the_service_may_use(
    gpus, monkeypatch, tmp_path, visible, names, handed
):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert [gpu.device.name for gpu in list_gpus()] == [f"Card {c}" for c in names]
    executor = LocalExecutor(Store(tmp_path / "store"), 1)
    slots = executor.list_slots()
    assert slots == ([f"cuda:{i}" for i in range(len(handed))] or ["cpu:0"])
    seen = [executor.make_environment(slot) for slot in slots]
    if handed:
        assert [e["CUDA_VISIBLE_DEVICES"] for e in seen] == handed
    assert all(e["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST" for e in seen)


def test_a_job_may_take_a_part_of_its_gpu(gpus, monkeypatch, tmp_path):
    """A card of 24 GB of which 6 are allowed; torch is asked, and what it refuses is told."""
    environment = LocalExecutor(Store(tmp_path / "store"), 1, 6.0).make_environment("cuda:1")
    assert environment[GPU_GIGABYTES] == "6.0"
    usual = LocalExecutor(Store(tmp_path / "store"), 1)
    assert GPU_GIGABYTES not in usual.make_environment("cuda:1")
    asked = []
    card = SimpleNamespace(total_memory=24e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *given: asked.append(given)
    )

    def fail(folder, store):
        raise torch.OutOfMemoryError("CUDA out of memory. 6.0 GiB allowed; try less.")

    monkeypatch.setattr("backend.jobs.worker._make_results", fail)
    folder = Folder(tmp_path / "job")
    folder.path.mkdir()
    error = run_job(folder, tmp_path / "store").error
    assert error
    assert asked == []
    monkeypatch.setenv(GPU_GIGABYTES, environment[GPU_GIGABYTES])
    error = run_job(folder, tmp_path / "store").error
    assert error
    assert asked == [(0.25, 0)]
    assert "that a job may take here (6 GB) was full" in error.what
    monkeypatch.setenv(GPU_GIGABYTES, "96")
    run_job(folder, tmp_path / "store")
    assert asked[1] == (1.0, 0)


class Clock:
    now = 100.0


@pytest.fixture
def worker(tmp_path):
    """A process that works in a job's folder and takes 60 MB."""
    folder = Folder(tmp_path / "jobs" / JOB)
    folder.path.mkdir(parents=True)
    command = [sys.executable, "-c", _WORKER, str(folder.path), "60000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline()
    yield folder, psutil.Process(process.pid)
    process.kill()
    process.wait()


def test_who_stands_or_takes_too_much_is_told(worker):
    folder, process = worker
    clock = Clock()
    watch = ProcessWatch(1.0, 0.0, lambda: clock.now)
    assert watch.look(JOB, folder) == (None, False)
    process.suspend()
    clock.now += 1.0  # looked at a moment ago
    assert watch.look(JOB, folder) == (None, False)
    clock.now += 2.0
    fault, must_end = watch.look(JOB, folder)
    assert fault
    assert "stopped" in fault.what
    assert not must_end
    process.resume()
    until(lambda: process.status() != psutil.STATUS_STOPPED, 5)
    clock.now += 2.0
    assert watch.look(JOB, folder) == (None, False)
    clock.now += 400.0
    fault, must_end = watch.look(JOB, folder)
    assert fault
    assert "nothing for 6 minutes" in fault.what or "nothing for 7 minutes" in fault.what
    clock.now += 3300.0
    fault, must_end = watch.look(JOB, folder)
    assert fault
    assert (fault.code, must_end) == ("limit", True)
    assert "1 hours" in fault.what
    small = ProcessWatch(0.0, 0.03, lambda: clock.now)
    fault, must_end = small.look(JOB, folder)
    assert fault
    assert (fault.code, must_end) == ("limit", True)
    assert "0.03 are allowed" in fault.what
    assert ProcessWatch(0.0, 10.0, lambda: clock.now).look(JOB, folder) == (None, False)


def test_waiting_for_the_fit_before_takes_none_of_a_jobs_hours(tmp_path):
    clock, folder = Clock(), Folder(tmp_path / JOB)
    watch = ProcessWatch(1.0, 0.0, lambda: clock.now)
    for waits in (False, *[True] * 100, False, False, False):
        assert watch.look(JOB, folder, waits) == (None, False)
        clock.now += 1100.0
    fault, must_end = watch.look(JOB, folder)  # four times 1,100 s of work
    assert fault
    assert (fault.code, must_end) == ("limit", True)


def test_a_job_on_a_cluster_has_a_time_limit_too(tmp_path):
    """Its process is on another machine: there is no process id."""
    clock, folder = Clock(), Folder(tmp_path / JOB)
    watch = ProcessWatch(1.0, 1e-9, lambda: clock.now)
    assert watch.look(JOB, folder) == (None, False)
    clock.now += 3500.0
    assert watch.look(JOB, folder) == (None, False)
    clock.now += 200.0
    fault, must_end = watch.look(JOB, folder)
    assert fault
    assert (fault.code, must_end) == ("limit", True)
    watch.forget(JOB)
    assert watch.look(JOB, folder) == (None, False)


def test_a_job_that_takes_too_much_is_ended_and_a_shut_out_users_stops(worker, tmp_path):
    _, process = worker
    jobs = JobTable(tmp_path / "jobs.sqlite")
    allowed = {"anna"}
    supervisor = Supervisor(
        jobs,
        tmp_path / "jobs",
        LocalExecutor(Store(tmp_path / "store"), 0),
        ServiceSettings(job_gigabytes=0.03),
        lambda job, frames: None,
        may_run=lambda user: user in allowed,
    )
    jobs.add("anna", Submit(key=JOB), 10)
    jobs.mark_running(JOB, "cpu:0")
    supervisor.tick()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 10)
    until(lambda: supervisor.tick() or jobs.get(JOB).state == "failed", 10)
    error = jobs.get(JOB).error
    assert error
    assert error.code == "limit"
    # a queued job of who was shut out is not started
    jobs.change_state(JOB, ("failed",), "queued")
    allowed.clear()
    supervisor.executor.list_slots = lambda: ["cpu:0"]
    supervisor.tick()
    row = jobs.get(JOB)
    assert row.state == "paused"
    assert row.error
    assert row.error.code == "refused"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "limit", "memory was full"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), "limit", "GPU's"),
        (RuntimeError("CUDA error: out of memory"), "limit", "The GPU's memory was full"),
        (RuntimeError("Failed to allocate 96 bytes on device 'cuda:0'"), "limit", "GPU's"),
        (RuntimeError("else"), "internal", "else"),
    ],
)
def test_a_full_memory_is_told_as_such(tmp_path, monkeypatch, error, code, words):
    def fail(folder, store):
        raise error

    monkeypatch.setattr("backend.jobs.worker._make_results", fail)
    folder = Folder(tmp_path / "job")
    folder.path.mkdir()
    result = run_job(folder, tmp_path / "store")
    assert result.error
    assert result.error.code == code
    assert words in result.error.what
