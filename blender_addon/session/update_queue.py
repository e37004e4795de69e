# SPDX-License-Identifier: GPL-3.0-or-later
"""What threads found waits here until the interface's thread takes it over, so that nothing changes
while it draws."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from restage4d.errors import Cancelled


class UpdateQueue:
    """Changes of attributes, applied in the order in which they came. ``ending`` tells all threads
    to end."""

    def __init__(self) -> None:
        self.revision = 0  # counts changes
        self.ending = threading.Event()
        self._queue: queue.SimpleQueue[tuple[object, dict[str, Any]]] = queue.SimpleQueue()

    def put(self, target: object, **values: Any) -> None:
        """From any thread."""
        self._queue.put((target, values))

    def drain(self, seconds: float) -> bool:
        """From the interface's thread: applies what waits, for at most ``seconds``; True where
        something changed."""
        until, before = time.perf_counter() + seconds, self.revision
        with suppress(queue.Empty):
            while time.perf_counter() < until:
                target, values = self._queue.get_nowait()
                for name, value in values.items():
                    setattr(target, name, value)
                self.revision += 1
        return self.revision != before

    def make_meter(
        self, target: object, is_wanted: Callable[[], bool]
    ) -> Callable[[int, int], None]:
        """A progress callback (done, total): puts the fraction into ``target``, ten times a second
        at most, and ends what is not wanted any more."""
        reported = 0.0

        def advance(done: int, total: int) -> None:
            nonlocal reported
            if not is_wanted() or self.ending.is_set():
                raise Cancelled
            if time.monotonic() - reported > 0.1 or done >= total:
                reported = time.monotonic()
                self.put(target, fraction=done / max(total, 1))

        return advance
