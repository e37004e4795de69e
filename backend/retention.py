"""What is kept and for how long: ended jobs go by age, then, beyond the size, the oldest first; then bytes without a job."""

import logging
import time
from contextlib import suppress
from pathlib import Path

from backend.folder import Folder
from backend.jobs import Jobs
from backend.settings import Settings
from backend.store import Store, packed_files
from restage4d.wire.errors import WireError
from restage4d.wire.messages import ENDED

_YOUNG_S = 3600.0  # bytes used within the last hour are left alone: their job may not be submitted yet
_PARTIAL_DAYS = 7.0
_log = logging.getLogger("restage4d.retention")


def sweep(jobs: Jobs, store: Store, folders: Path, settings: Settings) -> None:
    """Deletes what is too old or too much. Nothing that a queued, running or paused job needs is touched."""
    now = time.time()
    ended = sorted(jobs.list(states=ENDED), key=lambda job: job.finished or job.created)

    def forget(job) -> None:
        if jobs.forget(job.id):
            Folder(folders / job.id).remove()
            _log.info("deleted job %s by retention", job.id)

    for job in ended:
        if now - (job.finished or job.created) > settings.keep_days * 86400:
            forget(job)
    limit = settings.keep_gigabytes * 1e9
    while True:
        ended = sorted(jobs.list(states=ENDED), key=lambda job: job.finished or job.created)
        named = set().union(*(job.contents for job in jobs.list()))
        for content in list(named):
            with suppress(WireError):
                named |= {file.content for file in packed_files(store, content) or []}
        total = _collect(store, named, now, settings.keep_days * 86400, limit)
        if total <= limit or not ended:
            break
        forget(ended[0])
    for path in store.partial.iterdir():
        if now - path.stat().st_mtime > _PARTIAL_DAYS * 86400:
            path.unlink(missing_ok=True)
    known = {job.id for job in jobs.list()}
    if folders.is_dir():
        for folder in folders.iterdir():
            if folder.name not in known and not Folder(folder).running():
                Folder(folder).remove()


def _collect(store: Store, named: set[str], now: float, keep_s: float, limit: float) -> int:
    """Removes bytes that no job names, once they are old, or not quite new where there is too much. Returns what is left."""
    contents = store.contents()
    total = sum(stat.st_size for _, stat in contents)
    for content, stat in sorted(contents, key=lambda c: c[1].st_atime):
        idle = now - max(stat.st_atime, stat.st_mtime)
        if content not in named and idle > (_YOUNG_S if total > limit else keep_s):
            store.remove(content)
            total -= stat.st_size
    return total
