"""Completion: the far side as the mirror image of the side that was filmed."""

import numpy as np
import pytest
import torch
from discs import (
    FOCAL,
    FRAMES,
    HALF,
    NEAR,
    RADIUS,
    SIZE,
    K,
    draw_disc,
    make_front,
    make_guess,
    make_model,
    make_priors,
)
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.reconstruct.fusion.completing import completion
from restage4d.reconstruct.fusion.completing.completion import complete_far_side
from restage4d.reconstruct.fusion.completing.reflection import (
    measure_extent,
    mirror_quats,
    reflect,
)
from restage4d.reconstruct.fusion.completing.symmetry import Plane
from restage4d.reconstruct.fusion.floaters import measure_visibility


def test_mirrored_gaussian_is_the_reflected_ellipsoid():
    rng = np.random.default_rng(2)
    quats = rng.normal(size=(20, 4)).astype(np.float32)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    normals = rng.normal(size=(20, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shape = np.diag([0.3, 0.2, 0.1]) ** 2
    found = se3.quat_to_matrix(mirror_quats(quats, normals.astype(np.float32)))
    axes = se3.quat_to_matrix(quats)
    mirror = np.eye(3) - 2 * np.einsum("mi,mj->mij", normals, normals)
    expected = mirror @ axes @ shape @ axes.swapaxes(1, 2) @ mirror
    assert found @ shape @ found.swapaxes(1, 2) == pytest.approx(expected, abs=1e-6)
    assert np.linalg.det(found) == pytest.approx(np.ones(20), abs=1e-5)


def test_reflection_is_as_far_behind_as_the_outline_is_wide_and_closed_along_it():
    means = make_front()
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(means), 1))
    surface = np.where(draw_disc(), np.float32(NEAR), 0)
    every = np.ones(len(means), bool)
    found = reflect(means, quats, every, surface, draw_disc(), K, np.eye(4, dtype=np.float32))
    from_middle = np.hypot(*(means[found.source, :2] * FOCAL / NEAR).T)
    behind = found.means[:, 2] - NEAR
    assert behind[from_middle < 3] == pytest.approx(2 * HALF, rel=0.1)
    assert from_middle.max() < RADIUS - 1  # what may hold the background's colour is no source
    rim = (from_middle > RADIUS - 3) & ~found.wall  # behind each of these, all the way
    way = np.linspace(0, 1, 12)[:, None] * behind[rim]
    steps = np.concatenate([means[found.source[rim]] + [0, 0, 1] * step[:, None] for step in way])
    closed = KDTree(np.concatenate([means, found.means])).query(steps)[0]
    assert closed.max() < 2 * NEAR / FOCAL
    # straight behind the source: from behind the body is what it is from the front
    assert found.means[:, :2] == pytest.approx(means[found.source, :2], abs=1e-5)


def test_what_may_not_be_a_source_is_none():
    means = make_front()
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(means), 1))
    surface = np.where(draw_disc(), np.float32(NEAR), 0)
    left = means[:, 0] < 0
    found = reflect(means, quats, left, surface, draw_disc(), K, np.eye(4, dtype=np.float32))
    assert left[found.source].all()
    behind = means.copy()
    behind[:, 2] += 1  # not the surface that is drawn
    assert not len(
        reflect(behind, quats, ~left, surface, draw_disc(), K, np.eye(4, dtype=np.float32)).source
    )


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_guesses_that_no_frame_shows_give_way_to_the_mirror_image(turn):
    """As dense as the near side, in its colours, also where the canonical frame is another."""
    front = make_front()
    red = np.concatenate([np.linspace(-1, 1, len(front)), np.full(len(make_guess(front)), 9.0)])
    means = np.concatenate([front, make_guess(front)])
    far = np.concatenate([np.zeros(len(front)), np.ones(len(make_guess(front)))])
    model = make_model(means, far, turn, red)
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    left = model.params["subject.means"][model.far > 0]
    inside = left[:, :2].norm(dim=1) < 0.4
    assert not inside.any()  # guesses are left along the outline alone
    assert torch.equal(model.params["subject.means"][: len(front)], torch.from_numpy(front))
    for t in range(FRAMES):
        posed = model.compute_positions(t).detach().numpy()
        added = posed[len(front) :]
        middle = np.hypot(added[:, 0], added[:, 1]) * NEAR / added[:, 2] < 0.2  # of the picture
        assert middle.sum() > 0.9 * (np.hypot(front[:, 0], front[:, 1]) < 0.2).sum()
        assert added[middle][:, 2] == pytest.approx(NEAR + 2 * HALF, rel=0.03)


def test_observed_surface_is_not_covered_by_guesses():
    """Where another frame showed the back, nothing is added."""
    front = make_front()
    back = front * (1 + 2 * HALF / NEAR)
    guess = make_guess(front) * 1.001
    model = make_model(
        np.concatenate([front, back, guess]),
        np.concatenate([np.zeros(2 * len(front)), np.ones(len(guess))]),
    )
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    posed = model.compute_positions(0).detach().numpy()
    deep = posed[(posed[:, 2] > NEAR + 1.8 * HALF) & (np.hypot(posed[:, 0], posed[:, 1]) < 0.2)]
    was = back[np.hypot(back[:, 0], back[:, 1]) < 0.2]  # farther out the mirror image is a dome
    assert len(deep) == len(was)


def test_nothing_is_added_where_frames_see_past_it():
    front = make_front()
    guess = make_guess(front[front[:, 0] < 0])
    model = make_model(
        np.concatenate([front, guess]), np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    )
    rewound, priors = make_priors()
    priors.masks[1:, :, SIZE // 2 :] = 0  # two of three frames see the wall right of the middle
    n = len(front)
    complete_far_side(model, rewound, priors, priors.cameras)
    added = model.params["subject.means"][n:].detach().numpy()
    assert len(added) > 50
    assert (added[:, 0] < 2 * NEAR / FOCAL).all()


def test_a_body_without_guesses_stays_as_it_is():
    front = make_front()
    model = make_model(front, np.zeros(len(front)))
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    assert model.n_subject == len(front)


def test_a_body_that_has_shown_its_other_side_keeps_its_guesses():
    front = make_front()
    guess = make_guess(front)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    rewound, priors = make_priors()
    for degrees, completed in ((30, True), (60, False)):  # twice that over three frames
        model = make_model(np.concatenate([front, guess]), far, round_=np.radians(degrees))
        complete_far_side(model, rewound, priors, priors.cameras)
        assert (model.n_subject != len(far)) == completed


def test_what_is_seen_from_beside_is_reflected_through_its_plane(monkeypatch):
    """Every copy is the exact mirror image; in its place no guess is left."""
    front = make_front()
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    monkeypatch.setattr(completion, "fit_to_mirrored", lambda *_: None)  # moves them a little
    guess = make_guess(front)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    red = np.concatenate([np.zeros(len(front)), np.full(len(guess), 9.0)])
    model = make_model(np.concatenate([front, guess]), far, red=red)
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    means = model.params["subject.means"].detach().numpy()
    assert np.array_equal(means[: len(front)], front)
    inner = np.hypot(means[:, 0], means[:, 1]) < 0.3
    left = inner & (model.far > 0).numpy()
    copies = means[len(front) :][(inner & ~left)[len(front) :]]
    assert len(copies) > 0.9 * (np.hypot(front[:, 0], front[:, 1]) < 0.3).sum()
    assert copies[:, 2] == pytest.approx(NEAR + 0.6, abs=1e-4)
    assert left.sum() == 0 or means[left][:, 2].min() > NEAR + 0.6


def test_copies_that_a_frame_shows_go_again(monkeypatch):
    """The middle of the near side is clear as glass: behind it, no copy may stand."""
    front = make_front()
    monkeypatch.setattr(
        completion, "find_symmetry_plane", lambda *_: Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    )
    far = np.concatenate([np.zeros(len(front)), np.ones(len(make_guess(front)))])
    rewound, priors = make_priors()
    counts = []
    for opacity in (3.0, -1.0):
        model = make_model(np.concatenate([front, make_guess(front)]), far)
        glass = torch.from_numpy(np.hypot(*front[:, :2].T) < 0.2)
        with torch.no_grad():
            model.params["subject.logit_opacities"][: len(front)][glass] = opacity
        complete_far_side(model, rewound, priors, priors.cameras)
        means = model.params["subject.means"].detach().numpy()
        middle = np.hypot(means[:, 0], means[:, 1]) < 0.15
        counts.append((middle & (np.abs(means[:, 2] - NEAR - 0.6) < 1e-3)).sum())
    assert counts[0] > 40
    assert counts[1] < 0.2 * counts[0]


def test_guesses_that_hang_behind_the_body_go():
    front, guess = make_front(), make_guess(make_front())
    stray = guess[np.hypot(guess[:, 0], guess[:, 1]) < 0.3] * 1.4
    means = np.concatenate([front, guess, stray])
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess) + len(stray))])
    model = make_model(means, far)
    rewound, priors = make_priors(9.0)  # depth does not contradict
    complete_far_side(model, rewound, priors, priors.cameras)
    assert stray[:, 2].min() > NEAR + 2 * HALF + 1
    assert model.params["subject.means"][:, 2].max() < NEAR + 2 * HALF + 0.3


def test_guesses_that_show_through_the_surface_stay():
    """Frames decide their colours; without them the body would let the background through."""
    front, guess = make_front(), make_guess(make_front())
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = make_model(np.concatenate([front, guess]), far)
    model.params["subject.logit_opacities"].data[: len(front)] = -0.2
    rewound, priors = make_priors()
    w2c = torch.eye(4)
    shares, _ = measure_visibility(
        model, [0], torch.from_numpy(priors.cameras.K), lambda _: w2c, rewound.clip.size
    )
    middle = np.flatnonzero(np.hypot(guess[:, 0], guess[:, 1]) < 0.3)
    shown = shares[len(front) + middle]
    assert shown.min() > 0.1
    assert shown.max() < 0.3
    complete_far_side(model, rewound, priors, priors.cameras)
    left = model.params["subject.means"][model.far > 0].detach().numpy()
    for place in guess[middle]:
        assert np.abs(left - place).sum(1).min() < 1e-5


def test_guesses_that_stay_are_small():
    """A large one hangs out of the body where no frame looks."""
    front, guess = make_front(), make_guess(make_front())
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = make_model(np.concatenate([front, guess]), far)
    sizes = model.params["subject.log_scales"]
    sizes.data[len(front) :] = np.log(0.3)
    near = sizes[: len(front)].detach().exp().max()
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    left = model.params["subject.log_scales"].detach().exp()
    assert (model.far > 0).any()
    extent = measure_extent(np.concatenate([front, guess]))
    assert left[model.far > 0].max() <= 0.015 * extent + 1e-6
    assert left[model.far == 0].max() >= near  # others keep theirs
