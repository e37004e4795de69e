"""How a long subject is turned before cameras that go round it, and one that has no length."""

import numpy as np
import pytest
from planks import H, W, camera_from_world, cameras_of, draw, frames, plank
from silhouettes import draw_biped, draw_quadruped

from restage4d.clips import rewind
from restage4d.priors.depth.stance import Stance, StanceConfig, find_stance
from restage4d.priors.depth.turn import (
    Spots,
    TurnConfig,
    compute_slope,
    measure_length,
    measure_swing,
    solve_turn,
)
from restage4d.priors.geometry import ground
from restage4d.priors.geometry.ground import Ground

FAR = 5.0


def draw_standing(pose, turn: float, *, long: bool, at: float = 0.0) -> np.ndarray:
    """A body of some thickness on feet at its ends, turned from the world's x axis, with its middle
    at x = ``at``; or as thick as it is long."""
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    wide = 1.6 if long else 0.6
    parts = []
    for side in (-0.15, 0.15):
        x, y = side * across + [at, 0]
        parts.append(plank(x, y, 0.4, wide, 0.5 if long else 1.2, turn))
        for end in (-0.45, 0.45):
            x, y = side * across + end * wide * along + [at, 0]
            parts.append(plank(x, y, 0, 0.1, 0.6, turn))
    corners = np.concatenate(parts)[[0, 1, 2, 3, 12, 13, 14, 15]]  # both flanks as one solid
    return np.max([draw(pose, part) for part in [corners, *parts]], 0)


def orbit(degrees: np.ndarray, *, long: bool = True) -> tuple[Stance, np.ndarray]:
    """A still subject that cameras go round: (T) degrees to the right, in playing order."""
    rewound = rewind(frames(len(degrees)), [])
    order = np.argsort(rewound.index)
    at = np.radians(degrees)[rewound.index]
    poses = [camera_from_world([-FAR * np.sin(a), -FAR * np.cos(a), 1.5], a) for a in at]
    masks = np.stack([draw_standing(pose, 0.0, long=long) for pose in poses])
    cameras = cameras_of(poses, "moving")
    up = Ground(np.array([0, 0, 1.0]), 0.0)
    footprint = ground.measure_footprint(masks)
    stance = find_stance(rewound, masks, cameras, footprint, up, StanceConfig())
    ahead = np.stack([np.sin(at), np.cos(at)], 1)
    right = np.stack([np.cos(at), -np.sin(at)], 1)
    normal = stance.normal[:, :2]
    slope = -(normal * right).sum(1) / (normal * ahead).sum(1)
    return stance, slope[order]


def test_a_still_subject_turns_before_cameras_that_go_round_it_through_its_end():
    degrees = np.linspace(-20, 130, 31)
    slope = orbit(degrees)[1]
    seen = np.abs(np.tan(np.radians(degrees))) < 1.1
    np.testing.assert_allclose(slope[seen], np.tan(np.radians(degrees[seen])), atol=0.2)
    assert slope[degrees == 60][0] > 1
    assert slope[degrees == 120][0] < -1
    assert abs(slope[np.abs(degrees - 90).argmin()]) < 0.3


def test_a_turned_subject_stands_where_its_feet_are_beside_the_axis_too():
    turn, at, eye = np.radians(30), 0.9, np.array([0, -FAR, 1.5])
    rewound = rewind(frames(10), [])
    pose = camera_from_world(eye)
    mask = draw_standing(pose, turn, long=True, at=at)
    masks = np.repeat(mask[None], 10, 0)
    cameras, up = cameras_of([pose] * 10, "moving"), Ground(np.array([0, 0, 1.0]), 0.0)
    footprint = ground.measure_footprint(masks)
    stance = find_stance(rewound, masks, cameras, footprint, up, StanceConfig())
    normal, middle = stance.normal[5], np.array([at, 0, 0])
    slope = -normal[0] / normal[1]
    assert slope == pytest.approx(np.tan(turn), abs=0.15)
    off = (middle - eye) @ normal - stance.distance[5]
    assert abs(off) / np.linalg.norm(normal) < 0.25


def test_what_has_no_length_faces_every_camera():
    assert np.abs(orbit(np.linspace(0, 60, 13), long=False)[1]).max() < 1e-6


def test_the_turn_of_feet_and_of_cameras_that_swing_add_up():
    rewound = rewind(frames(12), [])
    swing = np.linspace(0, 1.0, 12)[::-1]
    turn = 0.3 + swing - swing[rewound.seam]
    ends = np.repeat([[-0.2, 0.2]], 12, 0)
    spots = Spots(
        np.repeat(np.arange(12), 2),
        (ends * np.cos(turn)[:, None]).ravel(),
        (ends * np.sin(turn)[:, None]).ravel(),
        np.full(24, 0.05),
    )
    for rounds in (1, 4):
        found = solve_turn(rewound, spots, swing - swing[rewound.seam], rounds, TurnConfig())[1]
        np.testing.assert_allclose(found, turn, atol=0.05)


def test_cameras_swing_to_the_right():
    at = np.radians([0, 100, 190, 280])
    level = np.stack([np.sin(at), np.cos(at), np.zeros(4)], 1)
    swing = measure_swing(level, np.array([0, 0, 1.0]), 0)
    np.testing.assert_allclose(swing, at, atol=1e-9)
    assert measure_swing(level, np.array([0, 0, 1.0]), 1)[1] == pytest.approx(0)


def test_slopes_end_where_a_subject_comes_straight_at_the_camera():
    turn = np.radians([-30, 0, 30, 60, 89.9, 91, 120, 150, 180])
    slope = compute_slope(turn)
    np.testing.assert_allclose(slope[[0, 1, 2, 7, 8]], np.tan(turn[[0, 1, 2, 7, 8]]), atol=1e-9)
    assert slope[3] == pytest.approx(-slope[6])
    assert slope[3] > 1
    assert 0 < slope[4] < 0.01
    assert -0.06 < slope[5] < 0


def test_people_have_no_length_and_animals_have_one_that_few_frames_show():
    person = draw_biped().astype(np.float32)
    animal = draw_quadruped().astype(np.float32)
    end_on = np.zeros_like(animal)
    end_on[:, 100:140] = animal[:, 100:140]
    assert measure_length(person[None]) == 0
    assert measure_length(np.stack([end_on] * 8 + [animal] * 2)) > 0.9
    assert measure_length(np.zeros((2, H, W), np.float32)) == 0
