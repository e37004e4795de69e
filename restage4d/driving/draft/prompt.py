"""Reading simple directions: a sentence to a list of timed actions. A fixed vocabulary and grammar,
no model, the same result every time."""

from dataclasses import replace

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.driving.draft.directions.actions import Action, Cue
from restage4d.driving.draft.directions.clauses import Clause, order_clauses, split_clauses
from restage4d.driving.draft.directions.interpretation import interpret_clause
from restage4d.driving.draft.directions.kinds import SECONDS, TRAVELS, USUAL_TURN
from restage4d.driving.draft.directions.phrases import is_function_word
from restage4d.driving.draft.directions.reading import (
    FILLER,
    LEFT_OUT,
    USED,
    Reading,
    leave_out,
    obey_negation,
)
from restage4d.driving.draft.directions.script import Directions, Word
from restage4d.driving.draft.directions.subjects import Cast, Subject, read_subject
from restage4d.driving.draft.directions.tokens import (
    Token,
    is_word,
    list_words,
    tokenize,
)
from restage4d.driving.draft.directions.wording import describe_action
from restage4d.errors import InputError

__all__ = ["SECONDS", "USUAL_TURN", "Action", "Directions", "describe_action", "parse"]
KNOWN = (
    "turn, face, spin, look, walk/move/go/step (left, right, forward, back, towards or away from "
    "the camera), run/trot/gallop, drive, climb, limp, stumble, jump/hop, pounce, crouch/duck/lie, "
    "sit, fall, roll over, bow, rise, lean, nod, shake, dance, stretch, wave, lift or kick with a "
    "limb, wag or raise the tail, graze/eat/drink/sniff, stay"
)


def parse(text: str) -> Directions:
    """Reads directions such as "the camel turns left, then slowly walks away".

    Example::

        parse("The dog takes two steps forward, then barks").describe()  # "walks 2 steps ..."
        parse("The dog takes two steps forward, then barks").ignored     # ("barks",)

    Raises:
        InputError: nothing in it can be acted (lists what can), it is too long, or it asks for more
            than a driving video can hold.
    """
    words = list_words(text)
    tokens = tokenize(words)
    clauses = split_clauses(tokens)
    readings = _read_clauses(clauses)
    ordered = order_clauses(clauses)
    _link_clauses(ordered, readings)
    cues: list[Cue] = []
    cue_of: dict[int, int] = {}  # the first cue of each clause
    for clause in ordered:
        reading = readings[id(clause)]
        if reading.cues:
            cue_of[id(clause)] = len(cues)
            cues += reading.cues
    if not cues:
        raise _refuse(text)
    return Directions.from_cues(
        _resolve_returns(cues), _account(words, tokens, clauses, readings, cue_of)
    )


def _refuse(text: str) -> InputError:
    said = " ".join(text.split())
    said = f"{said[:200]}..." if len(said) > 200 else said
    opening = f'The directions "{said}" hold' if said else "The directions are empty; they hold"
    return InputError(
        f"{opening} nothing that the draft driver can do.",
        f"It knows: {KNOWN}. For anything else bring a driving video with --driving FILE.",
    )


def _read_clauses(clauses: list[Clause]) -> dict[int, Reading]:
    """What each clause asks for, by its id."""
    cast = Cast()
    readings: dict[int, Reading] = {}
    subjects: dict[int, Subject] = {}
    for clause in clauses:
        subject = read_subject(clause)
        own = cast.is_subject(clause, subject)
        on_wheels = cast.main in v.VEHICLES
        if not own or clause.doubtful or clause.link == "until":
            reading = leave_out(clause)
        elif clause.negated or clause.link == "instead":
            reading = obey_negation(clause)
        elif clause.repeats is not None:
            done = readings[id(clause.repeats)].cues
            reading = leave_out(clause)
            if done:
                reading = interpret_clause(clause, subject, done[-1], on_wheels)
        else:
            reading = interpret_clause(clause, subject, None, on_wheels)
        cast.has_acted = cast.has_acted or bool(reading.cues)
        readings[id(clause)] = reading
        subjects[id(clause)] = subject
    for key, reading in readings.items():  # who did nothing here, but is the subject
        if reading.name and cast.is_main(subjects[key]):
            reading.mark(USED, *reading.name)
    return readings


def _link_clauses(ordered: list[Clause], readings: dict[int, Reading]) -> None:
    """Marks what happens together, and joins "turns to face the camera" to one action."""
    before: Clause | None = None
    pairs = False
    for clause in ordered:
        reading = readings[id(clause)]
        done = readings[id(before)].cues if before else []
        if reading.cues and done and before:
            stays = before.negated and not clause.opens
            leads = before.opens and before.link == "together" and not clause.opens
            if clause.link == "together" or pairs or stays or leads:
                reading.cues[0] = replace(reading.cues[0], together=True)
            if clause.purpose and _only_prepares(done, reading.cues):
                first = reading.cues[0]
                seconds = first.seconds or done[-1].seconds
                reading.cues[0] = replace(first, pace=first.pace * done[-1].pace, seconds=seconds)
                readings[id(before)].cues = []
        pairs = clause.pairs
        before = clause


def _only_prepares(before: list[Cue], cues: list[Cue]) -> bool:
    plain = before[-1].verb == "turn" and not before[-1].direction and not before[-1].degrees
    return plain and cues[0].verb in {"face", "look"}


def _resolve_returns(cues: list[Cue]) -> list[Cue]:
    """Gives "comes back" the way back: opposite to the last of its kind, and as far."""
    resolved: list[Cue] = []
    for cue in cues:
        if cue.direction != "return":
            resolved.append(cue)
            continue
        travels = TRAVELS | {"jump"} if cue.verb != "turn" else {"turn"}
        last = next((c for c in reversed(resolved) if c.verb in travels), None)
        if last is None:
            way = "around" if cue.verb == "turn" else "back"
            resolved.append(replace(cue, direction=way))
        else:
            way = v.OPPOSITES.get(last.direction, "back")
            way = "right" if cue.verb == "turn" and not last.direction else way
            far = replace(cue, amount=cue.amount * last.amount, degrees=cue.degrees or last.degrees)
            resolved.append(replace(far, direction=way, steps=cue.steps or last.steps))
    return resolved


def _account(
    words: list[str],
    tokens: list[Token],
    clauses: list[Clause],
    readings: dict[int, Reading],
    cue_of: dict[int, int],
) -> list[Word]:
    """What became of every word."""
    fates: dict[int, tuple[str, int | None]] = {}
    for token in tokens:  # what no clause has marked says nothing
        fate = FILLER if is_function_word(token) or token.is_a("link", "at_once") else LEFT_OUT
        fates.update(dict.fromkeys(token.words, (fate, None)))
    for clause in clauses:
        reading = readings[id(clause)]
        for token, fate in reading.fates.items():
            cue = cue_of.get(id(clause)) if fate == "used" else None
            fates.update(dict.fromkeys(token.words, (fate, cue)))
    spoken = [w.lower() for w in words if is_word(w)]
    for token in tokens:  # of a term that is left out, what says something
        for k in token.words if len(token.words) > 1 else ():
            if fates[k][0] == LEFT_OUT and is_function_word(tokenize([spoken[k]])[0]):
                fates[k] = (FILLER, None)
    return [Word(text, *fates[k]) for k, text in enumerate(spoken)]
