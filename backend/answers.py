"""Answers to requests: who asked, what they will weigh, and errors as a client is told them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from backend.logs import hide_paths
from backend.network.keys import LOCAL
from backend.store.content_store import disk_full_error, is_disk_full
from restage4d.errors import InputError
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    CHUNK,
    Error,
    Fetch,
    FetchGaussians,
    Message,
    Render,
)

_log = logging.getLogger("restage4d.service")


class Answer(Protocol):
    """Sends the answer to one request."""

    def __call__(self, body: Message | WireError, arrays: list | None = None, /) -> None: ...


@dataclass(frozen=True)
class Asker:
    """Who sent a request: a user, over one connection."""

    user: str
    connection: bytes = b""


def measure_answer(body: Any) -> int:
    """Bytes that the answer to a request will hold in memory, about."""
    match body:
        case Fetch():
            return min(body.length, CHUNK)
        case Render():
            return body.width * body.height * 20
        case FetchGaussians():
            return 16 << 20
    return 0


def answer_or_error(
    user: str, do: Callable[..., tuple[Message, list]], *arguments: Any
) -> tuple[Message, list]:
    """What ``do`` gives, or the error that it ends with, as it is told to a user."""
    try:
        return do(*arguments)
    except Exception as error:
        return to_error(error, user), []


def to_error(error: Exception, user: str) -> Error:
    """What a client is told of an exception; of a fault of ours the log tells more."""
    if is_disk_full(error):
        error = disk_full_error()
    code, what, remedy = "internal", f"The service failed: {type(error).__name__}.", ""
    if isinstance(error, InputError):
        code = error.code if isinstance(error, WireError) else "bad_input"
        what, remedy = error.what, error.remedy
    else:
        _log.error("a request failed", exc_info=error)
        remedy = "See service.log on its machine."
    if user != LOCAL:
        what, remedy = hide_paths(what), hide_paths(remedy)
    return Error(code=code, what=what, remedy=remedy)  # type: ignore[arg-type]
