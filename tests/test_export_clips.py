"""Long shots in USD are value clips: read back they are what one file says, between frames too."""

from pathlib import Path

import numpy as np
import pytest
from pxr import Usd, UsdUtils
from samples import random_puppet
from test_export_formats import validate

from restage4d.cli.main import main
from restage4d.errors import Cancelled
from restage4d.exporting.shot import Shot
from restage4d.exporting.usd import stage as usd_stage
from restage4d.exporting.writing import export_performance
from restage4d.progress import Progress

FORMATS = ("usd-splats", "usd-points")


def make_shot() -> Shot:
    """Six frames, not from the first."""
    puppet = random_puppet(3, frames=8, degree=1)
    return Shot(puppet, puppet.performances[1], range(1, 7), background=True, scale=100.0)


@pytest.mark.parametrize("suffix", [".usdc", ".usda"])
@pytest.mark.parametrize("name", FORMATS)
def test_clips_read_as_one_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str
) -> None:
    shot = make_shot()
    whole = tmp_path / f"whole{suffix}"
    assert export_performance(shot, name, whole) == [whole]
    monkeypatch.setattr(usd_stage, "CLIP_FRAMES", 4)
    place = tmp_path / "ä b" / f"fox run{suffix}"
    paths = export_performance(shot, name, place)
    beside = [f"fox run.{n}.usdc" for n in ("clip_0001", "clip_0002", "manifest")]
    assert [p.name for p in paths] == [place.name, *beside]
    assert sorted(p.name for p in place.parent.iterdir()) == sorted(p.name for p in paths)
    assert validate(place) == []
    _, _, missing = UsdUtils.ComputeAllDependencies(str(place))
    assert missing == []
    a, b = Usd.Stage.Open(str(whole)), Usd.Stage.Open(str(place))
    for key in ("StartTimeCode", "EndTimeCode", "TimeCodesPerSecond"):
        assert getattr(b, f"Get{key}")() == getattr(a, f"Get{key}")()
    for key in ("upAxis", "metersPerUnit", "defaultPrim"):
        assert b.GetMetadata(key) == a.GetMetadata(key)
    moving = 0
    for prim in a.Traverse():
        other = b.GetPrimAtPath(prim.GetPath())
        assert other.GetTypeName() == prim.GetTypeName()
        assert other.GetPropertyNames() == prim.GetPropertyNames()
        for attribute in prim.GetAttributes():
            twin = other.GetAttribute(attribute.GetName())
            samples = attribute.GetTimeSamples()
            moving += bool(samples)
            for time in (2, 3, 4, 5, 5.5, 6, 7):
                value, seen = attribute.Get(time), twin.Get(time)
                if "velocities" in attribute.GetName() and time == 5.5:
                    continue  # of a clip's last frame, which belongs to the next one
                assert (value is None) == (seen is None), attribute.GetName()
                if value is not None:
                    assert np.array_equal(np.array(seen), np.array(value)), attribute.GetName()
    assert moving >= 5
    for moved in ("positions", "points"):
        assert not b.GetRootLayer().ListTimeSamplesForPath(f"/Puppet/Subject.{moved}")


@pytest.mark.parametrize("name", FORMATS)
def test_cancelled_between_clips_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(usd_stage, "CLIP_FRAMES", 2)
    asked = iter([False] * 5 + [True] * 100)
    progress = Progress(cancelled=lambda: next(asked))
    with pytest.raises(Cancelled):
        export_performance(make_shot(), name, tmp_path / "a.usdc", progress)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_of_somebody_s_is_not_replaced_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(usd_stage, "CLIP_FRAMES", 2)
    puppet, mine = tmp_path / "a.puppet", tmp_path / "b.clip_0002.usdc"
    make_shot().puppet.save(puppet)
    mine.write_text("mine")
    command = ["export", str(puppet), "--format", "usd-points", "--out", str(tmp_path / "b.usdc")]
    assert main(command) != 0
    assert f"{mine} is there already" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.puppet", "b.clip_0002.usdc"]
    assert main([*command, "--overwrite"]) == 0
    assert mine.read_bytes().startswith(b"PXR-USDC")
