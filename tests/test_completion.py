"""Completion: the far side as the mirror image of the side that was filmed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from restage4d import se3
from restage4d.clips import Cameras, Clip, Priors, Tracks, rewind
from restage4d.reconstruct.fusion.completing import completion
from restage4d.reconstruct.fusion.completing.completion import complete_far_side
from restage4d.reconstruct.fusion.completing.mirrored_view import picture_frames
from restage4d.reconstruct.fusion.completing.reflection import (
    measure_extent,
    mirror_quats,
    reflect,
)
from restage4d.reconstruct.fusion.completing.symmetry import Plane
from restage4d.reconstruct.fusion.floaters import measure_visibility
from restage4d.reconstruct.model.scene_model import SceneModel

FOCAL, SIZE, NEAR, RADIUS = 100.0, 64, 4.0, 16
FRAMES = 3
K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], np.float32)
HALF = RADIUS / np.sqrt(2) / FOCAL * NEAR  # of a disc, by `inflate`


def _disc() -> np.ndarray:
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.hypot(row - SIZE / 2, column - SIZE / 2) < RADIUS


def _front() -> np.ndarray:
    """Points (N, 3) of a flat disc that faces the camera, a pixel apart."""
    row, column = np.nonzero(_disc())
    xy = np.stack([column + 0.5 - SIZE / 2, row + 0.5 - SIZE / 2], 1) / FOCAL
    return np.concatenate([xy * NEAR, np.full((len(xy), 1), NEAR)], 1).astype(np.float32)


def _model(
    means: np.ndarray,
    far: np.ndarray,
    turn: float = 0.0,
    red: np.ndarray | None = None,
    round_: float = 0.0,
) -> SceneModel:
    """Gaussians moved by one basis, that turns the body about the camera's axis from frame to
    frame by ``turn``, or about the picture's vertical by ``round_``."""
    n = len(means)
    angles = turn * np.arange(FRAMES)
    rots, trans = np.zeros((1, FRAMES, 6), np.float32), np.zeros((1, FRAMES, 3), np.float32)
    for t, a in enumerate(angles):
        rots[0, t] = [np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0]
        if round_:
            c, s = np.cos(round_ * t), np.sin(round_ * t)
            rots[0, t] = [c, 0, -s, 0, 1, 0]
            trans[0, t] = [-s * NEAR, 0, NEAR - c * NEAR]  # about the body's middle
    quats = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    sh0 = np.zeros((n, 3), np.float32)
    if red is not None:
        sh0[:, 0] = red
    params = {
        "subject.means": means,
        "subject.quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
        "subject.log_scales": np.log(np.tile([[0.016, 0.016, 0.008]], (n, 1))),
        "subject.logit_opacities": np.full(n, 3.0),
        "subject.sh0": sh0,
        "subject.coefs": np.zeros((n, 1)),
        "bases.rots": rots,
        "bases.trans": trans,
    }
    empty = {"means": (0, 3), "quats": (0, 4), "log_scales": (0, 3), "logit_opacities": (0,)}
    params |= {f"background.{k}": np.zeros(s) for k, s in (empty | {"sh0": (0, 3)}).items()}
    tensors = {name: torch.tensor(v, dtype=torch.float32) for name, v in params.items()}
    return SceneModel(tensors, far=torch.tensor(far, dtype=torch.float32))


def _priors(depth: float = NEAR):
    mask = _disc().astype(np.float32)
    masks = np.tile(mask, (FRAMES, 1, 1))
    depths = np.where(masks > 0, np.float32(depth), np.float32(9))
    w2c = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    cameras = Cameras(np.tile(K, (FRAMES, 1, 1)), w2c, "static")
    none = Tracks(
        np.zeros((0, FRAMES, 2), np.float32), np.zeros((0, FRAMES), bool),
        np.zeros((0, FRAMES), np.float32), np.zeros(0, np.int32),
    )  # fmt: skip
    clip = Clip(np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8), 24.0)
    return rewind(clip, []), Priors(masks, depths, cameras, none)


def _guess(means: np.ndarray) -> np.ndarray:
    """A sparse far side, as seeding makes it."""
    return (means * (1 + 2 * HALF / NEAR))[::9]


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
    means = _front()
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(means), 1))
    surface = np.where(_disc(), np.float32(NEAR), 0)
    every = np.ones(len(means), bool)
    found = reflect(means, quats, every, surface, _disc(), K, np.eye(4, dtype=np.float32))
    from_middle = np.hypot(*(means[found.source, :2] * FOCAL / NEAR).T)
    behind = found.means[:, 2] - NEAR
    assert behind[from_middle < 3] == pytest.approx(2 * HALF, rel=0.1)
    assert from_middle.max() < RADIUS - 1  # what may hold the background's colour is no source
    rim = from_middle > RADIUS - 3
    walls = [np.sort(behind[rim][found.source[rim] == s]) for s in np.unique(found.source[rim])]
    assert max(np.diff(np.concatenate([[0], wall])).max() for wall in walls) < 2 * NEAR / FOCAL
    # straight behind the source: from behind the body is what it is from the front
    assert found.means[:, :2] == pytest.approx(means[found.source, :2], abs=1e-5)


def test_what_may_not_be_a_source_is_none():
    means = _front()
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(means), 1))
    surface = np.where(_disc(), np.float32(NEAR), 0)
    left = means[:, 0] < 0
    found = reflect(means, quats, left, surface, _disc(), K, np.eye(4, dtype=np.float32))
    assert left[found.source].all()
    behind = means.copy()
    behind[:, 2] += 1  # not the surface that is drawn
    assert not len(
        reflect(behind, quats, ~left, surface, _disc(), K, np.eye(4, dtype=np.float32)).source
    )


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_guesses_that_no_frame_shows_give_way_to_the_mirror_image(turn):
    """As dense as the near side, in its colours, also where the canonical frame is another."""
    front = _front()
    red = np.concatenate([np.linspace(-1, 1, len(front)), np.full(len(_guess(front)), 9.0)])
    means = np.concatenate([front, _guess(front)])
    far = np.concatenate([np.zeros(len(front)), np.ones(len(_guess(front)))])
    model = _model(means, far, turn, red)
    rewound, priors = _priors()
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
    front = _front()
    back = front * (1 + 2 * HALF / NEAR)
    guess = _guess(front) * 1.001
    model = _model(
        np.concatenate([front, back, guess]),
        np.concatenate([np.zeros(2 * len(front)), np.ones(len(guess))]),
    )
    rewound, priors = _priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    posed = model.compute_positions(0).detach().numpy()
    deep = posed[(posed[:, 2] > NEAR + 1.8 * HALF) & (np.hypot(posed[:, 0], posed[:, 1]) < 0.2)]
    was = back[np.hypot(back[:, 0], back[:, 1]) < 0.2]  # farther out the mirror image is a dome
    assert len(deep) == len(was)


def test_nothing_is_added_where_frames_see_past_it():
    front = _front()
    guess = _guess(front[front[:, 0] < 0])
    model = _model(
        np.concatenate([front, guess]), np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    )
    rewound, priors = _priors()
    priors.masks[1:, :, SIZE // 2 :] = 0  # two of three frames see the wall right of the middle
    n = len(front)
    complete_far_side(model, rewound, priors, priors.cameras)
    added = model.params["subject.means"][n:].detach().numpy()
    assert len(added) > 50
    assert (added[:, 0] < 2 * NEAR / FOCAL).all()


def test_a_body_without_guesses_stays_as_it_is():
    front = _front()
    model = _model(front, np.zeros(len(front)))
    rewound, priors = _priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    assert model.n_subject == len(front)


def test_a_body_that_has_shown_its_other_side_keeps_its_guesses():
    front = _front()
    guess = _guess(front)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    rewound, priors = _priors()
    for degrees, completed in ((30, True), (60, False)):  # twice that over three frames
        model = _model(np.concatenate([front, guess]), far, round_=np.radians(degrees))
        complete_far_side(model, rewound, priors, priors.cameras)
        assert (model.n_subject != len(far)) == completed


def test_what_is_seen_from_beside_is_reflected_through_its_plane(monkeypatch):
    """Every copy is the exact mirror image; in its place no guess is left."""
    front = _front()
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    monkeypatch.setattr(completion, "fit_to_mirrored", lambda *_: None)  # moves them a little
    guess = _guess(front)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    red = np.concatenate([np.zeros(len(front)), np.full(len(guess), 9.0)])
    model = _model(np.concatenate([front, guess]), far, red=red)
    rewound, priors = _priors()
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
    front = _front()
    monkeypatch.setattr(
        completion, "find_symmetry_plane", lambda *_: Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    )
    far = np.concatenate([np.zeros(len(front)), np.ones(len(_guess(front)))])
    rewound, priors = _priors()
    counts = []
    for opacity in (3.0, -1.0):
        model = _model(np.concatenate([front, _guess(front)]), far)
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
    front, guess = _front(), _guess(_front())
    stray = guess[np.hypot(guess[:, 0], guess[:, 1]) < 0.3] * 1.4
    means = np.concatenate([front, guess, stray])
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess) + len(stray))])
    model = _model(means, far)
    rewound, priors = _priors(9.0)  # depth does not contradict
    complete_far_side(model, rewound, priors, priors.cameras)
    assert stray[:, 2].min() > NEAR + 2 * HALF + 1
    assert model.params["subject.means"][:, 2].max() < NEAR + 2 * HALF + 0.3


def test_guesses_that_show_through_the_surface_stay():
    """Frames decide their colours; without them the body would let the background through."""
    front, guess = _front(), _guess(_front())
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = _model(np.concatenate([front, guess]), far)
    model.params["subject.logit_opacities"].data[: len(front)] = -0.2
    rewound, priors = _priors()
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


def test_colours_that_hardly_show_are_mixed_with_those_around():
    """A speck beneath the surface shows through it, and from elsewhere it is one."""
    front = _front()
    specks = front[::40] * 1.01
    means = np.concatenate([front, specks, _guess(front)])
    far = np.zeros(len(means))
    far[len(front) + len(specks) :] = 1
    red = np.zeros(len(means))
    red[len(front) : len(front) + len(specks)] = 1.5
    model = _model(means, far, red=red)
    rewound, priors = _priors()
    w2c = torch.eye(4)
    shares, _ = measure_visibility(
        model, [0], torch.from_numpy(priors.cameras.K), lambda _: w2c, rewound.clip.size
    )
    at = slice(len(front), len(front) + len(specks))
    own = (shares[at] / 0.2).clamp(max=1).numpy()
    middle = np.hypot(*specks[:, :2].T) < 0.3
    assert own[middle].max() < 0.6
    complete_far_side(model, rewound, priors, priors.cameras)
    colours = model.params["subject.sh0"].detach().numpy()[:, 0]
    assert colours[at][middle] == pytest.approx(1.5 * own[middle], abs=0.05)
    assert np.abs(colours[: len(front)]).max() < 0.05


def test_guesses_that_stay_are_small():
    """A large one hangs out of the body where no frame looks."""
    front, guess = _front(), _guess(_front())
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = _model(np.concatenate([front, guess]), far)
    sizes = model.params["subject.log_scales"]
    sizes.data[len(front) :] = np.log(0.3)
    near = sizes[: len(front)].detach().exp().max()
    rewound, priors = _priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    left = model.params["subject.log_scales"].detach().exp()
    assert (model.far > 0).any()
    extent = measure_extent(np.concatenate([front, guess]))
    assert left[model.far > 0].max() <= 0.015 * extent + 1e-6
    assert left[model.far == 0].max() >= near  # others keep theirs


@pytest.mark.parametrize("through_plane", [False, True])
def test_the_wall_between_both_sides_is_plain(monkeypatch, through_plane):
    """No copies of single rim Gaussians in a row, which are stripes: round ones in the mean colour
    of what lies inside the outline."""
    front, guess = _front(), _guess(_front())
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3) if through_plane else None
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    row, column = np.nonzero(_disc())
    red = np.where((row + column) % 2, 1.0, -1.0)
    at_rim = np.hypot(*front[:, :2].T) * FOCAL / NEAR > RADIUS - 3
    red[at_rim] = 5.0  # as a background that got into the outline
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = _model(
        np.concatenate([front, guess]), far, red=np.concatenate([red, np.full(len(guess), 9.0)])
    )
    rewound, priors = _priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    means, found = (model.params[f"subject.{n}"].detach().numpy() for n in ("means", "sh0"))
    sizes = model.params["subject.log_scales"].detach().numpy()
    between = (means[:, 2] > NEAR + 0.01) & (model.far == 0).numpy()
    if plane:
        between &= means[:, 2] < NEAR + 0.6 - 0.01
    wall = between & (np.ptp(sizes, 1) == 0)
    assert wall.sum() > 50
    assert np.abs(found[wall, 0]).max() < 0.6
    if plane:
        assert wall.sum() == between.sum()


@pytest.mark.parametrize("wide", [False, True])
def test_only_what_is_filmed_from_beside_keeps_its_detail_behind(wide):
    """A face belongs on one side of a head: the image of what is taller than wide is blurred."""
    front, guess = _front(), _guess(_front())
    narrow, reach = int(wide), RADIUS / FOCAL * NEAR / 2  # x or y, the shorter axis
    front, guess = (means[np.abs(means[:, narrow]) < reach] for means in (front, guess))
    away = np.abs(np.mgrid[:SIZE, :SIZE][1 - narrow] + 0.5 - SIZE / 2)
    mask = _disc() & (away < RADIUS / 2)
    red = np.where((np.round(front[:, :2] * FOCAL / NEAR) // 2).sum(1) % 2, 1.0, -1.0)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = _model(
        np.concatenate([front, guess]), far, red=np.concatenate([red, np.full(len(guess), 9.0)])
    )
    rewound, priors = _priors()
    priors = replace(priors, masks=np.tile(mask.astype(np.float32), (FRAMES, 1, 1)))
    complete_far_side(model, rewound, priors, priors.cameras)
    found, sizes = (
        model.params[f"subject.{n}"].detach().numpy()[len(front) :] for n in ("sh0", "log_scales")
    )
    image = (model.far[len(front) :] == 0).numpy() & (np.ptp(sizes, 1) > 0)  # no wall, no guess
    assert image.sum() > 100
    assert model.params["subject.sh0"][: len(front), 0].detach().numpy() == pytest.approx(red)
    assert found[image, 0].mean() == pytest.approx(0, abs=0.1)
    assert found[image, 0].std() > 0.9 if wide else found[image, 0].std() < 0.3


def test_the_far_side_looks_as_the_near_side_does_but_for_its_rim(monkeypatch):
    """Seen through the mirrored camera; nothing of it has the colours from along the outline."""
    front, guess = _front(), _guess(_front())
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    red = np.where((np.round(front[:, :2] * FOCAL / NEAR) // 4).sum(1) % 2, 1.0, -1.0)
    red[np.hypot(*front[:, :2].T) * FOCAL / NEAR > RADIUS - 1.2] = 5.0
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    rewound, priors = _priors()
    wrong, fit = [], completion.fit_to_mirrored

    def compare(model, rows, mirrored, *rest) -> None:
        for run in (lambda *_: None, fit):
            run(model, rows, mirrored, *rest)
            view = mirrored.view
            now = picture_frames(model, [mirrored.frame], view.K[None], view.w2c[None], view.size)
            apart = (now[0].image - mirrored.image)[20:-20, 20:-20]  # away from the wall
            wrong.append(float(apart.abs().mean()))
        assert mirrored.image[..., 0].max() < 0.9

    monkeypatch.setattr(completion, "fit_to_mirrored", compare)
    model = _model(
        np.concatenate([front, guess]), far, red=np.concatenate([red, np.full(len(guess), 9.0)])
    )
    complete_far_side(model, rewound, priors, priors.cameras)
    assert wrong[1] < 0.97 * wrong[0]
    behind = (model.params["subject.means"].detach().numpy()[:, 2] > NEAR + 0.5) & (
        model.far == 0
    ).numpy()
    assert behind.sum() > 300
    assert model.params["subject.sh0"].detach().numpy()[behind, 0].max() < 2
