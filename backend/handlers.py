"""What the service does for each request of the protocol, apart from the sockets it came
through."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec
import numpy as np

from backend.jobs.executors import Executor
from backend.jobs.job_folder import to_zmq_frames
from backend.jobs.job_table import JobRow, JobTable
from backend.jobs.supervisor import Supervisor
from backend.keys import LOCAL
from backend.sandbox import Sandbox
from backend.settings import ServiceSettings
from backend.store.content_store import (
    Store,
    disk_full_error,
    is_disk_full,
    read_packed_files,
)
from backend.store.uploads import Uploads, read_chunk
from restage4d import __version__
from restage4d.defaults import DRAFT_DRIVER
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import (
    CHUNK,
    HEADER_LIMIT,
    PROTOCOL,
    Cancel,
    Chunk,
    Delete,
    Done,
    Error,
    Fetch,
    FetchGaussians,
    FetchPreview,
    Hello,
    List,
    Look,
    Message,
    Pause,
    Prepare,
    ProviderInfo,
    Render,
    Resume,
    Shutdown,
    Status,
    Submit,
    UploadBegin,
    UploadChunk,
    Welcome,
)
from restage4d.protocol.messages import Jobs as JobList
from restage4d.protocol.transfer import PackedFile
from restage4d.reconstruct.config import preset, with_settings

_DRAWS_WAITING = 32
_MOST_LISTED = 200  # jobs in one answer
_log = logging.getLogger("restage4d.service")


class Answer(Protocol):
    """Sends the answer to one request."""

    def __call__(self, body: Message | WireError, arrays: list | None = None, /) -> None: ...


class Handlers:
    """Requests to answers. `handle_control` is called by one thread, `handle_work` by another.

    Args:
        store, jobs, supervisor, executor, settings: of the service.
        catalogue, refiner: what `Welcome` tells.
        shutdown: ends the service.
    """

    def __init__(
        self,
        store: Store,
        jobs: JobTable,
        supervisor: Supervisor,
        executor: Executor,
        settings: ServiceSettings,
        catalogue: list[ProviderInfo],
        refiner: str,
        shutdown: Callable[[], None],
    ) -> None:
        self.store, self.jobs, self.supervisor, self.executor = store, jobs, supervisor, executor
        self.settings, self.shutdown, self.catalogue, self.refiner = (
            settings,
            shutdown,
            catalogue,
            refiner,
        )
        kinds = ("driving", "masks", "cameras", "depth", "tracks")
        self.providers = {
            kind: [p.name for p in catalogue if p.kind == kind and not p.needs] for kind in kinds
        }
        self.devices = executor.list_devices()
        self.sandbox = Sandbox(store)
        # another process: an endpoint that refines prompts may take its time
        self.prompt_sandbox = Sandbox(store, patience_s=300.0)
        self._pool = ThreadPoolExecutor(4, "work")
        self._drawing_pool = ThreadPoolExecutor(1, "draw")
        self._room_to_draw = threading.BoundedSemaphore(_DRAWS_WAITING)
        self.uploads = Uploads(store, self._pool, settings.limits)

    def close(self) -> None:
        """Ends the drawing process; what is under way in the pools is left."""
        self.sandbox.close()
        self.prompt_sandbox.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._drawing_pool.shutdown(wait=False, cancel_futures=True)

    # --- control ----------------------------------------------------------------------------------

    def _list_jobs(self, user: str, before: str | None) -> JobList:
        """A page of jobs that fits into a header."""
        ahead, found, size = self.jobs.count_ahead(), [], 0
        older = self.jobs.get(before, user).id if before else None
        for job in self.jobs.list(user, before=older, limit=_MOST_LISTED + 1):
            status = self.supervisor.describe(job, ahead)
            size += len(msgspec.msgpack.encode(status))
            if found and (size > HEADER_LIMIT // 2 or len(found) == _MOST_LISTED):
                return JobList(jobs=found, more=True)
            found.append(status)
        return JobList(jobs=found)

    def handle_control(self, user: str, body: Message) -> tuple[Message, list]:
        """The answer to a request on the control channel, at once. Raises `WireError` and whatever
        else."""
        match body:
            case Hello():
                _log.info("hello from %s (%s)", user, body.client)
                # "cuda:0", "cpu:1", ...
                busy = {job.device for job in self.jobs.list(states=("running",))}
                devices = [
                    msgspec.structs.replace(
                        d, busy=any(b == f"{d.kind}:{i}" or d.kind == "cpu" == b[:3] for b in busy)
                    )
                    for i, d in enumerate(self.devices)
                ]
                welcome = Welcome(
                    version=__version__,
                    protocol=PROTOCOL,
                    pid=os.getpid(),
                    executor=self.executor.name,
                    devices=devices,
                    providers=self.providers,
                    limits=self.settings.limits,
                    user=user,
                    catalogue=self.catalogue,
                    refiner=self.refiner,
                )
                return welcome, []
            case List():
                return self._list_jobs(user, body.before), []
            case Shutdown():
                if user != LOCAL:
                    raise WireError(
                        "The service can be ended from its own machine only.",
                        "Ask its owner.",
                        "refused",
                    )
                threading.Timer(0.1, self.shutdown).start()
                return Done(), []
            case Delete():
                self.supervisor.delete(self.jobs.get(body.job, user))
                return Done(), []
            case Cancel() | Pause() | Resume() | Status():
                job = self.jobs.get(body.job, user)
                if not isinstance(body, Status):
                    do = {
                        Cancel: self.supervisor.cancel,
                        Pause: self.supervisor.pause,
                        Resume: self.supervisor.resume,
                    }
                    do[type(body)](job)
                return self.supervisor.describe(self.jobs.get(body.job, user)), []
        raise AssertionError(body)

    # --- work -------------------------------------------------------------------------------------

    def handle_work(self, user: str, message: Received, answer: Answer) -> None:
        """Sends a request of the work channel on its way; ``answer`` is called from any thread."""
        body = message.body
        try:
            match body:
                case UploadBegin():
                    self.uploads.begin(user, body, answer)
                case UploadChunk():
                    self.uploads.add_chunk(user, body, read_chunk(message.arrays), answer)
                case Submit() | Fetch() | FetchPreview():
                    do = {
                        Submit: self._submit,
                        Fetch: self._fetch,
                        FetchPreview: self._fetch_preview,
                    }[type(body)]
                    self._pool.submit(lambda: answer(*answer_or_error(do, user, body)))
                case Prepare():
                    check_driver(body.driving, body.candidates, self.providers)
                    self._pool.submit(
                        lambda: answer(*answer_or_error(self.prompt_sandbox.ask, body, []))
                    )
                case Render() | FetchGaussians() | Look():
                    self._check_draw(body, message.arrays)
                    self._drawing_pool.submit(self._draw, body, message.arrays, answer)
        except WireError as error:
            answer(error)

    def _draw(self, body: Render | FetchGaussians | Look, arrays: list, answer: Answer) -> None:
        made = answer_or_error(self.sandbox.ask, body, arrays)
        self._room_to_draw.release()
        answer(*made)

    def _submit(self, user: str, spec: Submit) -> tuple[Message, list]:
        if not spec.key:
            raise WireError(
                "The job has no key.",
                "Draw a random one; repeat it to submit the same job.",
                "malformed",
            )
        check_submit(spec, self.providers)
        wanted = {
            spec.base,
            spec.selection.mask or spec.base,
            *spec.selection.corrections.values(),
            *([] if isinstance(spec.driving, str) else spec.driving),
        }
        wanted |= {file.content for content in wanted for file in self._list_frames(content)}
        for content in wanted:
            if self.store.size(content) is None:
                raise WireError(
                    f"The service does not have the bytes {content[:12]}….",
                    "Upload them first.",
                    "not_found",
                )
            self.store.touch(content)
        job = self.jobs.add(user, spec, self.settings.limits.jobs_per_client)
        self.supervisor.announce(job.id)
        return self.supervisor.describe(job), []

    def _list_frames(self, content: str) -> list[PackedFile]:
        if self.store.size(content) is None:
            return []
        files = read_packed_files(self.store, content) or []
        if len(files) > self.settings.limits.frames:
            raise WireError(
                f"A folder has {len(files)} frames.",
                f"At most {self.settings.limits.frames} are taken.",
                "limit",
            )
        return files

    def _fetch(self, user: str, body: Fetch) -> tuple[Message, list]:
        size = self.store.check(body.content)
        if body.offset > size:
            raise WireError(
                f"The content has {size} bytes; {body.offset} lies beyond.",
                "Fetch it from the start.",
                "limit",
            )
        length = min(body.length, CHUNK, size - body.offset)
        data = np.empty(length, np.uint8)
        with self.store.path(body.content).open("rb", buffering=0) as file:
            file.seek(body.offset)
            view = data.data
            while len(view) and (n := file.readinto(view)):
                view = view[n:]
        return Chunk(content=body.content, size=size, offset=body.offset), [data]

    def _fetch_preview(self, user: str, body: FetchPreview) -> tuple[Message, list]:
        job: JobRow = self.jobs.get(body.job, user)
        event = self.supervisor.open_folder(job.id).read_event("preview")
        if event is None:
            raise WireError(
                "The job has no picture yet.", "Wait until the fit has begun.", "not_found"
            )
        message = framing.decode(to_zmq_frames(event), framing.EVENTS)
        return message.body, message.arrays

    def _check_draw(self, body: Message, arrays: list) -> None:
        if isinstance(body, Render):
            if body.width * body.height > self.settings.limits.render_pixels:
                limit = self.settings.limits.render_pixels / 1e6
                raise WireError(
                    f"{body.width}x{body.height} is too large.",
                    f"At most {limit:.1f} million pixels.",
                    "limit",
                )
            if len(arrays) != 3:
                raise WireError(
                    "Render takes three arrays.", "Send bases, world-to-camera and K.", "malformed"
                )
            framing.expect(arrays[0], (None, 9), np.float32, "bases")
            framing.expect(arrays[1], (4, 4), np.float32, "world-to-camera")
            framing.expect(arrays[2], (3, 3), np.float32, "K")
        if not self._room_to_draw.acquire(blocking=False):
            raise WireError(
                "Many pictures are waiting to be drawn already.", "Ask again in a moment.", "busy"
            )


def check_submit(spec: Submit, providers: dict[str, list[str]]) -> None:
    """What can be said of a job without its files. Raises `WireError` "bad_input"."""
    if len(spec.base) != 64:
        raise WireError(
            "The job names no base video.", "Upload one and give its content id.", "bad_input"
        )
    if isinstance(spec.driving, str):
        check_driver(spec.driving, spec.candidates, providers)
    elif spec.job_kind == "driving":
        raise WireError(
            "The driving videos are there already.",
            "Name a provider that shall make some.",
            "bad_input",
        )
    for kind, name in spec.providers.items():
        if name not in providers.get(kind, []):
            there = ", ".join(providers.get(kind, []))
            raise WireError(
                f"There is no provider {name!r} of {kind}.", f"There are: {there}.", "bad_input"
            )
    set_ways = [
        way
        for way in (spec.selection.point, spec.selection.box, spec.selection.mask)
        if way is not None
    ]
    if len(set_ways) > 1:
        raise WireError(
            "The selection has a point, a box and a mask at once.", "Give one of them.", "bad_input"
        )
    try:
        with_settings(
            preset(spec.quality), [f"{name}={value}" for name, value in spec.settings.items()]
        )
    except InputError as error:
        raise WireError(error.what, error.remedy, "bad_input") from error


def check_driver(name: str, candidates: int, providers: dict[str, list[str]]) -> None:
    """Raises `WireError` "bad_input" where nobody of that name makes so many driving videos."""
    names = providers.get("driving", [])
    if name not in names:
        raise WireError(
            f"There is no driving provider {name!r}.",
            f"There are: {', '.join(names)}.",
            "bad_input",
        )
    if name == DRAFT_DRIVER and candidates > 1:
        raise WireError(
            "The draft driver makes the same video every time.",
            "Ask for one candidate.",
            "bad_input",
        )


def answer_or_error(
    do: Callable[..., tuple[Message, list]], *arguments: Any
) -> tuple[Message, list]:
    """What ``do`` gives, or the error that it ends with."""
    try:
        return do(*arguments)
    except Exception as error:
        return to_error(error), []


def to_error(error: Exception) -> Error:
    """What a client is told of an exception; of a fault of ours the log tells more."""
    if is_disk_full(error):
        error = disk_full_error()
    if isinstance(error, WireError):
        return Error(code=error.code, what=error.what, remedy=error.remedy)  # type: ignore[arg-type]
    if isinstance(error, InputError):
        return Error(code="bad_input", what=error.what, remedy=error.remedy)
    _log.exception("a request failed", exc_info=error)
    return Error(
        code="internal",
        what=f"The service failed: {type(error).__name__}.",
        remedy="See service.log on its machine.",
    )
