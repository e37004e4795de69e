"""Nothing waits behind work of another kind, or behind a large file."""

import hashlib
import threading
import time

import pytest

from backend.answers import Asker
from backend.jobs.executors import LocalExecutor
from backend.jobs.job_table import JobTable
from backend.jobs.supervisor import Supervisor
from backend.pools import Pool
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from backend.store.hashing import Hashing
from backend.work import WorkHandlers
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import (
    Chunk,
    Done,
    Fetch,
    JobStatus,
    Prepare,
    Prepared,
    Submit,
    UploadBegin,
    UploadReady,
)


@pytest.fixture
def work(tmp_path):
    store = Store(tmp_path / "store")
    jobs, executor = JobTable(tmp_path / "jobs.sqlite"), LocalExecutor(store, 1)
    settings = ServiceSettings()
    supervisor = Supervisor(jobs, tmp_path / "jobs", executor, settings, lambda job, frames: None)
    providers = {"driving": ["kinematic", "paid"]}
    handlers = WorkHandlers(
        store, jobs, supervisor, executor, settings, providers, lambda user: user == "local"
    )
    yield handlers
    handlers.close()


def ask(work: WorkHandlers, body, user: str = "anna", seconds: float = 10.0):
    """The answer, None where none comes in time."""
    answers, come = [], threading.Event()

    def answer(made, arrays=None):
        answers.append(made)
        come.set()

    work.handle(Asker(user), Received(framing.new_id(), None, body, []), answer)
    return answers[0] if come.wait(seconds) else None


def test_prompts_that_take_long_stop_nobody(work, tmp_path):
    (tmp_path / "a").write_bytes(b"a video")
    content = work.store.add(tmp_path / "a")[0]
    go_on = threading.Event()
    work.prompt_sandbox.ask = lambda body: go_on.wait() and (Prepared(prompt="p"), [])
    prepare = Prepare(content=content, prompt="it jumps", driving="paid")
    try:
        for user in ("anna", "ben", "cleo", "dan", "eve"):
            assert ask(work, prepare, user, 0.05) is None
        assert isinstance(ask(work, Fetch(content=content)), Chunk)
        assert isinstance(ask(work, UploadBegin(content="0" * 64, size=9)), UploadReady)
        assert isinstance(ask(work, Submit(key="a" * 32, base=content)), JobStatus)
        for _ in range(3):
            ask(work, prepare, "anna", 0.01)
        busy = ask(work, prepare, "anna")
        assert isinstance(busy, WireError)  # four of one user wait at most
        assert busy.code == "busy"
    finally:
        go_on.set()


def test_what_waited_too_long_is_not_begun():
    pool, go_on, told = Pool("test", 1, waiting=8, patience_s=0.1), threading.Event(), []
    done = threading.Event()
    pool.submit("anna", lambda: go_on.wait(10) and None, told.append)
    pool.submit("anna", lambda: told.append("done"), told.append)
    time.sleep(0.2)
    go_on.set()
    pool.submit("ben", done.set, told.append)
    assert done.wait(5)
    assert [error.code for error in told] == ["busy"]
    assert pool.count() <= 1
    pool.close()


def test_a_small_file_does_not_wait_for_a_large_one_and_each_is_read_once(tmp_path, monkeypatch):
    large, small = tmp_path / "large", tmp_path / "small"
    with large.open("wb") as file:
        file.truncate(400 << 20)
    small.write_bytes(b"0123456789")
    hashing, slices = Hashing(), []
    one_slice = Hashing._hash_slice

    def count(task):
        slices.append(task.path.name)
        return one_slice(task)

    monkeypatch.setattr(Hashing, "_hash_slice", staticmethod(count))
    first, again = hashing.submit(large), hashing.submit(large)
    assert again is first
    found = hashing.submit(small).result(20)
    assert found.hexdigest() == hashlib.sha256(b"0123456789").hexdigest()
    assert not first.done()  # 50 slices, of which a few are done
    assert slices.count("large") < 10
    expected = hashlib.sha256()
    for _ in range(100):
        expected.update(bytes(4 << 20))
    assert first.result(60).hexdigest() == expected.hexdigest()
    part = hashing.submit(small, 4).result(5)
    assert part.hexdigest() == hashlib.sha256(b"0123").hexdigest()
    with pytest.raises(FileNotFoundError):
        hashing.submit(tmp_path / "none").result(5)


def test_an_answer_knows_no_paths_for_who_is_elsewhere(work):
    work._do("fetch", "anna", lambda made, arrays=None: None, lambda: (Done(), []))

    def fail():
        raise WireError("/home/x/store/ab/cd.mp4 is no video.", "See /tmp/y/log.txt.", "bad_input")

    answers, come = [], threading.Semaphore(0)
    for user in ("anna", "local"):

        def answer(made, arrays=None):
            answers.append(made)
            come.release()

        work._do("fetch", user, answer, fail)
        assert come.acquire(timeout=5)
    assert (answers[0].what, answers[0].remedy) == ("…/cd.mp4 is no video.", "See …/log.txt.")
    assert answers[1].what == "/home/x/store/ab/cd.mp4 is no video."
