"""Directions: what a sentence means, in what order and at what time, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restage4d.driving.draft.prompt import Action, parse
from restage4d.driving.draft.vocabulary import SECONDS, USUAL_TURN
from restage4d.errors import InputError


def read_verbs(prompt: str) -> list[tuple[str, str]]:
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
    assert read_verbs(prompt) == expected


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


def test_what_is_not_understood_is_reported():
    directions = parse("the purple dog happily dances and then walks to the door")
    assert [a.verb for a in directions.actions] == ["walk"]
    assert {"happily", "dances", "door"} <= set(directions.ignored)
    assert parse("the old grey camel turns left").ignored == ()


def test_what_is_forbidden_is_not_done():
    directions = parse("the dog doesn't jump but sits")
    assert [a.verb for a in directions.actions] == ["sit"]
    assert "jump" in directions.ignored
    assert read_verbs("walks left without nodding") == [("walk", "left")]
    assert read_verbs("it never jumps, it walks") == [("walk", "")]


@pytest.mark.parametrize(
    "prompt", ["", " ", "bake a cake", "the elephant dances", "don't jump", "!!!", "跳"]
)
def test_nothing_understood_is_an_error_that_lists_what_is_known(prompt):
    with pytest.raises(InputError) as error:
        parse(prompt)
    assert "jump" in error.value.remedy
    assert "--driving" in error.value.remedy


verbs = st.sampled_from(
    [
        "turn",
        "walk",
        "run",
        "jump",
        "crouch",
        "nod",
        "shake",
        "spin",
        "lean",
        "stretch",
        "wave",
        "sit",
        "bow",
    ]
)
clause = st.builds(
    lambda who, verb, how, where: " ".join(w for w in (who, verb, how, where) if w),
    st.sampled_from(["", "the dog", "it", "a big camel"]),
    verbs,
    st.sampled_from(["", "slowly", "quickly", "twice", "a little", "far"]),
    st.sampled_from(["", "left", "to the right", "away", "towards the camera", "back"]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(clause, st.sampled_from([" then ", ", ", " and ", ". ", " while "])),
        min_size=1,
        max_size=5,
    )
)
def test_every_clause_is_one_action_in_order(parts):
    prompt = "".join(text + joint for text, joint in parts)
    directions = parse(prompt)
    assert len(directions.actions) == len(parts)
    assert directions.ignored == ()
    start = 0.0
    for action in directions.actions:
        assert action.verb in SECONDS
        assert action.seconds > 0
        assert action.start >= start - 1e-9
        start = action.start
    assert directions.seconds == max(a.end for a in directions.actions)
    assert parse(prompt.upper()) == directions


WORDS = [
    "the",
    "a",
    "left",
    "3",
    "times",
    "degrees",
    "and",
    "while",
    "not",
    "turn",
    "step",
    "head",
    "°,",
    "after",
    "seconds",
    "1e",
]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_understood_or_refused(text):
    try:
        actions = parse(text).actions
    except InputError:
        return
    assert actions
    assert all(isinstance(a, Action) and 0 < a.seconds < 1000 and a.count >= 1 for a in actions)
