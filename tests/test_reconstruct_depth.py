"""Depth before lifting: pixel noise goes, edges stay, a drifting scale is held to what stands
still."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import Truth, hinge_scene

from restage4d.reconstruct.motion.depth import denoise_depth, estimate_frame_scales, prepare_depth


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=6, n_driving=6)


def test_noise_of_pixels_goes_and_edges_stay():
    rng = np.random.default_rng(0)
    column = np.arange(60, dtype=np.float32)
    clean = np.tile(np.where(column < 30, 2 + 0.004 * column, 3.0), (40, 1)).astype(np.float32)
    clean[:5] = 0  # unknown
    noisy = clean * (1 + 0.02 * rng.standard_normal(clean.shape)).astype(np.float32)
    quiet = denoise_depth(noisy)
    assert (quiet[:5] == 0).all()
    known = clean > 0
    error = np.abs(quiet / np.maximum(clean, 1e-6) - 1)[known]
    assert error.mean() < 0.5 * 0.016  # of the noise's mean absolute value
    assert (quiet[8:, 29] < 2.3).all()
    assert (quiet[8:, 30] > 2.8).all()
    assert np.allclose(denoise_depth(clean), clean, rtol=4e-3)


def test_drifting_scale_is_held_to_the_background(truth):
    rng = np.random.default_rng(1)
    drift = np.exp(0.02 * np.cumsum(rng.standard_normal(len(truth.rewound))))
    seam = truth.rewound.seam
    drift /= drift[seam]
    depth = (truth.priors.depth * drift[:, None, None]).astype(np.float32)
    still = estimate_frame_scales(truth.rewound, replace(truth.priors, depth=depth), depth)
    driving = truth.rewound.video(1)
    assert np.abs(still * drift - 1)[driving].max() < 0.004  # these cameras stand where b_0's does
    base = truth.rewound.video(0)[1:]  # these travel: half of what is found counts
    assert np.abs(np.log(still * np.sqrt(drift)))[base].max() < 0.01


def test_depth_without_drift_keeps_its_scale(truth):
    scale = estimate_frame_scales(truth.rewound, truth.priors, truth.priors.depth)
    assert np.abs(scale - 1).max() < 0.004
    prepared = prepare_depth(truth.rewound, truth.priors)
    subject = truth.priors.masks > 0.5
    assert np.median(np.abs(prepared / np.maximum(truth.priors.depth, 1e-6) - 1)[subject]) < 0.005


def test_too_little_background_keeps_the_scale(truth):
    priors = replace(truth.priors, masks=np.ones_like(truth.priors.masks))
    assert (estimate_frame_scales(truth.rewound, priors, truth.priors.depth) == 1).all()
