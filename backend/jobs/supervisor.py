"""Runs the queue: starts jobs on free slots, follows their folders, takes in their results,
survives every crash.

Everything is decided anew from the table, the folders and the locks in them at every tick, so that
it does not matter when the service was killed.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import zmq

from backend.jobs.executors import Executor
from backend.jobs.job_folder import EVENTS, Folder, to_zmq_frames
from backend.jobs.job_table import JobRow, JobTable
from backend.settings import ServiceSettings
from backend.store.content_store import disk_full_error, is_disk_full
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    ENDED,
    Fault,
    JobProgress,
    JobStatus,
    StateChanged,
)

_GRACE_S = {"paused": 45.0, "cancelled": 1.5, "deleted": 1.5}  # from being asked to being killed
_log = logging.getLogger("restage4d.jobs")


class Supervisor:
    """The life of all jobs. `tick` is called by one thread; the requests (`cancel` ...) come from
    others.

    Args:
        jobs: the table.
        folders: where each job has its folder.
        executor: who runs them.
        settings: attempts.
        publish: sends an event to whoever watches a job: (job, frames).
        monotonic: a clock in seconds that cannot be set.
    """

    def __init__(
        self,
        jobs: JobTable,
        folders: Path,
        executor: Executor,
        settings: ServiceSettings,
        publish: Callable[[str, list], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs, self.folders, self.executor, self.settings = jobs, folders, executor, settings
        self._publish, self._monotonic = publish, monotonic
        # when each running job was first seen to be asked to stop, and how
        self._asked: dict[str, tuple[str, float]] = {}
        self._stamps: dict[tuple[str, str], int] = {}
        self._progress: dict[str, JobProgress] = {}
        # running jobs that cannot be looked after, as on a full disk, and why
        self._blocked: dict[str, Fault] = {}
        self._changed: deque[str] = deque()
        self._awake = threading.Event()
        self._closing = False

    def open_folder(self, job: str) -> Folder:
        return Folder(self.folders / job)

    # --- requests ---

    def cancel(self, job: JobRow) -> None:
        if job.state in ENDED:
            return
        if self.jobs.change_state(job.id, ("queued", "paused"), "cancelled"):
            self.announce(job.id)
        elif self.jobs.request(job.id, "cancelled"):
            self._send_command(job.id, "cancel")

    def pause(self, job: JobRow) -> None:
        if job.state in ENDED:
            raise WireError(
                f"The job is {job.state} and cannot be paused.",
                "Resume it, or submit a new one.",
                "state",
            )
        if self.jobs.change_state(job.id, ("queued",), "paused"):
            self.announce(job.id)
        elif self.jobs.request(job.id, "paused"):
            self._send_command(job.id, "pause")

    def resume(self, job: JobRow) -> None:
        if job.state in ("queued", "done") or (job.state == "running" and not job.wanted):
            raise WireError(f"The job is {job.state}; there is nothing to resume.", "", "state")
        if job.state == "running":
            raise WireError("The job is just stopping.", "Try again in a few seconds.", "busy")
        if self.jobs.change_state(job.id, ("paused", "failed", "cancelled"), "queued"):
            self.announce(job.id)

    def delete(self, job: JobRow) -> None:
        if self.jobs.request(job.id, "deleted"):
            self._send_command(job.id, "cancel")
        elif self.jobs.delete(job.id):
            self.open_folder(job.id).remove()
            self._progress.pop(job.id, None)

    def _send_command(self, job: str, command: str) -> None:
        with suppress(InputError):  # on a full disk the process is killed when its time is up
            self.open_folder(job).write_command(command)  # type: ignore[arg-type]
        self.announce(job)

    def announce(self, job: str) -> None:
        self._changed.append(job)
        self._awake.set()

    # --- what clients see ---

    def describe(self, job: JobRow, ahead: dict[str, int] | None = None) -> JobStatus:
        """A job for a client."""
        progress = self._progress.get(job.id) or self._read_progress(job)
        ended = job.state in ("done", "queued")
        return JobStatus(
            id=job.id,
            name=job.spec.name or job.spec.prompt[:60],
            prompt=job.spec.prompt,
            job_kind=job.spec.job_kind,
            state=job.state,
            stage=progress.stage if progress and not ended else "",
            step=progress.step if progress and not ended else 0,
            steps=progress.steps if progress and not ended else 0,
            percent=100.0
            if job.state == "done"
            else progress.percent
            if progress and job.state != "queued"
            else 0.0,
            time_left_s=progress.time_left_s if progress and job.state == "running" else None,
            losses=progress.losses if progress else {},
            error=job.error or (self._blocked.get(job.id) if job.state == "running" else None),
            ahead=(self.jobs.count_ahead() if ahead is None else ahead).get(job.id, 0)
            if job.state == "queued"
            else 0,
            attempts=job.attempts,
            device=job.device,
            created=job.created,
            started=job.started,
            finished=job.finished,
            stopping=bool(job.wanted),
            has_puppet="puppet" in job.artefacts,
            has_preview=self.open_folder(job.id).read_stamp("preview") > 0,
            artefacts=job.artefacts,
        )

    def _read_progress(self, job: JobRow) -> JobProgress | None:
        if job.attempts == 0:
            return None
        event = self.open_folder(job.id).read_event("progress")
        with suppress(WireError):
            if event:
                self._progress[job.id] = framing.decode(to_zmq_frames(event), framing.EVENTS).body
        return self._progress.get(job.id)

    # --- the loop ---

    def tick(self) -> None:
        """One look at everything; a job whose disk is full must not keep the others from going
        on."""
        running = self.jobs.list(states=("running",))
        for job in running:
            try:
                self._follow(job)
            except (InputError, OSError, sqlite3.Error) as error:
                if job.id not in self._blocked:
                    _log.error("job %s: %s", job.id, error)
                    self._blocked[job.id] = _make_fault(error)
                    self._changed.append(job.id)
            else:
                if self._blocked.pop(job.id, None):
                    self._changed.append(job.id)
        if not self._closing:
            self._start()
        while self._changed:
            self._publish_status(self._changed.popleft())

    def _start(self) -> None:
        busy = {job.device for job in self.jobs.list(states=("running",))}
        for slot in self.executor.list_slots():
            if slot in busy:
                continue
            job = self.jobs.find_next_queued()
            if job is None:
                return
            folder = self.open_folder(job.id)
            try:
                folder.prepare(job.spec)
                if not self.jobs.mark_running(job.id, slot):
                    continue
                self._progress.pop(job.id, None)
                self.executor.start(job.id, folder, slot)
            except (InputError, OSError, sqlite3.Error) as error:
                _log.error("job %s could not be started: %s", job.id, error)
                fault = Fault(
                    code="no_room",
                    what=f"The job could not be started: {error}",
                    remedy="Free some space, then resume.",
                )
                self.jobs.change_state(job.id, ("queued", "running"), "paused", fault)
            self._changed.append(job.id)

    def _follow(self, job: JobRow) -> None:
        folder = self.open_folder(job.id)
        alive = self.executor.is_alive(job.id, folder)
        self._relay(job, folder)
        if alive:
            if job.wanted and self._measure_wait(job) > _GRACE_S[job.wanted]:
                self.executor.kill(job.id, folder)
            elif job.wanted and not folder.read_command():
                folder.write_command("pause" if job.wanted == "paused" else "cancel")
            return
        self._asked.pop(job.id, None)
        result = folder.read_result()
        if job.wanted == "deleted":
            self.jobs.change_state(job.id, ("running",), "cancelled")
            self.jobs.delete(job.id)
            folder.remove()
            return
        if job.wanted == "cancelled":
            self.jobs.change_state(job.id, ("running",), "cancelled")
        elif result is None:
            self._handle_crash(job)
        elif result.outcome == "done":
            if self.jobs.mark_done(job.id, result.artefacts):
                folder.remove_work()
        elif result.outcome == "failed":
            self.jobs.change_state(job.id, ("running",), "failed", result.error)
        elif job.wanted != "paused" and result.error is None:
            self.jobs.change_state(
                job.id, ("running",), "queued"
            )  # the service asked, as it ended: goes on with its next start
        else:
            self.jobs.change_state(job.id, ("running",), "paused", result.error)
        self._changed.append(job.id)

    def _measure_wait(self, job: JobRow) -> float:
        """Seconds for which this service has seen that the job shall stop in this way."""
        wanted, since = self._asked.get(job.id, ("", 0.0))
        if wanted != job.wanted:
            since = self._monotonic()
            self._asked[job.id] = job.wanted, since
        return self._monotonic() - since

    def _handle_crash(self, job: JobRow) -> None:
        why = self.executor.explain_end(job.id)
        if job.wanted == "paused":
            self.jobs.change_state(job.id, ("running",), "paused")
        elif job.attempts < self.settings.attempts or self._closing:
            self.jobs.change_state(job.id, ("running",), "queued")
        else:
            what = f"The job's process {why}, {job.attempts} times."
            remedy = (
                "Try the draft quality or a smaller picture; resume goes on from the last "
                "checkpoint."
            )
            self.jobs.change_state(
                job.id, ("running",), "failed", Fault(code="crashed", what=what, remedy=remedy)
            )
        _log.warning("job %s: its process %s (attempt %d)", job.id, why, job.attempts)

    def _relay(self, job: JobRow, folder: Folder) -> None:
        """New events of the job's process to whoever watches."""
        for name in EVENTS:
            stamp = folder.read_stamp(name)
            if not stamp or self._stamps.get((job.id, name)) == stamp:
                continue
            event = folder.read_event(name)
            if event is None:
                continue
            self._stamps[job.id, name] = event[0]
            try:
                body = framing.decode(to_zmq_frames(event), framing.EVENTS).body
            except WireError as error:
                _log.error("job %s: %s", job.id, error)
                continue
            if isinstance(body, JobProgress):
                self._progress[job.id] = body
            self._publish(job.id, event[1])

    def _publish_status(self, job: str) -> None:
        try:
            status = self.describe(self.jobs.get(job))
        except WireError:
            return  # deleted
        if status.state in ENDED:
            for name in EVENTS:
                self._stamps.pop((job, name), None)
            if status.state == "done":
                self._progress.pop(job, None)
        self._publish(job, framing.encode(StateChanged(job=job, status=status)))

    def wait(self, poller: zmq.Poller, seconds: float) -> None:
        """Sleeps until somebody asks something of a job or a socket of ``poller`` has something, at
        most ``seconds``."""
        if not self._awake.is_set():
            poller.poll(int(seconds * 1000))
        self._awake.clear()

    def close(self, seconds: float = 20.0) -> None:
        """Asks running jobs to checkpoint, waits for them, and queues them for the next start. Slow
        ones go on alone."""
        self._closing = True
        for job in self.jobs.list(states=("running",)):
            if not job.wanted:
                with suppress(InputError):
                    self.open_folder(job.id).write_command("pause")
        end = self._monotonic() + seconds
        while self.jobs.list(states=("running",)) and self._monotonic() < end:
            self.tick()
            time.sleep(0.05)
        self.executor.close()


def _make_fault(error: Exception) -> Fault:
    """Why a running job is not looked after. It goes on by itself when that is over."""
    if is_disk_full(error):
        return Fault(
            code="no_room",
            what=disk_full_error().what,
            remedy="Free some space there; the job then goes on by itself.",
        )
    return Fault(
        code="internal",
        what=f"The job cannot be looked after: {error}.",
        remedy="See service.log on the service's machine.",
    )
