"""Motion initialisation on cases with a known answer: bases, the motion of the whole, lifting."""

import numpy as np
import pytest

from restage4d import se3 as numpy_se3
from restage4d.clips import Cameras, Clip, Priors, Rewound, Tracks, rewind
from restage4d.reconstruct.fusion import seeding
from restage4d.reconstruct.fusion.seeding import interpolate_coefs
from restage4d.reconstruct.motion import bases
from restage4d.reconstruct.motion.body_motion import estimate_body_motion, procrustes
from restage4d.reconstruct.motion.lifting import (
    LiftedTracks,
    fill_occluded,
    lift_tracks,
    sample_depth,
)

RNG = np.random.default_rng(0)


def clip(n: int) -> Clip:
    return Clip(np.zeros((n, 4, 4, 3), np.uint8), 24.0)


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


@pytest.mark.parametrize("told", [True, False])
def test_hidden_points_are_where_the_maker_of_the_video_says(told: bool):
    """A wall at depth 4 and its back at 5, which only the last three frames show."""
    frames, size, focal = 6, 40, 40.0
    base, driving = (Clip(np.zeros((n, size, size, 3), np.uint8), 24.0) for n in (2, frames - 1))
    rewound = rewind(base, [driving])
    grid = np.stack(np.meshgrid(np.arange(8, 32, 3), np.arange(8, 32, 3)), -1).reshape(-1, 2) + 0.5
    count = len(grid)
    xy = np.tile(np.concatenate([grid, grid])[:, None], (1, frames, 1)).astype(np.float32)
    visible = np.ones((2 * count, frames), bool)
    visible[:count, 3:] = False
    visible[count:, :3] = False
    behind = np.zeros(visible.shape, np.float32)
    if told:
        behind[count:, 1:3], behind[:count, 3:] = 1.25, 1.5
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], np.float32)
    still = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    query = np.repeat([0, 3], count).astype(np.int32)
    priors = Priors(
        np.ones((frames, size, size), np.float32),
        np.full((frames, size, size), 4.0, np.float32),
        Cameras(np.tile(K, (frames, 1, 1)), still, "static"),
        Tracks(xy, visible, np.ones(visible.shape, np.float32), query, behind),
    )
    lifted = lift_tracks(rewound, priors)
    back = lifted.visible[:, 3]
    assert back.sum() > 0.9 * count
    assert (lifted.placed & ~lifted.visible)[back, 1:3].all() == told
    if told:
        assert lifted.xyz[back, 1:3, 2] == pytest.approx(5.0)
        assert lifted.xyz[back, 0, 2] == pytest.approx(5.0, abs=0.05), "held where nothing tells"
        assert lifted.xyz[~back, 3:, 2] == pytest.approx(6.0)
    else:
        assert lifted.xyz[back, 1:3, 2] == pytest.approx(4.0, abs=0.05)
    rows = np.flatnonzero(back)
    np.testing.assert_array_equal(lifted.take(rows).placed, lifted.placed[rows])


def test_seeding_tries_no_stride_at_which_one_frame_is_too_much():
    tried = []

    def collect(stride):
        tried.append(stride)
        return (np.zeros((int(30_000 / stride**2), 3), np.float32),)

    assert len(seeding._limit_count(100, 2.0, 10_000, collect)[0]) <= 100
    assert tried == [10.0, pytest.approx(10 * 3**0.5)]
    tried.clear()
    assert len(seeding._limit_count(10_000, 2.0, 10_000, collect)[0]) == 7500
    assert tried == [2.0], "a small picture is seeded as asked for"
