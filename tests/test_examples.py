"""Every example runs as its docstring says, and what it writes is what it promises. The first makes
one small puppet for all."""

import ast
import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import restage4d as r4
from restage4d import se3
from restage4d.io.ply import read_ply

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("0*.py"))
NOTEBOOK = EXAMPLES / "07_notebook.ipynb"
BPY = ROOT / ".venv-blender" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

pytestmark = pytest.mark.timeout(600)


class Workplace:
    """A temporary folder, home and cache for all examples, and the small puppet in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.puppet = folder / "restage4d_examples" / "puppet.puppet"
        self.environment = dict(
            os.environ,
            TMPDIR=str(folder),
            TEMP=str(folder),
            RESTAGE4D_HOME=str(self.home),
            RESTAGE4D_CACHE=str(folder / "cache"),
            PYTHONPATH=str(ROOT),
        )

    def run(self, *command: object, python: Path | str = sys.executable, **environment) -> str:
        done = subprocess.run(
            [str(python), *map(str, command)],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Workplace:
    """Where the first example, given no puppet, has made the small one."""
    place = Workplace(tmp_path_factory.mktemp("examples"))
    said = place.run(EXAMPLES / "01_load_pose_render.py", "--out", place.folder / "first")
    assert "Making a small puppet" in said
    assert repr(r4.load(place.puppet)) in said
    return place


def test_each_is_short_says_how_to_run_it_and_is_listed() -> None:
    assert [p.name[:2] for p in SCRIPTS] == ["01", "02", "03", "04", "05", "06"]
    listed = (EXAMPLES / "README.md").read_text()
    for path in SCRIPTS:
        text = path.read_text()
        assert len(text.splitlines()) <= 40, path.name
        assert f"python examples/{path.name}" in (ast.get_docstring(ast.parse(text)) or "")
        assert f"({path.name})" in listed
    assert f"({NOTEBOOK.name})" in listed


def test_load_pose_render(place: Workplace) -> None:
    said = place.run(EXAMPLES / "01_load_pose_render.py", place.puppet, "--out", place.folder)
    assert "Making" not in said
    puppet = r4.load(place.puppet)
    filmed, behind = (
        np.asarray(Image.open(place.folder / f"{name}.png")) for name in ("filmed", "behind")
    )
    width, height = puppet.performances[-1].size
    assert filmed.shape == behind.shape == (height, width, 3)
    frame = puppet.performances[-1].n_frames // 2
    want = r4.render(puppet, "restaged", frame)
    assert np.abs(filmed / 255 - (want[..., :3] + (1 - want[..., 3:]) * 0.8)).max() < 0.003
    assert behind[0, 0].tolist() == [204, 204, 204]
    assert 0.05 < (np.abs(behind.astype(int) - 204).max(-1) > 40).mean() < 0.6


def test_restage_a_clip(place: Workplace) -> None:
    out = place.folder / "restaged"
    said = place.run(EXAMPLES / "02_restage_a_clip.py", "--out", out)
    puppet = r4.load(out / "puppet.puppet")
    assert repr(puppet) in said
    assert "photometric fusion ..." in said
    assert f"{puppet.metrics['psnr_base']:.1f} dB against the base video" in said
    assert puppet.metrics["psnr_base"] > 20
    assert [p.name for p in puppet.performances] == ["base", "restaged"]
    assert puppet.performances[0].n_frames == 8
    assert max(puppet.performances[0].size) == 160
    assert len(list((out / "splats").glob("restaged_*.ply"))) == puppet.performances[1].n_frames


def test_edit_bases(place: Workplace) -> None:
    place.run(EXAMPLES / "03_edit_bases.py", place.puppet, "--out", place.folder)
    puppet = r4.load(place.folder / "turned.puppet")
    assert [p.name for p in puppet.performances] == ["base", "restaged", "turned"]
    before, after = (puppet.performance(name).bases for name in ("restaged", "turned"))
    R, S = se3.gram_schmidt(before[..., :6]), se3.gram_schmidt(after[..., :6])
    cosine = (np.einsum("ktij,ktij->kt", R, S) - 1) / 2
    degrees = np.degrees(np.arccos(cosine.clip(-1, 1)))
    turned = np.abs(before - after).max((1, 2)) > 0
    assert turned.sum() == puppet.n_bases // 5
    assert np.allclose(degrees[turned], np.linspace(0, 20, before.shape[1]), atol=0.1)
    axis = np.einsum("kij,klj->kil", S[turned, -1], R[turned, -1])[:, :, 2]
    assert np.allclose(axis, [0, 0, 1], atol=1e-4)  # about the vertical
    moved = np.linalg.norm(
        puppet.pose("turned", before.shape[1] - 1).means
        - puppet.pose("restaged", before.shape[1] - 1).means,
        axis=1,
    )
    height = puppet.pose("restaged", 0).means[:, 2]
    upper = height > np.quantile(height, 0.8)
    assert moved[upper].mean() > 3 * moved[height < np.median(height)].mean()


def test_export(place: Workplace) -> None:
    out = place.folder / "exported"
    place.run(EXAMPLES / "04_export.py", place.puppet, "--out", out)
    puppet = r4.load(place.puppet)
    frames = puppet.performance("restaged").n_frames
    paths = sorted((out / "splats").iterdir())
    assert [p.name for p in paths] == [f"restaged_{i + 1:04d}.ply" for i in range(frames)]
    last = puppet.pose("restaged", frames - 1)
    assert np.allclose(read_ply(paths[-1]).means, last.means, atol=1e-6)
    assert len(read_ply(out / "scene.ply")) == len(puppet.subject) + len(puppet.background)
    assert (out / "copy.puppet").read_bytes() == place.puppet.read_bytes()
    with np.load(out / "frames.npz", allow_pickle=False) as arrays:
        assert arrays["means"].shape == (frames, len(puppet.subject), 3)
        assert np.array_equal(arrays["quats"][-1], last.quats)
        assert arrays["fps"] == 24


def test_drive_the_backend(place: Workplace) -> None:
    """The real service, on loopback, in a home of its own; it ends with the script."""
    said = place.run(EXAMPLES / "05_drive_the_backend.py", "--out", place.folder)
    puppet = r4.load(place.folder / "backend.puppet")
    assert repr(puppet) in said
    assert [p.name for p in puppet.performances] == ["base", "restaged"]
    width, height = puppet.performances[1].size
    assert f"drawn there: ({height}, {width}, 4)" in said
    assert "%  photometric fusion" in said
    assert (place.home / "jobs.sqlite").exists()
    until = time.monotonic() + 60
    while (place.home / "connection.json").exists():
        assert time.monotonic() < until, "the service still runs"
        time.sleep(0.1)


KEYED = """
import os, sys, bpy
heights = []
for path in sys.argv[1:3]:
    bpy.ops.wm.open_mainfile(filepath=path)
    scene = bpy.context.scene
    armature = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    for frame in (scene.frame_start, scene.frame_end):
        scene.frame_set(frame)
        heights.append(armature.pose.bones[sys.argv[3]].location.z)
print("HEIGHTS", *heights, flush=True)
os._exit(0)
"""


def test_headless_blender(place: Workplace) -> None:
    if not BPY.exists():
        pytest.skip(f"no Blender: {BPY} is missing (scripts/test.sh makes it)")
    script = EXAMPLES / "06_headless_blender.py"
    said = place.run(script, place.puppet, "--out", place.folder, python=BPY)
    frames = r4.load(place.puppet).performance("restaged").n_frames
    assert f"{frames} keys on basis_" in said
    bone = said.split()[-1]
    keyed, plain = place.folder / "keyed.blend", place.folder / "plain.blend"
    place.run("-m", "blender_addon.headless", place.puppet, plain, python=BPY)
    said = place.run("-c", KEYED, keyed, plain, bone, python=BPY)
    line = next(line for line in said.splitlines() if line.startswith("HEIGHTS"))
    first, last, plain_first, plain_last = map(float, line.split()[1:])
    assert first == pytest.approx(plain_first, abs=1e-6)
    assert last - plain_last == pytest.approx(0.2 * (frames - 1) / frames, abs=1e-6)


def test_the_notebook_runs_and_holds_its_pictures(place: Workplace) -> None:
    assert NOTEBOOK.stat().st_size <= 200_000
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    pictures = [
        output["data"]["image/png"]
        for cell in cells
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3
    for picture in pictures:
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    # As a notebook does: one namespace, and the folder that the notebook is in on the path.
    code = "\n".join("".join(cell["source"]) for cell in cells)
    code += "\nprint(len(filmed), len(around), drawn.shape, travel.max() > travel.mean() > 0)"
    path = os.pathsep.join((str(ROOT), str(EXAMPLES)))
    said = place.run("-c", code, PUPPET=str(place.puppet), PYTHONPATH=path)
    assert said.splitlines()[-1] == "4 4 (120, 160, 4) True"
