"""The sockets that the service listens on."""

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import zmq

from backend.network.connections import TOPICS_BUFFER, Connections
from backend.network.keys import OwnKeys
from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.protocol.connection import CHANNELS, Connection, is_loopback
from restage4d.protocol.messages import HEADER_LIMIT, Limits

_REBIND_S = 5.0  # until the system gives a port back that was just closed
_ENCRYPTION = 33  # bytes that CURVE adds to a frame
_SMALL_FRAME = 1024  # bytes of a subscription or a heartbeat


@dataclass(frozen=True)
class Listening:
    """What all sockets of a service have in common.

    Attributes:
        context: of the server's sockets, with two I/O threads.
        bind: address to listen on.
        own: the service's keys.
        limits: of what clients may send.
        connections: follows who comes.
        exact: whether a port that is taken is an error; else a free one is found.
    """

    context: zmq.Context
    bind: str
    own: OwnKeys
    limits: Limits
    connections: Connections
    exact: bool = False

    def open_all(self, ports: dict[str, int]) -> dict[str, zmq.Socket]:
        """All four, see `open`; a port that is not named is a free one."""
        return {name: self.open(name, ports.get(name, 0)) for name in CHANNELS}

    def open(self, channel: str, port: int) -> zmq.Socket:
        """A socket that listens.

        Args:
            channel: of the protocol: "work", "control", "progress" or "heartbeat".
            port: the wanted one; where it is taken, or 0, a free one is found.

        Raises:
            InputError: the address, or the port that has to be exact, cannot be listened on.
        """
        kind = {"work": zmq.ROUTER, "control": zmq.ROUTER, "progress": zmq.XPUB}
        socket = self.context.socket(kind.get(channel, zmq.REP))
        # of one frame, before and after its client is known; only uploads are large
        largest = {"work": self.limits.message_bytes, "control": 5 * HEADER_LIMIT}
        socket.setsockopt(zmq.MAXMSGSIZE, largest.get(channel, _SMALL_FRAME) + _ENCRYPTION)
        # large messages are encrypted by a thread of their own, small ones do not wait for them
        socket.setsockopt(zmq.AFFINITY, 2 if channel == "work" else 1)
        socket.setsockopt(zmq.LINGER, 0)
        # each event replaces the one before, so that a slow reader needs but the last few
        socket.setsockopt(zmq.SNDHWM, 32 if channel == "progress" else 100)
        socket.setsockopt(zmq.RCVHWM, 2 * self.limits.credit)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"restage4d")
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.curve_secretkey = self.own.service[1].encode()
        if channel in ("work", "control"):
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if channel == "progress":
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
            socket.setsockopt(zmq.RCVBUF, TOPICS_BUFFER)
        if ":" in self.bind:
            socket.setsockopt(zmq.IPV6, 1)
        self.connections.watch(socket, channel)
        self._bind(socket, port)
        return socket

    def _bind(self, socket: zmq.Socket, port: int) -> None:
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        deadline = time.monotonic() + (_REBIND_S if self.exact else 0.0)
        while True:
            try:
                socket.bind(f"tcp://{host}:{port}")
                return
            except zmq.ZMQError as error:
                taken = error.errno == zmq.EADDRINUSE
                if taken and time.monotonic() < deadline:
                    time.sleep(0.1)
                elif taken and port and not self.exact:
                    port = 0
                elif taken:
                    raise InputError(
                        f"Port {port} of {host} is taken by another program.",
                        "Give another --port, or none.",
                    ) from error
                else:
                    what = f"The service cannot listen on {host}:{port}: {error}."
                    raise InputError(what, "Give another --bind address.") from error


def make_connection(bind: str, sockets: dict[str, zmq.Socket], own: OwnKeys) -> Connection:
    """What this machine's own clients need."""
    ports = {
        name: int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])
        for name, socket in sockets.items()
    }
    return Connection(
        host="127.0.0.1" if bind in ("0.0.0.0", "*", "::") else bind,
        ports=ports,
        server_key=own.service[0],
        public_key=own.local[0],
        secret_key=own.local[1],
        pid=os.getpid(),
        loopback=is_loopback(bind),
    )


def read_ports(path: Path) -> dict[str, int]:
    """Of the last run, none where there was none."""
    try:
        ports = json.loads(path.read_text())["ports"]
        return {name: int(ports[name]) for name in CHANNELS if 0 < int(ports[name]) < 65536}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_ports(path: Path, ports: dict[str, int]) -> None:
    """For the next run, so that clients come back by themselves."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"ports": ports}) + "\n")


def send(socket: zmq.Socket, frames: list) -> zmq.MessageTracker | None:
    """To a client that may be gone or may not read: then the answer is dropped, it can ask again.
    What comes back tells when the last frame has left this process; None: nothing was sent."""
    *first, last = frames
    with contextlib.suppress(zmq.Again, zmq.ZMQError):
        for frame in first:
            socket.send(frame, zmq.DONTWAIT | zmq.SNDMORE)
        return socket.send(last, zmq.DONTWAIT, copy=False, track=True)
    return None
