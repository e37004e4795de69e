"""A client's subscription to the events of one job, on the progress channel."""

import msgspec
import zmq
from numpy.typing import NDArray

from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.connection import Connection
from restage4d.protocol.messages import (
    FRAME_LIMIT,
    Event,
    Preview,
    PreviewPoints,
)

# names of the arrays that come with an event, in the order of their frames
_ARRAY_NAMES = {
    Preview: ("png",),
    PreviewPoints: (
        "means",
        "colors",
        "influence_index",
        "influence_weight",
        "bases",
        "source",
        "index",
    ),
}


class Lost(msgspec.Struct, frozen=True):
    """An event of `Client.events` made on this side: the service does not answer; what follows
    comes after it is back."""

    what: str
    remedy: str


class Subscription:
    """Events of a job as they are published; some may be lost, `Client.status` has the state.

    Args:
        context: of the client.
        connection: where and how.
        job: its id.
    """

    def __init__(self, context: zmq.Context, connection: Connection, job: str) -> None:
        self._context, self._job = context, job
        self._socket = self._connect(connection)

    def receive(self, timeout_s: float) -> tuple[Event, dict[str, NDArray]] | None:
        """The next event and its arrays by name, None where none comes in time. Raises `WireError`
        for what is no event."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        message = framing.decode(self._socket.recv_multipart(copy=False)[1:], framing.EVENTS)
        names = _ARRAY_NAMES.get(type(message.body), ())
        return message.body, dict(zip(names, message.arrays, strict=False))

    def reconnect(self, connection: Connection) -> None:
        """To a service that came back at another address or with other keys."""
        self._socket.close(linger=0)
        self._socket = self._connect(connection)

    def close(self) -> None:
        self._socket.close(linger=0)

    def _connect(self, connection: Connection) -> zmq.Socket:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 100)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_LIMIT)
        secure(socket, connection)
        socket.setsockopt(zmq.SUBSCRIBE, self._job.encode())
        socket.connect(connection.address("progress"))
        return socket
