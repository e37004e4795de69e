"""The jobs in SQLite: what was asked, in which state it is, what came of it. One row per job, one
place that changes states.

Every thread has a connection of its own; WAL lets readers pass writers. What changes ten times a
second (progress) is not here but in the job's folder.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from backend.jobs.job_rows import (
    COLUMNS,
    RECORD,
    VERSION,
    JobRow,
    compute_checksum,
    list_inputs,
    migrate,
    open_database,
    read_row,
    write_record,
)
from backend.jobs.queue_order import Waiting, order_queue
from backend.logs import RareLog
from restage4d.errors import InputError
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    ENDED,
    PRIORITIES,
    Artefact,
    Fault,
    State,
    Submit,
)

# the end of the queue, also after the clock was set back; its argument is the date
_LAST = "MAX(?, (SELECT COALESCE(MAX(queued), 0) + 0.001 FROM jobs))"
_ALL = f"SELECT {', '.join(COLUMNS)} FROM jobs"
_log = logging.getLogger("restage4d.jobs")


class JobTable:
    """The table of jobs.

    Args:
        path: of the database; made where missing. Beside it lies ``jobs``, a folder for each job,
            with a copy of its row in it, of which a damaged database is made anew
            (`backend.jobs.repair`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders = path.with_name("jobs")
        self._local = threading.local()
        self._damaged_rows = RareLog(_log)
        with self._db() as db:
            version = migrate(db)
        if version > VERSION:
            raise WireError(
                f"{path} was written by a newer version of Restage4D.",
                "Use that version, or move the file away.",
                "version",
            )
        if version == 1:
            jobs = self.list()
            with self._db() as db:
                for job in jobs:
                    _note_needs(db, job.id, job.contents)

    def _db(self) -> sqlite3.Connection:
        db = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = open_database(self.path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        return db

    def check(self) -> None:
        """Raises `sqlite3.DatabaseError` where the database is damaged."""
        found = self._db().execute("PRAGMA quick_check(1)").fetchone()
        if found[0] != "ok":
            raise sqlite3.DatabaseError(found[0])

    def add(self, owner: str, spec: Submit, limit: int, contents: Iterable[str] = ()) -> JobRow:
        """Queues a job, or finds the one that was queued with the same key.

        Args:
            owner: whose it is.
            spec: what was asked.
            limit: unfinished jobs that a user may have.
            contents: of the store, that it needs beside those that ``spec`` names.

        Raises:
            WireError: "refused" for a key of somebody else, "limit" for more than ``limit``
                unfinished jobs.
        """
        with self._db() as db:
            known = self._find(db, spec.key)
            if known:
                if known.owner != owner:
                    raise WireError(
                        "That job belongs to somebody else.", "Submit with a new key.", "refused"
                    )
                return known
            count = (
                "SELECT COUNT(*) FROM jobs WHERE owner = ? AND state IN ('queued', 'running', "
                "'paused')"
            )
            if db.execute(count, (owner,)).fetchone()[0] >= limit:
                raise WireError(
                    f"You have {limit} unfinished jobs, which is the limit.",
                    "Cancel some, or wait.",
                    "limit",
                )
            now = time.time()
            db.execute(
                f"INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, 'queued', '', NULL, ?, {_LAST}, "
                "NULL, NULL, 0, '', NULL, ?, ?, 0, 0)",
                (
                    spec.key,
                    owner,
                    msgspec.msgpack.encode(spec),
                    now,
                    now,
                    msgspec.msgpack.encode({}),
                    PRIORITIES.index(spec.priority),
                ),
            )
            row = self._seal(db, spec.key)
            job = read_row(row)
            _note_needs(db, job.id, list_inputs(job.spec) | set(contents))
        self._record(row)
        return job

    def get(self, id: str, owner: str | None = None) -> JobRow:
        """A job. Raises `WireError` "not_found", also for the job of another ``owner``."""
        job = self._find(self._db(), id)
        if job is None or (owner is not None and job.owner != owner):
            raise WireError(
                "There is no such job.",
                "List the jobs there are; it may have been deleted.",
                "not_found",
            )
        return job

    def list(
        self,
        owner: str | None = None,
        states: Iterable[State] = (),
        before: str | None = None,
        limit: int = -1,
    ) -> list[JobRow]:
        """Jobs, newest first: at most ``limit``, older than the job ``before``."""
        where, values = [], []
        if owner is not None:
            where, values = ["owner = ?"], [owner]
        if states := tuple(states):
            where.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if before is not None:
            where.append("rowid < (SELECT rowid FROM jobs WHERE id = ?)")
            values.append(before)
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        query = f"{_ALL} {condition} ORDER BY rowid DESC LIMIT {limit:d}"
        found = []
        for row in self._db().execute(query, values):
            try:
                found.append(read_row(row))
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                self._damaged_rows.warn("job %s: its row is damaged: %s", row[0], error)
        return found

    def count(self) -> dict[tuple[str, str], int]:
        """Number of jobs by (owner, state)."""
        rows = self._db().execute("SELECT owner, state, COUNT(*) FROM jobs GROUP BY owner, state")
        return {(owner, state): n for owner, state, n in rows}

    def find_owner(self, id: str) -> str | None:
        """Whose a job is; None where there is none."""
        row = self._db().execute("SELECT owner FROM jobs WHERE id = ?", (id,)).fetchone()
        return row[0] if row else None

    def find_next_queued(self) -> JobRow | None:
        """The job to start next, see `order_queue`."""
        for id in self._order():
            with suppress(WireError):  # damaged: it waits until the service is started again
                return self.get(id)
        return None

    def count_ahead(self) -> dict[str, int]:
        """Place in the queue of every queued job."""
        return {id: place for place, id in enumerate(self._order())}

    def _order(self) -> list[str]:
        db = self._db()
        rows = db.execute("SELECT id, owner, priority, queued FROM jobs WHERE state = 'queued'")
        running = db.execute("SELECT owner FROM jobs WHERE state = 'running'")
        return order_queue([Waiting(*row) for row in rows], Counter(row[0] for row in running))

    # --- changes of state: each returns whether it happened, as another thread may be faster ---

    def mark_running(self, id: str, device: str) -> bool:
        return self._change(
            "UPDATE jobs SET state = 'running', wanted = '', wanted_at = NULL, started = "
            "COALESCE(started, ?), finished = NULL, "
            "attempts = attempts + 1, device = ?, error = NULL WHERE id = ? AND state = 'queued'",
            (time.time(), device, id),
        )

    def request(self, id: str, what: str) -> bool:
        """Notes what a running job is asked to do; a wish to delete or cancel is not taken back by
        a later one to pause."""
        weaker = {
            "paused": ("",),
            "cancelled": ("", "paused"),
            "deleted": ("", "paused", "cancelled"),
        }[what]
        return self._change(
            f"UPDATE jobs SET wanted = ?, wanted_at = ? WHERE id = ? AND state = 'running' "
            f"AND wanted IN ({', '.join('?' * len(weaker))})",
            (what, time.time(), id, *weaker),
        )

    def change_state(
        self, id: str, before: Iterable[State], after: State, error: Fault | None = None
    ) -> bool:
        """From one of the states ``before`` to ``after``. Queueing resets the count of attempts,
        unless it ran until now."""
        before = tuple(before)
        extra, dates = "", ()
        if after == "queued" and "running" not in before:
            extra, dates = f", queued = {_LAST}, attempts = 0, finished = NULL", (time.time(),)
        if after in ENDED:
            extra, dates = ", finished = ?", (time.time(),)
        return self._change(
            "UPDATE jobs SET state = ?, wanted = '', wanted_at = NULL, device = '', error = "
            f"?{extra} WHERE id = ? "
            f"AND state IN ({', '.join('?' * len(before))})",
            (after, msgspec.msgpack.encode(error) if error else None, *dates, id, *before),
        )

    def mark_done(self, id: str, artefacts: dict[str, Artefact]) -> bool:
        done = self._change(
            "UPDATE jobs SET state = 'done', wanted = '', wanted_at = NULL, device = '', error = "
            "NULL, finished = ?, "
            "artefacts = ? WHERE id = ? AND state = 'running' AND wanted NOT IN ('cancelled', "
            "'deleted')",
            (time.time(), msgspec.msgpack.encode(artefacts), id),
            {a.content for a in artefacts.values()},
        )
        if done:
            owner = self.get(id).owner
            for one in artefacts.values():
                self.note_holding(owner, one.content, one.size)
        return done

    def delete(self, id: str, states: Iterable[State] = ("queued", "paused", *ENDED)) -> bool:
        """Forgets a job unless it runs. Its folder, and what it made or needed, are noted as trash;
        what other jobs need stays. False where it is in another state."""
        states = tuple(states)
        with self._db() as db:
            marks = ", ".join("?" * len(states))
            db.execute("BEGIN IMMEDIATE")
            job = self._find(db, id)
            needs = "SELECT content FROM needs WHERE job = ?"
            contents = [row[0] for row in db.execute(needs, (id,))]
            made = {a.content for a in job.artefacts.values()} if job else set()
            gone = db.execute(
                f"DELETE FROM jobs WHERE id = ? AND state IN ({marks})", (id, *states)
            )
            if job is None or gone.rowcount == 0:
                return False
            db.execute("DELETE FROM needs WHERE job = ?", (id,))
            trash = "INSERT OR IGNORE INTO trash VALUES (?, ?)"
            db.execute(trash, (f"job {id}", None))
            for content in contents:
                # what was brought again since this job came is for another one
                since = None if content in made else job.created + 1
                db.execute(trash, (f"content {content}", since))
        with suppress(OSError):
            (self.folders / id / RECORD).unlink(missing_ok=True)
        return True

    # --- what users hold, and what has to go ---

    def note_holding(self, owner: str, content: str, size: int) -> None:
        """A user brought a content, or made it; it is no trash any more."""
        with self._db() as db:
            db.execute("INSERT OR REPLACE INTO holdings VALUES (?, ?, ?)", (owner, content, size))
            db.execute("DELETE FROM trash WHERE name = ?", (f"content {content}",))

    def count_holdings(self) -> dict[str, int]:
        """Bytes that each user brought or made and that are still here."""
        rows = self._db().execute("SELECT owner, SUM(size) FROM holdings GROUP BY owner")
        return dict(rows.fetchall())

    def list_trash(self) -> list[tuple[str, float | None]]:
        """``job ID`` and ``content SHA``, and the date of the newest file that is meant: what
        `forget` is to be told of once it is gone."""
        return self._db().execute("SELECT name, since FROM trash").fetchall()

    def is_needed(self, content: str) -> bool:
        row = self._db().execute("SELECT 1 FROM needs WHERE content = ?", (content,)).fetchone()
        return row is not None

    def forget(self, gone: Iterable[str], kept: Iterable[str] = ()) -> None:
        """The files of this trash, or of contents that went by age, are gone; others stay."""
        gone = list(gone)
        with self._db() as db:
            names = [(name,) for name in (*gone, *kept)]
            db.executemany("DELETE FROM trash WHERE name = ?", names)
            contents = [(n.removeprefix("content "),) for n in gone if n.startswith("content ")]
            db.executemany("DELETE FROM holdings WHERE content = ?", contents)

    # --- inside ---

    def _change(self, statement: str, values: tuple, contents: Iterable[str] = ()) -> bool:
        """``values`` of an UPDATE hold the job's id before the states, if any; it is found by its
        form."""
        id = next(v for v in values if isinstance(v, str) and len(v) == 32)
        with self._db() as db:
            if db.execute(statement, values).rowcount == 0:
                return False
            row = self._seal(db, id)
            _note_needs(db, id, contents)
        self._record(row)
        return True

    def _seal(self, db: sqlite3.Connection, id: str) -> tuple:
        """Counts a change of a row and gives it its checksum."""
        db.execute("UPDATE jobs SET revision = revision + 1 WHERE id = ?", (id,))
        row = db.execute(f"{_ALL} WHERE id = ?", (id,)).fetchone()
        checksum = compute_checksum(row)
        db.execute("UPDATE jobs SET checksum = ? WHERE id = ?", (checksum, id))
        return (*row[:-1], checksum)

    def _record(self, row: tuple) -> None:
        """On a full disk the copy stays as it was: a later change brings it up to date."""
        with suppress(InputError, OSError):
            write_record(self.folders / row[0], row)

    @staticmethod
    def _find(db: sqlite3.Connection, id: str) -> JobRow | None:
        row = db.execute(f"{_ALL} WHERE id = ?", (id,)).fetchone()
        try:
            return read_row(row) if row else None
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise WireError(
                "The service's note of this job is damaged.",
                "Start the service again: it is repaired then.",
                "damaged",
            ) from error


def _note_needs(db: sqlite3.Connection, job: str, contents: Iterable[str]) -> None:
    db.executemany("INSERT OR IGNORE INTO needs VALUES (?, ?)", [(job, c) for c in contents])


def find_job(jobs: JobTable, is_owner: Callable[[str], bool], id: str, user: str) -> JobRow:
    """A job that a user may see: their own, an owner any. Raises `WireError` "not_found"."""
    return jobs.get(id, None if is_owner(user) else user)
