"""The CPU renderer against the dense reference: values, gradients, culling, determinism."""

import math

import pytest
import torch
from torch import Tensor

from restage4d.splatting import rasterize
from restage4d.splatting.constants import MIN_ALPHA

WIDTH, HEIGHT = 61, 45  # no multiple of a tile
SIZES = [(1, 1), (16, 16), (17, 33), (5, 200), (200, 3)]
UNDRAWABLE = [  # what, and the value that keeps a Gaussian from being drawn
    ("opacities", 0.0),
    ("opacities", math.nan),
    ("opacities", -1.0),
    ("means", math.nan),
    ("means", math.inf),
    ("means", 1e30),
    ("quats", math.nan),
    ("scales", math.nan),
    ("scales", math.inf),
    ("scales", 1e30),
]
NAMES = ("means", "quats", "scales", "opacities", "colors", "w2c")


def scene(
    n: int, channels: int, seed: int = 0, size: float = 1.0, far: float = 4.0
) -> list[Tensor]:
    """Random Gaussians in front of a turned camera, about ``size`` x the spacing that covers the
    image; float64."""
    rng = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    focal = 1.2 * WIDTH
    K = torch.tensor(
        [[focal, 0, WIDTH / 2 + 3], [0, 0.9 * focal, HEIGHT / 2 - 2], [0, 0, 1]],
        dtype=torch.float64,
    )
    z = 2 + (far - 2) * rand(n)
    u, v = (1.2 * rand(n) - 0.1) * WIDTH, (1.2 * rand(n) - 0.1) * HEIGHT
    camera = torch.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], -1)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64))[0]
    turn = turn * torch.det(turn).sign()
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3], w2c[:3, 3] = turn, rand(3)
    means = (camera - w2c[:3, 3]) @ turn
    spread = torch.exp(0.6 * torch.randn(n, 3, generator=rng, dtype=torch.float64))
    scales = 0.5 * size * math.sqrt(WIDTH * HEIGHT / n) * z[:, None] / focal * spread
    quats = torch.randn(n, 4, generator=rng, dtype=torch.float64) * (0.1 + 3 * rand(n, 1))
    return [means, quats, scales, 0.05 + 0.95 * rand(n), 2 * rand(n, channels) - 0.5, w2c, K]


def draw(args: list[Tensor], width: int = WIDTH, height: int = HEIGHT, backend: str = "auto"):
    means, quats, scales, opacities, colors, w2c, K = args
    return rasterize(
        means, quats, scales, opacities, colors, w2c, K, width, height, backend=backend
    )


def drawn_with_gradients(args: list[Tensor], backend: str, dtype: torch.dtype, device: str = "cpu"):
    """Image, alpha, info, and gradients of a random functional of image, alpha and depths; of
    means2d too."""
    leaves = [x.to(device, dtype, copy=True).requires_grad_(i < 6) for i, x in enumerate(args)]
    image, alpha, info = draw(leaves, backend=backend)
    rng = torch.Generator().manual_seed(1)
    weights = [
        torch.randn(x.shape, generator=rng, dtype=torch.float64).to(x)
        for x in (image, alpha, info["depths"])
    ]
    loss = torch.stack(
        [(x * w).sum() for x, w in zip((image, alpha, info["depths"]), weights, strict=True)]
    ).sum()
    grads = torch.autograd.grad(loss, [*leaves[:6], info["means2d"]])
    return image, alpha, info, dict(zip([*NAMES, "means2d"], grads, strict=True))


def left_out(which: str, value: float, device: str, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Asserts that ten Gaussians spoilt by ``value`` change nothing; gradients of the others'
    means2d without and with them."""
    args = scene(90, 3, seed=7)
    image, _, _, grads = drawn_with_gradients(args, backend, torch.float32, device)
    spoilt = [torch.cat([x[:10], x]) for x in args[:5]]
    spoilt[NAMES.index(which)][:10] = value
    image_, _, info, grads_ = drawn_with_gradients(
        [*spoilt, *args[5:]], backend, torch.float32, device
    )
    assert torch.equal(image, image_)
    assert (info["radii"][:10] == 0).all()
    assert (info["radii"][10:] > 0).any()
    for name in NAMES[:5]:
        assert (grads_[name][:10] == 0).all(), name
        assert torch.isfinite(grads_[name]).all(), name
    return grads["means2d"], grads_["means2d"][10:]


def assert_matches_reference(args: list[Tensor], backend: str = "cpu") -> None:
    image, alpha, info, grads = drawn_with_gradients(args, "reference", torch.float64)
    image_, alpha_, info_, grads_ = drawn_with_gradients(args, backend, torch.float32)
    assert (image - image_).abs().max() < 1e-4
    assert (alpha - alpha_).abs().max() < 1e-4
    assert torch.equal(info["radii"], info_["radii"])
    assert (info["means2d"] - info_["means2d"]).abs().max() < 1e-3
    for name, grad in grads.items():
        assert (grad - grads_[name]).norm() < 1e-3 * grad.norm() + 1e-9, name


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 17])
def test_matches_the_reference(channels):
    assert_matches_reference(scene(250, channels, seed=channels))


@pytest.mark.parametrize(("size", "far"), [(0.02, 4), (6, 4), (1, 200)])
def test_matches_the_reference_for_tiny_large_and_far(size, far):
    assert_matches_reference(scene(150, 3, seed=5, size=size, far=far))


def test_stops_at_opaque_pixels_as_the_reference_does():
    args = scene(400, 2, seed=9, size=4)
    args[3] = 0.97 + 0.03 * args[3]  # most pixels end early, many alphas are clamped
    assert_matches_reference(args)
    assert drawn_with_gradients(args, "cpu", torch.float32)[1].max() < 1


def test_reference_gradients_are_those_of_finite_differences():
    args = scene(40, 2, seed=3)
    rng = torch.Generator().manual_seed(4)
    grads = drawn_with_gradients(args, "reference", torch.float64)[3]

    def loss(changed: list[Tensor]) -> float:
        image, alpha, info = draw(changed, backend="reference")
        rng = torch.Generator().manual_seed(1)
        return sum(
            float((x * torch.randn(x.shape, generator=rng, dtype=torch.float64)).sum())
            for x in (image, alpha, info["depths"])
        )

    for which, name in enumerate(NAMES):
        direction = torch.randn(args[which].shape, generator=rng, dtype=torch.float64)
        if name == "w2c":
            direction[3] = 0
        step = 1e-7 * direction  # small: the image jumps where a pixel passes MIN_ALPHA
        ahead, back = list(args), list(args)
        ahead[which], back[which] = args[which] + step, args[which] - step
        slope = (loss(ahead) - loss(back)) / 2e-7
        assert slope == pytest.approx(float((grads[name] * direction).sum()), rel=1e-4), name


def test_order_of_the_gaussians_does_not_matter():
    args = scene(300, 3, seed=11)
    turn = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    image, alpha, info, _ = drawn_with_gradients(args, "cpu", torch.float32)
    args = [x[turn] for x in args[:5]] + args[5:]
    leaves = [x.float() for x in args]
    image_, alpha_, info_ = draw(leaves)
    assert torch.equal(image, image_)
    assert torch.equal(alpha, alpha_)
    assert torch.equal(info["radii"][turn], info_["radii"])


def test_same_bits_for_any_number_of_threads():
    args = scene(500, 5, seed=12)
    threads = torch.get_num_threads()
    runs = []
    try:
        for n in (1, 2, 3, 2):
            torch.set_num_threads(n)
            image, alpha, _, grads = drawn_with_gradients(args, "cpu", torch.float32)
            runs.append([image, alpha, *grads.values()])
    finally:
        torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("channels", range(1, 18))
def test_channels_do_not_touch_one_another(channels):
    args = [x.float() for x in scene(120, 17, seed=2)]
    whole, alpha, _ = draw(args)
    args[4] = args[4][:, :channels]
    part, alpha_, _ = draw(args)
    assert torch.equal(whole[..., :channels], part)
    assert torch.equal(alpha, alpha_)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_image_sizes(width, height):
    args = scene(80, 3, seed=6)
    image, alpha, _ = draw([x.float() for x in args], width, height)
    image_, alpha_, _ = draw(args, width, height, "reference")
    assert image.shape == (height, width, 3)
    assert (image - image_).abs().max() < 1e-4
    assert (alpha - alpha_).abs().max() < 1e-4


def test_screen_space_gradients_can_be_read():
    args = [x.float().requires_grad_() for x in scene(100, 3, seed=18)]
    image, _, info = draw(args)
    info["means2d"].retain_grad()
    image.square().sum().backward()
    assert info["means2d"].grad.shape == (100, 2)
    assert (info["means2d"].grad[info["radii"] > 0] != 0).any()


def test_one_gaussian_is_where_and_what_it_should_be():
    K = torch.tensor([[50.0, 0, 20.5], [0, 50, 10.5], [0, 0, 1]])
    args = [torch.tensor([[0.0, 0, 5]]), torch.tensor([[2.0, 0, 0, 0]]), torch.full((1, 3), 0.2)]
    opacity, color = torch.tensor([0.8]), torch.tensor([[1.0, -2.0]])
    image, alpha, info = draw([*args, opacity, color, torch.eye(4), K], 41, 21)
    assert info["means2d"].tolist() == [[20.5, 10.5]]  # the centre of pixel (20, 10)
    assert info["depths"].tolist() == [5]
    assert alpha[10, 20] == pytest.approx(0.8)
    assert image[10, 20].tolist() == pytest.approx([0.8, -1.6])
    variance = (50 / 5 * 0.2) ** 2 + 0.3
    assert alpha[10, 23] == pytest.approx(0.8 * math.exp(-0.5 * 9 / variance), rel=1e-5)
    assert alpha[13, 20] == pytest.approx(0.8 * math.exp(-0.5 * 9 / variance), rel=1e-5)
    assert info["radii"].tolist() == [
        math.ceil(math.sqrt(2 * variance * math.log(0.8 / MIN_ALPHA)))
    ]


@pytest.mark.parametrize(("which", "value"), UNDRAWABLE)
def test_what_cannot_be_drawn_is_left_out(which, value):
    assert torch.equal(*left_out(which, value, "cpu"))


def test_behind_beside_and_too_near_are_left_out():
    args = scene(30, 3, seed=8)
    to_world = torch.linalg.inv(args[5])

    def place(x: float, y: float, z: float) -> Tensor:
        return to_world[:3, :3] @ torch.tensor([x, y, z], dtype=torch.float64) + to_world[:3, 3]

    args[0][0] = place(0, 0, -3)
    args[0][1] = place(50, 0, 3)
    args[0][2] = place(0, -50, 3)
    args[0][3] = place(0, 0, 0.005)
    args[0][4] = place(0, 0, 0.011)
    args[2][:5] = 1e-3
    _, _, info, grads = drawn_with_gradients(args, "cpu", torch.float32)
    assert (info["radii"][:4] == 0).all()
    assert info["radii"][4] > 0
    assert all((grads[name][:4] == 0).all() for name in NAMES[:5])
    assert_matches_reference(args)


def test_degenerate_quaternions_and_scales_stay_finite():
    args = scene(60, 3, seed=10)
    args[1][:5] = 0
    args[1][5:10] = 1e-20
    args[2][10:15] = 0
    args[2][15:20, 0] = 0
    assert_matches_reference(args)
    _, _, _, grads = drawn_with_gradients(args, "cpu", torch.float32)
    assert all(torch.isfinite(g).all() for g in grads.values())


def test_huge_gaussians_cover_the_image():
    args = [x.float() for x in scene(3, 3, seed=13)]
    args[2][:] = 50
    image, alpha, info = draw(args)
    assert torch.isfinite(image).all()
    assert (alpha > 0).all()
    assert (info["radii"] > WIDTH).all()


def test_a_nan_camera_or_colour_neither_crashes_nor_hangs():
    args = [x.float() for x in scene(50, 3, seed=14)]
    image, alpha, _ = draw([*args[:5], torch.full((4, 4), math.nan), args[6]])
    assert (image == 0).all()
    assert (alpha == 0).all()
    args[4][:] = math.nan
    image, alpha, _ = draw(args)
    assert torch.isfinite(alpha).all()


def test_no_gaussians():
    args = [x.float().requires_grad_() for x in scene(5, 3)]
    args = [x[:0] for x in args[:5]] + args[5:]
    image, alpha, info = draw(args)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (image == 0).all()
    assert (alpha == 0).all()
    assert info["radii"].shape == (0,)
    image.sum().backward()


def test_without_gradients_the_picture_is_the_same_and_nothing_is_kept():
    args = [x.float().requires_grad_() for x in scene(100, 3, seed=15)]
    image, _, _ = draw(args)
    with torch.no_grad():
        image_, alpha_, info = draw(args)
    assert torch.equal(image, image_)
    assert image_.grad_fn is None
    assert alpha_.grad_fn is None
    assert info["means2d"].grad_fn is None


def test_a_graph_can_be_walked_twice():
    args = [x.float().requires_grad_() for x in scene(100, 3, seed=16)]
    image, alpha, _ = draw(args)
    loss = (image**2).sum() + alpha.sum()
    first = torch.autograd.grad(loss, args[:5], retain_graph=True)
    second = torch.autograd.grad(loss, args[:5])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_takes_gradients_of_any_layout():
    args = [x.float().requires_grad_() for x in scene(100, 4, seed=17)]
    weight = torch.randn(HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(0))
    grads = []
    for w in (
        weight,
        weight.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        weight.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        image, _, _ = draw(args)
        grads.append(torch.autograd.grad(image, args[:5], w))
    for other in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], other, strict=True))


def test_wrong_shapes_are_refused():
    args = [x.float() for x in scene(5, 3)]
    with pytest.raises(ValueError, match="quats has shape"):
        draw([args[0], args[1][:, :3], *args[2:]])
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(args, 0)
    with pytest.raises(ValueError, match="backend"):
        draw(args, backend="opengl")
