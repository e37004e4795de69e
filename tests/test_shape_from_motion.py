"""Shape from the subject's own motion: rigid bundle adjustment, and the depth that follows."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import hinge_scene

from restage4d.clips import Cameras, Clip, Priors, Tracks, rewind
from restage4d.reconstruct.motion import rigid_adjustment as rigid
from restage4d.reconstruct.motion.lifting import LiftedTracks, reject_observations
from restage4d.reconstruct.motion.linear_fit import fit_linear
from restage4d.reconstruct.motion.shape_from_motion import (
    adjust_body,
    measure_distance,
    refine_depth,
)

WIDTH, HEIGHT, FRAMES = 96, 72, 24
K = np.array([[120, 0, WIDTH / 2], [0, 120, HEIGHT / 2], [0, 0, 1.0]])
DISTANCE = 3.0
TURN = 60.0  # degrees over the clip
TRIPLES = np.stack([np.arange(FRAMES - 2), np.arange(1, FRAMES - 1), np.arange(2, FRAMES)], 1)


def _rotations(turn: float) -> np.ndarray:
    """About the picture's vertical."""
    angles = np.radians(turn) * np.linspace(0, 1, FRAMES)
    return np.stack(
        [[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles]
    )


def _observe(points: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    camera = np.einsum("tij,pj->pti", R, points) + t
    return (camera[..., :2] / camera[..., 2:]) * 120 + K[:2, 2]


def _rotation_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(rigid._logarithm(b @ a.T))))


@pytest.fixture
def body() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 3)) * [0.3, 0.15, 0.12]


def test_points_and_turn_are_found_from_a_squeezed_start(body):
    """Half the depth and half the turn are what a relief gives; noise of half a pixel."""
    rng = np.random.default_rng(1)
    R, t = _rotations(TURN), np.tile([0, 0, DISTANCE], (FRAMES, 1))
    xy = _observe(body, R, t) + rng.normal(size=(200, FRAMES, 2)) * 0.3
    found = rigid.adjust_rigid_body(
        xy, np.ones((200, FRAMES)), np.tile(K, (FRAMES, 1, 1)), body * [1, 1, 0.5],
        _rotations(TURN / 2), t, TRIPLES, np.full(FRAMES, DISTANCE),
        rigid.AdjustmentConfig(pixels=2.0, place=0.2),
    )  # fmt: skip
    turned = _rotation_between(found.R[0], found.R[-1])
    assert turned == pytest.approx(TURN, abs=5)
    slope = (found.points[:, 2] * body[:, 2]).sum() / (body[:, 2] ** 2).sum()
    assert slope > 0.85
    assert (found.agreement > 0.9).mean() > 0.9


def test_points_that_go_their_own_way_do_not_agree_and_do_no_harm(body):
    R, t = _rotations(TURN), np.tile([0, 0, DISTANCE], (FRAMES, 1))
    xy = _observe(body, R, t)
    xy[:40, :, 1] += np.linspace(0, 25, FRAMES)  # a limb that swings
    found = rigid.adjust_rigid_body(
        xy, np.ones((200, FRAMES)), np.tile(K, (FRAMES, 1, 1)), body, _rotations(TURN / 2), t,
        TRIPLES, np.full(FRAMES, DISTANCE), rigid.AdjustmentConfig(pixels=2.0, place=0.2),
    )  # fmt: skip
    assert _rotation_between(found.R[0], found.R[-1]) == pytest.approx(TURN, abs=5)
    assert found.agreement[:40, -1].max() < 0.2
    assert found.agreement[40:, -1].min() > 0.8


def test_a_body_that_grows_stays_at_the_distance_that_is_known(body):
    """A tenth larger in the picture at the end: a pose that opens, not a step forwards."""
    R, t = _rotations(30), np.tile([0, 0, DISTANCE], (FRAMES, 1))
    grown = np.linspace(1, 1.1, FRAMES)[:, None]
    camera = np.einsum("tij,pj->pti", R, body) * grown + t
    xy = (camera[..., :2] / camera[..., 2:]) * 120 + K[:2, 2]
    config = rigid.AdjustmentConfig(pixels=2.0, place=0.2)
    known, unknown = (
        rigid.adjust_rigid_body(
            xy, np.ones((200, FRAMES)), np.tile(K, (FRAMES, 1, 1)), body, R, t, TRIPLES,
            distance, config,
        ).t[:, 2]
        for distance in (np.full(FRAMES, DISTANCE), np.zeros(FRAMES))
    )  # fmt: skip
    assert np.ptp(known) < 0.02 * DISTANCE
    assert np.ptp(unknown) > 0.07 * DISTANCE


def test_derivatives_are_those_of_the_reprojection(body):
    R, t = _rotations(TURN)[:3], np.tile([0.1, -0.2, DISTANCE], (3, 1))
    Ks, xy, few = np.tile(K, (3, 1, 1)), np.zeros((5, 3, 2)), body[:5]
    error, by_pose, by_point = rigid._linearise(xy, Ks, few, R, t)
    step = 1e-6
    for i in range(6):
        change = np.zeros((3, 6))
        change[:, i] = step
        moved = rigid._linearise(
            xy, Ks, few, rigid._exponential(change[:, :3]) @ R, t + change[:, 3:]
        )[0]
        assert (moved - error) / step == pytest.approx(by_pose[..., i], abs=1e-3)
    for i in range(3):
        moved = rigid._linearise(xy, Ks, few + step * np.eye(3)[i], R, t)[0]
        assert (moved - error) / step == pytest.approx(by_point[..., i], abs=1e-3)


def test_logarithm_undoes_the_exponential():
    v = np.random.default_rng(3).normal(size=(50, 3))
    v *= (np.random.default_rng(4).uniform(0, 3, 50) / np.linalg.norm(v, axis=1))[:, None]
    assert rigid._logarithm(rigid._exponential(v)) == pytest.approx(v, abs=1e-6)
    assert rigid._logarithm(np.eye(3)) == pytest.approx(np.zeros(3))


def test_slope_is_the_lines_whatever_a_few_say():
    x = np.linspace(0, 50, 200)
    values = 0.01 * x + 3
    values[:30] += 5
    slope, height = fit_linear(np.stack([x, np.ones(200)], 1), values)
    assert slope == pytest.approx(0.01, abs=1e-3)
    assert height == pytest.approx(3, abs=0.05)


def _scene(turn: float, squeeze: float) -> tuple:
    """A slab that turns about its upright middle before a still camera, as truth and as priors
    whose depth shows ``squeeze`` of it."""
    R, t = _rotations(turn), np.tile([0, 0, DISTANCE], (FRAMES, 1))
    rng = np.random.default_rng(5)
    slab = np.stack(
        [rng.uniform(-0.5, 0.5, 400), rng.uniform(-0.3, 0.3, 400), rng.uniform(-0.02, 0.02, 400)], 1
    )
    xy = _observe(slab, R, t)
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)
    true = np.full((FRAMES, HEIGHT, WIDTH), 6, np.float32)
    x = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / 120
    for i in range(FRAMES):
        a = np.radians(turn) * i / (FRAMES - 1)
        z = DISTANCE / (1 + np.tan(a) * x)  # the slab's plane: z = D - tan(a) X
        wide = (np.abs(x * z) < 0.5 * np.cos(a))[None, :]
        rows = np.abs(np.arange(HEIGHT) + 0.5 - HEIGHT / 2)[:, None] < 0.3 / z * 120
        masks[i] = wide & rows
        true[i] = np.where(masks[i] > 0, z, 6)
    depth = np.where(masks > 0, DISTANCE + squeeze * (true - DISTANCE), 6).astype(np.float32)
    clip = Clip(np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8), 24.0)
    rewound = rewind(clip, [])
    order = rewound.index
    w2c = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
    tracks = Tracks(
        xy[:, order].astype(np.float32), np.ones((400, FRAMES), bool),
        np.ones((400, FRAMES), np.float32), np.zeros(400, np.int32),
    )  # fmt: skip
    cameras = Cameras(np.tile(K, (FRAMES, 1, 1)).astype(np.float32), w2c, "static")
    return rewound, Priors(masks[order], depth[order], cameras, tracks), true[order]


def _measure_slope(depth: np.ndarray, true: np.ndarray, masks: np.ndarray) -> float:
    inside = masks > 0.5
    a, b = depth[inside] - DISTANCE, true[inside] - DISTANCE
    return float((a * b).sum() / (b * b).sum())


def test_depth_gets_the_turn_of_the_tracks():
    rewound, priors, true = _scene(turn=45, squeeze=0.3)
    assert _measure_slope(priors.depth, true, priors.masks) == pytest.approx(0.3, abs=0.02)
    found = refine_depth(rewound, priors)
    assert _measure_slope(found, true, priors.masks) > 0.8
    outside = priors.masks < 0.5
    assert np.array_equal(found[outside], priors.depth[outside])


def test_depth_gets_the_distance_of_the_tracks_where_feet_mislead():
    """A squeezed turn about the foot at one end, on which it stands: the middle seems to come."""
    rewound, priors, true = _scene(turn=45, squeeze=0.3)
    inside = priors.masks > 0.5
    first = [true[t][:, np.flatnonzero(inside[t].any(0))[0]].min() for t in range(FRAMES)]
    foot = np.array(first)[:, None, None]
    squeezed = np.where(inside, foot + 0.3 * (true - foot), 6).astype(np.float32)
    found = refine_depth(rewound, replace(priors, depth=squeezed))
    before, after = (
        np.ptp([np.median(d[t][inside[t]]) for t in range(FRAMES)]) for d in (squeezed, found)
    )
    assert before > 0.2
    assert after < 0.7 * before


def test_points_that_the_first_frames_hide_lie_where_later_frames_show_them():
    """A far flank, carried to the canonical frame too near by half: its tracks tell little of its
    depth while the body turns by 12 degrees, but the frames that show it have it right."""
    rewound, priors, _ = _scene(turn=12, squeeze=1.0)
    R, t = _rotations(12), np.tile([0, 0, DISTANCE], (FRAMES, 1))
    rng = np.random.default_rng(6)
    points = rng.normal(size=(160, 3)) * [0.3, 0.2, 0.05] + [0, 0, -0.2]
    points[80:, 2] += 0.4
    true = np.einsum("tij,pj->pti", R, points) + t
    xyz, visible = true.copy(), np.ones((160, FRAMES), bool)
    visible[80:, : FRAMES // 2] = False
    xyz[80:, : FRAMES // 2, 2] -= 0.2
    order = rewound.index
    tracks = LiftedTracks(
        xyz[:, order].astype(np.float32), _observe(points, R, t)[:, order].astype(np.float32),
        visible[:, order], np.ones((160, FRAMES), np.float32), int(np.flatnonzero(order == 0)[0]),
    )  # fmt: skip
    found = adjust_body(tracks, rewound, priors).compute_places()[:, order == 0, 2][:, 0]
    deep = np.median(found[80:]) - np.median(found[:80])
    assert deep == pytest.approx(0.4, abs=0.05)


def test_a_long_body_seen_end_on_is_as_far_as_its_points_say():
    """Its outline there is narrow: by that the middle lay a tenth of the distance too near."""
    rewound, priors, _ = _scene(turn=90, squeeze=1.0)
    R, t = _rotations(90), np.tile([0, 0, DISTANCE], (FRAMES, 1))
    rng = np.random.default_rng(7)
    points = rng.uniform(-1, 1, (300, 3)) * [0.5, 0.15, 0.1]
    xyz = np.einsum("tij,pj->pti", R, points) + t
    order = rewound.index
    visible = (xyz[..., 2] < np.quantile(xyz[..., 2], 0.6, axis=0))[:, order]  # the near half
    tracks = LiftedTracks(
        xyz[:, order].astype(np.float32), _observe(points, R, t)[:, order].astype(np.float32),
        visible, np.ones((300, FRAMES), np.float32), int(np.flatnonzero(order == 0)[0]),
    )  # fmt: skip
    nearest = xyz[..., 2].min(0)[order][:, None, None] + np.zeros((HEIGHT, WIDTH))
    masks = np.zeros_like(priors.masks)
    masks[:, 30:42, 44:52] = 1
    priors = replace(priors, masks=masks, depth=nearest.astype(np.float32))
    assert measure_distance(priors)[order == FRAMES - 1] < 0.9 * DISTANCE
    found = adjust_body(tracks, rewound, priors).compute_places()[..., 2].mean(0)
    assert np.abs(found / DISTANCE - 1).max() < 0.06


def test_distance_is_that_of_the_middle_behind_the_surface():
    """A disc of radius 20 is 20 / sqrt(2) pixels thick in its middle, its median less."""
    _, priors, _ = _scene(turn=0.0, squeeze=1.0)
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    disc = (np.hypot(row - 36, column - 48) < 20).astype(np.float32)
    masks = np.tile(disc, (FRAMES, 1, 1))
    masks[3] = 0
    found = measure_distance(replace(priors, masks=masks, depth=np.full_like(priors.depth, 2)))
    assert found[3] == 0
    half = 20 / np.sqrt(2) / 120  # in the middle
    assert found[0] == pytest.approx(2 * (1 + half * np.sqrt(0.5)), rel=0.01)


def test_depth_that_turns_already_is_left_alone():
    rewound, priors, _ = _scene(turn=45, squeeze=1.0)
    assert np.array_equal(refine_depth(rewound, priors), priors.depth)


def test_right_depth_of_a_body_with_a_joint_is_left_alone():
    """One rigid body is not what moves there; the distances of neighbours tell that depth is
    right."""
    truth = hinge_scene()
    priors = replace(truth.priors, tracks=reject_observations(truth.rewound, truth.priors))
    assert np.array_equal(refine_depth(truth.rewound, priors), priors.depth)


def test_a_still_subject_is_left_alone():
    rewound, priors, _ = _scene(turn=0.0, squeeze=1.0)
    bumpy = priors.depth * (1 + 0.02 * np.sin(np.arange(WIDTH) / 7, dtype=np.float32))
    priors = replace(priors, depth=bumpy)
    assert np.array_equal(refine_depth(rewound, priors), bumpy)


def test_too_few_tracks_leave_depth_as_it_is():
    rewound, priors, _ = _scene(turn=45, squeeze=0.3)
    few = Tracks(*(a[:5] for a in vars(priors.tracks).values()))
    priors = replace(priors, tracks=few)
    assert np.array_equal(refine_depth(rewound, priors), priors.depth)


def test_a_frame_without_tracks_goes_by_its_neighbours():
    """Its depth turns along, so that the body does not jump for one frame."""
    rewound, priors, true = _scene(turn=45, squeeze=0.3)
    gap = 3  # of the rewound clip; 20 in playing order, where the turn is large
    tracks = replace(priors.tracks, visible=priors.tracks.visible.copy())
    tracks.visible[:, gap] = False
    found = refine_depth(rewound, replace(priors, tracks=tracks))
    at = [
        _measure_slope(found[t : t + 1], true[t : t + 1], priors.masks[t : t + 1])
        for t in (gap - 1, gap, gap + 1)
    ]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2, abs=0.05)
    assert at[1] > 0.6
