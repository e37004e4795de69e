"""Completion: the colours of the far side."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from discs import (
    FOCAL,
    FRAMES,
    NEAR,
    RADIUS,
    SIZE,
    draw_disc,
    make_front,
    make_guess,
    make_model,
    make_priors,
)

from restage4d.reconstruct.fusion.completing import completion
from restage4d.reconstruct.fusion.completing.colours import spread_colours
from restage4d.reconstruct.fusion.completing.completion import complete_far_side
from restage4d.reconstruct.fusion.completing.mirrored_view import draw_frames
from restage4d.reconstruct.fusion.completing.symmetry import Plane
from restage4d.reconstruct.fusion.floaters import measure_visibility
from restage4d.reconstruct.model.scene_model import SceneModel


def test_colours_that_hardly_show_are_mixed_with_those_around():
    """A speck beneath the surface shows through it, and from elsewhere it is one."""
    front = make_front()
    specks = front[::40] * 1.01
    means = np.concatenate([front, specks, make_guess(front)])
    far = np.zeros(len(means))
    far[len(front) + len(specks) :] = 1
    red = np.zeros(len(means))
    red[len(front) : len(front) + len(specks)] = 1.5
    model = make_model(means, far, red=red)
    rewound, priors = make_priors()
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


@pytest.mark.parametrize("through_plane", [False, True])
def test_the_wall_between_both_sides_is_plain(monkeypatch, through_plane):
    """No copies of single rim Gaussians in a row, which are stripes: round ones in the mean colour
    of what lies inside the outline."""
    front, guess = make_front(), make_guess(make_front())
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3) if through_plane else None
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    fitted, fit = [], completion.fit_to_mirrored
    monkeypatch.setattr(
        completion, "fit_to_mirrored", lambda *args: (fitted.append(args[1]), fit(*args))
    )
    row, column = np.nonzero(draw_disc())
    red = np.where((row + column) % 2, 1.0, -1.0)
    at_rim = np.hypot(*front[:, :2].T) * FOCAL / NEAR > RADIUS - 3
    red[at_rim] = 5.0  # as a background that got into the outline
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    model = make_model(
        np.concatenate([front, guess]), far, red=np.concatenate([red, np.full(len(guess), 9.0)])
    )
    rewound, priors = make_priors()
    complete_far_side(model, rewound, priors, priors.cameras)
    means, found = (model.params[f"subject.{n}"].detach().numpy() for n in ("means", "sh0"))
    sizes = model.params["subject.log_scales"].detach().numpy()
    between = (means[:, 2] > NEAR + 0.01) & (model.far == 0).numpy()
    if plane:
        between &= means[:, 2] < NEAR + 0.6 - 0.01
    between[fitted[0]] = False  # copies and guesses
    wall = between & (np.ptp(sizes, 1) == 0)
    assert wall.sum() > 50
    assert np.abs(found[wall, 0]).max() < 0.6
    if plane:
        assert wall.sum() == between.sum()


def complete_strip(paint, narrow: int) -> tuple[SceneModel, np.ndarray]:
    """A disc cut to half its size along axis ``narrow``, completed, and the points (N, 3) of its
    front, whose reds are ``paint(front)``."""
    reach = RADIUS / FOCAL * NEAR / 2
    front, guess = (
        means[np.abs(means[:, narrow]) < reach]
        for means in (make_front(), make_guess(make_front()))
    )
    away = np.abs(np.mgrid[:SIZE, :SIZE][1 - narrow] + 0.5 - SIZE / 2)
    mask = draw_disc() & (away < RADIUS / 2)
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    red = np.concatenate([paint(front), np.full(len(guess), 9.0)])
    model = make_model(np.concatenate([front, guess]), far, red=red)
    rewound, priors = make_priors()
    priors = replace(priors, masks=np.tile(mask.astype(np.float32), (FRAMES, 1, 1)))
    complete_far_side(model, rewound, priors, priors.cameras)
    return model, front


@pytest.mark.parametrize("wide", [False, True])
def test_only_what_is_filmed_from_beside_keeps_its_detail_behind(wide):
    """A face belongs on one side of a head: the image of what is taller than wide is blurred."""

    def paint(front):  # a checkerboard
        return np.where((np.round(front[:, :2] * FOCAL / NEAR) // 2).sum(1) % 2, 1.0, -1.0)

    model, front = complete_strip(paint, int(wide))
    found, sizes = (
        model.params[f"subject.{n}"].detach().numpy()[len(front) :] for n in ("sh0", "log_scales")
    )
    image = (model.far[len(front) :] == 0).numpy() & (np.ptp(sizes, 1) > 0)  # no wall, no guess
    assert image.sum() > 100
    assert model.params["subject.sh0"][: len(front), 0].detach().numpy() == pytest.approx(
        paint(front)
    )
    assert found[image, 0].mean() == pytest.approx(0, abs=0.1)
    assert found[image, 0].std() > 0.9 if wide else found[image, 0].std() < 0.3


def test_the_far_side_looks_as_the_near_side_does_but_for_its_rim(monkeypatch):
    """Seen through the mirrored camera; nothing of it has the colours from along the outline."""
    front, guess = make_front(), make_guess(make_front())
    plane = Plane(np.array([0.0, 0, 1]), NEAR + 0.3)
    monkeypatch.setattr(completion, "find_symmetry_plane", lambda *_: plane)
    red = np.where((np.round(front[:, :2] * FOCAL / NEAR) // 4).sum(1) % 2, 1.0, -1.0)
    red[np.hypot(*front[:, :2].T) * FOCAL / NEAR > RADIUS - 1.2] = 5.0
    far = np.concatenate([np.zeros(len(front)), np.ones(len(guess))])
    rewound, priors = make_priors()
    wrong, fit = [], completion.fit_to_mirrored

    def compare(model, rows, mirrored, *rest) -> None:
        for run in (lambda *_: None, fit):
            run(model, rows, mirrored, *rest)
            view = mirrored.view
            now = draw_frames(model, [mirrored.frame], view.K[None], view.w2c[None], view.size)
            apart = (now[0].image - mirrored.image)[20:-20, 20:-20]  # away from the wall
            wrong.append(float(apart.abs().mean()))
        assert mirrored.image[..., 0].max() < 0.9

    monkeypatch.setattr(completion, "fit_to_mirrored", compare)
    model = make_model(
        np.concatenate([front, guess]), far, red=np.concatenate([red, np.full(len(guess), 9.0)])
    )
    with torch.no_grad():  # they reach one another
        model.params["subject.log_scales"].clamp_(min=float(np.log(0.6 * NEAR / FOCAL)))
    complete_far_side(model, rewound, priors, priors.cameras)
    assert wrong[1] < 0.85 * wrong[0]
    behind = (model.params["subject.means"].detach().numpy()[:, 2] > NEAR + 0.5) & (
        model.far == 0
    ).numpy()
    assert behind.sum() > 300
    assert model.params["subject.sh0"].detach().numpy()[behind, 0].max() < 2


@pytest.mark.parametrize(
    ("low", "right", "foot", "wide"),
    [
        (40, 45, 0, True),  # 35 wide, 30 tall, whole
        (SIZE, 45, 0, False),  # cut off below
        (SIZE, 58, 0, True),  # but too wide for a bust
        (SIZE - 4, 45, 6, True),  # or with no more than a foot on the edge
    ],
)
def test_a_bust_that_is_cut_off_below_counts_as_taller_than_it_shows(low, right, foot, wide):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[low - 30 : low, 10:right] = True
    mask[low:, 10 : 10 + foot] = True
    assert completion._is_wide(mask) == wide


def test_the_back_of_a_tall_body_has_the_colours_of_its_sides_and_no_gaps():
    """Dark in the middle of its front."""
    model, front = complete_strip(
        lambda front: np.where(np.abs(front[:, 0]) * FOCAL / NEAR < 4, -2.0, 1.0), 0
    )
    means, sizes, sh0 = (
        model.params[f"subject.{n}"].detach().numpy()[len(front) :]
        for n in ("means", "log_scales", "sh0")
    )
    image = (model.far[len(front) :] == 0).numpy() & (np.ptp(sizes, 1) > 0)
    image &= np.abs(means[:, 0]) < 0.1
    assert image.sum() > 30
    assert sh0[image, 0].min() > 0.3
    assert np.median(np.exp(sizes[image]).max(1)) > 0.5 * NEAR / FOCAL


def test_a_face_is_not_on_the_back_but_the_colours_of_its_sides_are():
    """Dark in the middle, hair on the left red, on the right not."""
    front = make_front()
    off = np.hypot(*front[:, :2].T) * FOCAL / NEAR
    red = np.where(off < RADIUS / 2, -2.0, np.where(front[:, 0] < 0, 1.0, 0.0))
    model = make_model(front, np.zeros(len(front)), red=red)
    found = spread_colours(model, front, (off > 11) & (off < 14)).detach().numpy()[:, 0]
    assert found.min() > -0.01
    assert found[(off < 4)].mean() == pytest.approx(0.5, abs=0.1)
    assert found[front[:, 0] < -0.3].mean() > 0.9
    assert found[front[:, 0] > 0.3].mean() < 0.1
    across = found[np.abs(front[:, 1]) < 0.05][np.argsort(front[np.abs(front[:, 1]) < 0.05, 0])]
    assert np.abs(np.diff(across)).max() < 0.2, "without an edge down the middle"
    found = spread_colours(model, front, off < 0).detach().numpy()[:, 0]
    assert found == pytest.approx(red), "where there is nothing to take them from, they stay"
