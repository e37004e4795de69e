"""Findings in a whole job: refused before the work, said, in the report and in the summary."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving import CENTRE, moving

from restage4d import pipeline
from restage4d.checks.driving import check_driving
from restage4d.checks.findings import FindingLog
from restage4d.clips import Clip, Selection, Tracks
from restage4d.driving.protocols import DrivingVideo
from restage4d.driving.video_file import FileDriving
from restage4d.errors import InputError
from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.io import video
from restage4d.jobs import driving_videos, restaging
from restage4d.jobs.driving_videos import make_driving_videos
from restage4d.jobs.restaging import RestagingJob, run
from restage4d.priors.known import KnownPriors
from restage4d.progress import Progress
from restage4d.puppet import Puppet


@pytest.fixture
def job(tmp_path, monkeypatch) -> RestagingJob:
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path / "cache"))
    frames = moving(frames=12, step=(2.5, 0.5)).clip.frames
    frames[6:7] = 255  # a flash
    video.encode(tmp_path / "base.mp4", frames, 24.0)
    away = moving(frames=8, step=(-2.5, 0.5)).clip.frames
    video.encode(tmp_path / "driving.mp4", away, 24.0)
    return RestagingJob(
        tmp_path / "base.mp4",
        "it rolls back",
        tmp_path / "out",
        Selection(point=CENTRE),
        driving=[tmp_path / "driving.mp4"],
        longer_side=96,
        settings=[
            *("motion.n_bases=4", "motion.n_tracks=60", "motion.steps=6", "fusion.steps=30"),
            *("fusion.max_subject=400", "fusion.max_background=400"),
        ],
        splats=False,
    )


@pytest.mark.timeout(120)
def test_findings_are_said_and_in_report_and_summary(job, capsys):
    run(job, Progress())
    said = capsys.readouterr().out
    report = json.loads((job.out / "report.json").read_text())
    flash = next(f for f in report["findings"] if f["code"] == "flash")
    assert flash == {
        "code": "flash",
        "severity": "warning",
        "text": "The picture is disturbed for a moment (a flash or a lost picture) in base, "
        "frame 6.",
        "remedy": "Repair or cut them out.",
        "first_frame": 6,
        "last_frame": 6,
        "video": "base",
    }
    assert [f.to_record() for f in Puppet.load(job.out / "puppet.puppet").findings] == (
        report["findings"]
    )
    assert "Done in" in said
    assert ", but doubtful: base" in said
    assert said.count(flash["text"]) == 2  # at once, and at the end
    assert said.index(flash["text"]) < said.index("Done in") < said.rindex(flash["text"])
    puppet = Puppet.load(job.out / "puppet.puppet")
    for name in ("iou_puppet_base", "psnr_puppet_base", "iou_puppet_driving", "unity"):
        assert puppet.metrics[name] == report[name]
    assert 0.4 < report["iou_puppet_base"] <= 1
    assert report["psnr_puppet_driving"] > 5
    assert report["unity"] == min(measure_unity(puppet, p).min() for p in puppet.performances)


NOT_ACTED = 'No tail was found: "wags its tail 4 times" sways the whole body instead.'


def test_what_the_draft_driver_does_not_act_is_a_finding(job, monkeypatch, capsys):
    class Stopped(Exception):
        """Ends the job once its driving video is there."""

    def stop(*_, **__):
        raise Stopped

    logs = []
    monkeypatch.setattr(pipeline, "estimate_priors", stop)
    monkeypatch.setattr(
        restaging, "FindingLog", lambda say: logs.append(FindingLog(say)) or logs[0]
    )
    with pytest.raises(Stopped):
        run(replace(job, driving=[], prompt="it wags its tail"), Progress())
    (found,) = [f for f in logs[0].findings if f.code == "not-acted"]
    assert (found.severity, found.text, found.video) == ("warning", NOT_ACTED, "restaged")
    assert f"Warning: {NOT_ACTED}" in capsys.readouterr().out


def test_driving_videos_alone_say_what_is_not_acted(job, capsys):
    make_driving_videos(replace(job, driving=[], prompt="it wags its tail"), Progress())
    assert NOT_ACTED in capsys.readouterr().out
    assert json.loads((job.out / "candidates.json").read_text())["notes"] == [NOT_ACTED]


def test_a_hard_cut_is_refused_before_any_work(job, tmp_path):
    other = np.ascontiguousarray(moving(frames=6, pan=-9).clip.frames[:, ::-1, ::-1])
    both = np.concatenate([moving(frames=10).clip.frames, other])
    video.encode(tmp_path / "base.mp4", both, 24.0)
    progress = Progress()
    with pytest.raises(InputError, match=r"hard cut at frame 10 of base.*--frames 10\."):
        run(job, progress)
    assert progress.seconds.keys() == {"decode"}
    assert not job.out.exists()


def test_driving_videos_alone_get_the_same_checks(job, tmp_path, monkeypatch, capsys):
    """Findings of base and candidate are said and in candidates.json; a candidate that a run would
    refuse is handed out all the same, a base is not."""
    cut = np.concatenate(
        [moving(frames=6).clip.frames, moving(frames=6, pan=-9).clip.frames[:, ::-1, ::-1]]
    )
    video.encode(tmp_path / "cut.mp4", cut, 24.0)
    cut_driver = FileDriving(tmp_path / "cut.mp4")
    monkeypatch.setattr(driving_videos, "make_driver", lambda *_, **__: cut_driver)
    made = driving_videos.make_driving_videos(job, Progress())
    assert [path.name for path in made] == ["candidates.json", "1.mp4"]
    report = json.loads((job.out / "candidates.json").read_text())
    assert ("flash", "base") in [(f["code"], f["video"]) for f in report["findings"]]
    (found,) = [f for f in report["findings"] if f["code"] == "hard-cut"]
    assert (found["severity"], found["first_frame"], found["video"]) == ("refuse", 6, "candidate 1")
    assert f"Refuse: {found['text']}" in capsys.readouterr().out
    with pytest.raises(InputError, match="hard cut at frame 6 of base"):
        driving_videos.make_driving_videos(replace(job, video=tmp_path / "cut.mp4"), Progress())


def test_the_logs_default_is_silent(capsys):
    assert FindingLog().findings == []
    FindingLog().say("x")
    assert capsys.readouterr().out == ""


def test_the_command_line_begins_at_a_frame(monkeypatch):
    from restage4d.cli import main

    seen = []
    monkeypatch.setattr(restaging, "run", lambda job, *_, **__: seen.append(job))
    assert main.main(["run", "a.mp4", "it nods", "--first", "7", "--frames", "9"]) == 0
    assert (seen[0].first, seen[0].frames, seen[0].video) == (7, 9, Path("a.mp4").resolve())


def test_drawn_frames_that_hold_still_are_no_finding():
    """The draft driver's subject stands still where it is told to; a filmed one repeats frames."""
    filmed = moving(16).clip.frames
    still = Clip(filmed[[0, 1, 2, 3, 4, 5, 6, *[7] * 8, 8, 9, 10, 11, 12, 13]], 24.0)
    n = len(still)
    masks = np.ones((n, *still.frames.shape[1:3]), np.float32)
    tracks = Tracks(
        np.ones((1, n, 2), np.float32), np.ones((1, n), bool), np.ones((1, n), np.float32),
        np.zeros(1, np.int32),
    )  # fmt: skip
    drawn = DrivingVideo(still, "kinematic", known=KnownPriors(masks=masks, tracks=tracks))
    filmed = DrivingVideo(still, "a file", notes=("no tail",))
    assert not list(check_driving([("restaged", drawn)]))
    codes = [finding.code for finding in check_driving([("restaged", filmed)])]
    assert codes[0] == "not-acted"
    assert "frozen" in codes
