"""Jobs that the service cannot look after for a while."""

import os
import sqlite3
import subprocess
import sys
import time

import psutil
import pytest

from backend.jobs.executors import LocalExecutor, kill_tree
from backend.jobs.job_folder import Folder
from backend.jobs.job_table import JobTable
from backend.jobs.status_board import StatusBoard
from backend.jobs.supervisor import Supervisor
from backend.settings import ServiceSettings
from backend.store.content_store import Store, is_disk_full
from restage4d.protocol.messages import Submit

JOB = "a" * 32


def test_a_full_disk_under_the_table_is_a_full_disk():
    error = RuntimeError("could not save")
    error.__cause__ = sqlite3.OperationalError("database or disk is full")
    assert is_disk_full(error)
    assert not is_disk_full(sqlite3.OperationalError("database is locked"))


def test_who_asks_is_told_why_a_job_stands_still(tmp_path):
    """Its process has ended, but the table cannot be written; when it can, the job goes on and
    nothing is said any more."""
    jobs, told = JobTable(tmp_path / "jobs.sqlite"), []
    executor = LocalExecutor(Store(tmp_path / "store"), 0)
    supervisor = Supervisor(
        jobs, tmp_path / "jobs", executor, ServiceSettings(), lambda job, frames: told.append(job)
    )
    jobs.add("local", Submit(key=JOB), 10)
    jobs.mark_running(JOB, "cpu:0")
    jobs._db().execute("PRAGMA query_only = ON")
    for _ in range(3):
        supervisor.tick()
    status = supervisor.board.describe(jobs.get(JOB))
    assert status.state == "running"
    assert status.error
    assert "readonly" in status.error.what
    assert status.error.remedy
    assert told == [JOB]
    jobs._db().execute("PRAGMA query_only = OFF")
    supervisor.tick()
    status = supervisor.board.describe(jobs.get(JOB))
    assert status.state == "queued"
    assert status.error is None
    assert JOB in told[1:]


class Clock:
    """Clocks that a test sets: the date, which may jump, and the time that passes."""

    def __init__(self) -> None:
        self.date, self.passed = 1.7e9, 50.0


class StubbornExecutor(LocalExecutor):
    """Its jobs never end by themselves; ``killed`` counts who was killed."""

    killed = 0

    def is_alive(self, job: str, folder: Folder) -> bool:
        return True

    def kill(self, job: str, folder: Folder) -> None:
        self.killed += 1


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("backend.jobs.job_table.time.time", lambda: clock.date)
    return clock


def test_the_grace_of_a_job_is_time_that_passes_not_the_date(tmp_path, clock):
    jobs = JobTable(tmp_path / "jobs.sqlite")
    executor = StubbornExecutor(Store(tmp_path / "store"), 0)
    supervisor = Supervisor(
        jobs,
        tmp_path / "jobs",
        executor,
        ServiceSettings(),
        lambda job, frames: None,
        monotonic=lambda: clock.passed,
    )
    jobs.add("local", Submit(key=JOB), 10)
    jobs.mark_running(JOB, "cpu:0")
    supervisor.open_folder(JOB).prepare(jobs.get(JOB).spec)
    supervisor.pause(jobs.get(JOB))
    supervisor.tick()
    for jump, seconds, killed in ((1e6, 44.0, 0), (-2e6, 0.9, 0), (0.0, 0.2, 1)):
        clock.date += jump
        clock.passed += seconds
        supervisor.tick()
        assert executor.killed == killed, (jump, seconds)
    supervisor.cancel(jobs.get(JOB))  # asked anew: its own grace, from now on
    supervisor.tick()
    clock.passed += 1.4
    supervisor.tick()
    assert executor.killed == 1
    clock.passed += 0.2
    supervisor.tick()
    assert executor.killed == 2


def test_the_queue_keeps_its_order_when_the_clock_is_set_back(tmp_path, clock):
    jobs = JobTable(tmp_path / "jobs.sqlite")
    names = [letter * 32 for letter in "abc"]
    for name in names:
        jobs.add("local", Submit(key=name), 10)
        clock.date -= 3600
    assert [job.id for job in jobs.list()] == names[::-1]
    for name in names[:2]:
        assert jobs.find_next_queued().id == name  # type: ignore[union-attr]
        jobs.mark_running(name, "cpu:0")
        jobs.change_state(name, ("running",), "paused")
    assert jobs.change_state(names[1], ("paused",), "queued")
    assert jobs.count_ahead() == {names[2]: 0, names[1]: 1}


def test_who_is_killed_is_told_by_the_lock(tmp_path):
    """A process id left over from a process that has ended kills nobody; nor does it matter by what
    date a process began."""
    code = "import sys; from pathlib import Path; from backend.jobs.job_folder import Folder\n"
    code += "lock = Folder(Path(sys.argv[1])).enter(); print(1, flush=True); sys.stdin.read()"
    folder = Folder(tmp_path / "job")
    folder.path.mkdir()
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline()
        assert folder.read_pid() == worker.pid
        kill_tree(folder)
        assert worker.wait(10) == -9 or os.name == "nt"
        folder.write_file("pid", str(bystander.pid).encode())
        assert folder.read_pid() is None
        kill_tree(folder)
        time.sleep(0.1)
        assert psutil.Process(bystander.pid).is_running()
        assert bystander.poll() is None
    finally:
        worker.kill()
        bystander.kill()


def test_a_preview_of_an_ended_job_is_looked_up_once_for_each_end(tmp_path):
    jobs = JobTable(tmp_path / "jobs.sqlite")
    board = StatusBoard(jobs, tmp_path / "jobs")
    jobs.add("anna", Submit(key=JOB), 10)
    jobs.change_state(JOB, ("queued",), "cancelled")
    assert not board.describe(jobs.get(JOB)).has_preview
    Folder(tmp_path / "jobs" / JOB).write_file("preview", b"png")
    assert not board.describe(jobs.get(JOB)).has_preview  # nothing writes there any more
    jobs.change_state(JOB, ("cancelled",), "queued")
    assert board.describe(jobs.get(JOB)).has_preview
    jobs.change_state(JOB, ("queued",), "cancelled")
    assert board.describe(jobs.get(JOB)).has_preview
    board.forget(JOB)
    assert board._previews == {}
