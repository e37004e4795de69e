"""Which frames a fit visits, and its looks at the subject of base frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import Truth, hinge_scene

from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion import objective
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.fusion.schedule import plan_visits
from restage4d.reconstruct.fusion.targets import Targets
from restage4d.splatting import rasterize

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=6, steps=10, n_tracks=100),
    fusion=FusionConfig(
        steps_per_frame=3, base_looks=1.0, driving_looks=0, at_once=1, completion=False
    ),
)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=5, n_driving=9)


def test_base_frames_are_looked_at_more_often(truth):
    """Every frame once per epoch, and each frame's looks spread evenly over epochs."""
    n, filmed = len(truth.rewound), truth.rewound.source == 0
    wanted = np.where(filmed, 0.4, 0.2)
    steps = 10 * n + int(10 * wanted.sum())
    frames, looks = plan_visits(wanted, steps, seed=3)
    whole = frames[~looks]
    assert len(frames) == steps
    assert np.ptp(np.bincount(whole, minlength=n)) <= 1
    counts = np.bincount(frames[looks], minlength=n)
    assert np.abs(counts - 10 * wanted).max() <= 1
    assert counts[filmed].mean() == pytest.approx(4, abs=0.3)
    assert counts[~filmed].mean() == pytest.approx(2, abs=0.3)
    for half in (slice(0, steps // 2), slice(steps // 2, steps)):
        assert looks[half].sum() == pytest.approx(looks.sum() / 2, abs=n / 8)
    at = np.cumsum(~looks) // n  # the epoch of each visit
    per_epoch = np.bincount(at[looks], minlength=10)[:9]
    assert np.ptp(per_epoch) <= 3  # drawn alike in every one, not all in the same
    again = plan_visits(wanted, steps, seed=3)
    assert np.array_equal(frames, again[0])
    assert np.array_equal(looks, again[1])
    assert not np.array_equal(frames, plan_visits(wanted, steps, seed=4)[0])


def test_without_looks_every_frame_is_visited_alike(truth):
    n = len(truth.rewound)
    frames, looks = plan_visits(np.zeros(n), 3 * n - 2, seed=0)
    assert not looks.any()
    assert len(frames) == 3 * n - 2
    assert sorted(frames[:n]) == list(range(n))
    assert sorted(frames[n : 2 * n]) == list(range(n))


def test_a_look_is_a_crop_of_the_frame(truth):
    """What its pinhole draws is what the whole frame's pinhole draws there."""
    targets = Targets(truth.rewound, truth.priors, None, "cpu")
    row = truth.rewound.seam
    shot, whole = targets.get_subject(row), targets.get_frame(row)
    inside = truth.priors.masks[row] > 0.5
    top, left = (int(np.flatnonzero(inside.any(axis))[0]) - 6 for axis in (1, 0))
    top, left = max(top, 0), max(left, 0)
    w, h = shot.size
    assert w < whole.size[0]
    assert int((shot.mask > 0.5).sum()) == inside.sum()  # all of the subject is in it
    assert torch.equal(shot.target, whole.target[top : top + h, left : left + w])
    dots = torch.from_numpy(truth.points[::20, row])
    n = len(dots)
    splats = dots, torch.ones(n, 4), torch.full((n, 3), 0.02), torch.ones(n), torch.ones(n, 1)
    w2c = torch.from_numpy(truth.priors.cameras.w2c[row])
    large, _, _ = rasterize(*splats, w2c, whole.K, *whole.size)
    small, _, _ = rasterize(*splats, w2c, shot.K, w, h)
    assert torch.allclose(small, large[top : top + h, left : left + w], atol=1e-4)


def test_a_frame_without_the_subject_is_seen_whole(truth):
    masks = truth.priors.masks.copy()
    masks[2] = 0
    targets = Targets(truth.rewound, replace(truth.priors, masks=masks), None, "cpu")
    assert targets.get_subject(2).size == truth.rewound.clip.size


def test_a_fit_takes_its_looks(truth, monkeypatch):
    """They come on top of the visits of whole frames."""
    drawn = []
    original = objective.rasterize

    def note(*args):
        drawn.append(args[7:])
        return original(*args)

    monkeypatch.setattr(objective, "rasterize", note)
    fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    whole = [size == truth.rewound.clip.size for size in drawn]
    assert sum(whole) == 3 * len(truth.rewound)
    assert len(whole) - sum(whole) == 3 * 5


def test_a_look_leaves_the_background_alone(truth):
    """Whole frames decide it: looks show a rim of it, and the base's more often."""
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, driving_looks=1.0))
    motion = fit(truth.rewound, truth.priors, CONFIG, None, Progress()).model
    fusion = Fusion(motion, truth.rewound, truth.priors, config)
    for look in (False, True):
        visit = int(np.flatnonzero(fusion.plan[1] == look)[0])
        grads = fusion._visit(visit)[3]
        assert ("background.sh0" in grads) != look
        assert grads["subject.sh0"] is not None


def test_another_performance_of_a_finished_puppet_has_no_looks(truth):
    """Its bases alone are fitted, as if there were no such setting."""
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, base_looks=2.0, driving_looks=2.0))
    model = fit(truth.rewound, truth.priors, CONFIG, None, Progress()).model
    fusion = Fusion(model, truth.rewound, truth.priors, config, fixed=True)
    assert not fusion.plan[1].any()
    assert fusion.steps == 3 * len(truth.rewound)
