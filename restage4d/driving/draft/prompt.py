"""Reading simple directions: a sentence to a list of timed actions. A fixed vocabulary, no model,
the same result every time."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from restage4d.errors import InputError


@dataclass(frozen=True)
class Action:
    """One thing that the subject does.

    Attributes:
        verb: a key of `SECONDS`.
        direction: "left", "right", "forward", "back", "toward" or "away" (of the camera), "around",
            "up", "down", "place", or "" where the sentence does not say. "turn" and "spin" mean the
            subject's own left and right, all else the screen's.
        limb: "head", "tail", "body" or "limb" (any leg, arm or wing), or "" where the sentence does
            not say.
        amount: how far, 1 = as usual.
        degrees: how far to turn or spin in all.
        count: how many times.
        pace: how fast, 1 = as usual.
        start, seconds: when, from the beginning of the driving video.
    """

    verb: str
    direction: str = ""
    limb: str = ""
    amount: float = 1.0
    degrees: float = 0.0
    count: int = 1
    pace: float = 1.0
    start: float = 0.0
    seconds: float = 0.0

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True)
class Directions:
    """What was understood: ``actions`` in the order of their start, and the words that were not
    (``ignored``)."""

    actions: tuple[Action, ...]
    ignored: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return max(a.end for a in self.actions)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Seconds that one go takes at the usual pace and amount.
SECONDS = {
    "turn": 0.9, "face": 1.0, "look": 0.7, "walk": 2.0, "run": 1.5, "jump": 1.1, "crouch": 0.9,
    "sit": 1.0, "bow": 1.4,
    "rise": 0.8, "lean": 0.8, "nod": 0.5, "shake": 0.45, "spin": 1.5, "stretch": 1.5, "wave": 0.6,
    "lift": 0.8, "wag": 0.35,
    "stay": 1.0,
}  # fmt: skip
USUAL_TURN = 60.0  # degrees; a relief seen edge-on shows little, so plain turns stop short of that
_USUAL_COUNT = {"nod": 2, "shake": 2, "wave": 2, "wag": 4}
_STEP_SECONDS = 0.5

_VERBS = {
    "turn": "turn rotate pivot swivel veer",
    "face": "face",
    "look": "look glance gaze peek",
    "walk": "walk move go step come travel approach advance proceed stroll wander leave retreat "
    "head stride slide crawl creep",
    "run": "run trot gallop sprint jog dash rush hurry",
    "jump": "jump hop leap bounce",
    "crouch": "crouch duck squat stoop lie cower lower dip",
    "sit": "sit",
    "bow": "bow curtsy",
    "rise": "rise stand",
    "lean": "lean tilt",
    "nod": "nod",
    "shake": "shake shiver wiggle",
    "spin": "spin twirl whirl pirouette",
    "stretch": "stretch grow rear",
    "wave": "wave",
    "lift": "lift raise",
    "wag": "wag",
    "stay": "stay wait pause stop rest freeze",
}
_IRREGULAR = {
    "went": "go", "gone": "go", "came": "come", "ran": "run", "leapt": "leap", "lying": "lie",
    "lay": "lie", "sat": "sit",
    "rose": "rise", "risen": "rise", "stood": "stand", "leant": "lean", "shook": "shake",
    "shaken": "shake", "spun": "spin",
    "grew": "grow", "grown": "grow",
}  # fmt: skip
# What a verb says beyond its group.
_MEANING: dict[str, dict] = {
    "approach": {"direction": "toward"},
    "come": {"direction": "toward"},
    "leave": {"direction": "away"},
    "retreat": {"direction": "back"},
    "lie": {"amount": 1.6},
    "rear": {"amount": 1.4},
    "bounce": {"amount": 0.6},
    "shiver": {"limb": "body", "amount": 0.4, "count": 4},
    "wiggle": {"limb": "body"},
} | {
    slow: {"pace": pace}
    for slow, pace in (("stroll", 0.8), ("creep", 0.6), ("crawl", 0.6), ("trot", 0.8), ("jog", 0.8))
}
# A verb with a limb of its own may be another verb: "turns its head left" looks left.
_WITH_LIMB = {
    ("turn", "head"): "look", ("walk", "head"): "look", ("lean", "head"): "look", ("lift",
    "head"): "look",
    ("walk", "limb"): "lift", ("stretch", "limb"): "lift", ("shake", "limb"): "wave",
    ("walk", "tail"): "wag", ("wave", "tail"): "wag", ("shake", "tail"): "wag", ("lift",
    "tail"): "wag", ("lean", "body"): "lean",
}  # fmt: skip
_DIRECTIONS = {
    "left": "left leftward leftwards anticlockwise counterclockwise",
    "right": "right rightward rightwards clockwise",
    "forward": "forward forwards ahead onward onwards",
    "back": "back backward backwards",
    "toward": "toward towards closer nearer",
    "away": "away off farther further distance",
    "around": "around round about",
    "up": "up upward upwards upright tall taller",
    "down": "down downward downwards",
    "place": "place spot",
}
_LIMBS = {
    "head": "head nose face muzzle",
    "tail": "tail",
    "body": "body itself himself herself themselves hips",
    "limb": "paw paws leg legs foot feet hoof hooves arm arms hand hands limb limbs wing wings fin "
    "fins",
}
_AMOUNTS = {
    0.5: "slightly little bit small gently subtly tiny halfway short partly somewhat",
    1.6: "far lot deep deeply high wide widely big greatly strongly much long wildly fully huge "
    "large",
}
_PACES = {
    0.6: "slowly slow slower lazily calmly leisurely sluggishly carefully",
    1.6: "quickly quick quicker fast faster rapidly swiftly hastily suddenly briskly abruptly",
}
_FRACTIONS = {"quarter": 90.0, "half": 180.0, "full": 360.0, "complete": 360.0, "whole": 360.0}
_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_TIMES = {"once": 1, "twice": 2, "thrice": 3}
_NEGATIONS = _words("not never without cannot")
_SEQUENCE = _words(", ; . ! : then and but afterwards next finally before first later")
_TOGETHER = _words("while simultaneously meanwhile whilst")
_DETERMINERS = _words("the a an its his her their my our this that")
_LIGHT = _words(
    "does do did make makes take takes gives give performs perform has"
)  # "takes a bow"
_VIEWER = _words("camera viewer us me audience")
_FILLERS = """
    it he she they is are was be to of in on at with for by from into via so very just start starts
    begin begins as same time times degree degrees second seconds sec s step steps screen side again
    it's more no way all turn's circle
"""
_SILENT = _DETERMINERS | _LIGHT | _VIEWER | _words(_FILLERS)


def _forms(word: str) -> set[str]:
    """A regular verb's forms: turn, turns, turned, turning; nod, nodding; wave, waving; hurry,
    hurries."""
    doubles = (
        word[-1] not in "aeiouwxy"
        and word[-2] in "aeiou"
        and word[-3] not in "aeiou"
        and word not in {"wander", "lower"}
    )
    stem = word[:-1] if word.endswith("e") else word + word[-1] * doubles
    if word.endswith("y") and word[-2] not in "aeiou":
        return {word, word[:-1] + "ies", word[:-1] + "ied", word + "ing"}
    return {
        word,
        word + ("es" if word.endswith(("sh", "ch", "o")) else "s"),
        stem + "ed",
        stem + "ing",
    }


def _table(groups: dict) -> dict[str, Any]:
    return {word: key for key, words in groups.items() for word in words.split()}


_WORD = {
    form: word for words in _VERBS.values() for word in words.split() for form in _forms(word)
} | _IRREGULAR
_VERB, _DIRECTION, _LIMB, _AMOUNT, _PACE = (
    _table(t) for t in (_VERBS, _DIRECTIONS, _LIMBS, _AMOUNTS, _PACES)
)
KNOWN = (
    "turn, face, spin, look, walk/move/go/step (left, right, forward, back, towards or away from "
    "the camera), run/trot/gallop, "
    "jump/hop, crouch/duck, sit, bow, rise, lean, nod, shake, stretch, wave or lift a limb, wag "
    "the tail, stay"
)


@dataclass
class _Clause:
    """A stretch of the sentence with at most one verb, which is ``words[verb]`` (-1: none)."""

    words: list[str] = field(default_factory=list)
    verb: int = -1
    together: bool = False  # at the same time as the clause before
    first: bool = False  # before the clause before ("X after Y")


def parse(prompt: str) -> Directions:
    """Reads a sentence such as "the camel turns left, then slowly walks away".

    "then", "and" and commas put actions one after the other; "while" puts two at the same time.
    Amounts ("slightly", "far", "twice", "3 times", "90 degrees", "for 2 seconds") and paces
    ("slowly", "quickly") belong to the verb they stand with.

    Raises:
        InputError: no direction in it is understood; lists what is.
    """
    ignored: list[str] = []
    actions: list[Action] = []
    together: list[bool] = []
    waiting: list[str] = []
    clauses = _clauses(prompt)
    for i, clause in enumerate(clauses):
        simultaneous = clause.together or (i == 1 and clauses[0].together)
        if any(w in _NEGATIONS or w.endswith("n't") for w in clause.words):
            ignored += _unknown(clause.words)
            continue
        if clause.verb >= 0:
            action, rest = _action(clause, waiting)
            waiting = []
        elif actions and any(w in _DIRECTION for w in clause.words):  # "turns left and right"
            action, rest = _action(clause, [])
            before = actions[-1]
            action = replace(before, direction=action.direction)
        elif any(w in _PACE or w in _AMOUNT for w in clause.words) and not _unknown(
            clause.words
        ):  # "slowly, it walks"
            waiting += clause.words
            continue
        else:
            ignored += _unknown(clause.words)
            continue
        ignored += rest
        at = len(actions) - 1 if clause.first and actions else len(actions)
        actions.insert(at, action)
        together.insert(at, simultaneous and at > 0)
    if not actions:
        said = (
            f'The directions "{prompt.strip()}" hold'
            if prompt.strip()
            else "The directions are empty; they hold"
        )
        raise InputError(
            f"{said} nothing that the draft driver can do.",
            f"It knows: {KNOWN}. For anything else bring a driving video with --driving FILE.",
        )
    return Directions(_timed(actions, together), tuple(dict.fromkeys(ignored)))


def _clauses(prompt: str) -> list[_Clause]:
    text = prompt.lower().replace("’", "'").replace("at the same time", " while ")
    text = re.sub(r"(?<=\d)\s*(°|deg\b)", " degrees ", text)
    text = re.sub(r"\b(counter|anti)[- ]clockwise", "counterclockwise", text)
    tokens = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)?|[,;.!:]", text)
    clauses = [_Clause()]
    for i, token in enumerate(tokens):
        here = clauses[-1]
        pronoun_next = i + 1 < len(tokens) and tokens[i + 1] in {"it", "he", "she", "they"}
        if token in _TOGETHER or (token == "as" and pronoun_next):
            clauses.append(_Clause(together=True))
        elif token == "after":
            clauses.append(_Clause(first=bool(here.words) and tokens[i + 1 : i + 2] != ["that"]))
        elif token in _SEQUENCE:
            if here.words:
                clauses.append(_Clause())
        elif here.verb >= 0 and (token in _NEGATIONS or token.endswith("n't")):
            clauses.append(_Clause([token]))
        elif _is_verb(
            token,
            here.verb < 0,
            *[tokens[j] if 0 <= j < len(tokens) else "" for j in (i - 2, i - 1, i + 1)],
        ):
            if here.verb < 0:
                here.verb = len(here.words)
                here.words.append(token)
            else:  # "walks away nodding its head"
                clauses.append(_Clause([token], 0, together=token.endswith("ing")))
        else:
            here.words.append(token)
    return [c for c in clauses if c.words]


def _is_verb(token: str, first: bool, before_that: str, before: str, after: str) -> bool:
    """A form of a known verb that is not a noun here ("its head", "the duck", "walks 3 steps", but
    "takes a bow", "3 jumps")."""
    if token not in _WORD or (
        token == "head" and after not in _DIRECTION and after not in {"to", "for"}
    ):
        return False
    if before in _NUMBERS or before[:1].isdigit():
        return first
    return before not in _DETERMINERS or before_that in _LIGHT


def _unknown(words: list[str]) -> list[str]:
    known = (_SILENT, _AMOUNT, _PACE, _NUMBERS, _TIMES, _TOGETHER)
    return [w for w in words if not any(w in k for k in known) and not w[0].isdigit()]


def _subject(words: list[str]) -> int:
    """How many words at the head of a clause name who acts ("the big brown dog"); their reading is
    of no use here."""
    if not words or words[0] not in _DETERMINERS:
        return 0
    return next(
        (i for i, w in enumerate(words[:5]) if w in _PACE or w.endswith("ly")), min(len(words), 5)
    )


def _action(clause: _Clause, waiting: list[str]) -> tuple[Action, list[str]]:
    """The action of a clause, and the words that were not understood. Its ``seconds`` is set only
    where the clause says so."""
    lead, after = clause.words[: max(clause.verb, 0)], clause.words[clause.verb + 1 :]
    word = _WORD[clause.words[clause.verb]] if clause.verb >= 0 else ""
    words = after + lead[_subject(lead) :] + waiting  # what stands behind the verb speaks first
    direction = next((_DIRECTION[w] for w in words if w in _DIRECTION), "")
    if not direction and any(w in _VIEWER for w in words):
        direction = "toward"
    limb = next((_LIMB[w] for w in words if w in _LIMB), "")
    group: str = _VERB.get(word) or ""
    verb: str = _WITH_LIMB.get((group, limb)) or group
    if word in {"lower", "dip", "lift"} and limb == "head":
        verb, direction = "look", direction or ("up" if word == "lift" else "down")
    action = replace(
        Action(verb, direction, limb, count=_USUAL_COUNT.get(verb, 1)), **_MEANING.get(word, {})
    )
    action = replace(action, direction=direction or action.direction, limb=limb or action.limb)
    for w in words:
        action = replace(
            action, amount=action.amount * _AMOUNT.get(w, 1.0), pace=action.pace * _PACE.get(w, 1.0)
        )
    said_seconds, said_steps, said_degrees = 0.0, 1 if word == "step" else 0, 0.0
    spoken = waiting + clause.words[_subject(lead) :]
    for i, w in enumerate(spoken):
        number = float(w) if w[0].isdigit() else float(_NUMBERS.get(w, 0))
        unit = spoken[i + 1] if i + 1 < len(spoken) else ""
        if unit in {"second", "seconds", "sec", "s"} and number:
            said_seconds = min(max(number, 0.1), 30.0)
        elif unit in {"step", "steps"} and (number or w in {"a", "few"}):
            said_steps = int(min(max(number, 1), 20)) if w != "few" else 3
        elif unit in {"degree", "degrees"} and number:
            said_degrees = min(number, 1440.0)
        elif w in _TIMES or (
            number
            and (
                unit in {"time", "times", "turn", "turns"} or verb in _USUAL_COUNT or verb == "jump"
            )
        ):
            action = replace(action, count=int(min(max((_TIMES.get(w) or number), 1), 20)))
        elif w in _FRACTIONS and verb in {"turn", "spin"}:
            said_degrees = _FRACTIONS[w]
    if verb in {"turn", "spin"}:
        action = _turned(action, said_degrees)
    if verb in {"walk", "run"} and said_steps:
        action = replace(
            action, amount=action.amount * said_steps * _STEP_SECONDS / SECONDS["walk"]
        )
    used = (_DIRECTION, _LIMB, _FRACTIONS, {"few"})
    return replace(action, seconds=said_seconds), [
        w for w in _unknown(words) if not any(w in k for k in used)
    ]


def _turned(action: Action, degrees: float) -> Action:
    """Settles how far a turn or spin goes; a turn to or from the camera faces that way."""
    if action.verb == "turn" and action.direction in {"toward", "away"}:
        return replace(action, verb="face")
    usual = (
        360.0
        if action.verb == "spin"
        else 180.0
        if action.direction in {"around", "back"}
        else USUAL_TURN * action.amount
    )
    return replace(action, degrees=(degrees or usual) * action.count)


def _seconds(action: Action) -> float:
    """How long an action takes by itself."""
    if action.seconds:
        return action.seconds
    usual = SECONDS[action.verb] / action.pace
    if action.verb == "turn":
        return usual * max(action.degrees / USUAL_TURN, 0.25) ** 0.6
    if action.verb == "spin":
        return usual * action.degrees / 360
    if action.verb in {"walk", "run"}:
        return usual * action.amount
    return usual * action.count * action.amount**0.3


def _timed(actions: list[Action], together: list[bool]) -> tuple[Action, ...]:
    timed: list[Action] = []
    start = end = 0.0
    for action, simultaneous in zip(actions, together, strict=True):
        seconds = _seconds(action)
        if simultaneous and timed:
            whole = end - start
            if (
                action.verb in _USUAL_COUNT
                and action.count == _USUAL_COUNT[action.verb]
                and whole > seconds
            ):  # goes on all along
                action = replace(
                    action, count=max(action.count, round(whole / seconds * action.count))
                )
                seconds = whole
        else:
            start = end
        timed.append(replace(action, start=start, seconds=seconds))
        end = max(end, start + seconds)
    return tuple(timed)
