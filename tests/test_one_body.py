"""A fit's puppet becomes one body."""

import numpy as np
import pytest
from samples import box_puppet, sheet_puppet, spread_dots

from restage4d.errors import Cancelled
from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.progress import Progress
from restage4d.puppet import Puppet
from restage4d.reconstruct.one_body import make_one_body

FRAMES, TORN = 6, 4
CHEST = spread_dots(6000, (-0.2, 0.2), (-0.1, 0.1), (0.29, 0.29))
ARM = spread_dots(2000, (-0.06, 0.18), (-0.06, 0.06), (0.245, 0.245))
HAND = spread_dots(1000, (0.18, 0.26), (-0.06, 0.06), (0.245, 0.245))
SPECKS = spread_dots(5, (0.5, 0.51), (0.5, 0.51), (0.5, 0.51))


def mend(puppet: Puppet, progress: Progress | None = None) -> tuple[Puppet, int]:
    width, height = puppet.performances[0].size
    nowhere = [np.zeros((FRAMES, height, width), np.float32)] * 2
    return make_one_body(puppet, nowhere, progress or Progress())


def test_what_tore_off_a_part_that_hung_apart_comes_back():
    torn = sheet_puppet([CHEST, SPECKS, ARM, HAND], frames=FRAMES)
    for t in (0, TORN):
        torn.performances[1].bases[1, t, 7] += 0.5
    torn.performances[0].bases[1, 0, 7] += 0.5
    whole, bridging = mend(torn)
    kept = np.abs(whole.subject.means - SPECKS[0]).max(1).min()
    assert kept > 0.1  # the specks are gone
    assert 30 < bridging == len(whole.subject) - len(torn.subject) + len(SPECKS)
    for performance in whole.performances:
        assert measure_unity(whole, performance).min() > 0.999
        assert performance.bases[1, [0, TORN], 6:] == pytest.approx(np.zeros((2, 3)), abs=0.02)


def test_what_tore_off_the_body_comes_back_without_a_bridge():
    torn = sheet_puppet([CHEST, HAND + np.array([-0.02, 0, 0.045])], frames=FRAMES)
    torn.performances[1].bases[1, TORN, 7] += 0.5
    whole, bridging = mend(torn)
    assert bridging == 0
    assert measure_unity(whole, whole.performances[1]).min() > 0.999


def test_what_tore_off_to_where_loose_pieces_are_comes_back_without_them():
    """Of the piece that hangs there a ninth is no part of the body in any frame."""
    hand = spread_dots(200, (0.18, 0.22), (-0.02, 0.02), (0.29, 0.29))
    loose = spread_dots(25, (0.195, 0.205), (0.49, 0.51), (0.29, 0.29))
    torn = sheet_puppet([CHEST, loose, hand], frames=FRAMES)
    torn.performances[1].bases[1, TORN, 7] += 0.5
    whole, bridging = mend(torn)
    assert bridging == 0
    assert len(whole.subject) == len(CHEST) + len(hand)
    assert measure_unity(whole, whole.performances[1]).min() > 0.999
    assert whole.performances[1].bases[1, TORN, 7] == pytest.approx(0, abs=0.02)


def test_a_hoof_stays_where_a_bridge_joins_it_and_goes_where_none_does():
    """Seven thousandths of all Gaussians."""
    hoof = spread_dots(42, (0, 0.008), (0, 0.008), (0.25, 0.25))
    near, bridging = mend(sheet_puppet([CHEST, hoof], frames=FRAMES))
    assert bridging > 0
    assert len(near.subject) == len(CHEST) + len(hoof) + bridging
    far, bridging = mend(sheet_puppet([CHEST, hoof - np.array([0, 0, 0.2])], frames=FRAMES))
    assert (len(far.subject), bridging) == (len(CHEST), 0)


@pytest.mark.parametrize("asked", [1, 10, 20])
def test_it_can_be_cancelled(asked):
    """At whatever moment."""
    times = iter(range(asked))
    progress = Progress(cancelled=lambda: next(times, None) is None)
    with pytest.raises(Cancelled):
        mend(sheet_puppet([CHEST, ARM, HAND], frames=FRAMES), progress)


def test_a_whole_puppet_gets_nothing():
    puppet = box_puppet(frames=FRAMES)
    whole, bridging = mend(puppet)
    assert bridging == 0
    assert len(whole.subject) > 0.99 * len(puppet.subject)
    for kept, given in zip(whole.performances, puppet.performances, strict=True):
        assert np.array_equal(kept.bases, given.bases)
