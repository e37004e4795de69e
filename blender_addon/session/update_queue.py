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


class Changes:
    """Changes of attributes, applied in the order in which they came. ``ending`` tells all threads
    to end."""

    def __init__(self) -> None:
        self.revision = 0  # counts changes
        self.ending = threading.Event()
        self._queue: queue.SimpleQueue[tuple[Any, dict[str, Any]]] = queue.SimpleQueue()

    def put(self, target: Any, **values: Any) -> None:
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

    def meter(self, target: Any, wanted: Callable[[], bool]) -> Callable[[int, int], None]:
        """Tells ``target`` the fraction sent or fetched, ten times a second at most; ends what is
        not wanted any more."""
        told = 0.0

        def advance(done: int, total: int) -> None:
            nonlocal told
            if not wanted() or self.ending.is_set():
                raise Cancelled
            if time.monotonic() - told > 0.1 or done >= total:
                told = time.monotonic()
                self.put(target, fraction=done / max(total, 1))

        return advance
