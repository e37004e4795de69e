"""What is kept and for how long: ended jobs go by age, then, beyond the size, the oldest first;
then bytes without a job.

Ages are counted by the time that the service itself saw pass, never by dates: a computer's clock
may be wrong by years and be put right, and then everything would seem old at once.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from backend.jobs.job_folder import Folder
from backend.jobs.job_rows import JobRow, list_inputs
from backend.jobs.job_table import JobTable
from backend.logs import note
from backend.settings import ServiceSettings
from backend.store.content_store import Store, read_packed_files
from restage4d.io.atomic import replacing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import ENDED

DAY_S = 86400.0
# what came or ended within the last hour is left alone, however little room there is: its job may
# not be submitted yet, its puppet not fetched
_YOUNG_S = 3600.0
_PARTIAL_S = 7 * DAY_S
# at most so many go in one sweep, so that there is time to stop a service that is set up wrong
_MOST_JOBS = 20
_MOST_CONTENTS = 2000
_log = logging.getLogger("restage4d.retention")


class _Ledger(msgspec.Struct):
    """What a service remembers of earlier sweeps."""

    seconds: float = 0.0  # that services have seen pass
    wall: float | None = None  # seconds since 1970, at the last sweep
    # name -> what changes with it (a date), and ``seconds`` when it was first seen so
    seen: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)


class Retention:
    """Sweeps a service's folder.

    Args:
        jobs, store, folders: the table of jobs, the store, the folder of their folders.
        ledger: the file in which ages are kept between sweeps.
        settings: what is kept.
        wall, monotonic: clocks in seconds: the date, and one that cannot be set.
    """

    def __init__(
        self,
        jobs: JobTable,
        store: Store,
        folders: Path,
        ledger: Path,
        settings: ServiceSettings,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs, self.store, self.folders, self.path = jobs, store, folders, ledger
        self.keep_s, self.limit = settings.keep_days * DAY_S, settings.keep_gigabytes * 1e9
        self._wall, self._monotonic = wall, monotonic
        self._last: float | None = None  # monotonic, at this process's last sweep
        self._ledger = _read_ledger(ledger)
        # frames of packed folders by their content, which never changes: each is opened once
        self._packed: dict[str, set[str]] = {}

    def sweep(self) -> None:
        """Deletes what is too old or too much. Nothing that a queued, running or paused job needs
        is touched.

        Raises:
            InputError: the ledger cannot be written; then nothing is deleted.
        """
        self._count_time()
        jobs = self.jobs.list()
        contents = self.store.list_contents()
        partial = [path for path in self.store.partial.iterdir() if path.is_file()]
        known = {job.id for job in jobs}
        orphans = self.folders.iterdir() if self.folders.is_dir() else ()
        orphans = [folder for folder in orphans if folder.name not in known]
        ended = [job for job in jobs if job.state in ENDED]
        self._note(
            {f"job {job.id}": job.finished or job.created for job in ended}
            | {f"content {content}": stat.st_mtime for content, stat in contents}
            | {f"partial {path.name}": path.stat().st_mtime for path in partial}
            | {f"folder {path.name}": 0.0 for path in orphans}
        )
        self.empty_trash()
        self._delete_jobs_and_contents(jobs, ended, {c: stat.st_size for c, stat in contents})
        self.empty_trash()
        for path in partial:
            if self._age(f"partial {path.name}") > _PARTIAL_S:
                path.unlink(missing_ok=True)
        for path in orphans:
            if self._age(f"folder {path.name}") > self.keep_s and not Folder(path).is_running():
                Folder(path).remove()

    def _count_time(self) -> None:
        """Adds the time since the last sweep: within one process by the clock that cannot be set,
        from one process to the next by the date, but one day at most."""
        wall, monotonic, ledger = self._wall(), self._monotonic(), self._ledger
        gone = wall - (wall if ledger.wall is None else ledger.wall)
        passed = (
            min(max(gone, 0.0), DAY_S) if self._last is None else max(monotonic - self._last, 0.0)
        )
        if abs(gone - passed) > DAY_S:
            _log.warning(
                "the date went from one sweep to the next by %.1f days; %.1f are counted for the "
                "age of jobs and uploads",
                gone / DAY_S,
                passed / DAY_S,
            )
        ledger.seconds += passed
        ledger.wall, self._last = wall, monotonic

    def _note(self, there: dict[str, float]) -> None:
        """Remembers since when everything has been as it is, and writes it down."""
        ledger = self._ledger
        before, ledger.seen = ledger.seen, {}
        for name, stamp in there.items():
            known = before.get(name)
            ledger.seen[name] = known if known and known[0] == stamp else (stamp, ledger.seconds)
        with replacing(self.path) as temporary:
            temporary.write_bytes(msgspec.json.encode(ledger))

    def _age(self, name: str) -> float:
        """Seconds that this has been as it is."""
        return self._ledger.seconds - self._ledger.seen[name][1]

    def _delete_jobs_and_contents(
        self, jobs: list[JobRow], ended: list[JobRow], sizes: dict[str, int]
    ) -> None:
        needs = {job.id: self._add_frames(job) for job in jobs}
        named = {content for job in jobs for content in list_inputs(job.spec)}
        self._packed = {c: self._packed[c] for c in named if c in self._packed}
        users = Counter(content for contents in needs.values() for content in contents)
        ages = {content: self._age(f"content {content}") for content in sizes}
        oldest = sorted(sizes, key=lambda content: -ages[content])
        total, removed = sum(sizes.values()), []

        def collect() -> None:
            nonlocal total
            for content in oldest:
                if len(removed) >= _MOST_CONTENTS:
                    return
                limit = _YOUNG_S if total > self.limit else self.keep_s
                if content in sizes and not users[content] and ages[content] > limit:
                    self.store.remove(content)
                    total -= sizes.pop(content)
                    removed.append(f"content {content}")

        collect()
        deleted = 0
        for job in sorted(ended, key=lambda job: (-self._age(f"job {job.id}"), job.finished or 0)):
            if deleted == _MOST_JOBS:
                break
            age = self._age(f"job {job.id}")
            if age > self.keep_s or (total > self.limit and age > _YOUNG_S):
                if not self.jobs.delete(job.id, ENDED):
                    continue  # resumed meanwhile
                deleted += 1
                note("retention", "delete", job.id)
                users.subtract(needs[job.id])
                ages.update(dict.fromkeys(needs[job.id] & ages.keys(), age))
                collect()
                _log.info("deleted job %s by retention", job.id)
        self.jobs.forget(removed)

    def empty_trash(self) -> None:
        """Removes the files of deleted jobs: their folders, and the contents that only they needed
        or made. Raises `sqlite3.Error`, OSError."""
        gone, kept = [], []
        for name, since in self.jobs.list_trash():
            kind, _, id = name.partition(" ")
            if kind == "job":
                if Folder(self.folders / id).is_running():
                    continue  # its process is just being ended
                Folder(self.folders / id).remove()
                gone.append(name)
            elif self.jobs.is_needed(id) or self._came_after(id, since):
                kept.append(name)
            else:
                self.store.remove(id)
                gone.append(name)
        if gone or kept:
            self.jobs.forget(gone, kept)

    def _came_after(self, content: str, since: float | None) -> bool:
        """Whether a content was brought again after a date."""
        try:
            return since is not None and self.store.path(content).stat().st_mtime > since
        except FileNotFoundError:
            return False

    def _add_frames(self, job: JobRow) -> set[str]:
        """What a job needs or made, and the frames of the folders that it was given."""
        found = job.contents
        for content in list_inputs(job.spec):
            if content not in self._packed:
                with suppress(WireError):  # not here: it may be brought again
                    files = read_packed_files(self.store, content) or []
                    self._packed[content] = {file.content for file in files}
            found |= self._packed.get(content, set())
        return found


def _read_ledger(path: Path) -> _Ledger:
    """A new one where there is none or it cannot be read: then all ages begin anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Ledger)
    except (OSError, msgspec.MsgspecError):
        return _Ledger()
