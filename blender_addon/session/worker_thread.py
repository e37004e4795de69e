# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread of the session."""

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restage4d.protocol.client import Client

IDLE = 1.0  # seconds between two idle turns


class WorkerThread:
    """A thread that does one request after the other with a client of its own.

    Args:
        ending: set when the thread shall end.
        report: called with an error that a request did not expect.
    """

    def __init__(self, ending: threading.Event, report: Callable[[Exception], None]) -> None:
        self.client: Client | None = None
        self._ending, self._report, self._generation = ending, report, -1
        self._requests: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = (
            queue.SimpleQueue()
        )

    def start(self, idle: Callable[[], None] | None = None) -> None:
        self._idle = idle
        self._thread = threading.Thread(target=self._run, name="restage4d panel", daemon=True)
        self._thread.start()

    def put(self, request: Callable[..., None], *arguments: Any) -> None:
        self._requests.put((request, arguments))

    def use(self, client: "Client | None") -> None:
        """From the thread itself: another client, or none."""
        if self.client is not None:
            self.client.close()
        self.client = client

    def get_client(self, generation: int, connect: Callable[[], "Client"]) -> "Client":
        """From the thread itself: its client, a new one where the backend is another than
        before."""
        client = self.client
        if client is None or self._generation != generation:
            self.use(None)
            client = connect()
            self.use(client)
            self._generation = generation
        return client

    def end(self) -> None:
        self.put(lambda: None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                request, arguments = self._requests.get(timeout=IDLE if self._idle else None)
            except queue.Empty:
                request, arguments = self._idle or (lambda: None), ()
            try:
                request(*arguments)
            except Exception as error:  # a thread that ended would leave the panel waiting for good
                self._report(error)
        self.use(None)
