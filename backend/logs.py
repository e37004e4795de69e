"""What the service writes down: its log, as text or as JSON, and who did what and when."""

import logging
import logging.handlers
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_BYTES = 5_000_000  # of one file
_OLDER, _OLDER_AUDIT = 2, 40  # files that are kept
# lines of the audit log: of one user at once, and a second from then on, so that nobody who does
# the same thing again and again pushes out what others did
_AT_ONCE, _A_SECOND = 1000, 2.0
_audit = logging.getLogger("restage4d.audit")


def escape(text: str) -> str:
    """Text without control characters, so that no client's word begins a line of its own or moves
    a terminal's cursor.

    Example:
        >>> escape("a\\nb")
        'a\\\\x0ab'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_FOLDERS = re.compile(
    r"(?<![\w:/.…])/(?:[^\s/'\":,;()]+/)+|(?<!\w)[A-Za-z]:\\(?:[^\\'\":,;()]+\\)+"
)


def hide_paths(text: str) -> str:
    """Text for a client elsewhere: it is nobody's business where files lie on the service's
    machine.

    Example:
        >>> hide_paths("/home/anna/jobs/a b.mp4 and https://example.org/x/y stay")
        '…/a b.mp4 and https://example.org/x/y stay'
    """
    return _FOLDERS.sub("…/", text.replace(str(Path.home()), "/~"))


class _TextLines(logging.Formatter):
    """One line for each record; only a traceback of ours has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escape(super().formatMessage(record))


class _JsonLines(logging.Formatter):
    """One JSON object for each record: time (UTC), level, logger, message, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def log_to_files(folder: Path, kind: Literal["text", "json"]) -> None:
    """Writes ``service.log`` and ``audit.log`` into a folder from now on."""
    text = _TextLines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = _open(folder / "service.log", text if kind == "text" else _JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    audit_to_file(folder)


def audit_to_file(folder: Path) -> None:
    """Writes ``audit.log`` into a folder from now on."""
    plain = logging.Formatter("%(message)s")
    _audit.handlers = [_open(folder / "audit.log", plain, _OLDER_AUDIT)]
    _audit.setLevel(logging.INFO)
    _audit.propagate = False


def _open(path: Path, formatter: logging.Formatter, older: int = _OLDER) -> logging.Handler:
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_BYTES, backupCount=older, encoding="utf-8"
    )
    handler.setFormatter(formatter)
    return handler


class _Allowance:
    """How many lines each user may write now; those left out are counted. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, float, int]] = {}  # lines, as of when, left out since

    def take(self, user: str) -> int | None:
        """Of the line that is to be written now: how many before it were left out; None: it is
        left out, too."""
        now = time.monotonic()
        with self._lock:
            lines, when, left_out = self._known.get(user, (float(_AT_ONCE), now, 0))
            lines = min(lines + _A_SECOND * (now - when), _AT_ONCE)
            if lines < 1.0:
                self._known[user] = lines, now, left_out + 1
                return None
            self._known[user] = lines - 1.0, now, 0
            return left_out


_allowance = _Allowance()


def note(user: str, action: str, job: str = "", detail: str = "") -> None:
    """One line of ``audit.log``: when, who, what, to which job."""
    left_out = _allowance.take(user)
    if left_out is None:
        return
    entry: dict[str, str | int] = {
        "time": datetime.now(UTC).isoformat(),
        "user": user,
        "action": action,
    }
    entry |= {"job": job} if job else {}
    entry |= {"detail": detail[:500]} if detail else {}
    entry |= {"left_out_before": left_out} if left_out else {}
    _audit.info("%s", msgspec.json.encode(entry).decode())


class RareLog:
    """Warnings that a stranger can cause, at most one a second: the others are counted. For one
    thread."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last = float("-inf")
        self._left_out = 0

    def warn(self, text: str, *values: object) -> None:
        now = time.monotonic()
        if now - self._last < 1.0:
            self._left_out += 1
            return
        self.flush()
        self._last = now
        self._log.warning(text, *values)

    def flush(self) -> None:
        """Says how many were left out, once that was a second ago."""
        if self._left_out and time.monotonic() - self._last >= 1.0:
            self._log.warning("and %d more like the last one", self._left_out)
            self._left_out = 0
