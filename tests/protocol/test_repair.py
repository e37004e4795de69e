"""Damaged databases: no job is lost, and it is told."""

import random
import sqlite3
import subprocess
import sys

import pytest

from backend.jobs.job_rows import SCHEMA, VERSION
from backend.jobs.job_table import JobTable
from backend.jobs.repair import repair_database
from restage4d.errors import InputError
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Artefact, Submit

IDS = [f"{i:032x}" for i in range(30)]
PROMPT = "it jumps " * 40


@pytest.fixture
def path(tmp_path):
    """Of a database of thirty jobs, one of them running and one done."""
    path = tmp_path / "jobs.sqlite"
    jobs = JobTable(path)
    for id in IDS:
        jobs.add("anna", Submit(key=id, base="0" * 64, prompt=PROMPT), 100)
    for id in IDS[3:5]:
        jobs.mark_running(id, "cpu:0")
    jobs.mark_done(IDS[4], {"puppet": Artefact(content="1" * 64, size=7)})
    jobs._db().close()
    assert repair_database(path) == ""
    return path


def check_jobs(path):
    jobs = JobTable(path)
    found = {job.id: job for job in jobs.list()}
    assert set(found) == set(IDS)
    assert all(job.spec.prompt == PROMPT for job in found.values())
    assert found[IDS[3]].state == "running"
    assert found[IDS[4]].artefacts["puppet"].content == "1" * 64
    assert jobs.is_needed("0" * 64)
    assert jobs.is_needed("1" * 64)
    jobs.check()
    jobs._db().close()


def turn_bits(data: bytearray, rng: random.Random, times: int) -> bytearray:
    for _ in range(times):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


@pytest.mark.parametrize(
    ("way", "word"),
    [
        (lambda data, rng: b"\xff" * 16 + data[16:], "not a database"),
        (lambda data, rng: data[: len(data) // 2], "made anew"),
        (lambda data, rng: turn_bits(data, rng, 80), "damaged"),
        (lambda data, rng: b"", "taken from their copies"),
        (lambda data, rng: None, "taken from their copies"),
    ],
)
def test_a_damaged_database_loses_no_job(path, way, word):
    left = way(bytearray(path.read_bytes()), random.Random(3))
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    assert word in repair_database(path)
    check_jobs(path)
    assert repair_database(path) == ""  # once is enough


def test_two_hundred_turned_bits_change_no_job(path):
    data, rng, told = path.read_bytes(), random.Random(5), 0
    for _ in range(60):
        path.write_bytes(turn_bits(bytearray(data), rng, 1))
        told += repair_database(path) != ""
        db = sqlite3.connect(path)
        rows = db.execute("SELECT id, state FROM jobs ORDER BY id").fetchall()
        db.close()
        assert [row[0] for row in rows] == IDS
        assert dict(rows)[IDS[3]] == "running"
    assert told > 20  # the others hit free space
    check_jobs(path)


@pytest.mark.parametrize(
    ("byte", "bit", "word"),
    [
        (18, 2, "readonly"),  # how new a program must be to write the file
        (47, 3, "unsupported file format"),
    ],
)
def test_a_header_that_forbids_to_use_the_database_is_damage(path, byte, bit, word):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)
    assert word in repair_database(path)
    JobTable(path).change_state(IDS[0], ("queued",), "paused")
    check_jobs(path)


# a turned bit may make text of what is none
@pytest.mark.parametrize("left", ["x'ff00'", "CAST(x'ff00' AS TEXT)", "CAST(x'00' AS TEXT)"])
def test_a_row_that_cannot_be_read_stops_nobody(path, left):
    jobs = JobTable(path)
    with jobs._db() as db:
        db.execute(f"UPDATE jobs SET spec = {left} WHERE id = ?", (IDS[7],))
    assert {job.id for job in jobs.list()} == set(IDS) - {IDS[7]}
    with pytest.raises(WireError) as caught:
        jobs.get(IDS[7])
    assert caught.value.code == "damaged"
    jobs._db().close()
    assert "1 were taken" in repair_database(path)
    check_jobs(path)


def test_a_deleted_job_does_not_come_back(path):
    jobs = JobTable(path)
    assert jobs.delete(IDS[0])
    jobs._db().close()
    assert repair_database(path) == ""
    path.write_bytes(b"\0" * 100)
    assert "29 jobs" in repair_database(path)


def test_a_database_of_an_earlier_version_goes_on(tmp_path):
    path = tmp_path / "jobs.sqlite"
    db = sqlite3.connect(path)
    db.executescript(SCHEMA)
    db.execute("INSERT INTO facts VALUES ('version', '1')")
    newer = JobTable(tmp_path / "newer.sqlite")
    newer.add("anna", Submit(key=IDS[0], base="0" * 64), 100)
    columns = [c[1] for c in db.execute("PRAGMA table_info(jobs)")]
    row = newer._db().execute(f"SELECT {', '.join(columns)} FROM jobs").fetchone()
    db.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(columns))})", row)
    db.commit()
    db.close()
    jobs = JobTable(path)
    assert jobs.get(IDS[0]).spec.base == "0" * 64
    assert jobs.is_needed("0" * 64)
    assert jobs.mark_running(IDS[0], "cpu:0")
    db = jobs._db()
    assert db.execute("SELECT value FROM facts").fetchone() == (str(VERSION),)
    with db:
        db.execute("UPDATE facts SET value = '99'")
    with pytest.raises(WireError, match="newer version"):
        JobTable(path)


def test_what_is_no_damage_is_left_alone(tmp_path):
    (tmp_path / "jobs.sqlite").mkdir()
    with pytest.raises(InputError, match="cannot be used"):
        repair_database(tmp_path / "jobs.sqlite")


def test_a_service_with_a_damaged_database_says_so_and_serves(own):
    (own.home / "jobs.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    own.start()
    assert "made anew" in (own.home / "service.out").read_text()
    assert "repair" in (own.home / "audit.log").read_text()
    with own.client() as client:
        assert client.jobs() == []
    # what turns bad while it runs ends it with a code that asks for another start
    db = sqlite3.connect(own.home / "jobs.sqlite")
    with db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE x(' WHERE name = 'facts'")
        db.execute("PRAGMA schema_version = 12345")
    db.close()
    assert own.process is not None
    assert own.process.wait(60) == 3
    own.start()
    with own.client() as client:
        assert client.jobs() == []


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "jobs.sqlite").mkdir()
    command = [sys.executable, "-m", "backend"]
    environment = {"RESTAGE4D_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
