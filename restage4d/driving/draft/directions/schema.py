"""The script as JSON, as a language model gives it: its schema, and the check of what comes."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from restage4d.driving.draft.directions.actions import (
    MOST_COUNT,
    MOST_DEGREES,
    MOST_SECONDS,
    MOST_STEPS,
    Cue,
    check_figures,
)
from restage4d.driving.draft.directions.kinds import KINDS
from restage4d.driving.draft.directions.vocabulary import LIMBS, WHICH_LIMBS
from restage4d.errors import InputError

MOST_CUES = 40
_LONGEST_REPLY = 20_000  # characters
_REMEDY = "Ask again, or say it in simple English."
# bounds of the figures; "integer" ones count
_FIGURES = {
    "amount": ("number", 0.1, 3.0), "degrees": ("number", 0.0, MOST_DEGREES),
    "count": ("integer", 0, MOST_COUNT), "steps": ("integer", 0, MOST_STEPS),
    "pace": ("number", 0.2, 5.0), "seconds": ("number", 0.0, MOST_SECONDS),
}  # fmt: skip
_NEUTRAL = {"amount": 1, "degrees": 0, "count": 0, "steps": 0}
_GLOSSARY = {
    "turn": "turn about the vertical, and stay turned", "face": "turn to face that way",
    "look": "turn, raise or lower the head only", "walk": "any way of moving slowly",
    "run": "any way of moving fast", "crouch": "get low; amount 1.6 = lie down",
    "rise": "get up again", "shake": "the head, or with limb body itself", "spin": "turn in full",
    "wave": "a limb to and fro", "lift": "a limb up and down once", "stay": "do nothing",
    "drive": "a vehicle moves", "roll": "roll over, lying", "graze": "also eat, drink, sniff",
}  # fmt: skip


def build_schema() -> dict[str, Any]:
    """The JSON schema of a script, such that services with strict schemas take it."""
    ways = sorted({way for kind in KINDS.values() for way in kind.directions})
    cue: dict[str, Any] = {
        "verb": {"type": "string", "enum": list(KINDS)},
        "direction": {"type": "string", "enum": ["", *ways]},
        "limb": {"type": "string", "enum": ["", *LIMBS]},
        "side": {"type": "string", "enum": ["", "left", "right"]},
        "which": {"type": "string", "enum": ["", *WHICH_LIMBS]},
        "view": {"type": "string", "enum": ["", "own", "picture"]},
        "together": {"type": "boolean"},
    }
    for name, (kind, least, most) in _FIGURES.items():
        cue[name] = {"type": kind, "minimum": least, "maximum": most}
    return _build_object(
        {
            "actions": {"type": "array", "minItems": 1, "items": _build_object(cue)},
            "left_out": {"type": "array", "items": {"type": "string"}},
        }
    )


def _build_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def script_request(text: str, language_hint: str = "") -> tuple[str, dict[str, Any]]:
    """What to ask a language model: the system prompt, with the directions in it, and the schema of
    its reply, for `restage4d.driving.draft.directions.script.read_script`.

    Args:
        text: the directions, in any language.
        language_hint: the language's name, or "" where it is not known.
    """
    kinds = "\n".join(map(_explain_kind, KINDS))
    return (
        "You turn directions for the one subject of a video into a script of simple actions, as "
        "JSON alone.\n"
        "Take only what the subject itself shall do: nothing that the camera, the light or anybody "
        "else does, and nothing that is said not to happen. Keep the order in which things happen; "
        '"together" is true where an action begins with the one before it. "left" and "right" are '
        "the subject's own for turn and spin, else the picture's; \"view\" says so where the "
        'directions do, else "". "limb" is any leg, arm or wing, "side" its own left or right, '
        '"which" says more of it. '
        "amount 1, pace 1, and 0 for degrees, count, steps and seconds mean: as usual. Take the "
        "nearest verb; what no verb comes near to, and places and things, go into "
        '"left_out", word by word as written.\n'
        f"Verbs:\n{kinds}\n"
        f"The directions{f' (in {language_hint})' if language_hint else ''}: "
        f"{json.dumps(text, ensure_ascii=False)}",
        build_schema(),
    )


def _explain_kind(name: str) -> str:
    """A kind of action for a language model."""
    kind = KINDS[name]
    gloss = f" ({_GLOSSARY[name]})" if name in _GLOSSARY else ""
    ways = ", ".join(sorted(kind.directions)) or "none"
    takes = ", ".join(sorted(kind.takes | {"pace", "seconds"}))
    return f"- {name}{gloss}: directions {ways}; takes {takes}"


def find_json(reply: str) -> Any:
    """The script in a model's reply, whatever prose stands around it.

    Raises:
        InputError: there is none.
    """
    decoder = json.JSONDecoder()
    at = reply.find("{") if len(reply) <= _LONGEST_REPLY else -1
    while at >= 0:
        try:
            data, _ = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and "actions" in data:
            return data
        at = reply.find("{", at + 1)
    start = " ".join(reply.split())[:60]
    raise InputError(f'The model\'s reply holds no script as JSON: "{start}".', _REMEDY)


def read_cues(data: Any) -> tuple[list[Cue], list[str]]:
    """The cues of a script and the words that it leaves out; fields that are missing are as usual.

    Raises:
        InputError: a field is wrong; names it.
    """
    if not isinstance(data, Mapping):
        raise _refuse("the script", "is no object")
    _check_names("", data, {"actions", "left_out"})
    items = data.get("actions")
    if not isinstance(items, list) or not items:
        raise _refuse("actions", "is no list of at least one action")
    if len(items) > MOST_CUES:
        raise _refuse("actions", f"holds {len(items)} actions; at most {MOST_CUES} are made")
    words = data.get("left_out", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _refuse("left_out", "is no list of words")
    return [_read_cue(f"actions[{k}]", item) for k, item in enumerate(items)], words


def _read_cue(place: str, item: Any) -> Cue:
    if not isinstance(item, Mapping):
        raise _refuse(place, "is no object")
    _check_names(f"{place}.", item, {f.name for f in fields(Cue)})
    verb = item.get("verb")
    if not isinstance(verb, str) or verb not in KINDS:
        raise _refuse(f"{place}.verb", f"is {verb!r}; known are {', '.join(KINDS)}")
    kind = KINDS[verb]
    choices = {
        "direction": kind.directions,
        "limb": LIMBS if "limb" in kind.takes else (),
        "side": ("left", "right") if verb in {"lift", "wave", "kick"} else (),
        "which": tuple(WHICH_LIMBS) if verb in {"lift", "wave", "kick"} else (),
        "view": ("own", "picture"),
    }
    for name, allowed in choices.items():
        value = item.get(name, "")
        if value != "" and (not isinstance(value, str) or value not in allowed):
            known = ", ".join(sorted(allowed)) or "none"
            raise _refuse(f"{place}.{name}", f'is {value!r}; "{verb}" takes {known}')
    for name in _FIGURES:
        _check_figure(place, name, item, takes=name not in _NEUTRAL or _takes(kind, name))
    if not isinstance(item.get("together", False), bool):
        raise _refuse(f"{place}.together", "is neither true nor false")
    cue = Cue(**item)
    check_figures(cue)
    return cue


def _takes(kind: Any, name: str) -> bool:
    return name in kind.takes or (name == "count" and kind.repeats)


def _check_names(place: str, data: Mapping, known: set[str]) -> None:
    for name in data:
        if name not in known:
            raise _refuse(f"{place}{name}", f"is no field; known are {', '.join(sorted(known))}")


def _check_figure(place: str, name: str, item: Mapping, takes: bool) -> None:
    usual = _NEUTRAL.get(name, 1 if name == "pace" else 0)
    kind, least, most = _FIGURES[name]
    value = item.get(name, usual)
    needed = "a whole number" if kind == "integer" else "a number"
    allowed = int if kind == "integer" else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise _refuse(f"{place}.{name}", f"is {value!r:.20}; {needed} is needed")
    if not least <= value <= most:
        raise _refuse(f"{place}.{name}", f"is {value!r:.20}; {least:g} to {most:g} can be made")
    if not takes and value != usual:
        raise _refuse(f"{place}.{name}", f'is {value:g}, but "{item.get("verb")}" takes none')


def _refuse(field: str, why: str) -> InputError:
    return InputError(f"The script's field {field} {why}.", _REMEDY)
