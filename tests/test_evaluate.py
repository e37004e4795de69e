"""Stages in, tables out: truth read as it lies there, noise as strong as it says, runs that go on,
errors that say what to do."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from stages import QUICK, write_stage

from restage4d.errors import Cancelled, InputError
from restage4d.evaluate import ablations
from restage4d.evaluate.noise import (
    NoiseLevels,
    choose_measured_points,
    choose_tracked_points,
    cut_to_driving,
    make_priors_from_truth,
    shift_borders,
)
from restage4d.evaluate.runs import Bench, Run
from restage4d.evaluate.stage import Scene, make_scene, read_stage
from restage4d.progress import Progress, TaskId


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "blocks"
    write_stage(folder, faults=True)
    return folder


@pytest.fixture(scope="module")
def scene(folder) -> Scene:
    return make_scene(read_stage(folder), 0)


# --- stages and scenes ----------------------------------------------------------------------------


def test_scene_is_the_rewound_clip_with_its_truth(folder, scene):
    stage = read_stage(folder)
    assert len(scene.rewound) == 11
    assert scene.rows.tolist() == [5, 6, 7, 8, 9, 10]
    for t, (source, index) in enumerate(
        zip(scene.rewound.source, scene.rewound.index, strict=True)
    ):
        clip = (stage.base, stage.driving[0])[source]
        assert np.array_equal(scene.rewound.clip.frames[t], clip.clip.frames[index])
        assert np.array_equal(scene.seen.masks[t], clip.masks[index])
        assert np.array_equal(scene.seen.points[:, t], clip.points[:, index])
        assert np.array_equal(scene.seen.w2c[t], clip.w2c[index])
    alone = make_scene(stage, 0, joint=False)
    assert len(alone.rewound) == 6
    assert np.array_equal(alone.seen.points[:, alone.rows], stage.driving[0].points)
    faulty = make_scene(stage, 0, faulty=True)
    assert faulty.faults == [3, 4, 5]
    assert not np.array_equal(faulty.rewound.clip.frames[-1], scene.rewound.clip.frames[-1])
    assert np.array_equal(faulty.driving.clip.frames, stage.driving[0].clip.frames)


@pytest.mark.parametrize(
    "missing",
    ["stage.json", "base/points.npz", "driving_1/masks/00002.png", "driving_1/cameras.npz"],
)
def test_unfinished_stage_is_named(tmp_path, missing):
    write_stage(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=Path(missing).name):
        read_stage(tmp_path)


def test_stage_without_faults_says_so(tmp_path):
    write_stage(tmp_path)
    with pytest.raises(InputError, match="has no faults"):
        make_scene(read_stage(tmp_path), 0, faulty=True)


# --- priors from the truth ------------------------------------------------------------------------


def test_clean_priors_are_the_truth(scene):
    priors = make_priors_from_truth(scene, "clean", 0)
    assert np.array_equal(priors.masks > 0.5, scene.seen.masks)
    assert np.array_equal(priors.depth, scene.seen.depth)
    assert np.array_equal(priors.cameras.w2c, scene.seen.w2c)
    points, visible = (
        scene.seen.points[choose_tracked_points(scene)],
        scene.seen.visible[choose_tracked_points(scene)],
    )
    kept = visible.sum(1) >= 3
    camera = (
        np.einsum("tij,ptj->pti", scene.seen.w2c[:, :3, :3], points[kept])
        + scene.seen.w2c[:, :3, 3]
    )
    xy = np.einsum("tij,ptj->pti", scene.seen.K, camera / camera[..., 2:])[..., :2]
    assert np.array_equal(priors.tracks.visible, visible[kept])
    assert np.abs(priors.tracks.xy - xy)[visible[kept]].max() < 1e-3
    # where a point is hidden no truth leaks in: the tracker's guess stands there
    assert np.abs(priors.tracks.xy - xy)[~visible[kept]].max() > 0.1
    assert np.isfinite(priors.tracks.xy).all()


def test_tracks_and_measured_points_have_nothing_in_common(scene):
    assert not set(choose_tracked_points(scene)) & set(choose_measured_points(scene))
    assert len(choose_measured_points(scene)) == len(scene.seen.points) // 2


def test_learned_priors_are_off_by_what_they_should(scene):
    n, seam = NoiseLevels(), scene.rewound.seam
    seen = scene.seen
    drift, turned, moved = [], [], []
    for seed in range(12):
        priors = make_priors_from_truth(scene, "learned", seed)
        known = seen.depth > 0
        ratio = [
            float((priors.depth[t] / np.maximum(seen.depth[t], 1e-6))[known[t]].mean())
            for t in range(len(known))
        ]
        drift.append(np.array(ratio) - 1)
        spread = (priors.depth[2] / np.maximum(seen.depth[2], 1e-6))[known[2]].std()
        assert spread == pytest.approx(n.depth_pixel, rel=0.1)
        relative = priors.cameras.w2c[:, :3, :3] @ seen.w2c[:, :3, :3].transpose(0, 2, 1)
        turned.append(
            np.degrees(np.arccos(np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)))
        )
        eyes = [
            -np.einsum("tji,tj->ti", w[:, :3, :3], w[:, :3, 3])
            for w in (priors.cameras.w2c, seen.w2c)
        ]
        moved.append(np.linalg.norm(eyes[0] - eyes[1], axis=1) / 2.3)  # the subject is 2.3 away
        assert np.array_equal(priors.cameras.w2c[seam], seen.w2c[seam])  # the gauge
        driving = scene.rows[1:]
        assert (
            np.ptp(priors.cameras.w2c[driving], axis=0).max() < 1e-6
        )  # a camera that stands still has one error
    assert np.sqrt(np.mean(np.square(drift))) == pytest.approx(n.depth_drift, rel=0.25)
    assert np.sqrt(np.mean(np.square(turned)[:, :seam])) == pytest.approx(n.rotation, rel=0.7)
    assert np.sqrt(np.mean(np.square(moved)[:, :seam])) == pytest.approx(n.translation, rel=0.7)


def test_borders_of_learned_masks_are_off_by_so_much_at_most(scene):
    masks = scene.seen.masks
    shifted = shift_borders(masks, 2.0, np.random.default_rng(0)) > 0
    for mask, other in zip(masks, shifted, strict=True):
        changed = mask ^ other
        assert 0.4 * mask.sum() > changed.sum() > 0
        inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        assert (inside + outside)[
            changed
        ].max() <= 2.5  # of the border, which lies half a pixel from the nearest centre


def test_learned_tracks_are_off_by_what_they_should(scene):
    clean, noisy = (make_priors_from_truth(scene, noise, 3) for noise in ("clean", "learned"))
    rows = choose_tracked_points(scene)
    visible = scene.seen.visible[rows]
    assert noisy.tracks.visible.mean() < clean.tracks.visible.mean() + 0.05
    again = make_priors_from_truth(scene, "learned", 3)
    assert np.array_equal(noisy.tracks.xy, again.tracks.xy)
    assert not np.array_equal(noisy.depth, make_priors_from_truth(scene, "learned", 4).depth)
    # jitter: between the two sets, points that both see differ by the jitter of a 96-pixel picture,
    # but for the outliers
    camera = (
        np.einsum("tij,ptj->pti", scene.seen.w2c[:, :3, :3], scene.seen.points[rows])
        + scene.seen.w2c[:, :3, 3]
    )
    xy = np.einsum("tij,ptj->pti", scene.seen.K, camera / camera[..., 2:])[..., :2]
    nearest = [
        np.abs(xy[:, t] - noisy.tracks.xy[i, t]).max(1).min()
        for i in range(0, len(noisy.tracks.xy), 5)
        for t in (1, 7)
    ]
    assert np.median(nearest) < 1.5 * NoiseLevels().jitter * 96 / 384
    assert visible.any()


@pytest.mark.parametrize("noise", ["clean", "learned"])
def test_where_hidden_points_are_does_not_leak(scene, noise):
    hidden = ~scene.seen.visible
    assert hidden.any()
    moved = replace(
        scene,
        seen=replace(scene.seen, points=scene.seen.points + np.float32(0.2) * hidden[..., None]),
    )
    true, other = (make_priors_from_truth(one, noise, 5).tracks for one in (scene, moved))
    assert np.array_equal(true.visible, other.visible)
    assert np.array_equal(true.xy, other.xy)
    assert (true.confidence[true.visible] == 1).all()
    assert (true.confidence[~true.visible] == 0).all()


def test_the_driving_clip_alone_has_the_same_errors(folder, scene):
    alone = make_scene(read_stage(folder), 0, joint=False)
    both = make_priors_from_truth(scene, "learned", 2)
    left = cut_to_driving(both, scene, alone, 2)
    there, here = (
        scene.rows,
        alone.rows,
    )  # the same frames in playing order; alone they are fitted backwards
    assert here.tolist() == [5, 4, 3, 2, 1, 0]
    assert np.array_equal(left.masks[here], both.masks[there])
    assert np.array_equal(left.depth[here], both.depth[there])
    assert np.array_equal(left.cameras.w2c[here], both.cameras.w2c[there])
    assert left.cameras.kind == "static"
    kept = both.tracks.visible[:, there].sum(1) >= 3
    visible = left.tracks.visible[:, here]
    assert np.array_equal(visible, both.tracks.visible[kept][:, there])
    assert np.array_equal(left.tracks.xy[:, here][visible], both.tracks.xy[kept][:, there][visible])
    assert visible[np.arange(len(visible)), 5 - left.tracks.query].all()
    # where a point is hidden is guessed from the driving clip alone
    both.tracks.xy[:, : scene.rewound.seam] += 1000
    assert np.array_equal(cut_to_driving(both, scene, alone, 2).tracks.xy, left.tracks.xy)
    assert (left.tracks.confidence[~left.tracks.visible] == 0).all()


def test_unknown_noise(scene):
    with pytest.raises(InputError, match="clean, learned"):
        make_priors_from_truth(scene, "loud", 0)


# --- ablations and runs ---------------------------------------------------------------------------


def test_ablations_are_switches_and_take_the_same_steps():
    configs = {name: ablations.configure(name, (), 0, 47) for name in ablations.ABLATIONS}
    assert len({c.fusion.steps for c in configs.values()}) == 1
    assert len({c.motion.steps for c in configs.values()}) == 1
    assert configs["baseline"].clips == configs["arap"].clips == "driving"
    assert configs["baseline"].rigidity.init_weight == configs["joint"].rigidity.refine_weight == 0
    assert configs["arap"].rigidity.init_weight > 0
    assert [configs[n].backtracing for n in ("joint", "joint_arap", "full")] == [False, False, True]
    assert configs["full"].clips == "both"
    with pytest.raises(InputError, match="baseline, arap, joint"):
        ablations.select_ablations(["full", "fulll"])
    assert ablations.select_ablations(["full", "baseline"]) == ["baseline", "full"]


def test_runs_are_kept_and_go_on(folder, tmp_path):
    bench = Bench(tmp_path)
    run = Run(folder, 1, "full", settings=QUICK)
    stopped = 0

    def asked() -> bool:
        nonlocal stopped
        stopped += 1
        return stopped > 30  # in photometric fusion

    with pytest.raises(Cancelled):
        bench.execute(run, Progress(cancelled=asked))
    assert not (tmp_path / "runs" / f"{run.name}.json").exists()
    tasks = []
    record = bench.execute(run, Progress(lambda e: tasks.append(e.task)))
    # motion initialisation was not done again
    assert list(dict.fromkeys(tasks))[:2] == [TaskId.ALIGN_DEPTH, TaskId.FUSE]
    metrics = record["metrics"]
    assert {
        "psnr",
        "view_psnr",
        "view_ssim_behind",
        "volume_cv",
        "edge_consistency",
        "track_l1_hidden_sim3",
        "3d_aj",
    } <= set(metrics)
    assert metrics["psnr"] > 15
    assert metrics["track_l1"] < 0.05
    assert metrics["track_l1_sim3"] <= metrics["track_l1"] * 1.05
    assert (
        abs(metrics["view_psnr_behind"] - metrics["view_psnr_beside"]) < 1e-6
    )  # the same pictures here
    assert bench.load_puppet(run).n_bases == 8
    assert bench.execute(run, Progress(lambda e: pytest.fail("done again"))) == record
    other = Run(folder, 1, "full", settings=(*QUICK, "fusion.steps=41"))
    assert Bench(tmp_path).execute(other, Progress())["fingerprint"] != record["fingerprint"]
