"""Reading simple directions: a sentence to a list of timed actions. A fixed vocabulary, no model,
the same result every time."""

import re
from dataclasses import dataclass, field, replace

from restage4d.driving.draft.vocabulary import (
    AMOUNT,
    DETERMINERS,
    DIRECTION,
    FRACTIONS,
    KNOWN,
    LEMMA,
    LIGHT_VERBS,
    LIMB,
    MEANING,
    NEGATIONS,
    NUMBERS,
    PACE,
    SECONDS,
    SEQUENCE,
    SILENT,
    STEP_SECONDS,
    TIMES,
    TOGETHER,
    USUAL_COUNT,
    USUAL_TURN,
    VERB,
    VIEWER,
    WITH_LIMB,
)
from restage4d.errors import InputError

# What directions may ask for at most, and what they mean by "a few".
_SHORTEST, _LONGEST = 0.1, 30.0  # seconds
_MOST_DEGREES = 1440.0
_MOST_TIMES = 20
_FEW = 3


@dataclass(frozen=True)
class Action:
    """One thing that the subject does.

    Attributes:
        verb: a key of `vocabulary.SECONDS`.
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
    clauses = _split_clauses(prompt)
    for i, clause in enumerate(clauses):
        simultaneous = clause.together or (i == 1 and clauses[0].together)
        if any(w in NEGATIONS or w.endswith("n't") for w in clause.words):
            ignored += _find_unknown(clause.words)
            continue
        if clause.verb >= 0:
            action, rest = _read_action(clause, waiting)
            waiting = []
        elif actions and any(w in DIRECTION for w in clause.words):  # "turns left and right"
            action, rest = _read_action(clause, [])
            before = actions[-1]
            action = replace(before, direction=action.direction)
        elif any(w in PACE or w in AMOUNT for w in clause.words) and not _find_unknown(
            clause.words
        ):  # "slowly, it walks"
            waiting += clause.words
            continue
        else:
            ignored += _find_unknown(clause.words)
            continue
        ignored += rest
        at = len(actions) - 1 if clause.first and actions else len(actions)
        actions.insert(at, action)
        together.insert(at, simultaneous and at > 0)
    if not actions:
        what = (
            f'The directions "{prompt.strip()}" hold'
            if prompt.strip()
            else "The directions are empty; they hold"
        )
        raise InputError(
            f"{what} nothing that the draft driver can do.",
            f"It knows: {KNOWN}. For anything else bring a driving video with --driving FILE.",
        )
    return Directions(_schedule(actions, together), tuple(dict.fromkeys(ignored)))


def _split_clauses(prompt: str) -> list[_Clause]:
    text = prompt.lower().replace("’", "'").replace("at the same time", " while ")
    text = re.sub(r"(?<=\d)\s*(°|deg\b)", " degrees ", text)
    text = re.sub(r"\b(counter|anti)[- ]clockwise", "counterclockwise", text)
    tokens = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)?|[,;.!:]", text)
    clauses = [_Clause()]
    for i, token in enumerate(tokens):
        here = clauses[-1]
        pronoun_next = i + 1 < len(tokens) and tokens[i + 1] in {"it", "he", "she", "they"}
        if token in TOGETHER or (token == "as" and pronoun_next):
            clauses.append(_Clause(together=True))
        elif token == "after":
            clauses.append(_Clause(first=bool(here.words) and tokens[i + 1 : i + 2] != ["that"]))
        elif token in SEQUENCE:
            if here.words:
                clauses.append(_Clause())
        elif here.verb >= 0 and (token in NEGATIONS or token.endswith("n't")):
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
    if token not in LEMMA or (
        token == "head" and after not in DIRECTION and after not in {"to", "for"}
    ):
        return False
    if before in NUMBERS or before[:1].isdigit():
        return first
    return before not in DETERMINERS or before_that in LIGHT_VERBS


def _find_unknown(words: list[str]) -> list[str]:
    known = (SILENT, AMOUNT, PACE, NUMBERS, TIMES, TOGETHER)
    return [w for w in words if not any(w in k for k in known) and not w[0].isdigit()]


def _count_subject_words(words: list[str]) -> int:
    """How many words at the head of a clause name who acts ("the big brown dog"); their reading is
    of no use here."""
    if not words or words[0] not in DETERMINERS:
        return 0
    return next(
        (i for i, w in enumerate(words[:5]) if w in PACE or w.endswith("ly")), min(len(words), 5)
    )


def _read_action(clause: _Clause, waiting: list[str]) -> tuple[Action, list[str]]:
    """The action of a clause, and the words that were not understood. Its ``seconds`` is set only
    where the clause says so."""
    lead, after = clause.words[: max(clause.verb, 0)], clause.words[clause.verb + 1 :]
    word = LEMMA[clause.words[clause.verb]] if clause.verb >= 0 else ""
    words = (
        after + lead[_count_subject_words(lead) :] + waiting
    )  # what stands behind the verb speaks first
    direction = next((DIRECTION[w] for w in words if w in DIRECTION), "")
    if not direction and any(w in VIEWER for w in words):
        direction = "toward"
    limb = next((LIMB[w] for w in words if w in LIMB), "")
    group: str = VERB.get(word) or ""
    verb: str = WITH_LIMB.get((group, limb)) or group
    if word in {"lower", "dip", "lift"} and limb == "head":
        verb, direction = "look", direction or ("up" if word == "lift" else "down")
    action = replace(
        Action(verb, direction, limb, count=USUAL_COUNT.get(verb, 1)), **MEANING.get(word, {})
    )
    action = replace(action, direction=direction or action.direction, limb=limb or action.limb)
    for w in words:
        action = replace(
            action, amount=action.amount * AMOUNT.get(w, 1.0), pace=action.pace * PACE.get(w, 1.0)
        )
    spoken = waiting + clause.words[_count_subject_words(lead) :]
    action = _read_quantities(action, spoken, steps=1 if word == "step" else 0)
    used = (DIRECTION, LIMB, FRACTIONS, {"few"})
    return action, [w for w in _find_unknown(words) if not any(w in k for k in used)]


def _read_quantities(action: Action, words: list[str], steps: int) -> Action:
    """The action with the times, steps, degrees and counts that ``words`` give; ``steps`` where
    they give none."""
    seconds, degrees = 0.0, 0.0
    for w, unit in zip(words, [*words[1:], ""], strict=True):
        number = float(w) if w[0].isdigit() else float(NUMBERS.get(w, 0))
        if unit in {"second", "seconds", "sec", "s"} and number:
            seconds = min(max(number, _SHORTEST), _LONGEST)
        elif unit in {"step", "steps"} and (number or w in {"a", "few"}):
            steps = int(min(max(number, 1), _MOST_TIMES)) if w != "few" else _FEW
        elif unit in {"degree", "degrees"} and number:
            degrees = min(number, _MOST_DEGREES)
        elif w in TIMES or (number and _is_count(unit, action.verb)):
            count = int(min(max((TIMES.get(w) or number), 1), _MOST_TIMES))
            action = replace(action, count=count)
        elif w in FRACTIONS and action.verb in {"turn", "spin"}:
            degrees = FRACTIONS[w]
    if action.verb in {"turn", "spin"}:
        action = _set_turn(action, degrees)
    if action.verb in {"walk", "run"} and steps:
        action = replace(action, amount=action.amount * steps * STEP_SECONDS / SECONDS["walk"])
    return replace(action, seconds=seconds)


def _is_count(unit: str, verb: str) -> bool:
    """Whether a number before ``unit`` says how many times: "3 times", "nods 3"."""
    return unit in {"time", "times", "turn", "turns"} or verb in USUAL_COUNT or verb == "jump"


def _set_turn(action: Action, degrees: float) -> Action:
    """Sets how far a turn or spin goes; a turn to or from the camera faces that way."""
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


def _estimate_seconds(action: Action) -> float:
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


def _schedule(actions: list[Action], together: list[bool]) -> tuple[Action, ...]:
    timed: list[Action] = []
    start = end = 0.0
    for action, simultaneous in zip(actions, together, strict=True):
        seconds = _estimate_seconds(action)
        if simultaneous and timed:
            whole = end - start
            if (
                action.verb in USUAL_COUNT
                and action.count == USUAL_COUNT[action.verb]
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
