"""The draft driver completes the body: four legs where the outline shows fewer, apart from behind,
and the other side's colours."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from silhouettes import draw_biped, draw_dog_from_above, draw_quadruped

from restage4d.clips import Clip
from restage4d.driving.draft.acting import perform
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.body_plan import BodyPlan, Limb, split_legs
from restage4d.driving.draft.compositing.rasterizer import Drawing, draw
from restage4d.driving.draft.curves import Curves, Room
from restage4d.driving.draft.deform import Figure
from restage4d.driving.draft.driver import KinematicDriving, _compute_stay
from restage4d.driving.draft.hidden_legs import add_hidden_legs
from restage4d.driving.draft.prompt import parse
from restage4d.driving.draft.relief import build_relief
from restage4d.driving.draft.shape.stance import _LEAST_APART, estimate_stance, estimate_view
from restage4d.progress import Progress

H, W = 160, 240


def draw_animal(*hind: tuple[float, float]) -> np.ndarray:
    """A cow's outline that faces right; its hind legs run from the hip to these feet."""
    mask = draw_quadruped()
    mask[96:, :110] = False
    canvas = mask.astype(np.uint8)
    for x, y in hind:
        cv2.line(canvas, (80, 84), (round(x), round(y)), 1, 9)
    return canvas > 0


HIDDEN = draw_animal((80, 138))  # one hind leg right behind the other
FORKED = draw_animal((72, 138), (94, 134))  # and two of which the outline is one, but for the feet


def plan(mask: np.ndarray) -> BodyPlan:
    return read_body_plan(mask, own_speed=0.3)


def draw_turned(mask: np.ndarray, body: BodyPlan, degrees: float) -> Drawing:
    """The relief turned about the vertical; red towards its head, blue towards its tail."""
    relief = build_relief(mask, mask.astype(np.float32), body)
    body.yaw = relief.yaw
    figure = Figure(relief, body)
    curves = perform(parse("stays"), body, 24, 24.0, Room(40, 40, 20, 40))
    curves.yaw[1] = np.radians(degrees) - relief.yaw
    turn = figure.compute_turn(curves, 1)
    uv, opacity = figure.find_surface(curves, 1, turn)
    colours = np.zeros((H, W, 3), np.float32)
    colours[:, : W // 2, 2] = colours[:, W // 2 :, 0] = 255
    points = figure.pose(curves, 1, turn)
    return draw(np.zeros_like(colours), points, uv, opacity, relief.triangles, colours)


def count_legs(drawing: Drawing) -> int:
    """The most separate parts in one of the lowest rows, where the nearest feet stand."""
    solid = drawing.cover > 0.5
    rows = np.flatnonzero(solid.any(1))
    low = solid[rows[-9:]]
    return int((np.diff(low.astype(int), axis=1, prepend=0) == 1).sum(1).max())


def test_an_end_with_one_leg_gets_the_far_one():
    body = plan(HIDDEN)
    assert len(body.legs) == 3
    full = add_hidden_legs(body)
    assert [leg.hidden for leg in full.legs] == [False, True, False, False]
    near, far = full.legs[:2]
    np.testing.assert_array_equal(near.weight, far.weight)
    assert far.tip[1] < near.tip[1], "who looks for the near leg takes the lower foot"
    assert add_hidden_legs(full).legs == full.legs, "done once"


def test_two_feet_of_one_outline_are_two_legs():
    body = plan(FORKED)
    assert len(body.legs) == 3
    near, far = add_hidden_legs(body).legs[:2]
    assert (near.hidden, far.hidden) == (False, True)
    assert near.tip == pytest.approx((72, 140), abs=5)
    assert far.tip == pytest.approx((94, 136), abs=5)
    assert (near.weight[136, 72], far.weight[136, 72]) == (1, 0)
    assert (near.weight[132, 94], far.weight[132, 94]) == (0, 1)
    both = np.maximum(near.weight, far.weight)
    np.testing.assert_array_equal(both, body.legs[0].weight)


@pytest.mark.parametrize(
    ("pivots", "front"),
    [
        ((135, 218, 252), [1, 2]),  # a camel's, whose neck moves the outline's middle forward
        ((120, 150, 240), [2]),
        ((135, 180, 235), [1, 2]),  # as far apart: the middle of the outline tells
        ((135, 150, 170, 180), [2, 3]),
        ((135, 230), [1]),
    ],
)
def test_legs_that_hang_close_together_are_a_pair(pivots, front):
    nothing = np.zeros((1, 1), np.float32)
    legs = [Limb((x, 130.0), (x, 190.0), nothing, nothing) for x in pivots]
    body = BodyPlan(1, False, (40, 38, 317, 194), 39.0, legs=legs)
    rear = [k for k in range(len(pivots)) if k not in front]
    assert split_legs(body) == (front, rear)
    mirrored = [Limb((357 - x, 130.0), (357 - x, 190.0), nothing, nothing) for x in pivots]
    assert split_legs(replace(body, facing=-1, legs=mirrored)) == (front, rear)


def test_legs_at_the_end_of_an_outline_stand_as_wide_as_the_body_is_before_them():
    body = add_hidden_legs(plan(HIDDEN))
    far = next(leg for leg in body.legs if leg.hidden)
    near = body.legs[body.legs.index(far) - 1]
    thickness = np.full((H, W), 20.0, np.float32)
    thickness[:, : int(near.pivot[0]) + 4] = 6  # thin at its end
    thickness[near.weight > 0.5] = 5
    feet = estimate_stance(body, estimate_view(body, (W, H)), thickness)[1]
    pair = sorted(feet[body.legs.index(leg)] for leg in (near, far))
    assert 2 * _LEAST_APART * 15 <= pair[1] - pair[0] <= 2 * 15


def test_feet_that_touch_are_two_legs_by_the_gap_above():
    mask = FORKED.copy()
    mask[131:138, 72:96] = True
    near, far = add_hidden_legs(plan(mask)).legs[:2]
    assert (near.weight[124, 74], far.weight[124, 74]) == (1, 0)
    assert (near.weight[124, 91], far.weight[124, 91]) == (0, 1)


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (draw_quadruped(), "all four are seen"),
        (draw_biped(), "upright"),
        (draw_dog_from_above(), "seen from above"),
    ],
)
def test_nothing_is_added_to(mask, why):
    body = plan(mask)
    assert add_hidden_legs(body).legs == body.legs, why


def test_nothing_is_added_to_a_bird_or_to_what_may_be_seen_from_the_front():
    canvas = draw_quadruped().astype(np.uint8)
    canvas[97:] = 0
    for x in (116, 130):
        cv2.line(canvas, (x, 90), (x, 138), 1, 5)
    bird = replace(plan(canvas > 0), facing=1, upright=False)
    assert [len(legs) for legs in split_legs(bird)] == [1, 1]
    assert add_hidden_legs(bird).legs == bird.legs
    x0, y0, _, y1 = plan(HIDDEN).box
    unknown = replace(plan(HIDDEN), facing=0, box=(x0, y0, x0 + y1 - y0, y1))
    assert add_hidden_legs(unknown).legs == unknown.legs


def test_a_long_body_that_faces_one_way_or_the_other_has_legs_at_both_ends():
    known, unknown = plan(HIDDEN), replace(plan(HIDDEN), facing=0)
    count = len(add_hidden_legs(known).legs)
    assert len(add_hidden_legs(unknown).legs) == count > len(known.legs)


def test_each_leg_has_its_own_foot_alone():
    body = add_hidden_legs(plan(FORKED))
    relief = build_relief(FORKED, FORKED.astype(np.float32), body)
    for column, row, owner in ((72, 134, -1), (94, 131, 1)):
        there = (np.abs(relief.uv - (column + 0.5, row + 0.5)) < 1).all(1)
        assert there.any()
        assert set(relief.leg[there]) == {owner}


def test_what_has_turned_keeps_nothing_of_the_first_frame():
    relief = build_relief(HIDDEN, HIDDEN.astype(np.float32), plan(HIDDEN))
    points = np.column_stack([relief.uv, np.ones(len(relief.uv))]).astype(np.float32)
    turn = np.zeros(len(points), np.float32)
    assert _compute_stay(points, turn, relief, HIDDEN)[HIDDEN].min() == 1
    assert _compute_stay(points, turn + 1, relief, HIDDEN).max() == 0


@pytest.mark.parametrize("mask", [HIDDEN, FORKED])
def test_at_rest_it_is_what_was_filmed(mask):
    full = build_relief(mask, mask.astype(np.float32), add_hidden_legs(plan(mask)))
    colours = np.random.default_rng(0).uniform(0, 255, (H, W, 3)).astype(np.float32)
    black = np.zeros_like(colours)
    c, s = np.cos(full.yaw), np.sin(full.yaw)
    a, b, d = full.rest.T
    seen = full.view.project(np.column_stack([a * c - d * s, b, a * s + d * c]))
    np.testing.assert_allclose(seen[:, :2], full.uv, atol=1e-3)
    drawn = draw(black, seen, full.uv, full.alpha, full.triangles, colours)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0
    assert drawn.cover[inside].min() == 1
    np.testing.assert_allclose(drawn.picture[inside], colours[inside], atol=0.5)
    assert drawn.cover[cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0].max() == 0


@pytest.mark.parametrize("mask", [HIDDEN, FORKED])
def test_legs_stand_apart_from_behind(mask):
    body = plan(mask)
    legs = [count_legs(draw_turned(mask, b, 90.0)) for b in (body, add_hidden_legs(body))]
    assert legs == [1, 2]


def test_turned_round_it_shows_the_other_side():
    body = add_hidden_legs(plan(HIDDEN))
    front, back = (draw_turned(HIDDEN, body, degrees).picture for degrees in (0.0, 180.0))
    for picture, red in ((front, np.s_[60:100, 130:]), (back, np.s_[60:100, :100])):
        assert picture[red][..., 0].mean() > 20 * picture[red][..., 2].mean()
    cover = draw_turned(HIDDEN, body, 180.0).cover > 0.5
    mirrored = (draw_turned(HIDDEN, body, 0.0).cover > 0.5)[:, ::-1]
    shift = round(np.nonzero(cover)[1].mean() - np.nonzero(mirrored)[1].mean())
    mirrored = np.roll(mirrored, shift, 1)
    assert (cover & mirrored).sum() > 0.85 * (cover | mirrored).sum()


def walk(mask: np.ndarray) -> tuple[Figure, Curves]:
    body = add_hidden_legs(plan(mask))
    relief = build_relief(mask, mask.astype(np.float32), body)
    curves = perform(parse("walks forward"), body, 32, 24.0, Room(40, 60, 20, 40))
    return Figure(relief, body), curves


def test_the_hidden_leg_walks_by_itself():
    figure, curves = walk(HIDDEN)
    near, far = curves.limbs[:2]
    assert np.abs(near.fore - far.fore).max() > 10
    assert near.fore[0] == far.fore[0] == 0
    t = int(np.abs(near.fore - far.fore).argmax())
    points = figure.pose(curves, t, figure.compute_turn(curves, t))
    feet = [
        points[bone.used[(bone.along[bone.used] > 0.9) & (bone.weight[bone.used] > 0.9)], 0].mean()
        for bone in figure.bones[:2]
    ]
    assert feet[0] - feet[1] == pytest.approx(near.fore[t] - far.fore[t], abs=3)


def test_the_video_knows_the_far_leg():
    rng = np.random.default_rng(0)
    wall, coat = rng.uniform(90, 200, (H, W, 3)), rng.uniform(0, 80, (H, W, 3))
    frames = [np.where(np.roll(HIDDEN, t, 1)[..., None], np.roll(coat, t, 1), wall) for t in (0, 3)]
    base = Clip(np.round(frames).astype(np.uint8), 24.0)
    video = KinematicDriving().make(base, HIDDEN, "turns around and walks left", Progress())
    np.testing.assert_array_equal(video.clip.frames[0], base.frames[0])
    masks, tracks = video.known.masks, video.known.tracks
    assert masks is not None
    assert tracks is not None
    assert (masks[0] > 0.5)[HIDDEN].mean() > 0.97
    hidden_first = ~tracks.visible[:, 0] & (tracks.xy[:, 0, 1] > 110)
    assert tracks.visible[hidden_first].any(1).sum() > 20, "legs that come into view"
    # what is hidden lies behind what is seen there, and no further than the body is wide
    assert (tracks.behind[tracks.visible] == 0).all()
    far_side = tracks.behind[~tracks.visible[:, 0], 0]
    far_side = far_side[far_side > 0]
    assert len(far_side) > 200
    assert far_side.min() > 0.98
    assert far_side.max() < 1.3
    assert np.median(far_side) > 1.05
