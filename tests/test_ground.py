"""Ground, lean and backdrop where the scene misleads: a bank of spectators, a steep camera, a wall
before the subject."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from planks import camera_from_world, cameras_of, draw, frames, ground_points, plank

from restage4d.clips import Cameras, Clip, Selection, rewind
from restage4d.io import video
from restage4d.io.arrays import mask_picture
from restage4d.priors.cameras.sfm import SfmCameras
from restage4d.priors.depth.relief import ReliefDepth
from restage4d.priors.depth.stance import StanceConfig, find_stance
from restage4d.priors.geometry import ground
from restage4d.priors.geometry.ground import Ground
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.progress import Progress

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
LEVEL = Ground(np.array([0, 0, 1.0]), 0.0)


def measure_pitch(cameras: Cameras, found: Ground, t: int = 0) -> float:
    return float(np.degrees(np.arcsin(-cameras.w2c[t, 2, :3] @ found.up)))


def lift(depth: np.ndarray, where: np.ndarray, cameras: Cameras, t: int) -> np.ndarray:
    """World points (M, 3) of a depth map."""
    rows, cols = np.nonzero(where)
    xy = np.stack([cols, rows], 1).astype(np.float64) + 0.5
    ray = ground.compute_directions(cameras, np.full(len(rows), t), xy)
    return ground.compute_centres(cameras)[t] + depth[rows, cols][:, None] * ray


def bank_scene(on_the_ground: int, slope: float = 50) -> tuple[Cameras, np.ndarray, np.ndarray]:
    """A plank before 300 spectators on a bank of ``slope`` degrees; cameras look 15° down, thus by
    15° + ``slope`` at the bank."""
    rng = np.random.default_rng(0)
    y = rng.uniform(6, 7.5, 300)
    bank = np.stack([rng.uniform(-2.5, 2.5, 300), y, (y - 6) * np.tan(np.radians(slope))], 1)
    bank += rng.normal(0, 0.01, bank.shape)
    points = np.concatenate([bank, ground_points(rng, on_the_ground)])
    poses = [camera_from_world([0.1 * t, 0, 1.5]) for t in range(8)]
    masks = np.stack([draw(p, plank(0, 4, tall=1.3)) for p in poses])
    cameras = cameras_of(poses, "moving", points)
    return cameras, masks, cameras.points.astype(np.float64)


@pytest.mark.parametrize(("on_the_ground", "slope"), [(120, 50), (60, 18)])
def test_a_bank_with_more_points_than_the_ground_is_not_the_ground(on_the_ground, slope):
    """A gentle bank is told by where the subject's feet are alone."""
    cameras, masks, points = bank_scene(on_the_ground, slope)
    found = ground.fit_ground(cameras, ground.measure_footprint(masks), points)
    assert found is not None
    assert measure_pitch(cameras, found) == pytest.approx(15, abs=1.5)
    assert abs(found.level) < 0.1


def test_a_steep_plane_that_a_third_of_the_points_supports_is_refused():
    cameras, masks, points = bank_scene(0)
    feet = ground.measure_footprint(masks)
    steep = ground.fit_ground(cameras, feet, points)
    assert steep is not None
    assert measure_pitch(cameras, steep) == pytest.approx(65, abs=1), "nothing else is there"
    wild = np.random.default_rng(1).uniform([-3, 4, 0.2], [3, 12, 4], (600, 3))
    points = np.concatenate([points, wild])
    assert 0 < measure_pitch(cameras, ground.find_ground(cameras, feet, points)) < 30


@pytest.mark.parametrize("pitch", [40, 60, 75])
def test_a_steep_camera_above_a_ground_that_points_show_is_steep(pitch: int):
    tilt = np.radians(pitch)
    eye = 3 * np.array([0, -np.cos(tilt), np.sin(tilt)])
    poses = [camera_from_world(eye + np.array([0.05 * t, 0, 0]), 0, tilt) for t in range(8)]
    masks = np.stack([draw(p, plank(0, 0, wide=0.5, tall=0.4)) for p in poses])
    rng = np.random.default_rng(3)
    flat = rng.uniform([-1.5, -1.2, 0], [1.5, 1.5, 0], (200, 3)) + rng.normal(0, 0.01, (200, 3))
    stray = rng.uniform([-1.5, -1.2, 0.2], [1.5, 1.5, 1], (40, 3))
    cameras = cameras_of(poses, "moving", np.concatenate([flat, stray]))
    found = ground.fit_ground(
        cameras, ground.measure_footprint(masks), cameras.points.astype(np.float64)
    )
    assert found is not None
    assert measure_pitch(cameras, found) == pytest.approx(pitch, abs=1)


def test_how_much_support_is_needed_depends_on_what_is_said_of_the_camera():
    def need(pitch: float, roll: float = 0.0) -> float:
        pose = camera_from_world([0, 0, 1.5], 0, np.radians(pitch))
        turn = np.eye(4)
        turn[:3, :3] = cv2.Rodrigues(np.array([0, 0, np.radians(roll)]))[0]
        return ground.compute_needed_support(cameras_of([turn @ pose] * 3, "static"), LEVEL.up)

    assert [need(p) for p in (-5, 15, 35)] == pytest.approx([0.15] * 3, abs=1e-4)
    assert need(45) == pytest.approx(0.375, abs=1e-4)
    assert need(-15) == pytest.approx(0.375, abs=1e-4)
    assert [need(p) for p in (55, 75)] == pytest.approx([0.6, 0.6], abs=1e-4)
    assert [need(p) for p in (80, 89)] == pytest.approx([0.85, 0.85], abs=1e-4)
    assert need(15, 10) == pytest.approx(0.15, abs=0.01)
    assert need(0, 20) == pytest.approx(0.375, abs=1e-3)


def test_without_points_a_camera_may_look_far_down_or_up():
    yaws = np.linspace(-0.35, 0.35, 9)  # a camera that turns shows its axis
    for pitch in (-8, 12, 38):
        tilt = np.radians(pitch)
        far, eye = (1.9, 1.5) if pitch == 38 else (7, 1.1)
        masks = np.stack(
            [
                draw(
                    camera_from_world([0, 0, eye], yaw, tilt),
                    plank(far * np.sin(yaw), far * np.cos(yaw), wide=0.4, tall=0.5, turn=-yaw),
                )
                for yaw in yaws
            ]
        )
        cameras = cameras_of([camera_from_world([0, 0, 0], yaw, tilt) for yaw in yaws], "pan")
        found = ground.guess_ground(cameras, ground.measure_footprint(masks))
        assert measure_pitch(cameras, found) == pytest.approx(pitch, abs=4)


def box(wide: float, long: float, tall: float, z: float = 0.0) -> np.ndarray:
    """Corners of a box at the origin, which is in the middle of the side towards the camera."""
    return np.array(
        [[x * wide / 2, y * long, z + h * tall] for x in (-1, 1) for y in (0, 1) for h in (0, 1)]
    )


def seen_from(pitch: float, corners: np.ndarray, eye: float = 3.0):
    """Twelve still frames of a thing at the origin, and their stance over a known ground."""
    tilt = np.radians(pitch)
    pose = camera_from_world([0, -eye / np.tan(tilt), eye], 0, tilt)
    mask = draw(pose, corners)
    masks = np.repeat(mask[None], 12, 0)
    cameras = cameras_of([pose] * 12, "static", ground_points(np.random.default_rng(4)))
    rewound = rewind(frames(12), [])
    feet = ground.measure_footprint(masks)
    stance = find_stance(rewound, masks, cameras, feet, LEVEL, StanceConfig())
    normal = stance.normal[5] / np.linalg.norm(stance.normal[5])
    return np.degrees(np.arcsin(-normal[2])), stance, masks, cameras, rewound


def test_an_animal_end_on_from_above_lies_along_the_ground():
    body = box(0.25, 0.8, 0.3)
    lean, stance, masks, cameras, rewound = seen_from(50, body)
    assert 55 < lean < 90
    np.testing.assert_allclose(stance.place[5, 1:], 0, atol=0.06)
    depth = ReliefDepth().depth(rewound, masks, cameras, Progress())[5]
    points = lift(depth, masks[5] > 0.5, cameras, 5)
    low, high = np.percentile(points, [2, 98], axis=0)
    assert 0.5 < high[1] - low[1] < 1.3, "as long as it is, which is 0.8"
    assert high[2] - low[2] < 0.55, "and not stood up, which would be 0.9"
    steeper = seen_from(80, body, eye=5)[0]
    assert steeper > 80


def test_what_is_not_seen_from_above_stands_upright():
    assert seen_from(12, box(0.25, 0.8, 0.3))[0] == pytest.approx(0, abs=1)
    person = box(0.5, 0.2, 1.9)  # its head is nearly as high as the camera
    assert seen_from(35, person, eye=2.2)[0] < 12
    assert seen_from(30, box(1.2, 0.25, 0.5))[0] < 5, "an animal in profile shows its side"
    assert seen_from(50, box(1.2, 0.25, 0.5))[0] < 35


def test_the_lean_does_not_follow_a_single_odd_frame():
    tilt = np.radians(50)
    pose = camera_from_world([0, -3 / np.tan(tilt), 3], 0, tilt)
    masks = np.repeat(draw(pose, box(0.25, 0.8, 0.3))[None], 13, 0)
    masks[6] = draw(pose, box(0.9, 0.3, 0.2))
    cameras = cameras_of([pose] * 13, "static")
    feet = ground.measure_footprint(masks)
    stance = find_stance(rewind(frames(13), []), masks, cameras, feet, LEVEL, StanceConfig())
    normal = stance.normal / np.linalg.norm(stance.normal, axis=1, keepdims=True)
    lean = np.degrees(np.arcsin(-normal[:, 2]))
    assert np.ptp(lean) < 6


@pytest.mark.parametrize("kind", ["static", "moving"])
def test_no_wall_stands_before_the_subject(kind: str):
    rng = np.random.default_rng(5)
    wall = np.stack([rng.uniform(-3, 3, 400), rng.normal(3, 0.05, 400), rng.uniform(0.3, 3, 400)])
    points = np.concatenate([wall.T, ground_points(rng)])
    step = 0.06 if kind == "moving" else 0.0
    poses = [camera_from_world([step * t, 0, 1.5]) for t in range(10)]
    masks = np.stack([draw(p, plank(0.05 * t, 4.5, wide=0.9)) for t, p in enumerate(poses)])
    cameras = cameras_of(poses, kind, points)
    depth = ReliefDepth().depth(rewind(frames(10), []), masks, cameras, Progress())
    for t, mask in enumerate(masks > 0.5):
        rows, cols = np.nonzero(mask)
        head = np.s_[rows.min() : rows.min() + np.ptp(rows) // 2]
        ring = (cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0) & ~mask
        assert depth[t][head][ring[head]].min() > depth[t][head][mask[head]].max()
        above = depth[t][: rows.min(), cols.min() : cols.max()]
        assert above.min() > np.median(depth[t][mask]), "nor above it, as a lintel"
    beside = depth[0][20:40, 2:12]
    assert np.median(beside) == pytest.approx(3, abs=0.5), "elsewhere it is where its points are"


def test_no_part_of_the_subject_is_below_the_ground():
    pose = camera_from_world([0, 0, 1.5])
    height = np.zeros(24)
    height[9:15] = -0.15  # for a moment its contact is nearer than it can be
    masks = np.stack([draw(pose, plank(0, 4, z)) for z in height])
    cameras = cameras_of([pose] * 24, "static", ground_points(np.random.default_rng(1)))
    depth = ReliefDepth().depth(rewind(frames(24), []), masks, cameras, Progress())
    lowest = [
        lift(z, m > 0.5, cameras, t)[:, 2].min()
        for t, (z, m) in enumerate(zip(depth, masks, strict=True))
    ]
    assert min(lowest) > -0.03


def estimate_tilt_and_stance(clip: Clip, masks: np.ndarray):
    rewound = rewind(clip, [])
    masks = masks[rewound.index].astype(np.float32)
    cameras = SfmCameras().cameras(rewound, masks, Progress())
    feet = ground.measure_footprint(masks)
    plane = ground.find_ground(cameras, feet, ground.select_background(cameras, masks))
    stance = find_stance(rewound, masks, cameras, feet, plane, StanceConfig())
    normal = stance.normal / np.linalg.norm(stance.normal, axis=1, keepdims=True)
    lean = np.degrees(np.arcsin(-normal @ plane.up))
    return measure_pitch(cameras, plane, rewound.seam), float(np.median(lean))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "davis").exists(), reason=f"no footage at {DATA}")
def test_a_dancer_before_a_crowd_is_not_filmed_from_above():
    folder = DATA / "davis" / "dance-twirl"
    clip = video.decode(folder / "images", longer_side=256, stop=1.0)
    pictures = [mask_picture(p) for p in sorted((folder / "masks").glob("*.png"))[: len(clip)]]
    masks = np.stack(
        [cv2.resize(p, clip.size, interpolation=cv2.INTER_AREA) > 127 for p in pictures]
    )
    tilt, lean = estimate_tilt_and_stance(clip, masks)
    assert -5 < tilt <= 30
    assert lean < 10


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "video").exists(), reason=f"no footage at {DATA}")
def test_a_dog_from_above_is_not_stood_up():
    clip = video.decode(DATA / "video" / "vipe_dog.mp4", longer_side=256, stop=0.8)
    masks, scale = GrabCutMasks(), clip.size[0] / 1280
    first = masks.select(clip, Selection(point=(690 * scale, 260 * scale)), Progress())
    found = masks.propagate(rewind(clip, []), first, Progress())
    order = np.argsort(rewind(clip, []).index)
    tilt, lean = estimate_tilt_and_stance(clip, found[order])
    assert 35 < tilt < 55
    assert lean > 25
