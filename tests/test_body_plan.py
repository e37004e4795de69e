"""The body plan: right or unsure, the same in the mirror, and where a person says."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from silhouettes import (
    H,
    W,
    draw_biped,
    draw_blob,
    draw_car,
    draw_dog_from_above,
    draw_quadruped,
)

from restage4d.checks.driving import check_driving
from restage4d.clips import Clip
from restage4d.driving.draft.anatomy.head_end import to_confidence
from restage4d.driving.draft.anatomy.picture import draw_body_plan
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.body_plan import SURE, BodyPlan, Limb
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.protocols import DrivingVideo
from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import iou
from restage4d.io.images import image
from restage4d.progress import Progress

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
QUADRUPEDS = {
    "level": draw_quadruped(),
    "raised": draw_quadruped("raised"),
    "lowered": draw_quadruped("lowered"),
    "bell": draw_quadruped(bell=True),
}


def covers(limb: Limb | None, x: float, y: float) -> bool:
    return limb is not None and bool(limb.weight[int(y), int(x)] > 0.9)


def mirror(limb: Limb | None) -> np.ndarray | None:
    return None if limb is None else limb.weight[:, ::-1]


@pytest.mark.parametrize("kind", QUADRUPEDS)
def test_a_quadruped_faces_its_head(kind):
    plan = read_body_plan(QUADRUPEDS[kind])
    assert (plan.facing, plan.upright, plan.doubt) == (1, False, "")
    assert plan.confidence >= SURE
    assert [round(leg.tip[0], -1) for leg in plan.legs] == [70, 80, 130, 150]
    at = {"raised": (180, 38), "lowered": (182, 116)}.get(kind, (180, 70))
    assert covers(plan.head, *at)
    assert plan.head is not None
    assert plan.head.area < 0.35 * QUADRUPEDS[kind].sum()  # not the front half
    assert not covers(plan.head, 110, 80)
    assert covers(plan.tail, 59, 97)
    assert plan.others == []  # a bell is none
    assert plan.tail is not None
    for limb in (*plan.legs, plan.head, plan.tail):
        assert 0 <= limb.weight.min() <= limb.weight.max() <= 1
        assert limb.weight[~QUADRUPEDS[kind]].max() == 0


@pytest.mark.parametrize("mask", [*QUADRUPEDS.values(), draw_biped(), draw_biped("up")])
def test_the_mirrored_mask_has_the_mirrored_plan(mask):
    plan = read_body_plan(mask, own_speed=0.03)
    other = read_body_plan(mask[:, ::-1], own_speed=-0.03)
    assert other.facing == -plan.facing
    assert other.confidence == pytest.approx(plan.confidence, abs=0.02)
    assert (other.upright, other.doubt) == (plan.upright, plan.doubt)
    legs = list(zip(plan.legs, other.legs[::-1], strict=True))
    for a, b in [*legs, (plan.head, other.head), (plan.tail, other.tail)]:
        assert (a is None) == (b is None)
        if a is not None:
            assert a.tip[0] == pytest.approx(W - b.tip[0], abs=2)
            assert np.abs(a.weight - mirror(b)).mean() < 0.004


@pytest.mark.parametrize("factor", [0.6, 2.0])
def test_the_size_does_not_matter(factor):
    mask = cv2.resize(QUADRUPEDS["bell"].astype(np.float32), None, fx=factor, fy=factor) > 0.5
    plan = read_body_plan(mask)
    assert (plan.facing, len(plan.legs)) == (1, 4)
    assert covers(plan.head, 180 * factor, 70 * factor)


@pytest.mark.parametrize("arms", ["out", "up"])
def test_a_person_s_head_is_on_top_and_arms_are_no_head(arms):
    plan = read_body_plan(draw_biped(arms))
    assert (plan.upright, plan.facing, len(plan.legs)) == (True, 0, 2)
    assert plan.doubt == ""
    assert plan.tail is None
    assert covers(plan.head, 120, 20)
    assert not covers(plan.head, 70, 46)
    assert any(covers(limb, 65, 46) for limb in plan.others)


def test_a_blob_and_a_car_have_no_limbs_and_say_so():
    for mask in (draw_blob(), draw_car()):
        plan = read_body_plan(mask)
        assert (plan.legs, plan.others, plan.head, plan.tail, plan.facing) == (
            [],
            [],
            None,
            None,
            0,
        )
        assert plan.confidence < SURE
        assert plan.doubt == "No head, leg or tail stands out from its outline."
    driving = read_body_plan(draw_car(), own_speed=-0.4)
    assert (driving.facing, driving.head, driving.doubt) == (-1, None, "")


def test_own_motion_decides_where_shape_does_not_and_contradiction_is_unsure():
    both = QUADRUPEDS["level"] | QUADRUPEDS["level"][:, ::-1]  # a head at either end
    assert read_body_plan(both).facing == 0
    assert read_body_plan(both, own_speed=0.2).facing == 1
    assert read_body_plan(both, own_speed=-0.2).facing == -1
    against = read_body_plan(QUADRUPEDS["raised"], own_speed=-0.25)
    assert (against.facing, against.head) == (0, None)
    assert "moves the other way" in against.doubt


def test_what_the_picture_cuts_off_says_nothing_by_its_shape():
    cut = QUADRUPEDS["raised"][:, 61:]
    assert read_body_plan(QUADRUPEDS["raised"]).facing == 1
    assert read_body_plan(cut).facing == 0
    assert read_body_plan(cut, own_speed=0.3).facing == 1
    whole = QUADRUPEDS["raised"]
    above = whole[np.flatnonzero(whole.any(1))[0] + 6 :]
    assert above[0].any()
    assert read_body_plan(above).facing == 0
    assert "outside the picture" in read_body_plan(above).doubt


def test_confidence_is_how_much_better_than_a_toss_up():
    assert to_confidence(0.0) == 0.0
    assert to_confidence(np.log(3)) == pytest.approx(0.5)  # three times out of four
    assert to_confidence(-2.0) == 0.0


@pytest.mark.parametrize("kind", QUADRUPEDS)
def test_a_click_on_the_tail_end_makes_it_the_head(kind):
    mask = QUADRUPEDS[kind]
    clicked = read_body_plan(mask, own_speed=1.0, head=(61.0, 92.0))
    assert (clicked.facing, clicked.confidence, clicked.doubt) == (-1, 1.0, "")
    assert covers(clicked.head, 59, 97)
    assert not covers(clicked.head, 180, 70)
    assert clicked.tail is None or clicked.tail.tip[0] > 150


@pytest.mark.parametrize("kind", QUADRUPEDS)
def test_a_click_on_the_head_gives_the_head_that_shape_gives(kind):
    mask = QUADRUPEDS[kind]
    at = {"raised": (176.0, 38.0), "lowered": (182.0, 112.0)}.get(kind, (176.0, 70.0))
    clicked, found = read_body_plan(mask, head=at), read_body_plan(mask)
    assert clicked.facing == 1
    assert clicked.head is not None
    assert found.head is not None
    assert iou(clicked.head.weight > 0.5, found.head.weight > 0.5) > 0.7
    assert covers(clicked.tail, 59, 97)


def test_what_was_clicked_as_the_head_is_no_leg():
    plan = read_body_plan(QUADRUPEDS["level"], head=(70.0, 125.0))
    assert (plan.facing, len(plan.legs)) == (-1, 3)
    assert plan.head is not None
    assert plan.head.weight[125, 70] > 0.5


def test_a_dog_that_comes_at_the_camera_is_left_unknown():
    plan = read_body_plan(draw_dog_from_above())
    assert (plan.head, plan.tail, plan.facing) == (None, None, 0)
    assert "from the front, from behind or from above" in plan.doubt
    clicked = read_body_plan(draw_dog_from_above(), head=(120.0, 118.0))
    assert covers(clicked.head, 120, 118)
    assert not covers(clicked.head, 120, 50)


def test_a_click_on_the_head_of_what_comes_at_the_camera():
    mask = draw_blob()
    plan = read_body_plan(mask, head=(122.0, 100.0))
    assert (plan.facing, plan.doubt) == (0, "")
    assert covers(plan.head, 122, 100)
    assert plan.head is not None
    assert plan.head.area < 0.6 * mask.sum()
    aside = read_body_plan(mask, head=(90.0, 80.0))
    assert aside.facing == -1
    assert covers(aside.head, 90, 80)
    assert not covers(aside.head, 150, 80)


def test_a_click_beside_the_mask_is_refused_but_for_a_pixel_or_two():
    mask = QUADRUPEDS["level"]
    with pytest.raises(InputError, match="not on the subject") as refused:
        read_body_plan(mask, head=(20.0, 20.0))
    assert "Point at its head" in refused.value.remedy
    with pytest.raises(InputError, match="not on the subject"):
        read_body_plan(mask, head=(-5.0, 1e4))
    assert read_body_plan(mask, head=(193.0, 70.0)).facing == 1


def test_the_picture_shows_the_parts_and_their_certainty():
    frame = np.full((H, W, 3), 90, np.uint8)
    plan = read_body_plan(QUADRUPEDS["bell"])
    drawn = draw_body_plan(frame, plan)
    assert drawn.shape == (480, 720, 3)
    head, tail, leg, wall = (
        drawn[3 * y, 3 * x].astype(int) for x, y in ((184, 67), (60, 94), (72, 120), (220, 150))
    )
    assert head[0] - head[2] > 60  # reddish
    assert tail[2] - tail[0] > 60  # bluish
    assert leg[1] - leg[0] > 60  # greenish
    np.testing.assert_array_equal(wall, 90)
    unsure = draw_body_plan(frame, read_body_plan(draw_blob()))
    assert (unsure[:60].max(-1) == 255).sum() > 200  # the doubt is written there
    assert (unsure[240, 360] == 90).all()


def test_the_driver_writes_the_picture_and_hands_on_the_doubt(tmp_path):
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 255, (1, H, W, 3), np.uint8), 4, 0)
    base = Clip(frames, 24.0)
    made = KinematicDriving(folder=tmp_path / "out").make(base, draw_blob(), "jumps", Progress())
    assert made.doubt == "No head, leg or tail stands out from its outline."
    assert image(tmp_path / "out" / "body_plan.png").shape[:2] == (480, 720)
    (finding,) = check_driving([("driving 1", DrivingVideo(base, "mine")), ("driving 2", made)])
    assert finding.severity == "warning"
    assert made.doubt in finding.text
    assert "--head X,Y" in finding.remedy
    head = (180.5 / W, 70.5 / H)
    made = KinematicDriving(head).make(base, QUADRUPEDS["level"], "nods", Progress())
    assert (made.doubt, list(check_driving([("restaged", made)]))) == ("", [])
    with pytest.raises(InputError, match="not on the subject"):
        KinematicDriving((0.0, 0.0)).make(base, draw_blob(), "jumps", Progress())


def read_davis(name: str, frame: int) -> BodyPlan:
    mask = image(DATA / "davis" / name / "masks" / f"{frame:05d}.png") > 127
    size = (384, round(384 * mask.shape[0] / mask.shape[1]))
    mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    return read_body_plan(mask)


@pytest.mark.skipif(not (DATA / "davis").exists(), reason=f"no footage at {DATA}")
@pytest.mark.parametrize(
    ("name", "frame"),
    [("camel", 0), ("camel", 30), ("cows", 0), ("cows", 15), ("cows", 45), ("blackswan", 0)],
)
def test_real_animals_face_right_by_their_shape_alone(name, frame):
    plan = read_davis(name, frame)
    assert plan.facing == 1
    assert plan.head is not None
    assert plan.head.pivot[0] > (plan.box[0] + 2 * plan.box[2]) / 3


@pytest.mark.skipif(not (DATA / "davis").exists(), reason=f"no footage at {DATA}")
def test_real_people_dogs_from_the_front_and_cars():
    for frame in (15, 30, 45):
        dancer = read_davis("dance-twirl", frame)
        assert (dancer.upright, dancer.facing, len(dancer.legs)) == (True, 0, 2)
        assert dancer.head is not None
        assert dancer.head.length < 0.3 * (dancer.box[3] - dancer.box[1])
    for frame in (10, 20, 30):
        dog = read_davis("dog", frame)
        assert (dog.head, dog.tail, dog.facing) == (None, None, 0)
        assert dog.doubt
    car = read_davis("car-shadow", 0)
    assert (car.legs, car.head, car.tail) == ([], None, None)
