"""The content-addressed store: bytes under the name of their SHA-256, and uploads on their way
there.

No name from the wire becomes a path: contents are 64 hexadecimal digits, checked here once more.
"""

import hashlib
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import msgspec

from backend.store.hashing import Hashing
from restage4d.io.atomic import NO_ROOM
from restage4d.protocol.digest import Digest
from restage4d.protocol.errors import WireError
from restage4d.protocol.transfer import PACKED, PackedFile

_BLOCK = 4 << 20
_LIST_LIMIT = 4 << 20  # bytes of a list of files
_CONTENT = re.compile(r"[0-9a-f]{64}")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        # "database or disk is full", "disk I/O error"
        if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
            return True
        error = error.__cause__
    return False


def disk_full_error() -> WireError:
    return WireError(
        "The service's disk is full.",
        "Free some space there, or delete old jobs; then do it again.",
        "no_room",
    )


class Store:
    """Bytes by content under ``folder``; safe for several processes at once, as every file appears
    by a rename.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.partial = folder / "partial"
        self.partial.mkdir(parents=True, exist_ok=True)
        # content -> size and mtime when its bytes were last checked
        self._verified: dict[str, tuple[int, int]] = {}
        self._lock = Lock()
        self.hashing = Hashing()

    def path(self, content: str) -> Path:
        """Where the bytes of a content are, or would be."""
        if not _CONTENT.fullmatch(content):
            raise WireError("That is not a content id.", "Give 64 hexadecimal digits.", "malformed")
        return self.folder / content[:2] / content

    def size(self, content: str) -> int | None:
        """Bytes of a content, None where it is not here."""
        try:
            return self.path(content).stat().st_size
        except FileNotFoundError:
            return None

    def touch(self, content: str) -> None:
        """Notes that a content is in use, for retention by age."""
        with suppress(OSError):
            path = self.path(content)
            before = path.stat()
            os.utime(path)
            with self._lock:  # the time changed, not the bytes
                if self._verified.get(content) == (before.st_size, before.st_mtime_ns):
                    self._verified[content] = (before.st_size, path.stat().st_mtime_ns)

    def add(self, path: Path) -> tuple[str, int]:
        """Takes a finished file in (a copy) and returns its content and size. Raises OSError where
        the disk is full."""
        temporary = self.partial / f"{uuid.uuid4().hex}.new"
        digest, size = Digest(), 0
        try:
            with path.open("rb") as source, temporary.open("wb") as out:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    out.write(block)
                    size += len(block)
                out.flush()
                os.fsync(out.fileno())
            self._keep(temporary, digest.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest(), size

    def _keep(self, temporary: Path, content: str) -> None:
        target = self.path(content)
        target.parent.mkdir(exist_ok=True)
        try:
            os.replace(temporary, target)
        except PermissionError:  # Windows, while somebody reads the same bytes
            if not target.exists():
                raise
            temporary.unlink()
        self._note(content)

    def _note(self, content: str) -> None:
        stat = self.path(content).stat()
        with self._lock:
            self._verified[content] = (stat.st_size, stat.st_mtime_ns)

    def check(self, content: str) -> int:
        """The size of a content whose bytes have the right SHA-256; read anew where the file
        changed since the last check.

        Raises:
            WireError: "not_found", or "damaged": then the file is set aside, so that an upload can
                bring it again.
        """
        found: list[int | WireError] = []
        waiting = Lock()
        waiting.acquire()

        def take(one: int | WireError) -> None:
            found.append(one)
            waiting.release()

        self.check_later(content, take)
        waiting.acquire()
        if isinstance(found[0], WireError):
            raise found[0]
        return found[0]

    def check_later(self, content: str, then: Callable[[int | WireError], None]) -> None:
        """`check` without waiting: ``then`` gets the size or the error, at once where the bytes
        were checked before, else from the thread that hashes them."""
        try:
            path = self.path(content)
            stat = path.stat()
        except FileNotFoundError:
            return then(_missing_error())
        except WireError as error:
            return then(error)
        with self._lock:
            known = self._verified.get(content) == (stat.st_size, stat.st_mtime_ns)
        if known:
            return then(stat.st_size)

        def judge(hashed: "Future[Any]") -> None:
            if hashed.exception() is not None:
                return then(_missing_error())
            if hashed.result().hexdigest() != content:
                with suppress(OSError):
                    path.unlink()
                return then(
                    WireError(
                        "The service's copy of these bytes is damaged; it was removed.",
                        "Send them again, or make the job anew.",
                        "damaged",
                    )
                )
            with self._lock:
                self._verified[content] = (stat.st_size, stat.st_mtime_ns)
            then(stat.st_size)

        self.hashing.submit(path).add_done_callback(judge)

    def remove(self, content: str) -> None:
        with suppress(OSError):
            self.path(content).unlink()

    def list_contents(self) -> list[tuple[str, os.stat_result]]:
        """Every stored content."""
        found = []
        for shelf in self.folder.iterdir():
            if len(shelf.name) == 2 and shelf.is_dir():
                with suppress(OSError):
                    found += [
                        (p.name, p.stat()) for p in shelf.iterdir() if _CONTENT.fullmatch(p.name)
                    ]
        return found

    def free(self) -> int:
        """Bytes free on the store's disk."""
        return shutil.disk_usage(self.folder).free


def read_packed_files(store: Store, content: str) -> list[PackedFile] | None:
    """The files of a packed folder; None where the content is no such list. Raises `WireError`: not
    here, or damaged."""
    try:
        with store.path(content).open("rb") as file:
            if file.read(len(PACKED)) != PACKED:
                return None
            listing = file.read(_LIST_LIMIT)
    except FileNotFoundError as error:
        raise _missing_error() from error
    try:
        files = msgspec.msgpack.decode(listing, type=list[PackedFile])
        for one in files:
            store.path(one.content)
    except (msgspec.MsgspecError, RecursionError, WireError) as error:
        raise WireError(
            "A list of frames cannot be read.", "Send the folder again.", "damaged"
        ) from error
    return files


def _missing_error() -> WireError:
    return WireError(
        "The service does not have these bytes (any more).", "Send them again.", "not_found"
    )


def name_partial(store: Store, owner: str, content: str) -> Path:
    """The file of a client's upload that is under way or broke off; ``content``: its SHA-256."""
    whose = hashlib.sha256(owner.encode()).hexdigest()[:16]
    return store.partial / f"{content}.{whose}.part"


def list_partial(store: Store, owner: str) -> dict[Path, int]:
    """Bytes in each of these files of a client."""
    found = {}
    for path in store.partial.glob(name_partial(store, owner, "*").name):
        with suppress(OSError):
            found[path] = path.stat().st_size
    return found


class Upload:
    """One upload under way: bytes so far in a file of their own, hashed as they come.

    Args:
        store: where it goes.
        owner: whose it is; another client's half upload of the same content stays apart.
        content: SHA-256 it must have in the end.
        size: bytes in all.
    """

    def __init__(self, store: Store, owner: str, content: str, size: int) -> None:
        self.store, self.content, self.size = store, content, size
        self.path = name_partial(store, owner, store.path(content).name)
        self.offset = 0
        self.digest = Digest()
        self.lock = Lock()  # of whoever writes
        self._file: BinaryIO | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def count_earlier(self) -> int:
        """Bytes that an earlier attempt left."""
        try:
            return min(self.path.stat().st_size, self.size)
        except FileNotFoundError:
            return 0

    def open(self, earlier: int, sha: Any) -> None:
        """Goes on behind the first ``earlier`` bytes of the file, of which ``sha`` is the hash.
        Raises OSError."""
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        self.offset, self.digest = earlier, Digest(sha)
        self._file.truncate(earlier)
        self._file.seek(earlier)

    def write(self, data: memoryview) -> None:
        """Appends a chunk. Raises OSError where the disk is full; then this upload is over, and the
        next one finds what was written."""
        assert self._file is not None
        self.digest.update(data)
        self._file.write(data)
        self._file.flush()
        self.offset += len(data)

    def finish(self) -> None:
        """Moves the complete bytes to their place. Raises `WireError` "damaged" where they are
        other bytes."""
        self.close()
        if self.digest.hexdigest() != self.content:
            self.path.unlink(missing_ok=True)
            raise WireError(
                "The bytes that came do not have the SHA-256 that was announced.",
                "Send them again.",
                "damaged",
            )
        self.store._keep(self.path, self.content)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
