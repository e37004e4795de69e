"""How far a subject is, by its feet on the ground and its size in the image."""

import cv2
import numpy as np
import pytest
from planks import (
    FOCAL,
    PITCH,
    H,
    W,
    camera_from_world,
    cameras_of,
    frames,
    of_rewound,
    still_scene,
)

from restage4d.clips import rewind
from restage4d.priors.depth.relief import ReliefDepth
from restage4d.priors.depth.stance import StanceConfig, find_stance
from restage4d.priors.geometry import ground
from restage4d.priors.geometry.ground import Ground
from restage4d.progress import Progress


def test_a_subject_that_walks_away_is_as_far_as_it_stands_and_does_not_flicker():
    walk = [(0.3 * np.sin(t / 5), 4 + 0.06 * t, 0) for t in range(30)]
    rewound, masks, cameras = still_scene(walk, [(0, 4 - 0.04 * t, 0) for t in range(16)])
    depth = ReliefDepth().depth(rewound, masks, cameras, Progress())
    true = of_rewound(rewound, [p[1] for p in walk], [4 - 0.04 * t for t in range(16)])
    rows = np.arange(H)[:, None] + 0.5
    # planar depth of an upright plane seen by a camera that looks down
    tilted = np.cos(PITCH) - (rows - H / 2) / FOCAL * np.sin(PITCH)
    ratio = np.array(
        [np.median((d * tilted / y)[m > 0.5]) for d, m, y in zip(depth, masks, true, strict=True)]
    )
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.02
    assert 0.9 < np.median(ratio) < 1.0, "the dome comes towards the camera"
    assert np.abs(np.diff(ratio)[[*range(28), *range(31, 44)]]).max() < 0.006
    seam = rewound.seam
    assert abs(ratio[seam + 1] - ratio[seam]) < 0.006


def test_a_jump_is_no_step_back():
    height = np.zeros(40)
    height[15:25] = 0.35 * np.sin(np.linspace(0, np.pi, 10))
    rewound, masks, cameras = still_scene([(0, 4, z) for z in height], [(0, 4, 0)] * 2)
    depth = ReliefDepth().depth(rewound, masks, cameras, Progress())
    at_middle = np.array([np.median(d[m > 0.5]) for d, m in zip(depth, masks, strict=True)])
    contact = ground.measure_footprint(masks).contact[:, 1]
    assert np.ptp(contact) > 12, "the contact alone would put it much farther away"
    assert np.ptp(at_middle) < 0.07 * np.median(at_middle)


def test_legs_drawn_up_are_no_step_back():
    """Contact and height both say farther; the trunk keeps its girth."""
    legs = [30] * 8 + list(np.linspace(30, 16, 8).round().astype(int)) + [16] * 8
    pose = camera_from_world([0, 0, 1.5], pitch=PITCH)
    foot = pose[:3, :3] @ [0, 4, 0] + pose[:3, 3]
    ground_row = round(FOCAL * foot[1] / foot[2] + H / 2)
    trunk = ground_row - 30 - 12
    masks = np.zeros((len(legs), H, W), np.float32)
    for mask, leg in zip(masks, legs, strict=True):
        cv2.ellipse(mask, (W // 2, trunk), (36, 12), 0, 0, 360, 1.0, -1)
        for x in (-24, 24):
            mask[trunk : trunk + 12 + leg, W // 2 + x - 3 : W // 2 + x + 3] = 1
    rewound = rewind(frames(len(legs)), [])
    masks = masks[of_rewound(rewound, list(range(len(legs))), [0])]
    feet = ground.measure_footprint(masks)
    cameras = cameras_of([pose] * len(legs), "static")
    level = Ground(np.array([0, 0, 1.0]), 0.0)
    stance = find_stance(rewound, masks, cameras, feet, level, StanceConfig())
    rays = ground.compute_directions(cameras, np.arange(len(legs)), feet.contact)
    told = 1.5 / -rays[:, 2] * rays[:, 1]
    assert np.ptp(np.log(told)) > 0.15, "what the contact alone tells"
    place = stance.place[:, 1]
    assert np.ptp(np.log(place)) < 0.13
    assert place.min() == pytest.approx(4, rel=0.08)


def test_who_leaves_the_picture_at_its_side_does_not_walk_off():
    walk = [*np.full(8, -1.1), *np.linspace(-1.1, -1.95, 16)]
    rewound, masks, cameras = still_scene([(x, 4, 0) for x in walk], [(-1.1, 4, 0)] * 2)
    area = (masks > 0.5).sum((1, 2))
    assert area.max() > 2.5 * area[area > 0].min(), "it is cut off more and more"
    feet = ground.measure_footprint(masks)
    level = Ground(np.array([0, 0, 1.0]), 0.0)
    place = find_stance(rewound, masks, cameras, feet, level, StanceConfig()).place[:, 1]
    assert np.ptp(np.log(place)) < 0.004


@pytest.mark.parametrize("comes_near", [False, True])
def test_a_subject_cut_off_below_stands_upright_before_the_ground_that_is_seen(comes_near: bool):
    edge = 1.5 / np.tan(PITCH + np.arctan(H / 2 / FOCAL))  # where the picture begins to show ground
    walk = np.linspace(2 * edge if comes_near else 0.9 * edge, 0.8 * edge, 20)
    rewound, masks, cameras = still_scene([(0, y, 0) for y in walk], [(0, walk[0], 0)] * 4)
    feet = ground.measure_footprint(masks)
    assert feet.grounded.any() == comes_near, "cut off throughout, or at the end"
    depth = ReliefDepth().depth(rewound, masks, cameras, Progress())
    tilted = np.cos(PITCH) - (np.arange(H)[:, None] + 0.5 - H / 2) / FOCAL * np.sin(PITCH)
    for t in np.flatnonzero(~feet.grounded):
        shown = [(m > 0.5, d) for m, d in zip(masks[t], depth[t] * tilted, strict=True) if m.any()]
        rows = np.array([np.median(d[m]) for m, d in shown])
        assert rows.max() / rows.min() < 1.2, "but for the dome, it is one from head to edge"
        assert 0.7 * edge < np.median(rows) < edge


def upright_distance(pitch: float, eye: float, walk: list[float], cut: list[bool]) -> np.ndarray:
    """How far `find_stance` puts feet that are seen at ``walk``, or not seen where ``cut``, where
    the picture's lower edge is."""
    rewound = rewind(frames(len(walk)), [])
    w2c = camera_from_world([0, 0, eye], pitch=pitch)
    contact, count = np.empty((len(walk), 2)), len(walk)
    for t, y in enumerate(walk):
        foot = w2c[:3, :3] @ [0, y, 0] + w2c[:3, 3]
        contact[t] = [W / 2, H if cut[t] else FOCAL * foot[1] / foot[2] + H / 2]
    grounded = ~np.array(cut)
    top = contact[:, 1] - 240 / np.array(walk)
    feet = ground.Footprint(contact, top, np.full(count, W / 2), grounded, grounded)
    order = of_rewound(rewound, list(range(count)), [0])
    feet = ground.Footprint(**{name: value[order] for name, value in vars(feet).items()})
    masks = np.zeros((count, H, W), np.float32)
    for mask, y in zip(masks, np.array(walk)[order], strict=True):
        half = round(40 / y)
        mask[20:90, W // 2 - half : W // 2 + half] = 1  # its trunk
    cameras, up = cameras_of([w2c] * count, "static"), Ground(np.array([0, 0, 1.0]), 0.0)
    stance = find_stance(rewound, masks, cameras, feet, up, StanceConfig())
    return stance.place[np.argsort(order), 1]


@pytest.mark.parametrize("down", [0, -10, -14, -15])  # the edge is 14.6 degrees below the axis
def test_a_bust_filmed_level_is_no_farther_than_without_the_ground(down: float):
    """Near the horizon, where the edge shows the ground is no estimate, but a bound."""
    far = upright_distance(np.radians(down), 1.5, [2.0] * 12, [True] * 12)
    assert np.isfinite(far).all()
    assert 1 < far.min() <= far.max() < 4.6


def test_cut_off_frames_come_before_their_edge_and_leave_the_others():
    edge = 1.5 / np.tan(PITCH + np.arctan(H / 2 / FOCAL))
    walk = [4.0] * 12 + list(np.geomspace(4, 0.9 * edge, 30))
    cut = [y < edge for y in walk]
    free = upright_distance(PITCH, 1.5, walk, [False] * len(walk))
    found = upright_distance(PITCH, 1.5, walk, cut)
    assert 2 < sum(cut) < 9
    assert found[-1] < min(edge, free[-1])
    assert found[:8] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("cut", [False, True])
def test_a_camera_below_the_ground_leaves_the_distance_open(cut: bool):
    assert np.isfinite(upright_distance(PITCH, -0.2, [3.0] * 8, [cut] * 8)).all()
