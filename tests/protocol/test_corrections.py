"""Masks of later frames on their way from a client to a job."""

import cv2
import msgspec
import numpy as np
import pytest
from moving import moving
from tiny_job import tiny_clips

from backend.jobs.inputs import restaging_job
from backend.jobs.job_folder import Folder
from backend.jobs.job_table import JobTable
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol.messages import SubjectSelection, Submit


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def add_mask(store: Store, tmp_path, mask: np.ndarray) -> str:
    cv2.imwrite(str(tmp_path / "m.png"), mask.astype(np.uint8) * 255)
    return store.add(tmp_path / "m.png")[0]


def test_they_become_masks_of_the_job_and_are_kept_with_it(store, tmp_path):
    truth = moving(frames=4).masks
    contents = {frame: add_mask(store, tmp_path, truth[frame]) for frame in (0, 2, 3)}
    base = store.add(tiny_clips()[0])[0]
    selection = SubjectSelection(mask=contents[0], corrections={n: contents[n] for n in (2, 3)})
    spec = Submit(key="a" * 32, base=base, prompt="p", selection=selection)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=Submit) == spec
    job = restaging_job(spec, store, Folder(tmp_path / "job"))
    np.testing.assert_array_equal(job.selection.mask, truth[0])
    assert [*job.corrections] == [2, 3]
    for frame, mask in job.corrections.items():
        np.testing.assert_array_equal(mask, truth[frame])
    assert JobTable(tmp_path / "jobs").add("me", spec, 9).contents == {base, *contents.values()}


def test_a_client_that_knows_none_is_understood(store, tmp_path):
    old = {"kind": "Submit", "key": "a" * 32, "selection": {"point": [3.0, 4.0]}}
    spec = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Submit)
    assert spec.selection == SubjectSelection(point=(3.0, 4.0))
    assert spec.selection.corrections == {}


@pytest.mark.parametrize(
    "corrections",
    [{0: "a" * 64}, {-1: "a" * 64}, {3: "../x"}, dict.fromkeys(range(1, 200), "b" * 64)],
)
def test_what_is_none_is_refused(corrections):
    told = {"kind": "Submit", "selection": {"corrections": corrections}}
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Submit)


def test_a_picture_that_is_none_is_refused(store, tmp_path):
    (tmp_path / "text").write_text("no picture")
    selection = SubjectSelection(corrections={1: store.add(tmp_path / "text")[0]})
    spec = Submit(key="a" * 32, base=store.add(tiny_clips()[0])[0], selection=selection)
    with pytest.raises(InputError, match=r"mask1\.png is not a picture"):
        restaging_job(spec, store, Folder(tmp_path / "job"))
