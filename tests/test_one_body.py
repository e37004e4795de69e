"""A fit's puppet becomes one body."""

import numpy as np
import pytest
from samples import box_puppet, sheet_puppet, spread_dots

from restage4d.evaluate.metrics.pieces import measure_unity
from restage4d.progress import Progress
from restage4d.puppet import Puppet
from restage4d.reconstruct.one_body import make_one_body

FRAMES, TORN = 6, 4


def mend(puppet: Puppet) -> tuple[Puppet, int]:
    width, height = puppet.performances[0].size
    return make_one_body(puppet, [np.zeros((FRAMES, height, width), np.float32)] * 2, Progress())


def test_what_tore_off_a_part_that_hung_apart_comes_back():
    chest = spread_dots(6000, (-0.2, 0.2), (-0.1, 0.1), (0.29, 0.29))
    arm = spread_dots(2000, (-0.06, 0.18), (-0.06, 0.06), (0.245, 0.245))
    hand = spread_dots(1000, (0.18, 0.26), (-0.06, 0.06), (0.245, 0.245))
    torn = sheet_puppet([chest, arm, hand], frames=FRAMES)
    torn.performances[1].bases[1, TORN, 7] += 0.5
    whole, bridging = mend(torn)
    assert bridging > 0
    for performance in whole.performances:
        assert measure_unity(whole, performance).min() > 0.999
    bases = whole.performances[1].bases
    assert bases[1, TORN, 6:] == pytest.approx(bases[1, 0, 6:], abs=0.02)


def test_a_whole_puppet_gets_nothing():
    puppet = box_puppet(frames=FRAMES)
    whole, bridging = mend(puppet)
    assert bridging == 0
    assert len(whole.subject) > 0.99 * len(puppet.subject)
    for kept, given in zip(whole.performances, puppet.performances, strict=True):
        assert np.array_equal(kept.bases, given.bases)
