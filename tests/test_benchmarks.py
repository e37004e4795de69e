"""Public benchmarks in their own layouts, made from the hinged blocks: what a fit of them measures,
and what is said of damaged ones."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import HEIGHT, WIDTH, Truth, hinge_scene

from restage4d.cli import main
from restage4d.errors import InputError
from restage4d.evaluate.benchmarks import dycheck, tapvid3d
from restage4d.puppet import Performance

N = 5
QUICK = ["motion.steps=15", "motion.n_bases=6", "motion.n_tracks=100", "fusion.steps=40"]
SETTINGS = [word for s in QUICK for word in ("--set", s)]


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=N, n_driving=2)


@pytest.fixture(scope="module")
def rows(truth):
    return truth.rewound.video(0)


def write_dycheck(folder: Path, truth: Truth, rows) -> Path:
    """The clip, measured from its own last camera at every moment, which is co-visible all over."""
    names = [f"0_{i:05d}" for i in range(N)]
    for part in ("camera", "rgb/2x", "depth/2x", "covisible/2x/val", "keypoint/2x/train", "splits"):
        (folder / part).mkdir(parents=True)
    cameras = truth.priors.cameras
    for name, t in zip(names, rows, strict=True):
        K, w2c = cameras.K[t].astype(float), cameras.w2c[t].astype(float)
        about = {
            "focal_length": 2 * K[0, 0],
            "principal_point": [2 * K[0, 2], 2 * K[1, 2]],
            "pixel_aspect_ratio": 1.0,
            "skew": 0.0,
            "orientation": w2c[:3, :3].tolist(),
            "position": (-w2c[:3, :3].T @ w2c[:3, 3]).tolist(),
        }
        (folder / "camera" / f"{name}.json").write_text(json.dumps(about))
        cv2.imwrite(str(folder / f"rgb/2x/{name}.png"), truth.rewound.clip.frames[t][..., ::-1])
        np.save(folder / f"depth/2x/{name}.npy", truth.priors.depth[t][..., None] * 1000)
        seen = np.full((HEIGHT, WIDTH), 255, np.uint8)
        cv2.imwrite(str(folder / f"covisible/2x/val/{name}.png"), seen)
        points = truth.points[truth.visible[:, rows].all(1)][:20, t]
        camera = points @ w2c[:3, :3].T + w2c[:3, 3]
        pixel = ((camera / camera[:, 2:]) @ K.T)[:, :2]
        marks = np.concatenate([pixel, np.ones((len(pixel), 1))], 1)
        (folder / f"keypoint/2x/train/{name}.json").write_text(json.dumps(marks.tolist()))
    split = {"frame_names": names, "camera_ids": [0] * N, "time_ids": list(range(N))}
    for name in ("train", "val"):
        (folder / "splits" / f"{name}.json").write_text(json.dumps(split))
    (folder / "extra.json").write_text(json.dumps({"fps": 24}))
    return folder


def write_tapvid3d(path: Path, truth: Truth, rows) -> Path:
    cameras = truth.priors.cameras
    seen = truth.visible[:, rows]
    chosen = np.flatnonzero(seen[:, 0])[:60]
    points = truth.points[chosen][:, rows]
    w2c = cameras.w2c[rows]
    camera = np.einsum("tij,ptj->tpi", w2c[:, :3, :3], points) + w2c[:, None, :3, 3]
    K = cameras.K[rows[0]]
    pixel = ((camera[0] / camera[0][:, 2:]) @ K.T)[:, :2]
    encoded = [
        cv2.imencode(".png", truth.rewound.clip.frames[t][..., ::-1])[1].tobytes() for t in rows
    ]
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        images_jpeg_bytes=np.array(encoded),
        intrinsics=np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]]),
        tracks_XYZ=camera.astype(np.float32),
        visibility=seen[chosen].T,
        queries_xyt=np.concatenate([pixel, np.zeros((len(pixel), 1))], 1),
    )
    return path


def test_cameras_of_dycheck_are_those_that_were_written(tmp_path, truth, rows):
    sequence = dycheck.read_sequence(write_dycheck(tmp_path / "blocks", truth, rows))
    assert sequence.fps == 24
    for i, t in enumerate(rows):
        assert np.allclose(sequence.train[i].K, truth.priors.cameras.K[t], atol=1e-5)
        assert np.allclose(sequence.train[i].w2c, truth.priors.cameras.w2c[t], atol=1e-5)


def test_a_world_that_was_turned_and_scaled_is_laid_over(truth, rows):
    """By cameras alone; keypoints lifted by their depth land where the puppet's world has them."""
    w2c = truth.priors.cameras.w2c[rows]
    turn, _ = cv2.Rodrigues(np.array([0.3, -0.2, 0.9]))
    world = np.eye(4)  # x' = 2.5 R x + t
    world[:3, :3], world[:3, 3] = turn, [0.4, -1.0, 2.0]
    own = np.array([m @ np.linalg.inv(world) for m in w2c.astype(np.float64)])
    own[:, :3, 3] = 2.5 * w2c[:, :3, 3] - own[:, :3, :3] @ world[:3, 3]
    performance = Performance(
        "base",
        np.zeros((1, N, 9), np.float32),
        24.0,
        truth.priors.cameras.K[rows],
        own.astype(np.float32),
        (WIDTH, HEIGHT),
    )
    overlay = dycheck.overlay_cameras(performance, w2c)
    assert overlay.scale == pytest.approx(1 / 2.5, rel=1e-4)
    points = truth.points[:50, rows[2]]
    expected = 2.5 * points @ turn.T + world[:3, 3]
    assert np.allclose(overlay.bring_points(points), expected, atol=1e-4)
    assert np.allclose(overlay.bring_camera(w2c[3]), own[3], atol=1e-4)


def test_dycheck_is_measured_in_its_own_world(tmp_path, truth, rows):
    write_dycheck(tmp_path / "clips" / "blocks", truth, rows)
    out = tmp_path / "out"
    command = ["evaluate", "--dycheck", str(tmp_path / "clips"), "--out", str(out), *SETTINGS]
    assert main.main(command) == 0
    (record,) = json.loads((out / "results.json").read_text())["dycheck"]
    metrics = record["metrics"]
    assert metrics["views"] == N
    assert metrics["mpsnr"] > 15
    assert metrics["carried"] > 100
    assert metrics["pck_0.05"] > 0.5
    assert 0 < metrics["epe"] < 0.25  # of a body of 0.9 after 40 steps; depths in thousandths
    assert "| blocks |" in (out / "dycheck.md").read_text()
    before = (out / "dycheck" / "blocks.json").stat().st_mtime_ns
    assert main.main(command) == 0  # it is there: nothing is fitted again
    assert (out / "dycheck" / "blocks.json").stat().st_mtime_ns == before


def test_tapvid3d_is_measured_in_each_frames_camera(tmp_path, truth, rows):
    write_tapvid3d(tmp_path / "videos" / "blocks.npz", truth, rows)
    out = tmp_path / "out"
    command = ["evaluate", "--tapvid3d", str(tmp_path / "videos"), "--out", str(out), *SETTINGS]
    assert main.main(command) == 0
    (record,) = json.loads((out / "results.json").read_text())["tapvid3d"]
    metrics = record["metrics"]
    assert metrics["oa"] > 0.6
    assert 0 < metrics["apd"] <= 1
    assert metrics["epe"] < 0.3


def test_what_does_not_fit_is_named(tmp_path, truth, rows):
    with pytest.raises(InputError, match="no DyCheck sequence"):
        dycheck.list_sequences(tmp_path)
    with pytest.raises(InputError, match="no TAPVid-3D video"):
        tapvid3d.list_videos(tmp_path)
    folder = write_dycheck(tmp_path / "blocks", truth, rows)
    (folder / "camera" / "0_00002.json").write_text("{}")
    with pytest.raises(InputError, match=r"0_00002\.json is no camera"):
        dycheck.read_sequence(folder)
    path = write_tapvid3d(tmp_path / "v" / "a.npz", truth, rows)
    with np.load(path) as file:
        given = dict(file)
    np.savez(path, **given | {"visibility": given["visibility"][:-1]})
    with pytest.raises(InputError, match="visibility has shape"):
        tapvid3d.read_video(path)
