# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's link to the backend, without Blender: requests that return at once, threads that do
them.

The interface's thread calls the requests and `Session.drain`, and reads `backend`, `shot`, `job`
and `audition` (see `state`). Threads never write those: they put changes into a queue (`changes`),
and `drain` applies them. So the interface never waits, and nothing changes while it draws. The
threads: `keeping` (control), `errands` (work, select), `following` (one per job).
"""

from pathlib import Path

from .connection import Keeper, Link
from .job_watcher import Follower
from .models import (
    Backend,
    Fault,
    Job,
    Order,
    Preparation,
    Shot,
)
from .requests import Errands
from .update_queue import Changes


class Session:
    """One backend, one shot, one restaging and one audition of driving videos at a time.

    Made in the interface's thread, closed with `close`.
    """

    shot: Shot | None
    job: Job | None
    audition: Job | None
    preparation: Preparation | None

    def __init__(self, link: Link) -> None:
        self.shot = self.job = self.audition = self.preparation = None
        self.changes = Changes()
        self._keeper = Keeper(link, self.changes, self._failed)
        self._follower = Follower(self._keeper, self.changes)
        self._errands = Errands(self._keeper, self._follower, self.changes, self._failed)

    @property
    def backend(self) -> Backend:
        return self._keeper.backend

    def drain(self, seconds: float = 0.004) -> bool:
        """Applies what the threads found, for at most ``seconds``; True where something changed."""
        return self.changes.drain(seconds)

    def close(self) -> None:
        """Ends the threads; the backend and its jobs go on. Waits for at most a moment."""
        self.changes.ending.set()
        self._keeper.end()
        self._errands.end()

    def use(self, link: Link) -> None:
        """Another backend."""
        self._keeper.use(link)

    def start(self) -> None:
        """Starts the backend."""
        self._keeper.start()

    def stop(self) -> None:
        """Stops the backend; its jobs go on with its next start."""
        self._keeper.stop()

    def open_shot(
        self,
        path: Path,
        frames: tuple[int, int] | None,
        longer_side: int,
        place: dict[str, tuple[float, ...]],
    ) -> Shot:
        """Sends a video, so that it is there when it is needed, and looks at its first frame and
        the subject in it."""
        self.shot = Shot(path, frames, longer_side, place)
        self._errands.send_shot(self.shot)
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
            self._errands.look(self.shot, place)

    def prepare(self, order: Order) -> Preparation:
        """Asks what the order's provider would be asked for, and what a person must know before.
        Nothing is made or paid."""
        assert self.shot is not None
        self.preparation = Preparation(order.provider, order.prompt)
        self._errands.prepare(self.shot, order, self.preparation)
        return self.preparation

    def restage(self, order: Order) -> Job:
        """Hands in a restaging of the shot. Its id is known at once and stays the same whatever
        breaks."""
        self.job = self._handed_in("restage", order)
        return self.job

    def make_driving(self, order: Order) -> Job:
        """Hands in the making of driving videos alone, to look at."""
        self.audition = self._handed_in("driving", order)
        return self.audition

    def attach(self, job: str, prompt: str = "") -> Job:
        """Follows a restaging that was handed in before."""
        self.job = self._attached("restage", job, prompt)
        return self.job

    def attach_driving(self, job: str, prompt: str = "") -> Job:
        """Follows driving videos that were asked for before."""
        self.audition = self._attached("driving", job, prompt)
        return self.audition

    def forget(self) -> None:
        """Follows no restaging any more; it goes on."""
        if self.job is not None:
            self._follower.leave(self.job)
        self.job = None

    def forget_driving(self) -> None:
        """The same of driving videos."""
        if self.audition is not None:
            self._follower.leave(self.audition)
        self.audition = None

    def cancel(self, job: Job) -> None:
        self._keeper.tell(job, "cancel", lambda status: self._follower.apply(job, status))

    def pause(self, job: Job) -> None:
        self._keeper.tell(job, "pause", lambda status: self._follower.apply(job, status))

    def resume(self, job: Job) -> None:
        def resumed(status: object) -> None:
            self._follower.apply(job, status)
            self._follower.follow(job)

        self._keeper.tell(job, "resume", resumed)

    def fetch(self, job: Job, folder: Path) -> None:
        """Fetches what came of a finished job into ``folder``; `Job.puppet` or `Job.candidates`
        then tell where it is."""
        job.fetching = True
        self._errands.fetch(job, folder, lambda: job in (self.job, self.audition))

    def _handed_in(self, kind: str, order: Order) -> Job:
        from restage4d.protocol.framing import new_id

        assert self.shot is not None
        job = Job(new_id(), order.prompt, kind=kind)
        self._errands.submit(self.shot, job, order)
        return job

    def _attached(self, kind: str, job: str, prompt: str) -> Job:
        made = Job(job, prompt, state="queued", stage="Looking for it", kind=kind)
        self._follower.follow(made)
        return made

    def _failed(self, error: Exception) -> None:
        self.changes.put(self.job or self.backend, fault=Fault.of(error))
