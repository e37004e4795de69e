"""Reads tests/data/directions.txt, and compares what a sentence means with what it shall mean."""

import re
from dataclasses import dataclass
from pathlib import Path

from restage4d.driving.draft.directions.kinds import DEFAULT_COUNTS, KINDS
from restage4d.driving.draft.prompt import Action, Directions, parse
from restage4d.errors import InputError

FILE = Path(__file__).parent / "data" / "directions.txt"
WAYS = set().union(*(kind.directions for kind in KINDS.values()))


@dataclass(frozen=True)
class Case:
    sentence: str
    actions: tuple[dict, ...]
    left_out: frozenset[str]


def load_cases(section: str) -> list[Case]:
    cases, here = [], ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif " => " in line and not line.startswith("#") and here == section:
            sentence, _, expected = line.partition(" => ")
            script, _, words = expected.partition("|")
            actions = () if script.strip() == "!" else script.split(";")
            cases.append(Case(sentence, tuple(map(read_action, actions)), frozenset(words.split())))
    return cases


def read_action(text: str) -> dict:
    """An action as the file writes it, with every field."""
    together, text = text.strip().startswith("&"), text.replace("&", " ")
    verb, *rest = text.split()
    action = {"verb": verb, "together": together, "way": "", "count": 0, "degrees": 0.0}
    action |= {"steps": 0, "seconds": 0.0, "pace": "", "amount": "", "limb": ""}
    action |= {"view": "", "which": ""}
    for word in rest:
        if word in WAYS:
            action["way"] = word
        elif word in {"slow", "fast"}:
            action["pace"] = word
        elif word in {"small", "big"}:
            action["amount"] = word
        elif word in {"limb", "body"}:
            action["limb"] = word
        elif word in {"own", "picture"}:
            action["view"] = word
        elif word in {"front", "hind", "arm", "leg"}:
            action["which"] = word
        elif match := re.fullmatch(r"x(\d+)", word):
            action["count"] = int(match[1])
        elif match := re.fullmatch(r"([\d.]+)(°|steps|s)", word):
            field = {"°": "degrees", "steps": "steps", "s": "seconds"}[match[2]]
            action[field] = float(match[1])
        else:
            raise ValueError(f"{word} in {text}")
    return action


def expand_repeats(actions: tuple[dict, ...]) -> list[dict]:
    """What is done once at a time, as often as is said."""
    expanded: list[dict] = []
    for action in actions:
        verb, count = action["verb"], action["count"]
        once = KINDS[verb].repeats and count
        expanded += [action | {"count": 0}] * count if once else [action]
    return expanded


def find_differences(action: Action, expected: dict) -> list[str]:
    """The fields in which what is acted differs from what is expected."""
    verb = action.verb
    found = {
        "verb": verb,
        "together": action.together,
        "way": action.direction,
        "steps": action.steps,
        "which": action.which,
        "pace": "slow" if action.pace < 1 else "fast" if action.pace > 1 else "",
    }
    if action.direction in {"left", "right"}:
        usual = "own" if verb in {"lift", "wave", "kick"} else KINDS[verb].view
        found["view"] = action.view
        expected = expected | {"view": expected["view"] or usual}
    if verb == "shake":
        found["limb"] = action.limb if action.limb != "head" else ""
    if verb not in {"turn", "spin"} and not action.steps:
        found["amount"] = "small" if action.amount < 1 else "big" if action.amount > 1 else ""
    usual = DEFAULT_COUNTS.get(verb, 1)
    goes_on = action.together or (expected["seconds"] and verb in DEFAULT_COUNTS)
    if expected["count"] or not goes_on:
        found["count"] = action.count
        expected = expected | {"count": expected["count"] or usual}
    if verb in {"turn", "spin"}:
        plain = {"spin": 360.0, "turn": 180.0 if action.direction == "around" else 60.0}[verb]
        found["degrees"] = action.degrees
        expected = expected | {"degrees": expected["degrees"] or plain}
    if expected["seconds"]:
        found["seconds"] = round(action.seconds, 6)
    return [f"{k}: {v!r}, not {expected[k]!r}" for k, v in found.items() if v != expected[k]]


def list_faults(case: Case) -> list[str]:
    """What is wrong with the script of a sentence."""
    try:
        directions = parse(case.sentence)
    except InputError:
        return ["refused"] if case.actions else []
    return compare(case, directions)


def compare(case: Case, directions: Directions) -> list[str]:
    acted, actions = directions.actions, expand_repeats(case.actions)
    faults = []
    if len(acted) != len(actions):
        faults.append(f"{len(acted)} actions, not {len(actions)}: {directions.describe()}")
    else:
        for k, (action, expected) in enumerate(zip(acted, actions, strict=True)):
            faults += [f"[{k}] {fault}" for fault in find_differences(action, expected)]
    ignored = set(directions.ignored)
    if ignored != case.left_out:
        faults.append(f"leaves out {sorted(ignored)}, not {sorted(case.left_out)}")
    return faults


def is_silently_wrong(case: Case) -> bool:
    """Whether something else is acted than expected, and no word of it is said."""
    try:
        directions = parse(case.sentence)
    except InputError:
        return False
    faults = [f for f in compare(case, directions) if not f.startswith("leaves out")]
    told = any(word.fate in {"left out", "overridden"} for word in directions.words)
    return bool(faults) and not told
