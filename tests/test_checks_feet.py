"""The subject's lowest part, followed as well as the rest or lost."""

import numpy as np
import pytest

from restage4d.checks.feet import check_feet, measure_feet
from restage4d.clips import Tracks

T = 20
MASK = np.zeros((60, 80), bool)
MASK[10:50, 20:60] = True  # the lowest quarter begins at row 40


def make_tracks(low: np.ndarray, others: np.ndarray) -> Tracks:
    """40 points in the lowest quarter and 80 above, of which such shares are seen in each frame."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.uniform(40.5, 49, 40), rng.uniform(11, 39, 80)])
    xy = np.stack([rng.uniform(21, 59, 120), y], 1).astype(np.float32)
    order = np.concatenate([np.arange(40) / 40, np.arange(80) / 80])
    shares = np.concatenate([np.tile(low, (40, 1)), np.tile(others, (80, 1))])
    visible = order[:, None] < shares
    return Tracks(
        np.repeat(xy[:, None], T, 1), visible, visible.astype(np.float32), np.zeros(120, np.int32)
    )


ALL = np.ones(T)
FADING = np.linspace(1, 0.2, T)


def test_feet_that_are_lost_while_the_rest_is_followed():
    tracks = make_tracks(FADING, ALL)
    low, others = measure_feet(tracks, np.arange(T), MASK)
    np.testing.assert_allclose(low, FADING, atol=0.025)
    np.testing.assert_array_equal(others, ALL)
    (found,) = check_feet(tracks, np.arange(T), MASK, video="restaged")
    assert (found.code, found.severity, found.video) == ("feet-lost", "warning", "restaged")
    assert (found.first_frame, found.last_frame) == (13, 19)
    assert found.text == (
        "Points on the lowest quarter of the subject are lost in restaged, frames 13-19: 20% of "
        "them are left, 100% of the others."
    )


@pytest.mark.parametrize(
    ("low", "others"),
    [
        (ALL, ALL),
        (FADING, FADING),  # the whole subject turns away: no fault of its feet
        (np.where(np.arange(T) % 10 < 1, 0.1, 1.0), ALL),  # legs that pass one another
        (np.where(np.arange(T) < 10, 1.0, 0.7), ALL),
    ],
)
def test_feet_that_are_followed_as_the_rest_is(low, others):
    low = np.concatenate([[1.0], low[1:]])
    assert check_feet(make_tracks(low, others), np.arange(T), MASK) == []


def test_the_first_frame_of_a_video_is_the_first_of_its_rows():
    rows = np.arange(T)[::-1]  # as the base lies in the rewound clip
    backwards = make_tracks(FADING[::-1], ALL)
    (found,) = check_feet(backwards, rows, MASK)
    assert (found.first_frame, found.last_frame) == (13, 19)


def test_too_few_points_tell_nothing():
    tracks = make_tracks(FADING, ALL)
    assert check_feet(tracks, np.arange(T), np.zeros_like(MASK)) == []
    tall = np.ones((60, 80), bool)
    tall = np.concatenate([tall, tall])
    assert np.isnan(measure_feet(tracks, np.arange(T), tall)[0]).all()
