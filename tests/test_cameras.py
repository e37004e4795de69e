"""Cameras: still, turning and travelling ones are told apart and found; every frame gets a pose."""

import cv2
import numpy as np
import pytest

from restage4d.clips import Cameras, Clip, rewind
from restage4d.errors import Cancelled
from restage4d.priors.cameras import focal as lens
from restage4d.priors.cameras import pan
from restage4d.priors.cameras.colmap import ColmapMap, map_tracks
from restage4d.priors.cameras.interpolation import interpolate_poses
from restage4d.priors.cameras.sfm import SfmCameras, SfmConfig
from restage4d.priors.motion.background_points import follow, triangulate
from restage4d.progress import Progress, TaskId

SIZE = (256, 160)


def rotation(axis: str, degrees: float) -> np.ndarray:
    vector = np.radians(degrees) * np.eye(3)["xyz".index(axis)]
    return cv2.Rodrigues(vector)[0]


def angle(R: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1))))


def intrinsics(focal: float) -> np.ndarray:
    return np.array([[focal, 0, SIZE[0] / 2], [0, focal, SIZE[1] / 2], [0, 0, 1.0]])


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise with structure at several sizes."""
    rng = np.random.default_rng(seed)
    total = sum(
        cv2.resize(
            rng.normal(size=(height // s, width // s, 3)).astype(np.float32),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        for s in (4, 10, 30)
    )
    return np.clip(128 + 40 * np.asarray(total), 0, 255).astype(np.uint8)


def turning_clip(count: int, focal: float, step: float = 1.2) -> tuple[Clip, np.ndarray]:
    """A camera on the spot, and its rotations from world to camera."""
    picture, K = texture(500, 900), intrinsics(focal)
    wide = np.array([[focal, 0, 450], [0, focal, 250], [0, 0, 1.0]])
    turns = np.stack(
        [
            rotation("x", 0.3 * np.sin(t)) @ rotation("y", -step * (t - count / 2))
            for t in range(count)
        ]
    )
    frames = [
        cv2.warpPerspective(picture, K @ R @ np.linalg.inv(wide), SIZE, flags=cv2.INTER_LINEAR)
        for R in turns
    ]
    return Clip(np.stack(frames).astype(np.uint8), 24.0), turns


def no_subject(clip: Clip) -> np.ndarray:
    return np.zeros(clip.frames.shape[:3], np.float32)


def test_a_still_camera_is_exactly_still_whatever_the_subject_does():
    rng = np.random.default_rng(1)
    frames = np.repeat(texture(SIZE[1], SIZE[0])[None], 12, 0)
    masks = np.zeros(frames.shape[:3], np.float32)
    for t in range(12):
        frames[t, 60:110, 20 + 15 * t : 60 + 15 * t] = texture(50, 40, seed=5)[
            :, : frames[t, 60:110, 20 + 15 * t : 60 + 15 * t].shape[1]
        ]
        masks[t, 60:110, 20 + 15 * t : 60 + 15 * t] = 1
    noisy = np.clip(frames + rng.normal(0, 2, frames.shape), 0, 255).astype(np.uint8)
    rewound = rewind(Clip(noisy[:8], 24.0), [Clip(np.concatenate([noisy[:1], noisy[9:]]), 24.0)])
    order = np.concatenate([np.arange(7, -1, -1), np.arange(9, 12)])
    provider = SfmCameras()
    found = provider.cameras(rewound, masks[order], Progress())
    assert found.kind == "static"
    assert (found.w2c == found.w2c[0]).all()
    assert found.K.shape == (11, 3, 3)
    assert provider.report is not None
    assert provider.report.note == ""


def test_without_any_background_the_camera_is_taken_to_stand_still_and_that_is_said():
    clip = Clip(np.full((6, SIZE[1], SIZE[0], 3), 200, np.uint8), 24.0)
    provider = SfmCameras()
    found = provider.cameras(rewind(clip, []), no_subject(clip), Progress())
    assert found.kind == "static"
    assert provider.report is not None
    assert "no background" in provider.report.note


def test_a_turning_camera_and_its_focal_length_are_found_and_a_steady_driving_video_stays_at_b0():
    focal = 1.5 * SIZE[0]
    base, turns = turning_clip(18, focal)
    hold = Clip(np.repeat(base.frames[:1], 6, 0), 24.0)
    rewound = rewind(base, [hold])
    provider = SfmCameras()
    found = provider.cameras(
        rewound, np.zeros((len(rewound), SIZE[1], SIZE[0]), np.float32), Progress()
    )
    assert found.kind == "pan"
    assert abs(found.K[0, 0, 0] / focal - 1) < 0.08
    assert (found.w2c[rewound.source == 1] == found.w2c[rewound.seam]).all(), (
        "the driving camera is exactly steady"
    )
    true = turns[::-1]
    for t in range(18):
        error = found.w2c[t, :3, :3] @ found.w2c[17, :3, :3].T @ (true[t] @ true[17].T).T
        assert angle(error) < 0.08 * angle(true[t] @ true[17].T) + 0.1
    assert np.abs(found.w2c[:, :3, 3]).max() < 1e-6


def test_a_still_base_with_a_driving_video_whose_camera_turns():
    turning, turns = turning_clip(10, 1.5 * SIZE[0])
    base = Clip(np.repeat(turning.frames[:1], 5, 0), 24.0)
    rewound = rewind(base, [turning])
    masks = np.zeros((len(rewound), SIZE[1], SIZE[0]), np.float32)
    found = SfmCameras(SfmConfig(focal=1.5)).cameras(rewound, masks, Progress())
    assert found.kind == "pan"
    assert (found.w2c[rewound.source == 0] == found.w2c[rewound.seam]).all()
    relative = found.w2c[-1, :3, :3] @ found.w2c[rewound.seam, :3, :3].T
    assert angle(relative @ (turns[-1] @ turns[0].T).T) < 0.3


def test_a_focal_length_that_is_given_is_kept():
    base, _ = turning_clip(6, 1.5 * SIZE[0])
    found = SfmCameras(SfmConfig(focal=1.1)).cameras(rewind(base, []), no_subject(base), Progress())
    np.testing.assert_allclose(found.K[:, 0, 0], 1.1 * SIZE[0])


def travelling(
    count: int, points: int = 260, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Tracks (P, T, 2), true w2c, points and focal length of a camera that travels past a ground
    and a wall."""
    rng = np.random.default_rng(seed)
    focal = 1.6 * SIZE[0]
    ground = np.stack(
        [
            rng.uniform(-4, 4, points // 2),
            np.full(points // 2, 1.0),
            rng.uniform(4, 12, points // 2),
        ],
        1,
    )
    wall = np.stack(
        [
            rng.uniform(-4, 4, points // 2),
            rng.uniform(-1.5, 1, points // 2),
            rng.uniform(9, 13, points // 2),
        ],
        1,
    )
    world = np.concatenate([ground, wall])
    w2c = np.tile(np.eye(4), (count, 1, 1))
    for t in range(count):
        R = rotation("x", -8) @ rotation("y", 0.8 * (t - count / 2))
        w2c[t, :3, :3] = R
        w2c[t, :3, 3] = -R @ [1.6 * t / count - 0.8, 0.05 * np.sin(t), 0.3 * t / count]
    local = np.einsum("tij,pj->pti", w2c[:, :3, :3], world) + w2c[:, :3, 3]
    xy = focal * local[..., :2] / local[..., 2:] + np.array(SIZE) / 2
    inside = ((xy > 0) & (xy < SIZE)).all(-1) & (local[..., 2] > 0.5)
    xy = np.where(inside[..., None], xy + rng.normal(0, 0.1, xy.shape), np.nan)
    return xy[inside.sum(1) >= 4], w2c, world[inside.sum(1) >= 4], focal


def placed(
    xy, w2c, focal: float, *, search: bool, timeout: float = 120.0, progress: Progress | None = None
) -> ColmapMap | str:
    keys = np.arange(0, xy.shape[1], 2)
    with (progress or Progress()).task(TaskId.CAMERAS, len(keys)) as task:
        return map_tracks(xy, keys, SIZE, [focal], search, 0, task, timeout)


def test_structure_from_motion_finds_path_points_and_focal_length_and_does_so_again():
    xy, w2c, _, focal = travelling(14)
    found = placed(xy, w2c, 1.3 * SIZE[0], search=True)
    assert isinstance(found, ColmapMap), found
    assert np.isfinite(found.w2c).all(), "frames that are not keyframes are placed, too"
    assert found.error < 0.25
    assert abs(found.focal / focal - 1) < 0.15
    centre = -np.einsum("tji,tj->ti", found.w2c[:, :3, :3], found.w2c[:, :3, 3])
    true = -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3])
    centre, true = centre - centre.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(true.T @ centre)
    aligned = centre @ (u @ vt).T * s.sum() / (centre**2).sum()
    assert np.linalg.norm(aligned - true, axis=1).max() < 0.08 * np.linalg.norm(true[-1] - true[0])
    again = placed(xy, w2c, 1.3 * SIZE[0], search=True)
    assert isinstance(again, ColmapMap)
    np.testing.assert_array_equal(found.w2c, again.w2c)


def test_structure_from_motion_that_finds_nothing_or_takes_too_long_says_so():
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 100, (60, 8, 2))
    assert "no map" in str(placed(noise, None, 300.0, search=False))
    xy, w2c, _, focal = travelling(8)
    assert "longer than" in str(placed(xy, w2c, focal, search=False, timeout=0.0))


def test_structure_from_motion_can_be_cancelled():
    xy, w2c, _, focal = travelling(14)
    asked = []
    progress = Progress(cancelled=lambda: len(asked.append(0) or asked) > 2)
    with pytest.raises(Cancelled):
        placed(xy, w2c, focal, search=True, progress=progress)


def test_known_cameras_place_background_points():
    xy, w2c, world, focal = travelling(10)
    K = np.tile(intrinsics(focal), (10, 1, 1)).astype(np.float32)
    points = triangulate(xy.astype(np.float32), Cameras(K, w2c.astype(np.float32), "moving"))
    assert len(points) > 0.6 * len(world)
    nearest = np.linalg.norm(points[:, None] - world[None], axis=-1).min(1)
    assert np.median(nearest) < 0.05
    still = Cameras(K, np.tile(np.eye(4, dtype=np.float32), (10, 1, 1)), "static")
    assert len(triangulate(np.repeat(xy[:, :1], 10, 1).astype(np.float32), still)) == 0, (
        "one place sees no depth"
    )


def test_a_travelling_camera_is_no_turning_one():
    xy, _, _, focal = travelling(12)
    pairs = [(i, j) for i in range(12) for j in range(i + 3, 12, 3)]
    assert not pan.check_rotation(xy, pairs, SIZE, focal)[0]
    turns = np.stack([rotation("y", 1.5 * t) for t in range(12)])
    rays = np.random.default_rng(0).normal(0, 0.12, (300, 3)) + np.array([0.15, 0, 1])
    local = np.einsum("tij,pj->pti", turns.transpose(0, 2, 1), rays)
    of_turn = focal * local[..., :2] / local[..., 2:] + np.array(SIZE) / 2
    assert pan.check_rotation(of_turn, pairs, SIZE, focal)[0]
    moved = of_turn.copy()
    moved[:90] += np.random.default_rng(1).normal(
        0, 6, (90, 12, 2)
    )  # what moves by itself does not count
    assert pan.check_rotation(moved, pairs, SIZE, focal)[0]


def test_background_points_keep_off_the_subject_and_stay_on_their_spot():
    base, turns = turning_clip(10, 1.5 * SIZE[0])
    rewound = rewind(base, [Clip(base.frames[[0, 2, 4]], 24.0)])
    masks = np.zeros((len(rewound), SIZE[1], SIZE[0]), np.float32)
    masks[:, 50:120, 100:170] = 1
    masks[:, 45:50, 100:170] = -1
    with Progress().task(TaskId.BACKGROUND_POINTS, len(rewound)) as task:
        xy = follow(rewound, masks, task)
    seen = np.isfinite(xy[..., 0])
    assert seen.sum(0).min() > 30
    inside = (xy[..., 0] > 100) & (xy[..., 0] < 170) & (xy[..., 1] > 45) & (xy[..., 1] < 120)
    assert not inside.any()
    K = intrinsics(1.5 * SIZE[0])
    a, b = 9, 4  # b_0 and five frames later in the base
    both = seen[:, a] & seen[:, b]
    H = K @ turns[5] @ turns[0].T @ np.linalg.inv(K)
    ahead = np.concatenate([xy[both, a], np.ones((both.sum(), 1))], 1) @ H.T
    assert np.median(np.linalg.norm(ahead[:, :2] / ahead[:, 2:] - xy[both, b], axis=1)) < 0.15
    far, near = seen[:, 10], seen[:, 7]
    same = far & near  # driving frame 1 is base frame 2: the same picture along another branch
    assert same.sum() > 20
    np.testing.assert_allclose(
        np.median(np.linalg.norm(xy[same, 10] - xy[same, 7], axis=1)), 0, atol=0.1
    )


def test_missing_poses_lie_between_their_neighbours_on_the_tree():
    parent = np.array([-1, 0, 1, 2, 3, 2, 5], np.int32)  # two branches from frame 2
    w2c = np.full((7, 4, 4), np.nan)
    for t, x in ((0, 0.0), (3, 3.0)):
        w2c[t] = np.eye(4)
        w2c[t, :3, :3] = rotation("y", 10 * x)
        w2c[t, :3, 3] = -w2c[t, :3, :3] @ [x, 0, 0]
    interpolate_poses(w2c, parent)
    centre = -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3])
    np.testing.assert_allclose(centre[:, 0], [0, 1, 2, 3, 3, 0, 0], atol=1e-9)
    assert abs(angle(w2c[1, :3, :3]) - 10) < 1e-6
    nothing = np.full((3, 4, 4), np.nan)
    interpolate_poses(nothing, np.array([-1, 0, 1], np.int32))
    np.testing.assert_array_equal(nothing, np.tile(np.eye(4), (3, 1, 1)))


def test_focal_guesses_lie_within_their_bounds():
    for size in ((384, 216), (216, 384), (300, 300)):
        assert lens.RATIOS[0] * max(size) < lens.guess_focal(size) < lens.RATIOS[1] * max(size)
    assert lens.compute_pull(100, 100) == 0
    assert lens.compute_pull(200, 100) > 0
    assert lens.compute_pull(200, 100) == pytest.approx(lens.compute_pull(50, 100))
