"""The first picture of a subject."""

import numpy as np

from restage4d.reconstruct.sketch import sketch_body


def test_a_disc_becomes_a_round_body_that_stands_on_the_ground():
    y, x = np.mgrid[:120, :160]
    mask = np.hypot(y - 60, x - 90) < 40
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[..., 0], frame[..., 1] = y, x
    sketch = sketch_body(frame, mask)
    assert len(sketch.points) == len(sketch.rgb) == 2 * mask.sum()
    low, high = sketch.points.min(0), sketch.points.max(0)
    assert low[2] == 0
    assert np.allclose(high - low, [1, 2**0.5 / 2, 1], atol=0.03)  # a disc of R is R/√2 thick
    assert abs(low[0] + high[0]) < 0.02
    top = sketch.points[:, 2].argmax()
    assert sketch.rgb[top, 0] == 21  # the disc's first row


def test_a_large_subject_is_thinned_out_and_none_is_empty():
    frame = np.zeros((120, 160, 3), np.uint8)
    assert 3000 < len(sketch_body(frame, np.ones((120, 160), bool), most=4000).points) <= 4000
    assert sketch_body(frame, np.zeros((120, 160), bool)).points.shape == (0, 3)
