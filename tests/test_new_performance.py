"""Another driving video on a finished puppet: only the motion of the new frames is fitted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import hinge_scene
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.errors import FitError
from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.new_performance import (
    fit_new_performance,
    list_performances,
    make_model,
    select_frames,
)

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=20, steps=150, n_tracks=400),
    fusion=FusionConfig(steps=240, densify_every=40, completion=False),
)


@pytest.fixture(scope="module")
def truth():
    return hinge_scene()


@pytest.fixture(scope="module")
def puppet(truth):
    fitted = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    made = fitted.model.to_puppet(truth.rewound, fitted.cameras(), ["lean"], CONFIG.influences)
    made.performances = made.performances[:1]  # the driving video was never performed
    return made


def move_world(priors):
    """The same priors as another run might have them: in another world, at another scale."""
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turn[:3, 3] = 0.3, -0.2, 0.1
    w2c = priors.cameras.w2c @ np.linalg.inv(turn)
    w2c[:, :3, 3] *= 1.6
    cameras = replace(priors.cameras, w2c=w2c.astype(np.float32))
    return replace(priors, cameras=cameras, depth=priors.depth * np.float32(1.6))


def test_the_hull_is_built_once(truth, monkeypatch):
    built, build = [], Hull.__init__

    def count(self, priors, device="cpu"):
        built.append(len(priors.masks))
        build(self, priors, device)

    monkeypatch.setattr(Hull, "__init__", count)
    config = FitConfig(
        motion=MotionConfig(n_bases=4, steps=2, n_tracks=60),
        fusion=FusionConfig(steps=2, completion=False),
    )
    made = fit(truth.rewound, truth.priors, config, None, Progress())
    assert built == [len(truth.rewound)]
    puppet = made.model.to_puppet(truth.rewound, made.cameras(), ["lean"], config.influences)
    puppet.performances = puppet.performances[:1]
    fit_new_performance(puppet, truth.rewound, move_world(truth.priors), config, Progress())
    assert built[1:] == [1 + int((truth.rewound.source > 0).sum())]


def test_only_the_new_frames_move(truth, puppet):
    before = [x.copy() for x in (*vars(puppet.subject).values(), puppet.index, puppet.weight)]
    made = fit_new_performance(puppet, truth.rewound, move_world(truth.priors), CONFIG, Progress())
    after = (*vars(puppet.subject).values(), puppet.index, puppet.weight)
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(now, was)
    start = make_model(puppet, torch.device("cpu")).params
    for name, value in made.model.params.items():
        if not name.startswith("bases."):
            assert torch.equal(value, start[name]), name
        else:
            assert torch.equal(value[:, 0], start[name][:, 0])
    bases = made.model.compute_bases().detach().numpy()
    rows = truth.rewound.video(1)
    (performance,) = list_performances(puppet, made, ["lean"])
    assert (performance.name, performance.prompt) == ("restaged", "lean")
    np.testing.assert_array_equal(performance.bases[:, 0], puppet.performances[0].bases[:, 0])
    np.testing.assert_array_equal(performance.bases[:, 1:], bases[:, 1:])
    np.testing.assert_array_equal(performance.w2c[0], puppet.performances[0].w2c[0])
    assert bases.shape == (20, len(rows), 9)
    points = se3.transform(*se3.blend(bases, puppet.index, puppet.weight), puppet.subject.means)
    found = KDTree(truth.points[:, truth.rewound.seam]).query(points[:, 0])
    distance, near = (np.asarray(x) for x in found)
    close = distance < 0.05
    assert close.mean() > 0.8
    error = np.linalg.norm(points[close] - truth.points[near[close]][:, rows], axis=-1)
    still = np.linalg.norm(points[close, :1] - truth.points[near[close]][:, rows], axis=-1)
    assert error.mean() < 0.006 + distance[close].mean()
    assert error[:, -1].mean() < 0.25 * still[:, -1].mean()
    assert made.psnr(range(len(rows))) > 30


def test_a_puppet_that_stands_elsewhere_is_refused(truth, puppet):
    moved = replace(puppet.performances[0], w2c=puppet.performances[0].w2c.copy())
    moved.w2c[:, 0, 3] += 50
    other = replace(puppet, performances=[moved])
    with pytest.raises(FitError, match="not where the subject is"):
        fit_new_performance(other, truth.rewound, truth.priors, CONFIG, Progress())


def test_frames_are_selected_with_their_order(truth):
    rewound = truth.rewound
    rows = np.concatenate([[rewound.seam], np.flatnonzero(rewound.source > 0)])
    part = select_frames(rewound, rows)
    assert part.seam == 0
    assert part.parent.tolist() == [-1, *range(len(rows) - 1)]
    assert part.video(1).tolist() == list(range(len(rows)))
