"""What exports write, replace, and leave alone: names, a full disk, failures of Blender's own
exporters."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import puppets
import pytest
from layout_recorder import LayoutRecorder

from blender_addon import headless, paths
from blender_addon.operators import import_export, render_splats
from blender_addon.puppet import importer
from blender_addon.puppet.output import export, render_job, sequences, verify
from blender_addon.session import running_work
from restage4d.errors import InputError
from restage4d.io import ply
from restage4d.puppet import Puppet

pytestmark = pytest.mark.usefixtures("registered")

resource = pytest.importorskip("resource")  # full disks are simulated by a limit of Unix

OUT = bpy.ops.restage4d
needs_alembic = pytest.mark.skipif(not export.has_alembic(), reason="built without Alembic")
needs_usd = pytest.mark.skipif(not export.has_usd(), reason="built without USD")
OWN = {"use_range": True, "first": 3, "last": 4}
KINDS = (  # operator, its options, names of what it writes of "fox"
    ("export_puppet", {}, ["fox.puppet"]),
    ("export_ply", OWN, ["fox_0003.ply", "fox_0004.ply"]),
    ("export_npz", OWN, ["fox_0003.npz", "fox_0004.npz"]),
    pytest.param("export_alembic", OWN, ["fox.abc"], marks=needs_alembic),
    pytest.param("export_usd", OWN, ["fox.usdc"], marks=needs_usd),
)


@pytest.fixture
def full_disk():
    """A context manager in which no file gets larger than some bytes."""

    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return limit


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["ply", "npz"])
def test_a_part_of_a_sequence_replaces_its_own_frames_alone(out, imported, puppet, kind, capfd):
    names = ("fox_0001", "fox_0003", "fox_0009", "fox_2024", "fox_00004", "fox", "foxes_0003")
    for name in names:
        (out / f"{name}.{kind}").write_text("mine")
    getattr(OUT, f"export_{kind}")(filepath=str(out / f"fox.{kind}"), overwrite=True, **OWN)
    assert f"Wrote fox_0003.{kind} to fox_0004.{kind}, in {out}" in capfd.readouterr().out
    written = {f"fox_0003.{kind}", f"fox_0004.{kind}"}
    assert {path.name for path in out.iterdir()} == written | {f"{name}.{kind}" for name in names}
    kept = [path for path in out.iterdir() if path.name not in written]
    assert {path.read_text() for path in kept} == {"mine"}
    for frame in (3, 4):
        path = out / f"fox_{frame:04d}.{kind}"
        seen = ply.read_ply(path).means if kind == "ply" else np.load(path)["means"]
        want = puppet.pose(puppet.performances[-1], frame - 1).means
        np.testing.assert_allclose(seen, want, atol=2e-4)


@pytest.mark.parametrize(("kind", "options", "names"), KINDS)
def test_nothing_is_replaced_unasked(out, imported, kind, options, names):
    """From a script there is an option; files of other names are in nobody's way."""
    operator, path = getattr(OUT, kind), out / f"fox{Path(names[0]).suffix}"
    (out / "fox_0009.ply").write_text("mine")
    (out / names[-1]).write_text("mine")
    before = read_all(out)
    with pytest.raises(RuntimeError, match=rf"{names[-1]} is there already\. Give overwrite=True"):
        operator(filepath=str(path), **options)
    assert read_all(out) == before
    assert operator(filepath=str(path), overwrite=True, **options) == {"FINISHED"}
    after = read_all(out)
    assert sorted(after) == sorted({*names, "fox_0009.ply"})
    assert after["fox_0009.ply"] == b"mine"
    assert all(len(after[name]) > 1000 for name in names)
    if len(names) > 1:
        with pytest.raises(RuntimeError, match=r"2 files from fox_0003.* to fox_0004.* are there"):
            operator(filepath=str(path), **options)


@pytest.mark.parametrize(("kind", "options", "names"), KINDS)
def test_a_full_disk_leaves_what_was_there(out, imported, full_disk, kind, options, names):
    """The files are cut at 3000 bytes; where Alembic were let write, it would end Blender."""
    hidden = imported.splats.hide_viewport
    for name in names:
        (out / name).write_text("good")
    before, counts = read_all(out), [len(bpy.data.objects), len(bpy.data.node_groups)]
    path = out / f"fox{Path(names[0]).suffix}"
    with (
        full_disk(3000),
        pytest.raises(RuntimeError, match=r"no room left|could not write .* whole") as told,
    ):
        getattr(OUT, kind)(filepath=str(path), overwrite=True, **options)
    assert str(out) in str(told.value)
    assert ".new" not in str(told.value)
    assert "Traceback" not in str(told.value)
    assert read_all(out) == before
    assert [len(bpy.data.objects), len(bpy.data.node_groups)] == counts
    assert running_work.current is None
    assert imported.splats.hide_viewport == hidden


class Backend:
    """In place of the service: grey pictures, the third of which may fail."""

    def __init__(self, fail=False):
        self.fail, self.drawn = fail, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def upload(self, path):
        assert path.is_file()
        return "content"

    def render(self, content, bases, w2c, K, size, *, background):
        self.drawn += 1
        if self.fail and self.drawn == 3:
            raise ValueError("a stumble")
        return np.full((size[1], size[0], 4), 0.5, np.float32), np.ones((size[1], size[0]), "f4")


class Noisy(Backend):
    """Pictures that do not compress."""

    def render(self, *_, **__):
        noise = np.random.default_rng(0).random((48, 64, 4), np.float32)
        return noise, noise[..., 0]


@pytest.mark.parametrize("trouble", ["none", "disk", "backend"])
def test_rendered_sequences_are_replaced_together(out, full_disk, monkeypatch, trouble):
    """Both or neither; frames outside the range stay."""
    names = [f"s_{kind}_{n:04d}.exr" for kind in ("rgba", "depth") for n in (1, 2, 3, 9)]
    for name in (*names, "s_rgba.exr"):
        (out / name).write_text("good")
    before = read_all(out)
    puppet = puppets.random_puppet(n=50, frames=3)
    job = render_job.Render(
        puppet, range(1, 4), True, out / "s.exr", lambda: Backend(trouble == "backend")
    )
    if trouble == "disk":  # the puppet fits, a picture of noise does not
        job.connect = Noisy
    with full_disk(45_000 if trouble == "disk" else resource.RLIM_INFINITY):
        render_job._run(job)
    after = read_all(out)
    if trouble == "none":
        assert job.error is None, job.says
        changed = {name for name in before if after[name] != before[name]}
        assert changed == {n for n in names if "_0009" not in n}
        return
    assert after == before
    assert job.finished
    if trouble == "disk":
        assert job.says.startswith(f"There is no room left to write {out / 's_rgba_0001.exr'}.")
    else:
        assert job.says == "Rendering failed: a stumble. See the backend's log."
        monkeypatch.setattr(render_job, "current", job)
        assert render_splats._watch() is None
        assert "ValueError: a stumble" in paths.failure_log().read_text()


def test_a_blend_and_a_still_are_whole_or_as_they_were(tmp_path, out, full_disk):
    """Blender says that it saved either."""
    puppets.random_puppet(n=300).save(tmp_path / "dog.puppet")
    blend, still = out / "dog.blend", out / "dog.png"
    blend.write_text("good")
    with full_disk(60_000), pytest.raises(InputError, match=r"dog\.blend whole"):
        headless.make_blend(tmp_path / "dog.puppet", blend, name=None, footage={})
    assert read_all(out) == {"dog.blend": b"good"}
    headless.make_blend(tmp_path / "dog.puppet", blend, name=None, footage={})
    still.write_text("good")
    with full_disk(500), pytest.raises(InputError, match=r"dog\.png whole"):
        headless.render_still(still, "WORKBENCH", 3)
    assert still.read_text() == "good"
    headless.render_still(still, "WORKBENCH", 3)
    assert verify.is_whole_png(still)
    assert sorted(path.name for path in out.iterdir()) == ["dog.blend", "dog.png"]


def test_splats_over_older_ones_need_a_word(out, imported):
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, 3
    (out / "s_depth_0002.exr").write_text("mine")
    with pytest.raises(RuntimeError, match=r"s_depth_0002\.exr is there already"):
        OUT.render_splats(filepath=str(out / "s.exr"))
    assert [path.name for path in out.iterdir()] == ["s_depth_0002.exr"]


@pytest.mark.parametrize("suffix", [".usdc", ".usda"])
@needs_usd
def test_a_usd_file_that_is_cut_short_is_seen(out, imported, suffix):
    OUT.export_usd(filepath=str(out / f"fox{suffix}"), **OWN)
    path, frames = out / f"fox{suffix}", range(3, 5)
    whole = path.read_bytes()
    assert verify.find_usd_damage(path, frames, 500) == ""
    for size in (0, 4, 20, 100, len(whole) // 2, len(whole) - 200):
        path.write_bytes(whole[:size])
        assert verify.find_usd_damage(path, frames, 500) != "", size
    path.write_bytes(whole[:16] + bytes(len(whole) - 16))
    assert verify.find_usd_damage(path, frames, 500) != ""


@needs_usd
def test_a_usd_file_with_other_frames_or_points_is_seen(out, imported, monkeypatch):
    """By OpenUSD itself, which Blender's own Python has."""
    own = Path(bpy.utils.resource_path("LOCAL")) / "python"
    for place in own.glob("lib/python3.*/site-packages"):
        monkeypatch.syspath_prepend(str(place))
    pytest.importorskip("pxr")
    path = out / "fox.usdc"
    OUT.export_usd(filepath=str(path), **OWN)
    assert verify.find_usd_damage(path, range(3, 5), 500) == ""
    assert (
        verify.find_usd_damage(path, range(3, 6), 500) == "it has frames 3 to 4 instead of 3 to 5"
    )
    assert verify.find_usd_damage(path, range(3, 5), 560) == "it has [500] points instead of 560"


@needs_alembic
def test_an_alembic_file_that_is_cut_short_is_seen(out, imported):
    path = out / "fox.abc"
    OUT.export_alembic(filepath=str(path), **OWN)
    whole = path.read_bytes()
    assert verify.find_alembic_damage(path) == ""
    assert len(whole) < export._estimate_alembic(imported, export.What(range(3, 5)))
    for content in (b"", whole[:10], whole[:5] + b"\0" + whole[6:], b"USD" + whole[3:]):
        path.write_bytes(content)
        assert verify.find_alembic_damage(path) != ""


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("export_alembic", ["Positions alone: no colour, size, orientation"]),
        ("export_usd", []),
    ],
)
def test_what_a_file_loses_is_said_before(operator, said):
    known = getattr(OUT, operator).get_rna_type()
    drawn = SimpleNamespace(layout=LayoutRecorder(), use_range=False, bl_rna=known)
    getattr(import_export, f"RESTAGE4D_OT_{operator}").draw(drawn, bpy.context)
    assert drawn.layout.texts == said


def test_what_blender_s_exporter_says_is_told():
    def fail(**options):
        raise RuntimeError(f"Error: Cannot open {options['filepath']}\n")

    told = r"could not write /x/fox\.abc: Cannot open /x/fox\.abc Mend"  # no temporary name
    with pytest.raises(InputError, match=told):
        export._run_exporter(fail, Path("/x/fox.abc"), filepath="/x/.fox.abc.1a2b")
    with pytest.raises(InputError, match=r"could not write /x/fox\.abc\. See"):
        export._run_exporter(lambda **options: {"CANCELLED"}, Path("/x/fox.abc"))


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("fox", "fox.usdc"),
        ("fox.usda", "fox.usda"),
        ("fox.USD", "fox.usd"),
        ("fox.v2", "fox.v2.usdc"),
        ("fox.ply", "fox.ply.usdc"),
        ("fox.usdz", "fox.usdz.usdc"),  # an archive, whose inside would have the temporary name
    ],
)
def test_names_get_the_right_ending(out, given, want):
    suffixes = (".usdc", ".usda", ".usd")
    assert paths.resolve_output(str(out / given), suffixes) == out / want


def test_names_that_cannot_be(out, imported):
    (out / "sub.ply").mkdir()
    for path, told in (
        (f"{out}{os.sep}", "No name is given"),
        ("", "No name is given"),
        (str(out / ".ply"), "No name is given"),
        (str(out / "sub"), "is a folder"),
        ("//fox.ply", "//fox.ply would be beside the .blend, which is nowhere yet. Save"),
    ):
        with pytest.raises(RuntimeError, match=told):
            OUT.export_ply(filepath=path, **OWN)
    assert [path.name for path in out.iterdir()] == ["sub.ply"]
    assert not Path("/fox_0003.ply").exists()


def test_every_operator_s_path_may_be_beside_the_blend(out, imported, puppet):
    """Unsaved, all say so; saved, all find it."""
    puppet.save(out / "in.puppet")
    (out / "clip.mp4").write_bytes(b"any")
    calls = (
        (OUT.export_puppet, "//fox.puppet"),
        (OUT.export_ply, "//fox.ply"),
        (OUT.render_splats, "//fox.exr"),
        (OUT.report_bug, "//bug.zip"),
        (OUT.import_puppet, "//in.puppet"),
        (OUT.pick_video, "//clip.mp4"),
    )
    for operator, path in calls:
        with pytest.raises(RuntimeError, match=r"beside the \.blend, which is nowhere yet"):
            operator(filepath=path)
    bpy.ops.wm.save_as_mainfile(filepath=str(out / "a.blend"))
    for operator, path in calls:
        if operator is not OUT.render_splats:  # it would begin to render
            assert operator(filepath=path) == {"FINISHED"}
        if operator is OUT.import_puppet:
            assert len(importer.find_puppets(bpy.context.scene)) == 2
    assert len(Puppet.load(out / "fox.puppet").performances) == 2
    assert (out / "fox_0001.ply").stat().st_size > 1000
    assert (out / "bug.zip").stat().st_size > 100
    assert bpy.context.scene.restage4d.video == "//clip.mp4"
    with pytest.raises(RuntimeError, match=r"bug\.zip is there already"):
        OUT.report_bug(filepath="//bug.zip")


def test_negative_frames_have_names_of_their_own(out, imported):
    OUT.export_ply(filepath=str(out / "fox.ply"), use_range=True, first=-2, last=1)
    names = ["fox_-0001.ply", "fox_-0002.ply", "fox_0000.ply", "fox_0001.ply"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert len(ply.read_ply(out / "fox_-0002.ply").means) == 500
    assert sequences.list_frames(Path("a.b.exr"), range(12345, 12346)) == {
        12345: Path("a.b_12345.exr")
    }
    if export.has_usd():
        with pytest.raises(RuntimeError, match="no frames before 0"):
            OUT.export_usd(filepath=str(out / "fox.usdc"), use_range=True, first=-2, last=1)


@pytest.mark.parametrize("error", [RuntimeError("Error: no context\n"), KeyError("lost")])
@pytest.mark.parametrize("at_once", [False, True])
def test_any_error_ends_an_export_with_a_sentence(out, imported, monkeypatch, error, at_once):
    """The traceback is for the log."""
    closed = []

    def steps(*_):
        try:
            yield 0, 1
            raise error
        finally:
            closed.append(True)

    def fail(*_):
        raise error

    monkeypatch.setattr(export, "puppet_steps", fail if at_once else steps)
    with pytest.raises(
        RuntimeError, match=r"Export Puppet \(.puppet\) failed: .*bug report"
    ) as told:
        OUT.export_puppet(filepath=str(out / "fox.puppet"))
    assert "Traceback" not in str(told.value)
    assert ("no context" if isinstance(error, RuntimeError) else "KeyError: 'lost'") in str(
        told.value
    )
    assert closed == [] if at_once else [True]
    assert "Traceback" in paths.failure_log().read_text()
    assert list(out.iterdir()) == []
    assert OUT.export_puppet.poll()
