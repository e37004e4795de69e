"""Threads for each kind of work, so that nothing waits behind anything of another kind."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from restage4d.protocol.errors import WireError

_log = logging.getLogger("restage4d.service")


class Pool:
    """Threads for one kind of work. What has waited too long is not begun any more: whoever asked
    has given up.

    Args:
        name: of the kind.
        threads: at work at the same time.
        waiting: requests that may wait, of all users; a quarter of them, of one user.
        patience_s: how long a request may wait.
    """

    def __init__(self, name: str, threads: int, waiting: int, patience_s: float) -> None:
        self.name, self._waiting, self._patience_s = name, waiting, patience_s
        self._threads = ThreadPoolExecutor(threads, name)
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    def submit(
        self, user: str, do: Callable[[], None], give_up: Callable[[WireError], None]
    ) -> None:
        """Does it when a thread is free.

        Args:
            user: who asks.
            do: the work, which answers by itself.
            give_up: answers instead where it waited too long.

        Raises:
            WireError: "busy", too much is waiting.
        """
        with self._lock:
            full = self._asked.total() >= self._waiting
            if full or self._asked[user] >= max(self._waiting // 4, 1):
                raise _busy_error()
            self._asked[user] += 1
        until = time.monotonic() + self._patience_s

        def work() -> None:
            try:
                if time.monotonic() > until:
                    give_up(_busy_error())
                else:
                    do()
            except Exception:
                _log.exception("work of kind %s failed", self.name)
            finally:
                with self._lock:
                    self._asked[user] -= 1

        try:
            self._threads.submit(work)
        except RuntimeError:  # the service ends
            with self._lock:
                self._asked[user] -= 1

    def count(self) -> int:
        """Requests that wait or are being worked on."""
        with self._lock:
            return self._asked.total()

    def close(self) -> None:
        """Begins nothing more; what is under way is left."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _busy_error() -> WireError:
    return WireError(
        "Many requests of this kind are waiting already.", "Ask again in a moment.", "busy"
    )
