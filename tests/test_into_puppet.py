"""A second restaging of a clip into the puppet that is there: the whole job, small."""

import json
from dataclasses import replace

import numpy as np
import pytest
from moving import CENTRE
from tiny_job import SETTINGS, tiny_clips

from restage4d.checks.estimates import name_video
from restage4d.clips import Selection
from restage4d.errors import InputError
from restage4d.finding import Finding
from restage4d.jobs.restaging import RestagingJob, run
from restage4d.progress import Progress
from restage4d.puppet import Puppet


def make_job(out, **fields):
    base, driving = tiny_clips()
    usual = {
        "prompt": "it rolls back",
        "selection": Selection(point=CENTRE),
        "driving": [driving],
        "longer_side": 96,
        "quality": "draft",
        "settings": [f"{name}={value}" for name, value in SETTINGS.items()],
        "splats": False,
    }
    return RestagingJob(video=base, out=out, **(usual | fields))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    run(make_job(out), Progress())
    return out / "puppet.puppet"


def test_the_puppet_stays_and_performs_once_more(first, tmp_path, monkeypatch):
    late = Finding("late", "warning", "It is late.", "", 0, 1, name_video(1, 1))
    monkeypatch.setattr("restage4d.pipeline.check_driving", lambda videos: [*videos, late][-1:])
    before = Puppet.load(first)
    mine = Finding("not-acted", "warning", "It did not.", "", 0, 3, "restaged")
    before.findings = [*before.findings, mine]
    first = tmp_path / "first.puppet"
    before.save(first)
    run(make_job(tmp_path / "a", into=first, prompt="again"), Progress())
    after = Puppet.load(tmp_path / "a" / "puppet.puppet")
    assert [p.name for p in after.performances] == ["base", "restaged", "restaged 2"]
    assert [p.prompt for p in after.performances] == ["", "it rolls back", "again"]
    for part in ("subject", "background"):
        for name, value in vars(getattr(before, part)).items():
            np.testing.assert_array_equal(getattr(getattr(after, part), name), value, name)
    np.testing.assert_array_equal(after.index, before.index)
    np.testing.assert_array_equal(after.weight, before.weight)
    assert after.metres_per_unit == before.metres_per_unit
    for name in ("base", "restaged"):
        for key, value in vars(before.performance(name)).items():
            np.testing.assert_array_equal(getattr(after.performance(name), key), value, key)
    new, old = after.performance("restaged 2"), before.performance("base")
    np.testing.assert_array_equal(new.bases[:, 0], old.bases[:, 0])
    assert np.abs(new.bases[:, -1] - new.bases[:, 0]).max() > 0.05
    assert len(after.provenance["driving"]) == 2
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["n_frames"] == {"base": 4, "restaged 2": 4}
    assert report["iou_puppet_driving"] > 0.9
    assert [f for f in after.findings if f.video == "restaged"] == [
        f for f in before.findings if f.video == "restaged"
    ]
    assert {f["video"] for f in report["findings"]} <= {"base", "restaged 2"}
    assert next(f["code"] for f in report["findings"] if f["video"] == "restaged 2") == "late"
    files = sorted(f.name for f in (tmp_path / "a" / "footage").iterdir())
    assert files == ["base.mp4", "restaged_2.mp4"]


def test_another_clip_and_other_fits_are_refused(first, tmp_path):
    job = make_job(tmp_path / "b", into=first)
    with pytest.raises(InputError, match="made from another base video"):
        run(replace(job, longer_side=64), Progress())
    with pytest.raises(InputError, match="clips=both"):
        run(replace(job, settings=[*job.settings, "clips=driving"]), Progress())
    with pytest.raises(InputError, match=r"none\.puppet"):
        run(replace(job, into=tmp_path / "none.puppet"), Progress())
