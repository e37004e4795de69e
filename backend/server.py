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
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import zmq
import zmq.utils.monitor as monitoring

from backend.handlers import Answers, answered, as_error
from backend.jobs.executors import Executor
from backend.jobs.job_table import Jobs
from backend.jobs.supervisor import Supervisor
from backend.keys import Doorman, Keys
from backend.retention import sweep
from backend.settings import Settings
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol import framing
from restage4d.protocol.connection import CHANNELS, Connection, is_loopback
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
_GUARD_S = 0.5
_log = logging.getLogger("restage4d.service")


class Server:
    """The service of one folder.

    Args:
        home: the folder: store, jobs, keys, connection file.
        executor: makes the executor from the store.
        settings: limits and retention.
        bind: address to listen on; anything but loopback is encrypted and asks for keys.
        ports: wanted port of each channel; where one is missing or taken, a free one is found.
        catalogue, refiner: what `Welcome` tells.
    """

    def __init__(
        self,
        home: Path,
        executor: Callable[[Store], Executor],
        settings: Settings,
        bind: str,
        ports: dict[str, int],
        catalogue: list[ProviderInfo],
        refiner: str,
    ) -> None:
        self.home, self.settings, self.bind = home, settings, bind
        self.curve = not is_loopback(bind)
        self.keys = Keys(home / "keys")
        self.store = Store(home / "store")
        self.jobs = Jobs(home / "jobs.sqlite")
        self.executor = executor(self.store)
        self.supervisor = Supervisor(
            self.jobs, home / "jobs", self.executor, settings, self._publish
        )
        self._events: list[tuple[str, list]] = []
        self.stopping = threading.Event()
        self.answers = Answers(
            self.store,
            self.jobs,
            self.supervisor,
            self.executor,
            settings,
            catalogue,
            refiner,
            self.stopping.set,
        )
        self._rebind = {name: threading.Event() for name in CHANNELS}
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._doorman = Doorman(self._context, self.keys, self.curve)
        self._doorman.start()
        kinds = {
            "work": zmq.ROUTER,
            "control": zmq.ROUTER,
            "progress": zmq.XPUB,
            "heartbeat": zmq.REP,
        }
        self.ports: dict[str, int] = {}
        self._watches: list[
            zmq.Socket
        ] = []  # what ZeroMQ refuses before the doorman is asked; read by `run` alone
        self._sockets = {
            name: self._bound(name, kinds[name], ports.get(name, 0)) for name in CHANNELS
        }
        self._replies = self._context.socket(zmq.PULL)
        self._replies_address = f"inproc://replies-{secrets.token_hex(8)}"
        self._replies.setsockopt(zmq.RCVHWM, 0)
        self._replies.bind(self._replies_address)
        self._local = threading.local()
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=loop.__name__, daemon=True)
            for loop in (self._work, self._control, self._progress, self._heartbeat)
        ]

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serves, and writes the connection file. Jobs of an earlier service are taken up where
        they stand."""
        for thread in self._threads:
            thread.start()
        self.connection().write(self.home / "connection.json")
        self.connection().write(self.home / "last.json")  # stays, for the ports
        _log.info(
            "listening on %s, ports %s, %s",
            self.bind,
            self.ports,
            "CURVE" if self.curve else "PLAIN",
        )

    def connection(self) -> Connection:
        """What this machine's own clients need."""
        public, secret = self.keys.local() if self.curve else ("", "")
        wildcard = self.bind in ("0.0.0.0", "*", "::")
        return Connection(
            host="127.0.0.1" if wildcard else self.bind,
            ports=self.ports,
            mechanism="curve" if self.curve else "plain",
            secret="" if self.curve else self.keys.secret(),
            server_key=self.keys.server()[0] if self.curve else "",
            public_key=public,
            secret_key=secret,
            pid=os.getpid(),
        )

    def run(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Serves until `Shutdown`, or until ``alive()`` is False; then checkpoints the jobs that
        run."""
        swept = -_SWEEP_S
        stamp = self.keys.stamp()
        process = psutil.Process()
        while not self.stopping.wait(_GUARD_S) and alive():
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
            if time.monotonic() - swept > _SWEEP_S:
                swept = time.monotonic()
                with contextlib.suppress(OSError, InputError):
                    sweep(self.jobs, self.store, self.home / "jobs", self.settings)
            self._log_refusals()
            self.answers.drawer.rest()
        self.close()

    def _log_refusals(self) -> None:
        for watch in list(self._watches):
            try:
                while watch.poll(0):
                    event = monitoring.recv_monitor_message(watch)
                    if event["event"] == zmq.EVENT_MONITOR_STOPPED:
                        raise zmq.ZMQError
                    _log.warning(
                        "refused a client at %s: no key, another kind of key, or no ZeroMQ",
                        event["endpoint"].decode(),
                    )
            except zmq.ZMQError:  # its socket was closed
                self._watches.remove(watch)
                watch.close(linger=0)

    def close(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(5.0)
        self.supervisor.close()
        self.answers.close()
        with contextlib.suppress(OSError):
            (self.home / "connection.json").unlink()
        _log.info("ended")

    def _drop_connections(self) -> None:
        for event in self._rebind.values():
            event.set()

    def _bound(self, name: str, kind: int, port: int) -> zmq.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, self.settings.limits.message_bytes)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.RCVHWM, 2 * self.settings.limits.credit)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"restage4d")
        if self.curve:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.curve_secretkey = self.keys.server()[1].encode()
        else:
            socket.setsockopt(zmq.PLAIN_SERVER, 1)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        if ":" in self.bind:
            socket.setsockopt(zmq.IPV6, 1)
        for attempt in range(100):
            try:
                socket.bind(f"tcp://{host}:{port}")
                break
            except zmq.ZMQError as error:
                if name in self.ports and attempt < 99:  # its own port, just closed
                    time.sleep(0.05)
                elif error.errno == zmq.EADDRINUSE and port:
                    port = 0
                else:
                    what = f"The service cannot listen on {host}:{port}: {error}."
                    raise InputError(what, "Give another --bind address.") from error
        failed = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        self._watches.append(socket.get_monitor_socket(failed | zmq.EVENT_MONITOR_STOPPED))
        self.ports[name] = int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])
        return socket

    def _guarded(self, loop: Callable[[], None]) -> None:
        """A loop that failed ends the service, which is then started again, rather than leave it
        half alive."""
        try:
            loop()
        except BaseException:
            _log.exception("%s failed", loop.__name__)
            self.stopping.set()

    def _renewed(self, name: str, poller: zmq.Poller) -> zmq.Socket:
        """The socket of a channel; made anew, with all its connections dropped, where that was
        asked for."""
        socket = self._sockets[name]
        if self._rebind[name].is_set():
            self._rebind[name].clear()
            poller.unregister(socket)
            kind, port = socket.socket_type, self.ports[name]
            socket.close(linger=0)
            socket = self._sockets[name] = self._bound(name, kind, port)
            poller.register(socket, zmq.POLLIN)
        return socket

    # --- the four loops ---------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        poller = zmq.Poller()
        poller.register(self._sockets["heartbeat"], zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._renewed("heartbeat", poller)
            if poller.poll(200):
                said = socket.recv_multipart(copy=False)
                socket.send(said[0].bytes[:64] if len(said) == 1 else b"")
        self._sockets["heartbeat"].close(linger=0)

    def _control(self) -> None:
        poller = zmq.Poller()
        poller.register(self._sockets["control"], zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._renewed("control", poller)
            if not poller.poll(200):
                continue
            got = self._receive(socket, Control, "control")
            if got:
                client, user, message = got
                self._reply(
                    socket, client, message.id, *answered(self.answers.control, user, message.body)
                )

    def _work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._sockets["work"], zmq.POLLIN)
        poller.register(self._replies, zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._renewed("work", poller)
            ready = dict(poller.poll(200))
            if self._replies in ready:
                for _ in range(64):
                    try:
                        frames = self._replies.recv_multipart(zmq.DONTWAIT, copy=False)
                    except zmq.Again:
                        break
                    self._send(socket, frames)
            if socket in ready and (got := self._receive(socket, Work, "work")):
                client, user, message = got
                self.answers.begin(user, message, partial(self._later, client, message.id))
        self._replies.close(linger=0)
        self._sockets["work"].close(linger=0)

    def _progress(self) -> None:
        poller = zmq.Poller()
        poller.register(self._sockets["progress"], zmq.POLLIN)
        while not self.stopping.is_set():
            socket = self._renewed("progress", poller)
            while socket.poll(0):
                self._subscription(socket, socket.recv_multipart(copy=False)[0])
            self._events = []
            try:
                self.supervisor.tick()
            except (
                InputError,
                OSError,
                sqlite3.Error,
            ):  # a full disk, say: everything is looked at anew the next time
                _log.exception("the queue could not be looked after")
                self.stopping.wait(1.0)
            for job, frames in self._events:
                with contextlib.suppress(zmq.Again):
                    socket.send_multipart([job.encode(), *frames], zmq.DONTWAIT)
            self.supervisor.wait(poller, _TICK_S)

    def _publish(self, job: str, frames: list) -> None:
        self._events.append((job, frames))

    def _subscription(self, socket: zmq.Socket, frame: zmq.Frame) -> None:
        """A client may follow its own jobs, by their full ids."""
        said = frame.bytes
        topic, wanted = said[1:], said[:1] == b"\x01"
        with contextlib.suppress(
            WireError, UnicodeDecodeError, KeyError, zmq.ZMQError, sqlite3.Error
        ):
            if wanted and len(topic) == 32:
                self.jobs.get(topic.decode(), self._user(frame))
                socket.setsockopt(zmq.SUBSCRIBE, topic)
            elif not wanted:
                socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    # --- receiving and answering ------------------------------------------------------------------

    @staticmethod
    def _user(frame: zmq.Frame) -> str:
        """As whom the doorman let this client in."""
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
            self._reply(socket, client.bytes, parent, as_error(error), [])
            return None

    def _reply(
        self, socket: zmq.Socket, client: bytes, parent: str | None, body: Message, arrays: list
    ) -> None:
        self._send(socket, [client, *framing.encode(body, arrays, parent=parent)])

    @staticmethod
    def _send(socket: zmq.Socket, frames: list) -> None:
        """To a client that may be gone or may not read: then the answer is dropped, it can ask
        again."""
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            socket.send_multipart(frames, zmq.DONTWAIT, copy=False)

    def _later(
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
            body = as_error(body)
        socket.send_multipart(
            [client, *framing.encode(body, arrays or [], parent=parent)], copy=False
        )
