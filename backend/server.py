"""The service: four sockets, each with a thread of its own, so that nothing waits behind anything
of another kind.

work (ROUTER): uploads, submits, fetches, renders; answered from a pool of threads.
control (ROUTER): small requests, answered at once.
progress (XPUB): events; a client may subscribe to its own jobs only.
heartbeat (REP): says back what it hears.
"""

import contextlib
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import zmq

from backend.handlers import Handlers, answer_or_error, to_error
from backend.jobs.executors import Executor
from backend.jobs.job_table import JobTable
from backend.jobs.supervisor import Supervisor
from backend.keys import Authenticator, Keys
from backend.retention import Retention
from backend.settings import ServiceSettings
from backend.sockets import (
    Listening,
    ListeningSocket,
    RefusalMonitor,
    send,
)
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.connection import Connection, is_loopback
from restage4d.protocol.errors import VersionMismatch, WireError
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import (
    Control,
    Message,
    ProviderInfo,
    Work,
)

_TICK_S = 0.05
_SWEEP_S = 600.0
_CHECK_S = 0.5
_log = logging.getLogger("restage4d.service")


class Server:
    """The service of one folder.

    Args:
        home: the folder: store, jobs, keys, connection file.
        executor: makes the executor from the store.
        settings: limits and retention.
        bind: address to listen on; on every one connections are encrypted and ask for keys.
        ports: wanted port of each channel; where one is missing or taken, a free one is found.
        catalogue, refiner: what `Welcome` tells.
    """

    def __init__(
        self,
        home: Path,
        executor: Callable[[Store], Executor],
        settings: ServiceSettings,
        bind: str,
        ports: dict[str, int],
        catalogue: list[ProviderInfo],
        refiner: str,
    ) -> None:
        self.home, self.settings, self.bind = home, settings, bind
        self.keys = Keys(home / "keys")
        self.store = Store(home / "store")
        self.jobs = JobTable(home / "jobs.sqlite")
        self.executor = executor(self.store)
        self.supervisor = Supervisor(
            self.jobs, home / "jobs", self.executor, settings, self._publish
        )
        self._events: list[tuple[str, list]] = []
        self.stopping = threading.Event()
        self.handlers = Handlers(
            self.store,
            self.jobs,
            self.supervisor,
            self.executor,
            settings,
            catalogue,
            refiner,
            self.stopping.set,
        )
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4096)
        Authenticator(self._context, self.keys).start()
        self._refusals = RefusalMonitor()
        listening = Listening(self._context, bind, self.keys, settings.limits, self._refusals)
        self._work = ListeningSocket(listening, zmq.ROUTER, ports.get("work", 0))
        self._control = ListeningSocket(listening, zmq.ROUTER, ports.get("control", 0))
        self._progress = ListeningSocket(listening, zmq.XPUB, ports.get("progress", 0))
        self._heartbeat = ListeningSocket(listening, zmq.REP, ports.get("heartbeat", 0))
        self._replies = self._context.socket(zmq.PULL)
        self._replies_address = f"inproc://replies-{secrets.token_hex(8)}"
        self._replies.setsockopt(zmq.RCVHWM, 0)
        self._replies.bind(self._replies_address)
        self._local = threading.local()
        self._threads = [
            threading.Thread(target=self._run_loop, args=(loop,), name=loop.__name__, daemon=True)
            for loop in (
                self._serve_work,
                self._serve_control,
                self._serve_progress,
                self._serve_heartbeat,
            )
        ]

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serves, and writes the connection file. Jobs of an earlier service are taken up where
        they stand."""
        for thread in self._threads:
            thread.start()
        connection = self.make_connection()
        connection.write(self.home / "connection.json")
        connection.write(self.home / "last.json")  # stays, for the ports
        _log.info("listening on %s, ports %s", self.bind, connection.ports)

    def make_connection(self) -> Connection:
        """What this machine's own clients need."""
        public, secret = self.keys.local()
        wildcard = self.bind in ("0.0.0.0", "*", "::")
        return Connection(
            host="127.0.0.1" if wildcard else self.bind,
            ports={
                "work": self._work.port,
                "control": self._control.port,
                "progress": self._progress.port,
                "heartbeat": self._heartbeat.port,
            },
            server_key=self.keys.server()[0],
            public_key=public,
            secret_key=secret,
            pid=os.getpid(),
            loopback=is_loopback(self.bind),
        )

    def run(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Serves until `Shutdown`, or until ``alive()`` is False; then checkpoints the jobs that
        run."""
        sweeping = threading.Thread(target=self._sweep, name="retention", daemon=True)
        sweeping.start()
        stamp = self.keys.stamp()
        process = psutil.Process()
        while not self.stopping.wait(_CHECK_S) and alive():
            try:
                stamp = self._look_after(process, stamp)
            except Exception:  # out of descriptors, say: one round must not end the service
                _log.exception("the service could not be looked after")
        self.close()

    def _look_after(self, process: psutil.Process, stamp: int) -> int:
        """One round: memory, revoked keys, refusals, idle readers. Returns the keys' stamp."""
        if process.memory_info().rss > self.settings.memory_gigabytes * 2**30:
            _log.error(
                "more than %g GiB in memory: dropping all connections",
                self.settings.memory_gigabytes,
            )
            self._drop_connections()
            self.stopping.wait(2.0)
        if self.keys.stamp() != stamp:
            stamp = self.keys.stamp()
            self._drop_connections()  # who was revoked does not come back
        self._refusals.log_refusals()
        self.handlers.sandbox.end_idle()
        return stamp

    def _sweep(self) -> None:
        """Deletes what is too old, on a thread of its own: it may take long."""
        retention = Retention(
            self.jobs, self.store, self.home / "jobs", self.home / "ages.json", self.settings
        )
        while True:
            try:
                retention.sweep()
            except Exception:  # a full disk, a damaged file: tried again the next time
                _log.exception("the folder could not be swept")
            if self.stopping.wait(_SWEEP_S):
                return

    def close(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(5.0)
        self.supervisor.close()
        self.handlers.close()
        with contextlib.suppress(OSError):
            (self.home / "connection.json").unlink()
        _log.info("ended")

    def _drop_connections(self) -> None:
        for socket in (self._work, self._control, self._progress, self._heartbeat):
            socket.drop_connections()

    def _run_loop(self, loop: Callable[[], None]) -> None:
        """A loop that failed ends the service, which is then started again, rather than leave it
        half alive."""
        try:
            loop()
        except BaseException:
            _log.exception("%s failed", loop.__name__)
            self.stopping.set()

    # --- the four loops ---------------------------------------------------------------------------

    def _serve_heartbeat(self) -> None:
        poller = zmq.Poller()
        poller.register(self._heartbeat.socket, zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._heartbeat.renew(poller)
            if poller.poll(200):
                beat = socket.recv_multipart(copy=False)
                socket.send(beat[0].bytes[:64] if len(beat) == 1 else b"")
        self._heartbeat.close()

    def _serve_control(self) -> None:
        poller = zmq.Poller()
        poller.register(self._control.socket, zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._control.renew(poller)
            if not poller.poll(200):
                continue
            got = self._receive(socket, Control, "control")
            if got:
                client, user, message = got
                self._reply(
                    socket,
                    client,
                    message.id,
                    *answer_or_error(self.handlers.handle_control, user, message.body),
                )

    def _serve_work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._work.socket, zmq.POLLIN)
        poller.register(self._replies, zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._work.renew(poller)
            ready = dict(poller.poll(200))
            if self._replies in ready:
                for _ in range(64):
                    try:
                        frames = self._replies.recv_multipart(zmq.DONTWAIT, copy=False)
                    except zmq.Again:
                        break
                    send(socket, frames)
            if socket in ready and (got := self._receive(socket, Work, "work")):
                client, user, message = got
                self.handlers.handle_work(
                    user, message, partial(self._answer_later, client, message.id)
                )
        self._replies.close(linger=0)
        self._work.close()

    def _serve_progress(self) -> None:
        poller = zmq.Poller()
        poller.register(self._progress.socket, zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._progress.renew(poller)
            while socket.poll(0):
                self._subscribe(socket, socket.recv_multipart(copy=False)[0])
            self._events = []
            try:
                self.supervisor.tick()
            except (InputError, OSError, sqlite3.Error):
                # a full disk, say: everything is looked at anew the next time
                _log.exception("the queue could not be looked after")
                self.stopping.wait(1.0)
            for job, frames in self._events:
                with contextlib.suppress(zmq.Again):
                    socket.send_multipart([job.encode(), *frames], zmq.DONTWAIT)
            self.supervisor.wait(poller, _TICK_S)

    def _publish(self, job: str, frames: list) -> None:
        self._events.append((job, frames))

    def _subscribe(self, socket: zmq.Socket, frame: zmq.Frame) -> None:
        """A client may follow its own jobs, by their full ids."""
        topic, subscribes = frame.bytes[1:], frame.bytes[:1] == b"\x01"
        with contextlib.suppress(
            WireError, UnicodeDecodeError, KeyError, zmq.ZMQError, sqlite3.Error
        ):
            if subscribes and len(topic) == 32:
                self.jobs.get(topic.decode(), self._user(frame))
                socket.setsockopt(zmq.SUBSCRIBE, topic)
            elif not subscribes:
                socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    # --- receiving and answering ------------------------------------------------------------------

    @staticmethod
    def _user(frame: zmq.Frame) -> str:
        """As whom the authenticator let this client in."""
        return str(frame.get("User-Id"))

    def _receive(
        self, socket: zmq.Socket, allowed: Any, channel: str
    ) -> tuple[bytes, str, Received] | None:
        """The next request; what is none is answered with an error here."""
        client, *frames = socket.recv_multipart(copy=False)
        if not frames:
            return None
        try:
            user = self._user(frames[0])
            message = framing.decode(frames, framing.REQUESTS)
            if not isinstance(message.body, allowed):
                kind = type(message.body).__name__
                raise WireError(
                    f"{kind} does not belong on the {channel} channel.",
                    "Send it on the other one.",
                    "channel",
                )
            return client.bytes, user, message
        except (WireError, KeyError) as error:
            if not isinstance(error, WireError):
                return None
            parent = None if isinstance(error, VersionMismatch) else framing.read_parent(frames)
            _log.info("refused a message on %s: %s", channel, error)
            self._reply(socket, client.bytes, parent, to_error(error), [])
            return None

    def _reply(
        self, socket: zmq.Socket, client: bytes, parent: str | None, body: Message, arrays: list
    ) -> None:
        send(socket, [client, *framing.encode(body, arrays, parent=parent)])

    def _answer_later(
        self, client: bytes, parent: str, body: Message | WireError, arrays: list | None = None
    ) -> None:
        """An answer from any thread, sent by the work loop."""
        socket = getattr(self._local, "replies", None)
        if socket is None:
            socket = self._local.replies = self._context.socket(zmq.PUSH)
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self._replies_address)
        if isinstance(body, WireError):
            body = to_error(body)
        socket.send_multipart(
            [client, *framing.encode(body, arrays or [], parent=parent)], copy=False
        )
