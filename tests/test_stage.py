"""Stages rendered by Blender, in a process of its own: pairs begin alike, truth fits pictures,
faults stay where they belong."""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.clips import Clip, rewind
from restage4d.io import images
from restage4d.priors.files import read_priors

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-blender" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
DATA = Path(os.environ.get("RESTAGE4D_DATA", ROOT.parent / "shared" / "data"))

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"{PYTHON} is missing: scripts/test.sh makes it"
)


def blender(*args: str, timeout: float = 280) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(PYTHON), *args], capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False
    )


def render(out: Path, *args: str) -> dict:
    done = blender(
        str(ROOT / "scripts" / "render_stage.py"),
        *args,
        "--out",
        str(out),
        "--size",
        "96",
        "--samples",
        "1",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((out / "stage.json").read_text(encoding="utf-8"))


def load(folder: Path) -> dict[str, np.ndarray]:
    out = {
        "frames": np.stack([images.image(p) for p in sorted((folder / "frames").glob("*.png"))]),
        "masks": np.stack(
            [images.image(p)[..., 0] for p in sorted((folder / "masks").glob("*.png"))]
        )
        > 0,
    }
    for file in folder.glob("*.npz"):
        with np.load(file, allow_pickle=False) as arrays:
            out.update({name: arrays[name] for name in arrays.files})
    return out


def check_truth(clip: dict[str, np.ndarray]) -> None:
    """Visible points lie on the mask and in the depth map."""
    for i in range(len(clip["frames"])):
        K, w2c, depth = clip["K"][i], clip["w2c"][i], clip["depth"][i].astype(np.float32)
        at = clip["points"][clip["visible"][:, i], i] @ w2c[:3, :3].T + w2c[:3, 3]
        column, row = np.floor(at[:, :2] / at[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]).astype(int).T
        assert len(at) > 0.1 * len(clip["points"])
        near = cv2.dilate(clip["masks"][i].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert near[row, column].mean() > 0.995
        low, high = cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3)))
        smooth = (high - low < 0.03 * depth)[row, column]
        assert smooth.sum() >= 8
        assert (np.abs(depth[row, column] / at[:, 2] - 1) < 0.01)[smooth].mean() > 0.97


def check_pair(base: dict[str, np.ndarray], driving: dict[str, np.ndarray]) -> None:
    for name in ("frames", "masks", "depth", "K", "w2c"):
        assert np.array_equal(base[name][0], driving[name][0]), name
    assert np.abs(base["points"][:, 0] - driving["points"][:, 0]).max() < 1e-5
    assert np.array_equal(base["visible"][:, 0], driving["visible"][:, 0])
    assert np.abs(driving["w2c"] - driving["w2c"][0]).max() == 0  # the driving camera stands still
    eye = [-w[:3, :3].T @ w[:3, 3] for w in base["w2c"]]
    assert np.linalg.norm(eye[-1] - eye[0]) > 1.0  # the base's goes around
    assert np.linalg.norm(driving["points"][:, -1] - base["points"][:, -1], axis=1).mean() > 0.05
    for clip in (base, driving):
        border = np.concatenate(
            [
                clip["masks"][:, 0],
                clip["masks"][:, -1],
                clip["masks"][..., 0],
                clip["masks"][..., -1],
            ],
            1,
        )
        assert not border.any()  # the subject stays in the picture


def test_creature_stage_with_faults(tmp_path: Path) -> None:
    out = tmp_path / "stage"
    about = render(
        out,
        "creature",
        "--base",
        "walk",
        "--driving",
        "sit",
        "--frames",
        "5",
        "--view-step",
        "4",
        "--points",
        "600",
        "--faults",
    )
    base, driving, faulty = load(out / "base"), load(out / "driving_1"), load(out / "faulty_1")
    assert base["frames"].shape == (5, 72, 96, 3)
    assert base["points"].shape == driving["points"].shape == (600, 5, 3)
    assert about["format"] == 1
    assert 0.8 < about["extent"] < 1.5
    check_pair(base, driving)
    for clip in (base, driving):
        check_truth(clip)
    # the stage is a folder of priors as it stands
    clip = rewind(Clip(base["frames"], 24), [Clip(driving["frames"], 24)])
    given = read_priors(out, clip)
    assert np.array_equal(
        given["masks"]["masks"] > 0.5, np.concatenate([base["masks"][::-1], driving["masks"][1:]])
    )
    assert np.array_equal(
        given["cameras"]["w2c"], np.concatenate([base["w2c"][::-1], driving["w2c"][1:]])
    )
    assert np.allclose(given["depth"]["depth"][0], base["depth"][-1], rtol=1e-3)
    # faults: only in the frames that are named, and never in the truth of the points
    assert np.array_equal(faulty["points"], driving["points"])
    change = np.abs(faulty["frames"].astype(int) - driving["frames"]).max((1, 2, 3))
    assert np.flatnonzero(change > 12).tolist() == about["faults"]["frames"]
    limb, blob = (range(*about["faults"][name]) for name in ("limb", "blob"))
    area = faulty["masks"].sum((1, 2)) / driving["masks"].sum((1, 2))
    assert len(limb)
    assert len(blob)
    assert all(area[t] < 0.995 for t in limb if t not in blob)
    assert all(area[t] > 1.005 for t in blob if t not in limb)
    # held-out views: other sides of the same pose, subject inside
    for name in ("base", "driving_1"):
        for view in about["views"]:
            seen = load(out / name / view)
            clip = load(out / name)
            assert seen["frame"].tolist() == [0, 4]
            for i, t in enumerate(seen["frame"]):
                eye, film = (-w[:3, :3].T @ w[:3, 3] for w in (seen["w2c"][i], clip["w2c"][t]))
                middle = clip["points"][:, t].mean(0)
                a, b = (eye - middle)[:2], (film - middle)[:2]
                assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) < np.cos(np.radians(25))
                at = clip["points"][:, t] @ seen["w2c"][i][:3, :3].T + seen["w2c"][i][:3, 3]
                column, row = (
                    np.floor(
                        at[:, :2] / at[:, 2:] * seen["K"][i][[0, 1], [0, 1]] + seen["K"][i][:2, 2]
                    )
                    .astype(int)
                    .T
                )
                near = cv2.dilate(seen["masks"][i].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
                assert near[row.clip(0, 71), column.clip(0, 95)].mean() > 0.99


def test_gltf_character_stage(tmp_path: Path) -> None:
    fox = DATA / "characters" / "fox" / "Fox.glb"
    if not fox.exists():
        pytest.skip(f"{fox} is missing (set RESTAGE4D_DATA)")
    out = tmp_path / "stage"
    about = render(
        out,
        str(fox),
        "--base",
        "Walk",
        "--driving",
        "survey",
        "--frames",
        "4",
        "--view-step",
        "0",
        "--points",
        "400",
    )
    base, driving = load(out / "base"), load(out / "driving_1")
    assert about["extent"] == pytest.approx(1, abs=1e-3)
    assert about["faults"] is None
    assert about["views"] == []
    check_pair(base, driving)
    check_truth(base)
    check_truth(driving)
    assert abs(base["points"][:, 0, 2].min()) < 0.02  # on the ground
    facing = base["points"][:, 0, 0]
    assert np.ptp(facing) > 0.9  # lies along X


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("creature", "--base", "fly"), "Take one of: walk, idle"),
        (("nothing.glb", "--base", "Walk"), "nothing.glb is not there"),
        (("creature", "--base", "walk", "--faults"), "Give --driving"),
        (("creature", "--base", "walk", "--frames", "1"), "2-1000 frames"),
    ],
)
def test_bad_input_is_said_and_leaves_nothing(
    tmp_path: Path, args: tuple[str, ...], says: str
) -> None:
    done = blender(
        str(ROOT / "scripts" / "render_stage.py"), *args, "--out", str(tmp_path / "stage")
    )
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "stage").exists()


def test_the_demo_clip_is_what_its_script_makes(tmp_path: Path) -> None:
    """Cameras and surface points of two frames, made anew, are the committed ones."""
    code = """
import sys
sys.path[:0] = ["scripts", "."]
import bpy, numpy as np
import render_demo as demo
from stage import render, studio, truth
bpy.ops.wm.read_factory_settings(use_empty=True)
studio.build()
creature = demo.Creature()
render.prepare(render.Look())
shot = demo.shot(creature, demo.FRAMES)
points = truth.SurfacePoints(creature.meshes, demo.POINTS, seed=0)
out = []
for t in (0, 29):
    shot.show(creature, t)
    out.append((points.positions(), *render.camera_matrices()))
names = ("points", "K", "w2c")
np.savez(sys.argv[1], **{f"{n}{i}": a for i, row in enumerate(out) for n, a in zip(names, row)})
"""
    made = tmp_path / "made.npz"
    done = blender("-c", code, str(made))
    assert done.returncode == 0, done.stderr[-2000:]
    clip = ROOT / "scripts" / "demo_clip"
    with (
        np.load(made) as new,
        np.load(clip / "points.npz") as points,
        np.load(clip / "cameras.npz") as cameras,
    ):
        for i, t in enumerate((0, 29)):
            assert np.abs(new[f"points{i}"] - points["points"][:, t]).max() < 1e-4
            assert np.abs(new[f"K{i}"] - cameras["K"][t]).max() < 1e-4
            assert np.abs(new[f"w2c{i}"] - cameras["w2c"][t]).max() < 1e-5
