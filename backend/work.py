"""What the service does for each request on the work channel: answered when done, in any order."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from backend.answers import Answer, Asker, answer_or_error
from backend.jobs.executors import Executor
from backend.jobs.history import read_history
from backend.jobs.job_folder import to_zmq_frames
from backend.jobs.job_rows import list_inputs
from backend.jobs.job_table import JobTable, find_job
from backend.jobs.supervisor import Supervisor
from backend.logs import hide_paths, note
from backend.network.keys import LOCAL
from backend.pools import Pool
from backend.sandbox import Sandbox
from backend.settings import ServiceSettings
from backend.store.content_store import (
    Store,
    read_packed_files,
)
from backend.store.uploads import Uploads, read_chunk
from backend.submission import check_driver, check_submit
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import (
    CHUNK,
    Chunk,
    Fetch,
    FetchGaussians,
    FetchLog,
    FetchPreview,
    Log,
    Look,
    Message,
    Prepare,
    Render,
    Replay,
    Replayed,
    Submit,
    UploadBegin,
    UploadChunk,
)
from restage4d.protocol.transfer import PackedFile

_MOST_TOLD = 500  # entries of a history in one answer
_LOG_BYTES = 256 << 10  # of a log in one answer
_log = logging.getLogger("restage4d.service")


class WorkHandlers:
    """Requests to answers; `handle` is called by one thread, the work is done by others.

    Args:
        store, jobs, supervisor, executor, settings: of the service.
        providers: names of those that can work now, by kind.
        is_owner: whether a user sees and ends everybody's jobs.
    """

    def __init__(
        self,
        store: Store,
        jobs: JobTable,
        supervisor: Supervisor,
        executor: Executor,
        settings: ServiceSettings,
        providers: dict[str, list[str]],
        is_owner: Callable[[str], bool],
    ) -> None:
        self.store, self.jobs, self.supervisor = store, jobs, supervisor
        self.settings, self.providers, self.is_owner = settings, providers, is_owner
        # on a machine with GPUs what draws sees the first slot's alone
        environment = executor.make_environment(executor.list_slots()[0])
        self.sandbox = Sandbox(store, environment)
        # another process: an endpoint that refines prompts may take its time
        self.prompt_sandbox = Sandbox(store, environment, patience_s=300.0)
        # nothing waits behind another kind of work
        self._transfers = ThreadPoolExecutor(4, "upload")
        self.pools = {
            "fetch": Pool("fetch", 4, waiting=4096, patience_s=30.0),
            "submit": Pool("submit", 2, waiting=1024, patience_s=60.0),
            "prepare": Pool("prepare", 1, waiting=16, patience_s=240.0),
            "draw": Pool("draw", 1, waiting=32, patience_s=100.0),
        }
        self.uploads = Uploads(
            store, self._transfers, settings.limits, self._check_quota, jobs.note_holding
        )

    def close(self) -> None:
        """Ends the drawing processes; what is under way in the pools is left."""
        self.sandbox.close()
        self.prompt_sandbox.close()
        self._transfers.shutdown(wait=False, cancel_futures=True)
        for pool in self.pools.values():
            pool.close()

    def end_idle(self) -> None:
        """Ends the processes that have had no work for some minutes."""
        self.sandbox.end_idle()
        self.prompt_sandbox.end_idle()

    def _check_quota(self, user: str, size: int) -> None:
        most = self.settings.user_gigabytes * 1e9
        if most and self.jobs.count_holdings().get(user, 0) + size > most:
            raise WireError(
                f"You may keep {most / 1e9:g} GB on this service; this would be more.",
                "Delete old jobs.",
                "limit",
            )

    def handle(self, asker: Asker, message: Received, answer: Answer) -> None:
        """Sends a request of the work channel on its way; ``answer`` is called from any thread."""
        user, body = asker.user, message.body
        try:
            match body:
                case UploadBegin():
                    self.uploads.begin(user, body, answer, asker.connection)
                case UploadChunk():
                    self.uploads.add_chunk(user, body, read_chunk(message.arrays), answer)
                case Submit():
                    self._do("submit", user, answer, self._submit, user, body)
                case FetchPreview():
                    self._do("fetch", user, answer, self._fetch_preview, user, body)
                case FetchLog():
                    self._do("fetch", user, answer, self._fetch_log, user, body)
                case Replay():
                    self._do("fetch", user, answer, self._replay, user, body)
                case Fetch():
                    self._do_checked("fetch", user, body, answer, _fetch, self.store, body)
                case Prepare():
                    check_driver(body.driving, body.candidates, self.providers)
                    self._do_checked("prepare", user, body, answer, self.prompt_sandbox.ask, body)
                case Render() | FetchGaussians() | Look():
                    self._check_draw(body, message.arrays)
                    self._do_checked(
                        "draw", user, body, answer, self.sandbox.ask, body, message.arrays
                    )
        except WireError as error:
            answer(error)

    def _do(self, kind: str, user: str, answer: Answer, do: Callable, *arguments: Any) -> None:
        """Answers with what ``do`` gives, from the pool of a kind. Raises `WireError` "busy"."""
        self.pools[kind].submit(
            user, lambda: answer(*answer_or_error(user, do, *arguments)), answer
        )

    def _do_checked(
        self, kind: str, user: str, body: Any, answer: Answer, do: Callable, *arguments: Any
    ) -> None:
        """`_do` once the content that a request names is known to be whole."""

        def go_on(found: int | WireError) -> None:
            if isinstance(found, WireError):
                return answer(found)
            try:
                self._do(kind, user, answer, do, *arguments)
            except WireError as error:
                answer(error)

        self.store.check_later(body.content, go_on)

    def _submit(self, user: str, spec: Submit) -> tuple[Message, list]:
        if not spec.key:
            raise WireError(
                "The job has no key.",
                "Draw a random one; repeat it to submit the same job.",
                "malformed",
            )
        check_submit(spec, self.providers)
        self._check_quota(user, 0)
        wanted = list_inputs(spec)
        wanted |= {file.content for content in wanted for file in self._list_frames(content)}
        for content in wanted:
            if self.store.size(content) is None:
                raise WireError(
                    f"The service does not have the bytes {content[:12]}….",
                    "Upload them first.",
                    "not_found",
                )
            self.store.touch(content)
        job = self.jobs.add(user, spec, self.settings.limits.jobs_per_client, wanted)
        note(user, "submit", job.id, spec.name)
        self.supervisor.announce(job.id)
        return self.supervisor.board.describe(job), []

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

    def _fetch_preview(self, user: str, body: FetchPreview) -> tuple[Message, list]:
        job = find_job(self.jobs, self.is_owner, body.job, user)
        event = self.supervisor.open_folder(job.id).read_event("preview")
        if event is None:
            raise WireError(
                "The job has no picture yet.", "Wait until the fit has begun.", "not_found"
            )
        message = framing.decode(to_zmq_frames(event), framing.EVENTS)
        return message.body, message.arrays

    def _fetch_log(self, user: str, body: FetchLog) -> tuple[Message, list]:
        job = find_job(self.jobs, self.is_owner, body.job, user)
        data, size = b"", 0
        path = self.supervisor.open_folder(job.id).log
        if path.exists():
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(min(body.offset, size))
                data = file.read(_LOG_BYTES)
        if user != LOCAL:
            # as long as it was, so that offsets stay what they are
            text = hide_paths(data.decode("utf-8", "replace")).encode()
            data = text[: len(data)].ljust(len(data))
        array = np.frombuffer(data, np.uint8)
        return Log(job=job.id, size=size, offset=min(body.offset, size)), [array]

    def _replay(self, user: str, body: Replay) -> tuple[Message, list]:
        job = find_job(self.jobs, self.is_owner, body.job, user)
        found = read_history(self.supervisor.open_folder(job.id), body.after, _MOST_TOLD + 1)
        return Replayed(entries=found[:_MOST_TOLD], more=len(found) > _MOST_TOLD), []

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


def _fetch(store: Store, body: Fetch) -> tuple[Message, list]:
    size = store.size(body.content)
    if size is None or body.offset > size:
        raise WireError(
            f"The content has {size} bytes; {body.offset} lies beyond.",
            "Fetch it from the start.",
            "limit",
        )
    data = np.empty(min(body.length, CHUNK, size - body.offset), np.uint8)
    with store.path(body.content).open("rb", buffering=0) as file:
        file.seek(body.offset)
        view = data.data
        while len(view) and (n := file.readinto(view)):
            view = view[n:]
    return Chunk(content=body.content, size=size, offset=body.offset), [data]
