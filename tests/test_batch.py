"""Several frames in one step of the optimiser, drawn side by side."""

import pytest
import torch
from scenes import hinge_scene

from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.model.optimizer import GuardedAdam

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=6, steps=10, n_tracks=100),
    fusion=FusionConfig(steps=25, batch=2, densify_every=10, completion=False),
)


def test_frames_side_by_side_are_the_same_frames_one_after_the_other(monkeypatch):
    truth = hinge_scene(n_base=5, n_driving=4)
    threads = torch.get_num_threads()
    one = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert torch.get_num_threads() == threads  # as before
    assert one.step == 25
    assert one.optimiser.count == 13  # the last step visits one frame
    in_turn = []

    def run_in_turn(self, work):
        in_turn.append(len(work))
        return [do() for do in work]

    monkeypatch.setattr(Fusion, "_run_each", run_in_turn)
    other = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert in_turn == 12 * [2] + [1]
    for name, value in one.model.params.items():
        assert torch.equal(value, other.model.params[name]), name


def test_a_batchs_rates_follow_the_square_root_rule():
    params = {"x": torch.zeros(1, requires_grad=True)}
    adam = GuardedAdam(params, {"x": 0.1}, {}, 100, batch=4)
    adam.step(params["x"].sum())
    assert float(params["x"].detach()) == pytest.approx(-0.2)  # Adam's first step is the rate
    adam.step(-params["x"].sum())
    held = adam.state()["exp_avg.x"]
    assert float(held) == pytest.approx(0.6 * 0.4 - 0.4)
