"""The kernels that compute a term and its gradients in one pass, against twins by autograd."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from restage4d.reconstruct.fusion.assembly import Parameters, assemble, assemble_reference
from restage4d.reconstruct.fusion.density import DensityControl, observe_reference
from restage4d.reconstruct.losses import data_terms, paths, picture, regularisers, rigidity
from restage4d.reconstruct.losses.hull import BEHIND, OUTSIDE, Hull
from restage4d.reconstruct.model import blending, camera_correction

RNG = np.random.default_rng(0)
H, W = 40, 52
K = torch.tensor([[60.0, 0, W / 2], [0, 62, H / 2], [0, 0, 1]])


def draw(*shape: int) -> Tensor:
    return torch.tensor(RNG.uniform(size=shape).astype(np.float32))


def turned_camera() -> Tensor:
    turn, shift = torch.tensor([0.1, -0.2, 0.05]), torch.tensor([0.1, 0.0, 2.2])
    return camera_correction.correct_camera_reference(torch.eye(4), turn, shift)


def compare(
    fast: Callable[..., Any], twin: Callable[..., Any], leaves: list[Tensor], rtol: float = 1e-3
) -> None:
    """Values, and the gradients of three times their weighted sum."""
    found = []
    for function in (fast, twin):
        mine = [x.clone().requires_grad_() for x in leaves]
        out = function(*mine)
        out = out if isinstance(out, tuple) else (out,)
        weights = [torch.linspace(0.5, 1.5, x.numel()).reshape(x.shape) for x in out]
        total = sum((x * w).sum() for x, w in zip(out, weights, strict=True))
        found.append([*out, *torch.autograd.grad(3 * total, mine)])
    for name, (one, other) in enumerate(zip(*found, strict=True)):
        assert other.abs().max() > 0, name
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one, other, rtol=rtol, atol=1e-5 * scale)


def make_picture() -> tuple[list[Tensor], tuple[Tensor, ...], tuple[Tensor, ...]]:
    image = torch.cat([draw(H, W, 3), 1.2 * draw(H, W, 1), 2 + draw(H, W, 1), draw(H, W, 3)], -1)
    alpha, mask = 0.5 + draw(H, W) / 2, (draw(H, W) < 0.6).float()
    mask[draw(H, W) < 0.1] = -1
    depth = torch.where(draw(H, W) < 0.1, 0.0, 2 + draw(H, W))
    xy = draw(300, 2) * torch.tensor([W + 6.0, H + 6.0]) - 3  # some beyond the border
    trust = torch.where(draw(300) < 0.3, 0.0, draw(300))
    return [image, alpha], (draw(H, W, 3), mask, depth), (xy, xy + draw(300, 2), trust, K)


WEIGHTS = picture.Weights(1.0, 0.2, 0.7, 0.3, 0.4, 2.0)


def test_a_pictures_losses():
    leaves, about, tracks = make_picture()

    def measure(function):
        def call(image, alpha, w2c):
            pairs = picture.TrackPairs(*tracks, w2c)
            return function(image, alpha, *about, pairs, WEIGHTS)

        return call

    both = measure(picture.picture_loss), measure(picture.picture_reference)
    compare(*both, [*leaves, turned_camera()])


@pytest.mark.parametrize("term", ["rgb", "mask", "depth", "depth_gradient", "track_2d"])
def test_each_of_a_pictures_losses_counts(term):
    """With one weight alone the value is that of the one term."""
    (image, alpha), (target, mask, depth), tracks = make_picture()
    pairs = picture.TrackPairs(*tracks, turned_camera())
    names = ("rgb", "mask", "depth", "depth_gradient", "track_2d")
    weights = picture.Weights(**{name: float(name == term) for name in names}, dssim=0.2)
    fast = picture.picture_loss(image, alpha, target, mask, depth, pairs, weights)
    twin = picture.picture_reference(image, alpha, target, mask, depth, pairs, weights)
    assert float(twin) > 1e-3
    assert float(fast) == pytest.approx(float(twin), rel=1e-4)


def test_a_closer_look_has_colour_and_mask_alone():
    (image, alpha), (target, mask, _), _ = make_picture()
    compare(
        lambda x: picture.picture_loss(x, alpha, target, mask, None, None, WEIGHTS),
        lambda x: picture.picture_reference(x, alpha, target, mask, None, None, WEIGHTS),
        [image],
    )


def test_quantiles_of_few_values_are_exact_and_of_many_near():
    error = torch.arange(100.0)
    weight = (error % 2 == 0).float()  # 0, 2, ... 98
    assert float(data_terms.find_quantile(error, weight, 0.98)) == 96
    assert data_terms.below_quantile(error, weight, 0.5).sum() == 49
    many = torch.rand(300_000, generator=torch.Generator().manual_seed(0))
    found = float(data_terms.find_quantile(many, torch.ones_like(many), 0.95))
    assert found == pytest.approx(0.95, abs=0.02)
    assert data_terms.sample_step(384 * 216) % 2 == 1
    none = data_terms.masked_mean(many, 0 * data_terms.below_quantile(many, 0 * many, 0.9))
    assert float(none) == 0


def make_hull() -> Hull:
    y, x = np.mgrid[:H, :W]
    masks = np.stack(
        [((x - 25 - t) ** 2 + (y - 20) ** 2 < 120).astype(np.float32) for t in range(4)]
    )
    depth = (2 + 0.3 * RNG.random(masks.shape)).astype(np.float32)
    cameras = SimpleNamespace(K=K.expand(4, 3, 3).numpy())
    return Hull(SimpleNamespace(masks=masks, depth=depth, cameras=cameras))  # pyright: ignore[reportArgumentType]


def test_the_hull():
    hull, frames = make_hull(), torch.tensor([0, 2, 3])
    points = torch.tensor(RNG.normal(size=(200, 3, 3)).astype(np.float32)) * 0.6
    w2c = turned_camera().repeat(3, 1, 1)
    cameras = K.repeat(3, 1, 1)
    compare(
        lambda p, c: hull.compute_mean_excess(p, frames, cameras, c),
        lambda p, c: hull.compute_excess(p, frames, cameras, c).mean(),
        [points, w2c],
    )


def test_guesses_of_the_far_side_that_a_frame_lets_go():
    hull, w2c = make_hull(), turned_camera()
    points = torch.tensor(RNG.normal(size=(400, 3)).astype(np.float32)) * 0.4
    far = torch.where(draw(400) < 0.3, 0.0, 0.3 * draw(400))
    flags = hull.flag_guesses(points, 1, K, w2c, far)
    outside, behind = hull.classify(points, 1, K, w2c, 0.5 * far)
    guess = far > 0
    assert torch.equal(flags & OUTSIDE > 0, outside & guess)
    assert torch.equal(flags & BEHIND > 0, behind & guess)
    assert {0, OUTSIDE, BEHIND} <= set(flags.tolist())


def test_hidden_points():
    points = torch.tensor(RNG.normal(size=(300, 3)).astype(np.float32)) * 0.6
    surface, about = (2.2 * draw(H, W), draw(H, W)), (K, turned_camera(), (0.02, 0.4))
    fast = rigidity.measure_hidden(points, surface, *about)
    twin = rigidity.measure_hidden_reference(points, surface, *about)
    torch.testing.assert_close(fast, twin, rtol=1e-4, atol=1e-4)
    assert ((fast > 0.05) & (fast < 0.95)).any()
    assert (fast == 1).any()


@pytest.mark.parametrize("size", [1e-5, 5e-4, 0.3, 2.0])
def test_corrected_cameras(size):
    turn, shift = torch.tensor([0.5, -0.7, 0.5]) * size, torch.tensor([0.1, 0.2, 0.3])
    given = turned_camera()
    compare(
        lambda t, s: camera_correction.correct_camera(given, t, s),
        lambda t, s: camera_correction.correct_camera_reference(given, t, s),
        [turn, shift],
    )


@pytest.mark.parametrize("carried", [True, False])
def test_what_is_drawn(carried):
    n, b = 30, 20
    held = torch.tensor(RNG.integers(0, 3, n).astype(np.uint8))
    shapes = {"means": 3, "quats": 4, "log_scales": 3, "logits": 0, "sh0": 3}
    sizes = [(count, width) if width else (count,) for count in (n, b) for width in shapes.values()]
    parts = [2 * draw(*size) - 1 for size in sizes]
    leaves = [*parts, turned_camera(), *([draw(n, 3)] if carried else [])]

    def put_together(function):
        def call(*given):
            a, c = given[:5], given[5:10]
            carry = given[11] if carried else None
            subject, still = Parameters(*a[2:]), Parameters(*c[2:])
            out = function(a[:2], carry, held, c[:2], subject, still, given[10])
            return tuple(vars(out).values())

        return call

    compare(put_together(assemble), put_together(assemble_reference), leaves)


def test_few_bases_blend():
    index = torch.tensor(np.stack([RNG.permutation(9)[:4] for _ in range(30)]))
    compare(
        lambda b, w: blending.blend_few(b, index, w),
        lambda b, w: blending.blend_few_reference(b, index, w),
        [draw(9, 2, 9), draw(30, 4)],
    )


def test_packed_bases():
    leaves = [2 * draw(5, 4, 6) - 1, draw(5, 4, 3)]
    compare(blending.pack_bases, blending.pack_bases_reference, leaves)


def test_screen_gradients_that_density_control_adds_up():
    gradient, radii = draw(40, 2) - 0.5, torch.tensor(RNG.integers(0, 2, 40).astype(np.int32))
    control, total, views = DensityControl("subject", 100, 1.0), torch.zeros(40), torch.zeros(40)
    for share in (1.0, 0.5):
        control.observe(share * gradient, radii, 30, 20)
        observe_reference(share * gradient, radii, (15.0, 10.0), total, views)
    torch.testing.assert_close(control.gradient, total)
    assert torch.equal(control.views, views)
    assert set(views.tolist()) == {0, 2}


def test_regularisers():
    triples = torch.tensor([[0, 1, 2], [1, 2, 3], [1, 2, 4]])
    bases = draw(5, 5, 9)
    compare(
        lambda b: regularisers.smooth_bases(b, triples),
        lambda b: regularisers.smooth_bases_reference(b, triples),
        [bases],
    )
    compare(regularisers.scale_variance, regularisers.scale_variance_reference, [draw(50, 3)])


def test_points_of_tracks():
    shape = (40, 3)
    w2c = turned_camera().repeat(3, 1, 1)
    w2c[2, 2, 3] -= 2  # some points lie behind this camera
    tracks = paths.Observations(
        draw(*shape, 3),
        50 * draw(*shape, 2),
        draw(*shape) < 0.6,
        draw(*shape),
        K.repeat(3, 1, 1),
        w2c,
    )
    points = tracks.xyz + 0.4 * (draw(*shape, 3) - 0.5)
    compare(
        lambda p: paths.observation_loss(p, tracks, (0.7, 1.3)),
        lambda p: paths.observation_loss_reference(p, tracks, (0.7, 1.3)),
        [points],
    )


def test_stretched_edges_and_bent_paths():
    edges = torch.from_numpy(rigidity.knn_edges(draw(30, 3).numpy(), 4))
    coefs = torch.softmax(4 * draw(30, 6), -1)
    compare(
        lambda p, c: paths.rigidity_init(p, c, coefs, edges),
        lambda p, c: paths.rigidity_init_reference(p, c, coefs, edges),
        [draw(30, 5, 3), draw(30, 3)],
    )
    rays = draw(4, 3)
    compare(
        lambda p: paths.bend_loss(p, rays, 0.3, (0.7, 1.3)),
        lambda p: paths.bend_loss_reference(p, rays, 0.3, (0.7, 1.3)),
        [draw(20, 4, 3, 3)],
    )
