"""The library as others use it: what the import does, and every public function by its values."""

import argparse
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import box_puppet, mostly, random_puppet
from test_puppet import equal, refused

import restage4d as r4
from restage4d.cli import main
from restage4d.clips import Selection
from restage4d.errors import InputError
from restage4d.io.ply import read_ply
from restage4d.jobs import restaging

ROOT = Path(__file__).parents[1]
GREY = np.float32(0.78)


def in_a_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = """
loaded = {m.partition(".")[0] for m in sys.modules if not m.startswith("_")}
print(sorted(loaded - set(sys.stdlib_module_names) - before))
"""


@pytest.mark.parametrize(
    ("use", "loaded"),
    [
        ("", "['restage4d']"),
        ("r4.Puppet, r4.Camera, r4.load, r4.export", "['numpy', 'restage4d', 'safetensors']"),
    ],
)
def test_the_import_loads_and_changes_nothing(use: str, loaded: str) -> None:
    """Neither the environment nor any module but what a puppet needs; ``before`` is what the
    interpreter itself brings."""
    code = "import os, sys\nenvironment = dict(os.environ)\n"
    code += "before = {m.partition('.')[0] for m in sys.modules}\n"
    code += f"import restage4d as r4\n{use}\nassert dict(os.environ) == environment\n{LOADED}"
    assert in_a_new_process(code) == loaded


@pytest.mark.parametrize(
    "start",
    [
        "from restage4d.cli import main as m; m.main(['info', 'no.puppet'])",
        "from backend import __main__ as m; m.serve = print; sys.argv = ['x']; m.main()",
        "from backend.jobs import worker as m\ntry: m.main([])\nexcept IndexError: pass",
    ],
    ids=["command line", "service", "job"],
)
def test_our_own_processes_and_their_children_let_waiting_threads_sleep(start: str) -> None:
    code = f"""import subprocess, sys
{start}
assert "torch" not in sys.modules and "numba" not in sys.modules
child = "import os; print(os.environ['OMP_WAIT_POLICY'])"
sys.stdout.flush()
subprocess.run([sys.executable, "-c", child], check=True)"""
    assert in_a_new_process(code).splitlines()[-1] == "PASSIVE"


def test_every_public_name_is_there_and_a_wrong_one_lists_them() -> None:
    assert set(r4.__all__) <= set(dir(r4))
    assert all(getattr(r4, name).__doc__ for name in r4.__all__)
    assert sorted(name for names in r4._MODULES.values() for name in names) == r4.__all__
    with pytest.raises(AttributeError, match=r"no 'render_picture'; it has .*render"):
        _ = r4.render_picture


def test_no_package_takes_the_name_of_a_function() -> None:
    code = "import restage4d as r4, restage4d.splatting.orbit, restage4d.jobs.restaging; "
    code += "import restage4d.cli.export, restage4d.exporting.writing; "
    assert in_a_new_process(code + "print(callable(r4.render), callable(r4.export))") == "True True"


# --- load and draw --------------------------------------------------------------------------------


def test_load_is_the_puppet_as_saved(tmp_path: Path) -> None:
    puppet = random_puppet()
    puppet.save(tmp_path / "a.puppet")
    assert equal(r4.load(tmp_path / "a.puppet"), puppet)
    assert equal(r4.load(str(tmp_path / "a.puppet")), puppet)
    refused(lambda: r4.load(tmp_path / "b.puppet"), "b.puppet cannot be read")


def over_grey(rgba: np.ndarray) -> np.ndarray:
    return (255 * (rgba[..., :3] + (1 - rgba[..., 3:]) * GREY)).round().astype(np.uint8)


def test_a_frame_is_drawn_as_filmed_and_from_any_other_camera() -> None:
    puppet = box_puppet()
    filmed = r4.render(puppet, "restaged", 9)
    assert (filmed.shape, filmed.dtype) == ((100, 160, 4), np.float32)
    assert mostly(over_grey(filmed)) == "front"
    restaged = puppet.performance("restaged")
    assert np.array_equal(r4.render(puppet, restaged, 9, restaged.camera(9)), filmed)
    by_bases = r4.render(puppet, restaged.bases[:, 9], camera=restaged.camera(9))
    assert np.array_equal(by_bases, filmed)
    alone = r4.render(puppet, "restaged", 9, background=False)
    assert filmed[-1, 40, 3] > 0.9  # the ground
    assert alone[-1, 40].tolist() == [0, 0, 0, 0]
    for degrees, side in ((90, "left"), (180, "back")):
        camera = r4.orbit(puppet, "restaged", 9, degrees=degrees)
        picture = over_grey(r4.render(puppet, "restaged", 9, camera, background=False))
        assert mostly(picture) == side
    half = r4.Camera(restaged.K[9] * [[0.5], [0.5], [1]], restaged.w2c[9], (80, 50))
    small = r4.render(puppet, "restaged", 9, half)
    assert small.shape == (50, 80, 4)
    mean = filmed.reshape(50, 2, 80, 2, 4).mean((1, 3))
    assert np.abs(small - mean).mean() < 0.02


def test_what_cannot_be_drawn_is_said() -> None:
    puppet = random_puppet()
    refused(lambda: r4.render(puppet, "run"), "no performance 'run'", "'base', 'jump!'")
    refused(lambda: r4.render(puppet, "base", 4), "no frame 4", "0 to 3")
    refused(lambda: r4.orbit(puppet, "base", 4), "no frame 4", "0 to 3")
    refused(lambda: r4.render(puppet, puppet.performances[0].bases[:, 0]), "camera=")


# --- export ---------------------------------------------------------------------------------------


def test_a_frame_a_sequence_and_the_whole_puppet(tmp_path: Path) -> None:
    puppet = random_puppet(degree=1)
    ply = tmp_path / "new" / "x.ply"
    assert r4.export(puppet, ply, performance="jump!", frame=3) == [ply]
    assert np.array_equal(read_ply(ply).means, puppet.pose("jump!", 3).means)
    r4.export(puppet, str(ply), puppet.performances[0], 1, background=True)
    assert np.array_equal(read_ply(ply).means[:60], puppet.pose("base", 1).means)
    assert len(read_ply(ply)) == 80
    folder = tmp_path / "v1.2"
    folder.mkdir()
    for name in ("notes.txt", "jump_0099.ply"):
        (folder / name).write_text("mine")
    paths = r4.export(puppet, folder)  # the last performance
    assert [p.name for p in paths] == [f"jump_{i:04d}.ply" for i in range(1, 6)]
    assert {p.name for p in folder.iterdir()} == {
        "notes.txt",
        "jump_0099.ply",
        *(p.name for p in paths),
    }
    assert (folder / "jump_0099.ply").read_text() == "mine"
    assert len(r4.export(puppet, tmp_path / "base", "base")) == 4
    assert r4.export(puppet, tmp_path / "a.puppet") == [tmp_path / "a.puppet"]
    assert equal(r4.load(tmp_path / "a.puppet"), puppet)


def test_what_cannot_be_exported_is_said_and_writes_nothing(tmp_path: Path) -> None:
    puppet, ply = random_puppet(), tmp_path / "x.ply"
    refused(lambda: r4.export(puppet, tmp_path / "x.obj"), ".obj", ".ply", ".puppet", "folder")
    refused(lambda: r4.export(puppet, ply), "x.ply holds one frame", "frame=")
    refused(lambda: r4.export(puppet, ply, "run", 1), "no performance 'run'", "'base', 'jump!'")
    refused(lambda: r4.export(puppet, ply, "base", 4), "no frame 4")
    refused(lambda: r4.export(puppet, tmp_path / "x", frame=1), "whole performance", ".ply")
    refused(lambda: r4.export(puppet, tmp_path / "x.puppet", "base"), "every performance")
    assert os.listdir(tmp_path) == []


# --- restage --------------------------------------------------------------------------------------


def options_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Name and default of everything ``restage4d run`` takes."""
    seen: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        seen.append(parser)
        raise StopIteration

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(StopIteration):
        main.main([])
    commands = next(a for a in seen[0]._actions if isinstance(a, argparse._SubParsersAction))
    return {a.dest: a.default for a in commands.choices["run"]._actions if a.dest != "help"}


def test_restage_has_the_command_lines_options_and_defaults(monkeypatch) -> None:
    def plain(value: object) -> object:
        return str(value) if isinstance(value, Path) else tuple(value) if value == [] else value

    parameters = dict(inspect.signature(r4.restage).parameters)
    del parameters["progress"]
    here = {name: None if p.default is p.empty else p.default for name, p in parameters.items()}
    assert here == {k: plain(v) for k, v in options_of_the_command_line(monkeypatch).items()}


def test_restage_hands_over_what_it_was_given(tmp_path: Path, monkeypatch) -> None:
    jobs = []

    def run(job, progress, **_) -> None:
        jobs.append(job)
        random_puppet().save(job.out / "puppet.puppet")

    monkeypatch.setattr(restaging, "run", run)
    puppet = r4.restage(
        "dog.mp4",
        "the dog jumps",
        out=tmp_path,
        box=(1, 2, 30, 40),
        driving="driving.mp4",
        set={"fusion.steps": 5, "backtracing": False},
        depth="depth-anything-v2",
        driver_fps=12.0,
    )
    assert equal(puppet, random_puppet())
    r4.restage("d.mp4", "", out=tmp_path, driving=[Path("a.mp4"), "b.mp4"], set=["fusion.steps=5"])
    job, other = jobs
    assert (job.video, job.prompt, job.out) == (
        Path("dog.mp4").absolute(),
        "the dog jumps",
        tmp_path,
    )
    assert job.selection == Selection(box=(1, 2, 30, 40))
    assert (job.quality, job.longer_side) == ("default", 384)
    assert job.driving == [Path("driving.mp4").absolute()]
    assert job.settings == ["fusion.steps=5", "backtracing=False"]
    assert (job.choice.priors.depth, job.choice.priors.masks) == ("depth-anything-v2", "auto")
    assert job.choice.driver.fps == 12.0
    assert other.driving == [Path("a.mp4").absolute(), Path("b.mp4").absolute()]
    assert other.settings == ["fusion.steps=5"]


def test_restage_takes_masks_by_their_frames(tmp_path: Path, monkeypatch) -> None:
    jobs = []

    def run(job, progress, **_) -> None:
        jobs.append(job)
        random_puppet().save(job.out / "puppet.puppet")

    monkeypatch.setattr(restaging, "run", run)
    masks = ROOT / "scripts/demo_clip/masks"
    for mask, select in (
        (masks / "00000.png", None),
        ({0: masks / "00000.png", 5: str(masks / "00005.png")}, None),
        ({5: masks / "00005.png"}, (200, 150)),
    ):
        r4.restage("d.mp4", "p", out=tmp_path, mask=mask, select=select)
    first, both, later = jobs
    assert first.corrections == {}
    np.testing.assert_array_equal(first.selection.mask, both.selection.mask)
    assert [*both.corrections] == [*later.corrections] == [5]
    assert later.selection == Selection(point=(200, 150))
    assert (both.corrections[5] != first.selection.mask).any()
    with pytest.raises(InputError, match="select and mask both say"):
        r4.restage("d.mp4", "p", out=tmp_path, select=(1, 2), mask={0: masks / "00000.png"})
    with pytest.raises(InputError, match="no frame -3"):
        r4.restage("d.mp4", "p", out=tmp_path, mask={-3: masks / "00000.png"})


def test_restage_refuses_before_any_work(tmp_path: Path) -> None:
    def restage(**options) -> None:
        r4.restage(ROOT / "scripts/demo_clip/base.mp4", "it nods", out=tmp_path / "out", **options)

    refused(lambda: restage(quality="best"), "no quality 'best'", "draft, default, high")
    refused(lambda: restage(select=(1, 2), mask="m.png"), "select and mask")
    refused(lambda: restage(set={"fusion.stepz": 1}), "fusion.stepz")
    refused(lambda: restage(masks="magic"), "magic", "grabcut")
    refused(lambda: restage(priors=tmp_path / "none"), "none is not a folder")
    refused(lambda: r4.restage("no.mp4", "it nods", out=tmp_path / "out"), "no.mp4")
    with pytest.raises(TypeError, match="longer_sid"):
        restage(longer_sid=200)
