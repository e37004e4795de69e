"""Where a job's results go: relative paths, folders that are taken, files that were edited."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from demo_job import DEMO, SMALL, fails

from restage4d.cli import main
from restage4d.defaults import PriorNames
from restage4d.errors import Cancelled, InputError
from restage4d.io import video
from restage4d.jobs import restaging
from restage4d.jobs.provider_choice import DriverChoice, ProviderChoice
from restage4d.jobs.restaging import RestagingJob
from restage4d.jobs.results_folder import claim_folder
from restage4d.puppet import Puppet


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path / "cache"))


def write_fake_blender(path: Path, body: str) -> None:
    path.write_text(
        f"#!/bin/sh\n{body}\n"
    )  # called as: PATH -m blender_addon.headless PUPPET BLEND
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="the fake Blender is a shell script")
@pytest.mark.timeout(300)
def test_relative_paths_from_another_folder_and_a_folder_of_results_that_is_taken(
    tmp_path, capsys, monkeypatch
):
    """Every path of the command line may be relative to where the user stands. What another run
    made is not written over; the same run may be made again, and keeps a .blend that was edited."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copyfile(DEMO / "base.mp4", "base.mp4")
    shutil.copyfile(DEMO / "masks" / "00000.png", "mask.png")
    for folder in ("true", "priors/masks"):
        Path(folder).mkdir(parents=True)
        for i in range(6):
            shutil.copyfile(DEMO / "masks" / f"{i:05d}.png", Path(folder) / f"{i:05d}.png")
    video.encode("driving.mp4", video.decode("base.mp4", longer_side=96).frames[:5], 24)
    write_fake_blender(Path("blender"), "echo fell over >&2; exit 1")
    command = ["run", "base.mp4", "it nods", "--longer-side=96", "--frames=6", "--out=out"]
    command += ["--mask=mask.png", "--driving=driving.mp4", "--priors=priors", "--true-masks=true"]
    command += ["--blender-python=blender", "--set=motion.steps=20", "--set=fusion.steps=20"]
    command += ["--set=motion.n_bases=5"]

    assert main.main(command) == 0
    out = here / "out"
    report = json.loads((out / "report.json").read_text())
    assert report["blend"].startswith(f"Blender could not make {out / 'puppet.blend'}: fell over")
    assert "Warning: there is no .blend file. Blender could not make" in capsys.readouterr().out
    Puppet.load(out / "puppet.puppet")
    assert report["mask_iou"] > 0.95
    assert report["providers"]["driving"] == ["file:driving.mp4"]

    write_fake_blender(Path("blender"), 'test -f "$3" && cp "$3" "$4"')
    assert main.main(command) == 0
    assert json.loads((out / "report.json").read_text())["blend"] is None
    made = (out / "puppet.puppet").read_bytes()
    assert (out / "puppet.blend").read_bytes() == made

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = [*command[:2], "it jumps", *command[3:], "--seed=4"]
    message = fails(capsys, *other[1:])
    assert f"--out {out} already holds a puppet of another run" in message
    assert 'prompt "it nods", here "it jumps"; seed 0, here 4' in message
    assert "--overwrite" in message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    def stop(*_, **__):
        raise Cancelled

    with monkeypatch.context() as patched:
        patched.setattr(restaging, "restage", stop)
        assert main.main([*other, "--overwrite"]) == 130
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert after == before, "a run that made nothing leaves the folder as it was"

    later = (out / "report.json").stat().st_mtime + 5
    (out / "puppet.blend").write_bytes(b"posed by hand")
    os.utime(out / "puppet.blend", (later, later))
    assert main.main(command) == 0
    assert (out / "puppet_1.blend").read_bytes() == b"posed by hand"
    assert (out / "puppet.blend").read_bytes() == made


def test_results_of_nobody_known_are_not_written_over(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "preview.mp4").write_bytes(b"my own")
    message = fails(capsys, DEMO / "base.mp4", "it nods", *SMALL, "--out", out)
    assert f"--out {out} already holds preview.mp4, and no job.json says of which run" in message
    assert [path.name for path in out.iterdir()] == ["preview.mp4"]
    (out / "preview.mp4").unlink()
    (out / "notes.txt").write_text("other files do no harm")
    with claim_folder(out, {"prompt": "a"}, overwrite=False):
        (out / "checkpoint.safetensors").write_bytes(b"hours of work")
    with claim_folder(out, {"prompt": "a"}, overwrite=False):
        pass  # goes on
    (out / "job.json").write_text("[]")
    with pytest.raises(InputError, match=r"already holds checkpoint\.safetensors, and no job"):
        claim_folder(out, {"prompt": "a"}, overwrite=False).__enter__()
    with claim_folder(out, {"prompt": "a"}, overwrite=True):
        pass
    with pytest.raises(InputError, match='prompt "a", here "b"'):
        claim_folder(out, {"prompt": "b"}, overwrite=False).__enter__()


def test_a_jobs_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ltx").mkdir()
    choice = ProviderChoice(
        PriorNames(cameras="a/vipe", depth="b.npz"), DriverChoice("ltx"), weights=Path("w")
    )
    job = RestagingJob(
        Path("v.mp4"),
        "p",
        Path("out"),
        driving=[Path("d.mp4")],
        priors=Path("p"),
        true_masks=Path("t"),
        choice=choice,
    )
    paths = (job.video, job.out, *job.driving, job.priors, job.true_masks, job.choice.weights)
    assert paths == tuple(tmp_path / name for name in ("v.mp4", "out", "d.mp4", "p", "t", "w"))
    priors, driver = job.choice.priors, job.choice.driver
    assert priors == PriorNames(cameras=str(tmp_path / "a/vipe"), depth=str(tmp_path / "b.npz"))
    assert driver.driver == str(tmp_path / "ltx")
    named = ProviderChoice(driver=DriverChoice("Lightricks/LTX-Video"))
    assert (named.priors, named.driver.driver) == (PriorNames(), "Lightricks/LTX-Video")
