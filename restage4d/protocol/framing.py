"""Messages to frames and back. Nothing is allocated for an array: it is a view of the frame that
came in.

Frames: 1. the signature ``b"R4D"`` and one byte, the protocol version; 2. the msgpack `Header`;
3... one per array.
"""

import uuid
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from restage4d.protocol.errors import VersionMismatch, WireError
from restage4d.protocol.messages import (
    ARRAYS_LIMIT,
    HEADER_LIMIT,
    PROTOCOL,
    ArraySpec,
    Event,
    Header,
    Message,
    Reply,
    Request,
)

SIGNATURE = b"R4D"
FIRST = SIGNATURE + bytes([PROTOCOL])

_DTYPES = {
    "u1": np.dtype("u1"),
    "u2": np.dtype("<u2"),
    "i4": np.dtype("<i4"),
    "f4": np.dtype("<f4"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_encoder = msgspec.msgpack.Encoder()
REQUESTS = msgspec.msgpack.Decoder(Header[Request])
REPLIES = msgspec.msgpack.Decoder(Header[Reply])
EVENTS = msgspec.msgpack.Decoder(Header[Event])


class Received(NamedTuple):
    """A message that passed every check; ``arrays`` are read-only views of its frames."""

    id: str
    parent: str | None
    body: Any
    arrays: list[NDArray]


def new_id() -> str:
    """A random id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def encode(
    body: Message,
    arrays: Sequence[NDArray] = (),
    *,
    id: str | None = None,
    parent: str | None = None,
) -> list[Any]:
    """The frames of a message; arrays are not copied unless they are strided.

    Raises:
        ValueError: an array of a type that the protocol does not have.
    """
    contiguous = [np.ascontiguousarray(a) for a in arrays]
    for a in contiguous:
        if a.dtype not in _NAMES:
            raise ValueError(f"arrays of {a.dtype} are not part of the protocol")
    specs = [ArraySpec(_NAMES[a.dtype], a.shape) for a in contiguous]  # pyright: ignore[reportArgumentType]
    header = Header(id=id or new_id(), parent=parent, body=body, arrays=specs)
    # memoryview.cast refuses arrays without elements
    return [
        FIRST,
        _encoder.encode(header),
        *(a.reshape(-1).view(np.uint8).data if a.size else b"" for a in contiguous),
    ]


def decode(frames: Sequence[zmq.Frame], decoder: msgspec.msgpack.Decoder) -> Received:
    """Checks and reads one message.

    Args:
        frames: as received with ``copy=False``, without routing frames.
        decoder: `REQUESTS`, `REPLIES` or `EVENTS`.

    Raises:
        VersionMismatch: of another protocol version.
        WireError: "malformed" or "limit"; says what is wrong.
    """
    if not frames or len(frames[0]) != 4 or frames[0].bytes[:3] != SIGNATURE:
        raise _malformed_error("it does not begin with this protocol's signature")
    version = frames[0].bytes[3]
    if version != PROTOCOL:
        raise VersionMismatch(
            f"A message of protocol version {version} came; this side speaks version {PROTOCOL}."
        )
    if not 2 <= len(frames) <= 2 + ARRAYS_LIMIT:
        raise _malformed_error(f"it has {len(frames)} frames")
    if len(frames[1]) > HEADER_LIMIT:
        raise WireError(
            f"A header of {len(frames[1])} bytes came; at most {HEADER_LIMIT} are read.",
            "Send less.",
            "limit",
        )
    try:
        header = decoder.decode(frames[1].buffer)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise _malformed_error(str(error)) from error
    if len(header.arrays) != len(frames) - 2:
        raise _malformed_error(
            f"its header tells of {len(header.arrays)} arrays, {len(frames) - 2} came"
        )
    arrays = [_array(spec, frame) for spec, frame in zip(header.arrays, frames[2:], strict=True)]
    return Received(header.id, header.parent, header.body, arrays)


def _array(spec: ArraySpec, frame: zmq.Frame) -> NDArray:
    dtype = _DTYPES[spec.dtype]
    if prod(spec.shape) * dtype.itemsize != len(frame):
        raise _malformed_error(
            f"an array of shape {spec.shape} and type {spec.dtype} came as {len(frame)} bytes"
        )
    array = (
        np.frombuffer(frame.buffer, dtype).reshape(spec.shape)
        if len(frame)
        else np.empty(spec.shape, dtype)
    )
    array.flags.writeable = False
    return array


def read_parent(frames: Sequence[zmq.Frame]) -> str | None:
    """The id of a message that did not pass `decode`, where it can be read, so that its sender can
    be told."""
    try:
        header = (
            msgspec.msgpack.decode(frames[1].buffer, type=_Id)
            if len(frames[1]) <= HEADER_LIMIT
            else None
        )
    except (msgspec.MsgspecError, RecursionError, ValueError, IndexError):
        return None
    return header.id if header and len(header.id) == 32 else None


class _Id(msgspec.Struct):
    id: str


def expect(array: NDArray, shape: tuple[int | None, ...], dtype: Any, what: str) -> NDArray:
    """The array if it has this shape (None: any) and type and only finite numbers. Raises
    `WireError` "malformed"."""
    fits = array.ndim == len(shape) and all(
        n is None or n == m for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise _malformed_error(
            f"{what} is {array.dtype} of shape {array.shape}, expected {np.dtype(dtype)} of {shape}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _malformed_error(f"{what} has numbers that are not finite")
    return array


def _malformed_error(why: str) -> WireError:
    return WireError(
        f"A message cannot be read: {why}.",
        "Use the client of this version of Restage4D.",
        "malformed",
    )
