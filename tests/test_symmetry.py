"""The plane of bilateral symmetry, and what is reflected through it."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from restage4d import se3
from restage4d.reconstruct.fusion.completing.reflection import reflect_through_plane
from restage4d.reconstruct.fusion.completing.symmetry import (
    Look,
    Plane,
    find_symmetry_plane,
    measure_symmetry,
)

WIDTH, HEIGHT, FOCAL, DISTANCE = 80, 60, 100.0, 2.5
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
# looks along +Y, +Z up
W2C = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, DISTANCE], [0, 0, 0, 1]], np.float32)
YAW = 20.0  # degrees by which the body's own axis is turned


def _about_z(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _beast(thick: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A long body with a head at one end, symmetric about y = 0 before it is turned by `YAW`;
    points (N, 3) and colours (N, 3)."""
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(30_000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    body = ball[:20_000] * [0.45, 0.08 * thick, 0.22]
    head = ball[20_000:] * [0.13, 0.07 * thick, 0.13] + [0.48, 0, 0.25]
    points = np.concatenate([body, head])
    colours = np.stack([points[:, 0] + 0.5, points[:, 2] + 0.4, 0 * points[:, 0] + 0.3], 1)
    return (points @ _about_z(YAW).T).astype(np.float32), colours.clip(0, 1).astype(np.float32)


def _watch(
    points: np.ndarray, colours: np.ndarray, turns: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, list[Look]]:
    """Some hundred points that are seen, their colours, and the looks of a body turned by these
    degrees."""
    seen, drawn = np.zeros(len(points), bool), []
    for turn in turns:
        R = _about_z(turn)
        camera = points @ R.T @ W2C[:3, :3].T + W2C[:3, 3]
        z = camera[:, 2]
        column, row = ((camera / z[:, None]) @ K.T)[:, :2].astype(int).T
        surface, picture = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH, 3))
        order = np.argsort(-z)
        surface[row[order], column[order]] = z[order]
        picture[row[order], column[order]] = colours[order]
        seen |= np.abs(surface[row, column] - z) < 0.02
        drawn.append((R, surface, picture))
    rows = np.random.default_rng(1).permutation(np.flatnonzero(seen))[:300]
    looks = [
        Look(
            np.tile(R, (len(rows), 1, 1)), np.zeros((len(rows), 3), np.float32), surface,
            np.asarray(distance_transform_edt(surface == 0)), picture, K, W2C,
        )
        for R, surface, picture in drawn
    ]  # fmt: skip
    return points[rows], colours[rows], looks


def test_plane_of_a_body_that_turns_is_found():
    points, colours, looks = _watch(*_beast(), (-50, -30, -10, 10, 30))
    plane = find_symmetry_plane(points, colours, looks, 1.0)
    assert plane is not None
    true = _about_z(YAW) @ [0, 1, 0]
    assert np.degrees(np.arccos(abs(plane.normal @ true))) < 8
    assert abs(plane.offset) < 0.04
    assert np.linalg.norm(plane.normal) == pytest.approx(1)


def test_right_plane_is_better_than_a_wrong_one():
    points, colours, looks = _watch(*_beast(), (-50, -10, 30))
    right, across = (Plane(_about_z(YAW) @ np.array(n, float), 0.0) for n in ([0, 1, 0], [1, 0, 0]))
    scores = [measure_symmetry(p, points, colours, looks, 1.0) for p in (right, across)]
    assert scores[0] > -0.02
    assert scores[1] < scores[0] - 0.15


def test_other_colours_speak_against_a_plane():
    points, colours, looks = _watch(*_beast(thick=1.8), (-60, 60))
    plane = Plane(_about_z(YAW) @ np.array([0.0, 1, 0]), 0.0)
    assert measure_symmetry(plane, points, colours, looks, 1.0) > 0.005
    assert measure_symmetry(plane, points, 1 - colours, looks, 1.0) < -0.005


def test_no_plane_of_a_ball_is_sure():
    ball = np.random.default_rng(2).normal(size=(20_000, 3))
    ball = (0.4 * ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    grey = np.full_like(ball, 0.5)
    assert find_symmetry_plane(*_watch(ball, grey, (-30, 0, 30)), 0.8) is None


def test_reflection_is_exact_and_closed_along_the_rim():
    """A sheet at x = 0.3 and one source at its rim: the wall goes all the way to x = -0.3."""
    y, z = np.meshgrid(np.arange(8) * 0.05, np.arange(8) * 0.05)
    means = np.stack([np.full(64, 0.3), y.ravel(), z.ravel()], 1).astype(np.float32)
    quats = np.tile(np.array([[1, 0, 0, 0]], np.float32), (64, 1))
    may, rim = np.arange(64) > 3, np.arange(64) == 60
    found = reflect_through_plane(means, quats, may, rim, Plane(np.array([1.0, 0, 0]), 0.0))
    assert not np.isin(found.source, [0, 1, 2, 3]).any()
    image = found.clear > 1
    assert np.array_equal(found.source[image], np.arange(4, 64))
    assert found.means[image] == pytest.approx(means[4:] * [-1, 1, 1], abs=1e-6)
    wall = found.means[found.source == 60]
    assert np.diff(np.sort(wall[:, 0])).max() < 0.11
    assert np.ptp(wall[:, 0]) > 0.45
    assert (wall[:, 1:] == means[60, 1:]).all()
    axes = se3.quat_to_matrix(found.quats)
    assert np.linalg.det(axes) == pytest.approx(np.ones(len(axes)), abs=1e-5)
