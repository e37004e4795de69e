"""Several users of one service: whose turn it is, who sees what, how much each may keep."""

import json
import subprocess
import time
from contextlib import suppress

import pytest
from tiny_job import ENDLESS, tiny_job

from backend.jobs.queue_order import Waiting, order_queue
from backend.network.keys import Keys
from backend.network.subscriptions import Subscriptions
from backend.store.content_store import Store
from restage4d.cli import main
from restage4d.protocol import framing
from restage4d.protocol.client import Client
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import HistoryEntry, StateChanged
from restage4d.protocol.subscription import Subscription

from .conftest import Service
from .test_jobs import until


def test_users_take_turns_and_each_has_its_own_order():
    waiting = [
        Waiting("a1", "anna", 1, 1.0),
        Waiting("a2", "anna", 1, 2.0),
        Waiting("a3", "anna", 2, 3.0),  # more urgent
        Waiting("b1", "ben", 1, 4.0),
        Waiting("c1", "cleo", 0, 5.0),
        Waiting("b2", "ben", 1, 6.0),
    ]
    assert order_queue(waiting, {}) == ["a3", "b1", "c1", "a1", "b2", "a2"]
    assert order_queue(waiting, {"anna": 2, "ben": 1}) == ["c1", "b1", "a3", "b2", "a1", "a2"]
    assert order_queue([], {}) == []
    alone = [Waiting(f"{i}", "anna", 1, float(i)) for i in range(5)]
    assert order_queue(alone, {"anna": 3}) == [w.id for w in alone]


def test_an_id_that_somebody_waits_for_is_theirs():
    there = {"a" * 32: "anna"}
    subscriptions = Subscriptions(there.get)
    assert subscriptions.may_follow("anna", 7, "a" * 32, False)
    assert not subscriptions.may_follow("ben", 7, "a" * 32, False)
    assert subscriptions.may_follow("ben", 7, "a" * 32, True)
    assert subscriptions.may_follow("ben", 7, "b" * 32, False)
    assert not subscriptions.may_follow("anna", 7, "b" * 32, False)
    assert not subscriptions.may_submit("anna", "b" * 32)
    assert subscriptions.may_submit("ben", "b" * 32)
    assert subscriptions.may_submit("anna", "c" * 32)
    assert sum(subscriptions.may_follow("eve", 7, f"{i:032x}", False) for i in range(300)) == 256
    subscriptions.end(f"{0:032x}")
    assert subscriptions.may_follow("eve", 7, "e" * 32, False)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A service that listens to others, and what makes a client of it by name."""
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
    toml = "slots = 1\nuser_gigabytes = 0.002\nlog = 'json'\n"
    service = Service(tmp_path / "home", toml, ("--bind", "0.0.0.0")).start()

    def make(name: str, *options: str) -> Client:
        file = tmp_path / f"{name}.json"
        command = ["keys", "make", name, "--host", "127.0.0.1", "--out", str(file), *options]
        assert main.main(command) == 0
        return Client.connect(file, timeout_s=30)

    yield service, make
    service.end()


def test_an_owner_sees_and_ends_what_others_do(shared, tmp_path, capsys):
    service, make = shared
    with make("anna") as anna, make("olga", "--owner") as olga:
        assert not anna.hello().owner
        assert olga.hello().owner
        job = anna.submit(tiny_job(anna.upload, ENDLESS, name="a\x1b[2Jb\nc"))
        with pytest.raises(WireError) as caught:
            anna.jobs(everyone=True)
        assert caught.value.code == "refused"
        assert olga.jobs() == []
        (seen,) = olga.jobs(everyone=True)
        assert (seen.id, seen.user) == (job, "anna")
        until(lambda: anna.status(job).state == "running")
        mine = olga.submit(tiny_job(olga.upload, 1))
        with pytest.raises(WireError):
            anna.status(mine)
        # what lies on the terminal and in the logs is one line each
        capsys.readouterr()
        assert main.main(["list", "--everyone", "--connection", str(tmp_path / "olga.json")]) == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert len(printed.splitlines()) == 2
        # as much as a user may keep
        (tmp_path / "big").write_bytes(bytes(3_000_000))
        with pytest.raises(WireError) as caught:
            anna.upload(tmp_path / "big")
        assert caught.value.code == "limit"
        assert "0.002 GB" in caught.value.what
        # a disabled user is out within a second, and their worker ends
        began = time.monotonic()
        assert main.main(["keys", "disable", "anna"]) == 0
        while _may(anna, job):
            assert time.monotonic() - began < 5
        until(lambda: olga.status(job).state == "paused", 60)
        assert main.main(["keys", "enable", "anna"]) == 0
        until(lambda: _may(anna, job), 20)
        anna.resume(job)
        olga.cancel(job)
        until(lambda: anna.status(job).state == "cancelled", 60)
    audit = [json.loads(line) for line in (service.home / "audit.log").read_text().splitlines()]
    done = [(entry["user"], entry["action"], entry.get("job", "")) for entry in audit]
    for expected in (("anna", "submit", job), ("olga", "cancel", job), ("anna", "resume", job)):
        assert expected in done
    assert ("local", "keys disable", "") in done
    assert all("time" in entry for entry in audit)
    log = [json.loads(line) for line in (service.home / "service.log").read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= log[0].keys()
    assert Keys(service.home / "keys").users()["olga"].role == "owner"


def _may(client: Client, job: str) -> bool:
    try:
        return bool(client.status(job))
    except WireError:
        return False


def test_events_before_submit_come_and_all_are_told_again(own, tmp_path):
    own.start()
    with own.client() as client:
        job = framing.new_id()
        subscription = Subscription(client._context, client._file, job)
        time.sleep(0.5)
        client.submit(tiny_job(client.upload, 20, key=job, priority="high"))
        states = []
        until(lambda: _take(subscription, states) in ("done", "failed"))
        assert states[0] in ("queued", "running")  # a free slot is taken at once
        assert states[-1] == "done"
        entries = list(client.replay(job))
        assert [e.number for e in entries] == list(range(1, len(entries) + 1))
        assert entries[0].state in ("queued", "running")
        assert entries[-1].state == "done"
        assert "photometric fusion" in {e.stage for e in entries}
        assert list(client.replay(job, entries[2].number)) == entries[3:]
        assert isinstance(entries[0], HistoryEntry)
        log = client.fetch_log(job)
        assert client.fetch_log(job, 10) == log[10:]
        # deleting leaves nothing of it, neither what it made nor what was sent for it alone
        status = client.status(job)
        contents = [a.content for a in status.artefacts.values()]
        store = Store(own.home / "store")
        (tmp_path / "kept").write_bytes(b"kept")
        base = client.upload(tmp_path / "kept")
        other = client.submit(tiny_job(client.upload, 5, driving=[base]))
        client.delete(job)
        until(lambda: not any(store.size(content) for content in contents), 20)
        until(lambda: not (own.home / "jobs" / job).exists(), 20)
        assert store.size(base) == 4
        assert {s.id for s in client.jobs()} == {other}
        subscription.close()


def _take(subscription: Subscription, states: list[str]) -> str:
    if (received := subscription.receive(0.1)) and isinstance(received[0], StateChanged):
        states.append(received[0].status.state)
    return states[-1] if states else ""


def _mount(folder) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _fill(path) -> None:
    """The rest of a disk, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_on_a_full_disk_jobs_are_cancelled_and_deleted(tmp_path):
    home = tmp_path / "disk"
    if not _mount(home):
        pytest.skip("a small disk needs the right to mount one")
    service = Service(home)
    try:
        service.start()
        with service.client() as client:
            for _ in range(2):  # the second time with the room that the first gave back
                job = client.submit(tiny_job(client.upload, ENDLESS))
                until(lambda job=job: client.status(job).state == "running")
                paused = client.submit(tiny_job(client.upload, ENDLESS))
                client.pause(paused)
                until(lambda: (home / "reserve").exists(), 20)
                _fill(home / "ballast")
                client.cancel(job)
                until(lambda job=job: client.status(job).state == "cancelled", 30)
                client.delete(job)
                client.delete(paused)
                until(lambda job=job: not (home / "jobs" / job).exists(), 20)
                until(lambda: client.jobs() == [], 30)
                (home / "ballast").unlink()
    finally:
        service.end()
        subprocess.run(["umount", "-l", str(home)], check=False)
