"""A damaged database of jobs is set aside and made anew: from the rows that can still be read, and
from the copy of its row that lies in every job's folder."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from backend.jobs.job_rows import (
    COLUMNS,
    VERSION,
    is_damage,
    is_whole,
    migrate,
    open_database,
    read_record,
    read_row,
)
from restage4d.errors import InputError

_ALL = f"SELECT {', '.join(COLUMNS)} FROM jobs"
_MARKS = ", ".join("?" * len(COLUMNS))
_INSERT = f"INSERT OR REPLACE INTO jobs ({', '.join(COLUMNS)}) VALUES ({_MARKS})"


def repair_database(path: Path) -> str:
    """Looks at a database before it is used, and repairs it.

    Returns:
        What was found and done, as a sentence; "" where nothing was wrong.

    Raises:
        InputError: it cannot be read or written for another reason than damage.
    """
    try:
        try:
            with closing(open_database(path)) as db:
                found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
                if migrate(db) > VERSION:
                    return ""  # whoever opens it says so
                db.execute("DELETE FROM facts WHERE name = ''")  # a header may forbid to write
                db.rollback()
                return _repair_rows(db, path.with_name("jobs"))
        except (sqlite3.DatabaseError, ValueError) as error:
            if isinstance(error, sqlite3.Error) and not _is_damage(error, path):
                raise
            return _make_anew(path, str(error).splitlines()[-1])
    except (OSError, sqlite3.Error) as error:
        raise InputError(
            f"{path} cannot be used: {error}.", "Look at the disk and the file's permissions."
        ) from error


def _repair_rows(db: sqlite3.Connection, folders: Path) -> str:
    """Rows that are gone, or whose checksum is wrong, are taken from their copies."""
    taken, kept, lost = 0, 0, 0
    rows = db.execute(_ALL).fetchall()
    known = {row[0] for row in rows}
    known |= {name.removeprefix("job ") for (name,) in db.execute("SELECT name FROM trash")}
    for folder in folders.iterdir() if folders.is_dir() else ():
        if folder.name not in known and (record := read_record(folder)) is not None:
            _put_in(db, record)
            taken += 1
    for row in rows:
        if is_whole(row) and _can_read(row):
            continue
        record = read_record(folders / str(row[0])) if isinstance(row[0], str) else None
        if record is not None:
            _put_in(db, record)
            taken += 1
        elif _can_read(row):
            kept += 1  # nothing better is known of it
        else:
            lost += 1
    db.commit()
    if not taken + kept + lost:
        return ""
    return (
        f"Rows of the table of jobs were damaged: {taken} were taken from their copies, {kept} "
        f"kept as they are, {lost} cannot be read."
    )


def _make_anew(path: Path, why: str) -> str:
    aside = next(
        p for n in range(1, 10_000) if not (p := path.with_name(f"damaged-{n}.sqlite")).exists()
    )
    salvaged = _read_what_is_left(path)
    os.replace(path, aside)
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{aside}{ending}")
    rows = {row[0]: row for row in salvaged}
    folders = path.with_name("jobs")
    for folder in folders.iterdir() if folders.is_dir() else ():
        row = read_record(folder)
        if row is not None and (row[0] not in rows or rows[row[0]][-2] <= row[-2]):
            rows[row[0]] = row
    with closing(open_database(path)) as db:
        migrate(db)
        # in the order in which they came
        for row in sorted(rows.values(), key=lambda row: row[COLUMNS.index("created")]):
            _put_in(db, row)
        db.commit()
    return (
        f"The database of jobs was damaged ({why}); it was made anew with {len(rows)} jobs. The "
        f"damaged one is {aside.name}."
    )


def _read_what_is_left(path: Path) -> list[tuple]:
    """Whole rows, from both ends as far as they can be read."""
    rows: dict[str, tuple] = {}
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error, ValueError), closing(open_database(path)) as db:
            for row in db.execute(f"{_ALL} ORDER BY rowid {order}"):
                if is_whole(row) and _can_read(row):
                    rows[row[0]] = row
    return list(rows.values())


def _put_in(db: sqlite3.Connection, row: tuple) -> None:
    job = read_row(row)
    db.execute(_INSERT, row)
    needs = [(job.id, content) for content in job.contents]
    db.executemany("INSERT OR IGNORE INTO needs VALUES (?, ?)", needs)
    made = [(job.owner, a.content, a.size) for a in job.artefacts.values()]
    db.executemany("INSERT OR REPLACE INTO holdings VALUES (?, ?, ?)", made)


def _is_damage(error: sqlite3.Error, path: Path) -> bool:
    """Also where SQLite may not write though the system lets it: its header says so."""
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    forbidden = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
    return is_damage(error) or (forbidden and writable)


def _can_read(row: tuple) -> bool:
    try:
        read_row(row)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
        return False
    return True
