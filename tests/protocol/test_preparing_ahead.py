"""The next job prepares while one fits: two real workers on one slot, killed and stopped on the
way."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny_job import ENDLESS, tiny_job

from backend.file_lock import FileLock
from backend.jobs.executors import Gpu, LocalExecutor
from backend.jobs.job_folder import Folder
from backend.jobs.job_table import JobTable
from backend.jobs.supervisor import Supervisor
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from restage4d.progress import TaskId
from restage4d.protocol.client import Client
from restage4d.protocol.messages import Device, JobProgress, JobStatus, Submit

from .conftest import Service
from .test_jobs import until

ALWAYS = 'slots = 1\nprepare_ahead = "always"\n'
FIT, WAIT = TaskId.FUSE.label, TaskId.WAIT.label


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("ahead"), ALWAYS).start()
    yield service
    service.end()


@pytest.fixture
def client(service):
    with service.client(timeout_s=60.0) as client:
        yield client
        for job in client.jobs():
            client.delete(job.id)
        until(lambda: not client.jobs())


class RecordingExecutor(LocalExecutor):
    """Starts nothing and notes who was to be started where."""

    def __init__(self, store: Store, slots: int) -> None:
        super().__init__(store, slots, prepare_ahead="always")
        self.started: list[tuple[str, str, bool]] = []

    def start(self, job: str, folder: Folder, slot: str, ahead: bool = False) -> None:
        self.started.append((job[0], slot, ahead))

    def is_alive(self, job: str, folder: Folder) -> bool:
        return True


def make_supervisor(tmp_path: Path, jobs: str) -> tuple[Supervisor, RecordingExecutor]:
    """Over two slots; a job of 32 times each letter of ``jobs`` is queued."""
    executor = RecordingExecutor(Store(tmp_path / "store"), 2)
    table = JobTable(tmp_path / "jobs.sqlite")
    supervisor = Supervisor(
        table, tmp_path / "jobs", executor, ServiceSettings(), lambda job, frames: None
    )
    for letter in jobs:
        table.add("local", Submit(key=32 * letter), 10)
    return supervisor, executor


def test_who_can_have_a_free_slot_does_not_wait_for_a_fit(tmp_path):
    supervisor, executor = make_supervisor(tmp_path, "abc")
    supervisor.jobs.mark_running(32 * "a", "cpu:0")
    lock = FileLock(executor.find_fit_lock("cpu:0"))
    assert lock.acquire()
    supervisor.tick()
    lock.release()
    assert sorted(executor.started) == [("b", "cpu:1", False), ("c", "cpu:0", True)]


def test_who_was_killed_twice_waits_for_a_slot_of_its_own(tmp_path):
    """It may have lacked the memory that the fit before it has."""
    supervisor, executor = make_supervisor(tmp_path, "abc")
    for letter, slot in zip("ab", ("cpu:0", "cpu:1"), strict=True):
        supervisor.jobs.mark_running(32 * letter, slot)
    for _ in range(2):
        supervisor.jobs.mark_running(32 * "c", "cpu:0")
        supervisor.jobs.change_state(32 * "c", ("running",), "queued")
    lock = FileLock(executor.find_fit_lock("cpu:0"))
    assert lock.acquire()
    supervisor.tick()
    lock.release()
    assert executor.started == []


def fitting(client: Client) -> str:
    """A job that fits until it is stopped."""
    job = client.submit(tiny_job(client.upload, ENDLESS))
    until(lambda: client.status(job).stage == FIT)
    return job


def waiting(client: Client, steps: int = 30) -> str:
    """A job that has prepared and waits."""
    job = client.submit(tiny_job(client.upload, steps))
    until(lambda: client.status(job).stage == WAIT)
    return job


def process_of(service: Service, job: str) -> psutil.Process:
    pid = Folder(service.home / "jobs" / job).read_pid()
    assert pid
    return psutil.Process(pid)


def finish(client: Client, job: str) -> JobStatus:
    return until(lambda: (s := client.status(job)).state == "done" and s)


def test_the_next_job_prepares_and_fits_in_its_turn_the_same_to_the_bit(service, client):
    job = tiny_job(client.upload, longer_side=112)  # the first one has other priors
    puppet = finish(client, client.submit(job)).artefacts["puppet"].content
    (service.home / "cache").rename(service.home / "cache_of_the_first")  # priors are made anew
    first = fitting(client)
    told: list[Any] = []
    second, third = client.submit(job), client.submit(job)
    until(lambda: client.status(second).stage == WAIT)
    status = client.status(second)
    assert status.state == "running"
    assert status.time_left_s is None  # nobody knows when the first one ends
    assert status.device == client.status(first).device
    assert client.status(first).stage == FIT
    assert client.status(third).state == "queued"  # one at most
    if sys.platform == "linux":
        at_work, in_line = process_of(service, first), process_of(service, second)
        assert in_line.nice() >= 15 > at_work.nice()
    client.cancel(first)
    status = client.watch(second, lambda event, arrays: told.append(event))
    assert status.state == "done"
    assert status.attempts == 1
    assert status.artefacts["puppet"].content == puppet
    stages = [event.stage for event in told if isinstance(event, JobProgress)]
    assert TaskId.MASKS.label not in stages  # they were there before its fit began
    assert finish(client, third).artefacts["puppet"].content == puppet


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_its_fit_has_the_usual_priority(service, client):
    first = fitting(client)
    second = waiting(client, ENDLESS)
    client.cancel(first)
    until(lambda: client.status(second).stage == FIT)
    process = process_of(service, second)
    usual = max(os.getpriority(os.PRIO_PROCESS, 0), 5)
    assert process.nice() >= 15
    assert os.getpriority(os.PRIO_PROCESS, find_busiest_thread(process)) == usual


def find_busiest_thread(process: psutil.Process) -> int:
    """The thread that computes most within two seconds."""
    before = {thread.id: thread.user_time for thread in process.threads()}
    time.sleep(2)
    done = {t.id: t.user_time - before.get(t.id, 0) for t in process.threads()}
    return max(done, key=lambda thread: done[thread])


def test_who_waits_is_stopped_at_once_and_the_other_goes_on(client):
    first = fitting(client)

    def stop(how: str, ended: str) -> str:
        """A job that is stopped while it waits."""
        job = waiting(client)
        getattr(client, how)(job)
        until(lambda: {job.id: job.state for job in client.jobs()}.get(job, "") == ended, 10)
        step = client.status(first).step
        until(lambda: client.status(first).step > step)
        return job

    stop("cancel", "cancelled")
    stop("delete", "")
    second = stop("pause", "paused")
    client.resume(second)
    until(lambda: client.status(second).stage == WAIT)
    client.cancel(first)
    assert finish(client, second).attempts == 1


def test_a_fit_that_is_killed_hands_its_turn_on_and_comes_back(service, client):
    first = fitting(client)
    second = waiting(client, ENDLESS)
    process_of(service, first).kill()
    until(lambda: client.status(second).stage == FIT)
    # from the priors in the cache to the wait, as the other one fits now
    status = until(lambda: (s := client.status(first)).stage == WAIT and s)
    assert status.attempts == 2
    client.cancel(second)
    until(lambda: client.status(first).stage == FIT)


def test_one_that_is_killed_while_it_waits_prepares_again(service, client):
    first = fitting(client)
    second = waiting(client)
    process = process_of(service, second)
    process.kill()
    until(lambda: not process.is_running())
    until(lambda: (s := client.status(second)).attempts == 2 and s.stage == WAIT)
    assert client.status(first).attempts == 1
    client.cancel(first)
    finish(client, second)


def test_both_outlive_the_service(tmp_path):
    own = Service(tmp_path / "home", ALWAYS).start()
    try:
        with own.client() as client:
            first = fitting(client)
            second = waiting(client)
            pids = [process_of(own, job).pid for job in (first, second)]
        own.kill()
        own.start()
        with own.client() as client:
            assert client.status(second).stage == WAIT
            assert [process_of(own, job).pid for job in (first, second)] == pids
            client.cancel(first)
            assert finish(client, second).attempts == 1
    finally:
        own.end()


@pytest.mark.parametrize(
    ("setting", "drawing", "ahead"),
    [
        ("gpu", "on Card by gsplat", True),
        ("gpu", "on the CPU, not on Card: no kernels", False),
        ("gpu", "", False),
        ("never", "on Card by gsplat", False),
        ("always", "on the CPU, not on Card: no kernels", True),
    ],
)
def test_jobs_prepare_ahead_where_fits_run_on_a_gpu(tmp_path, monkeypatch, setting, drawing, ahead):
    card = Gpu(Device(kind="cuda", name="Card", memory=1, drawing=drawing), "0")
    monkeypatch.setattr("backend.jobs.executors.list_gpus", lambda: [card])
    store = Store(tmp_path / "store")
    lock = LocalExecutor(store, 1, prepare_ahead=setting).find_fit_lock("cuda:0")
    assert lock == (tmp_path / "fit-cuda-0.lock" if ahead else None)


def test_on_a_cpu_jobs_come_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr("backend.jobs.executors.list_gpus", list)
    assert LocalExecutor(Store(tmp_path / "store"), 2).find_fit_lock("cpu:1") is None
    always = LocalExecutor(Store(tmp_path / "store"), 2, prepare_ahead="always")
    assert always.find_fit_lock("cpu:1") == tmp_path / "fit-cpu-1.lock"


def test_where_nobody_may_prepare_the_next_job_is_queued(tmp_path: Path):
    own = Service(tmp_path / "home", 'slots = 1\nprepare_ahead = "never"\n').start()
    try:
        with own.client() as client:
            first = fitting(client)
            second = client.submit(tiny_job(client.upload))
            step = client.status(first).step
            until(lambda: client.status(first).step > step + 30)
            assert client.status(second).state == "queued"
    finally:
        own.end()
