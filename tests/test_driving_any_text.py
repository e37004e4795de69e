"""Directions: any text at all is understood or refused, and never takes long."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restage4d.driving.draft.directions.kinds import KINDS
from restage4d.driving.draft.directions.tokens import LONGEST
from restage4d.driving.draft.prompt import SECONDS, Action, parse
from restage4d.errors import InputError

HOW = {"": "", "slowly": "", "quickly": "", "twice": "count", "a little": "amount"}
WHERE = {
    "": "",
    "left": "left",
    "to the right": "right",
    "away": "away",
    "towards the camera": "toward",
    "back": "back",
}
VERBS = ["turn", "walk", "run", "jump", "crouch", "nod", "shake", "spin", "lean", "stretch"]
VERBS += ["wave", "sit", "bow", "kick", "graze", "drive"]


def says(verb: str) -> st.SearchStrategy[str]:
    """A verb with what can be said about it."""
    kind = KINDS[verb]
    takes = kind.takes | {""} | ({"count"} if kind.repeats else set())
    how = [words for words, name in HOW.items() if name in takes]
    where = [words for words, way in WHERE.items() if not way or way in KINDS[verb].directions]
    return st.builds(
        lambda *words: " ".join(w for w in (verb, *words) if w),
        st.sampled_from(how),
        st.sampled_from(where),
    )


clause = st.builds(
    lambda who, what: f"{who} {what}".strip(),
    st.sampled_from(["", "the dog", "it", "the big dog"]),  # somebody else would do nothing
    st.sampled_from(VERBS).flatmap(says),
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
    cues = {word.action for word in directions.words if word.fate == "used"}
    assert len(cues) == len(parts)
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


@pytest.mark.parametrize(
    "prompt", ["jump 21 times", "walk for 301 seconds", "spin 11 times", "walk 41 steps"]
)
def test_more_than_a_video_holds_is_refused(prompt):
    with pytest.raises(InputError, match="at most"):
        parse(prompt)


@pytest.mark.parametrize(
    "part", ["the ", "and ", "a", "walk ", "as it ", "a-", "-'", "1 ", "with its head ", "in ",
             "two and a half ", "before ", "while it ", "its left ", "not "]
)  # fmt: skip
def test_long_texts_take_no_longer_than_they_should(part):
    text = (part * LONGEST)[:LONGEST]
    start = time.perf_counter()
    with contextlib.suppress(InputError):
        parse(text)
    assert time.perf_counter() - start < 5
    with pytest.raises(InputError, match="characters"):
        parse(text + "a")
