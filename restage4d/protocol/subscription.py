"""A client's subscription to the events of one job, on the progress channel."""

import time
from collections.abc import Callable, Iterator

import msgspec
import zmq
from numpy.typing import NDArray

from restage4d.protocol import framing
from restage4d.protocol.channel import secure
from restage4d.protocol.connection import ConnectionFile
from restage4d.protocol.errors import NotRunning, TimedOut
from restage4d.protocol.messages import (
    ENDED,
    FRAME_LIMIT,
    Event,
    JobStatus,
    Preview,
    PreviewPoints,
    StateChanged,
)

_ASK_EVERY_S = 2.0  # published events may be lost, so the state is asked for

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
        file: where and how.
        job: its id.
    """

    def __init__(self, context: zmq.Context, file: ConnectionFile, job: str) -> None:
        self._context, self._file, self._job = context, file, job
        self._socket = self._connect()

    def receive(self, timeout_s: float) -> tuple[Event, dict[str, NDArray]] | None:
        """The next event and its arrays by name, None where none comes in time. Raises `WireError`
        for what is no event."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        message = framing.decode(self._socket.recv_multipart(copy=False)[1:], framing.EVENTS)
        names = _ARRAY_NAMES.get(type(message.body), ())
        return message.body, dict(zip(names, message.arrays, strict=False))

    def renew(self) -> None:
        """Goes to a service that came back at another address or with other keys."""
        if self._file.read_again() != self._connection:
            self._socket.close(linger=0)
            self._socket = self._connect()

    def close(self) -> None:
        self._socket.close(linger=0)

    def _connect(self) -> zmq.Socket:
        connection = self._connection = self._file.read_again()
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 100)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_LIMIT)
        secure(socket, connection)
        socket.setsockopt(zmq.SUBSCRIBE, self._job.encode())
        socket.connect(connection.address("progress"))
        return socket


def follow(
    subscription: Subscription,
    ask: Callable[[], JobStatus],
    stop: Callable[[], bool],
) -> Iterator[tuple[Event | Lost, dict[str, NDArray]]]:
    """Events of a job until it ends or ``stop()``, see `Client.events`.

    Args:
        subscription: to the job.
        ask: how the job stands. Raises `NotRunning`, `TimedOut`.
        stop: whether to end.
    """
    state, asked, lost = None, 0.0, False
    while not stop():
        if time.monotonic() - asked > _ASK_EVERY_S:
            asked = time.monotonic()
            subscription.renew()
            try:
                status = ask()
            except (NotRunning, TimedOut) as error:
                if not lost:
                    yield Lost(error.what, error.remedy), {}
                lost = True
                continue
            if status.state != state or lost:
                state, lost = status.state, False
                yield StateChanged(job=status.id, status=status), {}
            if state in ENDED:
                return
        if (received := subscription.receive(0.1)) is None:
            continue
        body, arrays = received
        if isinstance(body, StateChanged):
            if body.status.state == state:
                continue
            state = body.status.state
        yield body, arrays
        if state in ENDED:
            return
