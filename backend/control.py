"""What the service does for each request on the control channel: small, answered at once."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from backend.jobs.executors import Executor
from backend.jobs.job_table import JobTable, find_job
from backend.jobs.supervisor import Supervisor
from backend.logs import note
from backend.network.keys import LOCAL
from backend.settings import ServiceSettings
from restage4d import __version__
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    HEADER_LIMIT,
    PROTOCOL,
    Cancel,
    Delete,
    Done,
    Hello,
    List,
    Message,
    Pause,
    ProviderInfo,
    Resume,
    Shutdown,
    Status,
    Welcome,
)
from restage4d.protocol.messages import Jobs as JobList

_MOST_LISTED = 200  # jobs in one answer
_log = logging.getLogger("restage4d.service")


@dataclass(frozen=True)
class Announced:
    """What `Welcome` tells of the service, found out when it starts.

    Attributes:
        catalogue: all providers.
        refiner: who refines prompts.
        providers: names of those that can work now, by kind.
    """

    catalogue: list[ProviderInfo]
    refiner: str
    providers: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        kinds = ("driving", "masks", "cameras", "depth", "tracks")
        found = {k: [p.name for p in self.catalogue if p.kind == k and not p.needs] for k in kinds}
        object.__setattr__(self, "providers", found)


class ControlHandlers:
    """Requests to answers, called by one thread.

    Args:
        jobs, supervisor, executor, settings: of the service.
        announced: what `Welcome` tells.
        is_owner: whether a user sees and ends everybody's jobs.
        shutdown: ends the service.
    """

    def __init__(
        self,
        jobs: JobTable,
        supervisor: Supervisor,
        executor: Executor,
        settings: ServiceSettings,
        announced: Announced,
        is_owner: Callable[[str], bool],
        shutdown: Callable[[], None],
    ) -> None:
        self.jobs, self.supervisor, self.executor = jobs, supervisor, executor
        self.settings, self.announced = settings, announced
        self.is_owner, self.shutdown = is_owner, shutdown
        self._devices = executor.list_devices()

    def _list_jobs(self, user: str, asked: List) -> JobList:
        """A page of jobs that fits into a header."""
        if asked.everyone and not self.is_owner(user):
            raise WireError("Only an owner sees everybody's jobs.", "Ask the owner.", "refused")
        whose = None if asked.everyone else user
        ahead, found, size = self.jobs.count_ahead(), [], 0
        older = find_job(self.jobs, self.is_owner, asked.before, user).id if asked.before else None
        for job in self.jobs.list(whose, before=older, limit=_MOST_LISTED + 1):
            status = self.supervisor.board.describe(job, ahead)
            size += len(msgspec.msgpack.encode(status))
            if found and (size > HEADER_LIMIT // 2 or len(found) == _MOST_LISTED):
                return JobList(jobs=found, more=True)
            found.append(status)
        return JobList(jobs=found)

    def handle(self, user: str, body: Message) -> tuple[Message, list]:
        """The answer to a request on the control channel, at once. Raises `WireError` and whatever
        else."""
        match body:
            case Hello():
                _log.info("hello from %s (%s)", user, body.client)
                return self._welcome(user), []
            case List():
                return self._list_jobs(user, body), []
            case Shutdown():
                if user != LOCAL:
                    raise WireError(
                        "The service can be ended from its own machine only.",
                        "Ask its owner.",
                        "refused",
                    )
                note(user, "shutdown")
                threading.Timer(0.1, self.shutdown).start()
                return Done(), []
            case Delete():
                note(user, "delete", body.job)
                self.supervisor.delete(find_job(self.jobs, self.is_owner, body.job, user))
                return Done(), []
            case Cancel() | Pause() | Resume() | Status():
                job = find_job(self.jobs, self.is_owner, body.job, user)
                if not isinstance(body, Status):
                    note(user, type(body).__name__.lower(), job.id)
                    do = {
                        Cancel: self.supervisor.cancel,
                        Pause: self.supervisor.pause,
                        Resume: self.supervisor.resume,
                    }
                    do[type(body)](job)
                return self.supervisor.board.describe(self.jobs.get(body.job)), []
        raise AssertionError(body)

    def _welcome(self, user: str) -> Welcome:
        # "cuda:0", "cpu:1", ...
        busy = {job.device for job in self.jobs.list(states=("running",))}
        devices = [
            msgspec.structs.replace(
                d, busy=any(b == f"{d.kind}:{i}" or d.kind == "cpu" == b[:3] for b in busy)
            )
            for i, d in enumerate(self._devices)
        ]
        return Welcome(
            version=__version__,
            protocol=PROTOCOL,
            pid=os.getpid(),
            executor=self.executor.name,
            devices=devices,
            providers=self.announced.providers,
            limits=self.settings.limits,
            user=user,
            owner=self.is_owner(user),
            catalogue=self.announced.catalogue,
            refiner=self.announced.refiner,
        )
