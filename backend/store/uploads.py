"""Uploads under way: chunks are written and hashed in order, one upload beside the other; credit
keeps memory bounded."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from backend.store.content_store import (
    Store,
    Upload,
    disk_full_error,
    is_disk_full,
    list_partial,
    name_partial,
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
_MOST_TOKENS = 4  # of one user for the same bytes
_log = logging.getLogger("restage4d.uploads")

Answer = Callable[[Message | WireError], None]


@dataclass
class _Session:
    """One token. Several may bring the same bytes: two programs of one user with one file."""

    token: str
    owner: str
    connection: bytes
    upload: Upload
    waiting: deque[tuple[UploadChunk, Any, Answer]] = field(default_factory=deque)
    busy: bool = False
    broken: WireError | None = None
    touched: float = field(default_factory=time.monotonic)


class Uploads:
    """All uploads of all clients. `begin` and `add_chunk` are called by one thread; the disk's work
    is done in ``pool``.

    Args:
        store: where the bytes go.
        pool: does the writing.
        limits: sizes, counts, credit.
        check_quota: raises `WireError` where a user may not bring so many bytes: (user, bytes).
        note: told of bytes that a user brought: (user, content, size).
    """

    def __init__(
        self,
        store: Store,
        pool: Executor,
        limits: Limits,
        check_quota: Callable[[str, int], None] = lambda user, size: None,
        note: Callable[[str, str, int], None] = lambda user, content, size: None,
    ) -> None:
        self.store, self.pool, self.limits = store, pool, limits
        self._check_quota, self._note = check_quota, note
        self._sessions: dict[str, _Session] = {}
        self._uploads: dict[tuple[str, str], Upload] = {}  # by owner and content
        # sessions that wait until the bytes of an earlier attempt are hashed
        self._opening: dict[Upload, list[tuple[_Session, Answer]]] = {}
        self._spent: deque[str] = deque(maxlen=10_000)
        self._lock = threading.Lock()

    def begin(
        self, owner: str, request: UploadBegin, answer: Answer, connection: bytes = b""
    ) -> None:
        """Opens an upload, takes up an interrupted one, or joins one that goes on; an older token
        of the same connection for the same bytes is spent."""
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
            self._forget_old()
            mine = [s for s in self._sessions.values() if s.owner == owner]
            same = [s for s in mine if s.upload.content == request.content]
            others = {s.upload.content: s.upload.size for s in mine if s not in same}
            if len(others) >= self.limits.uploads_per_client:
                raise WireError(
                    f"{len(others)} uploads of yours are under way.",
                    "Finish one, or wait ten minutes.",
                    "limit",
                )
            if self.store.size(request.content) is None:
                self._make_room(owner, request, sum(others.values()))
            upload = self._uploads.get((owner, request.content))
            if upload is None or upload.size != request.size:
                upload = Upload(self.store, owner, request.content, request.size)
                self._uploads[owner, request.content] = upload
            session = _Session(framing.new_id(), owner, connection, upload, busy=True)
            self._sessions[session.token] = session
            oldest = sorted(same, key=lambda s: s.touched)[: max(len(same) - _MOST_TOKENS + 1, 0)]
            for old in same:
                if old.connection == connection or old in oldest or old.upload is not upload:
                    self._drop(old)
        self.store.check_later(
            request.content,
            lambda found: self._submit(session, answer, self._open, session, found, answer),
        )

    def _make_room(self, owner: str, request: UploadBegin, others: int) -> None:
        """Checks a user's quota. Bytes of their uploads that broke off count, too: they go where
        they are in the way.

        Args:
            owner, request: who wants to bring what.
            others: bytes of the user's uploads that are under way.
        """
        size = request.size + others
        self._check_quota(owner, size)
        open_now = {upload.path for upload in self._uploads.values()}
        open_now.add(name_partial(self.store, owner, request.content))
        broken = {p: n for p, n in list_partial(self.store, owner).items() if p not in open_now}
        try:
            self._check_quota(owner, size + sum(broken.values()))
        except WireError:
            for path in broken:
                with suppress(OSError):
                    path.unlink()

    def add_chunk(self, owner: str, request: UploadChunk, data: Any, answer: Answer) -> None:
        """Queues a chunk of an upload."""
        with self._lock:
            session = self._sessions.get(request.token)
            if session is None or session.owner != owner:
                if request.token in self._spent:
                    _log.warning("%s: a spent upload token was sent again", owner)
                    raise _spent_error()
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
            session.touched = time.monotonic()
            if session.busy:
                return
            session.busy = True
        self.pool.submit(self._write, session)

    def _forget_old(self) -> None:
        end = time.monotonic() - _FORGET_S
        for old in [s for s in self._sessions.values() if s.touched < end and not s.busy]:
            self._drop(old)

    def _drop(self, session: _Session) -> None:
        """Spends a token; the file is closed when nobody brings its bytes any more."""
        if self._sessions.pop(session.token, None) is not None:
            self._spent.append(session.token)
        session.broken = session.broken or _spent_error()
        if not session.busy:
            self._release(session.upload)

    def _release(self, upload: Upload) -> None:
        if any(s.upload is upload for s in self._sessions.values()) or upload in self._opening:
            return
        for key in [key for key, one in self._uploads.items() if one is upload]:
            del self._uploads[key]
        with upload.lock:
            upload.close()

    def _submit(self, session: _Session, answer: Answer, do: Callable, *arguments: Any) -> None:
        try:
            self.pool.submit(do, *arguments)
        except RuntimeError as error:  # the service ends
            self._fail(session, answer, error)

    def _open(self, session: _Session, found: int | WireError, answer: Answer) -> None:
        """In the pool: what is here already?"""
        upload = session.upload
        try:
            if not isinstance(found, WireError):
                self._end(session)
                self.store.touch(upload.content)
                self._note(session.owner, upload.content, found)
                return answer(Stored(content=upload.content, size=found))
            if found.code not in ("not_found", "damaged"):
                raise found
            with self._lock:
                if upload in self._opening:
                    self._opening[upload].append((session, answer))
                    return
                is_open = upload.is_open
                if not is_open:
                    self._opening[upload] = [(session, answer)]
            if is_open:
                return self._be_ready(session, answer)
            if self.store.free() < upload.size + (64 << 20):
                raise disk_full_error()
            earlier = upload.count_earlier()
        except Exception as error:
            with self._lock:
                waiting = self._opening.pop(upload, [(session, answer)])
            for one, its_answer in waiting:
                self._fail(one, its_answer, error)
            return
        if not earlier:
            return self._opened(upload, 0, None)
        self.store.hashing.submit(upload.path, earlier).add_done_callback(
            lambda hashed: self._submit(session, answer, self._opened, upload, earlier, hashed)
        )

    def _opened(self, upload: Upload, earlier: int, hashed: "Future[Any] | None") -> None:
        """In the pool: the bytes of an earlier attempt are hashed."""
        try:
            with upload.lock:
                upload.open(earlier, hashed.result() if hashed else None)
            error = None
        except Exception as failure:
            error = failure
        with self._lock:
            waiting = self._opening.pop(upload, [])
        for session, answer in waiting:
            if error is not None:
                self._fail(session, answer, error)
            elif upload.offset < upload.size:
                self._be_ready(session, answer)
            else:
                try:
                    self._finish(session, answer)
                except Exception as failure:
                    self._fail(session, answer, failure)

    def _be_ready(self, session: _Session, answer: Answer) -> None:
        offset = session.upload.offset
        answer(UploadReady(token=session.token, offset=offset, credit=self.limits.credit))
        self._write(session)

    def _write(self, session: _Session) -> None:
        """In the pool: writes what waits, in order."""
        while True:
            with self._lock:
                if not session.waiting or session.broken is not None:
                    waiting, session.busy = list(session.waiting), False
                    session.waiting.clear()
                    if session.broken is not None:
                        self._release(session.upload)
                    break
                request, data, answer = session.waiting.popleft()
            try:
                if self._write_chunk(session, request, data):
                    self._finish(session, answer)
                else:
                    offset = session.upload.offset
                    answer(
                        UploadReady(token=session.token, offset=offset, credit=self.limits.credit)
                    )
            except Exception as error:
                self._fail(session, answer, error)
            del data
        for _, _, answer in waiting:
            assert session.broken is not None
            answer(session.broken)

    def _write_chunk(self, session: _Session, request: UploadChunk, data: Any) -> bool:
        """Writes what is new in a chunk; whether that was the last one. Raises `WireError`,
        OSError."""
        upload, end = session.upload, request.offset + len(data)
        with upload.lock:
            if session.broken is not None or not upload.is_open:
                raise session.broken or _spent_error()
            if request.offset > upload.offset:
                what = f"A chunk for offset {request.offset} came; {upload.offset} is next."
                raise WireError(
                    what, "Begin the upload again: it goes on where it stands.", "malformed"
                )
            if not len(data) or len(data) > CHUNK or end > upload.size:
                raise WireError(
                    "A chunk is empty, too large, or goes beyond the announced size.",
                    "Send less.",
                    "limit",
                )
            if end > upload.offset:  # else another program brought it already
                try:
                    upload.write(data[upload.offset - request.offset :])
                except OSError:
                    upload.close()  # what it has hashed is not what is on disk
                    raise
            return upload.offset == upload.size

    def _finish(self, session: _Session, answer: Answer) -> None:
        upload = session.upload
        with upload.lock:
            if upload.is_open:
                upload.finish()
        self._note(session.owner, upload.content, upload.size)
        self._end(session)
        answer(Stored(content=upload.content, size=upload.size))

    def _end(self, session: _Session) -> None:
        """All who bring these bytes are done; the others hear of it when they ask again."""
        with self._lock:
            session.busy = False
            for one in [s for s in self._sessions.values() if s.upload is session.upload]:
                self._drop(one)

    def _fail(self, session: _Session, answer: Answer, error: Exception) -> None:
        with self._lock:
            session.busy = False
            if session.upload.is_open:
                self._drop(session)
            else:
                for one in [s for s in self._sessions.values() if s.upload is session.upload]:
                    self._drop(one)
        if is_disk_full(error):
            error = disk_full_error()
        elif not isinstance(error, WireError):
            _log.error("an upload failed", exc_info=error)
            error = WireError(f"The upload failed: {error}.", "Try again.", "internal")
        answer(error)


def _spent_error() -> WireError:
    return WireError("This upload token is spent.", "Begin the upload again.", "refused")


def read_chunk(arrays: list[Any]) -> Any:
    """The bytes of a chunk. Raises `WireError` "malformed"."""
    if len(arrays) != 1 or arrays[0].dtype != "u1" or arrays[0].ndim != 1:
        raise WireError(
            "A chunk without exactly one array of bytes came.", "Send one uint8 array.", "malformed"
        )
    return arrays[0].data
