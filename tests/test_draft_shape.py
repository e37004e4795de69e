"""The draft driver's body from the sides that the first frame does not show: clean colours, legs on
both sides of the middle, no second face."""

import cv2
import numpy as np
import pytest
from silhouettes import draw_biped, draw_quadruped

from restage4d.driving.draft.acting import perform
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.compositing.rasterizer import Drawing, draw
from restage4d.driving.draft.curves import Curves, Room
from restage4d.driving.draft.deform import Figure
from restage4d.driving.draft.driver import _compute_shadow_stay, _compute_stay
from restage4d.driving.draft.prompt import parse
from restage4d.driving.draft.relief import Relief, build_relief
from restage4d.driving.draft.shape.stance import estimate_stance, estimate_view
from restage4d.driving.draft.shape.texture import measure_thickness, paint_back

MASK = draw_quadruped()
H, W = MASK.shape
RED, GREEN = (200, 20, 20), (20, 200, 20)


def pose(degrees: float) -> tuple[Figure, Relief, Curves]:
    body = read_body_plan(MASK, own_speed=0.3)
    relief = build_relief(MASK, MASK.astype(np.float32), body)
    body.yaw = relief.yaw
    curves = perform(parse("stays"), body, 24, 24.0, Room(40, 40, 20, 40))
    curves.yaw[1] = np.radians(degrees) - relief.yaw
    return Figure(relief, body), relief, curves


def draw_turned(texture: np.ndarray, degrees: float) -> Drawing:
    figure, relief, curves = pose(degrees)
    turn = figure.compute_turn(curves, 1)
    surface = figure.find_surface(curves, 1, turn)
    points = figure.pose(curves, 1, turn)
    return draw(np.zeros_like(texture), points, *surface, relief.triangles, texture)


@pytest.mark.parametrize("degrees", [60, 120, 180, 200])
def test_a_mixed_rim_does_not_show_from_other_sides(degrees):
    inside = cv2.distanceTransform(MASK.astype(np.uint8), cv2.DIST_L2, 5)
    texture = np.where((inside > 2)[..., None], RED, GREEN).astype(np.float32)
    drawn = draw_turned(texture, degrees)
    solid = drawn.cover > 0.9
    assert solid.sum() > 500
    green = drawn.picture[solid][:, 1] > drawn.picture[solid][:, 0]
    assert green.mean() < 0.12, "thin legs have little but a rim"


def test_from_behind_its_detail_is_where_it_was_filmed():
    height = np.arange(H, dtype=np.float32)[:, None, None] * np.ones((1, W, 3), np.float32)
    drawn = draw_turned(height, 180)
    columns = np.s_[:, 132:144]  # the middle of the torso, mirrored
    rows = np.nonzero(drawn.cover[columns] > 0.99)[0]
    values = drawn.picture[columns][drawn.cover[columns] > 0.99, 0]
    assert np.ptp(rows) > 30
    apart = values - np.polyval(np.polyfit(rows, values, 1), rows)
    assert np.abs(apart).mean() < 1.3


def test_turned_round_it_keeps_nothing_of_the_first_frame():
    figure, relief, curves = pose(180)
    turn = figure.compute_turn(curves, 1)
    assert turn.min() == 1
    assert _compute_stay(figure.pose(curves, 1, turn), turn, relief, MASK).max() == 0
    assert _compute_shadow_stay(curves, 1) == 0
    assert figure.compute_turn(curves, 0).max() == 0


def test_legs_of_an_end_stand_on_both_sides_of_the_middle():
    body = read_body_plan(MASK, own_speed=0.3)
    thickness = measure_thickness(MASK)
    _, feet = estimate_stance(body, estimate_view(body, (W, H)), thickness)
    assert len(feet) == 4
    legs = [float(np.median(thickness[leg.weight > 0.5])) for leg in body.legs]
    for pair in ((0, 1), (2, 3)):
        near, far = sorted(feet[k] for k in pair)
        assert near == -far
        reach = [body.legs[k].length / 2 for k in pair]  # as thick as the hips, at an end, too
        hips = [
            thickness[:90, int(body.legs[k].pivot[0] - r) : int(body.legs[k].pivot[0] + r) + 1]
            for k, r in zip(pair, reach, strict=True)
        ]
        room = [hip.max() - legs[k] for k, hip in zip(pair, hips, strict=True)]
        assert 0.5 * min(room) - 1e-3 <= far <= min(room) + 1e-3


def test_no_face_looks_out_of_the_back_of_a_head():
    mask = draw_biped()
    body = read_body_plan(mask)
    assert body.head is not None
    texture = np.where(mask[..., None], RED, GREEN).astype(np.float32)
    part = body.head.weight > 0.5
    inside = np.where(part, cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), 0)
    row, col = (int(v) for v in np.unravel_index(inside.argmax(), mask.shape))
    cv2.circle(texture, (col, row), 2, (0, 0, 255), -1)
    back = paint_back(texture, mask, body)
    np.testing.assert_allclose(back[row, col], RED, atol=3)
    below = part.copy()
    below[: np.flatnonzero(part.any(1))[-1] + 3] = True
    np.testing.assert_array_equal(back[~below], texture[~below])
    sideways = BodyPlan(1, False, body.box, body.radius, head=body.head)
    assert paint_back(texture, mask, sideways) is texture, "a profile is the same on both sides"


@pytest.mark.parametrize("wide", [False, True])
def test_where_the_head_is_unknown_only_a_wide_body_keeps_its_detail_behind(wide):
    """What is taller than wide was filmed from the front, or from above: no face looks backwards.
    Large patches stay, none has the colours from along the outline."""
    mask = np.zeros((120, 160), bool)
    mask[20:100, 50:110] = True
    if wide:
        mask[:, 20:140] = mask[:, 50:51]
    x = np.arange(160)[None] + 0 * np.arange(120)[:, None]
    texture = np.where((x < 80)[..., None], RED, GREEN).astype(np.float32)
    texture[cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0] = 0
    texture[40:44, 62:66] = 255  # an eye
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    body = BodyPlan(0, False, (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1), 30.0)
    back = paint_back(texture, mask, body)
    if wide:
        assert back is texture
        return
    assert np.abs(back[42, 64] - RED).max() < 25
    np.testing.assert_allclose(back[60, 52], RED, atol=3)
    np.testing.assert_allclose(back[60, 107], GREEN, atol=3)
