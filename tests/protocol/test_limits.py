"""Limits that stand before anything is decoded or kept."""

import hashlib
import time
from concurrent.futures import Executor, Future

import msgspec
import numpy as np
import pytest

from backend.jobs.inputs import footage
from backend.jobs.job_folder import Folder
from backend.store.content_store import Store, list_partial
from backend.store.uploads import Uploads
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.protocol import framing
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Limits, UploadBegin, UploadChunk
from restage4d.protocol.transfer import PACKED, PackedFile


@pytest.fixture
def place(tmp_path):
    """A store, a job's folder, and the content of a video of 12 frames, 64x48."""
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    video.encode(tmp_path / "a.mp4", frames, 12.0)
    store = Store(tmp_path / "home" / "store")
    return store, Folder(tmp_path / "job"), store.add(tmp_path / "a.mp4")[0]


def limit(store: Store, line: str) -> None:
    (store.folder.parent / "service.toml").write_text(f"[limits]\n{line}\n")


def test_only_so_many_frames_of_a_video(place):
    store, folder, content = place
    limit(store, "frames = 5")
    with pytest.raises(InputError, match="12 frames of the base video"):
        footage(content, store, folder, "base")
    with pytest.raises(InputError, match="6 frames"):
        footage(content, store, folder, "base", 6)
    assert footage(content, store, folder, "base", 0, 5).is_file()
    assert footage(content, store, folder, "base", 7).is_file()


def test_only_so_many_frames_of_a_folder(place, tmp_path):
    store, folder, _ = place
    (tmp_path / "0.png").write_bytes(b"no picture needed: their number is looked at first")
    picture = store.add(tmp_path / "0.png")[0]
    (tmp_path / "list").write_bytes(
        PACKED + msgspec.msgpack.encode([PackedFile(".png", picture)] * 6)
    )
    listing = store.add(tmp_path / "list")[0]
    limit(store, "frames = 5")
    with pytest.raises(InputError, match="6 frames"):
        footage(listing, store, folder, "base")


def test_a_frame_has_only_so_many_pixels(place):
    store, folder, content = place
    limit(store, f"pixels = {64 * 48 - 1}")
    with pytest.raises(InputError, match="64x48"):
        footage(content, store, folder, "base")
    limit(store, f"pixels = {64 * 48}")
    assert footage(content, store, folder, "base").is_file()


class HeldBack(Executor):
    """A pool on a busy machine: nothing is done before `go`."""

    def __init__(self) -> None:
        self.tasks = []

    def submit(self, fn, /, *args, **kwargs):
        self.tasks.append(lambda: fn(*args, **kwargs))
        return Future()

    def go(self) -> None:
        while self.tasks:
            self.tasks.pop(0)()


def test_more_chunks_than_the_credit_end_the_upload(tmp_path):
    pool, limits = HeldBack(), Limits(credit=3)
    uploads = Uploads(Store(tmp_path / "store"), pool, limits)
    answers = []
    uploads.begin(
        "anna", UploadBegin(content=hashlib.sha256(b"abcdef").hexdigest(), size=6), answers.append
    )
    pool.go()
    token = answers.pop().token
    for i in range(3):
        uploads.add_chunk(
            "anna",
            UploadChunk(token=token, offset=i),
            memoryview(b"abcdef")[i : i + 1],
            answers.append,
        )
    with pytest.raises(WireError) as caught:
        uploads.add_chunk(
            "anna", UploadChunk(token=token, offset=3), memoryview(b"d"), answers.append
        )
    assert caught.value.code == "limit"
    pool.go()
    assert [a.code for a in answers] == ["refused"] * 3
    with pytest.raises(WireError) as caught:
        uploads.add_chunk(
            "anna", UploadChunk(token=token, offset=0), memoryview(b"a"), answers.append
        )
    assert caught.value.code == "refused"


def test_uploads_that_break_off_stay_within_the_quota(tmp_path):
    """A user who begins again and again fills no disk with halves."""

    def check_quota(user: str, size: int) -> None:
        if size > 1000:
            raise WireError("too much", "", "limit")

    store, pool = Store(tmp_path / "store"), HeldBack()
    uploads = Uploads(store, pool, Limits(credit=1), check_quota)

    def begin(user: str, number: int, size: int) -> str:
        answers = []
        uploads.begin(user, UploadBegin(content=f"{number:064x}", size=size), answers.append)
        end = time.monotonic() + 10.0
        while not answers and time.monotonic() < end:  # what is here already is hashed elsewhere
            pool.go()
            time.sleep(0.01)
        return answers.pop().token

    def send(user: str, token: str, count: int) -> None:
        data = memoryview(bytes(count))
        uploads.add_chunk(user, UploadChunk(token=token, offset=0), data, lambda answer: None)

    def break_off(user: str, number: int) -> None:
        token = begin(user, number, 400)
        send(user, token, 300)
        pool.go()
        send(user, token, 1)
        with pytest.raises(WireError):  # more than the credit
            send(user, token, 1)
        pool.go()

    break_off("ben", 100)
    for number in range(8):
        break_off("anna", number)
        kept = list_partial(store, "anna")
        assert set(kept.values()) == {300}
        assert len(kept) <= 3  # 900 of 1,000
    with pytest.raises(WireError):
        begin("anna", 50, 1001)  # refused for itself: what is here stays
    assert list_partial(store, "anna") == kept
    begin("anna", 7, 400)  # goes on where it broke off
    begin("anna", 60, 600)
    assert len(list_partial(store, "anna")) == 2
    assert len(list_partial(store, "ben")) == 1


def test_a_token_is_of_its_owner_alone(tmp_path):
    pool = HeldBack()
    uploads = Uploads(Store(tmp_path / "store"), pool, Limits())
    answers = []
    uploads.begin(
        "anna", UploadBegin(content=hashlib.sha256(b"ab").hexdigest(), size=2), answers.append
    )
    pool.go()
    with pytest.raises(WireError) as caught:
        uploads.add_chunk(
            "ben", UploadChunk(token=answers[0].token, offset=0), memoryview(b"a"), answers.append
        )
    assert caught.value.code == "refused"


def test_a_message_beyond_the_limit_is_dropped_unread(work, client):
    """ZeroMQ ends the connection as soon as it reads the frame's length; the next one of the same
    client works."""
    welcome = client.hello()
    data = np.zeros(welcome.limits.message_bytes + 1, np.uint8)
    assert (
        work.ask(framing.encode(UploadChunk(token="0" * 32, offset=0), [data]), seconds=2.0) is None
    )
    small = data[:10]
    reply = work.ask(
        framing.encode(UploadBegin(content=hashlib.sha256(small).hexdigest(), size=10))
    )
    assert (
        work.ask(framing.encode(UploadChunk(token=reply.body.token, offset=0), [small])) is not None
    )
    assert client.hello().pid == welcome.pid
