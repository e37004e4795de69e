"""Completion: the pose in which a body is mirrored."""

import numpy as np
import pytest
from discs import FRAMES, NEAR, make_front, make_guess, make_model, make_priors

from restage4d import se3
from restage4d.reconstruct.fusion.completing import completion
from restage4d.reconstruct.fusion.completing.completion import complete_far_side
from restage4d.reconstruct.fusion.completing.poses import Body, find_usual_pose
from restage4d.reconstruct.fusion.completing.symmetry import Plane


class Nodding(Body):
    """A row of points along x that moves about as a whole; its last quarter, the head, is turned
    by ``aside`` (F,) degrees in each frame."""

    def __init__(self, aside: list[float]) -> None:
        random = np.random.default_rng(1)
        self.aside = np.radians(aside)
        self.means = random.uniform([-2, -0.2, -0.2], [2, 0.2, 0.2], (400, 3)).astype(np.float32)
        self.moves = random.normal(size=(len(aside), 3))

    def pose(self, t: int):
        def turn(angle: float):
            return np.array(
                [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
            )

        neck = np.array([1.0, 0, 0])
        head = (self.means - neck) @ turn(self.aside[t]).T + neck
        posed = np.where(self.means[:, :1] > 1, head, self.means) @ turn(self.moves[t, 0]).T
        none = np.zeros(0, np.float32)
        return (posed + self.moves[t]).astype(np.float32), none, none, none


@pytest.mark.parametrize(
    ("aside", "usual"),
    [
        ([70, 70, 60, 0, 0, 0, 0, 0], {3, 4, 5, 6, 7}),
        ([0, 30, 0, -70, 0, 60], {0, 2, 4}),
        ([0, 20, 40, 60, 80], {2}),
    ],
)
def test_the_usual_pose_is_the_one_most_frames_are_near_to(aside, usual):
    body = Nodding(aside)
    frames = np.arange(len(aside))
    assert find_usual_pose(body, np.ones(400, bool), frames) in usual


def test_the_plane_mirrors_in_the_usual_pose(monkeypatch):
    front = make_front()
    guess = make_guess(front)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = make_model(np.concatenate([front, guess]), far, round_=0.2)
    last = FRAMES - 1
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    monkeypatch.setattr(completion, "find_usual_pose", lambda *_: last)
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    monkeypatch.setattr(completion, "fit_to_mirrored", lambda *_: None)  # moves them a little
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    posed, _, R, shift = Body(model).pose(last)
    assert np.array_equal(Body(model).means[: len(front)], front)
    copies = posed[len(front) :][~(model.far > 0).numpy()[len(front) :]]
    images = plane.reflect(se3.transform(R[: len(front)], shift[: len(front)], front))
    apart = np.linalg.norm(copies[:, None] - images[None], axis=-1).min(1)
    inner = np.hypot(*copies[:, :2].T) < 0.25
    assert inner.sum() > 10
    assert apart[inner].max() < 1e-3
