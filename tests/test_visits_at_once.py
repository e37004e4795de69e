"""Gradients of several visits, taken side by side at the same parameters, each its own step."""

import subprocess
import sys
from dataclasses import replace

import torch
from scenes import hinge_scene

from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.model.optimizer import GuardedAdam

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=6, steps=10, n_tracks=100),
    fusion=FusionConfig(steps=25, at_once=2, densify_every=10, completion=False),
)


def test_visits_side_by_side_are_the_same_visits_one_after_the_other(monkeypatch):
    truth = hinge_scene(n_base=5, n_driving=4)
    threads = torch.get_num_threads()
    one = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert torch.get_num_threads() == threads  # as before
    assert one.step == 25
    assert one.optimiser.count == 25  # each visit is a step
    in_turn = []

    def run_in_turn(self, work):
        in_turn.append(len(work))
        return [do() for do in work]

    monkeypatch.setattr(Fusion, "_run_each", run_in_turn)
    other = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert in_turn == 12 * [2] + [1]
    for name, value in one.model.params.items():
        assert torch.equal(value, other.model.params[name]), name


def test_the_second_of_two_visits_lags_by_one_step(monkeypatch):
    truth = hinge_scene(n_base=5, n_driving=4)
    given: dict[int, list] = {}
    apply = GuardedAdam.apply

    def record(self, loss, grads):
        before = {name: value.detach().clone() for name, value in self.params.items()}
        kept = {name: None if grad is None else grad.clone() for name, grad in grads.items()}
        given[at_once].append((before, kept))
        return apply(self, loss, grads)

    monkeypatch.setattr(GuardedAdam, "apply", record)
    for at_once in (1, 2):
        given[at_once] = []
        fusion = replace(CONFIG.fusion, steps=2, at_once=at_once, clean_at=1.0, prune_at=1.0)
        fit(truth.rewound, truth.priors, replace(CONFIG, fusion=fusion), None, Progress())
    # those of motion initialisation come first; the last two are the visits
    (first, one), (moved, two) = given[1][-2:]
    (start, same), (step, late) = given[2][-2:]
    name = "subject.sh0"
    assert torch.equal(first[name], start[name])
    assert torch.equal(one[name], same[name])
    assert torch.equal(moved[name], step[name])  # the first visit's step is done by itself
    assert not torch.equal(moved[name], first[name])
    assert not torch.equal(two[name], late[name])  # the second's gradient is of the start ...
    away = (two[name] - late[name]).norm() / two[name].norm()
    assert away < 0.2  # ... and hardly another one


def test_threads_that_use_the_same_parameters_do_not_wait_for_each_other_for_good():
    """As they do within seconds where each makes the nodes of gradients itself (torch 2.13)."""
    done = subprocess.run(
        [sys.executable, "-c", SHARING], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]


SHARING = """
import faulthandler, sys, time
from functools import partial
from types import SimpleNamespace
import torch
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fusion.optimisation import Fusion

class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad

fusion = object.__new__(Fusion)
params = {str(i): torch.randn(10, requires_grad=True) for i in range(40)}
fusion.model = SimpleNamespace(params=params, device=torch.device("cpu"))
fusion.config = FitConfig()

def differentiate(use):
    for p in params.values():
        result = use(p)  # the one before is gone, and with it its node, if nothing else keeps it
    return torch.autograd.grad(result.sum(), p)

sys.setswitchinterval(1e-5)
faulthandler.dump_traceback_later(30, exit=True)
with fusion._sharing_cores():
    until, count = time.monotonic() + 5, 0
    while time.monotonic() < until or count < 200:
        fusion._run_each([partial(differentiate, use) for use in (Same.apply, torch.Tensor.exp)])
        count += 1
print(count)
"""
