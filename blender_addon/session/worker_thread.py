# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread of the session."""

import queue
import threading
from collections.abc import Callable
from typing import Any

BEAT = 1.0  # seconds between two idle turns


class Lane:
    """A thread that does one request after the other with a client of its own.

    Args:
        ending: set when the thread shall end.
        failed: told what a request did not expect.
    """

    def __init__(self, ending: threading.Event, failed: Callable[[Exception], None]) -> None:
        self.client: Any = None
        self._ending, self._failed, self._generation = ending, failed, -1
        self._requests: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = (
            queue.SimpleQueue()
        )

    def start(self, idle: Callable[[], None] | None = None) -> None:
        self._idle = idle
        self._thread = threading.Thread(target=self._run, name="restage4d panel", daemon=True)
        self._thread.start()

    def put(self, request: Callable[..., None], *arguments: Any) -> None:
        self._requests.put((request, arguments))

    def use(self, client: Any) -> None:
        """From the lane's own thread: another client, or none."""
        if self.client is not None:
            self.client.close()
        self.client = client

    def client_of(self, generation: int, connect: Callable[[], Any]) -> Any:
        """From the lane's own thread: its client, a new one where the backend is another than
        before."""
        if self.client is None or self._generation != generation:
            self.use(None)
            self.use(connect())
            self._generation = generation
        return self.client

    def end(self) -> None:
        self.put(lambda: None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                request, arguments = self._requests.get(timeout=BEAT if self._idle else None)
            except queue.Empty:
                request, arguments = self._idle or (lambda: None), ()
            try:
                request(*arguments)
            except Exception as error:  # a thread that ended would leave the panel waiting for good
                self._failed(error)
        self.use(None)
