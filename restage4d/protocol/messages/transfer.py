"""Bytes to the service and back (work channel)."""

from typing import Annotated

from msgspec import Meta

from restage4d.protocol.messages.base import (
    CHUNK,
    Content,
    Id,
    Message,
    Size,
)


class UploadBegin(Message):
    """Announces bytes. Answered by `UploadReady`, or by `Stored` where the service has them
    already."""

    content: Content
    size: Size


class UploadChunk(Message):
    """Bytes from ``offset`` on, as one uint8 array of at most `CHUNK`. Answered by `UploadReady`,
    the last one by `Stored`."""

    token: Id
    offset: Size


class UploadReady(Message):
    """Go on at ``offset``, with at most ``credit`` chunks unanswered. A token is spent with its
    upload."""

    token: Id
    offset: Size  # received and written so far
    credit: int


class Stored(Message):
    """These bytes are here, whole and checked."""

    content: Content
    size: Size


class Fetch(Message):
    """``length`` bytes of a stored content from ``offset`` on. Answered by `Chunk` with one uint8
    array."""

    content: Content
    offset: Size = 0
    length: Annotated[int, Meta(ge=0, le=CHUNK)] = CHUNK


class Chunk(Message):
    """Part of a stored content, and how large the whole is."""

    content: Content
    size: Size
    offset: Size
