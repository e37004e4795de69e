"""Footage with a mask of its own: alpha, or masks beside the pictures, is the subject's mask."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from moving import CENTRE, moving

from restage4d.cli import main
from restage4d.clips import Clip, Selection, rewind
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.jobs import restaging
from restage4d.jobs.footage import read_mask, take_alpha
from restage4d.jobs.restaging import RestagingJob, run
from restage4d.pipeline import Restaged
from restage4d.progress import Progress
from restage4d.puppet import Puppet

SHOT = moving(frames=6)


def write_cut_outs(folder: Path, beside: bool = False) -> Path:
    """The shot's frames as PNG with alpha, or opaque with masks beside them."""
    folder.mkdir()
    for t, (frame, mask) in enumerate(zip(SHOT.clip.frames, SHOT.masks, strict=True)):
        bgr, alpha = frame[..., ::-1], np.where(mask, 255, 0).astype(np.uint8)
        if beside:
            cv2.imwrite(str(folder / f"mask_{t}.png"), alpha)
        cv2.imwrite(
            str(folder / f"f_{t}.png"),
            bgr if beside else np.dstack([np.ascontiguousarray(bgr), alpha]),
        )
    return folder


@pytest.fixture
def job(tmp_path, monkeypatch) -> RestagingJob:
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path / "cache"))
    return RestagingJob(
        write_cut_outs(tmp_path / "base"),
        "it jumps and sings",
        tmp_path / "out",
        longer_side=96,
        settings=[
            *("motion.n_bases=4", "motion.n_tracks=60", "motion.steps=6", "fusion.steps=20"),
            *("fusion.max_subject=400", "fusion.max_background=400"),
        ],
        splats=False,
    )


@pytest.fixture
def made(monkeypatch) -> list[Restaged]:
    """What the runs make."""
    seen: list[Restaged] = []
    real = restaging.restage

    def restage(*given, **named):
        seen.append(real(*given, **named))
        return seen[-1]

    monkeypatch.setattr(restaging, "restage", restage)
    return seen


@pytest.mark.timeout(120)
def test_a_cut_outs_alpha_is_the_mask_of_every_frame(job, made, capsys):
    correction = np.zeros((112, 160), bool)
    correction[40:80, 40:90] = True
    run(replace(job, corrections={3: correction}), Progress())
    priors, rewound = made[0].priors, made[0].rewound
    alpha = video.decode(job.video, longer_side=96).alpha
    assert alpha is not None
    rows = rewound.video(0)
    for t in (0, 1, 2, 4, 5):
        np.testing.assert_array_equal(priors.masks[rows[t]], alpha[t] / np.float32(255))
    np.testing.assert_array_equal(priors.masks[rows[3]][26:46, 26:52], 1)
    assert priors.masks[rows[3]].sum() == pytest.approx(720, abs=40)  # no more than that
    driving = priors.masks[rewound.video(1)[1:]]
    assert (driving > 0.5).any((1, 2)).all()  # followed
    report = json.loads((job.out / "report.json").read_text())
    (told,) = [f for f in report["findings"] if f["code"] == "alpha-mask"]
    assert "is the subject's mask in every frame; the puppet gets no background" in told["text"]
    said = capsys.readouterr().out
    assert f"Note: {told['text']}" in said
    # the draft driver's script is shown before anything is made, and kept
    script = report["script"]
    assert script["sentence"] == "jumps, 1.1 s"
    assert [action["verb"] for action in script["actions"]] == ["jump"]
    assert (script["left_out"], script["read_by"]) == (["sings"], "built-in parser")
    shown = "The draft driver acts: jumps, 1.1 s\nIt leaves out: sings\n"
    assert shown in said
    # what was transparent is nowhere in the puppet, and mid-grey where it is shown as filmed
    puppet = Puppet.load(job.out / "puppet.puppet")
    assert len(puppet.background) == 0 < len(puppet.subject)
    assert report["psnr_base"] > 25
    assert report["psnr_driving"] > 25


def test_what_the_decoder_did_is_said(job, made, tmp_path, capsys):
    driving = write_cut_outs(tmp_path / "driving")
    cv2.imwrite(str(driving / "thumbnail.png"), np.zeros((9, 9, 3), np.uint8))
    (job.video / "f_3.png").unlink()
    run(replace(job, driving=[driving]), Progress())
    found = json.loads((job.out / "report.json").read_text())["findings"]
    told = {f["video"]: f for f in found if f["code"] == "decoded"}
    assert "lacks 3; the nearest frame stands there" in told["base"]["text"]
    assert (told["base"]["severity"], told["base"]["last_frame"]) == ("note", 5)
    assert "thumbnail.png" in told["restaged"]["text"]
    said = capsys.readouterr().out
    assert all(f"Note: {f['text']}" in said for f in told.values())


@pytest.mark.parametrize("beside", [False, True])
def test_a_selection_wins_over_alpha(beside, tmp_path):
    base = video.decode(write_cut_outs(tmp_path / "a", beside))
    taken, found = take_alpha(base, Selection())
    assert taken.alpha is not None
    np.testing.assert_array_equal(taken.alpha > 127, SHOT.masks)
    assert ("no background" in found[0].text) is not beside
    taken, found = take_alpha(base, Selection(point=CENTRE))
    assert taken.alpha is None
    assert found[0].text.endswith("but a selection is given: that counts.")
    assert take_alpha(taken, Selection()) == (taken, [])


def test_alpha_that_is_no_mask():
    alpha = np.full(SHOT.masks.shape, 255, np.uint8)
    alpha[1, :4] = 0
    clip = Clip(SHOT.clip.frames, 24.0, alpha)
    taken, found = take_alpha(clip, Selection())
    assert taken.alpha is None
    assert "first frame is opaque" in found[0].text
    alpha[0] = 0
    alpha[0, :7, :9] = 255
    with pytest.raises(InputError, match="only 63 pixels of its first frame are opaque"):
        take_alpha(clip, Selection())


def test_rewinding_keeps_each_clips_alpha_where_it_has_one():
    base = Clip(SHOT.clip.frames, 24.0, np.where(SHOT.masks, 255, 0).astype(np.uint8))
    driving = Clip(SHOT.clip.frames[:3], 24.0)
    rewound = rewind(base, [driving])
    assert rewound.masks is not None
    np.testing.assert_array_equal(rewound.masks[rewound.video(0)], SHOT.masks)
    assert np.isnan(rewound.masks[rewound.video(1)[1:]]).all()
    both = rewind(driving, [base]).masks
    assert both is not None
    np.testing.assert_array_equal(both[3:], SHOT.masks[1:])
    assert rewind(driving, [driving]).masks is None


def test_a_cut_out_is_a_mask_file_too(tmp_path, monkeypatch):
    cut_out = write_cut_outs(tmp_path / "a") / "f_0.png"
    np.testing.assert_array_equal(read_mask(cut_out), SHOT.masks[0])
    seen = []
    monkeypatch.setattr(restaging, "run", lambda job, *_, **__: seen.append(job))
    assert main.main(["run", "a.mp4", "it nods", "--mask", str(cut_out)]) == 0
    np.testing.assert_array_equal(seen[0].selection.mask, SHOT.masks[0])
