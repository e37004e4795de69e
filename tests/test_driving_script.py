"""The script as JSON: what a language model's reply must hold, and what is wrong with one."""

import json

import pytest

from restage4d.driving.draft.directions.actions import Cue
from restage4d.driving.draft.directions.kinds import KINDS
from restage4d.driving.draft.directions.schema import build_schema, read_cues, script_request
from restage4d.driving.draft.directions.script import Directions, read_script
from restage4d.driving.draft.prompt import parse
from restage4d.errors import InputError

# replies as models give them: alone, in a fence with prose around, with thoughts in braces before
GOOD = """{"actions": [
  {"verb": "walk", "direction": "left", "limb": "", "side": "", "which": "", "view": "",
   "together": false,
   "amount": 1, "degrees": 0, "count": 0, "steps": 3, "pace": 0.6, "seconds": 0},
  {"verb": "nod", "direction": "", "limb": "head", "side": "", "which": "", "view": "",
   "together": true,
   "amount": 1, "degrees": 0, "count": 0, "steps": 0, "pace": 1, "seconds": 0},
  {"verb": "graze", "direction": "", "limb": "", "side": "", "which": "", "view": "",
   "together": false,
   "amount": 1, "degrees": 0, "count": 0, "steps": 0, "pace": 1, "seconds": 2.5}],
 "left_out": ["auf", "der", "Wiese"]}"""
IN_PROSE = f"Here is the script {{as asked}}:\n```json\n{GOOD}\n```\nI left out the meadow. {{}}"


@pytest.mark.parametrize("reply", [GOOD, IN_PROSE], ids=["alone", "in prose"])
def test_a_good_reply_is_the_script_that_a_sentence_would_be(reply):
    directions = read_script(reply)
    plain = parse("it walks three steps left slowly while nodding, then grazes for 2.5 seconds")
    assert directions.describe() == plain.describe()
    assert [(a.verb, a.start, a.seconds, a.count) for a in directions.actions] == [
        (a.verb, a.start, a.seconds, a.count) for a in plain.actions
    ]
    assert directions.ignored == ("auf", "der", "Wiese")


def test_what_is_not_said_is_as_usual():
    (turn,) = Directions.from_json({"actions": [{"verb": "turn"}]}).actions
    assert turn == parse("turn").actions[0]
    cues, words = read_cues({"actions": [{"verb": "lift", "side": "left", "count": 2}]})
    assert cues == [Cue("lift", side="left", count=2)]
    assert words == []


@pytest.mark.parametrize(
    ("action", "field"),
    [
        ({"verb": "fly"}, r"actions\[1\]\.verb is 'fly'"),
        ({}, r"actions\[1\]\.verb is None"),
        ({"verb": ["walk"]}, r"actions\[1\]\.verb"),
        ({"verb": "walk", "direction": "up"}, r"actions\[1\]\.direction is 'up'; \"walk\" takes"),
        ({"verb": "walk", "direction": 3}, r"actions\[1\]\.direction is 3"),
        ({"verb": "sit", "limb": "tail"}, r"actions\[1\]\.limb is 'tail'; \"sit\" takes none"),
        ({"verb": "walk", "side": "left"}, r"actions\[1\]\.side"),
        ({"verb": "turn", "degrees": "90"}, r"actions\[1\]\.degrees is '90'; a number is needed"),
        ({"verb": "turn", "degrees": 1e9}, r"actions\[1\]\.degrees is 1000000000.0; 0 to 3600"),
        ({"verb": "turn", "degrees": float("nan")}, r"actions\[1\]\.degrees is nan"),
        ({"verb": "turn", "degrees": 10**400}, r"actions\[1\]\.degrees is 1000"),
        ({"verb": "walk", "degrees": 90}, r"actions\[1\]\.degrees is 90, but \"walk\" takes none"),
        ({"verb": "nod", "count": 2.5}, r"actions\[1\]\.count is 2.5; a whole number is needed"),
        ({"verb": "nod", "count": True}, r"actions\[1\]\.count is True"),
        ({"verb": "walk", "pace": 0}, r"actions\[1\]\.pace is 0; 0.2 to 5"),
        ({"verb": "walk", "together": "yes"}, r"actions\[1\]\.together is neither"),
        ({"verb": "walk", "speed": 2}, r"actions\[1\]\.speed is no field; known are amount"),
        ("walk", r"actions\[1\] is no object"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(action, field):
    with pytest.raises(InputError, match=field):
        Directions.from_json({"actions": [{"verb": "sit"}, action]})


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ([], "the script is no object"),
        ({"actions": []}, "actions is no list"),
        ({"actions": [{"verb": "sit"}] * 41}, "actions holds 41"),
        ({"left_out": []}, "actions is no list"),
        ({"actions": [{"verb": "sit"}], "left_out": "x"}, "left_out is no list"),
        ({"actions": [{"verb": "sit"}], "title": "x"}, "title is no field"),
    ],
)
def test_a_wrong_script_is_refused(data, field):
    with pytest.raises(InputError, match=field):
        Directions.from_json(data)


@pytest.mark.parametrize(
    "reply",
    ["", "I cannot help with that.", '{"verb": "walk"}', GOOD[:-40], "{" * 15_000, "x" * 30_000],
)
def test_a_reply_without_a_script_is_refused(reply):
    with pytest.raises(InputError, match="holds no script as JSON"):
        read_script(reply)


def test_the_request_names_every_kind_and_its_schema_is_strict():
    system, schema = script_request('el perro "salta" dos veces', "Spanish")
    assert json.dumps('el perro "salta" dos veces') in system
    assert "in Spanish" in system
    assert all(f"- {kind}" in system for kind in KINDS)
    assert schema == build_schema() == json.loads(json.dumps(schema))
    cue = schema["properties"]["actions"]["items"]
    for part in (schema, cue):  # as services with strict schemas want it
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False
    assert cue["properties"]["verb"]["enum"] == list(KINDS)
    assert set(json.loads(GOOD)["actions"][0]) == set(cue["properties"])


def test_every_sentence_of_a_kind_can_be_said_as_json():
    for verb, kind in KINDS.items():
        for direction in ["", *sorted(kind.directions)]:
            data = {"actions": [{"verb": verb, "direction": direction, "pace": 1.5}]}
            assert Directions.from_json(data).seconds > 0
