"""Uploads and fetches: in chunks, several under way, going on after a break, checked by SHA-256."""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from restage4d.errors import InputError
from restage4d.io.image_folders import pictures_in
from restage4d.protocol.channel import Channel
from restage4d.protocol.digest import Digest
from restage4d.protocol.errors import (
    NotRunning,
    Refused,
    TimedOut,
    WireError,
)
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import (
    CHUNK,
    Chunk,
    Fetch,
    Stored,
    UploadBegin,
    UploadChunk,
    UploadReady,
)

Advance = Callable[[int, int], None]
PACKED = b"R4DFILES"  # the first bytes of a list of files
_WINDOW = 8  # chunks of a fetch asked for ahead
_SMALLEST = 256 << 10  # bytes of a chunk where the connection keeps breaking
_PATIENCE_S = 60.0  # without a single chunk, before a transfer gives up


def _chunk_size(breaks: int) -> int:
    """Bytes of a chunk after so many breaks: smaller ones, as what was under way in a break is sent
    again."""
    return max(CHUNK >> min(breaks, 8), _SMALLEST)


class PackedFile(msgspec.Struct, array_like=True):
    """One file of a folder: the ending of its name and its content."""

    suffix: str
    content: str


def upload(
    open_channel: Callable[[], Channel], path: Path, on_progress: Advance | None, timeout_s: float
) -> str:
    """See `Client.upload`."""
    if not path.is_dir():
        return _upload_file(open_channel, path, on_progress, timeout_s)
    files = pictures_in(path)
    try:
        total = sum(p.stat().st_size for p in files)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    packed, sent = [], 0
    for file in files:

        def advance(done: int, of: int, before: int = sent) -> None:
            if on_progress:
                on_progress(before + done, total)

        packed.append(
            PackedFile(file.suffix.lower(), _upload_file(open_channel, file, advance, timeout_s))
        )
        sent += file.stat().st_size
    listing = PACKED + msgspec.msgpack.encode(packed)
    return _upload(
        open_channel, _Bytes(listing), hashlib.sha256(listing).hexdigest(), None, timeout_s
    )


class _Bytes:
    """A source of chunks in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


class _File:
    """A source of chunks on disk."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = path.open("rb")
            self.size = os.fstat(self.file.fileno()).st_size
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror}.", "Check the path."
            ) from error
        self.path = path

    def read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(length)
        if not data:
            raise InputError(
                f"{self.path} became shorter while it was sent.",
                "Send it again when it is complete.",
            )
        return data


def _upload_file(
    open_channel: Callable[[], Channel], path: Path, on_progress: Advance | None, timeout_s: float
) -> str:
    source = _File(path)
    with source.file:
        if source.size == 0:
            raise InputError(f"{path} is empty (0 bytes).", "Copy or export it again.")
        content = hashlib.file_digest(source.file, "sha256").hexdigest()
        return _upload(open_channel, source, content, on_progress, timeout_s)


def _upload(
    open_channel: Callable[[], Channel],
    source: _File | _Bytes,
    content: str,
    on_progress: Advance | None,
    timeout_s: float,
) -> str:
    channel = open_channel()
    last, breaks = time.monotonic(), 0

    def advance(done: int, of: int) -> None:
        nonlocal last
        last = time.monotonic()
        if on_progress:
            on_progress(done, of)

    try:
        while True:
            try:
                reply = channel.request(
                    UploadBegin(content=content, size=source.size), timeout_s=max(timeout_s, 30.0)
                ).body
                while isinstance(reply, UploadReady):
                    reply = _send_chunks(channel, source, reply, _chunk_size(breaks), advance)
                advance(source.size, source.size)
                return content
            except TimedOut as broken:
                # The service may have been restarted: begin again, it knows what it has.
                breaks += 1
                if time.monotonic() - last > _PATIENCE_S:
                    raise TimedOut(
                        "The upload broke off.", "Call it again: it goes on where it stood."
                    ) from broken
                channel.close()
                channel = open_channel()
    finally:
        channel.close()


def _send_chunks(
    channel: Channel, source: _File | _Bytes, ready: UploadReady, chunk: int, advance: Advance
) -> UploadReady | Stored:
    """Sends from ``ready.offset`` on, never more than the credit unanswered, until the service has
    all.

    Raises:
        TimedOut: the connection was lost.
    """
    token, offset, credit = ready.token, ready.offset, ready.credit
    drops, waiting = channel.drops, 0
    while True:
        while waiting < credit and offset < source.size:
            data = source.read(offset, chunk)
            channel.send(
                UploadChunk(token=token, offset=offset),
                [np.frombuffer(data, np.uint8)],
                deadline=time.monotonic() + 10.0,
            )
            offset += len(data)
            waiting += 1
        try:
            reply = channel.unwrap(_receive_answer(channel, drops, 15.0)).body
        except WireError as error:
            if error.code != "refused" or isinstance(error, Refused):
                raise
            # a service that was started again does not know the token
            raise _lost_connection() from None
        if channel.drops != drops:
            raise _lost_connection()
        if isinstance(reply, Stored):
            return reply
        if isinstance(reply, UploadReady) and reply.token == token:
            waiting, credit = waiting - 1, reply.credit
            advance(reply.offset, source.size)


def _receive_answer(channel: Channel, drops: int, seconds: float) -> Received:
    """The next answer. Raises `TimedOut` at once where the connection was lost since ``drops``,
    else after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        try:
            return channel.receive(deadline=min(end, time.monotonic() + 0.2))
        except (TimedOut, NotRunning):
            if channel.drops != drops or time.monotonic() > end:
                raise _lost_connection() from None


def _lost_connection() -> TimedOut:
    return TimedOut("The connection was lost.")


def fetch(
    open_channel: Callable[[], Channel],
    content: str,
    path: Path,
    on_progress: Advance | None,
    timeout_s: float,
) -> Path:
    """See `Client.fetch`. The bytes so far lie beside ``path`` under a name with the content in
    it."""
    partial = path.with_name(f".{path.name[:64]}.{content[:16]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("r+b" if partial.exists() else "w+b") as file:
            digest = Digest()
            while block := file.read(CHUNK):
                digest.update(block)
            _fetch_into(open_channel, content, file, digest, on_progress, timeout_s)
        if digest.hexdigest() != content:
            partial.unlink()
            raise WireError(
                "The fetched bytes are not the ones asked for.", "Fetch them again.", "damaged"
            )
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}.",
            "Free some space or choose another place.",
        ) from error
    return path


def _fetch_into(
    open_channel: Callable[[], Channel],
    content: str,
    file: BinaryIO,
    digest: Digest,
    on_progress: Advance | None,
    timeout_s: float,
) -> None:
    """Appends what is missing; several chunks are asked for ahead, and written in order."""
    channel, have = open_channel(), file.tell()
    last = time.monotonic()
    size: int | None = None
    breaks = 0
    try:
        while size is None or have < size:
            chunk, asked, drops = _chunk_size(breaks), have, channel.drops
            waiting: dict[str, int] = {}
            here: dict[int, bytes | memoryview] = {}
            try:
                while size is None or have < size:
                    while asked < have + (chunk if size is None else _WINDOW * chunk) and (
                        size is None or asked < size
                    ):
                        wanted = Fetch(content=content, offset=asked, length=chunk)
                        waiting[
                            channel.send(wanted, deadline=time.monotonic() + max(timeout_s, 10.0))
                        ] = asked
                        asked += chunk
                    reply = _receive_answer(channel, drops, max(timeout_s, 15.0))
                    if reply.parent not in waiting:
                        continue
                    channel.unwrap(reply)
                    if not isinstance(reply.body, Chunk) or len(reply.arrays) != 1:
                        raise WireError(
                            "The service answered with something else than a chunk.",
                            "Fetch again.",
                            "malformed",
                        )
                    size, last = reply.body.size, time.monotonic()
                    here[waiting.pop(reply.parent)] = reply.arrays[0].data
                    while have in here:
                        data = here.pop(have)
                        digest.update(data)
                        file.write(data)
                        have += len(data)
                        if on_progress:
                            on_progress(have, size)
                    if size is not None and have > size:
                        raise WireError(
                            "The bytes kept from before do not belong here.",
                            "Fetch them again.",
                            "damaged",
                        )
            except TimedOut:
                breaks += 1
                if time.monotonic() - last > _PATIENCE_S:
                    raise TimedOut(
                        "The fetch broke off.", "Call it again: it goes on where it stood."
                    ) from None
                if channel.drops == drops:
                    channel.close()
                    channel = open_channel()
    finally:
        with suppress(OSError):
            file.flush()
        channel.close()
