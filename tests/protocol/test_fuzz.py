"""Mutated messages: every one is answered, refused or dropped; the service stays as it is."""

import msgspec
import numpy as np
import psutil
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restage4d.protocol import framing, messages
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Error, Hello, Welcome

from .conftest import Raw

GOOD = [
    messages.Hello(client="x"),
    messages.Status(job="0" * 32),
    messages.List(),
    messages.Cancel(job="0" * 32),
    messages.UploadBegin(content="0" * 64, size=10),
    messages.UploadChunk(token="0" * 32, offset=0),
    messages.Submit(
        key="0" * 32, base="0" * 64, prompt="jump", settings={"a": 1, "b": 0.5, "c": True, "d": "x"}
    ),
    messages.Fetch(content="0" * 64),
    messages.FetchPreview(job="0" * 32),
    messages.FetchGaussians(content="0" * 64, performance="base", frame=0),
    messages.Render(content="0" * 64, width=8, height=8),
]
ARRAYS = [
    np.zeros(7, np.uint8),
    np.zeros((4, 9), np.float32),
    np.eye(4, dtype=np.float32),
    np.eye(3, dtype=np.float32),
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw) -> list[bytes]:
    """A good message in which bits, fields, array headers or frames were changed; or plain
    bytes."""
    arrays = draw(st.lists(st.sampled_from(ARRAYS), max_size=3))
    frames = [bytes(f) for f in framing.encode(draw(st.sampled_from(GOOD)), arrays)]
    way = draw(st.sampled_from(["bits", "field", "frames", "bytes", "cut", "arrays"]))
    if way == "bits":
        at = draw(st.integers(0, len(frames) - 1))
        data = bytearray(frames[at])
        for _ in range(draw(st.integers(1, 8))):
            if data:
                data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
        frames[at] = bytes(data)
    elif way in ("field", "arrays"):
        header = msgspec.msgpack.decode(frames[1])
        place = header if way == "arrays" or draw(st.booleans()) else header["body"]
        key = "arrays" if way == "arrays" else draw(st.sampled_from(sorted(place)))
        place[key] = draw(values)
        try:
            frames[1] = msgspec.msgpack.encode(header)
        except (OverflowError, UnicodeEncodeError):
            frames[1] = b""
    elif way == "frames":
        frames = [draw(st.sampled_from(frames)) for _ in range(draw(st.integers(0, 20)))]
    elif way == "cut":
        frames[1] = frames[1][: draw(st.integers(0, len(frames[1])))]
    else:
        frames = draw(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
    return frames or [b""]


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_reading_gives_a_message_or_an_error(frames):
    held = [zmq.Frame(f) for f in frames]
    for decoder in (framing.REQUESTS, framing.REPLIES, framing.EVENTS):
        try:
            message = framing.decode(held, decoder)
        except WireError:
            framing.read_parent(held)
        else:
            assert sum(a.nbytes for a in message.arrays) == sum(len(f) for f in frames[2:])


@pytest.mark.parametrize("channel", ["work", "control"])
def test_the_service_outlives_mutated_messages(address, channel):
    connection = Connection.read(address)
    raw = Raw(connection, channel)

    @settings(
        max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(mutated())
    def send(frames):
        raw.socket.send_multipart(frames)
        while raw.socket.poll(0):
            raw.socket.recv_multipart()

    try:
        before = psutil.Process(connection.pid).memory_info().rss if connection.pid else 0
        send()
        id = framing.new_id()
        raw.socket.send_multipart(framing.encode(Hello(), id=id))
        while (reply := raw.answer(30.0)) is not None and reply.parent != id:
            pass
        assert reply is not None, "the service does not answer any more"
        assert isinstance(reply.body, Welcome if channel == "control" else Error)
        if connection.pid:
            assert psutil.Process(connection.pid).memory_info().rss < before + (64 << 20)
    finally:
        raw.close()
