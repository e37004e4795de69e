# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches jobs, each in a thread of its own, until they end or nobody asks for them any more."""

import threading
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from restage4d.errors import InputError

from .connection import BackendConnection
from .models import Fault, WatchedJob, thin_points
from .update_queue import UpdateQueue

if TYPE_CHECKING:
    from restage4d.protocol.client import Lost
    from restage4d.protocol.messages import Event, JobStatus


class JobWatcher:
    """Args:
    connection: knows how to reach the backend.
    updates: where what is found is put.
    """

    def __init__(self, connection: BackendConnection, updates: UpdateQueue) -> None:
        self._connection, self._updates = connection, updates
        self._stops: dict[str, threading.Event] = {}  # by job

    def watch(self, job: WatchedJob) -> None:
        """Begins to watch a job, or begins anew."""
        self.unwatch(job)
        stop = self._stops[job.id] = threading.Event()
        threading.Thread(
            target=self._run, args=(job, stop), name="restage4d watch", daemon=True
        ).start()

    def unwatch(self, job: WatchedJob) -> None:
        """Watches it no more; it goes on."""
        if (stop := self._stops.pop(job.id, None)) is not None:
            stop.set()

    def apply(self, job: WatchedJob, status: "JobStatus") -> None:
        """Takes over a `JobStatus`."""
        fault = None if status.error is None else Fault(status.error.what, status.error.remedy)
        stage = (
            f"{status.ahead} before it"
            if status.state == "queued" and status.ahead
            else status.stage
        )
        self._updates.put(
            job,
            state=status.state,
            stopping=status.stopping,
            stage=stage,
            fraction=status.percent / 100,
            seconds_left=status.time_left_s,
            prompt=status.prompt or job.prompt,
            fault=fault,
        )
        job.submitted.set()

    def _run(self, job: WatchedJob, stop: threading.Event) -> None:
        def is_over() -> bool:
            return stop.is_set() or self._updates.ending.is_set()

        while not is_over():
            if not self._connection.ready.wait(0.2):
                continue
            try:
                with self._connection.link.connect() as client:
                    for event, arrays in client.events(job.id, is_over):
                        self._note(job, event, arrays)
                    return
            except InputError as error:
                if getattr(error, "code", "") == "not_found":
                    remedy = (
                        "It was deleted, or another backend has it. Start again, or choose that "
                        "backend."
                    )
                    self._updates.put(
                        job,
                        state="failed",
                        fault=Fault("The backend does not know this job.", remedy),
                    )
                    return
                stop.wait(1.0)

    def _note(self, job: WatchedJob, event: "Event | Lost", arrays: dict[str, NDArray]) -> None:
        """One event of the job."""
        from restage4d.protocol import client, messages

        if isinstance(event, messages.StateChanged):
            self.apply(job, event.status)
        elif isinstance(event, messages.JobProgress):
            fields = {
                "stage": event.stage,
                "fraction": event.percent / 100,
                "seconds_left": event.time_left_s,
            }
            self._updates.put(job, **fields, figures=event.losses)
        elif isinstance(event, messages.Preview):
            self._updates.put(job, picture=arrays["png"].tobytes())
        elif isinstance(event, messages.PreviewPoints):
            self._updates.put(job, points=thin_points(arrays, event.fps))
        elif isinstance(event, client.Lost):
            self._updates.put(job, stage="Waits for the backend", seconds_left=None)
