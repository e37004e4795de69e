"""Uploads under way: chunks are written and hashed in order, one upload beside the other; credit
keeps memory bounded."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from backend.store.content_store import (
    Store,
    Upload,
    disk_full_error,
    is_disk_full,
)
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    CHUNK,
    Limits,
    Message,
    Stored,
    UploadBegin,
    UploadChunk,
    UploadReady,
)

# a token without a chunk for so long is taken back; its bytes stay for the next attempt
_FORGET_S = 600.0
_log = logging.getLogger("restage4d.uploads")

Answer = Callable[[Message | WireError], None]


@dataclass
class _Session:
    """One token."""

    token: str
    owner: str
    upload: Upload
    waiting: deque[tuple[UploadChunk, Any, Answer]] = field(default_factory=deque)
    busy: bool = False
    broken: WireError | None = None


class Uploads:
    """All uploads of all clients. `begin` and `chunk` are called by one thread; the disk's work is
    done in ``pool``.

    Args:
        store: where the bytes go.
        pool: does the writing.
        limits: sizes, counts, credit.
    """

    def __init__(self, store: Store, pool: Executor, limits: Limits) -> None:
        self.store, self.pool, self.limits = store, pool, limits
        self._sessions: dict[str, _Session] = {}
        self._spent: deque[str] = deque(maxlen=10_000)
        self._lock = threading.Lock()
        # Of an upload begun twice, the older must not write any more once the newer has looked at
        # the file.
        self._files = [threading.Lock() for _ in range(64)]

    def begin(self, owner: str, request: UploadBegin, answer: Answer) -> None:
        """Opens an upload, or takes up an interrupted one; an older token for the same bytes is
        spent."""
        if request.size > self.limits.upload_bytes:
            raise WireError(
                f"{request.size / 1e9:.1f} GB are announced; the service takes "
                f"{self.limits.upload_bytes / 1e9:.1f} GB.",
                "Shorten or compress the clip.",
                "limit",
            )
        if request.size == 0:
            raise WireError(
                "An upload of 0 bytes was announced.",
                "Send a file with something in it.",
                "malformed",
            )
        with self._lock:
            for old in [
                s
                for s in self._sessions.values()
                if time.monotonic() - s.upload.touched > _FORGET_S and not s.busy
            ]:
                self._drop(old)
            mine = [s for s in self._sessions.values() if s.owner == owner]
            for old in [s for s in mine if s.upload.content == request.content]:
                self._drop(old)
                mine.remove(old)
            if len(mine) >= self.limits.uploads_per_client:
                raise WireError(
                    f"{len(mine)} uploads of yours are under way.",
                    "Finish one, or wait ten minutes.",
                    "limit",
                )
            session = _Session(
                framing.new_id(),
                owner,
                Upload(self.store, owner, request.content, request.size),
                busy=True,
            )
            self._sessions[session.token] = session
        self.pool.submit(self._open, session, answer)

    def add_chunk(self, owner: str, request: UploadChunk, data: Any, answer: Answer) -> None:
        """Queues a chunk of an upload."""
        with self._lock:
            session = self._sessions.get(request.token)
            if session is None or session.owner != owner:
                if request.token in self._spent:
                    _log.warning("%s: a spent upload token was sent again", owner)
                    raise WireError(
                        "This upload token is spent.", "Begin the upload again.", "refused"
                    )
                raise WireError(
                    "There is no upload with this token.", "Begin the upload again.", "refused"
                )
            if session.broken is not None:
                raise session.broken
            if len(session.waiting) >= self.limits.credit:
                self._drop(session)
                _log.warning("%s: more chunks than the credit allows", owner)
                raise WireError(
                    "More chunks came than the credit allows.",
                    "Wait for answers between chunks.",
                    "limit",
                )
            session.waiting.append((request, data, answer))
            if session.busy:
                return
            session.busy = True
        self.pool.submit(self._write, session)

    def _drop(self, session: _Session) -> None:
        self._sessions.pop(session.token, None)
        self._spent.append(session.token)
        session.broken = WireError(
            "This upload token is spent.", "Begin the upload again.", "refused"
        )
        if not session.busy:
            session.upload.close()

    def _lock_of_file(self, session: _Session) -> threading.Lock:
        return self._files[hash(session.upload.path) % len(self._files)]

    def _open(self, session: _Session, answer: Answer) -> None:
        """In the pool: what is here already?"""
        upload = session.upload
        try:
            size = None
            try:
                size = self.store.check(upload.content)
            except WireError as error:
                if error.code not in ("not_found", "damaged"):
                    raise
            if size is not None:
                with self._lock:
                    session.busy = False
                    self._drop(session)
                self.store.touch(upload.content)
                return answer(Stored(content=upload.content, size=size))
            if self.store.free() < upload.size + (64 << 20):
                raise disk_full_error()
            with self._lock_of_file(session):
                upload.open()
            if upload.offset == upload.size:
                return self._finish(session, answer)
        except Exception as error:
            return self._fail(session, answer, error)
        answer(UploadReady(token=session.token, offset=upload.offset, credit=self.limits.credit))
        self._write(session)

    def _write(self, session: _Session) -> None:
        """In the pool: writes what waits, in order."""
        upload = session.upload
        while True:
            with self._lock:
                if not session.waiting or session.broken is not None:
                    waiting, session.busy = list(session.waiting), False
                    session.waiting.clear()
                    if session.broken is not None:
                        upload.close()
                    break
                request, data, answer = session.waiting.popleft()
            try:
                if request.offset != upload.offset:
                    what = f"A chunk for offset {request.offset} came; {upload.offset} is next."
                    raise WireError(
                        what, "Begin the upload again: it goes on where it stands.", "malformed"
                    )
                if not 0 < len(data) <= min(CHUNK, upload.size - upload.offset):
                    raise WireError(
                        "A chunk is empty, too large, or goes beyond the announced size.",
                        "Send less.",
                        "limit",
                    )
                with self._lock_of_file(session):
                    if session.broken is not None:
                        raise session.broken
                    upload.write(data)
                if upload.offset == upload.size:
                    self._finish(session, answer)
                else:
                    answer(
                        UploadReady(
                            token=session.token, offset=upload.offset, credit=self.limits.credit
                        )
                    )
            except Exception as error:
                self._fail(session, answer, error)
            del data
        for _, _, answer in waiting:
            assert session.broken is not None
            answer(session.broken)

    def _finish(self, session: _Session, answer: Answer) -> None:
        session.upload.finish()
        with self._lock:
            session.busy = False
            self._drop(session)
        answer(Stored(content=session.upload.content, size=session.upload.size))

    def _fail(self, session: _Session, answer: Answer, error: Exception) -> None:
        with self._lock:
            session.busy = False
            self._drop(session)
        if is_disk_full(error):
            error = disk_full_error()
        elif not isinstance(error, WireError):
            _log.exception("an upload failed")
            error = WireError(f"The upload failed: {error}.", "Try again.", "internal")
        answer(error)


def read_chunk(arrays: list[Any]) -> Any:
    """The bytes of a chunk. Raises `WireError` "malformed"."""
    if len(arrays) != 1 or arrays[0].dtype != "u1" or arrays[0].ndim != 1:
        raise WireError(
            "A chunk without exactly one array of bytes came.", "Send one uint8 array.", "malformed"
        )
    return arrays[0].data
