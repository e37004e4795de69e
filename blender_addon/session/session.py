# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's link to the backend, without Blender: requests that return at once, threads that do
them.

The interface's thread calls the requests and `Session.drain`, and reads `backend`, `shot`, `job`
and `driving_job` (see `models`). Threads never write those: they put updates into a queue
(`updates`), and `drain` applies them. So the interface never waits, and nothing changes while it
draws. The threads: `connection` (control), `requests` (work, select), `job_watcher` (one per job).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .connection import BackendConnection, Link
from .estimators import EstimatorFetching
from .job_watcher import JobWatcher
from .models import (
    Backend,
    Fault,
    FrameLook,
    Order,
    Preparation,
    Shot,
    WatchedJob,
)
from .requests import Requests
from .update_queue import UpdateQueue

if TYPE_CHECKING:
    from restage4d.protocol.messages import JobStatus


class Session:
    """One backend, one shot, one restaging and one driving_job of driving videos at a time.

    Made in the interface's thread, closed with `close`.
    """

    shot: Shot | None
    job: WatchedJob | None
    driving_job: WatchedJob | None
    preparation: Preparation | None
    frame_look: FrameLook | None

    def __init__(self, link: Link) -> None:
        self.shot = self.job = self.driving_job = self.preparation = self.frame_look = None
        self.updates = UpdateQueue()
        self.estimators = EstimatorFetching(self.updates)
        self._connection = BackendConnection(link, self.updates, self._report)
        self._watcher = JobWatcher(self._connection, self.updates)
        self._requests = Requests(self._connection, self._watcher, self.updates, self._report)

    @property
    def backend(self) -> Backend:
        return self._connection.backend

    def drain(self, seconds: float = 0.004) -> bool:
        """Applies what the threads found, for at most ``seconds``; True where something changed."""
        return self.updates.drain(seconds)

    def close(self) -> None:
        """Ends the threads; the backend and its jobs go on. Waits for at most a moment."""
        self.updates.ending.set()
        self.estimators.end()
        self._connection.end()
        self._requests.end()

    def use(self, link: Link) -> None:
        """Another backend."""
        self._connection.use(link)

    def start(self) -> None:
        """Starts the backend."""
        self._connection.start()

    def stop(self) -> None:
        """Stops the backend; its jobs go on with its next start."""
        self._connection.stop()

    def open_shot(
        self,
        path: Path,
        frames: tuple[int, int] | None,
        longer_side: int,
        place: dict[str, tuple[float, ...]],
    ) -> Shot:
        """Sends a video, so that it is there when it is needed, and looks at its first frame and
        the subject in it."""
        self.shot, self.frame_look = Shot(path, frames, longer_side, place), None
        self._requests.send_shot(self.shot)
        return self.shot

    def select(self, place: dict[str, tuple[float, ...]]) -> None:
        """Asks for the subject's mask in the first frame; {}: the subject is what moves."""
        if self.shot is not None and self.shot.content:
            self.shot.place, self.shot.mask, self.shot.fault, self.shot.phase = (
                place,
                None,
                None,
                "selecting",
            )
            self._requests.look(self.shot, place)

    def look_at_frame(self, number: int, place: dict[str, tuple[float, ...]]) -> FrameLook | None:
        """Asks for a frame of the shot's video, counted from 0, and the subject's mask at a place
        in it; {}: the frame alone."""
        if self.shot is None or not self.shot.content:
            return None
        before, look = self.frame_look, FrameLook(number, place)
        if before is not None and before.number == number:
            look.picture = before.picture
        self.frame_look = look
        self._requests.look_at_frame(self.shot, look)
        return look

    def prepare(self, order: Order) -> Preparation:
        """Asks what the order's provider would be asked for, and what a person must know before.
        Nothing is made or paid."""
        assert self.shot is not None
        self.preparation = Preparation(order.provider, order.prompt)
        self._requests.prepare(self.shot, order, self.preparation)
        return self.preparation

    def restage(self, order: Order) -> WatchedJob:
        """Hands in a restaging of the shot. Its id is known at once and stays the same whatever
        breaks."""
        self.job = self._submit("restage", order)
        return self.job

    def make_driving(self, order: Order) -> WatchedJob:
        """Hands in the making of driving videos alone, to look at."""
        self.driving_job = self._submit("driving", order)
        return self.driving_job

    def attach(self, job: str, prompt: str = "") -> WatchedJob:
        """Follows a restaging that was handed in before."""
        self.job = self._attach("restage", job, prompt)
        return self.job

    def attach_driving(self, job: str, prompt: str = "") -> WatchedJob:
        """Follows driving videos that were asked for before."""
        self.driving_job = self._attach("driving", job, prompt)
        return self.driving_job

    def forget(self) -> None:
        """Follows no restaging any more; it goes on."""
        if self.job is not None:
            self._watcher.unwatch(self.job)
        self.job = None

    def forget_driving(self) -> None:
        """The same of driving videos."""
        if self.driving_job is not None:
            self._watcher.unwatch(self.driving_job)
        self.driving_job = None

    def cancel(self, job: WatchedJob) -> None:
        self._connection.send_command(
            job, "cancel", lambda status: self._watcher.apply(job, status)
        )

    def pause(self, job: WatchedJob) -> None:
        self._connection.send_command(job, "pause", lambda status: self._watcher.apply(job, status))

    def resume(self, job: WatchedJob) -> None:
        def watch_again(status: "JobStatus") -> None:
            self._watcher.apply(job, status)
            self._watcher.watch(job)

        self._connection.send_command(job, "resume", watch_again)

    def fetch(self, job: WatchedJob, folder: Path) -> None:
        """Fetches what came of a finished job into ``folder``; its `puppet` or `candidates` then
        say where it is."""
        job.fetching = True
        self._requests.fetch(job, folder, lambda: job in (self.job, self.driving_job))

    def _submit(self, kind: str, order: Order) -> WatchedJob:
        from restage4d.protocol.framing import new_id

        assert self.shot is not None
        job = WatchedJob(new_id(), order.prompt, kind=kind)
        self._requests.submit(self.shot, job, order)
        return job

    def _attach(self, kind: str, job: str, prompt: str) -> WatchedJob:
        made = WatchedJob(job, prompt, state="queued", stage="Looking for it", kind=kind)
        self._watcher.watch(made)
        return made

    def _report(self, error: Exception) -> None:
        self.updates.put(self.job or self.backend, fault=Fault.of(error))
