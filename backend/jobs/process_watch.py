"""Looks at the processes of running jobs: who is stopped, stalled, too long or too large."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from backend.jobs.job_folder import Folder
from restage4d.protocol.messages import Fault

_EVERY_S = 2.0  # a job is looked at
_STALLED_S = 300.0  # without computing anything


@dataclass
class _Seen:
    """What is known of one process; ``pid`` is 0 on another machine."""

    pid: int
    since: float
    looked: float = float("-inf")
    computed: float = -1.0  # seconds of CPU time
    moved: float = 0.0  # when that last grew
    fault: Fault | None = None
    must_end: bool = False


class ProcessWatch:
    """The processes of jobs. What they take and whether they stand is seen on this machine only.

    Args:
        hours: that one may take; 0: any.
        gigabytes: of memory, its children's included; 0: any.
        monotonic: a clock in seconds that cannot be set.
    """

    def __init__(
        self, hours: float, gigabytes: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.hours, self.gigabytes, self._monotonic = hours, gigabytes, monotonic
        self._seen: dict[str, _Seen] = {}

    def look(self, job: str, folder: Folder, waits: bool = False) -> tuple[Fault | None, bool]:
        """What is wrong with a job's process, if anything, and whether it must be ended for it. The
        time in which it ``waits`` for another one does not count."""
        now = self._monotonic()
        seen = self._seen.get(job)
        if seen is not None and now - seen.looked < _EVERY_S:
            return seen.fault, seen.must_end
        pid = folder.read_pid() or 0  # on a cluster the process is elsewhere
        if seen is None or seen.pid != pid:
            seen = self._seen[job] = _Seen(pid, now, moved=now)
        if waits:
            seen.since += now - max(seen.looked, seen.since)
        seen.looked = now
        if self.hours and now - seen.since > 3600 * self.hours:
            seen.fault = _too_much(f"took more than {self.hours:g} hours", "job_hours")
            seen.must_end = True
        elif pid:
            with suppress(psutil.Error):
                seen.fault, seen.must_end = self._judge(seen, psutil.Process(pid), now)
        return seen.fault, seen.must_end

    def forget(self, job: str) -> None:
        self._seen.pop(job, None)

    def _judge(self, seen: _Seen, process: psutil.Process, now: float) -> tuple[Fault | None, bool]:
        used, computed = 0, 0.0
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                used += one.memory_info().rss
                computed += sum(one.cpu_times()[:2])
        if self.gigabytes and used > self.gigabytes * 1e9:
            what = f"took {used / 1e9:.1f} GB of memory; {self.gigabytes:g} are allowed"
            return _too_much(what, "job_gigabytes"), True
        if process.status() == psutil.STATUS_STOPPED:
            return _standing("was stopped from outside"), False
        if computed > seen.computed:
            seen.computed, seen.moved = computed, now
        if now - seen.moved > _STALLED_S:
            minutes = (now - seen.moved) / 60
            return _standing(f"has computed nothing for {minutes:.0f} minutes"), False
        return None, False


def _too_much(what: str, setting: str) -> Fault:
    return Fault(
        code="limit",
        what=f"The job {what}.",
        remedy="Try the draft quality, a smaller picture or fewer frames; the service's owner sets "
        f"{setting}.",
    )


def _standing(what: str) -> Fault:
    return Fault(
        code="crashed",
        what=f"The job's process {what}.",
        remedy="Let it go on (kill -CONT), or cancel the job.",
    )
