"""One socket of a client: connects, notices refusals, sends requests and waits for their
answers."""

import functools
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import zmq
import zmq.utils.monitor as monitoring
from numpy.typing import NDArray

from restage4d.protocol import framing
from restage4d.protocol.connection import Connection, ConnectionFile
from restage4d.protocol.errors import (
    NotRunning,
    Refused,
    TimedOut,
    WireError,
    WrongService,
)
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import FRAME_LIMIT, Error, Message

_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


_ASK = "Ask whoever runs it for a connection file (restage4d keys make NAME), or start your own."
_RENEW = (
    "Start the service (restage4d serve) and use the file that it writes; of a service "
    "elsewhere ask its owner for a new one."
)
_LOOK_S = 0.25  # between two looks at the connection file while there is no connection
# A service that starts opens its ports a moment before it writes its keys down.
_PATIENCE_S = 2.0
_MOST_SOCKETS = 8192  # of all clients of a process; ZeroMQ's own default is 1023


def find_context() -> zmq.Context:
    """The context of all clients of this process. It is never terminated: that waits without a
    limit until ZeroMQ's threads have taken every socket down."""
    return _make_context(os.getpid())


@functools.cache
def _make_context(process: int) -> zmq.Context:
    """One for each process, as a context does not outlive a fork."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, _MOST_SOCKETS)
    context.setsockopt(zmq.LINGER, 0)  # of every socket that is made of it
    return context


def secure(socket: zmq.Socket, connection: Connection) -> None:
    """Encrypts a client socket: only the service whose key the connection names can answer."""
    socket.curve_serverkey = connection.server_key.encode()
    socket.curve_publickey = connection.public_key.encode()
    socket.curve_secretkey = connection.secret_key.encode()
    if ":" in connection.host:
        socket.setsockopt(zmq.IPV6, 1)


def _watch(socket: zmq.Socket) -> zmq.Socket:
    """Where a socket's events are read. They wait in memory however many they are: ZeroMQ's thread,
    which all clients of the process share, would stand still at a queue that is full."""
    monitor = socket.context.socket(zmq.PAIR)
    monitor.setsockopt(zmq.RCVHWM, 0)
    address = f"inproc://monitor-{framing.new_id()}"
    socket.monitor(address, _WATCHED)
    monitor.connect(address)
    return monitor


def _close_in_order(socket: zmq.Socket, monitor: zmq.Socket) -> None:
    """The monitor is told off first: ZeroMQ's thread would wait for ever for a reader that went
    before."""
    socket.disable_monitor()
    monitor.close(linger=0)
    socket.close(linger=0)


class Channel:
    """A DEALER to one ROUTER of the service. For one thread at a time. While it has no connection
    it reads the connection file again and again, as a service that was started anew has new keys.

    Args:
        context: of the client.
        file: where and how.
        name: "work" or "control".
    """

    def __init__(self, context: zmq.Context, file: ConnectionFile, name: str) -> None:
        self.name, self._context, self._file = name, context, file
        self.drops = 0  # connections lost so far
        self._open(file.read_again())

    def _open(self, connection: Connection) -> None:
        self.connection = connection
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, FRAME_LIMIT)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        # nothing is queued for a service that is not there
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        secure(self.socket, connection)
        self.monitor = _watch(self.socket)
        # also where nobody closes it: the garbage collector has no order of its own
        self._close = weakref.finalize(self, _close_in_order, self.socket, self.monitor)
        self.connected = False
        self._handshakes_failed = 0
        self._refusal: Refused | None = None
        self._looked = self._refused_at = time.monotonic()
        self.socket.connect(connection.address(self.name))

    def close(self) -> None:
        """Ends the connection; may be called again."""
        self._close()

    def send(self, body: Message, arrays: Sequence[NDArray] = (), *, deadline: float) -> str:
        """Sends a request and returns its id; waits for the connection until ``deadline``
        (`time.monotonic`)."""
        id = framing.new_id()
        frames = framing.encode(body, arrays, id=id)
        while True:
            self._note_events()
            try:
                self.socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
                return id
            except zmq.Again:
                self._look_again()
                if time.monotonic() > deadline:
                    raise self._silence_error() from None
                self._poll(min(0.1, deadline - time.monotonic()), zmq.POLLOUT)

    def receive(self, *, deadline: float) -> Received:
        """The next message from the service. Raises `TimedOut`, `Refused`, `NotRunning` or
        `WireError` "malformed"."""
        while True:
            self._note_events()
            try:
                return framing.decode(
                    self.socket.recv_multipart(zmq.DONTWAIT, copy=False), framing.REPLIES
                )
            except zmq.Again:
                self._look_again()
                if time.monotonic() > deadline:
                    raise self._silence_error() from None
                self._poll(min(0.1, max(deadline - time.monotonic(), 0.001)), zmq.POLLIN)

    def request(
        self, body: Message, arrays: Sequence[NDArray] = (), *, timeout_s: float
    ) -> Received:
        """Sends a request and waits for its own answer; late answers to earlier ones are dropped.

        Raises:
            WireError: the service's own error, or one of `receive`.
        """
        deadline = time.monotonic() + timeout_s
        drops = self.drops
        id = self.send(body, arrays, deadline=deadline)
        while True:
            if self.drops != drops:
                # the request may have gone down with the connection; all requests may be repeated
                drops = self.drops
                id = self.send(body, arrays, deadline=deadline)
            try:
                reply = self.receive(deadline=min(deadline, time.monotonic() + 0.2))
            except (TimedOut, NotRunning):
                if time.monotonic() > deadline:
                    raise
                continue
            if reply.parent == id:
                return self.unwrap(reply)

    @staticmethod
    def unwrap(reply: Received) -> Received:
        """The reply, unless it is an error, which is raised."""
        if isinstance(reply.body, Error):
            raise WireError(reply.body.what, reply.body.remedy, reply.body.code)
        return reply

    def _poll(self, seconds: float, flag: int) -> None:
        poller = zmq.Poller()
        poller.register(self.socket, flag)
        poller.register(self.monitor, zmq.POLLIN)
        poller.poll(max(int(seconds * 1000), 1))

    def _note_events(self) -> None:
        while self.monitor.poll(0):
            event: Any = monitoring.recv_monitor_message(self.monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connected, self._handshakes_failed, self._refusal = True, 0, None
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self.drops += self.connected
                self.connected = False
            elif event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._note_refusal(Refused, "it does not know the key that was shown", _ASK)
            elif event["event"] == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                why = "it asks for another kind of key, or is not Restage4D"
                self._note_refusal(Refused, why, _ASK)
            else:
                # Somebody closed the connection within the handshake: a wrong server key, or a
                # service that just ends.
                self._handshakes_failed += 1
                if self._handshakes_failed >= 3:
                    why = (
                        "it has another key than this connection file names, as it was started "
                        "anew since, or is another program"
                    )
                    self._note_refusal(WrongService, why, _RENEW)

    def _note_refusal(self, kind: type[Refused], why: str, remedy: str) -> None:
        if self._refusal is None:
            address = self.connection.address(self.name)
            self._refusal = kind(f"The service at {address} refuses this client: {why}.", remedy)
            self._refused_at = time.monotonic()

    def _look_again(self) -> None:
        """Goes to where the connection file points now, if it changed. Raises `Refused` where the
        service that the file names lets nobody in."""
        if self.connected:
            return
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            newest = self._file.read_again()
            if newest != self.connection:
                self.close()
                self._open(newest)
        patience = _PATIENCE_S if self.connection.pid else 0.0
        if self._refusal is not None and now - self._refused_at >= patience:
            raise self._refusal

    def _silence_error(self) -> WireError:
        if self._refusal is not None:
            return self._refusal
        address = self.connection.address(self.name)
        if self.connected:
            return TimedOut(f"The service at {address} did not answer in time.")
        return NotRunning(
            f"Nobody answers at {address}.",
            "Start the service (restage4d serve), or check address and network.",
        )


class SharedChannel:
    """A `Channel` that is opened when it is first needed; several threads may ask over it, one
    after the other.

    Args:
        context: of the client.
        file: where and how.
        name: "work" or "control".
    """

    def __init__(self, context: zmq.Context, file: ConnectionFile, name: str) -> None:
        self._context, self._file, self._name = context, file, name
        self._lock = threading.Lock()
        self._channel: Channel | None = None

    def request(
        self, body: Message, arrays: Sequence[NDArray] = (), *, timeout_s: float
    ) -> Received:
        """See `Channel.request`."""
        with self._lock:
            if self._channel is None:
                self._channel = Channel(self._context, self._file, self._name)
            try:
                return self._channel.request(body, arrays, timeout_s=timeout_s)
            except Refused:
                self.close()
                raise

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
