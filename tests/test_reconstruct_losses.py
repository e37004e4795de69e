"""The losses on cases with a known answer: data terms, regularisers, rigidity."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from restage4d import se3 as numpy_se3
from restage4d.clips import Clip, rewind
from restage4d.reconstruct.losses import data_terms, paths, photometric, regularisers, rigidity
from restage4d.reconstruct.model import se3_torch as se3
from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.motion.lifting import (
    list_frame_triples,
    unproject,
)

RNG = np.random.default_rng(0)


def clip(n: int) -> Clip:
    return Clip(np.zeros((n, 4, 4, 3), np.uint8), 24.0)


def test_colour_loss_and_its_gradient_match_the_twin():
    image = torch.rand(23, 31, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.rand(23, 31, 3, generator=torch.Generator().manual_seed(1))
    twin = photometric.photometric_reference(image, target, 0.2)
    planes = np.ascontiguousarray(image.detach().permute(2, 0, 1).numpy())
    grad = np.zeros_like(planes)
    value = photometric.compute_photometric(planes, target.numpy(), 0.2, 3.0, grad)
    assert value == pytest.approx(float(twin.detach()), rel=1e-5)
    expected = torch.autograd.grad(3 * twin, image)[0].permute(2, 0, 1)
    torch.testing.assert_close(torch.from_numpy(grad), expected, rtol=1e-3, atol=1e-8)


def test_ssim_is_the_published_one():
    a, b = (
        RNG.uniform(size=(40, 50, 3)).astype(np.float32),
        RNG.uniform(size=(40, 50, 3)).astype(np.float32),
    )
    ours = photometric.ssim_map(torch.tensor(a), torch.tensor(b)).numpy()
    _, theirs = structural_similarity(
        a,
        b,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert np.abs(ours[6:-6, 6:-6] - theirs[6:-6, 6:-6]).max() < 1e-4


def test_mask_loss_leaves_the_unknown_band_out():
    mask = torch.tensor([[1.0, -1.0, 0.0]])
    assert data_terms.mask_loss(torch.tensor([[1.0, 0.3, 0.0]]), mask) == 0
    assert data_terms.mask_loss(torch.tensor([[0.5, 0.3, 0.0]]), mask) == pytest.approx(0.25)


def test_acceleration_follows_the_tree_of_frames():
    rewound = rewind(clip(3), [clip(3), clip(3)])
    triples = list_frame_triples(rewound)
    seam = rewound.seam
    assert {tuple(r) for r in triples.tolist()} == {
        (0, 1, 2),
        (1, 2, 3),
        (2, 3, 4),
        (1, 2, 5),
        (2, 5, 6),
    }
    assert seam == 2
    steps = torch.tensor([0.0, 1, 2, 3, 4, 3, 4])[
        None, :, None
    ]  # both branches go on at the same speed
    assert regularisers.acceleration(steps, torch.tensor(triples)).abs().max() == 0


def test_depth_loss_ignores_scale_free_gradient():
    depth = torch.tensor(RNG.uniform(1, 2, (8, 8)))
    valid = torch.ones(8, 8, dtype=torch.float64)
    assert data_terms.depth_gradient_loss(depth * 3, depth, valid) < 1e-6
    assert data_terms.depth_loss(depth * 1.1, depth, valid) == pytest.approx(0.1, rel=1e-3)


def test_project_inverts_unproject():
    K = np.array([[100.0, 0, 30], [0, 110, 20], [0, 0, 1]])
    w2c = np.eye(4)
    w2c[:3, :3] = numpy_se3.gram_schmidt(RNG.normal(size=6))
    w2c[:3, 3] = [0.1, 0.2, 3]
    xy, z = RNG.uniform(0, 60, (20, 2)), RNG.uniform(1, 5, 20)
    points = unproject(xy, z, K, w2c)
    pixels, depth = project(
        torch.tensor(points, dtype=torch.float64), torch.tensor(K), torch.tensor(w2c)
    )
    assert np.allclose(pixels, xy, atol=1e-3)
    assert np.allclose(depth, z, atol=1e-5)


# --- rigidity


def test_rigid_motion_costs_nothing_and_stretch_costs_its_length():
    points = torch.tensor(RNG.normal(size=(30, 3)))
    edges = torch.tensor(rigidity.knn_edges(points.numpy(), 4))
    assert len(edges) == 120
    assert (edges[:, 0] != edges[:, 1]).all()
    R = torch.tensor(numpy_se3.gram_schmidt(RNG.normal(size=(30, 5, 6))[:1].repeat(30, 0)))
    moved = se3.transform(R, torch.ones(30, 5, 3, dtype=torch.float64), points)
    coefs = torch.ones(30, 6, dtype=torch.float64)
    assert paths.rigidity_init(moved, points, coefs, edges) < 1e-9
    lengths = rigidity.edge_lengths(points, edges)
    stretched = paths.rigidity_init(1.5 * moved, points, coefs, edges)
    assert stretched == pytest.approx(float(0.5 * lengths.mean()), rel=1e-6)


def test_bases_of_one_rigid_motion_or_of_a_hinge_agree_and_others_do_not():
    means = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=torch.float64)
    edges, middle = rigidity.basis_edges(torch.eye(3, dtype=torch.float64), means)
    assert sorted(map(tuple, edges.tolist())) == [
        (i, j) for i in range(3) for j in range(3) if i != j
    ]
    assert torch.allclose(middle, means[edges].mean(1))
    R = torch.tensor(numpy_se3.gram_schmidt(RNG.normal(size=(5, 6))))
    trans = torch.tensor(RNG.normal(size=(5, 3)))
    whole = torch.cat([R[..., 0], R[..., 1], trans], -1)[None].repeat(3, 1, 1)
    assert rigidity.basis_disagreement(whole, edges, middle) < 1e-5
    hinge = torch.tensor([0.5, 0, 0], dtype=torch.float64)  # the middle of the first two
    bent = torch.cat([R[..., 0], R[..., 1], hinge - R @ hinge], -1)
    still = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 0], dtype=torch.float64).repeat(5, 1)
    pair = (edges < 2).all(1)
    assert (
        rigidity.basis_disagreement(torch.stack([still, bent, bent]), edges[pair], middle[pair])
        < 1e-5
    )
    shifted = whole.clone().requires_grad_()
    with torch.no_grad():
        shifted[1, :, 6:] += torch.tensor([0.0, 0.3, 0.4])
    apart = rigidity.basis_disagreement(shifted, edges[pair], middle[pair])
    assert float(apart.detach()) == pytest.approx(0.5, abs=1e-5)
    apart.backward()
    assert (shifted.grad[:2].abs().sum((1, 2)) > 0).all()


def test_rigidity_moves_points_and_leaves_its_weights_alone():
    points = torch.tensor(RNG.normal(size=(12, 3)))
    edges = torch.tensor(rigidity.knn_edges(points.numpy(), 3))
    moved = (1.2 * points[:, None]).requires_grad_()
    coefs = torch.rand(12, 4, dtype=torch.float64, requires_grad=True)
    paths.rigidity_init(moved, points, coefs, edges).backward()
    assert (moved.grad != 0).any()
    assert coefs.grad is None  # else unlike coefficients would pay


def test_similarity_is_the_cosine():
    coefs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    s = rigidity.motion_similarity(coefs, torch.tensor([[0, 1], [0, 2], [2, 2]]))
    assert torch.allclose(s, torch.tensor([0.0, 0.5**0.5, 1.0]))


def test_invisibility_is_a_smooth_step():
    surface = torch.full((5,), 2.0)
    depth = torch.tensor([1.5, 2.1, 2.2, 2.3, 9.0])  # tau0 = 0.1, tau1 = 0.3
    assert torch.allclose(
        rigidity.invisibility(depth, surface, 0.1, 0.3), torch.tensor([0, 0, 0.5, 1, 1]), atol=1e-6
    )


def test_refinement_holds_hidden_pairs_only():
    canonical = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    points = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [3.5, 0, 0]])
    edges = torch.tensor([[0, 1], [1, 2]])
    hidden = torch.tensor([0.0, 1.0, 1.0])
    assert rigidity.rigidity_refine(
        points, canonical, torch.ones(2), hidden, edges
    ) == pytest.approx(0.5)
    points.requires_grad_()
    rigidity.rigidity_refine(points, canonical, torch.ones(2), hidden, edges).backward()
    assert points.grad is not None
    assert (points.grad[0] == 0).all()
    assert (points.grad[2] != 0).any()
