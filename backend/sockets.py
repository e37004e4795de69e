"""The sockets that the service listens on: bound and guarded, and made anew where all their
connections must go."""

import contextlib
import logging
import threading
import time
from dataclasses import dataclass

import zmq
import zmq.utils.monitor as monitoring

from backend.keys import Keys
from restage4d.errors import InputError
from restage4d.protocol.messages import Limits

_REBIND_S = 5.0  # until the system gives a port back that was just closed
_log = logging.getLogger("restage4d.service")


class RefusalMonitor:
    """Notes what ZeroMQ itself refuses, before the authenticator is asked. For one thread at a
    time, but for `watch`."""

    def __init__(self) -> None:
        self._monitors: list[zmq.Socket] = []

    def watch(self, socket: zmq.Socket) -> None:
        refused = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        self._monitors.append(socket.get_monitor_socket(refused | zmq.EVENT_MONITOR_STOPPED))

    def log_refusals(self) -> None:
        """Writes what was refused since the last call into the log."""
        for monitor in list(self._monitors):
            try:
                while monitor.poll(0):
                    event = monitoring.recv_monitor_message(monitor)
                    if event["event"] == zmq.EVENT_MONITOR_STOPPED:
                        raise zmq.ZMQError
                    _log.warning(
                        "refused a client at %s: no key, another kind of key, or no ZeroMQ",
                        event["endpoint"].decode(),
                    )
            except zmq.ZMQError:  # its socket was closed
                self._monitors.remove(monitor)
                monitor.close(linger=0)


@dataclass(frozen=True)
class Listening:
    """What all sockets of a service have in common.

    Attributes:
        context: of the server's sockets.
        bind: address to listen on.
        keys: of the service.
        limits: of what clients may send.
        refusals: notes whom ZeroMQ refuses.
    """

    context: zmq.Context
    bind: str
    keys: Keys
    limits: Limits
    refusals: RefusalMonitor


class ListeningSocket:
    """One of the service's sockets. Used by one thread, but for `drop_connections`.

    Args:
        listening: address, keys, limits.
        kind: of ZeroMQ's sockets: ROUTER, XPUB, REP.
        port: the wanted one; where it is taken, or 0, a free one is found.

    Raises:
        InputError: the address cannot be listened on.
    """

    def __init__(self, listening: Listening, kind: int, port: int) -> None:
        self._listening, self._kind = listening, kind
        self._dropping = threading.Event()
        self.socket = self._make()
        self._bind(port)

    @property
    def port(self) -> int:
        return self._port

    def drop_connections(self) -> None:
        """Asks for a new socket on the same port, from any thread; honest clients reconnect by
        themselves."""
        self._dropping.set()

    def renew(self, poller: zmq.Poller) -> zmq.Socket:
        """The socket, registered with ``poller``; a new one where its connections shall go."""
        if self._dropping.is_set():
            self._dropping.clear()
            poller.unregister(self.socket)
            self.socket.close(linger=0)
            self.socket = self._make()
            self._bind(self._port, _REBIND_S)
            poller.register(self.socket, zmq.POLLIN)
        return self.socket

    def close(self) -> None:
        self.socket.close(linger=0)

    def _make(self) -> zmq.Socket:
        socket = self._listening.context.socket(self._kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, self._listening.limits.message_bytes)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.RCVHWM, 2 * self._listening.limits.credit)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"restage4d")
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.curve_secretkey = self._listening.keys.server()[1].encode()
        if self._kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
        if ":" in self._listening.bind:
            socket.setsockopt(zmq.IPV6, 1)
        return socket

    def _bind(self, port: int, patience_s: float = 0.0) -> None:
        """On ``port`` where it becomes free in time, else on any."""
        bind = self._listening.bind
        host = f"[{bind}]" if ":" in bind else bind
        deadline = time.monotonic() + patience_s
        while True:
            try:
                self.socket.bind(f"tcp://{host}:{port}")
                break
            except zmq.ZMQError as error:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                elif error.errno == zmq.EADDRINUSE and port:
                    port = 0
                else:
                    what = f"The service cannot listen on {host}:{port}: {error}."
                    raise InputError(what, "Give another --bind address.") from error
        self._listening.refusals.watch(self.socket)
        self._port = int(self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])


def send(socket: zmq.Socket, frames: list) -> None:
    """To a client that may be gone or may not read: then the answer is dropped, it can ask
    again."""
    with contextlib.suppress(zmq.Again, zmq.ZMQError):
        socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
