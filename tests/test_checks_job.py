"""Findings in a whole job: refused before the work, said, in the report and in the summary."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving import CENTRE, moving

from restage4d import pipeline
from restage4d.checks.findings import FindingLog
from restage4d.clips import Selection
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.jobs import restaging
from restage4d.jobs.driving_videos import make_driving_videos
from restage4d.jobs.restaging import RestagingJob, run
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
    for name in ("iou_puppet_base", "psnr_puppet_base", "iou_puppet_driving"):
        assert puppet.metrics[name] == report[name]
    assert 0.4 < report["iou_puppet_base"] <= 1
    assert report["psnr_puppet_driving"] > 5


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
