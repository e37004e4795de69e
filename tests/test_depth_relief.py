import numpy as np

from restage4d.priors.geometry.inflation import inflate


def grid(height: int, width: int):
    return np.mgrid[:height, :width] + 0.5


def test_a_limb_has_a_circular_cross_section():
    y, _ = grid(80, 200)
    half = inflate(np.abs(y - 40) < 10)
    np.testing.assert_allclose(
        half[:, 100][np.abs(y[:, 0] - 40) < 10], np.sqrt(100 - (y[30:50, 0] - 40) ** 2), atol=0.05
    )


def test_limbs_are_thinner_than_the_torso_and_outside_is_empty():
    y, x = grid(120, 160)
    torso, limb = np.hypot(y - 40, (x - 80) / 1.5) < 25, (np.abs(x - 80) < 4) & (y > 40) & (y < 110)
    mask = torso | limb
    half = inflate(mask)
    assert half[~mask].max() == 0
    assert half[mask].min() > 0
    assert 3.5 < half[90, 80] < 4.5 < 15 < half[40, 80]


def test_a_disc_is_a_smooth_dome_without_ridges():
    y, x = grid(100, 100)
    radius = np.hypot(y - 50, x - 50)
    half = inflate(radius < 40)
    np.testing.assert_allclose(
        half[radius < 39], np.sqrt((1600 - radius[radius < 39] ** 2) / 2), atol=0.7
    )


def test_a_subject_cut_by_the_border_goes_on_behind_it():
    y, _ = grid(60, 60)
    whole = np.abs(y - 30) < 12
    half = inflate(whole)
    np.testing.assert_allclose(half[:, 0], half[:, 30], atol=1e-3)
    turned = inflate(whole.T)
    np.testing.assert_allclose(turned, half.T, atol=1e-4)


def test_nothing_and_everything():
    assert inflate(np.zeros((4, 5), bool)).max() == 0
    assert np.isfinite(inflate(np.ones((4, 5), bool))).all()
    assert inflate(np.eye(3, dtype=bool)).max() > 0
