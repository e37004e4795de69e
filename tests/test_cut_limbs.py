"""Limbs that a mask cuts off where they look like the ground and stand: strips go on below it."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restage4d.clips import Clip, Selection
from restage4d.priors.masks.limbs import trace_limbs
from restage4d.priors.masks.selecting.select import select_subject
from restage4d.priors.masks.strips import find_strips
from restage4d.priors.motion.smooth_colours import smooth_lab
from restage4d.progress import Progress

H, W = 150, 220
WHITE, EARTH, DARK = (205, 200, 190), (120, 105, 90), (70, 70, 72)
MOVES = np.full((H, W), 9, np.float32)
Bool = NDArray[np.bool_]


def draw_line(a: tuple[float, float], b: tuple[float, float], wide: int) -> Bool:
    picture = np.zeros((H, W), np.uint8)
    ends = [(round(16 * x), round(16 * y)) for x, y in (a, b)]
    cv2.line(picture, ends[0], ends[1], 1, wide, shift=4)
    return picture > 0


def draw_body(x: float) -> Bool:
    rows, cols = np.indices((H, W))
    return ((cols - x) / 48) ** 4 + ((rows - 55) / 22) ** 4 < 1


def cow(
    stones: int, sway: float, frames: int = 12
) -> tuple[Clip, NDArray[np.bool_], NDArray[np.bool_], Bool]:
    """A white animal that sways on legs which stand for the whole clip on earth with white stones,
    a post beside it: the clip, masks (T, H, W) of the animal and of its legs, and the post."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (H, 3 * W)).astype(np.float32), (0, 0), 1.2)
    ground = np.array(EARTH, np.float32) * (1 + 0.1 * (noise / noise.std())[..., None])
    for x, y in zip(rng.integers(0, 3 * W, stones), rng.integers(76, H, stones), strict=True):
        cv2.ellipse(ground, (int(x), int(y)), (6, 3), 0, 0, 360, WHITE, -1)
    spots = cv2.GaussianBlur(rng.normal(0, 1, (H, W)).astype(np.float32), (0, 0), 7)
    coat = np.where((spots > 0.03)[..., None], np.array((140, 75, 40), np.float32), WHITE)
    rows, cols = np.indices((H, W)).astype(np.float32)
    post = draw_line((172, 60), (176, 149), 5)
    pictures, masks, legs = [], [], []
    for t in range(frames):
        x = 100 + sway * t
        picture = cv2.remap(ground, cols + W + 0.5 * t, rows, cv2.INTER_LINEAR)
        body = draw_body(x)
        limbs = [
            draw_line((x + a, 65), (100 + b - 0.5 * t, 128), 7) for a, b in ((-34, -38), (32, 36))
        ]
        leg = np.any(limbs, axis=0) & ~body
        picture = np.where(post[..., None], np.array(DARK, np.float32), picture)
        picture = np.where(leg[..., None], np.array(WHITE, np.float32), picture)
        fur = cv2.remap(coat, cols - np.float32(t), rows, cv2.INTER_LINEAR)
        picture = np.where(body[..., None], fur, picture)
        pictures.append(np.clip(cv2.GaussianBlur(picture, (0, 0), 0.6), 0, 255).astype(np.uint8))
        masks.append(body | leg)
        legs.append(leg)
    return Clip(np.stack(pictures), 24.0), np.stack(masks), np.stack(legs), post


@pytest.fixture(scope="module")
def scene():
    return cow(70, 1.0)


def cut(scene) -> tuple[NDArray[np.float32], Bool, Bool, Bool]:
    """The first frame's colours, a mask that ends below the knees, what it lacks, and the post."""
    clip, masks, _, post = scene
    above = np.arange(H)[:, None] < 92
    return smooth_lab(clip.frames[0], 0.7), masks[0] & above, masks[0] & ~above, post


def test_what_goes_on_below_a_cut_is_traced(scene):
    lab, mask, missing, post = cut(scene)
    found = trace_limbs(lab, MOVES, mask)
    assert not (found & mask).any()
    assert (found & missing).sum() > 0.8 * missing.sum()
    assert (found & ~missing).sum() < 0.15 * found.sum()
    assert not (found & post).any()


def test_a_whole_animal_gets_no_more_limbs(scene):
    clip, masks, _, _ = scene
    lab = smooth_lab(clip.frames[0], 0.7)
    assert trace_limbs(lab, MOVES, masks[0]).sum() < 0.01 * masks[0].sum()


def test_what_passes_behind_a_limb_or_beside_it_is_not_traced():
    """It hangs on the mask by less than its width, or along its side."""
    body, leg, post, shadow = (
        draw_body(100),
        draw_line((90, 70), (90, 115), 8),
        *(np.zeros((H, W), bool) for _ in range(2)),
    )
    leg &= ~body
    post[113:145, 94:102] = True  # its corner alone touches the leg
    shadow[70:118, 95:99] = True
    for other in (post, shadow & ~body & ~leg):
        lab = np.zeros((H, W, 3), np.float32)
        lab[body | leg | other] = (50, 5, 10)
        assert not (trace_limbs(lab, MOVES, body | leg) & other).any()
        lower = leg & (np.arange(H)[:, None] > 95)
        assert (trace_limbs(lab, MOVES, (body | leg) & ~lower) & lower).sum() > 0.8 * lower.sum()


def test_what_ends_high_above_the_feet_is_no_leg():
    body, legs = draw_body(100), draw_line((85, 70), (85, 145), 8)
    short, long = (draw_line((120, 70), (120, end), 8) & ~body for end in (98, 130))
    for limb, traced in ((short, False), (long, True)):
        lab = np.zeros((H, W, 3), np.float32)
        lab[body | legs | limb] = (50, 5, 10)
        found = trace_limbs(lab, MOVES, body | legs)
        assert (found & limb).sum() > 0.8 * limb.sum() if traced else not found.any()


def test_nothing_hangs_on_what_stands_while_the_rest_moves(scene):
    """A mask took a spectator along: what goes on below is the spectator's."""
    lab, mask, missing, _ = cut(scene)
    left = np.arange(W)[None] < 80
    found = trace_limbs(lab, np.where(left, 0.3 * MOVES / 9, MOVES), mask)
    assert not (found & left).any()
    assert (found & missing & ~left).sum() > 0.8 * (missing & ~left).sum()
    hardly = np.where(left, 0.3 * MOVES / 9, MOVES / 3)  # where all but stands, nothing is told
    assert (trace_limbs(lab, hardly, mask) & missing & left).any()


def test_a_large_picture_tells_the_same(scene):
    lab, mask, missing, _ = cut(scene)
    size = 3 * W, 3 * H
    large = cv2.resize(lab, size, interpolation=cv2.INTER_CUBIC)
    mask, missing = (
        cv2.resize(part.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for part in (mask, missing)
    )
    found = trace_limbs(np.asarray(large, np.float32), np.full(size[::-1], 9, np.float32), mask)
    assert (found & missing).sum() > 0.8 * missing.sum()
    assert (found & ~missing).sum() < 0.15 * found.sum()


def test_a_strip_follows_a_slanting_limb_to_its_end():
    lab = np.zeros((H, W, 3), np.float32)
    body = draw_body(100)
    limb = draw_line((100, 70), (130, 130), 8) & ~body
    lab[body | limb] = (50, 5, 10)
    near = (np.arange(H)[:, None] > 55) & ~body
    (score, strip), *others = find_strips(lab, np.where(limb, np.float32(1), -1), body, near)
    assert score > 20
    assert (strip & limb).sum() > 0.95 * strip.sum()
    assert (strip & limb).any(1).sum() > 0.95 * limb.any(1).sum()
    assert all(other < 1 for other, _ in others)
    assert find_strips(lab, lab[..., 0], body, np.zeros_like(body)) == []


def test_an_empty_mask_has_no_limbs():
    assert not trace_limbs(np.zeros((H, W, 3), np.float32), MOVES, np.zeros((H, W), bool)).any()


def test_a_click_finds_white_legs_that_stand_among_white_stones():
    clip, masks, legs, post = cow(300, 0.4)
    found = select_subject(clip, Selection(point=(100.0, 55.0)), Progress())
    assert (found & legs[0]).sum() > 0.85 * legs[0].sum()  # 0.52 by the other clues
    assert (found & masks[0]).sum() > 0.88 * (found | masks[0]).sum()
    assert not (found & post).any()
