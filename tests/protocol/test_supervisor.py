"""Jobs that the service cannot look after for a while."""

import sqlite3

from backend.jobs.executors import LocalExecutor
from backend.jobs.job_table import JobTable
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
    status = supervisor.describe(jobs.get(JOB))
    assert status.state == "running"
    assert status.error
    assert "readonly" in status.error.what
    assert status.error.remedy
    assert told == [JOB]
    jobs._db().execute("PRAGMA query_only = OFF")
    supervisor.tick()
    status = supervisor.describe(jobs.get(JOB))
    assert status.state == "queued"
    assert status.error is None
    assert JOB in told[1:]
