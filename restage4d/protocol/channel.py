"""One socket of a client: connects, notices refusals, sends requests and waits for their
answers."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import zmq
import zmq.utils.monitor as monitoring
from numpy.typing import NDArray

from restage4d.protocol import framing
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import (
    NotRunning,
    Refused,
    TimedOut,
    WireError,
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


def secure(socket: zmq.Socket, connection: Connection) -> None:
    """Encrypts a client socket: only the service whose key the connection names can answer."""
    socket.curve_serverkey = connection.server_key.encode()
    socket.curve_publickey = connection.public_key.encode()
    socket.curve_secretkey = connection.secret_key.encode()
    if ":" in connection.host:
        socket.setsockopt(zmq.IPV6, 1)


class Channel:
    """A DEALER to one ROUTER of the service. For one thread at a time.

    Args:
        context: of the client.
        connection: where and how.
        name: "work" or "control".
    """

    def __init__(self, context: zmq.Context, connection: Connection, name: str) -> None:
        self.name, self.connection = name, connection
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, FRAME_LIMIT)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        # nothing is queued for a service that is not there
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        secure(self.socket, connection)
        self.monitor = self.socket.get_monitor_socket(_WATCHED)
        self.connected = False
        self.drops = 0  # connections lost so far
        self._handshakes_failed = 0
        self.socket.connect(connection.address(name))

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)

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
                self.connected, self._handshakes_failed = True, 0
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self.drops += self.connected
                self.connected = False
            elif event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise self._refusal_error("it does not know the key that was shown")
            elif event["event"] == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                raise self._refusal_error("it asks for another kind of key, or is not Restage4D")
            else:
                # Somebody closed the connection within the handshake: a wrong server key, or a
                # service that just ends.
                self._handshakes_failed += 1
                if self._handshakes_failed >= 3:
                    raise self._refusal_error(
                        "it closes the connection before a word is said, as with a wrong server key"
                    )

    def _refusal_error(self, why: str) -> Refused:
        return Refused(
            f"The service at {self.connection.address(self.name)} refuses this client: {why}.",
            "Ask whoever runs it for a connection file (restage4d keys make NAME), or start your "
            "own.",
        )

    def _silence_error(self) -> WireError:
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
        connection: where and how.
        name: "work" or "control".
    """

    def __init__(self, context: zmq.Context, connection: Connection, name: str) -> None:
        self._context, self._connection, self._name = context, connection, name
        self._lock = threading.Lock()
        self._channel: Channel | None = None

    def request(
        self, body: Message, arrays: Sequence[NDArray] = (), *, timeout_s: float
    ) -> Received:
        """See `Channel.request`."""
        with self._lock:
            if self._channel is None:
                self._channel = Channel(self._context, self._connection, self._name)
            try:
                return self._channel.request(body, arrays, timeout_s=timeout_s)
            except Refused:
                self.close()
                raise

    def reconnect(self, connection: Connection) -> None:
        """To a service that came back at another address or with other keys."""
        with self._lock:
            self._connection = connection
            self.close()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
