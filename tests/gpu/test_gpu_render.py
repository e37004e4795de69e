"""gsplat's and Warp's drawing on a GPU against the dense reference in double precision: values,
gradients, what is left out."""

import math

import pytest
import torch
from test_render import (
    HEIGHT,
    SIZES,
    UNDRAWABLE,
    WIDTH,
    draw,
    drawn_with_gradients,
    left_out,
    scene,
)
from torch import Tensor

from restage4d.splatting import gsplat_backend, warp_backend

BACKENDS = [
    name
    for name, backend in (("gsplat", gsplat_backend), ("warp", warp_backend))
    if not backend.obstacle()
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def on_gpu(args: list[Tensor]) -> list[Tensor]:
    return [x.to("cuda", torch.float32) for x in args]


def assert_matches_reference(
    args: list[Tensor], backend: str, compared: slice = slice(None)
) -> None:
    """Values, and gradients by the Gaussians ``compared``.

    gsplat's fast arithmetic lets a Gaussian at the edge of visibility (alpha 1/255) come or go in
    single pixels.
    """
    image, alpha, info, grads = drawn_with_gradients(args, "reference", torch.float64)
    image_, alpha_, info_, grads_ = drawn_with_gradients(args, backend, torch.float32, "cuda")
    for mine, theirs in ((image_, image), (alpha_, alpha)):
        gap = (mine.cpu() - theirs).abs()
        assert gap.max() < 0.01
        assert gap.mean() < 1e-5
    assert (info["radii"] - info_["radii"].cpu()).abs().max() <= 1
    assert (info["means2d"] - info_["means2d"].cpu()).abs().max() < 1e-2
    for name, grad in grads.items():
        assert torch.isfinite(grads_[name]).all(), name
        rows = slice(None) if name == "w2c" else compared
        assert (grad[rows] - grads_[name].cpu()[rows]).norm() < 5e-3 * grad[rows].norm() + 1e-6, (
            name
        )


@pytest.mark.parametrize("channels", [1, 3, 5, 8, 17])
def test_matches_the_reference(channels, backend):
    assert_matches_reference(scene(250, channels, seed=channels), backend)


@pytest.mark.parametrize(("size", "far"), [(0.02, 4), (6, 4), (1, 200)])
def test_matches_the_reference_for_tiny_large_and_far(size, far, backend):
    assert_matches_reference(scene(150, 3, seed=5, size=size, far=far), backend)


def test_stops_at_opaque_pixels_as_the_reference_does(backend):
    args = scene(400, 2, seed=9, size=4)
    args[3] = 0.97 + 0.03 * args[3]
    assert_matches_reference(args, backend)


def test_degenerate_quaternions_and_scales_stay_finite(backend):
    args = scene(60, 3, seed=10)
    args[1][:5] = 0
    args[1][5:10] = 1e-20
    args[2][10:15] = 0
    args[2][15:20, 0] = 0
    assert_matches_reference(
        args, backend, slice(10, None)
    )  # the gradient by a quaternion without length is anything


@pytest.mark.parametrize(("which", "value"), UNDRAWABLE)
def test_what_cannot_be_drawn_is_left_out(which, value, backend):
    without, beside = left_out(which, value, "cuda", backend)
    assert (without - beside).norm() < 1e-3 * without.norm()  # sums in another order


def test_a_nan_camera_or_colour_neither_crashes_nor_hangs(backend):
    args = on_gpu(scene(50, 3, seed=14))
    image, alpha, _ = draw(
        [*args[:5], torch.full((4, 4), math.nan, device="cuda"), args[6]], backend=backend
    )
    assert (image == 0).all()
    assert (alpha == 0).all()
    args[4][:] = math.nan
    assert torch.isfinite(draw(args, backend=backend)[1]).all()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_image_sizes(width, height, backend):
    args = scene(80, 3, seed=6)
    image, alpha, _ = draw(on_gpu(args), width, height, backend)
    image_, alpha_, _ = draw(args, width, height, "reference")
    assert image.shape == (height, width, 3)
    assert (image.cpu() - image_).abs().max() < 0.01
    assert (alpha.cpu() - alpha_).abs().max() < 0.01


def test_no_gaussians(backend):
    args = [x.requires_grad_() for x in on_gpu(scene(5, 3))]
    image, alpha, info = draw([x[:0] for x in args[:5]] + args[5:], backend=backend)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (alpha == 0).all()
    assert info["radii"].shape == (0,)
    image.sum().backward()


def test_screen_space_gradients_can_be_read(backend):
    image, _, info = draw(
        [x.requires_grad_() for x in on_gpu(scene(100, 3, seed=18))], backend=backend
    )
    info["means2d"].retain_grad()
    image.square().sum().backward()
    assert info["means2d"].grad.shape == (100, 2)
    assert (info["means2d"].grad[info["radii"] > 0] != 0).any()


def test_a_large_scene_draws_as_on_the_cpu(backend):
    """30,000 Gaussians, many to a tile, sorted by their own key."""
    args = [x.float() for x in scene(30_000, 8, seed=20, size=2)]
    image, alpha, _ = draw(args)
    image_, alpha_, _ = draw(on_gpu(args), backend=backend)
    assert (image - image_.cpu()).abs().mean() < 1e-4
    assert (alpha - alpha_.cpu()).abs().mean() < 1e-4
