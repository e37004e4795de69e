"""Relief depth: the subject stands on the ground at a steady distance, before one background that
every camera agrees on."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from planks import (
    FOCAL,
    H,
    W,
    camera_from_world,
    cameras_of,
    draw,
    frames,
    ground_points,
    plank,
    still_scene,
)

from restage4d.clips import (
    Cameras,
    rewind,
)
from restage4d.io.arrays import mask_picture
from restage4d.priors.cameras.sfm import SfmCameras
from restage4d.priors.depth.backdrop import Backdrop
from restage4d.priors.depth.relief import ReliefDepth
from restage4d.priors.depth.stance import StanceConfig, find_stance
from restage4d.priors.depth.turn import find_soles
from restage4d.priors.geometry import ground
from restage4d.priors.geometry.ground import Ground
from restage4d.priors.geometry.world import align_world
from restage4d.progress import Progress

DEMO = Path(__file__).parent.parent / "scripts" / "demo_clip"


def test_the_ground_is_found_under_the_points_that_are_on_it():
    rng = np.random.default_rng(0)
    wall = np.stack([rng.uniform(-4, 4, 200), np.full(200, 8.0), rng.uniform(0, 3, 200)], 1)
    poses = [camera_from_world([0.2 * t, 0, 1.5], 0.02 * t) for t in range(8)]
    masks = np.stack([draw(p, plank(0, 4)) for p in poses])
    points = np.concatenate([ground_points(rng), wall])
    tilt = cv2.Rodrigues(np.array([0.4, -0.3, 0.2]))[0]  # the world of SfM is any
    turned = np.stack(
        [
            p @ np.block([[tilt.T, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
            for p in poses
        ]
    )
    cameras = cameras_of(turned, "moving", points @ tilt.T)
    found = ground.fit_ground(
        cameras, ground.measure_footprint(masks), cameras.points.astype(np.float64)
    )
    assert found is not None
    assert np.degrees(np.arccos(found.up @ tilt[:, 2])) < 0.5
    assert abs(found.level) < 0.02


def test_without_points_up_is_guessed_from_level_cameras():
    yaws = np.linspace(-0.35, 0.35, 9)
    poses = [camera_from_world([0, 0, 0], yaw) for yaw in yaws]
    masks = np.stack(
        [
            draw(
                camera_from_world([0, 0, 1.5], yaw),
                plank(5 * np.sin(yaw), 5 * np.cos(yaw), turn=-yaw),
            )
            for yaw in yaws
        ]
    )
    found = ground.guess_ground(cameras_of(poses, "pan"), ground.measure_footprint(masks))
    assert np.degrees(np.arccos(found.up[2])) < 4, "a camera that turns shows its axis"
    feet = ground.measure_footprint(masks)
    low = ground.compute_directions(cameras_of(poses, "pan"), np.arange(9), feet.contact)
    assert (low @ found.up < 0).all(), "the subject stands below the horizon"


def test_a_subject_is_turned_as_its_feet_stand():
    turn = np.radians(35)
    rewound = rewind(frames(12), [])
    pose = camera_from_world([0, 0, 1.5])
    body = [
        plank(0, 5, 0.5, 1.6, 0.6, turn),
        plank(-0.6, 5 - 0.6 * np.tan(turn), 0, 0.15, 0.7),
        plank(0.6, 5 + 0.6 * np.tan(turn), 0, 0.15, 0.7),
    ]
    mask = np.max([draw(pose, part) for part in body], 0)
    masks = np.repeat(mask[None], 12, 0)
    cameras = cameras_of([pose] * 12, "static")
    stance = find_stance(
        rewound,
        masks,
        cameras,
        ground.measure_footprint(masks),
        Ground(np.array([0, 0, 1.0]), 0.0),
        StanceConfig(),
    )
    slope = -stance.normal[5, 0] / stance.normal[5, 1]
    assert 0.6 * np.tan(turn) < slope < 1.3 * np.tan(turn)


def test_soles_are_the_lowest_places_of_the_outline():
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:70] = True
    mask[40:55, 15:20] = True
    mask[40:50, 60:66] = True
    np.testing.assert_allclose(find_soles(mask, 54, 10), [[17.5, 55], [63, 50]])


def test_what_is_held_aside_is_no_sole():
    mask = np.zeros((60, 80), bool)
    mask[10:55, 30:50] = True
    mask[44:48, 5:30] = True  # a sword, its edge within the lowest third
    mask[48, 8:12] = True
    np.testing.assert_allclose(find_soles(mask, 54, 10), [[40, 55]])
    low = np.zeros((60, 80), bool)  # nothing as high as a body: every sole counts
    low[10:14, 60:70] = True
    low[50:55, 10:20] = True
    np.testing.assert_allclose(find_soles(low, 54, 10), [[15, 55]])


def test_the_background_is_one_surface_for_all_cameras_and_behind_the_subject():
    rng = np.random.default_rng(2)
    wall = np.stack([rng.uniform(-4, 4, 300), np.full(300, 8.0), rng.uniform(0.3, 3, 300)], 1)
    poses = [camera_from_world([0.25 * t, -0.1 * t, 1.5], -0.03 * t) for t in range(6)]
    cameras = cameras_of(poses, "moving", np.concatenate([ground_points(rng), wall]))
    backdrop = Backdrop(
        cameras,
        Ground(np.array([0, 0, 1.0]), 0.0),
        cameras.points.astype(np.float64),
        9.0,
        (W, H),
        np.array([[0, 4, 0.0]]),
    )
    maps = [backdrop.compute_depth(t) for t in range(6)]
    rows, cols = (v.ravel() for v in np.mgrid[2:H:6, 2:W:6])
    for t in (0, 5):
        ray = ground.compute_directions(
            cameras, np.full(len(rows), t), np.stack([cols + 0.5, rows + 0.5], 1)
        )
        points = ground.compute_centres(cameras)[t] + maps[t][rows, cols][:, None] * ray
        high = points[:, 2] > 0.4
        assert np.abs(points[~high & (points[:, 1] < 7), 2]).max() < 0.1, (
            "the ground is where it is"
        )
        assert np.abs(np.median(points[high, 1]) - 8) < 0.4, "the wall is where its points are"
        other = points @ poses[2][:3, :3].T + poses[2][:3, 3]
        xy = np.floor(FOCAL * other[:, :2] / other[:, 2:] + [W / 2, H / 2]).astype(int)
        inside = (xy >= 0).all(1) & (xy[:, 0] < W) & (xy[:, 1] < H)
        seen = maps[2][xy[inside, 1], xy[inside, 0]]
        assert np.median(np.abs(seen / other[inside, 2] - 1)) < 0.01, (
            "frames agree with one another"
        )


def test_unknown_bands_stay_unknown_and_frames_without_a_subject_are_background():
    walk = [(0, 4, 0)] * 6
    rewound, masks, cameras = still_scene(walk, [(0, 4, 0)] * 3)
    masks[:, 55:57] = -1
    masks[2] = 0
    depth = ReliefDepth().depth(rewound, masks, cameras, Progress())
    assert (depth[masks == -1] == 0).all()
    assert (depth[masks != -1] > 0).all()
    assert np.isfinite(depth).all()
    nothing = ReliefDepth().depth(rewound, np.zeros_like(masks), cameras, Progress())
    assert np.isfinite(nothing).all()
    assert (nothing > 0).all()


@pytest.mark.parametrize("kind", ["static", "pan"])
def test_cameras_without_points_give_a_subject_on_a_ground_before_a_wall(kind: str):
    yaws = np.zeros(8) if kind == "static" else np.linspace(-0.2, 0.2, 8)
    rewound = rewind(frames(8), [])
    poses = [camera_from_world([0, 0, 0], yaw) for yaw in yaws]
    masks = np.stack([draw(camera_from_world([0, 0, 1.5], yaw), plank(0, 5)) for yaw in yaws])
    cameras = cameras_of(poses, kind)
    depth = ReliefDepth().depth(rewound, masks, cameras, Progress())
    for t in (0, 7):
        rows, cols = np.nonzero(masks[t] > 0.5)
        beside = depth[t][rows.min(), max(cols.min() - 8, 0)]
        assert beside > 1.1 * depth[t][masks[t] > 0.5].max(), "the wall is behind"
        assert depth[t][H - 1, W // 2] < depth[t][masks[t] > 0.5].min(), (
            "the ground in front is nearer"
        )
    aligned, moved, metres = align_world(rewound, masks, depth, cameras)
    assert 0.1 <= metres <= 20
    assert np.isfinite(moved.w2c).all()
    assert np.isfinite(aligned).all()


def test_the_world_stands_on_z_and_the_subject_has_extent_one():
    walk = [(0.3 + 0.02 * t, 4, 0) for t in range(10)]
    rewound, masks, cameras = still_scene(walk, [(0.3, 4, 0)] * 3)
    tilt = np.eye(4)
    tilt[:3, :3] = cv2.Rodrigues(np.array([0.5, 0.4, -0.2]))[0]
    tilt[:3, 3] = 3.0, -2.0, 5.0
    poses = (cameras.w2c @ np.linalg.inv(tilt)).astype(np.float32)
    points = (cameras.points @ tilt[:3, :3].T + tilt[:3, 3]).astype(np.float32)
    cameras = Cameras(cameras.K, poses, "static", points)
    depth = 7.5 * ReliefDepth().depth(rewound, masks, cameras, Progress())
    cameras = Cameras(
        cameras.K,
        np.concatenate(
            [np.concatenate([poses[:, :3, :3], 7.5 * poses[:, :3, 3:]], 2), poses[:, 3:]], 1
        ),
        "static",
        7.5 * points,
    )
    aligned, moved, metres = align_world(rewound, masks, depth, cameras)
    t = rewound.seam
    rows, cols = np.nonzero(masks[t] > 0.5)
    ray = ground.compute_directions(
        moved, np.full(len(rows), t), np.stack([cols, rows], 1).astype(np.float64) + 0.5
    )
    subject = ground.compute_centres(moved)[t] + aligned[t][rows, cols][:, None] * ray
    assert np.linalg.norm(
        np.diff(np.percentile(subject, [2, 98], axis=0), axis=0)
    ) == pytest.approx(1, abs=1e-3)
    assert abs(subject[:, 2].min()) < 0.03, "it stands on the ground"
    assert np.abs(np.median(subject[:, :2], 0)).max() < 0.3, "at the origin"
    assert np.abs(moved.points[:, 2]).max() < 0.05, "which is at z = 0"
    np.testing.assert_allclose(moved.w2c[t, 0, 2], 0, atol=0.01)
    assert moved.w2c[t, 2, 1] > 0.9, "b_0's camera looks along +Y"
    before = cameras.points @ cameras.w2c[t, :3, :3].T + cameras.w2c[t, :3, 3]
    after = moved.points @ moved.w2c[t, :3, :3].T + moved.w2c[t, :3, 3]
    np.testing.assert_allclose(
        after / after[:, 2:],
        before / before[:, 2:],
        atol=1e-3,
        err_msg="pixels stay where they were",
    )
    assert metres * ground.compute_centres(moved)[t, 2] == pytest.approx(1.5, rel=0.01)


@pytest.mark.slow
@pytest.mark.skipif(not (DEMO / "base.mp4").exists(), reason="the demo clip is not there")
def test_cameras_and_depth_of_the_demo_clip_match_its_truth():
    from restage4d.io import video

    base = video.decode(DEMO / "base.mp4", longer_side=384, max_frames=240)
    width = base.size[0]
    masks = [mask_picture(DEMO / "masks" / f"{i:05d}.png") for i in range(len(base))]
    rewound = rewind(base, [])
    order = rewound.index
    small = np.stack([cv2.resize(m, base.size, interpolation=cv2.INTER_AREA) > 127 for m in masks])[
        order
    ].astype(np.float32)
    with np.load(DEMO / "cameras.npz") as file:
        K, w2c = file["K"][order], file["w2c"][order]
    with np.load(DEMO / "depth.npz") as file:
        true = np.stack(
            [
                cv2.resize(d.astype(np.float32), base.size, interpolation=cv2.INTER_NEAREST)
                for d in file["depth"]
            ]
        )[order]
    cameras = SfmCameras().cameras(rewound, small, Progress())
    assert cameras.K[0, 0, 0] / width == pytest.approx(K[0, 0, 0] / (2 * K[0, 0, 2]), rel=0.05)
    turned = (
        cameras.w2c[0, :3, :3] @ cameras.w2c[-1, :3, :3].T @ (w2c[0, :3, :3] @ w2c[-1, :3, :3].T).T
    )
    assert np.degrees(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))) < 1.0
    depth = ReliefDepth().depth(rewound, small, cameras, Progress())
    ratio = np.array(
        [
            np.median((d / g)[(m > 0.5) & (g > 0)])
            for d, g, m in zip(depth, true, small, strict=True)
        ]
    )
    assert (ratio / np.median(ratio)).std() < 0.015, json.dumps(ratio.tolist())
    off = np.abs(np.log(depth / np.where(true > 0, true, np.nan) / np.median(ratio)))
    assert np.nanmedian(off[small > 0.5]) < 0.03
    assert np.nanmedian(off[small == 0]) < 0.05
