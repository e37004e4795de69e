"""The jobs in SQLite: what was asked, in which state it is, what came of it. One row per job, one
place that changes states.

Every thread has a connection of its own; WAL lets readers pass writers. What changes ten times a
second (progress) is not here but in the job's folder.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    ENDED,
    Artefact,
    Fault,
    State,
    Submit,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    spec BLOB NOT NULL,          -- msgpack of Submit
    state TEXT NOT NULL,
    wanted TEXT NOT NULL,        -- '', or asked of a running job: paused, cancelled, deleted
    wanted_at REAL,              -- for people; how long it is is measured by who waits
    created REAL NOT NULL,
    queued REAL NOT NULL,        -- its place in the queue: the date, or later than all others
    started REAL,
    finished REAL,
    attempts INTEGER NOT NULL,
    device TEXT NOT NULL,
    error BLOB,                  -- msgpack of Fault
    artefacts BLOB NOT NULL      -- msgpack of {name: Artefact}
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, queued);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_VERSION = 1
# the end of the queue, also after the clock was set back; its argument is the date
_LAST = "MAX(?, (SELECT COALESCE(MAX(queued), 0) + 0.001 FROM jobs))"
_artefacts = msgspec.msgpack.Decoder(dict[str, Artefact])
_spec = msgspec.msgpack.Decoder(Submit)


@dataclass(frozen=True)
class JobRow:
    """One row."""

    id: str
    owner: str
    spec: Submit
    state: State
    wanted: str
    wanted_at: float | None
    created: float
    queued: float
    started: float | None
    finished: float | None
    attempts: int
    device: str
    error: Fault | None
    artefacts: dict[str, Artefact]

    @property
    def contents(self) -> set[str]:
        """Everything in the store that this job needs or made."""
        spec = self.spec
        inputs = {spec.base, *([] if isinstance(spec.driving, str) else spec.driving)}
        return (
            inputs
            | {spec.selection.mask or "", *spec.selection.corrections.values()}
            | {a.content for a in self.artefacts.values()}
        ) - {""}


class JobTable:
    """The table of jobs.

    Args:
        path: of the database; made where missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        with self._db() as db:
            db.executescript(_SCHEMA)
            row = db.execute("SELECT value FROM facts WHERE name = 'version'").fetchone()
            if row and int(row[0]) != _VERSION:
                raise WireError(
                    f"{path} was written by another version of Restage4D.",
                    "Use that version, or move the file away.",
                    "version",
                )
            db.execute("INSERT OR IGNORE INTO facts VALUES ('version', ?)", (str(_VERSION),))

    def _db(self) -> sqlite3.Connection:
        db = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = sqlite3.connect(self.path, timeout=30.0)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        return db

    def add(self, owner: str, spec: Submit, limit: int) -> JobRow:
        """Queues a job, or finds the one that was queued with the same key.

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
                "NULL, NULL, 0, '', NULL, ?)",
                (
                    spec.key,
                    owner,
                    msgspec.msgpack.encode(spec),
                    now,
                    now,
                    msgspec.msgpack.encode({}),
                ),
            )
        return self.get(spec.key)

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
        query = f"SELECT * FROM jobs {condition} ORDER BY rowid DESC LIMIT {limit:d}"
        rows = self._db().execute(query, values)
        return [_read_row(row) for row in rows]

    def find_next_queued(self) -> JobRow | None:
        row = (
            self._db()
            .execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY queued, rowid LIMIT 1")
            .fetchone()
        )
        return _read_row(row) if row else None

    def count_ahead(self) -> dict[str, int]:
        """Place in the queue of every queued job."""
        rows = self._db().execute(
            "SELECT id FROM jobs WHERE state = 'queued' ORDER BY queued, rowid"
        )
        return {row[0]: place for place, row in enumerate(rows)}

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
        return self._change(
            "UPDATE jobs SET state = 'done', wanted = '', wanted_at = NULL, device = '', error = "
            "NULL, finished = ?, "
            "artefacts = ? WHERE id = ? AND state = 'running' AND wanted NOT IN ('cancelled', "
            "'deleted')",
            (time.time(), msgspec.msgpack.encode(artefacts), id),
        )

    def delete(self, id: str) -> bool:
        return self._change("DELETE FROM jobs WHERE id = ? AND state != 'running'", (id,))

    def delete_ended(self, id: str) -> bool:
        """For a job that may have been resumed meanwhile: then it stays."""
        marks = ", ".join("?" * len(ENDED))
        return self._change(f"DELETE FROM jobs WHERE id = ? AND state IN ({marks})", (id, *ENDED))

    def _change(self, statement: str, values: tuple) -> bool:
        with self._db() as db:
            return db.execute(statement, values).rowcount > 0

    @staticmethod
    def _find(db: sqlite3.Connection, id: str) -> JobRow | None:
        row = db.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        return _read_row(row) if row else None


def _read_row(row: tuple) -> JobRow:
    names = [f.name for f in fields(JobRow)]
    values = dict(zip(names, row, strict=True))
    values["spec"] = _spec.decode(values["spec"])
    values["error"] = (
        msgspec.msgpack.decode(values["error"], type=Fault) if values["error"] else None
    )
    values["artefacts"] = _artefacts.decode(values["artefacts"])
    return JobRow(**values)
