"""The fast ways to masks against readable ones: random walks, colours' table, distances, the
background's motion."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from restage4d.clips import Clip, rewind
from restage4d.priors.masks import likelihood_ratio
from restage4d.priors.masks.following.kernels import list_offsets, measure_distances
from restage4d.priors.masks.likelihood_ratio import ColourLogLikelihoodRatio
from restage4d.priors.masks.limbs import add_standing_limbs
from restage4d.priors.masks.random_walk import (
    RandomWalk,
    compute_ties,
    walk_randomly,
    walk_randomly_reference,
)
from restage4d.priors.motion.background_motion import NODE, BackgroundMotion, BackgroundStep
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.priors.motion.revealed_background import _choose_by_rank
from restage4d.progress import Progress


def make_picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth colours (H, W, 3), as Lab's are."""
    noise = rng.normal(50, 40, (height, width, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


@pytest.mark.parametrize("share", [0.2, 0.8, 1.0])
def test_walks_end_where_the_matrices_say(share):
    rng = np.random.default_rng(3)
    lab = make_picture(rng, 50, 70)
    logit = np.asarray(cv2.GaussianBlur(rng.normal(0, 6, (50, 70)), (0, 0), 2), np.float32)
    rows, cols = np.nonzero(rng.random((50, 70)) < share)
    walked = walk_randomly(rows, cols, logit, lab, 2.0, 0.02)
    assert np.allclose(walked, walk_randomly_reference(rows, cols, logit, lab, 2.0, 0.02))
    assert np.abs(walked - 1 / (1 + np.exp(-logit)))[rows, cols].mean() > 0.01


def test_walks_over_the_same_pixels_share_their_ties():
    rng = np.random.default_rng(4)
    lab = make_picture(rng, 40, 60)
    known, inside = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    known[:, :20], inside[5:35, 10:50] = True, True
    rows, cols = np.nonzero(inside)
    walk = RandomWalk(rows, cols, known, compute_ties(lab, 2.0, 0.02))
    for own in (0.0, -1.5, 1.0):
        logit = np.where(known, 6.0, -6.0).astype(np.float32)
        logit[inside] = own
        alone = walk_randomly_reference(rows, cols, logit, lab, 2.0, 0.02)
        assert np.allclose(walk(logit[inside]), alone[inside], atol=1e-6)


def test_a_walk_over_no_pixels_or_to_no_label_ends():
    """A portrait that fills the picture's lower part leaves no place for a limb."""
    lab = make_picture(np.random.default_rng(6), 30, 40)
    ties, nothing = compute_ties(lab, 2.0, 0.02), np.zeros((30, 40), bool)
    none = np.zeros(0, np.intp)
    assert RandomWalk(none, none, nothing, ties)(np.zeros(0, np.float32)).shape == (0,)
    rows, cols = np.nonzero(~nothing)
    low = RandomWalk(rows, cols, nothing, ties)(np.full(len(rows), -80, np.float32))
    assert np.abs(low).max() < 1e-6
    mask = np.zeros((30, 40), bool)
    mask[12:] = True
    change = np.full((30, 40), 3, np.float32)
    for subject, seen in ((mask, change), (~nothing, change), (mask, np.full_like(change, np.nan))):
        assert np.array_equal(add_standing_limbs(lab, seen, subject), subject)


@pytest.mark.parametrize("shift", [0, 60])  # colours at the table's end, too
def test_colours_are_smoothed_as_over_the_whole_table(shift):
    rng = np.random.default_rng(5)
    lab = rng.normal((50, 5, -5 + shift), (12, 6, 9), (60, 70, 3)).astype(np.float32)
    ratio = ColourLogLikelihoodRatio()
    ratio.learn(lab, rng.random((60, 70)), rng.random((60, 70)))
    share = [
        ndimage.gaussian_filter(c.reshape(likelihood_ratio._BINS), 1.0, mode="constant") / c.sum()
        for c in ratio._count
    ]
    whole = np.log((share[0] + likelihood_ratio._NEVER) / (share[1] + likelihood_ratio._NEVER))
    assert np.allclose(ratio._compute_table(), whole.ravel(), atol=1e-6)


def test_distances_are_the_smallest_around():
    rng = np.random.default_rng(6)
    height, width, radius, size, far = 30, 40, 2, 2, 0.6
    here, there = (rng.normal(0, 3, (height, width, 7)).astype(np.float32) for _ in range(2))
    mask = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), 4)
    mask = (mask - mask.min()) / np.ptp(mask)
    mask[:, 30:] = 0  # nothing of the subject is near
    flow = rng.normal(0, 3, (height, width, 2)).astype(np.float32)
    rows, cols = (i.ravel() for i in np.indices((height, width)))
    steps = list_offsets(radius)
    found = measure_distances(rows, cols, here, there, mask, flow, steps, size, far)
    for i in rng.choice(len(rows), 200, replace=False):
        at = np.rint(np.array([rows[i], cols[i]]) + flow[rows[i], cols[i], ::-1])
        best = [1e9, 1e9]
        for step in steps:
            v, u = (at + step * size).astype(int)
            if 0 <= v < height and 0 <= u < width and not 0.35 < mask[v, u] < 0.65:
                apart = ((here[rows[i], cols[i]] - there[v, u]) ** 2).sum() + far * (step**2).sum()
                kind = int(mask[v, u] < 0.5)
                best[kind] = min(best[kind], float(apart))
        assert found[i] == pytest.approx(best, rel=1e-5)
    assert (found[:, 0] == 1e9).any()
    alone = measure_distances(rows, cols, here, there, mask, flow, steps, size, far, True)
    assert np.array_equal(alone[:, 1], found[:, 1])
    assert (alone[:, 0] == 1e9).all()


def make_step(second: bool, mesh: bool) -> tuple[BackgroundStep, np.ndarray]:
    """The motion of a picture of 96 x 64 and 200 places, some outside of it."""
    rng = np.random.default_rng(7)
    step = BackgroundStep(np.full((64, 96, 2), 1.5, np.float32))
    step._planes = [
        np.eye(3) + rng.normal(0, 1, (3, 3)) * [[0.02, 0.02, 3], [0.02, 0.02, 3], [1e-4, 1e-4, 0]]
        for _ in range(2)
    ]
    if second:
        step._second = np.zeros((64 // step._grid, 96 // step._grid), bool)
        step._second[:, 20:] = True
    if mesh:
        step.mesh = rng.normal(0, 1, (42, 2))
    return step, (rng.random((200, 2)) * (130, 90) - (20, 15)).astype(np.float32)


@pytest.mark.parametrize(("second", "mesh"), [(False, False), (True, False), (False, True)])
def test_the_background_goes_by_planes_and_mesh(second, mesh):
    step, xy = make_step(second, mesh)
    goes = [cv2.perspectiveTransform(xy[None], plane)[0] for plane in step._planes]
    end = goes[0]
    if second:
        end = np.where((xy[:, 0] >= 20 * step._grid)[:, None], goes[1], end)
        assert 20 < (end == goes[1]).all(1).sum() < 180
    if mesh:
        index, weight = step._find_cell(xy)
        assert step.mesh is not None
        end = end + (step.mesh[index] * weight[..., None]).sum(1)
    assert np.allclose(step(xy), end, atol=1e-5)
    assert step(xy).dtype == np.float32


def test_a_part_of_the_background_goes_where_the_whole_does():
    rng = np.random.default_rng(8)
    wide = rng.integers(0, 255, (60, 140, 3)).astype(np.uint8)
    wide = np.asarray(cv2.GaussianBlur(wide, (0, 0), 2), np.uint8)
    frames = np.stack([wide[:, 3 * t : 3 * t + 96] for t in range(8)])
    rewound = rewind(Clip(frames, 24.0), [])
    flow = compute_optical_flow(rewound, Progress())
    motion = BackgroundMotion(rewound, flow, np.zeros(frames.shape[:3], bool))
    numbers, places = motion.locate_background(4, (1, 2, 3))
    part = slice(2, 5), slice(1, 9)
    same, some = motion.locate_background(4, (1, 2, 3), part)
    assert np.array_equal(same, numbers)
    assert np.array_equal(some, places[:, part[0], part[1]])
    ahead = places[list(numbers).index(rewound.parent[4]), 3, 5]
    assert abs(ahead[0] - 5 * NODE) == pytest.approx(3, abs=0.3)


def test_what_a_share_of_frames_is_less_than():
    apart = np.array([4, np.inf, 1, 3, np.inf, 2, 5], np.float32)
    values = np.stack([apart, np.roll(apart, 2), np.full(7, np.inf)], 1)[:, None]
    chosen = _choose_by_rank(values.astype(np.float32), 3, 0.3)
    assert chosen[0, :2].tolist() == [2, 2]  # the second of five
    assert np.isnan(chosen[0, 2])
    assert np.isnan(_choose_by_rank(values[:, :, :1].astype(np.float32), 6, 0.3)).all()
