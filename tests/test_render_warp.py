"""Warp's kernels, on the CPU as they would run on a GPU, against the dense reference: values,
gradients, what is left out."""

import math
import re

import pytest
import torch
from test_render import (
    HEIGHT,
    NAMES,
    SIZES,
    UNDRAWABLE,
    assert_matches_reference,
    draw,
    drawn_with_gradients,
    left_out,
    scene,
)

from restage4d.splatting import rasterize

wp = pytest.importorskip("warp")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """The kernels, compiled in seconds where they are not in the cache."""
    from restage4d.splatting import warp_backend

    warp_backend.compile_kernels("cpu")


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 9, 17])
def test_matches_the_reference(channels):
    assert_matches_reference(scene(250, channels, seed=channels), "warp")


@pytest.mark.parametrize(("size", "far"), [(0.02, 4), (6, 4), (1, 200)])
def test_matches_the_reference_for_tiny_large_and_far(size, far):
    assert_matches_reference(scene(150, 3, seed=5, size=size, far=far), "warp")


def test_stops_at_opaque_pixels_as_the_reference_does():
    args = scene(400, 2, seed=9, size=4)
    args[3] = 0.97 + 0.03 * args[3]
    assert_matches_reference(args, "warp")
    assert drawn_with_gradients(args, "warp", torch.float32)[1].max() < 1


def test_a_clamped_gaussian_gets_no_gradient_by_its_shape_and_opacity():
    args = scene(3, 3, seed=13)
    args[2][0], args[3][0] = 500, 1  # its alpha is above 0.999 in the whole picture
    assert_matches_reference(args, "warp")
    grads = drawn_with_gradients(args, "warp", torch.float32)[3]
    assert (grads["opacities"][0], grads["scales"][0].norm()) == (0, 0)
    assert grads["colors"][0].norm() > 0


def test_gradients_are_those_of_finite_differences():
    """Of the drawing itself, in the middle of a footprint, where float32 resolves differences."""
    K = torch.tensor([[50.0, 0, 20.5], [0, 60, 10.5], [0, 0, 1]])
    args = [
        torch.tensor([[0.1, -0.2, 5.0], [-0.2, 0.1, 6.0]]),
        torch.tensor([[0.9, 0.2, -0.3, 0.4], [1.0, 0.1, 0.5, -0.2]]),
        torch.tensor([[0.3, 0.4, 0.5], [0.6, 0.3, 0.4]]),
        torch.tensor([0.6, 0.7]),
        torch.tensor([[1.0, -0.5], [0.3, 2.0]]),
        torch.eye(4),
    ]

    def loss(values: list[torch.Tensor]) -> torch.Tensor:
        image, alpha, info = rasterize(*values, K, 41, 21, backend="warp")
        sharp = image[9:12, 19:22].double().sum() + 0.7 * alpha[9:12, 19:22].double().sum()
        return sharp + 0.1 * info["depths"].double().sum()

    leaves = [x.clone().requires_grad_() for x in args]
    grads = torch.autograd.grad(loss(leaves), leaves)
    rng = torch.Generator().manual_seed(2)
    for which, name in enumerate(NAMES):
        direction = torch.randn(args[which].shape, generator=rng)
        if name == "w2c":
            direction[3] = 0
        ahead, back = list(args), list(args)
        ahead[which], back[which] = args[which] + 2e-3 * direction, args[which] - 2e-3 * direction
        slope = float(loss(ahead) - loss(back)) / 4e-3
        assert slope == pytest.approx(float((grads[which] * direction).sum()), rel=2e-3), name


@pytest.mark.parametrize(("which", "value"), UNDRAWABLE)
def test_what_cannot_be_drawn_is_left_out(which, value):
    without, beside = left_out(which, value, "cpu", "warp")
    assert torch.equal(without, beside)


def test_degenerate_quaternions_and_scales_stay_finite():
    args = scene(60, 3, seed=10)
    args[1][:5] = 0
    args[1][5:10] = 1e-20
    args[2][10:15] = 0
    args[2][15:20, 0] = 0
    assert_matches_reference(args, "warp")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_image_sizes(width, height):
    args = scene(80, 3, seed=6)
    image, alpha, _ = draw([x.float() for x in args], width, height, "warp")
    image_, alpha_, _ = draw(args, width, height, "reference")
    assert image.shape == (height, width, 3)
    assert (image - image_).abs().max() < 1e-4
    assert (alpha - alpha_).abs().max() < 1e-4


def test_a_nan_camera_or_colour_neither_crashes_nor_hangs():
    args = [x.float() for x in scene(50, 3, seed=14)]
    image, alpha, _ = draw([*args[:5], torch.full((4, 4), math.nan), args[6]], backend="warp")
    assert (image == 0).all()
    assert (alpha == 0).all()
    args[4][:] = math.nan
    assert torch.isfinite(draw(args, backend="warp")[1]).all()


def test_no_gaussians_and_huge_ones():
    args = [x.float().requires_grad_() for x in scene(5, 3)]
    image, alpha, info = draw([x[:0] for x in args[:5]] + args[5:], backend="warp")
    assert (image == 0).all()
    assert alpha.shape == (HEIGHT, image.shape[1])
    assert info["radii"].shape == (0,)
    image.sum().backward()
    args[2] = torch.full_like(args[2], 50)
    assert (draw(args, backend="warp")[1] > 0).all()


def test_screen_space_gradients_are_the_cpus():
    grads = []
    for backend in ("cpu", "warp"):
        image, _, info = draw(
            [x.float().requires_grad_() for x in scene(100, 3, seed=18)], backend=backend
        )
        info["means2d"].retain_grad()
        image.square().sum().backward()
        grads.append(info["means2d"].grad)
    assert (grads[0] - grads[1]).norm() < 1e-4 * grads[0].norm()


def test_a_graph_can_be_walked_twice_and_needs_not_be_kept():
    args = [x.float().requires_grad_() for x in scene(100, 9, seed=16)]
    image, alpha, _ = draw(args, backend="warp")
    loss = (image**2).sum() + alpha.sum()
    first = torch.autograd.grad(loss, args[:5], retain_graph=True)
    second = torch.autograd.grad(loss, args[:5])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        assert torch.equal(draw(args, backend="warp")[0], image)


def test_all_kernels_are_in_the_modules_that_are_compiled_before_a_job():
    from restage4d.splatting.warp_backend import drawing

    module = wp.get_module(drawing.__name__)
    made = [drawing.make_kernels(width) for width in drawing.WIDTHS]
    kernels = [k for d in made for k in (d.draw, d.draw_backward)]
    assert all(k.module is module for k in kernels)
    assert len({k.get_mangled_name() for k in kernels}) == 4


def test_the_kernels_compile_for_gpus(tmp_path):
    """NVIDIA's compiler is in Warp, and needs no GPU: Turing's oldest to Blackwell."""
    from restage4d.splatting.warp_backend import drawing, projection

    for module, kernels in ((projection, 3), (drawing, 4)):
        made = wp.compile_aot_module(
            wp.get_module(module.__name__), arch=[75, 120], module_dir=tmp_path, use_ptx=True
        )
        assert len(made) == 2
        for path in made:
            text = path.read_text()
            assert text.count(".entry") == kernels
            assert re.search(r"(red|atom)\.\S*add\.f(32|64)", text)
