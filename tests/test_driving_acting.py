"""The draft driver's acting: each kind of action is the motion that its name says."""

from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest

from restage4d.driving.draft.acting import perform
from restage4d.driving.draft.actor import Actor
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.body_plan import BodyPlan, split_legs
from restage4d.driving.draft.curves import Curves, Room
from restage4d.driving.draft.deform import Figure
from restage4d.driving.draft.directions.kinds import KINDS
from restage4d.driving.draft.gait import find_lame_leg
from restage4d.driving.draft.moves.limbs import find_limb, find_missing_limbs
from restage4d.driving.draft.prompt import parse
from restage4d.driving.draft.relief import build_relief
from restage4d.driving.draft.wheels import find_wheels

FPS, SIZE = 24.0, (320, 200)
ROOM = Room(300.0, 300.0, 300.0, 60.0)


def draw(*shapes: list[Any] | tuple[float, float, float, float]) -> np.ndarray:
    """A mask of polygons (lists of points) and ellipses (x, y, half axes)."""
    canvas = np.zeros((SIZE[1] * 4, SIZE[0] * 4), np.uint8)
    for shape in shapes:
        if isinstance(shape, list):
            cv2.fillPoly(canvas, [np.round(np.array(shape) * 4).astype(np.int32)], 255)
        else:
            x, y, a, b = (round(v * 4) for v in shape)
            cv2.ellipse(canvas, (x, y), (a, b), 0, 0, 360, 255, -1)
    return cv2.resize(canvas, SIZE, interpolation=cv2.INTER_AREA) > 127


def draw_leg(x: float, top: float, foot: float) -> list[tuple[float, float]]:
    return [(x - 4, top), (x + 4, top), (x + 3.5, foot), (x - 3.5, foot)]


def draw_animal() -> np.ndarray:
    """Four legs, the near ones lower; head and neck to the right, a tail to the left."""
    legs = [draw_leg(x, 112, 165 if k % 2 else 161) for k, x in enumerate((116, 130, 172, 186))]
    neck = [(180, 102), (192, 114), (216, 78), (204, 70)]
    tail = [(118, 98), (112, 106), (76, 88), (78, 83)]
    return draw((150, 108, 44, 18), *legs, neck, (216, 70, 13, 9), tail)


def draw_person() -> np.ndarray:
    """Head, arms stretched out and down, legs apart."""
    arms = [
        [(142, 62), (146, 74), (112, 112), (106, 108)],
        [(178, 62), (174, 74), (208, 112), (214, 108)],
    ]
    legs = [
        [(148, 112), (159, 112), (146, 178), (138, 178)],
        [(172, 112), (161, 112), (174, 178), (182, 178)],
    ]
    return draw((160, 90, 16, 32), (160, 44, 11, 13), *arms, *legs)


@cache
def build(which: str) -> tuple[BodyPlan, Figure]:
    mask = {
        "animal": draw_animal,
        "mirrored": lambda: draw_animal()[:, ::-1],
        "person": draw_person,
    }[which]()
    body = read_body_plan(mask)
    relief = build_relief(mask, mask.astype(np.float32), body)
    body.yaw = relief.yaw
    return body, Figure(relief, body)


def act(prompt: str, which: str = "animal", room: Room = ROOM) -> Curves:
    return perform(parse(prompt), build(which)[0], 48, FPS, room)


def place(figure: Figure, p: Curves, t: int) -> np.ndarray:  # -> (V, 3) right, up, away
    """The points of a frame in the ground's own frame, before the camera."""
    seen = figure.relief.view
    figure.relief.view = type("Plain", (), {"project": staticmethod(lambda world: world)})()  # pyright: ignore
    try:
        return np.asarray(figure.pose(p, t, np.zeros(len(figure.relief.rest), np.float32)))
    finally:
        figure.relief.view = seen


def test_the_samples_are_what_they_are_drawn_as():
    body, _ = build("animal")
    assert (len(body.legs), body.facing, body.upright) == (4, 1, False)
    assert body.head is not None
    assert body.tail is not None
    assert build("mirrored")[0].facing == -1
    person, _ = build("person")
    assert (len(person.legs), len(person.others), person.upright) == (2, 2, True)


@pytest.mark.parametrize("which", ["animal", "mirrored", "person"])
@pytest.mark.parametrize("verb", sorted(KINDS))
def test_every_kind_begins_at_rest_and_keeps_the_subject_in_the_picture(verb, which):
    small = Room(20.0, 25.0, 30.0, 15.0)
    prompt = {"raise_tail": "raises its tail", "face": "face left"}.get(verb, verb)
    if verb == "lift":
        prompt = "lifts its leg"
    p = act(f"it {prompt}", which, small)
    curves = {k: v for k, v in vars(p).items() if isinstance(v, np.ndarray)}
    for name, curve in curves.items():
        assert curve[0] == 0, name
        assert np.isfinite(curve).all(), name
    for limb in p.limbs:
        assert max(abs(limb.fore[0]), abs(limb.lift[0]), abs(limb.angle[0])) < 1e-6
    body, _ = build(which)
    least = 0.12 * 1.5 * max(body.box[2] - body.box[0], body.box[3] - body.box[1])
    shift = body.box[3] - body.box[1] if verb in {"fall", "roll"} and body.upright else 0
    assert p.right.max() <= small.right + least + shift
    assert p.right.min() >= -small.left - least - shift
    assert p.away.min() >= -small.near - least
    assert p.up.max() <= small.up + 1


@pytest.mark.parametrize(("which", "near"), [("animal", "right"), ("mirrored", "left")])
@pytest.mark.parametrize("end", ["front", "hind"])
def test_the_named_leg_kicks_and_comes_back(which, near, end):
    body, _ = build(which)
    far = {"right": "left", "left": "right"}[near]
    feet = {}
    for side in (near, far):
        p = act(f"it kicks with its {side} {end} leg", which)
        moved = [float(np.abs(limb.angle).max()) for limb in p.limbs]
        kicks = int(np.argmax(moved))
        assert kicks in split_legs(body)[end == "hind"]
        assert sorted(moved)[-2] == 0
        angle = p.limbs[kicks].angle * body.facing
        way = -1 if end == "hind" else 1
        assert way * angle[np.abs(angle).argmax()] > 1.0
        assert abs(angle[-1]) < 0.01
        feet[side] = body.legs[kicks].tip[1]
    assert feet[near] > feet[far]


def test_whose_limb_it_is():
    person, _ = build("person")

    def find(prompt: str) -> float:
        action = parse(prompt).actions[0]
        k = find_limb(person, action)
        assert k is not None
        assert (k < 2) == ("leg" in prompt or "kicks" in prompt)
        return person.limbs[k].tip[0] - 160

    assert find("he raises his left arm") > 0  # who faces the camera has it on the picture's right
    assert find("he raises his right arm") < 0
    assert find("lift the arm on the left side of the picture") < 0
    assert find("he lifts his left leg") > 0
    assert find("he kicks with the right foot") < 0


def test_who_comes_nearer_has_less_room_aside():
    actor = Actor(build("animal")[0], 24, FPS, Room(100.0, 50.0, 80.0, 10.0))
    assert actor.limit_way(-200, 0) == pytest.approx(0.5)
    assert actor.limit_way(100, 60) == pytest.approx(0.5)
    assert actor.limit_way(0, -160) == pytest.approx(0.5)
    assert actor.limit_way(50, -80) == pytest.approx(1 / 1.7)
    assert actor.limit_way(20, -20) == actor.limit_way(0, 500) == 1
    actor.go(np.full(24, 30.0), np.full(24, -40.0))
    assert actor.limit_way(40, 0) == pytest.approx(0.5)
    assert actor.limit_way(0, -80) == pytest.approx(0.5)


def test_driving_takes_no_steps():
    p = act("it drives forward")
    assert p.right[-1] > 30
    assert np.abs(p.up).max() == np.abs(p.lean).max() == np.abs(p.head_up).max() == 0
    assert all(np.abs(limb.fore).max() == 0 for limb in p.limbs)
    np.testing.assert_allclose(p.wheels, np.hypot(p.right, p.away), atol=1e-6)
    back = act("it drives backwards")
    np.testing.assert_allclose(back.wheels, -np.hypot(back.right, back.away), atol=1e-6)
    assert back.right[-1] < -30
    mirrored = act("it drives forward", "mirrored")
    np.testing.assert_allclose(mirrored.wheels, mirrored.right, rtol=1e-3, atol=1e-6)
    assert mirrored.right[-1] < -30


def draw_car() -> tuple[np.ndarray, np.ndarray]:
    """A picture of a car from the side, and its mask."""
    frame = np.full((SIZE[1], SIZE[0], 3), 120, np.float32)
    mask = draw([(80, 100), (110, 70), (200, 70), (240, 100), (240, 140), (80, 140)],
                (120, 140, 16, 16), (205, 140, 16, 16))  # fmt: skip
    frame[mask] = 170
    for x in (120, 205):
        tyre, hub = draw((x, 140, 16, 16)), draw((x, 140, 10, 10))
        frame[tyre] = 25
        frame[hub] = 190
    return frame, mask


def test_wheels_are_found_and_roll_by_the_way_gone():
    frame, mask = draw_car()
    body = read_body_plan(mask)
    body.legs = []
    wheels = sorted(find_wheels(frame, mask, body), key=lambda w: w.centre[0])
    assert [w.centre[0] for w in wheels] == pytest.approx([120, 205], abs=1.5)
    assert [w.centre[1] for w in wheels] == pytest.approx([140, 140], abs=1.5)
    assert [w.radius for w in wheels] == pytest.approx([16, 16], rel=0.2)
    wheel = wheels[0]
    spoke = np.array([[wheel.centre[0], wheel.centre[1] - 5]], np.float32)  # now at the top
    quarter = wheel.roll(spoke, np.pi / 2 * wheel.radius)
    # rolling to the right it was at the left
    np.testing.assert_allclose(quarter - wheel.centre, [[-5, 0]], atol=1e-3)
    blank = np.where(mask[..., None], 170, 120).astype(np.float32) * np.ones(3, np.float32)
    assert find_wheels(blank, mask, body) == []
    assert find_wheels(frame, mask, build("animal")[0]) == []


def test_climbing_tips_the_body_up():
    p = act("it climbs")
    assert np.degrees(p.pitch.max()) == pytest.approx(22, abs=0.1)
    assert p.up.max() > 1
    assert p.right[-1] > 20
    _, figure = build("animal")
    points = place(figure, p, len(p) - 1)
    head, tail = figure.head, figure.tail
    assert head is not None
    assert tail is not None
    rise = points[:, 1] - figure.relief.rest[:, 1]
    assert rise[head.weight > 0.9].mean() > rise[tail.weight > 0.9].mean() + 15


def test_who_limps_spares_one_leg():
    body, _ = build("animal")
    lame = find_lame_leg(body)
    assert lame is not None
    p = act("it limps for 3 seconds")
    others = [k for k in range(4) if k != lame]
    lifted = [float(limb.lift.max()) for limb in p.limbs]
    assert lifted[lame] < 0.5 * min(lifted[k] for k in others)
    air = [float((limb.lift > 0.02 * limb.lift.max()).mean()) for limb in p.limbs]
    assert air[lame] > 1.15 * max(air[k] for k in others)
    assert p.front.max() > 0.05
    assert act("it walks for 3 seconds").front.max() == 0


def test_who_stumbles_dips_once_and_goes_on():
    p, walk = act("it stumbles"), act("it walks")
    assert p.front.max() == pytest.approx(0.45, abs=0.05)
    assert abs(p.front[-1]) < 0.02
    down = p.front > 0.2
    assert np.count_nonzero(np.diff(down.astype(int)) == 1) == 1
    assert p.pitch.min() < -0.05
    assert p.right[-1] > 0.5 * walk.right[-1] > 0


def test_who_falls_lies():
    _, figure = build("animal")
    p = act("it falls")
    points, rest = place(figure, p, len(p) - 1), figure.relief.rest
    assert points[figure.bears, 1].max() < 0.65 * rest[figure.bears, 1].max()
    assert points[:, 1].min() >= -0.5
    _, figure = build("person")
    p = act("it falls", "person")
    points = place(figure, p, len(p) - 1)
    face = figure.relief.rest[:, 1] > 0.8 * figure.height
    assert points[face, 1].mean() < 0.5 * figure.relief.rest[face, 1].mean()
    assert points[:, 1].min() >= -0.5
    assert act("he falls to the left", "person").pitch[-1] > 1.4
    assert act("he falls to the right", "person").pitch[-1] < -1.4
    assert act("he falls to his left", "person").pitch[-1] < -1.4  # he faces the camera
    again = act("it falls, then it rises")
    assert max(abs(again.roll[-1]), abs(again.crouch[-1]), abs(again.graze[-1])) < 1e-6
    assert again.roll.max() > 0.5


@pytest.mark.parametrize("which", ["animal", "person"])
def test_who_rolls_turns_over_once(which):
    p = act("it rolls over", which)
    assert abs(p.roll[-1]) == pytest.approx(2 * np.pi)
    assert (np.diff(np.abs(p.roll)) >= -1e-9).all()
    _, figure = build(which)
    half = int(np.abs(np.abs(p.roll) - np.pi).argmin())
    points = place(figure, p, half)
    assert points[:, 1].min() >= -0.5
    assert points[figure.bears, 1].min() < 2  # it does not float
    if which == "animal":
        feet = figure.leg_share > 0.9
        assert points[feet, 1].mean() > points[figure.torso, 1].mean()
    assert points[figure.torso, 1].max() < 0.75 * figure.height


@pytest.mark.parametrize("which", ["animal", "mirrored"])
def test_who_grazes_has_the_head_at_the_ground(which):
    _, figure = build(which)
    p = act("it grazes", which)
    assert figure.head is not None
    face = (figure.head.weight > 0.5) & (figure.head.along > 0.6)
    lowest = [float(place(figure, p, t)[face, 1].min()) for t in range(0, len(p), 4)]
    assert lowest[0] > 0.4 * figure.height
    assert min(lowest) < 0.06 * figure.height
    assert min(lowest) > -0.5
    later = p.graze[len(p) // 2 :]
    assert later.min() > 0.85
    assert np.count_nonzero(np.diff(np.sign(np.diff(later)))) >= 2  # it nods
    up = act("it grazes, then walks", which)
    assert abs(up.graze[-1]) < 1e-6


def test_who_dances_bounces_from_leg_to_leg_in_place():
    p = act("it dances for 3 seconds")
    assert max(np.abs(p.right).max(), np.abs(p.away).max()) == 0
    assert np.count_nonzero(np.diff(np.sign(p.lean[np.abs(p.lean) > 0.02]))) >= 3
    assert p.up.max() > 2
    lifts = np.stack([limb.lift for limb in p.limbs])
    assert (lifts.max(1) > 5).all()
    assert (lifts[0] * lifts[1]).max() < 0.5 * lifts[0].max() * lifts[1].max()


def test_who_pounces_loads_the_rear_and_lands_on_the_front():
    p = act("it pounces")
    load, land = p.rear.argmax(), p.front.argmax()
    flight = int(p.up.argmax())
    assert load < flight < land
    assert p.crouch[load] > 0.3
    assert p.right[-1] > 0.5 * 140
    assert p.right[load] == 0
    assert p.pitch[:flight].max() > 0.05
    assert p.pitch[flight:].min() < -0.05


def test_the_tail_goes_up_and_comes_down():
    _, figure = build("animal")
    p = act("it raises its tail")
    assert figure.tail is not None
    tip = figure.tail.along > 0.9
    height = [float(place(figure, p, t)[tip, 1].mean()) for t in range(len(p))]
    assert max(height) > height[0] + 10
    assert height[-1] == pytest.approx(height[0], abs=0.5)


def test_looking_back_and_forward():
    p = act("it looks back")
    assert p.head_yaw[-1] == pytest.approx(
        -np.radians(42)
    )  # over the shoulder at the camera's side
    assert act("it looks back", "mirrored").head_yaw[-1] > 0.6
    p = act("it looks up, then back, then forward")
    assert p.head_up.max() > 0.4
    assert max(abs(p.head_up[-1]), abs(p.head_yaw[-1])) < 1e-6


def test_left_and_right_are_the_pictures_or_its_own():
    assert act("it walks left").right[-1] < -10
    own = act("it walks to its left")  # it faces right: away from the camera
    assert own.away[-1] > 10
    assert own.right[-1] > 0
    assert act("it walks to its right").away[-1] < -10
    assert act("it jumps to its left").away[-1] > 5
    assert act("it jumps to the left").right[-1] < -5
    assert act("it leans to its right").tip[-1] < -0.2
    assert act("he leans to his left", "person").lean[-1] > 0.2
    assert act("it looks to its left").head_yaw[-1] > 0.6
    assert act("it looks to its right").head_yaw[-1] < -0.6
    assert act("it turns clockwise").yaw[-1] < 0 < act("it turns anticlockwise").yaw[-1]
    assert act("it turns to its left", "mirrored").yaw[-1] > 0
    spin = parse("it spins to the left of the picture")
    assert spin.actions[0].view == "picture"
    assert act("he spins to the left of the picture", "person").yaw[-1] < -6


def test_what_is_not_found_is_said():
    body, _ = build("animal")
    assert (
        find_missing_limbs(parse("it wags its tail, kicks, nods and lifts a hind leg"), body) == []
    )
    y, x = np.indices((100, 100))
    blob = read_body_plan((x - 50) ** 2 + (y - 50) ** 2 < 30**2)
    told = find_missing_limbs(parse("wags its tail, looks up, kicks with its left hind leg"), blob)
    assert told == [
        'No tail was found: "wags its tail 4 times" sways the whole body instead.',
        'No head was found: "raises its head" moves nothing.',
        'No such limb was found: "kicks with its left hind limb" sways the whole body instead.',
    ]
    assert find_missing_limbs(parse("shakes its body, walks and jumps"), blob) == []
