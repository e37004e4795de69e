"""Taking requests in and handing answers out, each on its connection's account."""

import logging
from typing import Any, NamedTuple

import zmq

from backend.answers import measure_answer, to_error
from backend.network.connections import Connections
from backend.network.keys import Authenticator
from backend.network.sockets import send
from restage4d.protocol import framing
from restage4d.protocol.errors import VersionMismatch, WireError
from restage4d.protocol.framing import Received
from restage4d.protocol.messages import HEADER_LIMIT, Error, Message, UploadChunk

_log = logging.getLogger("restage4d.service")


class Request(NamedTuple):
    """What came over a socket."""

    client: bytes  # where the answer goes
    user: str
    fd: int  # of its connection
    message: Received


class Desk:
    """Requests in, answers out.

    Args:
        connections: whose accounts are kept.
        doorman: who may come in.
    """

    def __init__(self, connections: Connections, doorman: Authenticator) -> None:
        self._connections, self._doorman = connections, doorman

    def note(self, frames: list[zmq.Frame], channel: str) -> tuple[str, int]:
        """As whom the authenticator let this client in, and its connection. Raises KeyError for who
        was shut out since, and for what came from nobody."""
        user = str(frames[0].get("User-Id"))
        size = sum(len(frame) for frame in frames)
        fd = self._connections.note_message(frames[0], len(frames), size, channel, user)
        if not self._doorman.is_allowed(user):
            self._connections.drop(fd)  # when it comes again it is refused
            raise KeyError(user)
        return user, fd

    def receive(self, socket: zmq.Socket, allowed: Any, channel: str) -> Request | None:
        """The next request; what is none is answered with an error here."""
        client, *frames = socket.recv_multipart(copy=False)
        if not frames:
            return None
        user, fd = "", -1
        try:
            user, fd = self.note(frames, channel)
            message = framing.decode(frames, framing.REQUESTS)
            if not isinstance(message.body, allowed):
                kind = type(message.body).__name__
                raise WireError(
                    f"{kind} does not belong on the {channel} channel.",
                    "Send it on the other one.",
                    "channel",
                )
            return Request(client.bytes, user, fd, message)
        except KeyError:
            return None
        except WireError as error:
            parent = None if isinstance(error, VersionMismatch) else framing.read_parent(frames)
            _log.info("refused a message on %s: %s", channel, error)
            send(socket, [client.bytes, *framing.encode(to_error(error, user), parent=parent)])
            return None

    def reply(
        self, socket: zmq.Socket, asked: Request, promised: int, body: Message, arrays: list
    ) -> None:
        frames = framing.encode(body, arrays, parent=asked.message.id)
        if len(frames[1]) > HEADER_LIMIT:
            _log.error("an answer of kind %s is too long: %d bytes", type(body), len(frames[1]))
            what = f"The answer has {len(frames[1])} bytes, which is too long."
            error = Error(code="internal", what=what, remedy="See service.log on its machine.")
            frames = framing.encode(error, parent=asked.message.id)
        tracker = send(socket, [asked.client, *frames])
        size = len(frames[-1]) if tracker is not None else 0
        gone = (lambda: tracker.done) if tracker is not None else (lambda: True)
        self._connections.settle(asked.fd, promised, size, gone)


def measure(message: Received) -> int:
    """Bytes that a request holds until it is answered: its chunk, or its answer."""
    if isinstance(message.body, UploadChunk):
        return sum(array.nbytes for array in message.arrays)
    return measure_answer(message.body)
