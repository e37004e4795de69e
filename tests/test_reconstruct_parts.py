"""The pieces of the fit on cases with a known answer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from restage4d import se3 as numpy_se3
from restage4d.clips import Clip, Rewound, rewind
from restage4d.errors import FitError
from restage4d.reconstruct.checkpoint import load_checkpoint, save_checkpoint
from restage4d.reconstruct.fusion.seeding import interpolate_coefs
from restage4d.reconstruct.losses import (
    data_terms,
    photometric,
    regularisers,
    rigidity,
)
from restage4d.reconstruct.model import se3_torch as se3
from restage4d.reconstruct.model import skinning
from restage4d.reconstruct.model.optimizer import GuardedAdam
from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.motion import bases
from restage4d.reconstruct.motion.body_motion import estimate_body_motion, procrustes
from restage4d.reconstruct.motion.lifting import (
    LiftedTracks,
    fill_occluded,
    list_frame_triples,
    sample_depth,
    unproject,
)

RNG = np.random.default_rng(0)


def clip(n: int) -> Clip:
    return Clip(np.zeros((n, 4, 4, 3), np.uint8), 24.0)


# --- SE(3) twin


def test_torch_twin_agrees_with_numpy():
    columns = RNG.normal(size=(7, 5, 9))
    coefs = RNG.dirichlet(np.ones(7), 11)
    R, t = numpy_se3.blend_dense(columns, coefs)
    blended = se3.blend_columns(torch.tensor(columns), torch.tensor(coefs))
    R2, t2 = se3.gram_schmidt(blended[..., :6]), blended[..., 6:]
    assert np.allclose(R, R2, atol=1e-12)
    assert np.allclose(t, t2, atol=1e-12)
    points = RNG.normal(size=(11, 3))
    assert np.allclose(
        numpy_se3.transform(R, t, points), se3.transform(R2, t2, torch.tensor(points)), atol=1e-12
    )
    moved = se3.skin_points(blended, torch.tensor(points)).numpy()
    assert np.allclose(
        numpy_se3.inverse_transform(R[:, 0], t[:, 0], moved[:, 0]), points, atol=1e-12
    )


def test_few_influences_blend_as_a_puppet_does():
    columns = RNG.normal(size=(9, 4, 9))
    index = np.stack([RNG.permutation(9)[:3] for _ in range(6)])
    weight = RNG.dirichlet(np.ones(3), 6)
    coefs = se3.scatter_coefs(torch.tensor(index), torch.tensor(weight), 9)
    R, t = numpy_se3.blend(columns, index, weight)
    blended = se3.blend_columns(torch.tensor(columns), coefs)
    assert np.allclose(R, se3.gram_schmidt(blended[..., :6]), atol=1e-12)
    assert np.allclose(t, blended[..., 6:], atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_matrix_to_quat_twin_turns_vectors_the_same_way(seed):
    R = numpy_se3.gram_schmidt(np.random.default_rng(seed).normal(size=(6,)))
    ours = se3.matrix_to_quat(torch.tensor(R)).numpy()
    assert np.allclose(numpy_se3.quat_to_matrix(ours), R, atol=1e-9)


def test_gradients_of_eq_1():
    columns = torch.tensor(RNG.normal(size=(3, 2, 9)), requires_grad=True)
    logits = torch.tensor(RNG.normal(size=(4, 3)), requires_grad=True)
    points = torch.tensor(RNG.normal(size=(4, 3)), requires_grad=True)

    def moved(columns, logits, points):
        return se3.skin_points(se3.blend_columns(columns, torch.softmax(logits, -1)), points)

    assert torch.autograd.gradcheck(moved, (columns, logits, points))


@pytest.mark.parametrize("shape", [(7, 1), (5, 4)])
def test_poses_and_their_gradients_match_the_twins(shape):
    columns = torch.tensor(RNG.normal(size=(*shape, 9)).astype(np.float32))
    means, quats = (
        torch.tensor(RNG.normal(size=(len(columns), n)).astype(np.float32)) for n in (3, 4)
    )

    def outputs_and_grads(module):
        leaves = [x.clone().requires_grad_() for x in (columns, means, quats)]
        points, turned = module.skin_splats(leaves[0][:, 0], *leaves[1:])
        paths = module.skin_points(*leaves[:2])
        weights = [
            torch.tensor(np.random.default_rng(1).normal(size=x.shape), dtype=x.dtype)
            for x in (points, turned, paths)
        ]
        # a rotation and its negative quaternion are the same: sums of products of quaternions are
        # left alone by squaring
        loss = (
            (points * weights[0]).sum()
            + (turned * weights[1]).sum().square()
            + (paths * weights[2]).sum()
        )
        loss.backward()
        return [points, turned, paths, *(x.grad for x in leaves)]

    for fast, twin in zip(outputs_and_grads(skinning), outputs_and_grads(se3), strict=True):
        torch.testing.assert_close(fast, twin, rtol=2e-4, atol=2e-4)


def test_rigidity_and_its_gradients_match_the_twin():
    generator = torch.Generator().manual_seed(0)
    points, canonical = torch.rand(2, 30, 3, generator=generator)
    hidden = torch.rand(30, generator=generator).round()
    edges = torch.from_numpy(rigidity.knn_edges(canonical.numpy(), 4))
    similarity = torch.rand(len(edges), generator=generator)
    results = []
    for function in (rigidity.rigidity_refine, rigidity.rigidity_refine_reference):
        leaves = [x.clone().requires_grad_() for x in (points, canonical)]
        value = function(*leaves, similarity, hidden, edges)
        assert value > 0
        results.append([value, *torch.autograd.grad(3 * value, leaves)])
    for fast, twin in zip(*results, strict=True):
        torch.testing.assert_close(fast, twin)


# --- losses


def test_colour_loss_and_its_gradient_match_the_twin():
    image = torch.rand(23, 31, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.rand(23, 31, 3, generator=torch.Generator().manual_seed(1))
    values = [
        f(image, target, 0.2) for f in (photometric.photometric, photometric.photometric_reference)
    ]
    grads = [torch.autograd.grad(3 * value, image)[0] for value in values]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-8)


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
    assert rigidity.rigidity_init(moved, points, coefs, edges) < 1e-9
    lengths = rigidity.edge_lengths(points, edges)
    stretched = rigidity.rigidity_init(1.5 * moved, points, coefs, edges)
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
    rigidity.rigidity_init(moved, points, coefs, edges).backward()
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


# --- bases


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_k_asked_for_is_k_got(spread):
    features = np.repeat(RNG.normal(size=(5, 3)), 40, 0) * spread  # only five different points
    labels = bases.kmeans(features.astype(np.float32), 20, np.random.default_rng(0))
    assert len(np.unique(labels)) == 20


def test_procrustes_finds_the_motion_and_never_mirrors():
    source = RNG.normal(size=(6, 10, 3))
    R = numpy_se3.gram_schmidt(RNG.normal(size=(6, 6)))
    t = RNG.normal(size=(6, 3))
    target = np.einsum("bij,bpj->bpi", R, source) + t[:, None]
    found_R, found_t = procrustes(source, target, np.ones((6, 10)))
    assert np.allclose(found_R, R, atol=1e-5)
    assert np.allclose(found_t, t, atol=1e-5)
    mirrored, _ = procrustes(source, source * [1, 1, -1], np.ones((6, 10)))
    assert np.allclose(np.linalg.det(mirrored), 1, atol=1e-5)


def two_bodies() -> tuple[LiftedTracks, np.ndarray]:
    """Two rigid bodies side by side that move apart, 60 points each, every point hidden half of the
    time, in frame 0 too."""
    rng = np.random.default_rng(8)
    shape = rng.uniform(-0.5, 0.5, (120, 3))
    shape[60:, 0] += 0.6
    frames = 12
    xyz = np.empty((120, frames, 3), np.float32)
    for body in (slice(0, 60), slice(60, 120)):
        columns = np.eye(3)[:2].reshape(-1) + np.linspace(0, 0.8, frames)[:, None] * rng.normal(
            size=6
        )
        shift = np.linspace(0, 1, frames)[:, None] * rng.normal(size=3)
        xyz[body] = (
            np.einsum("tij,pj->pti", numpy_se3.gram_schmidt(columns), shape[body]) + shift[None]
        )
    visible = rng.random((120, frames)) < 0.5
    guessed = np.where(visible[..., None], xyz, xyz + 0.1 * rng.normal(size=xyz.shape)).astype(
        np.float32
    )
    return LiftedTracks(
        guessed,
        np.zeros((120, frames, 2), np.float32),
        visible,
        np.ones((120, frames), np.float32),
        0,
    ), xyz


def test_motion_of_a_part_is_found_though_no_point_need_be_seen_in_the_canonical_frame():
    tracks, truth = two_bodies()
    weight = np.where(tracks.visible[:60], 1.0, 0.02).astype(np.float32).T
    R, t = bases.fit_rigid_path(tracks.xyz[:60].transpose(1, 0, 2), weight, 0)
    assert np.allclose(R[0], np.eye(3), atol=1e-5)
    assert np.allclose(t[0], 0, atol=1e-5)
    carried = np.einsum("tij,pj->pti", R, truth[:60, 0]) + t
    assert np.abs(carried - truth[:60]).max() < 0.03  # the guesses of hidden places are 0.1 off


def test_first_guess_carries_every_point_with_its_own_body():
    tracks, truth = two_bodies()
    moves, logits, means = bases.initialise_bases(
        tracks, 8, np.eye(12, dtype=np.float32), np.random.default_rng(0)
    )
    coefs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    R, t = numpy_se3.blend_dense(moves, coefs)
    carried = np.einsum("ptij,pj->pti", R, means) + t
    alone = np.linalg.norm(
        truth - truth[:, :1], axis=-1
    ).mean()  # what not moving at all would be off by
    assert np.linalg.norm(carried - truth, axis=-1).mean() < 0.1 * alone
    assert np.abs(means - truth[:, 0]).mean() < 0.03


def test_fine_bases_of_one_body_start_with_its_motion_not_with_their_own_noise(monkeypatch):
    rng = np.random.default_rng(5)
    shape = rng.uniform(-0.5, 0.5, (720, 3))
    columns = np.eye(3)[:2].reshape(-1) + np.linspace(0, 0.8, 6)[:, None] * rng.normal(size=6)
    R = numpy_se3.gram_schmidt(columns)
    xyz = (np.einsum("tij,pj->pti", R, shape) + 0.01 * rng.normal(size=(720, 6, 3))).astype(
        np.float32
    )
    seen = np.ones((720, 6), bool)
    tracks = LiftedTracks(xyz, np.zeros((720, 6, 2), np.float32), seen, seen.astype(np.float32), 0)

    def off() -> float:
        moves, _, _ = bases.initialise_bases(
            tracks, 60, np.eye(6, dtype=np.float32), np.random.default_rng(0)
        )
        return float(np.abs(numpy_se3.gram_schmidt(moves[..., :6]) - R).mean())

    wide = off()
    monkeypatch.setattr(bases, "_VOTERS", 10**9)
    assert wide < 0.75 * off()


# --- lifting


def test_hidden_moments_are_filled_along_every_path():
    rewound = rewind(clip(3), [clip(3), clip(3)])
    xyz = np.zeros((1, 7, 3), np.float32)
    xyz[0, :, 0] = [10, 99, 12, 99, 14, 99, 99]
    visible = np.array([[True, False, True, False, True, False, False]])
    still = np.tile(np.eye(3, dtype=np.float32), (7, 1, 1)), np.zeros((7, 3), np.float32)
    filled = fill_occluded(xyz, visible, rewound, *still)[0, :, 0]
    assert filled.tolist() == [10, 11, 12, 13, 14, 12, 12]


def turning_body(n_points: int = 200) -> tuple[Rewound, np.ndarray, np.ndarray]:
    """A rigid body that turns and travels over a base and two driving videos; every point is seen
    half of the time."""
    rewound = rewind(clip(8), [clip(8), clip(8)])
    rng = np.random.default_rng(3)
    shift = 0.5 * rng.normal(size=(len(rewound), 3))
    R = numpy_se3.gram_schmidt(np.eye(3)[:2].reshape(-1) + 0.3 * rng.normal(size=(len(rewound), 6)))
    points = rng.normal(size=(n_points, 3))
    xyz = np.einsum("tij,pj->pti", R, points) + shift
    return rewound, xyz.astype(np.float32), rng.random(xyz.shape[:2]) < 0.5


def test_the_motion_of_the_whole_is_found_among_wrong_points():
    rewound, truth, visible = turning_body()
    xyz = np.where(visible[..., None], truth, 50.0).astype(
        np.float32
    )  # hidden positions must not count
    xyz[:20] += (
        np.random.default_rng(4).normal(size=(20, len(rewound), 3)).astype(np.float32)
    )  # nor wrong ones much
    R, t = estimate_body_motion(xyz, visible, rewound)
    start = int(visible.sum(0).argmax())
    assert np.allclose(R[start], np.eye(3))
    carried = np.einsum("tij,pj->pti", R, truth[20:, start]) + t
    assert np.abs(carried - truth[20:]).max() < 0.02


def test_what_is_hidden_goes_along_with_the_body():
    rewound, truth, visible = turning_body()
    visible[:20] = False
    visible[:20, rewound.seam] = True  # a far side that a single frame shows
    xyz = np.where(visible[..., None], truth, 50.0).astype(np.float32)
    filled = fill_occluded(xyz, visible, rewound, *estimate_body_motion(xyz, visible, rewound))
    assert np.abs(filled - truth).max() < 1e-3
    assert (filled[visible] == xyz[visible]).all()


def test_too_few_points_in_common_leave_the_body_where_its_neighbour_is():
    rewound, truth, visible = turning_body(5)
    R, t = estimate_body_motion(truth, visible, rewound)
    assert (np.eye(3) == R).all()
    assert (t == 0).all()


def test_a_seed_goes_with_the_side_that_the_frame_shows():
    near_side = np.stack([np.linspace(0, 1, 20), np.zeros(20), np.zeros(20)], -1).astype(np.float32)
    tracks = np.concatenate(
        [near_side, near_side + np.float32([0, 0, 0.06])]
    )  # a thin body: the far side is close behind
    coefs = np.repeat(np.eye(2, dtype=np.float32), 20, 0)
    seed = near_side[::3] + np.float32([0.01, 0, 0.035])  # a little nearer to the far side
    share = interpolate_coefs(seed, tracks, np.arange(40) < 20, coefs, 8)
    assert np.allclose(share.sum(1), 1, atol=1e-6)
    assert (share[:, 0] > 0.5).all()
    assert (
        interpolate_coefs(seed, tracks, np.ones(40, bool), coefs, 8)[:, 0] < 0.5
    ).all()  # both seen: the nearer one
    assert interpolate_coefs(seed, tracks[:2], np.ones(2, bool), coefs[:2], 8).shape == (
        len(seed),
        2,
    )  # few tracks


def test_depth_is_sampled_from_the_subject_only():
    depth = np.array([[1.0, 1.0, 9.0]], np.float32)
    mask = np.array([[1.0, 1.0, 0.0]], np.float32)
    got = sample_depth(depth, mask, np.array([[0.5, 0.5], [1.9, 0.5], [2.5, 0.5]], np.float32))
    assert got.tolist() == [1.0, 1.0, 0.0]


# --- optimiser and checkpoints


def quadratic(steps: int = 100) -> tuple[dict[str, torch.Tensor], GuardedAdam]:
    params = {"x": torch.full((4,), 3.0, requires_grad=True)}
    return params, GuardedAdam(params, {"x": 0.1}, {}, steps)


def test_guarded_adam_rolls_back_a_nan_at_a_lower_rate():
    params, adam = quadratic()
    for step in range(120):
        loss = params["x"].square().sum() * (float("nan") if step == 60 else 1.0)
        assert adam.step(loss) == (step != 60)
    assert adam.rollbacks == 1
    assert adam.rate_scale == 0.5
    assert params["x"].abs().max() < 0.05


def test_guarded_adam_catches_a_nan_gradient_of_a_finite_loss():
    params, adam = quadratic()
    assert adam.step(params["x"].square().sum())
    before = params["x"].detach().clone()
    bad = (params["x"] * 0).sqrt().sum()  # 0, with the gradient 0/0
    assert not adam.step(bad)
    assert torch.isfinite(params["x"]).all()
    assert (params["x"] - before).abs().max() <= 0.2


def test_guarded_adam_gives_up_in_the_end():
    params, adam = quadratic()
    adam.step(params["x"].sum())
    poisoned = params["x"].sum() * float("nan")
    for _ in range(adam.max_rollbacks):
        assert not adam.step(poisoned)
    with pytest.raises(FitError, match="not finite"):
        adam.step(poisoned)


def test_resized_rows_keep_their_moments():
    params, adam = quadratic()
    adam.step((params["x"] * torch.tensor([1.0, 2, 3, 4])).sum())
    old = adam.state()["exp_avg.x"]
    adam.resize("x", torch.arange(3.0), torch.tensor([3, -1, 1]))
    assert adam.state()["exp_avg.x"].tolist() == [float(old[3]), 0.0, float(old[1])]
    assert adam.step(params["x"].square().sum())


def test_checkpoint_comes_back_and_foreign_or_damaged_ones_do_not(tmp_path):
    path = tmp_path / "c.safetensors"
    tensors = {"a": torch.arange(6).reshape(2, 3)}
    save_checkpoint(path, tensors, {"fingerprint": "f", "step": 3})
    got = load_checkpoint(path, "f")
    assert got is not None
    assert torch.equal(got[0]["a"], tensors["a"])
    assert got[1]["step"] == 3
    assert load_checkpoint(path, "g") is None
    path.write_bytes(path.read_bytes()[:-5])
    assert load_checkpoint(path, "f") is None
    assert load_checkpoint(tmp_path / "none", "f") is None
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
