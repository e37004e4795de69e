"""A body instead of a sheet: the far side that no frame shows, and the places where the frames
allow the subject to be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import Truth, hinge_scene
from scipy.spatial import KDTree

from restage4d.clips import Cameras, Priors, Tracks
from restage4d.priors.tracks.flow_tracks import extrapolate_occluded
from restage4d.progress import Progress
from restage4d.reconstruct.config import (
    FitConfig,
    FusionConfig,
    MotionConfig,
    RigidityConfig,
)
from restage4d.reconstruct.fit import fit, prepare_priors
from restage4d.reconstruct.fusion.far_side import build_far_side, find_contradicted, find_isolated
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.motion.initialisation import fit_motion
from restage4d.reconstruct.motion.lifting import lift_tracks, reject_observations

FOCAL, SIZE, NEAR = 100.0, 64, 4.0
CONFIG = FitConfig(
    motion=MotionConfig(n_bases=20, steps=150, n_tracks=1000),
    fusion=FusionConfig(steps=120, densify_every=40),
)


def _disc(radius: float = 16.0) -> np.ndarray:
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    return (np.hypot(row - SIZE / 2, column - SIZE / 2) < radius).astype(np.float32)


def _priors(masks: np.ndarray, depth: np.ndarray) -> Priors:
    n = len(masks)
    K = np.tile(
        np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], np.float32), (n, 1, 1)
    )
    cameras = Cameras(K, np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)), "static")
    none = Tracks(
        *(
            np.zeros((0, n, *tail), kind)
            for tail, kind in (((2,), np.float32), ((), bool), ((), np.float32))
        ),
        np.zeros(0, np.int32),
    )
    return Priors(masks, depth, cameras, none)


def _seeds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.nonzero(mask > 0.5)
    return np.stack([column, row], 1).astype(np.float32) + 0.5, np.full(len(row), NEAR, np.float32)


def test_far_side_is_the_front_mirrored_about_the_outlines_plane():
    """A ball's silhouette gets a ball: as deep in the middle as `inflate` says, closed along the
    rim."""
    mask = _disc()
    xy, depth = _seeds(mask)
    found = build_far_side(xy, depth, np.full((SIZE, SIZE, 3), 200, np.uint8), mask, FOCAL, 1.0)
    behind = found.depth - depth[found.front]
    assert (behind > 0).all()
    from_middle = np.hypot(*(found.xy - SIZE / 2).T)
    thickness = (
        2 * 16 / np.sqrt(2) / FOCAL * NEAR
    )  # a disc's half-thickness is its radius over the root of 2
    assert behind[from_middle < 3] == pytest.approx(thickness, rel=0.1)
    assert 14 < from_middle.max() < 15.5  # near the outline, not on it
    rim = np.flatnonzero(from_middle > 13.8)
    assert behind[rim].max() < 0.75 * thickness
    walls = [np.sort(behind[rim][found.front[rim] == seed]) for seed in np.unique(found.front[rim])]
    gap = max(np.diff(np.concatenate([[0], wall])).max() for wall in walls)
    assert gap < 2.1 * NEAR / FOCAL  # seeds two pixels apart, all the way from front to back


def test_far_side_has_the_subjects_own_colour_along_its_outline():
    mask = _disc()
    inner = _disc(14.7)[..., None] > 0  # what is further out mixes with the background
    frame = np.where(inner, np.uint8(250), np.uint8(10)).repeat(3, 2)
    xy, depth = _seeds(mask)
    found = build_far_side(xy, depth, frame, mask, FOCAL, 1.0)
    assert np.hypot(*(found.xy - SIZE / 2).T).max() > 14
    assert (found.rgb.mean(1) > 0.9).mean() > 0.9


def test_frames_that_see_past_a_place_or_behind_it_contradict():
    masks = np.stack([_disc()] * 4)
    depth = np.where(masks > 0.5, NEAR, 8.0).astype(np.float32)
    K, w2c = _priors(masks, depth).cameras.K, _priors(masks, depth).cameras.w2c
    hidden = np.array([[0.0, 0.0, NEAR + 0.3]])
    beside = np.array([[1.0, 0.0, NEAR]])  # at column 57, well outside the disc
    before = np.array([[0.0, 0.0, NEAR - 0.5]])
    out_of_view = np.array([[9.0, 0.0, NEAR]])
    points = np.concatenate([hidden, beside, before, out_of_view])
    posed = np.repeat(points[:, None], 4, 1).astype(np.float32)
    assert find_contradicted(posed, masks, depth, K, w2c, 0.1, 0.5).tolist() == [
        False,
        True,
        True,
        False,
    ]
    posed[1, :2] = posed[0, :2]  # two of four frames only
    assert find_contradicted(posed, masks, depth, K, w2c, 0.1, 0.1).tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert find_contradicted(posed, masks, depth, K, w2c, 0.1, 0.5).tolist() == [
        False,
        False,
        True,
        False,
    ]
    assert find_isolated(points, points[:1], np.full(4, 0.5)).tolist() == [False, True, True, True]


def test_hull_measures_how_far_points_are_from_where_a_frame_allows_them():
    mask = _disc()
    hull = Hull(_priors(mask[None], np.where(mask > 0.5, NEAR, 8.0)[None].astype(np.float32)))
    K = torch.tensor([[[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]])
    w2c, frames = torch.eye(4)[None], torch.tensor([0])
    thick = float(hull.thick[0])
    assert 2 * 16 / np.sqrt(2) / FOCAL * NEAR <= thick <= 1.5 * 2 * 16 / np.sqrt(2) / FOCAL * NEAR
    points = torch.tensor(
        [
            [0, 0, NEAR],
            [0, 0, NEAR + 0.9 * thick],
            [0, 0, NEAR + thick + 0.3],
            [0, 0, NEAR - 0.3],
            [1.0, 0, NEAR],
            [9, 0, NEAR],
        ]
    )
    points.requires_grad_()
    excess = hull.compute_excess(points[:, None], frames, K, w2c)
    inside, back, deep, before, beside, unseen = excess[:, 0].tolist()
    assert inside == back == unseen == 0
    assert deep == pytest.approx(0.3, abs=1e-3)
    assert 0.2 < before < 0.3
    assert beside == pytest.approx((25 - 16) / FOCAL * NEAR, abs=2 * NEAR / FOCAL)
    excess.sum().backward()
    gradient = points.grad.numpy()
    assert not gradient[[0, 1, 5]].any()
    assert gradient[2, 2] > 0 > gradient[3, 2]  # downhill is back to the body
    assert gradient[4, 0] > 0.5
    outside, behind = hull.classify(points.detach(), 0, K[0], w2c[0], torch.full((6,), 0.1))
    assert outside.tolist() == [False, False, False, False, True, True]
    assert behind.tolist() == [False, True, True, False, False, False]


def test_hull_says_nothing_of_frames_without_the_subject():
    hull = Hull(
        _priors(np.zeros((1, SIZE, SIZE), np.float32), np.full((1, SIZE, SIZE), 8.0, np.float32))
    )
    K = torch.tensor([[[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]])
    points = torch.randn(50, 1, 3) + torch.tensor([0, 0, 5.0])
    assert (
        float(hull.compute_excess(points, torch.tensor([0]), K, torch.eye(4)[None]).abs().max())
        == 0
    )


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene()


def test_hidden_tracks_stay_inside_the_silhouette(truth):
    """With the hull, points that a frame hides are nearer to the truth than without."""
    tracks = lift_tracks(truth.rewound, truth.priors)
    n = tracks.visible.shape[1]
    rng = np.random.default_rng(0)
    hide = rng.random(len(tracks.xyz)) < 0.7
    tracks.visible[hide, n // 2 :] = False
    tracks.xy[hide, n // 2 :] += (
        rng.normal(size=(int(hide.sum()), 1, 2)).astype(np.float32) * 15
    )  # guesses gone astray
    out = {}
    for weight in (0.0, 5.0):
        config = replace(
            CONFIG,
            motion=replace(CONFIG.motion, hull=weight),
            rigidity=RigidityConfig(init_weight=0.0),
        )
        points = fit_motion(
            tracks, truth.rewound, truth.priors, config, Progress()
        ).compute_points()
        frames = torch.arange(n // 2, n)
        K, w2c = (
            torch.from_numpy(a)[frames] for a in (truth.priors.cameras.K, truth.priors.cameras.w2c)
        )
        out[weight] = float(
            Hull(truth.priors)
            .compute_excess(points[:, frames], frames, K, w2c)[torch.from_numpy(hide)]
            .mean()
        )
    assert out[5.0] < 0.5 * out[0.0]


def test_puppet_has_a_far_side_where_the_true_one_is(truth):
    """Without it the unseen half of the true surface has no Gaussian near; with it most of it
    has."""
    seam = truth.rewound.seam
    unseen = truth.points[~truth.visible.any(1), seam]
    unseen = unseen[unseen[:, 2] > 0.05]  # not the sole
    reach, psnr = {}, {}
    for on in (False, True):
        config = replace(CONFIG, fusion=replace(CONFIG.fusion, far_side=on))
        fusion = fit(truth.rewound, truth.priors, config, None, Progress())
        with torch.no_grad():
            reach[on] = KDTree(fusion.model.compute_positions(seam).numpy()).query(unseen)[0]
        psnr[on] = fusion.psnr(range(0, len(truth.rewound), 3))
        assert bool((fusion.model.far > 0).any()) == on
    assert np.median(reach[True]) < 0.6 * np.median(reach[False])
    assert psnr[True] > psnr[False] - 1


def test_guesses_of_where_hidden_points_are_in_the_picture_move_nothing(truth):
    """They go along with what is visible, which a far side does not: two fits whose guesses differ
    are the same."""
    tracks = truth.priors.tracks
    config = replace(CONFIG, motion=replace(CONFIG.motion, steps=20))
    guessed = replace(tracks, xy=tracks.xy.copy(), confidence=tracks.confidence.copy())
    extrapolate_occluded(truth.rewound, guessed)
    assert (~tracks.visible).sum() > 300
    means = []
    for shift in (0, 9):
        moved = np.where(tracks.visible[..., None], guessed.xy, guessed.xy + shift).astype(
            np.float32
        )
        lifted = lift_tracks(
            truth.rewound, replace(truth.priors, tracks=replace(guessed, xy=moved))
        )
        means.append(
            fit_motion(lifted, truth.rewound, truth.priors, config, Progress()).compute_points()
        )
    assert torch.equal(*means)


def test_a_refused_observation_says_nothing(truth):
    """A hidden point that is flagged as visible in one frame alone: neither its 3D nor its 2D place
    counts there, in no stage."""
    tracks = truth.priors.tracks
    flipped = replace(tracks, visible=tracks.visible.copy(), confidence=tracks.confidence.copy())
    near = flipped.visible.copy()
    for a, b in truth.rewound.neighbours():
        near[:, a] |= tracks.visible[:, b]
        near[:, b] |= tracks.visible[:, a]
    rows, frames = np.nonzero(~near)
    rows, first = np.unique(rows, return_index=True)
    flipped.visible[rows, frames[first]] = True
    fused = prepare_priors(
        truth.rewound, replace(truth.priors, tracks=flipped), FitConfig()
    )  # what fusion goes by
    lifted = lift_tracks(truth.rewound, fused)
    of = {row.tobytes(): i for i, row in enumerate(flipped.xy)}
    alone = {(row, frame) for row, frame in zip(rows, frames[first], strict=True)}
    found = [
        (k, t)
        for k, row in enumerate(lifted.xy)
        for t in range(len(truth.rewound))
        if (of[row.tobytes()], t) in alone
    ]
    assert len(found) > 20
    assert not any(lifted.visible[k, t] for k, t in found)
    assert all(lifted.confidence[k, t] == 0 for k, t in found)
    assert (lifted.confidence[lifted.visible] == 1).all()
    assert not fused.tracks.visible[rows, frames[first]].any()
    assert (fused.tracks.confidence[rows, frames[first]] == 0).all()
    assert fused.tracks.visible.sum() > 0.9 * tracks.visible.sum()
    again = reject_observations(truth.rewound, fused)
    assert np.array_equal(again.visible, fused.tracks.visible)
    assert np.array_equal(again.confidence, fused.tracks.confidence)
