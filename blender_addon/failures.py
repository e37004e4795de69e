# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that nobody expected: a sentence for the artist, the traceback for the log and the bug
report."""

import sys
import time
import traceback
from contextlib import suppress

from restage4d.errors import InputError

from . import paths
from .languages import say
from .wording import name_fields

KEPT = 200_000  # bytes of the log, which is begun anew beyond them
REMEDY = "Collect a bug report in the extension's preferences."
_told: dict[str, tuple[str, str]] = {}  # of what does not work: its error, what was told of it


def explain(doing: str, error: BaseException) -> InputError:
    """What to tell the artist of an error in some work; one that was not expected is recorded.

    Args:
        doing: the work that was under way, as the artist knows it: "Export Puppet".
    """
    if isinstance(error, InputError):
        told = say(name_fields(error.what)), say(name_fields(error.remedy))
        return error if told == (error.what, error.remedy) else InputError(*told)
    record(error)
    return InputError(say(f"{doing} failed: {_find_reason(error)}."), say(REMEDY))


def record(error: BaseException) -> None:
    """Writes the traceback to the console and the log."""
    text = "".join(traceback.format_exception(error))
    print(text, file=sys.stderr, flush=True)
    log = paths.failure_log()
    with suppress(OSError):  # a full disk must not make one failure two
        log.parent.mkdir(parents=True, exist_ok=True)
        begin_anew = log.is_file() and log.stat().st_size > KEPT
        with log.open("w" if begin_anew else "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}\n")


def tell_once(about: str, doing: str, error: BaseException) -> str:
    """As `explain`, for what is tried again and again: said on the console, and recorded, only
    where the error is another than the last time."""
    known = f"{type(error).__name__}: {error}"
    if about not in _told or _told[about][0] != known:
        told = explain(doing, error)
        print(told, file=sys.stderr, flush=True)
        _told[about] = known, str(told)
    return _told[about][1]


def works_again(about: str) -> None:
    """Its next error is told anew."""
    _told.pop(about, None)


def _find_reason(error: BaseException) -> str:
    """An error's own words, in one line and without Blender's "Error: " before them."""
    words = " ".join(str(error).split()).removeprefix("Error: ").rstrip(".")
    if isinstance(error, RuntimeError | OSError) and words:  # of Blender's operators, of files
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
