# SPDX-License-Identifier: GPL-3.0-or-later
"""The control thread: finds the backend, starts it, notices that it is gone, and tells it what the
artist asks of a job."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from restage4d.errors import Cancelled, InputError

from .models import (
    Backend,
    Fault,
    Job,
    Provider,
)
from .update_queue import Changes
from .worker_thread import Lane

LOST = "It ended unexpectedly. Its jobs go on where they stood."


class Starter(Protocol):
    """Starts the backend and returns when it answers, see `launching.start`; raises
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

    connect: Callable[[], Any]
    start: Starter | None = None
    restart: bool = True


class Keeper:
    """The backend as it is known now (`backend`), and clients for the other threads.

    Args:
        link: how to reach it.
        changes: where what is found is put.
        failed: told what a request did not expect.
    """

    def __init__(self, link: Link, changes: Changes, failed: Callable[[Exception], None]) -> None:
        self.link, self.backend = link, Backend()
        self.ready = threading.Event()  # connected
        self._changes = changes
        self._generation = 0  # of the connection: a thread whose client is older makes a new one
        self._lane = Lane(changes.ending, failed)
        self._lane.start(self._beat)

    # --- of the interface's thread ----------------------------------------------------------------

    def use(self, link: Link) -> None:
        """Another backend."""
        self.link, self.backend = link, Backend()
        self._lane.put(self._reconnect)

    def start(self) -> None:
        """Starts the backend."""
        if self.link.start is not None:
            self.backend.phase, self.backend.fault, self.backend.said = "starting", None, ""
            self._lane.put(self._start)

    def stop(self) -> None:
        """Stops the backend; its jobs go on with its next start."""
        self._lane.put(self._stop)

    def tell(self, job: Job, what: str, done: Callable[[Any], None]) -> None:
        """Asks to "cancel", "pause" or "resume" a job; ``done`` gets its status, in this thread."""
        self._lane.put(self._tell, job, what, done)

    def end(self) -> None:
        self.ready.set()
        self._lane.end()

    # --- of other threads -------------------------------------------------------------------------

    def client(self, lane: Lane, wanted: Callable[[], bool]) -> Any:
        """A thread's own client, once there is a backend. Raises `Cancelled` when it is not
        ``wanted`` any more."""
        while not self.ready.wait(0.2):
            if self._changes.ending.is_set() or not wanted():
                raise Cancelled
        if self._changes.ending.is_set():
            raise Cancelled
        return lane.client_of(self._generation, self.link.connect)

    # --- of the control thread --------------------------------------------------------------------

    def _beat(self) -> None:
        """Finds the backend, or that it is gone."""
        if self._lane.client is None:
            self._find()
        elif not self._lane.client.alive(1.5) and not self._lane.client.alive(1.5):
            self._lose()

    def _find(self) -> None:
        from restage4d.protocol.errors import NotRunning

        try:
            self._connected(self.link.connect())
        except NotRunning:
            self._changes.put(self.backend, phase="absent")
        except ImportError as error:
            remedy = "Install the extension again from its zip: it brings what it needs."
            fault = Fault(f"A part of this extension is missing: {error}.", remedy)
            self._changes.put(self.backend, phase="refused", fault=fault)
        except InputError as error:
            self._changes.put(self.backend, phase="refused", fault=Fault.of(error))

    def _connected(self, client: Any) -> None:
        welcome = client.hello()
        self._lane.use(client)
        self._generation += 1
        self._changes.put(
            self.backend,
            phase="ready",
            fault=None,
            said="",
            version=welcome.version,
            devices=[f"{d.name}, {d.memory / 2**30:.0f} GB" for d in welcome.devices],
            providers=[Provider.told(p) for p in welcome.catalogue],
            refiner=welcome.refiner,
        )
        self.ready.set()

    def _lose(self) -> None:
        self.ready.clear()
        self._lane.use(None)
        if self.link.start is not None and self.link.restart:
            self._changes.put(self.backend, phase="lost", said=LOST)
            self._start(again=True)
        else:
            fault = Fault(
                "The backend does not answer any more.",
                "Jobs go on when it is back; the panel looks for it.",
            )
            self._changes.put(self.backend, phase="absent", fault=fault)

    def _start(self, again: bool = False) -> None:
        from restage4d.protocol.errors import WireError

        assert self.link.start is not None
        found: list[Any] = []

        def answers() -> bool:
            with suppress(WireError):
                found.append(self.link.connect())
            return bool(found)

        def say(line: str, setting_up: bool) -> None:
            phase = "setting up" if setting_up else "lost" if again else "starting"
            self._changes.put(self.backend, phase=phase, said=LOST if phase == "lost" else line)

        try:
            if not answers():
                self.link.start(answers, self._changes.ending, say)
            self._connected(found[0])
        except (InputError, OSError, IndexError) as error:
            if not self._changes.ending.is_set():
                self._changes.put(self.backend, phase="absent", fault=Fault.of(error))

    def _stop(self) -> None:
        if self._lane.client is not None:
            self._lane.client.shutdown()
            self.ready.clear()
            self._lane.use(None)
        self._changes.put(self.backend, phase="absent", fault=None)

    def _reconnect(self) -> None:
        self.ready.clear()
        self._lane.use(None)

    def _tell(self, job: Job, what: str, done: Callable[[Any], None]) -> None:
        if what == "cancel":
            job.unwanted.set()
        if self._lane.client is None:
            raise InputError(f"Nobody is there to {what} it.", "Start the backend.")
        if job.handed_in.is_set():
            done(getattr(self._lane.client, what)(job.id))
