"""The subject in the first frame from any side, laid over a scene."""

import numpy as np
import pytest
from silhouettes import draw_quadruped

from restage4d.clips import Clip
from restage4d.driving.draft.driver import KinematicDriving, model_body
from restage4d.driving.draft.standing_body import StandingBody
from restage4d.progress import Progress

MASK = draw_quadruped()
H, W = MASK.shape
K = np.array([[700, 0, W / 2 + 9], [0, 700, H / 2 - 4], [0, 0, 1]], np.float32)
W2C = np.array([[0, -1, 0, 0.3], [0, 0, -1, 0.5], [1, 0, 0, 2.0], [0, 0, 0, 1]], np.float32)
CAT = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)


def make_clip(mask: np.ndarray) -> Clip:
    frame = np.where(mask[..., None], 200, 40).astype(np.uint8) + CAT // 16
    return Clip(np.repeat(frame[None], 5, 0), 24.0)


@pytest.fixture(scope="module")
def body() -> StandingBody:
    made = model_body(make_clip(MASK), MASK, Progress())
    assert made is not None
    return made


def turn_half(points: np.ndarray) -> np.ndarray:
    """w2c of a camera on the other side of points (N, 3), half a turn about the vertical."""
    camera = points @ W2C[:3, :3].T + W2C[:3, 3]
    middle = (camera.min(0) + camera.max(0)) / 2
    move = np.diag([-1.0, 1, -1, 1])
    move[:3, 3] = middle - move[:3, :3] @ middle
    return (move @ W2C).astype(np.float32)


def test_the_near_side_lies_on_the_scene(body):
    """A slanting wall of depth, in another camera than the body's own."""
    depth = np.tile(np.linspace(3, 4, W, dtype=np.float32), (H, 1))
    drawn = body.draw(body.place(depth, K, W2C), K, W2C, (W, H))
    solid = drawn.cover > 0.5
    assert (solid & MASK).sum() / (solid | MASK).sum() > 0.9
    error = np.abs(drawn.depth / depth - 1)[solid & MASK]
    assert np.median(error) < 0.006
    assert np.quantile(error, 0.9) < 0.02


def test_it_is_as_thick_in_every_camera(body):
    """Twice the focal length at twice the distance shows the same body."""
    points = body.place(np.full((H, W), 3, np.float32), K, W2C)
    far = K.copy()
    far[:2, :2] *= 2
    same = body.place(np.full((H, W), 6, np.float32), far, W2C)
    thick, again = (np.ptp(p @ W2C[2, :3]) for p in (points, same))
    assert again == pytest.approx(thick, rel=0.05)
    high = np.ptp(points @ W2C[1, :3])
    assert 0.15 * high < thick < high


def test_depth_along_the_outline_does_not_bend_it(body):
    """There it may be the background's."""
    depth = np.where(MASK, 3, 9).astype(np.float32)
    for axis in (0, 1):
        for way in (-1, 1):
            depth[MASK & ~np.roll(MASK, way, axis)] = 9
    points = body.place(depth, K, W2C)
    z = points @ W2C[2, :3] + W2C[2, 3]
    assert np.quantile(z, 0.99) < 4


def test_unknown_depth_is_that_of_what_is_near(body):
    depth = np.where(np.arange(W) < W // 2, 3, 0).astype(np.float32) * np.ones((H, 1), np.float32)
    z = body.place(depth, K, W2C) @ W2C[2, :3] + W2C[2, 3]
    assert np.isfinite(z).all()
    assert np.abs(z - 3).max() < 1


def test_from_behind_it_is_closed_and_has_its_own_colours(body):
    points = body.place(np.full((H, W), 3, np.float32), K, W2C)
    drawn = body.draw(points, K, turn_half(points), (W, H))
    solid = drawn.cover > 0.9
    assert solid.sum() > 0.7 * MASK.sum()
    colours = drawn.picture[solid].mean(-1)
    assert np.quantile(colours, 0.02) > 150, "nothing of the dark background"


def test_it_stands_as_in_the_first_frame_whatever_it_does_later():
    clip = make_clip(MASK)
    still, moved = (
        KinematicDriving().make(clip, MASK, prompt, Progress()).body
        for prompt in ("stays", "turns around and jumps")
    )
    assert still is not None
    assert moved is not None
    assert np.array_equal(still.points, moved.points)
    assert np.array_equal(still.texture, moved.texture)


@pytest.mark.parametrize("share", [0.0005, 0.97])
def test_what_hardly_shows_or_fills_the_picture_is_not_modelled(share):
    mask = np.zeros((H, W), bool)
    mask.flat[: int(share * mask.size)] = True
    assert model_body(make_clip(mask), mask, Progress()) is None
