"""Gradients of several visits, taken side by side at the same parameters, each its own step."""

from dataclasses import replace

import torch
from scenes import hinge_scene
from torch.autograd.graph import get_gradient_edge

from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion import optimisation
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.model.optimizer import GuardedAdam

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=6, steps=10, n_tracks=100),
    fusion=FusionConfig(steps=25, at_once=2, densify_every=10, completion=False),
)
SHORT = replace(CONFIG.fusion, steps=4)


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


def test_nodes_of_gradients_are_made_before_threads_need_them(monkeypatch):
    """Made by two threads at once, they can wait for each other for good (torch 2.13)."""
    truth = hinge_scene(n_base=5, n_driving=4)
    found, visit = [], Fusion._visit

    def make(leaf):
        edge = get_gradient_edge(leaf)
        edge.node.metadata["kept"] = True
        return edge

    def look(self, number):
        leaves = [p for p in self.model.params.values() if p.requires_grad]
        found.extend(get_gradient_edge(leaf).node.metadata.get("kept") for leaf in leaves)
        return visit(self, number)

    monkeypatch.setattr(optimisation, "get_gradient_edge", make)
    monkeypatch.setattr(Fusion, "_visit", look)
    fit(truth.rewound, truth.priors, replace(CONFIG, fusion=SHORT), None, Progress())
    assert len(found) > 20
    assert all(found)
