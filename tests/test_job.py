"""The command line as a person uses it: the main job end to end at a small size, and every bad
input."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from demo_job import DEMO, ROOT, SMALL, fails

from restage4d.cli import blender_process, main
from restage4d.cli.blender_process import BlenderProcess
from restage4d.clips import Selection
from restage4d.defaults import WEIGHT_FREE, PriorNames
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.jobs.footage import read_mask, scale_selection
from restage4d.jobs.provider_choice import DriverChoice, ProviderChoice, needs_gpu
from restage4d.jobs.restaging import (
    RestagingJob,
    configure,
    driving_tasks,
    expected_tasks,
    run,
    weigh_fit,
)
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Puppet
from restage4d.reconstruct.config import preset


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_CACHE", str(tmp_path / "cache"))


@pytest.mark.timeout(600)
def test_main_job_makes_everything(tmp_path):
    """Video + prompt -> puppet, .blend, pictures, PLY sequence, report; then the same again from
    the cache."""
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "restage4d.cli",
        "run",
        str(DEMO / "base.mp4"),
        "it nods, then jumps",
        *SMALL,
    ]
    command += [
        "--mask",
        str(DEMO / "masks" / "00000.png"),
        "--true-masks",
        str(DEMO / "masks"),
        "--out",
        str(out),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in (
        "puppet.blend",
        "contact_sheet.png",
        "preview.mp4",
        "report.json",
        "footage/base.mp4",
        "footage/restaged.mp4",
    ):
        assert str(out / name.split("/")[0]) in done.stdout or "footage" in name
        assert (out / name).stat().st_size > 0, f"{name}: {done.stdout}"
    report = json.loads((out / "report.json").read_text())
    puppet = Puppet.load(out / "puppet.puppet")
    assert report["n_bases"] == puppet.n_bases == 20
    assert report["n_gaussians"] == len(puppet.subject) + len(puppet.background)
    assert [p.name for p in puppet.performances] == ["base", "restaged"]
    assert puppet.performances[0].n_frames == 10
    assert puppet.performances[1].prompt == "it nods, then jumps"
    assert len(list((out / "splats").glob("*.ply"))) == puppet.performances[1].n_frames
    assert report["mask_iou"] > 0.6
    assert report["psnr_base"] > 18
    assert report["psnr_driving"] > 18
    assert report["pruning_psnr_loss"] < 0.5
    assert report["seed"] == 3
    assert report["providers"]["driving"] == ["kinematic"]
    assert {
        "decode",
        "masks",
        "cameras",
        "depth",
        "tracks",
        "photometric fusion",
        "Blender file",
    } <= report["seconds"].keys()
    assert report["peak_rss_bytes"] < 4 << 30
    assert not (out / "checkpoint.safetensors").exists()


@pytest.mark.timeout(300)
def test_progress_of_the_whole_job_and_a_blend_that_fails(tmp_path, capsys):
    """Every task of the job is expected, moves the share and ends; what Blender says is a warning
    in the report, after everything else is written."""
    out, events = tmp_path / "out", []
    there: list[str] = []
    finished: list[str] = []

    def make_blend(puppet: Path, blend: Path, footage: dict[str, Path]) -> None:
        Puppet.load(puppet)
        assert blend == out / "puppet.blend"
        assert [*footage] == ["base", "restaged"]
        there.extend(path.name for path in (*out.iterdir(), *footage.values()) if path.exists())
        until = time.monotonic() + 60
        while not (out / "report.json").exists() and time.monotonic() < until:
            time.sleep(0.05)  # pictures and report wait for no Blender
        assert "blend" not in json.loads((out / "report.json").read_text())
        finished.extend(path.name for path in out.iterdir())
        raise InputError("Blender fell over.", "Update it.")

    job = RestagingJob(
        DEMO / "base.mp4",
        "it nods",
        out,
        Selection(mask=read_mask(DEMO / "masks" / "00000.png")),
        corrections={4: read_mask(DEMO / "masks" / "00004.png")},
        longer_side=96,
        frames=6,
        settings=["motion.steps=20", "motion.n_bases=5", "fusion.steps=20"],
    )
    run(job, progress := Progress(events.append), make_blend=make_blend)
    assert {"puppet.puppet", "base.mp4"} <= {*there}
    assert {"puppet.puppet", "splats", "preview.mp4", "contact_sheet.png"} <= {*finished}
    report = json.loads((out / "report.json").read_text())
    assert report["blend"] == "Blender fell over. Update it."
    assert report["seconds"].keys() == progress.seconds.keys() >= {"figures", "Blender file"}
    assert "Warning: there is no .blend file. Blender fell over." in capsys.readouterr().out

    begun = [event for event in events if event.step == 0]
    expected = expected_tasks(job, blend=True)
    for skipped in (TaskId.OPTICAL_FLOW, TaskId.SELECT):  # the mask was given
        expected.remove(skipped)
    assert [event.task for event in begun] == expected
    shares = [event.share for event in events]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    for start, end in pairwise([*begun, events[-1]]):
        assert start.share < end.share, f"the share stands still in {start.task}"
    assert [event.share for event in events if event.share == 1.0] == [1.0]
    assert events[-1].task is TaskId.WRITE_BLEND
    assert events[-1].whole_seconds_left == 0


def test_tasks_of_driving_videos_that_are_given_or_generated():
    job = RestagingJob(Path("v"), "p", Path("o"))
    given = replace(job, driving=[Path("a"), Path("b")])
    assert driving_tasks(given)[3:] == [TaskId.READ_DRIVING] * 2
    two = ProviderChoice(driver=DriverChoice("veo", candidates=2))
    assert driving_tasks(replace(job, choice=two)).count(TaskId.GENERATE_DRIVING) == 2
    assert TaskId.WRITE_SPLATS not in expected_tasks(replace(job, splats=False), blend=False)


def test_networks_want_the_gpu_before_the_fit():
    free = ProviderChoice(WEIGHT_FREE)
    assert not needs_gpu(free, makes_driving=True)
    hosted, network = (replace(free, driver=DriverChoice(name)) for name in ("veo", "wan2.2"))
    assert not needs_gpu(hosted, makes_driving=True)
    assert needs_gpu(network, makes_driving=True)
    assert not needs_gpu(network, makes_driving=False)  # a video is given
    for names in (
        replace(WEIGHT_FREE, masks="sam2"),
        replace(WEIGHT_FREE, tracks="cotracker3"),
        PriorNames(),  # nobody has looked yet who it will be
    ):
        assert needs_gpu(ProviderChoice(names), makes_driving=False)
    given = replace(WEIGHT_FREE, masks="mediapipe", depth="/there/depth.npz")
    assert not needs_gpu(ProviderChoice(given), makes_driving=False)


def test_a_draft_says_that_its_fit_is_shorter():
    assert set(weigh_fit(preset("default")).values()) == {1.0}
    draft, high = weigh_fit(preset("draft")), weigh_fit(preset("high"))
    assert draft[TaskId.FIT_MOTION] == pytest.approx(400 / 600)
    assert draft[TaskId.FUSE] < 0.3 < 2 < high[TaskId.FUSE]


def test_the_selection_goes_from_the_videos_pixels_to_the_working_size():
    source, size = (400, 200), (200, 100)
    assert scale_selection(Selection(point=(100, 50)), source, size).point == (50, 25)
    box = scale_selection(Selection(box=(0, 20, 400, 200)), source, size).box
    assert box == (0, 10, 200, 100)
    assert scale_selection(Selection(text="the camel"), source, size) == Selection(text="the camel")
    mask = np.zeros((200, 400), bool)
    mask[:100, 200:] = True
    for given in (mask, mask[::2, ::2]):
        scaled = scale_selection(Selection(mask=given), source, size).mask
        np.testing.assert_array_equal(scaled, mask[::2, ::2])
    for wrong, words in (
        (Selection(point=(401, 5)), "The point 401,5 lies outside"),
        (Selection(box=(0, 0, 3, 90)), "The box is empty"),
        (Selection(mask=mask[:, :70]), "The mask is 70 x 200 pixels, the video 400 x 200"),
    ):
        with pytest.raises(InputError, match=words):
            scale_selection(wrong, source, size)


WRITES = "import pathlib, sys; pathlib.Path(sys.argv[2]).write_text(str(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (WRITES, ""),
        ("import sys; sys.exit('no bpy')", "no bpy"),
        ("pass", "without an error and without a file"),
    ],
)
def test_blender_is_a_process_whose_failure_says_why(does, expected, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nowhere is missing\. Run scripts/run\.sh"):
        BlenderProcess(tmp_path / "nowhere")(tmp_path / "a", tmp_path / "b", {})
    package = tmp_path / "blender_addon"
    package.mkdir()
    (package / "headless.py").write_text(does)
    monkeypatch.setattr(blender_process, "_CHECKOUT", tmp_path)
    work = tmp_path / "elsewhere"
    work.mkdir()
    monkeypatch.chdir(work)
    make = BlenderProcess(Path(sys.executable))
    arguments = Path("a.puppet"), Path("b.blend"), {"base": Path("c.mp4")}
    if expected:
        with pytest.raises(InputError, match=rf"could not make b\.blend: .*{expected}"):
            make(*arguments)
        (work / "b.blend").write_text("of another run")
        with pytest.raises(InputError, match=r"The puppet itself is kept"):
            make(*arguments)
    else:
        make(*arguments)
        given = [str(work / "a.puppet"), str(work / "b.blend"), f"--footage=base={work / 'c.mp4'}"]
        assert (work / "b.blend").read_text() == str(given)


def test_info_tells_what_is_in_a_puppet(tmp_path, capsys):
    from samples import random_puppet

    random_puppet().save(tmp_path / "a.puppet")
    assert main.main(["info", str(tmp_path / "a.puppet")]) == 0
    assert "bases" in capsys.readouterr().out
    (tmp_path / "b.puppet").write_bytes(b"nothing")
    assert main.main(["info", str(tmp_path / "b.puppet")]) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.mp4", "jump"], "nowhere.mp4"),
        ([DEMO / "base.mp4", "jump", "--select", "9000,10"], "outside"),
        ([DEMO / "base.mp4", "jump", "--box", "10,10,11,11"], "The box is empty"),
        ([DEMO / "base.mp4", "jump", "--mask", "nowhere.png"], "nowhere.png"),
        ([DEMO / "base.mp4", "jump", "--priors", "nowhere"], "nowhere"),
        ([DEMO / "base.mp4", "jump", "--true-masks", "nowhere"], "nowhere"),
        ([DEMO / "base.mp4", "jump", "--driving", "nowhere.mp4"], "nowhere.mp4"),
        ([DEMO / "base.mp4", "jump", "--set", "fusion.stepz=3"], "stepz"),
        ([DEMO / "base.mp4", "jump", "--set", "fusion.steps=many"], "many"),
        ([DEMO / "base.mp4", "jump", "--set", "fusion=3"], "fusion"),
        (
            [
                DEMO / "base.mp4",
                "contemplates the void",
                *SMALL,
                "--mask",
                DEMO / "masks" / "00000.png",
            ],
            "--driving",
        ),
        ([DEMO / "base.mp4", "jump", *SMALL, "--select", "380,4"], "stands out"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(arguments, expected, tmp_path, capsys):
    out = tmp_path / "out"
    assert expected in fails(capsys, *arguments, "--out", out)
    assert not out.exists() or not list(out.iterdir())


def test_mask_of_another_size_is_refused(tmp_path, capsys):
    import cv2

    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((50, 70), np.uint8))
    assert "70 x 50" in fails(
        capsys, DEMO / "base.mp4", "jump", "--mask", tmp_path / "m.png", "--out", tmp_path / "out"
    )


def test_driving_video_that_begins_elsewhere_is_refused_with_figures(tmp_path, capsys):
    frames = video.decode(DEMO / "base.mp4").frames
    video.encode(tmp_path / "d.mp4", frames[::-1], 24)
    arguments = [
        DEMO / "base.mp4",
        "x",
        *SMALL,
        "--mask",
        DEMO / "masks" / "00000.png",
        "--driving",
        tmp_path / "d.mp4",
    ]
    assert "dB" in fails(capsys, *arguments, "--out", tmp_path / "out")


def test_out_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "--out" in fails(capsys, DEMO / "base.mp4", "jump", "--out", tmp_path / "file" / "out")


@pytest.mark.timeout(300)
def test_full_disk_ends_the_job_with_one_sentence_and_nothing_half_written(small_disk, capsys):
    arguments = [
        DEMO / "base.mp4",
        "it nods",
        *SMALL,
        "--set=motion.steps=10",
        "--set=fusion.steps=10",
    ]
    message = fails(
        capsys, *arguments, "--mask", DEMO / "masks" / "00000.png", "--out", small_disk / "out"
    )
    assert "space" in message
    left = [path.name for path in (small_disk / "out").rglob("*") if path.is_file()]
    assert "puppet.puppet" not in left
    assert not [name for name in left if name.startswith(".") or name.endswith((".tmp", ".part"))]


def test_settings_by_name():
    job = RestagingJob(
        Path("v"),
        "p",
        Path("o"),
        seed=7,
        settings=["rigidity.init_weight=0", "backtracing=false", "fusion.steps=12"],
    )
    config = configure(job)
    assert config.seed == 7
    assert config.rigidity.init_weight == 0.0
    assert config.backtracing is False
    assert config.fusion.steps == 12
    assert configure(RestagingJob(Path("v"), "p", Path("o"))) != config
