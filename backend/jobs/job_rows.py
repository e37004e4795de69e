"""Rows of the table of jobs: columns, versions of the schema, and what tells a damaged row."""

import sqlite3
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

import msgspec

from restage4d.io.atomic import replacing
from restage4d.protocol.messages import Artefact, Fault, State, Submit

SCHEMA = """
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
# what makes a version out of the one before
MIGRATIONS = {
    2: """
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;  -- grows with every change
ALTER TABLE jobs ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;  -- of all other columns
CREATE INDEX by_owner ON jobs (owner);
-- contents of the store that a job needs or made
CREATE TABLE needs (job TEXT, content TEXT, PRIMARY KEY (job, content)) WITHOUT ROWID;
CREATE INDEX by_content ON needs (content);
-- contents that a user brought or whose job made them
CREATE TABLE holdings (
    owner TEXT, content TEXT, size INTEGER, PRIMARY KEY (owner, content)
) WITHOUT ROWID;
-- job folders and contents whose files have to go, but not those that came after a date
CREATE TABLE trash (name TEXT PRIMARY KEY, since REAL);
""",
}
VERSION = max(MIGRATIONS)
# of SQLite's result codes: it is another's just now, the disk is full, the file may not be used
_NO_DAMAGE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_ABORT,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_AUTH,
}
RECORD = "record"  # name of the copy of its row that lies in a job's folder
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
    priority: int
    revision: int
    checksum: int

    @property
    def contents(self) -> set[str]:
        """Everything in the store that this job needs or made."""
        return list_inputs(self.spec) | {a.content for a in self.artefacts.values()}


def list_inputs(spec: Submit) -> set[str]:
    """Everything in the store that a job names; frames of packed folders not among them."""
    return {
        spec.base,
        spec.into,
        spec.selection.mask or "",
        *spec.selection.corrections.values(),
        *([] if isinstance(spec.driving, str) else spec.driving),
    } - {""}


def open_database(path: Path) -> sqlite3.Connection:
    """A connection that reads damaged text, too: its row's checksum tells."""
    db = sqlite3.connect(path, timeout=30.0)
    db.text_factory = lambda data: data.decode("utf-8", "replace")
    return db


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the database itself is damaged, not that it cannot be reached or
    written now."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return not isinstance(error, sqlite3.OperationalError) or code not in _NO_DAMAGE


COLUMNS = [f.name for f in fields(JobRow)]


def read_row(row: tuple) -> JobRow:
    """A row as it was read. Raises `msgspec.MsgspecError`, ValueError or TypeError where it is
    damaged."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["spec"] = _spec.decode(values["spec"])
    values["error"] = (
        msgspec.msgpack.decode(values["error"], type=Fault) if values["error"] else None
    )
    values["artefacts"] = _artefacts.decode(values["artefacts"])
    if values["state"] not in get_args(State) or not isinstance(values["owner"], str):
        raise ValueError("no state or no owner")
    return JobRow(**values)


def compute_checksum(row: tuple) -> int:
    """CRC-32 of all columns but the last, which is for it."""
    return zlib.crc32(msgspec.msgpack.encode(row[:-1]))


def is_whole(row: tuple) -> bool:
    """Whether a row is as it was written; rows of before version 2 have no checksum."""
    try:
        return row[-1] == compute_checksum(row) or not any(row[-2:])
    except (TypeError, ValueError):
        return False


def write_record(folder: Path, row: tuple) -> None:
    """Leaves a copy of a row in its job's folder. Raises InputError, OSError."""
    with replacing(folder / RECORD) as temporary:
        temporary.write_bytes(msgspec.msgpack.encode(row))


def read_record(folder: Path) -> tuple | None:
    """The copy in a job's folder; None where there is none or it is damaged."""
    try:
        row = tuple(msgspec.msgpack.decode((folder / RECORD).read_bytes()))
    except (OSError, msgspec.MsgspecError, TypeError, ValueError):
        return None
    return row if len(row) == len(COLUMNS) and is_whole(row) else None


def migrate(db: sqlite3.Connection) -> int:
    """Makes the tables, or brings those of an earlier version up to date. Returns the version that
    was found, 0: none; a newer one than `VERSION` is left as it is. Raises `sqlite3.Error`."""
    db.executescript(SCHEMA)
    found = db.execute("SELECT value FROM facts WHERE name = 'version'").fetchone()
    version = int(found[0]) if found else 1
    for new in range(version + 1, VERSION + 1):
        db.executescript(
            f"BEGIN; {MIGRATIONS[new]} INSERT OR REPLACE INTO facts VALUES ('version', '{new}'); "
            "COMMIT;"
        )
    return int(found[0]) if found else 0
