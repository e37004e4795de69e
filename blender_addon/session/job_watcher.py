# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows jobs, each in a thread of its own, until they end or nobody asks for them any more."""

import threading
from typing import Any

from restage4d.errors import InputError

from .connection import Keeper
from .models import Fault, Job, thinned
from .update_queue import Changes


class Follower:
    """Args:
    keeper: knows how to reach the backend.
    changes: where what is found is put.
    """

    def __init__(self, keeper: Keeper, changes: Changes) -> None:
        self._keeper, self._changes = keeper, changes
        self._stops: dict[str, threading.Event] = {}  # by job

    def follow(self, job: Job) -> None:
        """Begins to follow a job, or begins anew."""
        self.leave(job)
        stop = self._stops[job.id] = threading.Event()
        threading.Thread(
            target=self._run, args=(job, stop), name="restage4d watch", daemon=True
        ).start()

    def leave(self, job: Job) -> None:
        """Follows it no more; it goes on."""
        if (stop := self._stops.pop(job.id, None)) is not None:
            stop.set()

    def apply(self, job: Job, status: Any) -> None:
        """Takes over a `JobStatus`."""
        fault = None if status.error is None else Fault(status.error.what, status.error.remedy)
        stage = (
            f"{status.ahead} before it"
            if status.state == "queued" and status.ahead
            else status.stage
        )
        self._changes.put(
            job,
            state=status.state,
            stopping=status.stopping,
            stage=stage,
            fraction=status.percent / 100,
            seconds_left=status.time_left_s,
            prompt=status.prompt or job.prompt,
            fault=fault,
        )
        job.handed_in.set()

    def _run(self, job: Job, stop: threading.Event) -> None:
        def ended() -> bool:
            return stop.is_set() or self._changes.ending.is_set()

        while not ended():
            if not self._keeper.ready.wait(0.2):
                continue
            try:
                with self._keeper.link.connect() as client:
                    for event, arrays in client.events(job.id, ended):
                        self._note(job, event, arrays)
                    return
            except InputError as error:
                if getattr(error, "code", "") == "not_found":
                    remedy = (
                        "It was deleted, or another backend has it. Start again, or choose that "
                        "backend."
                    )
                    self._changes.put(
                        job,
                        state="failed",
                        fault=Fault("The backend does not know this job.", remedy),
                    )
                    return
                stop.wait(1.0)

    def _note(self, job: Job, event: Any, arrays: dict[str, Any]) -> None:
        """One event of the job."""
        kind = type(event).__name__
        if kind == "StateChanged":
            self.apply(job, event.status)
        elif kind == "JobProgress":
            fields = {
                "stage": event.stage,
                "fraction": event.percent / 100,
                "seconds_left": event.time_left_s,
            }
            self._changes.put(job, **fields, figures=event.losses)
        elif kind == "Preview":
            self._changes.put(job, picture=arrays["png"].tobytes())
        elif kind == "PreviewPoints":
            self._changes.put(job, points=thinned(arrays, event.fps))
        elif kind == "Lost":
            self._changes.put(job, stage="Waits for the backend", seconds_left=None)
