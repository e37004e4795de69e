"""The service: four sockets, each with a thread of its own, so that nothing waits behind anything
of another kind.

work (ROUTER): uploads, submits, fetches, renders; answered from pools of threads.
control (ROUTER): small requests, answered at once.
progress (XPUB): events; a client may subscribe to its own jobs only.
heartbeat (REP): says back what it hears.
"""

import contextlib
import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import zmq

from backend.answers import Asker, answer_or_error, to_error
from backend.control import Announced, ControlHandlers
from backend.jobs.executors import Executor
from backend.jobs.job_rows import is_damage
from backend.jobs.job_table import JobTable
from backend.jobs.repair import repair_database
from backend.jobs.supervisor import Supervisor
from backend.logs import note
from backend.network.connections import Connections
from backend.network.desk import Desk, Request, measure
from backend.network.keys import Authenticator, Keys, OwnKeys
from backend.network.monitoring import Monitoring, measure_service
from backend.network.sockets import Listening, make_connection, write_ports
from backend.network.subscriptions import Subscriptions
from backend.retention import Retention
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from backend.work import WorkHandlers
from restage4d.errors import InputError
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import (
    Control,
    Message,
    Submit,
    UploadChunk,
    Work,
)

_TICK_S = 0.05
_SWEEP_S = 600.0
_FIRST_SWEEP_S = 60.0  # after the start, when clients come back and ask for their jobs
_ROOM_S = 5.0  # between two looks whether there is room again
_CHECK_S = 0.25
_JOIN_S = 5.0  # for all loops together, when the service ends
_SUBSCRIPTIONS = 64  # looked at before events go out again
_log = logging.getLogger("restage4d.service")


class Server:
    """The service of one folder.

    Args:
        home: the folder: store, jobs, keys, connection file.
        executor: makes the executor from the store.
        settings: limits and retention.
        bind: address to listen on; on every one connections are encrypted and ask for keys.
        ports: wanted port of each channel; where one is missing or taken, a free one is found.
        announced: what `Welcome` tells.
        exact: whether a port that is taken is an error.
    """

    def __init__(
        self,
        home: Path,
        executor: Callable[[Store], Executor],
        settings: ServiceSettings,
        bind: str,
        ports: dict[str, int],
        announced: Announced,
        exact: bool = False,
    ) -> None:
        self.home, self.settings, self.bind = home, settings, bind
        self.stopping = threading.Event()
        self.failed = False
        self.keys = Keys(home / "keys")
        self._own = OwnKeys.draw(self.keys, bind)
        self._context = zmq.Context(2)
        self.doorman = Authenticator(self._context, self.keys, self._own.local[0])
        self.connections = Connections(settings.memory_gigabytes * 1e9)
        self._desk = Desk(self.connections, self.doorman)
        self._ports, self._exact = ports, exact
        self._sockets: dict[str, zmq.Socket] = {}
        self.repaired = repair_database(home / "jobs.sqlite")
        if self.repaired:
            _log.error("%s", self.repaired)
            note("service", "repair", detail=self.repaired)
        self.store = Store(home / "store")
        self.jobs = JobTable(home / "jobs.sqlite")
        self.executor = executor(self.store)
        self._events: deque[tuple[str, list]] = deque()
        self.supervisor = Supervisor(
            self.jobs,
            home / "jobs",
            self.executor,
            settings,
            lambda job, frames: self._events.append((job, frames)),
            may_run=self.doorman.is_allowed,
        )
        self._trash = threading.Event()
        self.supervisor.on_deleted = self._trash.set
        self.subscriptions = Subscriptions(self.jobs.find_owner)
        self.control = ControlHandlers(
            self.jobs,
            self.supervisor,
            self.executor,
            settings,
            announced,
            self.doorman.is_owner,
            self.stopping.set,
        )
        self.work = WorkHandlers(
            self.store,
            self.jobs,
            self.supervisor,
            self.executor,
            settings,
            announced.providers,
            self.doorman.is_owner,
        )
        self._monitoring = None
        if settings.monitoring_port:
            self._monitoring = Monitoring(
                settings.monitoring_port,
                self.keys.folder,
                lambda: all(thread.is_alive() for thread in self._threads),
                lambda: not self.stopping.is_set(),
                partial(measure_service, self.jobs, self.store, self.connections, self.work.pools),
            )
        # answers of the pools: they wait here, and a byte over a socket wakes the loop that sends
        self._answers: deque[tuple[Request, Message | WireError, list]] = deque()
        self._wake = self._context.socket(zmq.PULL)
        self._wake_address = f"inproc://answers-{secrets.token_hex(8)}"
        self._wake.bind(self._wake_address)
        self._local = threading.local()

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serves, and writes the connection file. Jobs of an earlier service are taken up where
        they stand.

        Raises:
            InputError: the address or a port cannot be listened on.
        """
        # late: clients of an earlier start come at once and then look for the new keys
        listening = Listening(
            self._context, self.bind, self._own, self.settings.limits, self.connections, self._exact
        )
        self._sockets = listening.open_all(self._ports)
        connection = make_connection(self.bind, self._sockets, self._own)
        connection.write(self.home / "connection.json")
        write_ports(self.home / "last.json", connection.ports)
        self.doorman.start()
        loops = (
            self._serve_work,
            self._serve_control,
            self._serve_progress,
            self._serve_heartbeat,
            self._follow_connections,
            self._supervise,
        )
        self._threads = [
            threading.Thread(target=self._run_loop, args=(loop,), name=loop.__name__, daemon=True)
            for loop in loops
        ]
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._sweep, name="retention", daemon=True).start()
        if self._monitoring:
            self._monitoring.start()
        _log.info("listening on %s, ports %s", self.bind, connection.ports)

    def run(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Serves until `Shutdown`, or until ``alive()`` is False; then checkpoints the jobs that
        run. ``failed`` tells whether it ended by itself."""
        stamp = self.keys.stamp()
        while not self.stopping.wait(_CHECK_S) and alive():
            try:
                stamp = self._look_after(stamp)
            except Exception:  # out of descriptors, say: one round must not end the service
                _log.exception("the service could not be looked after")
        self.close()

    def _look_after(self, stamp: tuple[int, ...]) -> tuple[int, ...]:
        """One round: revoked keys, idle processes. Returns the keys' stamp."""
        if self.keys.stamp() != stamp:
            stamp = self.keys.stamp()
            self.connections.drop_users(self.doorman.is_allowed)
            _log.info("the list of users changed")
        self.work.end_idle()
        return stamp

    def _sweep(self) -> None:
        """Deletes what is too old, or what somebody deleted, on a thread of its own: it may take
        long."""
        retention = Retention(
            self.jobs, self.store, self.home / "jobs", self.home / "ages.json", self.settings
        )
        due = time.monotonic() + _FIRST_SWEEP_S
        while not self.stopping.is_set():
            try:
                if time.monotonic() >= due:
                    due = time.monotonic() + _SWEEP_S
                    self.jobs.check()
                    retention.sweep()
                else:
                    retention.empty_trash()
            except Exception as error:  # a full disk, a damaged file: tried again the next time
                _log.exception("the folder could not be swept")
                if is_damage(error):
                    self._fail()
            wait_s = due - time.monotonic() if self.supervisor.keep_reserve() else _ROOM_S
            self._trash.wait(max(wait_s, 0.0))
            self._trash.clear()

    def close(self) -> None:
        self.stopping.set()
        self._trash.set()
        if self._monitoring:
            self._monitoring.close()
        end = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
        with contextlib.suppress(sqlite3.Error):  # damaged: its next start repairs it
            self.supervisor.close()
        self.work.close()
        with contextlib.suppress(OSError):
            (self.home / "connection.json").unlink()
        _log.info("ended")

    def _fail(self) -> None:
        self.failed = True
        self.stopping.set()

    def _run_loop(self, loop: Callable[[], None]) -> None:
        """A loop that failed ends the service, which is then started again, rather than leave it
        half alive."""
        try:
            loop()
        except BaseException:
            _log.exception("%s failed", loop.__name__)
            self._fail()

    # --- the loops --------------------------------------------------------------------------------

    def _follow_connections(self) -> None:
        self.connections.run(self.stopping)

    def _serve_heartbeat(self) -> None:
        socket = self._sockets["heartbeat"]
        while not self.stopping.is_set():
            if socket.poll(200):
                beat = socket.recv_multipart(copy=False)
                with contextlib.suppress(WireError, KeyError):
                    self._desk.note(beat, "heartbeat")
                socket.send(beat[0].bytes[:64] if len(beat) == 1 else b"")
        socket.close()

    def _serve_control(self) -> None:
        socket = self._sockets["control"]
        while not self.stopping.is_set():
            if not socket.poll(200):
                continue
            asked = self._desk.receive(socket, Control, "control")
            if asked:
                made = answer_or_error(
                    asked.user, self.control.handle, asked.user, asked.message.body
                )
                self._desk.reply(socket, asked, 0, *made)

    def _serve_work(self) -> None:
        socket = self._sockets["work"]
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self.stopping.is_set():
            ready = dict(poller.poll(200))
            if self._wake in ready:
                self._wake.recv()
            while self._answers:
                asked, body, arrays = self._answers.popleft()
                answer = to_error(body, asked.user) if isinstance(body, WireError) else body
                self._desk.reply(socket, asked, measure(asked.message), answer, arrays)
            if socket in ready and (asked := self._desk.receive(socket, Work, "work")):
                self._begin(socket, asked)
        self._wake.close(linger=0)
        socket.close()

    def _begin(self, socket: zmq.Socket, asked: Request) -> None:
        """Sends a request on its way, if its client has room for the answer."""
        body, size = asked.message.body, measure(asked.message)

        def answer(made: Message | WireError, arrays: list | None = None) -> None:
            self._answers.append((asked, made, arrays or []))
            self._wake_up()

        if isinstance(body, Submit) and not self.subscriptions.may_submit(asked.user, body.key):
            error = WireError(
                "That job belongs to somebody else.", "Submit with a new key.", "refused"
            )
        elif isinstance(body, UploadChunk):
            self.connections.hold(asked.fd, size)
            return self.work.handle(Asker(asked.user, asked.client), asked.message, answer)
        elif self.connections.promise(asked.fd, size):
            return self.work.handle(Asker(asked.user, asked.client), asked.message, answer)
        else:
            error = WireError(
                "Many answers wait to be read by this client.", "Read them, then ask again.", "busy"
            )
        self._desk.reply(socket, asked, 0, to_error(error, asked.user), [])

    def _wake_up(self) -> None:
        """Tells the work loop that there is an answer, from any thread."""
        socket = getattr(self._local, "wake", None)
        if socket is None:
            socket = self._local.wake = self._context.socket(zmq.PUSH)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self._wake_address)
        with contextlib.suppress(zmq.Again):  # many such bytes are there already
            socket.send(b"", zmq.DONTWAIT)

    def _supervise(self) -> None:
        while not self.stopping.is_set():
            try:
                self.supervisor.tick()
            except (InputError, OSError, sqlite3.Error) as error:
                if is_damage(error):
                    raise
                # a full disk, say: everything is looked at anew the next time
                _log.exception("the queue could not be looked after")
                self.stopping.wait(1.0)
            self.supervisor.wait(_TICK_S)

    def _serve_progress(self) -> None:
        socket = self._sockets["progress"]
        while not self.stopping.is_set():
            busy = socket.poll(int(1000 * _TICK_S))
            for _ in range(_SUBSCRIPTIONS if busy else 0):
                if not socket.poll(0):
                    break
                self._subscribe(socket, socket.recv_multipart(copy=False))
            while self._events:
                job, frames = self._events.popleft()
                with contextlib.suppress(zmq.Again):
                    socket.send_multipart([job.encode(), *frames], zmq.DONTWAIT)
        socket.close()

    def _subscribe(self, socket: zmq.Socket, frames: list[zmq.Frame]) -> None:
        """A client may follow its own jobs, by their full ids."""
        topic, subscribes = frames[0].bytes[1:], frames[0].bytes[:1] == b"\x01"
        with contextlib.suppress(
            WireError, UnicodeDecodeError, KeyError, zmq.ZMQError, sqlite3.Error
        ):
            if not subscribes:
                self.subscriptions.end(topic.decode())
                socket.setsockopt(zmq.UNSUBSCRIBE, topic)
            user, fd = self._desk.note(frames, "progress")
            if not self.connections.note_topic(fd, 1 if subscribes else -1) or not subscribes:
                return
            job = topic.decode()
            if len(topic) == 32 and self.subscriptions.may_follow(
                user, fd, job, self.doorman.is_owner(user)
            ):
                socket.setsockopt(zmq.SUBSCRIBE, topic)
