"""What every service must say to good and bad messages."""

import hashlib

import msgspec
import numpy as np
import pytest
import zmq
from tiny_job import ENDLESS, tiny_job

from restage4d.protocol import framing
from restage4d.protocol.errors import VersionMismatch, WireError
from restage4d.protocol.messages import (
    CHUNK,
    PROTOCOL,
    Chunk,
    Error,
    Fetch,
    Hello,
    JobStatus,
    Render,
    Status,
    Stored,
    Submit,
    UploadBegin,
    UploadChunk,
    UploadReady,
    Welcome,
)

NOBODY = "0" * 32


def error(reply, code: str) -> Error:
    assert isinstance(reply.body, Error), reply
    assert reply.body.code == code, reply.body
    assert reply.body.what.endswith(".")
    return reply.body


def bytes_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, n, dtype=np.uint8)


def begin(work, data: np.ndarray) -> UploadReady:
    content = hashlib.sha256(data).hexdigest()
    ready = work.ask(framing.encode(UploadBegin(content=content, size=len(data)))).body
    assert isinstance(ready, UploadReady)
    return ready


def chunk(token: str, offset: int, data: np.ndarray) -> list:
    return framing.encode(UploadChunk(token=token, offset=offset), [data])


def test_hello_tells_who_it_is(client):
    welcome = client.hello()
    assert welcome.protocol == PROTOCOL
    assert {d.kind for d in welcome.devices} <= {"cpu", "cuda"}
    assert welcome.devices
    assert "kinematic" in welcome.providers["driving"]
    assert welcome.limits.message_bytes >= CHUNK + 65536
    assert client.alive()


def test_answers_carry_the_request_as_parent(control):
    reply = control.ask(framing.encode(Hello(), id="a" * 32))
    assert reply.parent == "a" * 32
    assert isinstance(reply.body, Welcome)


def test_another_version_is_told_so(control):
    frames = framing.encode(Hello())
    frames[0] = framing.SIGNATURE + bytes([PROTOCOL + 1])
    assert str(PROTOCOL) in error(control.ask(frames), "version").what
    with pytest.raises(VersionMismatch):
        framing.decode([zmq.Frame(f) for f in frames], framing.REPLIES)


def test_unknown_fields_are_ignored(control):
    header = {
        "id": "b" * 32,
        "body": {"kind": "Hello", "client": "x", "later": 1},
        "arrays": [],
        "more": None,
    }
    assert isinstance(control.ask([framing.FIRST, msgspec.msgpack.encode(header)]).body, Welcome)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"R4D"],
        [b"JUNK", b"junk"],
        [framing.FIRST],
        [framing.FIRST, b""],
        [framing.FIRST, b"\xc1" * 50],
        [framing.FIRST, b"\x91" * 100_000],  # deep nesting
        [framing.FIRST, b"\xdf\xff\xff\xff\xff"],  # a map of four thousand million entries
        [framing.FIRST, msgspec.msgpack.encode({"id": "short", "body": {"kind": "Hello"}})],
        [framing.FIRST, msgspec.msgpack.encode({"id": NOBODY, "body": {"kind": "Explode"}})],
        [
            framing.FIRST,
            msgspec.msgpack.encode(
                {"id": NOBODY, "body": {"kind": "Status", "job": "../../etc/passwd"}}
            ),
        ],
        [
            framing.FIRST,
            msgspec.msgpack.encode({"id": NOBODY, "body": {"kind": "Hello"}}),
            b"an array nobody told of",
        ],
        [framing.FIRST, *[msgspec.msgpack.encode({"id": NOBODY, "body": {"kind": "Hello"}})] * 40],
    ],
)
def test_what_is_no_message_is_refused(control, frames):
    error(control.ask(frames), "malformed")
    assert isinstance(control.ask(framing.encode(Hello())).body, Welcome)


@pytest.mark.parametrize("shape", [(5,), (1 << 31, 1 << 31, 1 << 31, 1 << 31), (2, 2), (0,)])
def test_a_lying_array_header_is_refused_before_anything_is_allocated(work, shape):
    header = {
        "id": NOBODY,
        "body": {"kind": "UploadChunk", "token": NOBODY, "offset": 0},
        "arrays": [["u1", shape]],
    }
    error(work.ask([framing.FIRST, msgspec.msgpack.encode(header), b"abc"]), "malformed")


def test_a_huge_header_is_refused(control):
    error(control.ask([framing.FIRST, bytes(1 << 20)]), "limit")


def test_requests_belong_on_their_channel(work, control):
    error(work.ask(framing.encode(Hello())), "channel")
    error(control.ask(framing.encode(Fetch(content="0" * 64))), "channel")


def test_errors_name_the_request_they_answer(work):
    frames = framing.encode(Hello(), id="c" * 32)
    assert work.ask(frames).parent == "c" * 32


# --- upload and fetch -----------------------------------------------------------------------------


def test_upload_and_fetch_give_the_same_bytes(client, tmp_path):
    data = bytes_of(3 * CHUNK + 12345, seed=1)
    (tmp_path / "a.bin").write_bytes(data)
    seen = []
    content = client.upload(tmp_path / "a.bin", lambda done, total: seen.append((done, total)))
    assert content == hashlib.sha256(data).hexdigest()
    assert seen[-1] == (len(data), len(data))
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert client.fetch(content, tmp_path / "b.bin").read_bytes() == data.tobytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a.bin", "b.bin"}


def test_bytes_are_stored_once(work):
    data = bytes_of(1000, seed=2)
    ready = begin(work, data)
    assert isinstance(work.ask(chunk(ready.token, 0, data)).body, Stored)
    again = work.ask(
        framing.encode(UploadBegin(content=hashlib.sha256(data).hexdigest(), size=len(data)))
    )
    assert isinstance(again.body, Stored)


def test_upload_goes_on_where_it_broke_off(work):
    data = bytes_of(CHUNK + 500, seed=3)
    ready = begin(work, data)
    assert ready.offset == 0
    assert work.ask(chunk(ready.token, 0, data[:CHUNK])).body.offset == CHUNK
    again = begin(work, data)
    assert again.offset == CHUNK
    assert again.token != ready.token
    error(work.ask(chunk(ready.token, CHUNK, data[CHUNK:])), "refused")  # the first token is spent
    assert isinstance(work.ask(chunk(again.token, CHUNK, data[CHUNK:])).body, Stored)


def test_a_replayed_token_is_refused(work):
    data = bytes_of(100, seed=4)
    ready = begin(work, data)
    assert isinstance(work.ask(chunk(ready.token, 0, data)).body, Stored)
    assert "spent" in error(work.ask(chunk(ready.token, 0, data)), "refused").what
    error(work.ask(chunk(NOBODY, 0, data)), "refused")


def test_other_bytes_than_announced_are_damaged(work):
    ready = begin(work, bytes_of(100, seed=5))
    error(work.ask(chunk(ready.token, 0, bytes_of(100, seed=6))), "damaged")
    assert begin(work, bytes_of(100, seed=5)).offset == 0


def test_chunks_out_of_order_or_beyond_the_end_are_refused(work):
    data = bytes_of(100, seed=7)
    ready = begin(work, data)
    error(work.ask(chunk(ready.token, 50, data[50:])), "malformed")
    ready = begin(work, data)
    error(work.ask(chunk(ready.token, 0, bytes_of(101, seed=7))), "limit")
    ready = begin(work, data)
    error(work.ask(chunk(ready.token, 0, data[:0])), "limit")
    error(work.ask(framing.encode(UploadChunk(token=NOBODY, offset=0))), "malformed")


def test_too_large_an_upload_is_refused_before_a_byte_is_sent(work, client):
    size = client.hello().limits.upload_bytes + 1
    assert (
        "GB"
        in error(work.ask(framing.encode(UploadBegin(content="1" * 64, size=size))), "limit").what
    )


def test_too_many_uploads_at_once_are_refused(work, client):
    limit = client.hello().limits.uploads_per_client
    codes = []
    for i in range(limit + 1):
        reply = work.ask(framing.encode(UploadBegin(content=f"{i:064x}", size=10))).body
        codes.append(reply.code if isinstance(reply, Error) else "")
    assert "limit" in codes
    for i in range(limit + 1):  # a chunk of wrong bytes ends each
        reply = work.ask(framing.encode(UploadBegin(content=f"{i:064x}", size=10))).body
        if isinstance(reply, UploadReady):
            work.ask(chunk(reply.token, 0, bytes_of(10)))


def test_fetch_of_a_range(work, client, tmp_path):
    data = bytes_of(5000, seed=8)
    (tmp_path / "a").write_bytes(data)
    content = client.upload(tmp_path / "a")
    reply = work.ask(framing.encode(Fetch(content=content, offset=4000, length=5000)))
    assert reply.body == Chunk(content=content, size=5000, offset=4000)
    assert np.array_equal(reply.arrays[0], data[4000:])
    assert len(work.ask(framing.encode(Fetch(content=content, offset=5000))).arrays[0]) == 0
    error(work.ask(framing.encode(Fetch(content=content, offset=5001))), "limit")
    error(work.ask(framing.encode(Fetch(content="2" * 64))), "not_found")


def test_an_interrupted_fetch_goes_on_and_checks_what_it_has(client, tmp_path):
    data = bytes_of(CHUNK + 5000, seed=9)
    (tmp_path / "a").write_bytes(data)
    content = client.upload(tmp_path / "a")
    partial = tmp_path / f".b.{content[:16]}.part"
    partial.write_bytes(data[:3000])
    first = []
    client.fetch(content, tmp_path / "b", lambda done, total: first.append(done))
    assert first[0] > 3000
    assert (tmp_path / "b").read_bytes() == data.tobytes()
    partial.write_bytes(bytes(3000))  # not the beginning of these bytes
    with pytest.raises(WireError) as caught:
        client.fetch(content, tmp_path / "b")
    assert caught.value.code == "damaged"
    assert not partial.exists()
    assert (tmp_path / "b").read_bytes() == data.tobytes()


# --- submit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": ""}, "malformed"),
        ({"base": ""}, "bad_input"),
        ({"base": "3" * 64}, "not_found"),
        ({"driving": "teleport"}, "bad_input"),
        ({"settings": {"fusion.stepz": 3}}, "bad_input"),
        ({"settings": {"fusion.steps": "many"}}, "bad_input"),
    ],
)
def test_a_job_that_cannot_be_is_refused_at_once(work, client, tmp_path, change, code):
    (tmp_path / "a").write_bytes(b"no video, but bytes")
    spec = {"key": framing.new_id(), "base": client.upload(tmp_path / "a"), "prompt": "jump"}
    error(work.ask(framing.encode(Submit(**(spec | change)))), code)
    assert spec["key"] not in [status.id for status in client.jobs()]


def test_a_job_submitted_twice_is_one_job(client):
    spec = tiny_job(client.upload, ENDLESS, key=framing.new_id())
    assert client.submit(spec) == client.submit(spec) == spec.key
    assert [s.id for s in client.jobs()].count(spec.key) == 1
    client.delete(spec.key)
    assert spec.key not in [s.id for s in client.jobs() if not s.stopping]


def test_unknown_jobs(control, client):
    error(control.ask(framing.encode(Status(job=NOBODY))), "not_found")
    for request in (
        client.cancel,
        client.pause,
        client.resume,
        client.delete,
        client.fetch_preview,
    ):
        with pytest.raises(WireError) as caught:
            request(NOBODY)
        assert caught.value.code == "not_found"


def test_too_many_jobs_are_refused(client):
    limit = client.hello().limits.jobs_per_client
    if limit > 50:
        pytest.skip("this service takes more jobs than a test should make")
    endless, keys = tiny_job(client.upload, ENDLESS), []
    try:
        while (
            len(keys) < limit
            and sum(s.state in ("queued", "running", "paused") for s in client.jobs()) < limit
        ):
            keys.append(client.submit(endless))
        with pytest.raises(WireError) as caught:
            client.submit(endless)
        assert caught.value.code == "limit"
    finally:
        for key in reversed(keys):
            client.delete(key)


# --- drawing --------------------------------------------------------------------------------------


def test_render_refuses_what_it_cannot_draw(work):
    arrays = [
        np.zeros((4, 9), np.float32),
        np.eye(4, dtype=np.float32),
        np.eye(3, dtype=np.float32),
    ]
    body = Render(content="0" * 64, width=64, height=48)
    error(work.ask(framing.encode(body, arrays)), "not_found")
    error(work.ask(framing.encode(body, arrays[:2])), "malformed")
    error(work.ask(framing.encode(body, [arrays[0], arrays[1][:3], arrays[2]])), "malformed")
    error(
        work.ask(framing.encode(body, [arrays[0], arrays[1] * np.float32("nan"), arrays[2]])),
        "malformed",
    )
    error(
        work.ask(framing.encode(Render(content="0" * 64, width=8192, height=8192), arrays)), "limit"
    )


def test_status_is_complete_for_its_reader():
    status = JobStatus(id=NOBODY, name="a", prompt="b", state="queued")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(status), type=JobStatus) == status
