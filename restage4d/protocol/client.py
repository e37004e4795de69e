"""The client of the service: typed, blocking, with numpy, pyzmq and msgspec alone.

Scripts, the command line and Blender all use this one. A `Client` is driven from one thread;
`Client.cancel`, `Client.status` and whatever else goes over the control channel may be called from
another meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from restage4d import __version__
from restage4d.defaults import LONGER_SIDE
from restage4d.protocol import framing, transfer
from restage4d.protocol.channel import Channel, SharedChannel, find_context, secure
from restage4d.protocol.connection import Connection, ConnectionFile, home
from restage4d.protocol.errors import VersionMismatch, WireError
from restage4d.protocol.messages import (
    PROTOCOL,
    Cancel,
    Delete,
    Event,
    FetchGaussians,
    FetchLog,
    FetchPreview,
    Hello,
    HistoryEntry,
    JobStatus,
    List,
    Look,
    Looked,
    Message,
    Pause,
    Prepare,
    Prepared,
    Render,
    Replay,
    Resume,
    Shutdown,
    Status,
    SubjectSelection,
    Submit,
    Welcome,
)
from restage4d.protocol.subscription import Lost, Subscription, follow

if TYPE_CHECKING:
    from restage4d.puppet import Gaussians

F32 = NDArray[np.float32]
Advance = Callable[[int, int], None]  # (bytes done, bytes in all)


class Client:
    """A connection to the service; a context manager.

    Every method raises a `restage4d.protocol.errors.WireError` with ``what``, ``remedy`` and
    ``code``. Where the service is restarted meanwhile, requests wait for it up to their time-out,
    and all of them may be repeated without harm.
    """

    def __init__(
        self, connection: Connection, path: Path | None = None, timeout_s: float = 5.0
    ) -> None:
        self.path, self.timeout_s = path, timeout_s
        self._file = ConnectionFile(connection, path)
        self._context = find_context()
        self._control = SharedChannel(self._context, self._file, "control")
        self._work = SharedChannel(self._context, self._file, "work")
        self._puppets: dict[str, str] = {}  # job -> content of its puppet

    @staticmethod
    def connect(connection: Path | None = None, *, timeout_s: float = 5.0) -> Client:
        """Finds the service by its connection file (default: the user's own) and says hello.

        Raises:
            NotRunning, Refused, VersionMismatch, TimedOut: within ``timeout_s``; says what to do.
        """
        path = connection or home() / "connection.json"
        client = Client(Connection.read(path), path, timeout_s)
        try:
            client.hello()
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> Connection:
        """As it was last read from its file."""
        return self._file.known

    def close(self) -> None:
        """Ends the connection; jobs go on."""
        self._control.close()
        self._work.close()

    # --- control ----------------------------------------------------------------------------------

    def hello(self) -> Welcome:
        """Version, devices, providers and limits of the service."""
        welcome = self._ask(self._control, Hello(client=f"restage4d {__version__}")).body
        if welcome.protocol != PROTOCOL:
            raise VersionMismatch(
                f"The service speaks protocol version {welcome.protocol}, this client version "
                f"{PROTOCOL}."
            )
        return welcome

    def alive(self, timeout_s: float = 1.0) -> bool:
        """Whether the service's heart beats, however busy it is."""
        socket, connection = self._context.socket(zmq.REQ), self._file.read_again()
        try:
            secure(socket, connection)
            socket.connect(connection.address("heartbeat"))
            socket.send(b"ping")
            return bool(socket.poll(int(timeout_s * 1000)))
        finally:
            socket.close(linger=0)

    def status(self, job: str) -> JobStatus:
        return self._ask(self._control, Status(job=job)).body

    def jobs(self, everyone: bool = False) -> list[JobStatus]:
        """All jobs of this client's key, or everybody's for an owner, newest first."""
        page = self._ask(self._control, List(everyone=everyone)).body
        found = page.jobs
        while page.more:
            page = self._ask(self._control, List(before=found[-1].id, everyone=everyone)).body
            found += page.jobs
        return found

    def cancel(self, job: str) -> JobStatus:
        """Ends a job for good; its process is gone within seconds."""
        return self._ask(self._control, Cancel(job=job)).body

    def pause(self, job: str) -> JobStatus:
        """Stops a job at a checkpoint and frees its device."""
        return self._ask(self._control, Pause(job=job)).body

    def resume(self, job: str) -> JobStatus:
        """Queues a paused, failed or cancelled job again; it goes on from its checkpoint."""
        return self._ask(self._control, Resume(job=job)).body

    def delete(self, job: str) -> None:
        """Forgets a job with its results; a running one is cancelled first."""
        self._ask(self._control, Delete(job=job))

    def shutdown(self) -> None:
        """Ends the service; running jobs go on with its next start."""
        self._ask(self._control, Shutdown())

    # --- work -------------------------------------------------------------------------------------

    def upload(self, path: Path, on_progress: Advance | None = None) -> str:
        """Sends a file, or a folder of frames, and returns its content id; only what the service
        lacks is sent.

        An upload that broke off goes on where it stood when it is called again.

        Raises:
            InputError: the file cannot be read, or the folder holds no pictures.
        """
        return transfer.upload(self._open_channel, Path(path), on_progress, self.timeout_s)

    def look(
        self,
        content: str,
        *,
        first: int = 0,
        longer_side: int = LONGER_SIDE,
        selection: SubjectSelection | None = None,
        find: bool = False,
        timeout_s: float = 60.0,
    ) -> tuple[Looked, NDArray[np.uint8], NDArray[np.uint8]]:  # -, (h, w, 3), (h, w)
        """One frame of an uploaded video and the subject in it.

        Args:
            content: what `upload` returned.
            first: number of the frame.
            longer_side: of the answer, in pixels; no video is enlarged.
            selection: where the subject is, in the video's own pixels.
            find: without a selection, search for what moves.

        Returns:
            what the video is; the frame, sRGB; the mask, 255 on the subject, of shape (0, 0) where
            none was asked for.
        """
        body = Look(
            content=content,
            first=first,
            longer_side=longer_side,
            selection=selection or SubjectSelection(),
            find=find,
        )
        reply = self._ask(self._work, body, timeout_s=timeout_s)
        return reply.body, reply.arrays[0], reply.arrays[1]

    def prepare(self, prepare: Prepare, *, timeout_s: float = 300.0) -> Prepared:
        """What a provider of driving videos would be asked for, and what a person must know
        before."""
        return self._ask(self._work, prepare, timeout_s=timeout_s).body

    def submit(self, submit: Submit) -> str:
        """Hands in a job and returns its id. Repeated with the same ``key`` it is the same job."""
        submit = submit if submit.key else msgspec.structs.replace(submit, key=framing.new_id())
        return self._ask(self._work, submit).body.id

    def fetch(self, content: str, path: Path, on_progress: Advance | None = None) -> Path:
        """Fetches stored bytes into a file: whole and with the right SHA-256, or not at all. Goes
        on after a break."""
        return transfer.fetch(self._open_channel, content, Path(path), on_progress, self.timeout_s)

    def fetch_puppet(self, job: str, path: Path, on_progress: Advance | None = None) -> Path:
        """Fetches a finished job's ``.puppet`` file."""
        return self.fetch(self._find_puppet(job), path, on_progress)

    def fetch_artefact(
        self, job: str, name: str, path: Path, on_progress: Advance | None = None
    ) -> Path:
        """Fetches another result by its name in ``JobStatus.artefacts``."""
        artefacts = self.status(job).artefacts
        if name not in artefacts:
            there = ", ".join(artefacts) or "nothing yet"
            raise WireError(f"The job has no {name!r}.", f"There is: {there}.", "not_found")
        return self.fetch(artefacts[name].content, path, on_progress)

    def fetch_preview(self, job: str) -> bytes:
        """The newest preview picture as a PNG file. Raises `WireError` "not_found" before there is
        one."""
        return self._ask(self._work, FetchPreview(job=job)).arrays[0].tobytes()

    def replay(self, job: str, after: int = 0) -> Iterator[HistoryEntry]:
        """What happened to a job so far, behind entry ``after``."""
        more = True
        while more:
            answer = self._ask(self._work, Replay(job=job, after=after)).body
            yield from answer.entries
            more = answer.more
            after = answer.entries[-1].number if answer.entries else after

    def fetch_log(self, job: str, offset: int = 0) -> str:
        """What a job's process wrote, from byte ``offset`` on."""
        data = b""
        while True:
            reply = self._ask(self._work, FetchLog(job=job, offset=offset + len(data)))
            data += reply.arrays[0].tobytes()
            if not reply.arrays[0].size or reply.body.size <= offset + len(data):
                return data.decode("utf-8", "replace")

    def fetch_gaussians(
        self, job: str, performance: str, start: int = 0, stop: int | None = None
    ) -> Iterator[Gaussians]:
        """The posed subject of frames ``start`` to ``stop`` (exclusive; None: the end), one after
        the other."""
        # late: it needs safetensors, which the client does without elsewhere
        from restage4d.puppet import Gaussians

        content = self._find_puppet(job)
        frame = start
        while stop is None or frame < stop:
            reply = self._ask(
                self._work,
                FetchGaussians(content=content, performance=performance, frame=frame),
                timeout_s=60.0,
            )
            yield Gaussians(*reply.arrays)
            frame += 1
            stop = reply.body.frames if stop is None else stop

    def render(
        self,
        puppet: str,
        bases: F32,  # (K, 9)
        w2c: F32,  # (4, 4)
        K: F32,  # (3, 3)
        size: tuple[int, int],
        *,
        background: bool = True,
        timeout_s: float = 120.0,
    ) -> tuple[F32, F32]:  # (H, W, 4), (H, W)
        """Draws a puppet under any bases from any camera.

        Args:
            puppet: a job's id, or the content id of a ``.puppet`` file that was uploaded.
            bases: one frame of a performance's bases, see `restage4d.se3`.
            w2c: OpenCV world-to-camera.
            K: pinhole in pixels of ``size``.
            size: (width, height).
            background: draw the puppet's own background behind the subject.

        Returns:
            rgba: sRGB-encoded colour, premultiplied by alpha; and alpha.
            depth: z-depth in world units, 0 where there is nothing.
        """
        content = puppet if len(puppet) == 64 else self._find_puppet(puppet)
        arrays = [np.ascontiguousarray(a, np.float32) for a in (bases, w2c, K)]
        body = Render(content=content, width=size[0], height=size[1], background=background)
        reply = self._ask(self._work, body, arrays, timeout_s=timeout_s)
        return reply.arrays[0], reply.arrays[1]

    # --- events -----------------------------------------------------------------------------------

    def watch(
        self,
        job: str,
        on_event: Callable[[Event | Lost, dict[str, NDArray]], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> JobStatus:
        """Follows a job until it ends or ``stop()``; calls ``on_event(event, arrays)`` in this
        thread.

        The first event is always a `StateChanged` with the job as it is, so that a client may come
        and go. ``arrays`` are by name: ``png`` of `Preview`; ``means``, ``colors``,
        ``influence_index``, ``influence_weight``, ``bases``, ``source``, ``index`` of
        `PreviewPoints`.
        """
        for event, arrays in self.events(job, stop):
            on_event(event, arrays)
        return self.status(job)

    def events(
        self, job: str, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Event | Lost, dict[str, NDArray]]]:
        """`watch` as an iterator. Survives restarts of the service: then a `Lost` comes, later a
        `StateChanged`."""
        subscription = Subscription(self._context, self._file, job)
        try:
            yield from follow(subscription, lambda: self.status(job), stop)
        finally:
            subscription.close()

    # --- inside -----------------------------------------------------------------------------------

    def _open_channel(self) -> Channel:
        """A work channel of its own for one transfer."""
        return Channel(self._context, self._file, "work")

    def _ask(
        self,
        channel: SharedChannel,
        body: Message,
        arrays: Any = (),
        timeout_s: float | None = None,
    ) -> framing.Received:
        return channel.request(body, arrays, timeout_s=timeout_s or self.timeout_s)

    def _find_puppet(self, job: str) -> str:
        if job not in self._puppets:
            status = self.status(job)
            if not status.has_puppet:
                raise WireError(
                    f"The job is {status.state}: it has no puppet yet.",
                    "Wait until it is done.",
                    "state",
                )
            self._puppets[job] = status.artefacts["puppet"].content
        return self._puppets[job]
