"""Reads tests/data/directions.txt, and compares what a sentence means with what it shall mean."""

import re
from dataclasses import dataclass
from pathlib import Path

from restage4d.driving.draft.directions.kinds import DEFAULT_COUNTS, KINDS, NEAREST
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
    action |= {"steps": 0, "seconds": 0.0, "pace": "", "amount": "", "limb": "", "own": False}
    for word in rest:
        if word in WAYS:
            action["way"] = word
        elif word in {"slow", "fast"}:
            action["pace"] = word
        elif word in {"small", "big"}:
            action["amount"] = word
        elif word in {"limb", "body"}:
            action["limb"] = word
        elif word == "own":
            action["own"] = True
        elif match := re.fullmatch(r"x(\d+)", word):
            action["count"] = int(match[1])
        elif match := re.fullmatch(r"([\d.]+)(°|steps|s)", word):
            field = {"°": "degrees", "steps": "steps", "s": "seconds"}[match[2]]
            action[field] = float(match[1])
        else:
            raise ValueError(f"{word} in {text}")
    return action


def group_actions(actions: tuple[Action, ...]) -> list[list[Action]]:
    """What stands in for one kind, as one."""
    groups: list[list[Action]] = []
    for action in actions:
        same = bool(groups) and groups[-1][0].asked == action.asked
        parts = len(NEAREST.get(action.asked, ({},)))
        whole = same and len(groups[-1]) % parts == 0
        again = not (whole and action.direction != groups[-1][0].direction)
        if action.asked and same and again:
            groups[-1].append(action)
        else:
            groups.append([action])
    return groups


def expand_repeats(actions: tuple[dict, ...]) -> list[dict]:
    """What is done once at a time, as often as is said; stand-ins are counted in their group."""
    expanded: list[dict] = []
    for action in actions:
        verb, count = action["verb"], action["count"]
        once = KINDS[verb].repeats and verb not in NEAREST and count
        expanded += [action | {"count": 0}] * count if once else [action]
    return expanded


def is_like(group: list[Action], expected: dict) -> list[str]:
    """The fields in which what is acted differs from what is expected."""
    first = group[0]
    verb = first.asked or first.verb
    goes = 1
    parts = NEAREST.get(verb, ({},))
    if first.asked:
        goes = len(group) // len(parts)
    found = {
        "verb": verb,
        "together": first.together,
        "way": next((a.direction for a in reversed(group) if a.direction), ""),
        "steps": first.steps,
    }
    pace = first.pace / parts[0].get("pace", 1.0)
    found["pace"] = "slow" if pace < 1 else "fast" if pace > 1 else ""
    if verb in {"shake", "lift", "wave", "kick"}:
        found["limb"] = first.limb if first.limb != "head" else ""
        expected = expected | {"limb": expected["limb"] or ("limb" if verb == "lift" else "")}
        if verb in {"wave", "kick", "lift"}:
            found["limb"] = expected["limb"] = ""
    if verb not in {"turn", "spin"} and not first.steps:
        amount = first.amount / parts[0].get("amount", 1.0)
        found["amount"] = "small" if amount < 1 else "big" if amount > 1 else ""
    usual = DEFAULT_COUNTS.get(verb, 1)
    count = goes if first.asked else first.count
    goes_on = first.together or (expected["seconds"] and verb in DEFAULT_COUNTS)
    if expected["count"] or not goes_on:
        found["count"] = count
        expected = expected | {"count": expected["count"] or usual}
    if verb in {"turn", "spin"}:
        plain = {"spin": 360.0, "turn": 180.0 if first.direction == "around" else 60.0}[verb]
        found["degrees"] = first.degrees
        expected = expected | {"degrees": expected["degrees"] or plain}
    if expected["seconds"]:
        found["seconds"] = round(sum(a.seconds for a in group), 6)
    if verb == "graze":
        found["way"] = expected["way"]
    return [f"{k}: {v!r}, not {expected[k]!r}" for k, v in found.items() if v != expected[k]]


def list_faults(case: Case) -> list[str]:
    """What is wrong with the script of a sentence."""
    try:
        directions = parse(case.sentence)
    except InputError:
        return ["refused"] if case.actions else []
    return compare(case, directions)


def compare(case: Case, directions: Directions) -> list[str]:
    groups, actions = group_actions(directions.actions), expand_repeats(case.actions)
    faults = []
    if len(groups) != len(actions):
        faults.append(f"{len(groups)} actions, not {len(actions)}: {directions.describe()}")
    else:
        for k, (group, expected) in enumerate(zip(groups, actions, strict=True)):
            faults += [f"[{k}] {fault}" for fault in is_like(group, expected)]
    own = any(action["own"] for action in case.actions)
    ignored = set(directions.ignored) - ({"its", "his", "her"} if own else set())
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
