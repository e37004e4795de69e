"""The draft driver's script by a language model: recorded replies of an endpoint."""

import json

import pytest

from restage4d.driving.draft.prompt import parse
from restage4d.driving.endpoint import EndpointConfig
from restage4d.driving.script_reading import PARSER, make_script
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache
from restage4d.jobs.provider_choice import DriverChoice
from restage4d.jobs.provider_factory import find_endpoint

pytest.importorskip("openai", reason="the extra hosted is not installed")

from .services import no_waiting
from .test_candidates import CHAT, said

GERMAN = "Der Hund läuft drei Schritte nach links und bellt, dann setzt er sich."
USUAL = {"limb": "", "side": "", "view": "", "together": False, "amount": 1, "degrees": 0}
USUAL |= {"count": 0, "pace": 1, "seconds": 0}
GOOD = json.dumps(
    {
        "actions": [
            {"verb": "walk", "direction": "left", "steps": 3, **USUAL},
            {"verb": "sit", "direction": "", "steps": 0, **USUAL},
        ],
        "left_out": ["bellt"],
    }
)
WRONG = GOOD.replace('"sit"', '"sit down"')


def test_a_sentence_of_any_language_becomes_a_script_once(server, tmp_path):
    server.on("POST", CHAT, said(f"Here it is:\n```json\n{GOOD}\n```"))
    told: list[str] = []
    config, cache = EndpointConfig(f"{server.url}/v1", "qwen"), Cache(tmp_path)
    for _ in range(2):  # the second time it is known
        script = make_script(GERMAN, config, cache, told.append)
        assert script.directions.describe() == parse("it walks 3 steps left, then sits").describe()
        assert script.directions.ignored == ("bellt",)
        assert script.read_by == f"qwen at {server.url}/v1"
    assert server.count("POST", CHAT) == 1
    assert told == [f"The directions are sent to {server.url}/v1 to be made a script."]
    sent = server.asked[0].body
    assert json.dumps(GERMAN, ensure_ascii=False) in sent["messages"][0]["content"]
    shape = sent["response_format"]["json_schema"]["schema"]
    assert set(shape["properties"]) == {"actions", "left_out"}
    record = script.to_record()
    assert json.loads(json.dumps(record)) == record
    assert [action["verb"] for action in record["actions"]] == ["walk", "sit"]


def test_a_wrong_reply_is_sent_back_once_with_what_is_wrong(server):
    server.on("POST", CHAT, said(WRONG), said(GOOD))
    script = make_script(GERMAN, EndpointConfig(f"{server.url}/v1", "m"), None, lambda text: None)
    assert [a.verb for a in script.directions.actions] == ["walk", "sit"]
    first, again = (asked.body["messages"] for asked in server.asked)
    assert again[:1] == first
    assert again[1] == {"role": "assistant", "content": WRONG}
    assert "actions[1].verb is 'sit down'" in again[2]["content"]


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ([said(WRONG), said("I cannot."), said(GOOD)], "gave no usable script: The model's reply"),
        ([(401, {"error": {"message": "wrong key"}})], "wrong key"),
        ([(200, {"hello": 1})], "does not reply as an OpenAI-compatible endpoint"),
    ],
)
def test_where_the_endpoint_fails_the_parser_reads_and_says_so(server, replies, why):
    server.on("POST", CHAT, *replies)
    told: list[str] = []
    config = EndpointConfig(f"{server.url}/v1", "m")
    script = make_script("it sits", config, None, told.append)
    assert (script.read_by, [a.verb for a in script.directions.actions]) == (PARSER, ["sit"])
    assert why in told[-1]
    assert told[-1].endswith(f"The {PARSER} reads the directions instead.")


def test_what_neither_can_read_is_refused(server):
    server.on("POST", CHAT, (401, {"error": {"message": "wrong key"}}))
    with pytest.raises(InputError, match="nothing that the draft driver can do"):
        make_script("Il chante", EndpointConfig(f"{server.url}/v1", "m"), None, lambda text: None)


def test_an_endpoint_that_knows_no_schemas_is_asked_without(server, monkeypatch):
    no_waiting(monkeypatch)
    server.on("POST", CHAT, (400, {"error": {"message": "response_format unknown"}}), said(GOOD))
    script = make_script(GERMAN, EndpointConfig(f"{server.url}/v1", "m"), None, lambda text: None)
    assert len(script.directions.actions) == 2
    assert "response_format" not in server.asked[1].body


def test_without_an_endpoint_nothing_is_sent(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTAGE4D_SETTINGS", str(tmp_path / "none.toml"))
    assert find_endpoint(DriverChoice()) is None
    told: list[str] = []
    assert make_script("it sits", None, None, told.append).read_by == PARSER
    assert told == []
    chosen = find_endpoint(DriverChoice(refine_url="http://here/v1", refine_model="m"))
    assert chosen == EndpointConfig("http://here/v1", "m")
