"""What years bring: ten thousand jobs, damaged databases, clocks that jump."""

import shutil
import sqlite3
import time

import msgspec
import psutil
from protocol.test_retention import DAY_S
from protocol.test_retention import Service as Kept

from backend.jobs.job_rows import COLUMNS, compute_checksum, write_record
from backend.jobs.job_table import JobTable
from backend.jobs.repair import repair_database
from backend.retention import Retention
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from restage4d.protocol.connection import Connection
from restage4d.protocol.messages import Artefact, List, Submit

from .run import PATIENCE_S, Run, time_revocation
from .speed import compute_p99


def age(run: Run) -> None:
    """Ten thousand finished jobs: start, pages, sweep, memory."""
    count = 2000 if run.short else 10_000
    with run.service("age") as service:
        service.kill()
        _fill(service.home, count)
        began = time.perf_counter()
        service.start()
        run.add(f"start with {count} finished jobs", time.perf_counter() - began, "s", 3)
        with service.client(PATIENCE_S) as client:
            times = []
            for _ in range(4):  # the first time every folder is looked into
                before = None
                for _ in range(count // 200):
                    began = time.perf_counter()
                    page = client._ask(client._control, List(before=before)).body
                    times.append(time.perf_counter() - began)
                    before = page.jobs[-1].id
            run.add("a page of the list p99, read four times", compute_p99(times), "ms", 50)
            run.add("a page of the list, median", 1e3 * sorted(times)[len(times) // 2], "ms")
            run.add("a page of the list, slowest", 1e3 * max(times), "ms")
            seconds = time_revocation(run, service)
            run.add(f"revoked beside {count} jobs: out within", seconds, "s", 1)
            run.add("jobs listed", len(client.jobs()), "", count, least=True)
        memory = psutil.Process(Connection.read(service.file).pid).memory_info().rss
        run.add("memory of the service", memory / 2**20, "MiB", 300)
    retention = Retention(
        JobTable(service.home / "jobs.sqlite"),
        Store(service.home / "store"),
        service.home / "jobs",
        service.home / "ages.json",
        ServiceSettings(),
    )
    began = time.perf_counter()
    retention.sweep()
    run.add("one sweep", time.perf_counter() - began, "s", 2)


def _fill(home, count: int) -> None:
    """A folder as a service leaves it after so many jobs."""
    jobs, store = JobTable(home / "jobs.sqlite"), Store(home / "store")
    (home / "a").write_bytes(b"a video")
    content, size = store.add(home / "a")
    made = {"puppet": Artefact(content=content, size=size)}
    first = f"{0:032x}"
    jobs.add("local", Submit(key=first, base=content, prompt="it jumps " * 20), 10)
    jobs.mark_running(first, "cpu:0")
    jobs.mark_done(first, made)
    db = jobs._db()
    (row,) = db.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs").fetchall()
    marks = ", ".join("?" * len(COLUMNS))
    with db:
        for i in range(1, count):
            path = store.path(f"{i:064x}")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"p")
            artefacts = {"puppet": Artefact(content=path.name, size=1)}
            values = dict(zip(COLUMNS, row, strict=True))
            values |= {"id": f"{i:032x}", "artefacts": msgspec.msgpack.encode(artefacts)}
            new = tuple(values.values())
            new = (*new[:-1], compute_checksum(new))
            db.execute(f"INSERT INTO jobs VALUES ({marks})", new)
            needs = [(values["id"], content), (values["id"], path.name)]
            db.executemany("INSERT INTO needs VALUES (?, ?)", needs)
            write_record(home / "jobs" / values["id"], new)
    db.close()


def databases(run: Run) -> None:
    """Headers, pages and single bits of the database of jobs, damaged at random."""
    home, count = run.place / "databases", 200
    home.mkdir()
    _fill(home, count)
    path, whole = home / "jobs.sqlite", run.place / "whole.sqlite"
    assert repair_database(path) == ""
    shutil.copyfile(path, whole)
    for name, times, damage in (
        ("damaged databases", run.repeats, _damage),
        ("turned bits", 10 * run.repeats, _turn_a_bit),
    ):
        lost, changed, untold = 0, 0, 0
        expected = _read(whole)
        for i in range(times):
            data = bytearray(whole.read_bytes())
            damage(data, i, run.random)
            path.write_bytes(data)
            told = repair_database(path)
            found = _read(path)
            lost += len(expected.keys() - found.keys())
            changed += sum(found[id] != row for id, row in expected.items() if id in found)
            untold += damage is _damage and not told
            for other in home.glob("damaged-*"):
                other.unlink()
        run.add(f"{name}: times", times, "")
        run.add(f"{name}: jobs lost", lost, "", 0)
        run.add(f"{name}: jobs changed", changed, "", 0)
        run.add(f"{name}: not told", untold, "", 0)


def _damage(data: bytearray, i: int, rng) -> None:
    if i % 4 == 0:
        data[:16] = rng.randbytes(16)
    elif i % 4 == 1:
        del data[rng.randrange(len(data) // 2) :]
    elif i % 4 == 2:
        start = rng.randrange(len(data) - 4096)
        data[start : start + 4096] = rng.randbytes(4096)
    else:
        data[:] = b""


def _turn_a_bit(data: bytearray, i: int, rng) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _read(path) -> dict[str, tuple]:
    db = sqlite3.connect(path)
    rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs").fetchall()
    db.close()
    return {row[0]: row for row in rows}


def clocks(run: Run) -> None:
    """The date jumps by forty days, forth and back, within a service and between two."""
    (run.place / "clocks").mkdir()
    kept = Kept(run.place / "clocks")
    for i in range(30):
        kept.add_job(i, ended=True)
    kept.sweep_after(0.0)
    for i in range(run.repeats):
        kept.wall += (40 if i % 2 else -40) * DAY_S
        if i % 3 == 0:
            kept.start()
        kept.sweep_after(0.001)
    run.add("clock jumps of 40 days: times", run.repeats, "")
    run.add("clock jumps: jobs lost", 30 - len(kept.left()), "", 0)
