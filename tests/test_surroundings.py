"""Surroundings that a mask took along go, and the subject stays."""

import cv2
import numpy as np
import pytest
from moving import moving

from restage4d.priors.masks.selecting.surroundings import (
    find_surroundings,
    remove_still_pieces,
    remove_surroundings,
)
from restage4d.priors.motion.first_motion import OwnMotion, measure_motion
from restage4d.progress import Progress

H, W = 120, 160
BODY = np.s_[20:80, 50:110]
LEG = np.s_[80:96, 56:62]


def _picture() -> tuple[np.ndarray, np.ndarray]:
    """A rough red body with a dark leg on plain, slightly rough ground; frame and mask."""
    rng = np.random.default_rng(0)
    frame = rng.integers(145, 155, (H, W, 1)).repeat(3, 2).astype(np.uint8)
    mask = np.zeros((H, W), bool)
    mask[BODY] = mask[LEG] = True
    frame[BODY] = rng.integers((120, 20, 20), (240, 90, 60), (60, 60, 3))
    frame[LEG] = rng.integers((40, 5, 5), (90, 30, 30), (16, 6, 3))
    return frame, mask


def _lab(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


@pytest.mark.parametrize("light", [1.0, 0.75, 0.5])
def test_ground_and_shadow_below_the_subject_go(light):
    frame, body = _picture()
    taken = np.zeros_like(body)
    taken[84:100, 70:130] = True
    frame[taken] = (frame[taken] * light).astype(np.uint8)
    cleaned = remove_surroundings(_lab(frame), frame, body | taken)
    assert (cleaned & taken).sum() < 0.05 * taken.sum()
    assert (cleaned & body).sum() > 0.98 * body.sum()


def test_a_shadow_with_a_soft_edge_goes():
    frame, body = _picture()
    shade = np.zeros((H, W), np.float32)
    shade[84:104, 60:130] = 0.6
    shade = cv2.GaussianBlur(shade, (0, 0), 1.5) * ~body
    frame = (frame * (1 - shade[..., None])).astype(np.uint8)
    taken = (shade > 0.1) & ~body
    cleaned = remove_surroundings(_lab(frame), frame, body | taken)
    assert (cleaned & taken).sum() < 0.2 * taken.sum()
    assert (cleaned & body).sum() > 0.98 * body.sum()


def test_what_looks_like_the_backdrop_beside_it_goes_anywhere():
    frame, body = _picture()
    taken = np.zeros_like(body)
    taken[10:20, 60:90] = True
    cleaned = remove_surroundings(_lab(frame), frame, body | taken)
    assert (cleaned & taken).sum() < 0.1 * taken.sum()
    assert (cleaned & body).sum() > 0.98 * body.sum()


def test_a_dark_leg_and_a_dark_place_above_are_no_shadow():
    frame, body = _picture()
    frame[22:40, 52:108] //= 2  # of its own colour
    frame[66:80, 66:100] = (110, 70, 60)  # as smooth as the ground
    frame[20:30, 70:90] = 70  # grey as the ground, darker, but not in the lower part
    assert not find_surroundings(frame, body).any()
    np.testing.assert_array_equal(remove_surroundings(_lab(frame), frame, body), body)


def test_a_smooth_dark_part_on_rough_ground_is_no_shadow():
    frame, body = _picture()
    rough = np.random.default_rng(2).integers(110, 190, (H, W, 1)).astype(np.uint8)
    frame = np.where(body[..., None], frame, rough)
    frame[66:80, 66:100] = np.random.default_rng(3).integers(72, 78, (14, 34, 1))
    assert not find_surroundings(frame, body).any()


def test_a_subject_that_looks_like_its_surroundings_is_left_alone():
    frame, body = _picture()
    frame[body] = np.random.default_rng(1).integers(145, 155, (int(body.sum()), 1))
    np.testing.assert_array_equal(remove_surroundings(_lab(frame), frame, body), body)


def test_what_stands_still_goes_unless_it_is_thin():
    _, body = _picture()
    chair = np.zeros_like(body)
    chair[30:60, 110:140] = True
    moving = np.where(body, 20, 1).astype(np.float32)
    moving[LEG] = 1  # a foot on the ground
    known = np.ones_like(body)
    motion = OwnMotion(moving, np.zeros((H, W, 2), np.float32), known)
    cleaned = remove_still_pieces(motion, body | chair)
    assert not (cleaned & chair).any()
    np.testing.assert_array_equal(cleaned, body)
    slow = OwnMotion((moving / 8).astype(np.float32), motion.velocity, known)
    unknown = OwnMotion(moving, motion.velocity, known & ~chair)
    for left_alone in (slow, unknown):
        np.testing.assert_array_equal(remove_still_pieces(left_alone, body | chair), body | chair)


def test_background_that_gets_hidden_does_not_move():
    scene = moving()
    masks, motion = scene.masks, measure_motion(scene.clip, Progress())
    hidden = masks.any(0) & (cv2.dilate(masks[0].astype(np.uint8), np.ones((9, 9))) == 0)
    assert hidden.sum() > 50
    inside = cv2.erode(masks[0].astype(np.uint8), np.ones((9, 9))) > 0
    assert np.median(motion.moving[inside]) > 4
    assert np.mean(motion.moving[hidden] > 4) < 0.2
