"""*Export for Other Programs* writes what the scene plays, by the backend's own command line, and
leaves nothing where it is ended or fails."""

import json
import threading
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from rig_checks import find_control

from blender_addon import paths
from blender_addon.puppet import importer
from blender_addon.puppet.output import other_programs
from blender_addon.puppet.output.other_programs import Choice, complete_name
from blender_addon.session import command, launcher
from restage4d.errors import InputError
from restage4d.io import ply

pytestmark = pytest.mark.usefixtures("registered")

ROOT = Path(__file__).parents[2]
EXPORT = bpy.ops.restage4d.export_for_programs
needs_backend = pytest.mark.skipif(
    not launcher.get_own_python(ROOT).is_file(), reason="there is no environment of the backend"
)


def check_shifted(seen, captured):
    """All points moved as the handle was, by a quarter of a unit."""
    shift = seen - captured
    assert np.ptp(shift, axis=0).max() < 1e-3
    assert shift[0, 0] == pytest.approx(0.25, abs=5e-3)
    assert np.linalg.norm(shift[0]) == pytest.approx(0.25, abs=1e-3)


@needs_backend
def test_a_tweaked_performance_leaves_as_it_plays(out, creature):
    """In the axes and units that were asked for, the frames of the range alone."""
    puppet, imported = creature
    importer.activate(imported, "base", scene=None)
    handle = find_control(imported, -1)
    handle.location.x = 0.25
    handle.keyframe_insert("location", index=0, frame=1)
    options = {"use_range": True, "first": 3, "last": 4, "scale": 100.0, "axes": "y-up"}
    EXPORT(filepath=str(out / "fox.usdc"), format="ply", **options)
    assert [p.name for p in out.iterdir()] == ["fox"]
    assert sorted(p.name for p in (out / "fox").iterdir()) == ["base_0003.ply", "base_0004.ply"]
    for frame in (3, 4):
        seen = ply.read_ply(out / "fox" / f"base_{frame:04d}.ply").means
        seen = (seen * [1, 1, -1])[:, [0, 2, 1]] / (100 * puppet.metres_per_unit)
        check_shifted(seen, puppet.pose(puppet.performance("base"), frame - 1).means)


@needs_backend
def test_what_plays_now_leaves_over_the_scene_s_frames(out, creature):
    puppet, imported = creature
    scene = bpy.context.scene
    importer.activate(imported, "base", scene=None)
    find_control(imported, -1).location.x = 0.25  # without a key: of no performance
    scene.frame_start, scene.frame_end = 2, 5
    where = {"filepath": str(out / "fox"), "as_played": True, "background": True}
    EXPORT(format="npz", use_range=True, first=3, last=3, **where)
    assert [p.name for p in out.iterdir()] == ["fox.npz"]
    with np.load(out / "fox.npz", allow_pickle=False) as arrays:
        seen = arrays["means"] / puppet.metres_per_unit
    n = len(puppet.subject)
    assert len(seen) == n + len(puppet.background)
    check_shifted(seen[:n], puppet.pose(puppet.performance("base"), 2).means)
    EXPORT(format="cameras-json", **where | {"background": False})
    cameras = json.loads((out / "fox.json").read_text())["cameras"]
    assert len(cameras) == 4
    with pytest.raises(
        RuntimeError, match=r"Frames 9 to 9 are not all there\. Choose among 2 to 5"
    ):
        EXPORT(format="npz", use_range=True, first=9, last=9, **where | {"overwrite": True})


@needs_backend
def test_nothing_is_replaced_unasked(out, creature):
    (out / "fox.json").write_text("mine")
    with pytest.raises(RuntimeError, match=r"fox.json is there already"):
        EXPORT(filepath=str(out / "fox.json"), format="cameras-json")
    (out / "fox").mkdir()
    (out / "fox" / "gallop_0002.spz").write_text("mine")
    (out / "fox" / "notes.txt").write_text("mine")
    with pytest.raises(RuntimeError, match=r"gallop_0002.spz is there already"):
        EXPORT(filepath=str(out / "fox"), format="spz")
    EXPORT(filepath=str(out / "fox"), format="spz", overwrite=True)
    names = {f"gallop_{i:04d}.spz" for i in range(1, 11)} | {"notes.txt"}
    assert {p.name for p in (out / "fox").iterdir()} == names
    assert (out / "fox" / "notes.txt").read_text() == "mine"
    assert (out / "fox" / "gallop_0002.spz").stat().st_size > 1000
    assert (out / "fox.json").read_text() == "mine"


@needs_backend
def test_an_error_of_the_command_line_is_its_sentence(creature, out):
    _, imported = creature
    puppet_file = out / "none.puppet"
    steps = command.command_steps(
        ROOT, ["export", str(puppet_file), "--format", "ply", "--out", "x"]
    )
    with pytest.raises(InputError) as told:
        list(steps)
    assert str(puppet_file) in told.value.what
    assert told.value.remedy
    with pytest.raises(RuntimeError, match="invalid choice"):
        list(command.command_steps(ROOT, ["export", "a.puppet", "--format", "obj", "--out", "x"]))
    seen = []

    def fail(arguments):
        seen.append(Path(arguments[5]))
        yield 50, 100
        raise InputError(f"{seen[0]} has no room.", "Free some.")

    scene = bpy.context.scene
    place = out / "new" / "fox.usdc"
    steps = other_programs.program_steps(imported, scene, place, Choice("usd-splats", "base"), fail)
    with pytest.raises(InputError) as told:
        list(steps)
    assert str(told.value) == f"{place} has no room. Free some."
    assert list((out / "new").iterdir()) == []


@needs_backend
def test_ended_early_it_ends_the_process_and_leaves_nothing(out, creature, monkeypatch):
    _, imported = creature
    (out / "fox.mp4").write_text("mine")
    made, popen = [], command.subprocess.Popen

    def start(arguments, **options):
        made.append(popen(arguments, **options))
        return made[0]

    monkeypatch.setattr(command.subprocess, "Popen", start)
    choice = Choice("mp4", "base")
    steps = other_programs.program_steps(
        imported, bpy.context.scene, out / "fox.mp4", choice,
        lambda arguments: command.command_steps(ROOT, arguments),
    )  # fmt: skip
    longest = 0.0
    while not made:
        began = time.perf_counter()
        next(steps)
        longest = max(longest, time.perf_counter() - began)
    for _ in range(10):
        assert next(steps)[0] >= 40
    assert made[0].poll() is None
    assert len(list(out.iterdir())) == 2, "it works in a folder beside its place"
    steps.close()
    assert made[0].poll() not in (None, 0), "it was ended, not waited for"
    assert [p.name for p in out.iterdir()] == ["fox.mp4"]
    assert (out / "fox.mp4").read_text() == "mine"
    assert "restage4d command" not in {t.name for t in threading.enumerate()}
    assert longest < 1.0, "a window would stand still"


def test_a_python_that_cannot_run_is_no_error_in_writing(tmp_path):
    python = launcher.get_own_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.write_text("no program")
    with pytest.raises(RuntimeError, match="cannot be run"):
        list(command.command_steps(command.check_environment(tmp_path), ["info"]))


def test_without_a_backend_it_says_what_to_do(creature, monkeypatch, tmp_path, out):
    for root in (None, tmp_path):
        monkeypatch.setattr(paths, "backend_root", lambda r=root: r)
        with pytest.raises(RuntimeError, match=r"not set up on this computer.*Set Up and Start"):
            EXPORT(filepath=str(out / "fox"), format="spz")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "name", "frames", "completed"),
    [
        ("fox", "ply", None, "fox"),
        ("fox.ply", "ply", None, "fox"),
        ("fox", "ply", range(3, 4), "fox.ply"),
        ("fox.compressed.ply", "ply", range(3, 4), "fox.ply"),
        ("fox.ply", "compressed-ply", range(3, 4), "fox.compressed.ply"),
        ("fox.COMPRESSED.ply", "compressed-ply", range(3, 4), "fox.COMPRESSED.ply"),
        ("a.b/fox", "usd-splats", None, "a.b/fox.usdc"),
        ("fox.usda", "usd-splats", range(2), "fox.usda"),
        ("fox.usda", "mp4", None, "fox.mp4"),
        ("fox.v2", "prores", None, "fox.v2.mov"),
        ("fox.json", "cameras-colmap", None, "fox"),
    ],
)
def test_a_name_gets_the_format_s_ending(given, name, frames, completed):
    assert complete_name(given, Choice(name, frames=frames)) == completed


def test_a_menu_of_every_format():
    items = EXPORT.get_rna_type().properties["format"].enum_items
    assert [i.identifier for i in items] == list(other_programs.FORMATS)
    assert all(i.description for i in items)
