"""Faults of the subject's masks, and subjects that cannot be followed."""

import cv2
import numpy as np
import pytest
from moving import moving

from restage4d.checks.followable import check_following, measure_following
from restage4d.checks.masks import check_first_mask, check_masks, measure_masks, measure_scale
from restage4d.clips import Tracks


@pytest.fixture
def masks() -> np.ndarray:
    return moving(frames=20).masks.astype(np.float32)


def codes(masks: np.ndarray, **about) -> list[tuple[str, str, int, int]]:
    found = check_masks(masks, **about)
    return [(f.code, f.severity, f.first_frame, f.last_frame) for f in found]


def test_good_masks_have_no_findings(masks):
    assert codes(masks) == []
    figures = measure_masks(masks)
    np.testing.assert_allclose(figures.area[0], np.pi * 24 * 17 / (160 * 112), rtol=0.02)
    np.testing.assert_allclose(figures.middle[4], (58.5 + 10, 60.5 + 2), atol=0.1)
    assert (figures.largest == 1).all()
    assert (figures.border == 0).all()


def test_a_mask_that_shrinks_is_found_where_it_does(masks):
    masks[7:12, :, :] *= np.arange(112)[:, None] < 52  # the top is left
    assert codes(masks) == [("mask-shrunk", "warning", 7, 11)]
    (found,) = check_masks(masks, video="restaged")
    assert found.text == (
        "The subject's mask is below 25% of its area in the first frame in restaged, frames 7-11."
    )


def test_a_mask_that_grows_unless_its_points_explain_it(masks):
    wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (47, 47))
    masks[5:9] = [cv2.dilate(mask, wide) for mask in masks[5:9]]
    assert ("mask-grown", "warning", 5, 8) in codes(masks)
    scale = np.ones(20)
    scale[5:9] = 2.0
    assert codes(masks, scale=scale) == []


def test_the_scale_of_the_subject_by_its_points():
    rng = np.random.default_rng(1)
    true = np.exp(np.linspace(0, 1.2, 10))
    places = rng.uniform(-30, 30, (80, 1, 2)) * true[:, None] + [80, 60]
    tracks = Tracks(
        places.astype(np.float32),
        rng.random((80, 10)) < 0.7,
        np.ones((80, 10), np.float32),
        np.zeros(80, np.int32),
    )
    np.testing.assert_allclose(measure_scale(tracks, np.arange(10)), true, rtol=1e-3)
    np.testing.assert_allclose(measure_scale(tracks, np.arange(10)[::-1])[-1], 1 / true[-1], 1e-3)


def test_pieces(masks):
    masks[4:6, :, 60:72] = 0
    assert codes(masks) == [("mask-pieces", "warning", 4, 5)]
    masks[:, :, 60:72] = 0  # as selected: not the propagation's fault
    assert codes(masks) == []


def test_a_jump(masks):
    masks[13:] = np.roll(masks[13:], (-40, 30), (1, 2))
    assert codes(masks) == [("mask-jump", "warning", 13, 13)]


def test_fast_motion_is_no_jump():
    fast = moving(frames=8, step=(11.0, 0.0)).masks.astype(np.float32)
    assert [f.code for f in check_masks(fast) if f.code == "mask-jump"] == []


def test_a_lost_subject(masks):
    masks[15:] = 0
    assert codes(masks) == [("subject-lost", "warning", 15, 19)]
    masks[5:] = 0
    assert codes(masks) == [("subject-lost", "refuse", 5, 19)]
    masks[:] = 0
    assert codes(masks) == [("subject-lost", "refuse", 0, 0)]


def test_a_subject_cut_off_by_the_border():
    masks = moving(frames=20, step=(-3.0, 0.0)).masks.astype(np.float32)
    ((code, severity, first, last),) = codes(masks)
    assert (code, severity, last) == ("subject-cut-off", "warning", 19)
    assert abs(first - (58 - 24) / 3) < 2
    assert codes(masks[:14])[0][:2] == ("subject-cut-off", "note")
    masks[:, :, :8] = -1  # an unknown band is border too
    assert codes(masks)[0][2] < first


@pytest.mark.parametrize(
    ("share", "finding"),
    [
        (0.0005, ("subject-small", "refuse")),
        (0.01, ("subject-small", "warning")),
        (0.02, None),
        (0.7, None),
        (0.9, ("subject-large", "warning")),
        (0.96, ("subject-large", "refuse")),
    ],
)
def test_the_size_of_the_selection(share, finding):
    mask = np.zeros((100, 200), bool)
    mask.ravel()[: round(share * mask.size)] = True
    found = [(f.code, f.severity) for f in check_first_mask(mask)]
    assert found == ([finding] if finding else [])


def water(frames: int, keeps: float) -> np.ndarray:
    """Waves: a texture of which each frame keeps a share and the rest is new."""
    rng = np.random.default_rng(4)
    drawn, pictures = None, []
    for _ in range(frames):
        noise = cv2.GaussianBlur(rng.normal(size=(112, 160)).astype(np.float32), (0, 0), 2.0)
        noise /= noise.std()
        drawn = noise if drawn is None else keeps * drawn + np.sqrt(1 - keeps**2) * noise
        pictures.append(np.clip(120 + 30 * drawn, 0, 255).astype(np.uint8))
    return np.repeat(np.stack(pictures)[..., None], 3, -1)


def test_a_solid_subject_can_be_followed():
    scene = moving(frames=20)
    shares = measure_following(scene.clip.frames, scene.masks.astype(np.float32))
    assert np.median(shares[:, 1]) > 0.6
    assert check_following(scene.clip.frames, scene.masks.astype(np.float32)) == []


@pytest.mark.parametrize(("keeps", "severity"), [(0.78, "warning"), (0.5, "refuse")])
def test_water_cannot_be_followed(keeps, severity):
    scene = moving(frames=20)
    frames = np.where(scene.masks[..., None], water(20, keeps), scene.clip.frames)
    (found,) = check_following(frames, scene.masks.astype(np.float32))
    assert (found.code, found.severity) == ("unfollowable", severity)
    assert "water" in found.text


def test_a_plain_subject_cannot_be_followed():
    scene = moving(frames=20)
    frames = np.where(scene.masks[..., None], np.uint8(90), scene.clip.frames)
    (found,) = check_following(frames, scene.masks.astype(np.float32))
    assert found.code == "unfollowable"
