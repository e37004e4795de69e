"""How jobs stand, as clients are told: what the table says, and what their processes said last."""

import os
from contextlib import suppress
from pathlib import Path

from backend.jobs.history import History
from backend.jobs.job_folder import Folder, to_zmq_frames
from backend.jobs.job_rows import JobRow
from backend.jobs.job_table import JobTable
from backend.logs import hide_paths
from backend.network.keys import LOCAL
from restage4d.progress import TaskId
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import ENDED, Fault, JobProgress, JobStatus


class StatusBoard:
    """How all jobs stand.

    Args:
        jobs: the table.
        folders: where each job has its folder.
    """

    def __init__(self, jobs: JobTable, folders: Path) -> None:
        self.jobs, self.folders, self._place = jobs, folders, str(folders)
        self._history = History()
        self._progress: dict[str, JobProgress] = {}
        # what stands in the way of running jobs, as a full disk does
        self._blocked: dict[str, Fault] = {}
        # of jobs that ended: their revision, and whether they left a preview
        self._previews: dict[str, tuple[int, bool]] = {}

    def describe(self, job: JobRow, ahead: dict[str, int] | None = None) -> JobStatus:
        """A job for a client."""
        ended = job.state in ("done", "queued")
        progress = None if ended else self._progress.get(job.id) or self._read_progress(job)
        error = job.error or (self._blocked.get(job.id) if job.state == "running" else None)
        if error is not None and job.owner != LOCAL:
            error = Fault(
                code=error.code, what=hide_paths(error.what), remedy=hide_paths(error.remedy)
            )
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
            error=error,
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
            has_preview=self._has_preview(job),
            artefacts=job.artefacts,
            user=job.owner,
            priority=job.spec.priority,
        )

    def waits(self, job: str) -> bool:
        """Whether a running job waits for the fit before its own."""
        progress = self._progress.get(job)
        return progress is not None and progress.stage == TaskId.WAIT.label

    def take_progress(self, job: JobRow, progress: JobProgress) -> None:
        self._progress[job.id] = progress
        self.note(job)

    def forget_progress(self, job: str) -> None:
        self._progress.pop(job, None)

    def forget(self, job: str) -> None:
        """A job that was deleted."""
        self.forget_progress(job)
        self._blocked.pop(job, None)
        self._previews.pop(job, None)
        self._history.forget(job)

    def find_blocked(self, job: str) -> Fault | None:
        return self._blocked.get(job)

    def set_blocked(self, job: str, fault: Fault | None) -> bool:
        """What stands in the way of a running job now; whether that is news."""
        if self._blocked.get(job) == fault:
            return False
        if fault is None:
            del self._blocked[job]
        else:
            self._blocked[job] = fault
        return True

    def note(self, job: JobRow) -> None:
        """Writes into the job's history how it stands now."""
        with suppress(OSError):  # a full disk: the history has a gap
            self._history.note(Folder(self.folders / job.id), self.describe(job, {}))

    def _has_preview(self, job: JobRow) -> bool:
        """Of an ended job it is looked up once: a page of a list has two hundred."""
        revision, there = self._previews.get(job.id, (-1, False))
        if job.state in ENDED and revision == job.revision:
            return there
        # text, as a `Path` costs five times as much as the look itself
        there = os.path.exists(f"{self._place}{os.sep}{job.id}{os.sep}preview")
        if job.state in ENDED:
            self._previews[job.id] = job.revision, there
        return there

    def _read_progress(self, job: JobRow) -> JobProgress | None:
        if job.attempts == 0:
            return None
        event = Folder(self.folders / job.id).read_event("progress")
        with suppress(WireError):
            if event:
                self._progress[job.id] = framing.decode(to_zmq_frames(event), framing.EVENTS).body
        return self._progress.get(job.id)
