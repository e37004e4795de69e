"""Directions: what a sentence means, in what order and at what time, and what is refused."""

import os
from pathlib import Path

import pytest
from direction_cases import Case, compare, is_silently_wrong, list_faults, load_cases, read_action

from restage4d.driving.draft import acting
from restage4d.driving.draft.directions.kinds import KINDS
from restage4d.driving.draft.prompt import (
    USUAL_TURN,
    parse,
)
from restage4d.errors import InputError

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))


def said(prompt: str) -> list[tuple[str, str]]:
    return [(a.verb, a.direction) for a in parse(prompt).actions]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("the camel turns left and walks away", [("turn", "left"), ("walk", "away")]),
        ("the dog jumps twice", [("jump", "")]),
        ("crouch slowly then nod", [("crouch", ""), ("nod", "")]),
        ("turns left and right", [("turn", "left"), ("turn", "right")]),
        ("It jumps after nodding.", [("nod", ""), ("jump", "")]),
        ("After nodding, it jumps forward", [("nod", ""), ("jump", "forward")]),
        ("takes a bow", [("bow", "")]),
        ("the duck ducks", [("crouch", "")]),
        ("turns its head left", [("look", "left")]),
        ("walks towards us", [("walk", "toward")]),
        ("turns to the camera", [("face", "toward")]),
        ("approaches, then leaves", [("walk", "toward"), ("walk", "away")]),
        ("waves its tail", [("wag", "")]),
        ("lifts its head", [("look", "up")]),
        ("Runs off into the distance!", [("run", "away")]),
    ],
)
def test_sentences(prompt, expected):
    assert said(prompt) == expected


def test_figures():
    assert parse("turn 90° right").actions[0].degrees == 90
    assert parse("turn slightly left").actions[0].degrees == USUAL_TURN / 2
    assert parse("turn around").actions[0].degrees == 180
    assert parse("spin twice").actions[0].degrees == 720
    assert parse("nod three times").actions[0].count == 3
    assert parse("jumps 4 times").actions[0].count == 4
    assert parse("run for 2.5 seconds").actions[0].seconds == 2.5
    assert parse("three steps left").actions[0].seconds == pytest.approx(
        3 * parse("one step left").actions[0].seconds
    )
    assert parse("walk quickly").seconds < parse("walk").seconds < parse("walk slowly").seconds
    assert (
        parse("lean far left").actions[0].amount
        > parse("lean left").actions[0].amount
        > parse("lean a little").actions[0].amount
    )


def test_one_after_the_other_and_at_once():
    turn, walk = parse("turn left, then walk").actions
    assert walk.start == turn.end
    for prompt in (
        "walks while nodding",
        "walks nodding its head",
        "while walking, it nods",
        "walks as it nods",
    ):
        walk, nod = parse(prompt).actions
        assert (walk.verb, nod.verb, nod.start) == ("walk", "nod", walk.start)
        assert nod.end == pytest.approx(walk.end)  # it goes on nodding
    nod, walk, jump = parse("nods while walking, then jumps").actions
    assert jump.start == max(walk.end, nod.end)


def test_what_is_not_understood_is_told():
    directions = parse("the purple dog happily barks and then walks to the door")
    assert [a.verb for a in directions.actions] == ["walk"]
    assert directions.ignored == ("happily", "barks", "door")
    assert parse("the old grey camel turns left").ignored == ()


def test_what_is_forbidden_is_not_done():
    directions = parse("the dog doesn't jump but sits")
    assert [a.verb for a in directions.actions] == ["sit"]
    assert directions.ignored == ()  # what is said not to happen is obeyed, not left out
    assert ("jump", "used", None) in [(w.text, w.fate, w.action) for w in directions.words]
    assert said("walks left without nodding") == [("walk", "left")]
    assert said("it never jumps, it walks") == [("walk", "")]


@pytest.mark.parametrize(
    "prompt", ["", " ", "bake a cake", "the elephant paints", "don't jump", "!!!", "跳"]
)
def test_nothing_understood_is_an_error_that_lists_what_is_known(prompt):
    with pytest.raises(InputError) as error:
        parse(prompt)
    assert "jump" in error.value.remedy
    assert "--driving" in error.value.remedy


@pytest.mark.parametrize(
    "section", ["development", "held-out", "held-out 2", "held-out 3", "limbs and views"]
)
def test_sentences_mean_what_was_written_down_before(section):
    cases = load_cases(section)
    assert len(cases) >= {"development": 140, "held-out": 60}.get(section, 30)
    wrong = {case.sentence: faults for case in cases if (faults := list_faults(case))}
    assert len(wrong) <= 0.05 * len(cases), wrong
    silent = [case.sentence for case in cases if is_silently_wrong(case)]
    assert silent == []


def test_a_wrong_script_counts_as_one():
    case = Case("walks left", (read_action("walk right 2steps"),), frozenset())
    assert compare(case, parse("walks left")) == [
        "[0] way: 'left', not 'right'",
        "[0] steps: 0, not 2.0",
    ]
    assert is_silently_wrong(case)
    assert not is_silently_wrong(Case("walks left oddly", case.actions, frozenset()))


@pytest.mark.parametrize(
    ("sentence", "script"),
    [
        ("the dog turns its back to the camera", "face away"),
        ("the dog walks not left but right", "walk right"),
        ("run towards and then away from the camera", "run away | towards"),
        ("he raises his arm, then lowers it", "lift arm | lowers"),
        ("the man lifts his head and then his right arm", "look up; lift right arm"),
        ("turn left twice as fast", "turn left fast"),
        ("the dog jumps a second time", "jump"),
        ("raise two paws", "lift left; & lift right | two"),
        ("sit up and beg", "rise | beg"),
        ("walk slowly then quickly", "walk slow; walk fast"),
        ("nod slowly and quickly", "nod slow | quickly"),
        ("head down, the bull walks left", "look down; walk left"),
        ("the man sitting on the bench stands up", "rise"),
        ("the dog steps onto the box with his left foot", "walk 1steps | box left foot"),
        ("the car turns left, then moves right", "turn left; drive right"),
        ("turn -30 degrees", "turn | -30 degrees"),
        ("jump 0 times", "jump | 0 times"),
        ("the man almost falls", "!"),
        ("nobody moves", "!"),
        ("the dog refuses to sit", "!"),
        ("the man's hat falls off", "!"),
        ("the dog turns its ears left, then right", "!"),
        ("The dog is not moving", "stay"),
    ],
)
def test_sentences_that_are_easily_misread(sentence, script):
    script, _, words = script.partition("|")
    actions = () if script.strip() == "!" else tuple(map(read_action, script.split(";")))
    assert list_faults(Case(sentence, actions, frozenset(words.split()))) == []


# What each line of cases/prompts.txt shall do; the file says what was once made of it.
ONCE_WRONG = {
    "the dog takes two steps forward": "walk forward 2steps",
    "his head turns to the left": "look left",
    "turn your head left": "look left",
    "Don't move, just turn your head to the right": "stay; & look right",
    "the boy runs from right to left": "run left",
    "the horse gallops from left to right": "run right",
    "walks up to the camera": "walk toward",
    "the dog comes back to the camera": "walk toward",
    "he sits down and gets up again": "sit; rise",
    "the dog lies down, then gets up": "crouch big; rise",
    "stop walking and look back": "stay; look back",
    "instead of walking, it runs": "run",
    "spin 1.5 times": "spin 540°",
    "the camera moves to the left": "!",
    "a silver car drives up onto the sidewalk": "drive | up sidewalk",
}


def load_prompts() -> list[str]:
    path = DATA / "cases" / "prompts.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.partition(" => ")[0] for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("sentence", load_prompts() or sorted(ONCE_WRONG))
def test_sentences_that_once_were_wrong(sentence):
    script, _, words = ONCE_WRONG[sentence].partition("|")
    actions = () if script == "!" else tuple(map(read_action, script.split(";")))
    assert list_faults(Case(sentence, actions, frozenset(words.split()))) == []


def test_the_prompts_of_the_paper():
    car = parse(
        "A small silver car slowly drives up onto the sidewalk from the street in a quiet urban "
        "area. The camera stays fixed in position but smoothly pans to follow the vehicle's motion "
        "as it mounts the curb and continues onto the pedestrian pavement. Surrounding buildings "
        "are modern and light-colored, with crosswalk lines, bollards, and a few pedestrians in "
        "the background. The motion feels slightly unusual yet calm, with no abrupt changes in "
        "camera movement."
    )
    assert [(a.verb, a.direction, a.pace) for a in car.actions] == [("drive", "", 0.6)]
    assert car.ignored[:4] == ("up", "sidewalk", "street", "quiet")
    cow = parse(
        "A brown and white cow slowly turns its body and walks toward the grassy field to graze. "
        "The camera remains fixed in physical position but gently pans to follow the cow's "
        "movement as it turns and begins eating grass. The scene takes place in a quiet rural "
        "pasture under bright daylight, with patches of soil, stones, and fencing visible in the "
        "foreground. The motion is natural and unhurried, with the cow staying centered in the "
        "frame."
    )
    acted = [(a.verb, a.direction) for a in cow.actions]
    assert acted == [("turn", ""), ("walk", "forward"), ("graze", "")]
    assert cow.ignored[:2] == ("grassy", "field")
    dog = parse(
        "A light-colored dog wearing a harness suddenly dashes into the nearby bushes on the right "
        "side of the frame. The camera remains completely still, capturing the dog's quick "
        "movement as it disappears into the foliage. The setting is a dry grassy area with sparse "
        "leaves, and a fence and road are visible in the background. The scene feels spontaneous "
        "and natural, with no camera tracking or zooming."
    )
    assert [(a.verb, a.direction, a.view) for a in dog.actions] == [("run", "right", "picture")]
    assert dog.actions[0].pace > 1
    assert dog.ignored[:3] == ("nearby", "bushes", "camera")


def test_every_word_is_accounted_for():
    text = "The dog, slowly, runs from right to left; the cat barks! Don't jump 3 times."
    words = parse(text).words
    assert [(w.text, w.fate) for w in words] == [
        ("the", "filler"), ("dog", "used"), ("slowly", "used"), ("runs", "used"),
        ("from", "filler"), ("right", "overridden"), ("to", "filler"), ("left", "used"),
        ("the", "filler"), ("cat", "left out"), ("barks", "left out"), ("don't", "used"),
        ("jump", "used"), ("3", "used"), ("times", "used"),
    ]  # fmt: skip
    assert [w.action for w in words if w.fate == "used"] == [0, 0, 0, 0, None, None, None, None]
    sat = parse("before it walks left, the dog sits")
    assert [(w.text, w.action) for w in sat.words if w.fate == "used"] == [
        ("walks", 1), ("left", 1), ("dog", 0), ("sits", 0)
    ]  # fmt: skip


def test_whose_left():
    turn, walk = parse("turn left, then walk left").actions
    assert (turn.verb, turn.view, walk.view) == ("turn", "own", "picture")
    assert [a.verb for a in parse("turn to the left of the screen").actions] == ["face"]
    assert parse("turn clockwise").actions[0].direction == "right"  # as seen from above
    wave = parse("it waves its left paw").actions[0]
    assert (wave.direction, wave.view) == ("left", "own")
    for kind, what in KINDS.items():
        if "left" in what.directions:
            directions = parse(f"{kind} to its left")
            assert [a.view for a in directions.actions] == ["own"], kind
            assert directions.ignored == ()


def test_what_will_be_acted_is_said():
    assert parse("the dog turns left, walks three steps and lowers its head").describe() == (
        "turns 60° to its left, 0.9 s; walks 3 steps forward, 1.5 s; lowers its head, 0.7 s"
    )
    assert parse("it slowly walks to the left while nodding").describe() == (
        "walks to the picture's left slowly, 3.3 s; meanwhile nods 7 times, 3.3 s"
    )
    assert parse("don't move, jump twice high").describe() == (
        "stays as it is, 1.0 s; meanwhile jumps twice far, 2.5 s"
    )
    assert parse("kicks with its left hind leg").describe() == (
        "kicks with its left hind limb, 0.8 s"
    )
    assert parse("lifts the leg on the right of the picture").describe() == (
        "lifts the leg on the picture's right, 0.8 s"
    )


def test_every_kind_can_be_acted():
    assert set(acting._ACT) == set(KINDS)
