"""What hangs apart from a finished puppet goes; its parts stay."""

from dataclasses import replace

import numpy as np
import pytest
from samples import box_puppet

from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.puppet import Puppet
from restage4d.reconstruct.loose_pieces import find_loose_pieces, remove_gaussians


def move(puppet: Puppet, rows: slice | np.ndarray, by: tuple[float, float, float]) -> Puppet:
    means = puppet.subject.means.copy()
    means[rows] += np.array(by, np.float32)
    return replace(puppet, subject=replace(puppet.subject, means=means))


def clean(puppet: Puppet) -> Puppet:
    return remove_gaussians(puppet, find_loose_pieces(puppet, 0.01, 3.0))


def test_specks_go_and_the_body_stays():
    whole = box_puppet(frames=3)
    speckled = move(whole, slice(0, 20), (2, 0, 0))
    cleaned = clean(speckled)
    assert np.array_equal(cleaned.subject.means, whole.subject.means[20:])
    assert len(cleaned.index) == len(cleaned.weight) == len(whole.subject) - 20
    assert len(clean(whole).subject) == len(whole.subject)


def test_what_tears_away_in_one_performance_goes_too():
    puppet = box_puppet(frames=3)
    puppet.performances[1].bases[1, 2, 7] += 3  # the second base flies off in the last frame
    puppet.index[:, 0], puppet.index[:20, 0] = 0, 1
    puppet.weight[:] = 0
    puppet.weight[:, 0] = 1
    assert len(clean(puppet).subject) == len(puppet.subject) - 20


def test_a_part_that_tears_off_stays_and_is_told():
    puppet = box_puppet(frames=2)
    side = np.flatnonzero(puppet.subject.means[:, 0] > 0.199)
    puppet = move(puppet, side, (2, 0, 0))
    kept = clean(puppet)
    assert len(kept.subject) == len(puppet.subject)
    share = len(side) / len(puppet.subject)
    assert measure_unity(kept, kept.performances[0]).min() == pytest.approx(1 - share)


def test_wide_gaussians_bridge_a_gap():
    puppet = move(box_puppet(frames=2), slice(0, 20), (0, 0, 1))
    puppet.subject.scales[:20] = 0.5
    assert len(clean(puppet).subject) == len(puppet.subject)
