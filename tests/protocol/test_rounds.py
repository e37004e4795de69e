"""What the service does again and again: no round of it ends the service, and none goes on for
nothing."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import zmq

from backend.jobs.executors import LocalExecutor
from backend.jobs.job_table import JobTable
from backend.jobs.supervisor import Supervisor
from backend.network.keys import Authenticator, Keys
from backend.server import Server
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from backend.work import WorkHandlers

from .test_workers import gpus  # noqa: F401


def draw_key() -> str:
    return zmq.curve_keypair()[0].decode()


def test_no_exception_of_one_round_ends_the_service(caplog):
    rounds, closed = [], []
    stopping = threading.Event()

    def look_after(stamp):
        rounds.append(stamp)
        if len(rounds) == 4:
            stopping.set()
            return stamp
        raise OSError(24, "Too many open files")

    server = SimpleNamespace(
        stopping=stopping,
        keys=SimpleNamespace(stamp=lambda: (7,)),
        _look_after=look_after,
        close=lambda: closed.append(1),
    )
    Server.run(server)  # type: ignore[arg-type]
    assert rounds == [(7,)] * 4  # what was not done is still to do
    assert closed == [1]
    assert caplog.messages.count("the service could not be looked after") == 3


def test_a_loop_that_fails_is_told_and_the_service_started_again(caplog):
    server = SimpleNamespace(failed=False, stopping=threading.Event())
    server._fail = lambda: Server._fail(server)  # type: ignore[arg-type]

    def serve():
        raise MemoryError

    Server._run_loop(server, serve)  # type: ignore[arg-type]
    assert server.failed
    assert server.stopping.is_set()
    assert "serve failed" in caplog.text


def test_who_is_shut_out_within_the_same_moment_is_out(tmp_path):
    """A file system's clock stands still for some milliseconds."""
    keys, context = Keys(tmp_path / "keys"), zmq.Context()
    doorman = Authenticator(context, keys, draw_key())
    try:
        keys.allow("anna", draw_key())
        keys.allow("ben", draw_key())
        then = keys._allowed_file.stat().st_mtime_ns
        assert doorman.is_allowed("anna")
        stamp = keys.stamp()
        keys.disable("anna")
        os.utime(keys._allowed_file, ns=(then, then))
        assert keys.stamp() != stamp
        assert not doorman.is_allowed("anna")
        keys.disable("anna", False)
        os.utime(keys._allowed_file, ns=(then, then))
        assert doorman.is_allowed("anna")
        keys.revoke("anna")
        os.utime(keys._allowed_file, ns=(then, then))
        assert not doorman.is_allowed("anna")
        assert doorman.is_allowed("ben")
    finally:
        doorman.socket.close(linger=0)
        context.term()


@pytest.fixture
def work(gpus, tmp_path):  # noqa: F811
    """The handlers of a service with three GPUs."""
    store, jobs = Store(tmp_path / "store"), JobTable(tmp_path / "jobs.sqlite")
    executor, settings = LocalExecutor(store, 1), ServiceSettings()
    supervisor = Supervisor(jobs, tmp_path / "jobs", executor, settings, lambda job, frames: None)
    handlers = WorkHandlers(store, jobs, supervisor, executor, settings, {}, lambda user: False)
    yield handlers
    handlers.close()


@pytest.mark.skipif(os.name == "nt", reason="the driver is a shell script")
def test_what_draws_sees_the_first_slot_s_gpu_alone(work):
    for sandbox in (work.sandbox, work.prompt_sandbox):
        assert sandbox._environment["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa"


def test_processes_without_work_end(work):
    command = [sys.executable, "-c", "input()"]
    both = (work.sandbox, work.prompt_sandbox)
    for sandbox in both:
        sandbox._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        sandbox._used = time.monotonic()
    processes = [sandbox._process for sandbox in both]
    work.end_idle()
    assert [process.poll() for process in processes] == [None, None]
    for sandbox in both:
        sandbox._used -= 301.0
    with both[1]._lock:  # it is at work
        work.end_idle()
        assert processes[0].poll() is not None
        assert processes[1].poll() is None
    work.end_idle()
    assert processes[1].poll() is not None


def test_a_service_that_waits_for_something_for_ever_ends_at_last():
    code = (
        "import threading, time; from backend.__main__ import end_at_last\n"
        "stopping = threading.Event(); end_at_last(stopping, 0.3); time.sleep(0.6)\n"
        "print('told', flush=True); stopping.set(); time.sleep(60)\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=59)
    assert done.returncode == 3
    assert done.stdout == b"told\n"
    assert b"did not end" in done.stderr
    assert time.monotonic() - began < 55
