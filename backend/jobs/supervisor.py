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

from backend.file_lock import is_locked
from backend.jobs.executors import Executor
from backend.jobs.job_folder import EVENTS, Folder, to_zmq_frames
from backend.jobs.job_rows import JobRow, is_damage
from backend.jobs.job_table import JobTable
from backend.jobs.process_watch import ProcessWatch
from backend.jobs.status_board import StatusBoard
from backend.settings import ServiceSettings
from backend.store.content_store import disk_full_error, is_disk_full
from backend.store.reserve import Reserve
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    ENDED,
    Fault,
    JobProgress,
    State,
    StateChanged,
)

_GRACE_S = {"paused": 45.0, "cancelled": 1.5, "deleted": 1.5}  # from being asked to being killed
_SHUT_OUT = Fault(
    code="refused",
    what="The job's user may not use this service any more.",
    remedy="Its owner can let them in again (restage4d keys); then resume it.",
)
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
        may_run: whether a user's jobs may run.
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
        may_run: Callable[[str], bool] = lambda user: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs, self.folders, self.executor, self.settings = jobs, folders, executor, settings
        self._publish, self._may_run, self._monotonic = publish, may_run, monotonic
        self._reserve = Reserve(folders.parent / "reserve")
        self._watch = ProcessWatch(settings.job_hours, settings.job_gigabytes, monotonic)
        self.board = StatusBoard(jobs, folders)
        # why the processes of jobs are being ended
        self._ending: dict[str, Fault] = {}
        # when each running job was first seen to be asked to stop, and how
        self._asked: dict[str, tuple[str, float]] = {}
        self._stamps: dict[tuple[str, str], int] = {}
        self._changed: deque[str] = deque()
        self._awake = threading.Event()
        self.on_deleted: Callable[[], None] = lambda: None  # told that there is trash
        self._closing = False

    def open_folder(self, job: str) -> Folder:
        return Folder(self.folders / job)

    # --- requests ---

    def cancel(self, job: JobRow) -> None:
        if job.state in ENDED:
            return
        before: tuple[State, ...] = ("queued", "paused")
        if self._reserve.use(lambda: self.jobs.change_state(job.id, before, "cancelled")):
            self.announce(job.id)
        elif self._reserve.use(lambda: self.jobs.request(job.id, "cancelled")):
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

    def delete(self, job: JobRow) -> bool:
        """Whether it is gone; one that runs is first ended."""
        if self._reserve.use(lambda: self.jobs.request(job.id, "deleted")):
            self._send_command(job.id, "cancel")
            return False
        gone = self._reserve.use(lambda: self.jobs.delete(job.id))
        if gone:
            self._forget(job.id)
        return gone

    def _forget(self, job: str) -> None:
        self.board.forget(job)
        self._watch.forget(job)
        self.on_deleted()

    def _send_command(self, job: str, command: str) -> None:
        with suppress(InputError):  # on a full disk the process is killed when its time is up
            self.open_folder(job).write_command(command)  # type: ignore[arg-type]
        self.announce(job)

    def announce(self, job: str) -> None:
        self._changed.append(job)
        self._awake.set()

    # --- the loop ---

    def tick(self) -> None:
        """One look at everything; a job whose disk is full must not keep the others from going
        on."""
        running = self.jobs.list(states=("running",))
        for job in running:
            try:
                self._follow(job)
            except (InputError, OSError, sqlite3.Error) as error:
                if is_damage(error):  # the next start repairs it
                    raise
                if self.board.find_blocked(job.id) is None:
                    _log.error("job %s: %s", job.id, error)
                self._tell(job.id, _make_fault(error))
        if not self._closing:
            self._start()
        while self._changed:
            self._publish_status(self._changed.popleft())

    def _tell(self, job: str, fault: Fault | None) -> None:
        """What stands in the way of a running job now."""
        if self.board.set_blocked(job, fault):
            self._changed.append(job)

    def _start(self) -> None:
        running = self.jobs.list(states=("running",))
        taken = {job.device for job in running}
        # free ones first: nobody waits for a fit while another slot has nothing to do
        for slot in sorted(self.executor.list_slots(), key=lambda slot: slot in taken):
            busy = [job for job in running if job.device == slot]
            if busy and not self._is_room_ahead(busy, slot):
                continue
            while (job := self.jobs.find_next_queued()) and not self._may_run(job.owner):
                self.jobs.change_state(job.id, ("queued",), "paused", _SHUT_OUT)
                self._changed.append(job.id)
            if job is None:
                return
            folder = self.open_folder(job.id)
            try:
                folder.prepare(job.spec)
                if not self.jobs.mark_running(job.id, slot):
                    continue
                self.board.forget_progress(job.id)
                self.executor.start(job.id, folder, slot, ahead=bool(busy))
            except (InputError, OSError, sqlite3.Error) as error:
                _log.error("job %s could not be started: %s", job.id, error)
                fault = Fault(
                    code="no_room",
                    what=f"The job could not be started: {error}",
                    remedy="Free some space, then resume.",
                )
                self.jobs.change_state(job.id, ("queued", "running"), "paused", fault)
            self._changed.append(job.id)

    def _is_room_ahead(self, busy: list[JobRow], slot: str) -> bool:
        """Whether the next job may prepare on a slot that is ``busy``: one job fits there, to its
        end, and nobody prepares."""
        waits = self.jobs.find_next_queued()
        if len(busy) > 1 or busy[0].wanted or waits is None or waits.attempts > 1:
            return False  # what ended by itself twice may lack the memory that the other one has
        lock = self.executor.find_fit_lock(slot)
        return lock is not None and is_locked(lock)

    def _follow(self, job: JobRow) -> None:
        folder = self.open_folder(job.id)
        alive = self.executor.is_alive(job.id, folder)
        self._relay(job, folder)
        if alive:
            self._look_at(job, folder)
            if job.wanted and self._measure_wait(job) > _GRACE_S[job.wanted]:
                self.executor.kill(job.id, folder)
            elif job.wanted and not folder.read_command():
                folder.write_command("pause" if job.wanted == "paused" else "cancel")
            return
        self._take_result(job, folder)
        # only now: on a full disk all this is done once more
        self._asked.pop(job.id, None)
        self._ending.pop(job.id, None)
        self._watch.forget(job.id)
        self._tell(job.id, None)

    def _take_result(self, job: JobRow, folder: Folder) -> None:
        """The process of a job has ended: what becomes of the job?"""
        ended_for, result = self._ending.get(job.id), folder.read_result()
        if job.wanted == "deleted":
            self._reserve.use(lambda: self.jobs.change_state(job.id, ("running",), "cancelled"))
            self._reserve.use(lambda: self.jobs.delete(job.id))
            self._forget(job.id)
            return
        if ended_for is not None and result is None:
            self.jobs.change_state(job.id, ("running",), "failed", ended_for)
        elif job.wanted == "cancelled":
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

    def _look_at(self, job: JobRow, folder: Folder) -> None:
        """Whether the process of a running job is well, and its user still allowed."""
        fault, must_end = self._watch.look(job.id, folder, self.board.waits(job.id))
        self._tell(job.id, fault)
        if fault is not None and must_end:
            self._ending[job.id] = fault
            self.executor.kill(job.id, folder)
        elif not job.wanted and not self._may_run(job.owner):
            self.jobs.request(job.id, "paused")

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
                self.board.take_progress(job, body)
            self._publish(job.id, event[1])

    def _publish_status(self, job: str) -> None:
        try:
            row = self.jobs.get(job)
        except WireError:
            return  # deleted
        status = self.board.describe(row)
        self.board.note(row)
        if status.state in ENDED:
            for name in EVENTS:
                self._stamps.pop((job, name), None)
            if status.state == "done":
                self.board.forget_progress(job)
        self._publish(job, framing.encode(StateChanged(job=job, status=status)))

    def wait(self, seconds: float) -> None:
        """Sleeps until somebody asks something of a job, at most ``seconds``."""
        self._awake.wait(seconds)
        self._awake.clear()

    def keep_reserve(self) -> bool:
        """Sees to it that there is room for cancelling and deleting on a full disk; whether there
        is."""
        return self._reserve.keep()

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
