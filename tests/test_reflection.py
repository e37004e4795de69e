"""Reflection through the middle: which way the far side lies, and how far."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from restage4d.reconstruct.fusion.completing.reflection import (
    Reflection,
    bring_inside,
    find_axis,
    find_sides,
    measure_spacing,
    reflect,
)

FOCAL, SIZE, DISTANCE, RADIUS = 100.0, 96, 4.0, 0.5
K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], np.float32)
ROW, COLUMN = np.mgrid[:SIZE, :SIZE] + 0.5
RAYS = np.stack([(COLUMN - SIZE / 2) / FOCAL, (ROW - SIZE / 2) / FOCAL, np.ones((SIZE, SIZE))], -1)


def _sheet(tilt: float, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (H, W) of a round sheet whose far normal is ``tilt`` degrees up in the picture and
    ``turn`` to its right, mask, normal."""
    a, b = np.radians([tilt, turn])
    normal = np.array([np.sin(b) * np.cos(a), -np.sin(a), np.cos(b) * np.cos(a)])
    z = DISTANCE * normal[2] / (RAYS @ normal)
    mask = np.linalg.norm(RAYS * z[..., None] - [0, 0, DISTANCE], axis=-1) < RADIUS
    return np.where(mask, z, 0).astype(np.float32), mask, normal


@pytest.mark.parametrize("tilt", [0.0, 25.0, -40.0])
def test_the_far_side_is_square_to_the_body_along_the_vertical_alone(tilt):
    """A camera that looks down 25 degrees on what stands: its far side is level with it. One on
    what lies along the ground: below it."""
    depth, mask, normal = _sheet(tilt)
    assert find_axis(depth, mask, K) == pytest.approx(normal, abs=0.01)
    depth, mask, _ = _sheet(tilt, turn=30)
    axis = find_axis(depth, mask, K)
    assert axis[0] == 0
    assert np.degrees(np.arctan2(-axis[1], axis[2])) == pytest.approx(tilt, abs=6)


def test_limbs_that_stick_out_do_not_tilt_it():
    depth, mask, normal = _sheet(20)
    limb = mask & (np.abs(COLUMN - SIZE / 2) < 2) & (ROW > SIZE / 2)
    assert find_axis(np.where(limb, depth - 0.4, depth), mask, K) == pytest.approx(normal, abs=0.02)


def test_what_is_too_small_to_tell_lies_behind_along_the_view():
    depth, mask, _ = _sheet(30)
    few = mask & (ROW < SIZE / 2 - 8) & (np.abs(COLUMN - SIZE / 2) < 1)
    assert find_axis(depth, few, K).tolist() == [0, 0, 1]


def test_from_behind_a_standing_body_is_what_it_is_from_the_front():
    """Copies are level with their sources and none is above the outline."""
    depth, mask, normal = _sheet(25)
    row, column = np.nonzero(mask)
    means = (RAYS * depth[..., None])[row, column].astype(np.float32)
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(means), 1))
    every = np.ones(len(means), bool)
    found = reflect(means, quats, every, depth, mask, K, np.eye(4, dtype=np.float32))
    way = found.means - means[found.source]
    length = way @ normal
    assert way == pytest.approx(length[:, None] * normal, abs=0.02 * RADIUS)
    middle = np.linalg.norm(means[found.source] - [0, 0, DISTANCE], axis=1) < 0.1
    assert length[middle & ~found.wall].min() > RADIUS  # 2 / sqrt 2 of it, by `inflate`
    pixel = np.floor((found.means / found.means[:, 2:]) @ K.T)[:, :2].astype(int)
    assert mask[pixel[:, 1], pixel[:, 0]].all()


def test_the_wall_is_closed_all_along_the_outline_though_few_gaussians_are_there():
    depth, mask, _ = _sheet(0)
    row, column = np.nonzero(mask)
    means = (RAYS * depth[..., None])[row, column].astype(np.float32)
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (len(means), 1))
    off = np.hypot(*(means[:, :2].T)) / RADIUS
    may = (off < 0.7) | (np.arange(len(means)) % 9 == 0)
    found = reflect(means, quats, may, depth, mask, K, np.eye(4, dtype=np.float32))
    spacing, wall = measure_spacing(means), found.means[found.wall]
    image = found.means[~found.wall]
    # between the sheet and its image, 4 pixels from the outline
    around = 2 * np.pi * (np.arange(60)[:, None] + 0.5) / 60
    deep = np.linalg.norm(image - [0, 0, DISTANCE], axis=1)[off[found.source[~found.wall]] > 0.7]
    share = np.linspace(0.15, 0.85, 6) * np.median(deep - RADIUS * 0.8)
    at = (1 - 4 * DISTANCE / FOCAL / RADIUS) * RADIUS
    place = np.stack(
        np.broadcast_arrays(at * np.cos(around), at * np.sin(around), DISTANCE + share), -1
    )
    apart = KDTree(wall).query(place.reshape(-1, 3))[0]
    assert apart.max() < 2 * spacing
    assert (np.diff(found.wall.astype(int)) >= 0).all(), "copies first, then the wall"
    columns, deep = 2 * np.pi * RADIUS / spacing, np.median(deep) / spacing
    assert found.wall.sum() < 2 * columns * deep, "a wall, no block"
    alone = reflect(
        means, quats, np.arange(len(means)) == 200, depth, mask, K, np.eye(4, dtype="f")
    )
    assert not alone.wall.any(), "one Gaussian has no spacing"


def _find_sides(mask, depth, near=lambda off: off >= 0):
    row, column = np.nonzero(mask)
    means = np.repeat((RAYS * depth[..., None])[row, column].astype(np.float32), 4, 0)
    off = np.hypot(*(means[:, :2].T)) / RADIUS
    return means, off, find_sides(means, near(off), depth, mask, K, np.eye(4, dtype=np.float32))


def test_the_sides_of_a_body_are_inside_its_outline_but_not_its_middle():
    depth, mask, _ = _sheet(0)
    means, off, sides = _find_sides(mask, depth)
    assert 0.6 < off[sides].min() < 0.9
    assert off[sides].max() < 0.9
    hidden = means + np.array([0, 0, 0.3], np.float32)  # not on the surface
    every = np.ones(len(means), bool)
    assert not find_sides(hidden, every, depth, mask, K, np.eye(4, dtype=np.float32)).any()
    _, off, sides = _find_sides(mask, depth, lambda off: off < 0.5)
    assert off[sides].max() < 0.5, "all that there is where nothing is at the sides"
    assert sides.sum() > 100


def test_where_the_picture_cuts_a_body_off_is_none_of_its_sides():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[30:, 25:70] = True
    means, _, sides = _find_sides(mask, np.where(mask, DISTANCE, 0).astype(np.float32))
    pixel = np.floor((means / means[:, 2:]) @ K.T)[:, :2].astype(int)
    assert set(pixel[sides & (pixel[:, 1] > SIZE - 8), 0]) <= {*range(25, 34), *range(61, 70)}
    assert (sides & (pixel[:, 1] > SIZE - 8)).any()


def test_copies_come_back_as_far_as_the_frames_ask():
    """Frames that see past everything from 0.7 behind the sheet on; what closes the wall stays."""
    x = np.linspace(-1, 1, 400)
    posed = np.stack([x, 0 * x, 0 * x + 2], 1).astype(np.float32)
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (400, 1))
    wall = np.arange(400) >= 380
    means = posed + np.array([0, 0, 1], np.float32)
    found = Reflection(np.arange(400), means, quats, np.ones(400, np.float32), wall)
    right = posed[:, 0] > 0

    def allow(at, rows):
        return (at[:, 2] < 2.7) | ~right[rows]

    behind = bring_inside(found, posed, allow).means[:, 2] - 2
    assert behind[right & ~wall] == pytest.approx(0.6)
    assert behind[wall] == pytest.approx(1)
    assert behind[posed[:, 0] < -0.1] == pytest.approx(1)


def test_single_copies_do_not_stand_out_of_their_surface():
    """One in three has to come near: those around do so, too."""
    x = np.linspace(-1, 1, 300)
    posed = np.stack([x, 0 * x, 0 * x + 2], 1).astype(np.float32)
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (300, 1))
    means = posed + np.array([0, 0, 1], np.float32)
    plain = Reflection(np.arange(300), means, quats, np.ones(300, np.float32), np.zeros(300, bool))
    behind = bring_inside(plain, posed, lambda at, rows: (at[:, 2] < 2.5) | (rows % 3 > 0))
    assert behind.means[:, 2] == pytest.approx(2.4)
