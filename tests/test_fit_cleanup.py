"""What the fit corrects or drops on its way: cameras, Gaussians that nothing shows, small
components, undecided colours."""

from dataclasses import replace

import numpy as np
import torch
from scenes import hinge_scene

from restage4d.clips import Cameras
from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import fit
from restage4d.reconstruct.fusion.floaters import (
    average_neighbour_colours,
    find_small_components,
    measure_visibility,
    shorten_needles,
)
from restage4d.reconstruct.losses.rigidity import knn_edges
from restage4d.reconstruct.model.camera_correction import correct_camera, make_camera_params
from restage4d.reconstruct.model.scene_model import SceneModel


def _turn(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return torch.linalg.matrix_exp(
        torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    ).numpy()


def test_corrected_camera_is_exact_and_differentiable():
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    turn, shift = (
        torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64),
        torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64),
    )
    assert torch.equal(correct_camera(w2c, torch.zeros_like(turn), None), w2c)
    moved = correct_camera(w2c, turn, shift)
    torch.testing.assert_close(moved[:3, :3] @ moved[:3, :3].T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(
        moved[:3, 3], torch.from_numpy(_turn(turn.numpy())) @ w2c[:3, 3] + shift
    )
    leaves = [x.requires_grad_() for x in (turn, shift)]
    assert torch.autograd.gradcheck(lambda t, s: correct_camera(w2c, t, s), leaves)


def test_only_cameras_that_move_are_corrected():
    K, w2c = (
        np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)),
        np.tile(np.eye(4, dtype=np.float32), (4, 1, 1)),
    )
    assert make_camera_params(Cameras(K, w2c, "static")) == {}
    assert list(make_camera_params(Cameras(K, w2c, "pan"))) == ["cameras.turns"]
    assert list(make_camera_params(Cameras(K, w2c, "moving"))) == [
        "cameras.turns",
        "cameras.shifts",
    ]


def test_fit_takes_back_camera_errors():
    truth = hinge_scene()
    rng = np.random.default_rng(0)
    exact = truth.priors.cameras.w2c
    wrong = exact.copy()
    for t in range(len(wrong)):
        if t != truth.rewound.seam:
            wrong[t, :3] = _turn(rng.normal(size=3) * 0.008) @ exact[t, :3]
    cameras = Cameras(truth.priors.cameras.K, wrong, "pan")
    config = FitConfig(
        motion=MotionConfig(n_bases=20, steps=150, n_tracks=400),
        fusion=FusionConfig(steps=300, lr_cameras=0.1, densify_every=100),
    )
    found = (
        fit(truth.rewound, replace(truth.priors, cameras=cameras), config, None, Progress())
        .cameras()
        .w2c
    )

    def error(w2c: np.ndarray) -> float:  # mean angle in radians
        relative = w2c[:, :3, :3] @ exact[:, :3, :3].transpose(0, 2, 1)
        return float(
            np.arccos(np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)).mean()
        )

    assert np.array_equal(found[truth.rewound.seam], wrong[truth.rewound.seam])
    assert error(found) < 0.6 * error(wrong)


def _model(means: np.ndarray, opacity: float = 0.95, size: float = 0.1) -> SceneModel:
    n = len(means)
    part = {
        "means": torch.from_numpy(means.astype(np.float32)),
        "quats": torch.eye(4)[0].repeat(n, 1),
        "log_scales": torch.full((n, 3), float(np.log(size))),
        "logit_opacities": torch.full((n,), float(np.log(opacity / (1 - opacity)))),
        "sh0": torch.zeros(n, 3),
    }
    params = {f"subject.{k}": v for k, v in part.items()} | {
        f"background.{k}": v[:1] + 100 for k, v in part.items()
    }
    params |= {"subject.coefs": torch.zeros(n, 1), "bases.trans": torch.zeros(1, 1, 3)}
    params["bases.rots"] = torch.tensor([[[1.0, 0, 0, 0, 1, 0]]])
    return SceneModel(params)


def test_what_stands_behind_an_opaque_wall_is_not_shown():
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41), [4.0]), -1).reshape(
        -1, 3
    )
    layers = [grid + np.array([0, 0, back]) for back in (0, 0.2, 0.4)]
    model = _model(np.concatenate([*layers, [[0.0, 0.0, 6.0]]]))
    K = torch.tensor([[[100.0, 0, 32], [0, 100.0, 32], [0, 0, 1]]])
    share, background = measure_visibility(model, [0], K, lambda t: torch.eye(4), (64, 64))
    centre = np.flatnonzero(np.abs(grid[:, :2]).max(1) < 0.5)
    assert float(share[-1]) < 0.01
    assert float(share[centre].mean()) > 3 * float(share[centre + 2 * len(grid)].mean())
    assert float(background[0]) == 0
    alone, _ = measure_visibility(
        _model(np.array([[0.0, 0.0, 6.0]])), [0], K, lambda t: torch.eye(4), (64, 64)
    )
    assert float(alone[0]) > 0.5


def test_small_components_are_found_in_any_frame():
    rng = np.random.default_rng(0)
    body, fragment = rng.uniform(size=(2000, 3)), rng.uniform(size=(5, 3)) * 0.05 + 3
    points = np.concatenate([body, fragment])
    edges = torch.from_numpy(knn_edges(points, 8))
    paths = torch.from_numpy(np.repeat(points[:, None], 3, 1))
    found = find_small_components(edges, paths).numpy()
    assert found[2000:].all()
    assert found[:2000].mean() < 0.01
    torn = int(np.argmin(np.abs(body - 0.5).sum(1)))
    assert not found[torn]
    paths[torn, 2] += 3
    assert find_small_components(edges, paths)[torn]


def test_colour_of_neighbours_counts_those_that_are_shown():
    edges = torch.tensor([[0, 1], [0, 2], [1, 0], [2, 0]])
    colour = average_neighbour_colours(
        torch.tensor([[9.0] * 3, [1.0] * 3, [5.0] * 3]), torch.tensor([0.0, 1.0, 0.0]), edges
    )
    torch.testing.assert_close(colour[0], torch.ones(3), atol=1e-2, rtol=0)


def test_a_needle_loses_what_is_too_long():
    """Flakes, balls and small Gaussians stay as they are, to the last bit."""
    means = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 3)).astype(np.float32)
    model = _model(means)
    sizes = {0: (0.1, 0.005, 0.01), 1: (0.1, 0.1, 0.001), 2: (0.008, 0.001, 0.001)}
    with torch.no_grad():
        for row, size in sizes.items():
            model.params["subject.log_scales"][row] = torch.tensor(size).log()
    before = model.params["subject.log_scales"].clone()
    shorten_needles(model)
    found = model.params["subject.log_scales"]
    torch.testing.assert_close(found[0].exp(), torch.tensor([0.03, 0.005, 0.01]))
    assert torch.equal(found[1:], before[1:])
