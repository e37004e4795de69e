"""Figures on cases whose answer is known (docs/metrics.md)."""

import numpy as np
import pytest

from restage4d import se3
from restage4d.evaluate.metrics import image, shape, tracking
from restage4d.puppet import Gaussians, Performance, Puppet


def turn(angle: float, axis: int) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    R = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    R[i, i], R[i, j], R[j, i], R[j, j] = c, -s, s, c
    return R


def sphere(n: int, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).normal(size=(n, 3))
    return (0.5 * p / np.linalg.norm(p, axis=1, keepdims=True)).astype(np.float32)


# --- pictures -------------------------------------------------------------------------------------


def test_psnr_and_ssim_of_known_pictures():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 245, (40, 50, 3)).astype(np.uint8)
    assert image.psnr(a, a + 10) == pytest.approx(20 * np.log10(25.5))
    assert image.ssim(a, a) == pytest.approx(1)
    assert image.ssim(a, 255 - a) < 0
    where = np.zeros((40, 50), bool)
    where[:20] = True
    b = a.copy()
    b[20:] = 0
    assert image.psnr(a, b, where) == pytest.approx(10 * np.log10(255**2 / 1e-10))
    assert np.isnan(image.ssim(a, b, ~where & where))


def test_subject_psnr_counts_what_sticks_out_and_not_the_empty_surrounding():
    mask = np.zeros((30, 30), bool)
    mask[10:20, 10:20] = True
    truth = image.cut_out(np.full((30, 30, 3), 200, np.uint8), mask)
    drawn = truth.copy()
    drawn[mask] -= 20
    assert image.subject_psnr(drawn, truth, mask) == pytest.approx(20 * np.log10(255 / 20))
    wide = np.pad(drawn, ((0, 50), (0, 50), (0, 0)), constant_values=image.BACKDROP)
    wide_truth = np.pad(truth, ((0, 50), (0, 50), (0, 0)), constant_values=image.BACKDROP)
    assert image.subject_psnr(wide, wide_truth, np.pad(mask, (0, 50))) == pytest.approx(
        20 * np.log10(255 / 20)
    )
    floater = drawn.copy()
    floater[:10, :10] += 20  # as many pixels again, off by as much
    assert image.subject_psnr(floater, truth, mask) == pytest.approx(
        20 * np.log10(255 / 20) - 10 * np.log10(2)
    )


# --- shape ----------------------------------------------------------------------------------------


def test_consistency_is_eq_9():
    assert shape.consistency(np.exp(-4)) == pytest.approx(8)
    assert shape.consistency(2.0) == 0
    assert shape.consistency(0.0) == shape.consistency(
        1e-12
    )  # finite for a body that never changes
    assert shape.consistency(0.0087) == pytest.approx(
        10.32, abs=0.1
    )  # the paper's 10.32 is a variation of 9 %


def test_volume_of_a_shell_is_known_and_does_not_depend_on_turn_or_scale():
    points = sphere(6000)
    r = shape.REACH
    true = 4 / 3 * np.pi * ((0.5 + r) ** 3 - (0.5 - r) ** 3)
    assert shape.volume(points, 1.0) == pytest.approx(true, rel=0.06)
    assert shape.volume(7 * points, 7.0) == pytest.approx(shape.volume(points, 1.0), rel=0.02)
    turned = np.stack([points @ turn(0.4 * t, 1).T + [0.3 * t, 0, 0] for t in range(6)], 1)
    assert shape.volume_variance(turned, 1.0) ** 0.5 < 0.005
    dense = sphere(40_000)
    grown = np.stack(
        [dense * (1 + 0.1 * t) for t in range(3)], 1
    )  # area, and so the shell, as the square
    v = np.array([1, 1.21, 1.44])
    assert shape.volume_variance(grown, 1.0) ** 0.5 == pytest.approx(np.std(v / v.mean()), rel=0.08)


def test_edges_of_a_rigid_and_of_a_stretched_body():
    points = sphere(400)
    edges = shape.neighbour_edges(points)
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert (np.bincount(edges.ravel(), minlength=400) >= shape.NEIGHBOURS).all()
    rigid = np.stack([points @ turn(0.3 * t, 2).T + 0.1 * t for t in range(5)], 1)
    assert shape.edge_variances(rigid, edges).max() < 1e-9
    stretched = np.stack([points * s for s in (0.9, 1.1)], 1)
    assert np.allclose(np.sqrt(shape.edge_variances(stretched, edges)), 0.1, atol=1e-4)


def test_variance_of_distances():
    paths = np.zeros((2, 2, 3), np.float32)
    paths[1, :, 0] = [1.0, 1.4]  # distances 1 and 1.4: variance 0.04
    pairs = np.array([[0, 1]])
    assert shape.distance_variance(paths, pairs, 1.0) == pytest.approx(0.04)
    assert shape.distance_variance(paths, pairs, 2.0) == pytest.approx(0.01)
    drawn = shape.draw_pairs(1000, 7, seed=0)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert drawn.min() == 0
    assert drawn.max() == 6


# --- tracking -------------------------------------------------------------------------------------


def two_bones() -> Puppet:
    """Two Gaussians, one on a basis that stays, one on a basis that turns about +Z and moves up."""
    bases = np.tile(se3.IDENTITY, (2, 4, 1))
    for t in range(4):
        bases[1, t] = se3.pack(turn(0.2 * t, 2), np.array([0, 0, 0.1 * t]))
    means = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    subject = Gaussians(
        means, np.tile([1, 0, 0, 0], (2, 1)), np.full((2, 3), 0.1), np.ones(2), np.zeros((2, 1, 3))
    )
    subject = Gaussians(**{k: v.astype(np.float32) for k, v in vars(subject).items()})
    K = np.tile(np.array([[100, 0, 50], [0, 100, 40], [0, 0, 1]], np.float32), (4, 1, 1))
    w2c = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    performance = Performance("base", bases.astype(np.float32), 24, K, w2c, (100, 80))
    none = Gaussians(*(np.zeros((0, *a.shape[1:]), np.float32) for a in vars(subject).values()))
    return Puppet(
        subject, np.array([[0], [1]], np.uint16), np.ones((2, 1), np.float32), [performance], none
    )


def test_carried_points_move_with_the_nearest_solid_gaussian():
    puppet = two_bones()
    points = np.array([[0.1, 0, 0], [1.0, 0.2, 0]], np.float32)
    for start in (0, 2):
        bases = puppet.performances[0].bases
        R, t = se3.blend(bases[:, start], puppet.index, puppet.weight)
        at = se3.transform(R, t, points)
        paths = tracking.carry(puppet, puppet.performances[0], at, start)
        assert np.allclose(paths[0], points[0])
        assert np.allclose(paths[1, 3], turn(0.6, 2) @ points[1] + [0, 0, 0.3], atol=1e-6)
    puppet.subject.opacities[1] = 0.01  # no longer solid: everything goes with the other one
    assert np.allclose(tracking.carry(puppet, puppet.performances[0], points, 0)[1], points[1])


def test_alignments_undo_exactly_what_they_are_for():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 5, 3)).astype(np.float32) + np.float32([0, 0, 4])
    w2c = np.tile(np.eye(4, dtype=np.float32), (5, 1, 1))
    moved = 1.3 * truth @ turn(0.5, 0).T + [1, 2, 3]
    assert tracking.l1(tracking.align(moved, truth, "sim3", w2c), truth) < 1e-5
    assert tracking.l1(tracking.align(0.7 * truth, truth, "median", w2c), truth) < 1e-5
    assert tracking.l1(tracking.align(truth + 0.25, truth, "none", w2c), truth) == pytest.approx(
        0.25, abs=1e-5
    )
    mirrored = truth * [1, 1, -1]
    assert np.linalg.det(
        tracking.fit_similarity(mirrored.reshape(-1, 3), truth.reshape(-1, 3))[1]
    ) == pytest.approx(1)
    where = np.zeros((30, 5), bool)
    assert np.isnan(tracking.l1(truth, truth, where))


def test_tapvid3d_thresholds_are_pixels_at_the_points_depth():
    K = np.tile(np.array([[100, 0, 50], [0, 100, 40], [0, 0, 1]], np.float32), (2, 1, 1))
    w2c = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    truth = np.array([[[0, 0, 2.0], [0, 0, 4.0]]], np.float32)  # a pixel is 0.02, then 0.04
    yes = np.ones((1, 2), bool)
    perfect = tracking.tapvid3d(truth, yes, truth, yes, K, w2c)
    assert perfect == {"3d_aj": 1.0, "apd": 1.0, "oa": 1.0}
    off = truth + np.float32([0.1, 0, 0])  # 5 pixels, then 2.5: within 8 and 16; within 4, 8 and 16
    figures = tracking.tapvid3d(off, yes, truth, yes, K, w2c)
    assert figures["apd"] == pytest.approx((0 + 0 + 0.5 + 1 + 1) / 5)
    assert figures["3d_aj"] == pytest.approx(
        (0 + 0 + 1 / 3 + 1 + 1) / 5
    )  # at 4 px: 1 hit, 2 true, 1 false
    hidden = tracking.tapvid3d(truth, yes, truth, np.array([[True, False]]), K, w2c)
    assert hidden["oa"] == 0.5
    assert hidden["3d_aj"] == 0.5  # 1 hit of 1 true and 1 false


def test_pck():
    true = np.zeros((2, 2, 2))
    found = np.array([[[3, 4], [0, 0]], [[30, 40], [6, 8]]], float)  # 5, 0; 50, 10 pixels off
    annotated = np.array([[True, False], [True, True]])
    assert tracking.pck(found, true, annotated, np.array([60, 110]), 0.1) == pytest.approx(2 / 3)
    assert np.isnan(tracking.pck(found, true, ~annotated & annotated, np.array([60, 110]), 0.1))
