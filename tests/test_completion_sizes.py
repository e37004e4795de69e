"""Sizes of the far side's Gaussians: no gaps, and nothing beyond its room."""

import numpy as np
import pytest
from discs import FOCAL, NEAR, make_front, make_model

from restage4d.reconstruct.fusion.completing.sizes import close_gaps, limit_sizes

GAP = NEAR / FOCAL  # a pixel, which lies between the disc's Gaussians


def test_sparse_gaussians_reach_one_another_as_far_as_they_have_room():
    front = make_front()
    model = make_model(front, np.zeros(len(front)))
    before = model.params["subject.log_scales"].detach().exp().numpy()
    rows = np.arange(100, 400)
    most = np.where(rows < 200, 0.7 * GAP, 0.45 * GAP).astype(np.float32)
    close_gaps(model, front, rows, most)
    after = model.params["subject.log_scales"].detach().exp().numpy()
    least = after[rows, 0]
    assert (least <= most + 1e-6).all()
    assert np.median(least[rows < 200]) == pytest.approx(0.6 * GAP, rel=1e-3)
    assert least[rows >= 200] == pytest.approx(0.45 * GAP, rel=1e-3)
    assert after[rows][:, :2] == pytest.approx(np.stack([least, least], 1), rel=1e-3)
    assert after[rows][:, 2] == pytest.approx(before[rows][:, 2]), "they stay thin"
    np.testing.assert_array_equal(np.delete(after, rows, 0), np.delete(before, rows, 0))


def test_one_that_lies_alone_does_not_fill_the_void():
    front = make_front()
    front[-1] += 50
    model = make_model(front, np.zeros(len(front)))
    close_gaps(model, front, np.arange(len(front)), np.full(len(front), 9.0, np.float32))
    wide = model.params["subject.log_scales"].detach().exp().numpy().max(1)
    assert wide[-1] < 4 * np.median(wide)


def test_what_is_large_enough_stays_and_what_is_too_large_is_cut():
    front = make_front()
    model = make_model(front, np.zeros(len(front)))
    close_gaps(model, front, np.arange(len(front)), np.full(len(front), 1e-3, np.float32))
    sizes = model.params["subject.log_scales"].detach().exp().numpy()
    assert sizes == pytest.approx(np.tile([[0.016, 0.016, 0.008]], (len(front), 1)))
    limit_sizes(model, np.arange(50), 0.01)
    sizes = model.params["subject.log_scales"].detach().exp().numpy()
    assert sizes[:50] == pytest.approx(np.tile([[0.01, 0.01, 0.008]], (50, 1)))
    assert sizes[50:, 0] == pytest.approx(0.016)
