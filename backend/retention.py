"""What is kept and for how long: ended jobs go by age, then, beyond the size, the oldest first;
then bytes without a job."""

import logging
import time
from contextlib import suppress
from pathlib import Path

from backend.jobs.job_folder import Folder
from backend.jobs.job_table import JobRow, JobTable
from backend.settings import ServiceSettings
from backend.store.content_store import Store, read_packed_files
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import ENDED

# bytes used within the last hour are left alone: their job may not be submitted yet
_YOUNG_S = 3600.0
_PARTIAL_DAYS = 7.0
_log = logging.getLogger("restage4d.retention")


def sweep(jobs: JobTable, store: Store, folders: Path, settings: ServiceSettings) -> None:
    """Deletes what is too old or too much. Nothing that a queued, running or paused job needs is
    touched."""
    now = time.time()

    def forget(job: JobRow) -> None:
        if jobs.delete(job.id):
            Folder(folders / job.id).remove()
            for content in _add_frames(store, job.contents) - _list_needed(jobs, store):
                store.remove(content)
            _log.info("deleted job %s by retention", job.id)

    ended = sorted(jobs.list(states=ENDED), key=lambda job: job.finished or job.created)
    limit = settings.keep_gigabytes * 1e9
    for job in ended:
        if (
            now - (job.finished or job.created) > settings.keep_days * 86400
            or _collect(store, _list_needed(jobs, store), now, settings.keep_days * 86400, limit)
            > limit
        ):
            forget(job)
    _collect(store, _list_needed(jobs, store), now, settings.keep_days * 86400, limit)
    for path in store.partial.iterdir():
        if now - path.stat().st_mtime > _PARTIAL_DAYS * 86400:
            path.unlink(missing_ok=True)
    known = {job.id for job in jobs.list()}
    if folders.is_dir():
        for folder in folders.iterdir():
            if folder.name not in known and not Folder(folder).is_running():
                Folder(folder).remove()


def _add_frames(store: Store, contents: set[str]) -> set[str]:
    """And the frames of packed folders."""
    found = set(contents)
    for content in contents:
        with suppress(WireError):
            found |= {file.content for file in read_packed_files(store, content) or []}
    return found


def _list_needed(jobs: JobTable, store: Store) -> set[str]:
    """Everything that some job needs or made."""
    return _add_frames(store, set().union(*(job.contents for job in jobs.list())))


def _collect(store: Store, needed: set[str], now: float, keep_s: float, limit: float) -> int:
    """Removes bytes that no job names, once they are old, or not quite new where there is too much.
    Returns what is left."""
    contents = store.list_contents()
    total = sum(stat.st_size for _, stat in contents)
    for content, stat in sorted(contents, key=lambda c: c[1].st_mtime):
        if content not in needed and now - stat.st_mtime > (_YOUNG_S if total > limit else keep_s):
            store.remove(content)
            total -= stat.st_size
    return total
