"""A click on the subject's head on its way from command line, function or client to the driver."""

import json
from pathlib import Path

import msgspec
import pytest
from demo_job import DEMO, fails
from tiny_job import tiny_clips

import restage4d as r4
from backend.jobs.inputs import restaging_job
from backend.jobs.job_folder import Folder
from backend.store.content_store import Store
from restage4d.cli import main
from restage4d.clips import Selection
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.jobs import restaging
from restage4d.jobs.driving_videos import make_driving_videos
from restage4d.jobs.footage import locate_head, read_mask
from restage4d.progress import Progress
from restage4d.protocol.messages import Submit
from restage4d.providers.weights import Weights

VIDEO = DEMO / "base.mp4"


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that would be run."""
    found: list[restaging.RestagingJob] = []
    monkeypatch.setattr(restaging, "run", lambda job, progress, **given: found.append(job))
    return found


def test_it_is_an_option_of_the_command_and_of_the_function(jobs, tmp_path):
    assert main.main(["run", "v", "p", "--head", "120.5,80", "--out", str(tmp_path)]) == 0
    assert main.main(["run", "v", "p"]) == 0
    with pytest.raises(InputError, match="puppet"):  # none was made
        r4.restage("v", "p", out=tmp_path, head=(7, 8))
    assert [job.head for job in jobs] == [(120.5, 80.0), None, (7, 8)]
    described = [
        restaging.describe(restaging.RestagingJob(VIDEO, "p", tmp_path, head=head))
        for head in (None, (7.0, 8.0))
    ]
    assert described[0] != described[1]  # results of another head are another run's


def test_it_travels_with_a_submitted_job(tmp_path):
    store = Store(tmp_path / "store")
    base = store.add(tiny_clips()[0])[0]
    spec = Submit(key="a" * 32, base=base, prompt="p", head=(12.5, 30.0))
    body = msgspec.msgpack.encode(spec)
    assert msgspec.msgpack.decode(body)["head"] == [12.5, 30.0]
    spec = msgspec.msgpack.decode(body, type=Submit)
    assert restaging_job(spec, store, Folder(tmp_path / "job")).head == (12.5, 30.0)
    old = msgspec.convert({"kind": "Submit", "key": "a" * 32, "base": base}, Submit)
    assert restaging_job(old, store, Folder(tmp_path / "old")).head is None
    with pytest.raises(msgspec.ValidationError, match="head"):
        msgspec.convert({"kind": "Submit", "head": [1.0]}, Submit)


def test_the_driver_gets_it_as_shares_of_the_picture(tmp_path):
    info = video.probe(VIDEO)
    head = (info.width / 2, info.height / 4)
    assert locate_head(VIDEO, head) == (0.5, 0.25)
    driver = restaging.make_driver(
        restaging.RestagingJob(VIDEO, "p", tmp_path, head=head), Weights()
    )
    assert (driver._head, driver._folder) == ((0.5, 0.25), tmp_path)
    with pytest.raises(InputError, match=r"outside .* 384 x 288 pixels"):
        locate_head(VIDEO, (info.width, 5.0))


@pytest.mark.parametrize("head", ["-3,5", "4000,10"])
def test_outside_the_frame_it_is_refused_before_any_work(head, tmp_path, capsys):
    out = tmp_path / "out"
    said = fails(capsys, VIDEO, "it nods", f"--head={head}", "--out", out)
    assert f"The head {head} lies outside" in said
    assert not out.exists()


def test_beside_the_subject_it_is_refused_and_the_draft_says_what_it_doubts(tmp_path):
    """Driving videos alone: body_plan.png and the doubt come with them."""

    def make(name: str, head: tuple[float, float] | None) -> Path:
        job = restaging.RestagingJob(
            VIDEO,
            "it nods",
            tmp_path / name,
            Selection(mask=read_mask(DEMO / "masks" / "00000.png")),
            head=head,
            longer_side=96,
            frames=4,
        )
        job.out.mkdir()
        made = [
            path.relative_to(job.out).as_posix() for path in make_driving_videos(job, Progress())
        ]
        assert made == ["body_plan.png", "candidates.json", "candidates/1.mp4"]
        return job.out

    report = json.loads((make("sure", None) / "candidates.json").read_text())
    assert report["doubt"] == ""
    with pytest.raises(InputError, match="not on the subject"):
        make("beside", (3.0, 3.0))
