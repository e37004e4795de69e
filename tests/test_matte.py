"""What is taken off a mask: ground in the subject's shadow, and never dark legs."""

import cv2
import numpy as np
import pytest

from restage4d.reconstruct.fusion.matte import find_shadow

GRASS, FUR, SAND = (90, 120, 60), (180, 90, 40), (190, 160, 130)


def draw(ground, fur, leg, light=0.45):
    """A body (rows 10-40) on two legs (rows 40-70) with a shadow between them in the mask:
    picture, plate, mask, shadow."""
    rng = np.random.default_rng(0)
    plate = np.float32(ground) * rng.uniform(0.95, 1.05, (100, 120, 1)).astype(np.float32)
    picture, mask = plate.copy(), np.zeros((100, 120), bool)
    shadow = np.zeros_like(mask)
    shadow[66:70, 40:80] = True
    picture[shadow] *= light
    parts = ((10, 40, 30, 90, fur), (40, 70, 28, 40, leg), (40, 70, 80, 92, leg))
    for top, bottom, left, right, colour in parts:
        mask[top:bottom, left:right] = True
        picture[top:bottom, left:right] = colour
        shadow[top:bottom, left:right] = False
    return picture, plate, mask | shadow, shadow


def find_inside(mask):
    """Without its rim, whose pixels mix both tints."""
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def test_shadow_between_the_feet_is_found():
    picture, plate, mask, shadow = draw(GRASS, FUR, FUR)
    found, (above, below) = find_shadow(picture, plate, np.ones_like(mask), mask)
    assert found[shadow].mean() > 0.6
    assert not found[find_inside(mask & ~shadow)].any()
    assert above == 0
    assert 0.1 < below < 0.3


def test_dark_legs_on_grass_stay():
    picture, plate, mask, shadow = draw(GRASS, FUR, (40, 25, 18))
    found, _ = find_shadow(picture, plate, np.ones_like(mask), mask)
    assert found[shadow].mean() > 0.6
    assert not found[find_inside(mask & ~shadow)].any()


def test_a_body_of_the_grounds_tint_says_so():
    """A camel on sand: its shaded flank looks like sand in shadow, and so might its legs."""
    picture, plate, mask, _ = draw(SAND, tuple(0.6 * c for c in SAND), FUR)
    _, (above, _) = find_shadow(picture, plate, np.ones_like(mask), mask)
    assert above > 0.5


@pytest.mark.parametrize("why", ["never seen", "does not fit", "no light lost"])
def test_no_shadow_without_a_plate_to_compare(why):
    picture, plate, mask, _ = draw(GRASS, FUR, FUR, light=1.0 if why == "no light lost" else 0.45)
    seen = np.full(mask.shape, why != "never seen")
    if why == "does not fit":
        plate = plate * np.float32([1.3, 0.8, 1.1])
    assert not find_shadow(picture, plate, seen, mask)[0].any()


def test_legs_nearer_to_the_bodys_tint_stay():
    """A brown-green animal on grass: its shaded legs are not quite its own tint, and less the
    grass's."""
    picture, plate, mask, shadow = draw(GRASS, (132, 111, 57), (62, 58, 31))
    found, _ = find_shadow(picture, plate, np.ones_like(mask), mask)
    assert not found[find_inside(mask & ~shadow)].any()
