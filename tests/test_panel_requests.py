"""What the panel's threads send, against a client that only keeps it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from blender_addon.session.connection import BackendConnection
from blender_addon.session.job_watcher import JobWatcher
from blender_addon.session.models import FrameLook, Order, Shot, WatchedJob
from blender_addon.session.requests import Requests
from blender_addon.session.update_queue import UpdateQueue
from restage4d.errors import InputError
from restage4d.jobs.mask_file import read_mask, write_masks
from restage4d.protocol.messages import SubjectSelection, Submit


class Recorder:
    """Stands in for `restage4d.protocol.client.Client`; a file's content is named by its name."""

    def __init__(self) -> None:
        self.submitted: list[Submit] = []
        self.looked: list[dict[str, Any]] = []
        self.mask = np.zeros((0, 0), np.uint8)

    def upload(self, path: Path, on_progress: object = None) -> str:
        return path.name.encode().hex().ljust(64, "0")

    def submit(self, submit: Submit) -> str:
        self.submitted.append(submit)
        return submit.key

    def look(self, content: str, **asked: Any) -> tuple[None, np.ndarray, np.ndarray]:
        self.looked.append({"content": content, **asked})
        if asked["selection"].point == (0.0, 0.0):
            raise InputError("Nothing is there.", "Click elsewhere.")
        return None, np.zeros((6, 8, 3), np.uint8), self.mask


@pytest.fixture
def client() -> Recorder:
    return Recorder()


@pytest.fixture
def requests(client: Recorder):
    updates = UpdateQueue()
    connection = SimpleNamespace(get_client=lambda worker, is_wanted: client)
    watcher = SimpleNamespace(watch=lambda job: None)
    made = Requests(
        cast(BackendConnection, connection),
        cast(JobWatcher, watcher),
        updates,
        lambda error: pytest.fail(repr(error)),
    )
    yield made
    updates.ending.set()
    made.end()


def finish(requests: Requests) -> None:
    """Waits until the threads have done what they were asked, and takes it over."""
    for worker in (requests._work, requests._select):
        done = SimpleNamespace(yet=False)
        worker.put(lambda done=done: setattr(done, "yet", True))
        while not done.yet:
            pass
    requests._updates.drain(1.0)


def test_corrected_masks_and_the_head_go_with_the_job(requests, client, tmp_path) -> None:
    shot, job = Shot(tmp_path / "film.mp4", (5, 12), 384), WatchedJob("a" * 32)
    order = Order(
        "it jumps",
        {"point": (3.0, 4.0)},
        corrections={2: tmp_path / "7.png", 4: tmp_path / "9.png"},
        head=(50.5, 30.0),
    )
    requests.submit(shot, job, order)
    finish(requests)
    assert job.state == "queued", job.fault
    (sent,) = client.submitted
    assert sent.selection == SubjectSelection(
        point=(3.0, 4.0),
        corrections={n: client.upload(path) for n, path in order.corrections.items()},
    )
    assert sent.head == (50.5, 30.0)
    assert (sent.first, sent.frames) == (4, 8)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Submit) == sent
    requests.submit(shot, job, Order("it jumps"))
    finish(requests)
    assert client.submitted[1].head is None
    assert client.submitted[1].selection == SubjectSelection()


def test_a_client_that_says_no_head_is_understood_and_a_wrong_one_refused() -> None:
    old = msgspec.msgpack.encode({"kind": "Submit", "key": "a" * 32})
    assert msgspec.msgpack.decode(old, type=Submit).head is None
    wrong = msgspec.msgpack.encode({"kind": "Submit", "key": "a" * 32, "head": [1.0]})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(wrong, type=Submit)


def test_a_later_frame_is_looked_at(requests, client, tmp_path) -> None:
    shot, look = Shot(tmp_path / "film.mp4", None, 192, content="c" * 64), FrameLook(6)
    requests.look_at_frame(shot, look)
    finish(requests)
    assert look.phase == "ready"
    assert look.picture is not None
    assert look.picture.shape == (6, 8, 3)
    assert look.mask is None, "nothing was pointed at"
    client.mask = np.full((6, 8), 255, np.uint8)
    pointed = FrameLook(6, {"box": (1.0, 2.0, 30.0, 40.0)})
    requests.look_at_frame(shot, pointed)
    finish(requests)
    assert pointed.mask is not None
    assert pointed.mask.all()
    asked = client.looked[1]
    assert (asked["content"], asked["first"], asked["longer_side"]) == ("c" * 64, 6, 192)
    assert asked["selection"] == SubjectSelection(box=(1.0, 2.0, 30.0, 40.0))
    missed = FrameLook(6, {"point": (0.0, 0.0)})
    requests.look_at_frame(shot, missed)
    finish(requests)
    assert missed.phase == "failed"
    assert missed.fault is not None
    assert missed.fault.remedy == "Click elsewhere."


def test_a_file_of_masks_gives_each_frame_back(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 7, 5)) > 0.5  # no multiple of 8 bits
    path = tmp_path / "base_masks.npz"
    write_masks(path, masks)
    for frame, mask in enumerate(masks):
        np.testing.assert_array_equal(read_mask(path, frame), mask)
    assert read_mask(path, 3) is None
    assert read_mask(path, -1) is None
    data = path.read_bytes()
    for damaged in (data[:40], data[:-30], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="no file of masks"):
            read_mask(path, 0)
    np.savez(path, masks=masks)
    with pytest.raises(InputError, match="no file of masks"):
        read_mask(path, 0)
