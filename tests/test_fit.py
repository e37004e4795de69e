"""The whole fit on a small scene with known truth: quality, determinism, resuming, NaNs,
pruning."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import Truth, hinge_scene
from scipy.spatial import KDTree

from restage4d.errors import Cancelled, FitError
from restage4d.progress import Progress
from restage4d.reconstruct.config import (
    FitConfig,
    FusionConfig,
    MotionConfig,
    RigidityConfig,
)
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion import objective
from restage4d.reconstruct.fusion.seeding import seed_scene
from restage4d.reconstruct.losses import rigidity
from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.motion.initialisation import fit_motion
from restage4d.reconstruct.motion.lifting import lift_tracks

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=20, steps=150, n_tracks=400),
    # what completion adds is guessed, not fitted: tests/test_completion.py
    fusion=FusionConfig(steps=240, densify_every=40, completion=False),
)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene()


@pytest.fixture(scope="module")
def fitted(truth):
    return fit(truth.rewound, truth.priors, CONFIG, None, Progress())


def test_fit_explains_every_frame(truth, fitted):
    assert fitted.psnr(range(len(truth.rewound))) > 34
    assert fitted.optimiser.rollbacks == 0
    assert fitted.pruning_psnr_loss < 0.1


def test_points_move_as_the_truth_does(truth, fitted):
    """Gaussians near the surface at b_0 stay near the same surface points in every frame (mean
    error 0.5 % of the extent)."""
    model, seam = fitted.model, truth.rewound.seam
    with torch.no_grad():
        paths = torch.stack(
            [model.compute_positions(t) for t in range(len(truth.rewound))], 1
        ).numpy()
    distance, near = KDTree(truth.points[:, seam]).query(paths[:, seam])
    close = distance < 0.05  # the truth's points are 0.04 apart
    assert close.mean() > 0.8
    error = np.linalg.norm(paths[close] - truth.points[near[close]], axis=-1)
    assert error.mean() < 0.005 + distance[close].mean()


def test_puppet_shows_what_was_optimised(truth, fitted):
    puppet = fitted.model.to_puppet(
        truth.rewound, truth.priors.cameras, ["lean"], CONFIG.influences
    )
    assert [p.name for p in puppet.performances] == ["base", "restaged"]
    assert [p.n_frames for p in puppet.performances] == [8, 8]
    assert puppet.n_bases == 20
    with torch.no_grad():
        for performance, source in zip(puppet.performances, (0, 1), strict=True):
            for i, t in enumerate(truth.rewound.video(source)):
                mine = fitted.model.compute_positions(int(t)).numpy()
                assert np.abs(puppet.pose(performance, i).means - mine).max() < 1e-5


def test_same_seed_same_numbers(truth, fitted):
    again = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    for name, value in fitted.model.params.items():
        assert torch.equal(value, again.model.params[name]), name


def cancel_within_fusion(truth: Truth, path: Path) -> None:
    """Leaves the checkpoint of a fit that was cancelled between two regular ones and after density
    control."""
    steps = 0

    def cancelled() -> bool:
        nonlocal steps
        steps += 1
        return steps > CONFIG.motion.steps + 130 // CONFIG.fusion.at_once

    with pytest.raises(Cancelled):
        fit(truth.rewound, truth.priors, CONFIG, path, Progress(cancelled=cancelled))


def poison_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN as the colour loss of two steps of fusion."""
    original, numbers = objective.picture_loss, count(1)

    def poisoned(*args):
        number = next(numbers)  # visits come two at a time, each on a thread of its own
        return original(*args) * (float("nan") if number in (70, 131) else 1.0)

    monkeypatch.setattr(objective, "picture_loss", poisoned)


def test_cancelled_fit_goes_on_to_the_same_result(truth, fitted, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    cancel_within_fusion(truth, path)
    seen = []
    again = fit(truth.rewound, truth.priors, CONFIG, path, Progress(sink=lambda e: seen.append(e)))
    assert {e.task.label for e in seen} == {"align depth", "photometric fusion"}
    assert next(e for e in seen if e.task.label == "photometric fusion").step > 100
    for name, value in fitted.model.params.items():
        assert torch.equal(value, again.model.params[name]), name


_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from scenes import hinge_scene
from test_fit import CONFIG
from restage4d.progress import Progress
from restage4d.reconstruct.fusion import optimisation
from restage4d.reconstruct.fit import fit
optimisation._CHECKPOINT_EVERY = 20
truth = hinge_scene()
progress = Progress(lambda e: print(e.task.label, e.step, flush=True))
fit(truth.rewound, truth.priors, CONFIG, Path(sys.argv[2]), progress)
"""


def test_killed_fit_goes_on_to_the_same_result(truth, fitted, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    command = [sys.executable, "-c", _CHILD, str(Path(__file__).parent), str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("photometric fusion") and int(line.split()[-1]) >= 60:
            break
    os.kill(child.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()
    assert path.exists()
    again = fit(truth.rewound, truth.priors, CONFIG, path, Progress())
    for name, value in fitted.model.params.items():
        assert torch.equal(value, again.model.params[name]), name


def test_nan_in_the_fit_is_rolled_back_and_reported(truth, monkeypatch):
    poison_twice(monkeypatch)
    result = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert result.optimiser.rollbacks == 2
    assert all(torch.isfinite(p).all() for p in result.model.params.values())
    assert result.psnr(range(0, len(truth.rewound), 3)) > 30


def test_backtracing_adds_what_only_the_driving_video_shows(truth):
    """The base video lacks the upper half of the subject: seeds of driving frames, carried to b_0,
    lie there on its surface."""
    rewound, seam = truth.rewound, truth.rewound.seam
    masks, depth = truth.priors.masks.copy(), truth.priors.depth.copy()
    tracks = replace(truth.priors.tracks, visible=truth.priors.tracks.visible.copy())
    cut = {}
    for t in rewound.video(0):
        cut[t] = int(np.median(np.nonzero(masks[t] > 0.5)[0]))
        masks[t, : cut[t]] = np.where(masks[t, : cut[t]] > 0.5, -1, masks[t, : cut[t]])
        depth[t, : cut[t]] = 0
        tracks.visible[tracks.xy[:, t, 1] < cut[t], t] = False
    priors = replace(truth.priors, masks=masks, depth=depth, tracks=tracks)
    lifted = lift_tracks(rewound, priors)
    motion = fit_motion(lifted, rewound, priors, CONFIG, Progress())
    seen_only = replace(
        CONFIG, fusion=replace(CONFIG.fusion, far_side=False)
    )  # no guesses of what a driving frame may show
    scenes = [
        seed_scene(motion, seam, rewound, priors, replace(seen_only, backtracing=on))
        for on in (False, True)
    ]
    without, with_it = (s.params["subject.means"].detach().numpy() for s in scenes)
    assert len(with_it) > 1.4 * len(without)
    assert np.array_equal(with_it[: len(without)], without)
    with torch.no_grad():
        at_seam = scenes[1].compute_positions(seam)[len(without) :]
    assert np.median(KDTree(truth.points[:, seam]).query(at_seam.numpy())[0]) < 0.03
    K, w2c = (torch.from_numpy(a[seam]) for a in (priors.cameras.K, priors.cameras.w2c))
    row = project(at_seam, K, w2c)[0][:, 1]
    assert (row < cut[seam] + 1).float().mean() > 0.9


def test_what_a_generator_fuses_to_the_subject_is_not_seeded(truth):
    """A lump beside the subject in one driving frame, its mask included, is nothing that the base
    video knows."""
    rewound, priors = (
        truth.rewound,
        replace(truth.priors, masks=truth.priors.masks.copy(), depth=truth.priors.depth.copy()),
    )
    at = int(rewound.video(1)[-1])
    subject = truth.priors.masks[at] > 0.5
    column = int(np.flatnonzero(subject.any(0)).max())
    lump = np.zeros_like(subject)
    lump[10:22, column + 4 : column + 16] = True
    priors.masks[at][lump] = 1
    priors.depth[at][lump] = np.median(priors.depth[at][subject])
    tracks = lift_tracks(truth.rewound, truth.priors)
    motion = fit_motion(tracks, truth.rewound, truth.priors, CONFIG, Progress())
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, far_side=False, seed_frames=30))
    counts = {}
    for name, given in (("clean", truth.priors), ("lump", priors)):
        model = seed_scene(motion, tracks.canonical, rewound, given, config)
        with torch.no_grad():
            xy, _ = project(
                model.compute_positions(at),
                torch.from_numpy(given.cameras.K[at]),
                torch.from_numpy(given.cameras.w2c[at]),
            )
        c, r = xy.long().clamp_min(0).T
        inside = (r < lump.shape[0]) & (c < lump.shape[1])
        counts[name] = int(lump[r[inside], c[inside]].sum())
    assert lump.sum() > 100
    assert counts["lump"] <= counts["clean"] + 3


def test_rigidity_keeps_hidden_points_together(truth):
    """Eq. 2-3 lower the change of edge lengths in frames where the points are not seen."""
    tracks = lift_tracks(truth.rewound, truth.priors)
    n = tracks.visible.shape[1]
    hide = np.random.default_rng(0).random(len(tracks.xyz)) < 0.5
    tracks.visible[hide, n // 2 :] = False
    stretch = {}
    for weight in (0.0, 1.0):
        config = replace(CONFIG, rigidity=RigidityConfig(init_weight=weight))
        motion = fit_motion(tracks, truth.rewound, truth.priors, config, Progress())
        points = motion.compute_points()
        edges = torch.tensor(rigidity.knn_edges(motion.means.numpy(), 8))
        lengths = rigidity.edge_lengths(points, edges)
        stretch[weight] = float((lengths.std(1) / lengths.mean(1)).mean())
    assert stretch[1.0] < 0.8 * stretch[0.0]


def test_too_few_tracks_are_refused(truth):
    tracks = truth.priors.tracks
    few = replace(
        tracks,
        xy=tracks.xy[:5],
        visible=tracks.visible[:5],
        confidence=tracks.confidence[:5],
        query=tracks.query[:5],
        behind=tracks.behind[:5],
    )
    with pytest.raises(FitError, match="too few"):
        fit(truth.rewound, replace(truth.priors, tracks=few), CONFIG, None, Progress())


def test_several_driving_videos_share_one_subject():
    truth = hinge_scene(n_base=5, n_driving=5, drivings=2)
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, steps=120))
    result = fit(truth.rewound, truth.priors, config, None, Progress())
    puppet = result.model.to_puppet(truth.rewound, truth.priors.cameras, ["a", "b"], 8)
    assert [p.name for p in puppet.performances] == ["base", "restaged 1", "restaged 2"]
    first = [p.bases[:, 0] for p in puppet.performances]
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], first[2])
    assert not np.allclose(
        puppet.performances[1].bases[:, -1], puppet.performances[2].bases[:, -1], atol=1e-3
    )
    assert result.psnr(range(len(truth.rewound))) > 28


def test_base_alone_makes_a_puppet_of_one_performance():
    truth = hinge_scene(n_base=6, drivings=0)
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, steps=60))
    result = fit(truth.rewound, truth.priors, config, None, Progress())
    puppet = result.model.to_puppet(truth.rewound, truth.priors.cameras, [], 8)
    assert [p.name for p in puppet.performances] == ["base"]
