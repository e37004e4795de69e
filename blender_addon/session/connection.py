# SPDX-License-Identifier: GPL-3.0-or-later
"""The control thread: finds the backend, starts it, notices that it is gone, and sends it what the
artist asks of a job."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from restage4d.errors import Cancelled, InputError

from .models import (
    Backend,
    Fault,
    ProviderView,
    WatchedJob,
)
from .update_queue import UpdateQueue
from .worker_thread import WorkerThread

if TYPE_CHECKING:
    from restage4d.protocol.client import Client
    from restage4d.protocol.messages import JobStatus

LOST = "It ended unexpectedly. Its jobs go on where they stood."


class Starter(Protocol):
    """Starts the backend and returns when it answers, see `launcher.start`; raises
    `InputError`."""

    def __call__(
        self,
        answers: Callable[[], bool],
        stopped: threading.Event,
        say: Callable[[str, bool], None],
    ) -> None: ...


@dataclass
class Link:
    """How to reach a backend.

    Attributes:
        connect: returns a connected `restage4d.protocol.client.Client`; raises `WireError`.
        start: starts the backend; None where it is not ours to start.
        restart: whether a backend that was lost is started again unasked.
    """

    connect: Callable[[], "Client"]
    start: Starter | None = None
    restart: bool = True


class BackendConnection:
    """The backend as it is known now (`backend`), and clients for the other threads.

    Args:
        link: how to reach it.
        updates: where what is found is put.
        report: called with an error that a request did not expect.
    """

    def __init__(
        self, link: Link, updates: UpdateQueue, report: Callable[[Exception], None]
    ) -> None:
        self.link, self.backend = link, Backend()
        self.ready = threading.Event()  # connected
        self._updates = updates
        self._generation = 0  # of the connection: a thread whose client is older makes a new one
        self._worker = WorkerThread(updates.ending, report)
        self._worker.start(self._check)

    # --- of the interface's thread ----------------------------------------------------------------

    def use(self, link: Link) -> None:
        """Another backend."""
        self.link, self.backend = link, Backend()
        self._worker.put(self._reconnect)

    def start(self) -> None:
        """Starts the backend."""
        if self.link.start is not None:
            self.backend.phase, self.backend.fault, self.backend.message = "starting", None, ""
            self._worker.put(self._start)

    def stop(self) -> None:
        """Stops the backend; its jobs go on with its next start."""
        self._worker.put(self._stop)

    def send_command(self, job: WatchedJob, what: str, done: Callable[["JobStatus"], None]) -> None:
        """Asks to "cancel", "pause" or "resume" a job; ``done`` gets its status, in this thread."""
        self._worker.put(self._send_command, job, what, done)

    def end(self) -> None:
        self.ready.set()
        self._worker.end()

    # --- of other threads -------------------------------------------------------------------------

    def get_client(self, worker: WorkerThread, is_wanted: Callable[[], bool]) -> "Client":
        """A thread's own client, once there is a backend. Raises `Cancelled` when
        ``is_wanted`` says no."""
        while not self.ready.wait(0.2):
            if self._updates.ending.is_set() or not is_wanted():
                raise Cancelled
        if self._updates.ending.is_set():
            raise Cancelled
        return worker.get_client(self._generation, self.link.connect)

    # --- of the control thread --------------------------------------------------------------------

    def _check(self) -> None:
        """Finds the backend, or that it is gone."""
        if self._worker.client is None:
            self._find()
        elif not self._worker.client.alive(1.5) and not self._worker.client.alive(1.5):
            self._restart_lost()

    def _find(self) -> None:
        from restage4d.protocol.errors import NotRunning

        try:
            self._use_client(self.link.connect())
        except NotRunning:
            self._updates.put(self.backend, phase="absent")
        except ImportError as error:
            remedy = "Install the extension again from its zip: it brings what it needs."
            fault = Fault(f"A part of this extension is missing: {error}.", remedy)
            self._updates.put(self.backend, phase="refused", fault=fault)
        except InputError as error:
            self._updates.put(self.backend, phase="refused", fault=Fault.of(error))

    def _use_client(self, client: "Client") -> None:
        welcome = client.hello()
        self._worker.use(client)
        self._generation += 1
        self._updates.put(
            self.backend,
            phase="ready",
            fault=None,
            message="",
            version=welcome.version,
            devices=[f"{d.name}, {d.memory / 2**30:.0f} GB" for d in welcome.devices],
            drawing=next((d.drawing for d in welcome.devices if d.drawing), ""),
            providers=[ProviderView.from_message(p) for p in welcome.catalogue],
            refiner=welcome.refiner,
        )
        self.ready.set()

    def _restart_lost(self) -> None:
        self.ready.clear()
        self._worker.use(None)
        if self.link.start is not None and self.link.restart:
            self._updates.put(self.backend, phase="lost", message=LOST)
            self._start(again=True)
        else:
            fault = Fault(
                "The backend does not answer any more.",
                "Jobs go on when it is back; the panel looks for it.",
            )
            self._updates.put(self.backend, phase="absent", fault=fault)

    def _start(self, again: bool = False) -> None:
        from restage4d.protocol.errors import WireError

        assert self.link.start is not None
        found: list[Client] = []

        def answers() -> bool:
            with suppress(WireError):
                found.append(self.link.connect())
            return bool(found)

        def say(line: str, setting_up: bool) -> None:
            phase = "setting up" if setting_up else "lost" if again else "starting"
            self._updates.put(self.backend, phase=phase, message=LOST if phase == "lost" else line)

        try:
            if not answers():
                self.link.start(answers, self._updates.ending, say)
            self._use_client(found[0])
        except (InputError, OSError, IndexError) as error:
            if not self._updates.ending.is_set():
                self._updates.put(self.backend, phase="absent", fault=Fault.of(error))

    def _stop(self) -> None:
        if self._worker.client is not None:
            self._worker.client.shutdown()
            self.ready.clear()
            self._worker.use(None)
        self._updates.put(self.backend, phase="absent", fault=None)

    def _reconnect(self) -> None:
        self.ready.clear()
        self._worker.use(None)

    def _send_command(
        self, job: WatchedJob, what: str, done: Callable[["JobStatus"], None]
    ) -> None:
        if what == "cancel":
            job.unwanted.set()
        if self._worker.client is None:
            raise InputError(f"Nobody is there to {what} it.", "Start the backend.")
        if job.submitted.is_set():
            done(getattr(self._worker.client, what)(job.id))
