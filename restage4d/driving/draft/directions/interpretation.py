"""What a clause asks for: its verb and phrases as cues, and what becomes of each word."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.driving.draft.directions.actions import MOST_COUNT, Cue
from restage4d.driving.draft.directions.clauses import Clause
from restage4d.driving.draft.directions.kinds import KINDS, TRAVELS
from restage4d.driving.draft.directions.phrases import (
    GOAL,
    PLACE,
    SOURCE,
    Phrase,
    read_phrases,
)
from restage4d.driving.draft.directions.reading import (
    LEFT_OUT,
    OVERRIDDEN,
    USED,
    Reading,
    leave_out,
)
from restage4d.driving.draft.directions.subjects import Subject
from restage4d.driving.draft.directions.tokens import KIND_OF_VERB, Token

_TAKES_VIEWER = v.split_words("face look walk run drive")  # "approaches the camera"
_TRANSITIVE = v.split_words("lift wave shake crouch turn lean wag nod stretch rise spin look")
_WITH_LIMBS = v.split_words("lift wave kick")
_AIMED = v.split_words("look face")  # without a known aim they cannot be acted


def interpret_clause(
    clause: Clause, subject: Subject, before: Cue | None, on_wheels: bool
) -> Reading:
    """The cues of a clause of the subject's own.

    Args:
        clause: the clause.
        subject: who it speaks of.
        before: the last cue of the clause that this one goes on with.
        on_wheels: whether the subject drives where others walk.
    """
    return _Interpreter(clause, subject, before, on_wheels).interpret()


class _Interpreter:
    """Puts one clause together."""

    def __init__(
        self, clause: Clause, subject: Subject, before: Cue | None, on_wheels: bool
    ) -> None:
        self.clause, self.subject = clause, subject
        verb = clause.repeats.verb if clause.repeats else clause.verb
        self.lemma: str = verb.get("verb") if verb else ""
        kind = KIND_OF_VERB.get(self.lemma, "cannot")
        if on_wheels and kind in {"walk", "run", "roll"}:
            kind = "drive"
        self.meaning = dict(v.MEANINGS.get(self.lemma, {}))
        self.repeats = clause.repeats is not None and before is not None
        names_limb = any(t.is_a("limb") for t in clause.rest)
        self.cue = replace(before, together=False) if self.repeats and before else Cue(kind)
        if self.repeats and names_limb:  # "lifts its head, then its paw"
            self.cue = Cue(kind, **self.meaning)
        self.kind = self.cue.verb
        self.reading = Reading()
        self.each: tuple[str, ...] = ()  # directions of one cue each
        self.pairs = False  # with the left and the right limb at once
        self.phrases = read_phrases(subject.modifiers, clause.verb, clause.rest)

    def interpret(self) -> Reading:
        steps: tuple[Callable[[], bool], ...] = (
            self._choose_kind,
            self._choose_limb,
            self._check_objects,
            self._choose_direction,
            self._take_figures,
        )
        if not all(step() for step in steps):
            return self._give_up()
        self.reading.mark(USED, *self.subject.name, *[t for t in [self.clause.verb] if t])
        self.reading.mark(USED, *self.clause.carriers)
        self.reading.mark(LEFT_OUT, *self.subject.unknown)
        cue = replace(self.cue, verb=self.kind)
        self.reading.cues = [replace(cue, direction=d) for d in self.each] or [cue]
        if self.pairs and self.kind in _WITH_LIMBS and not cue.side:
            self.reading.cues = _pair_limbs(cue)
        return self.reading

    def _give_up(self) -> Reading:
        reading = leave_out(self.clause)
        if not self.subject.limb:
            reading.name = self.subject.name
        return reading

    def _find(self, *says: str) -> list[Phrase]:
        return [p for p in self.phrases if p.says in says]

    def _use(self, phrase: Phrase, fate: str = USED) -> None:
        self.reading.mark(fate, *phrase.tokens)

    def _choose_kind(self) -> bool:
        """The verb's kind; a particle can make it another ("gets up")."""
        if self.repeats:
            return True
        if self.clause.posture and self.clause.verb is None:
            return self._choose_posture()
        for phrase in self._find("way"):
            found = v.PHRASAL_VERBS.get((self.lemma, phrase.value))
            if found is None or phrase.strength == GOAL:
                continue
            found = dict(found)
            kind = found.pop("verb")
            self.kind = "drive" if kind == "walk" and self.kind == "drive" else kind
            self.each = found.pop("each", ())
            self.meaning = found
            self._use(phrase)
            if found.get("direction") != phrase.value:
                self.phrases.remove(phrase)
        if self.kind == "cannot":
            return False
        if self.lemma == "step":
            self.cue = replace(self.cue, steps=1)
        self.cue = replace(self.cue, **self.meaning)
        return True

    def _choose_posture(self) -> bool:
        """ "with its head down" """
        for phrase in self._find("way"):
            if self.subject.limb == "head" and phrase.value in KINDS["look"].directions:
                self.kind = "look"
                return True
            if self.subject.limb == "tail" and phrase.value == "up":
                self.kind = "raise_tail"
                return True
        return False

    def _choose_limb(self) -> bool:
        """The limb that acts or is moved, which can make the kind another."""
        subject = self.subject
        if (
            subject.limb
            and subject.limb != "body"
            and not self._adopt_limb(subject.limb, subject.side, subject.which)
        ):
            return False
        done = False
        for phrase in self._find("limb"):
            if phrase.tokens[-1].is_a("sight") and self.kind == "look":
                continue
            moved = phrase.strength != PLACE or self.kind in _WITH_LIMBS
            adopts = (
                moved and not done and self._adopt_limb(phrase.value, phrase.side, phrase.which)
            )
            if not (adopts or done or phrase.strength == PLACE):
                return False
            self._use(phrase, USED if adopts else LEFT_OUT)
            known = v.WHOLE_PARTS | v.ENDS if adopts and self.kind in _WITH_LIMBS else v.WHOLE_PARTS
            parts = [t for t in phrase.tokens if t.text in v.LIMB_PARTS - known]
            self.reading.fates.update(dict.fromkeys(parts, LEFT_OUT))
            self.pairs = adopts and phrase.tokens[-1].text in v.PAIRS and self.lemma != "shake"
            done = done or adopts
        return True

    def _adopt_limb(self, limb: str, side: str, which: str) -> bool:
        kind = v.KINDS_OF_LIMBS.get((self.kind, limb))
        if kind is None:
            return False
        if limb == "head" and kind == "look" and self.lemma in v.HEAD_VERBS:
            self.cue = replace(self.cue, direction=v.HEAD_VERBS[self.lemma], amount=1.0)
        self.kind = kind
        side, which = (side, which) if limb == "limb" else ("", "")
        self.cue = replace(self.cue, limb=limb, side=side, which=which)
        return True

    def _check_objects(self) -> bool:
        """Refuses what is done to a thing that the subject's body plan does not know."""
        behind = self.clause.rest[0] if self.clause.rest else Token("")
        if behind.text in {"it", "them"} and self.kind in _TRANSITIVE:  # "then lowers it"
            return False
        for phrase in self._find("object"):
            own = phrase.value
            if self.kind in _TRANSITIVE or (own and self.kind in {"walk", "run", "face"}):
                return False
            found = self.kind == "graze" and phrase.tokens[-1].get("sight") == "down"
            self._use(phrase, USED if found else LEFT_OUT)
        for phrase in self._find("unknown"):
            self.reading.fates.update(dict.fromkeys(phrase.tokens, LEFT_OUT))
        return self.kind in KINDS

    def _choose_direction(self) -> bool:
        """The strongest of the directions that the kind knows, the last of equals."""
        kind = KINDS[self.kind]
        ways: list[Phrase] = []
        for phrase in self._find("back"):
            self._turn_back(phrase)
        for phrase in self._find("way", "place", "sight", "view"):
            if phrase.says == "sight":
                self._add_sight(phrase, ways)
            elif phrase.says == "place":
                self._use(phrase, LEFT_OUT)
                if phrase.value and self.kind != "look" and self._knows_way("forward"):
                    ways.append(replace(phrase, value="forward", tokens=()))
            elif phrase.says == "way" and self._tells_limb(phrase):
                self.cue = replace(self.cue, side=phrase.value, view="picture")
                self._use(phrase)
            elif phrase.says == "way" and self._knows(phrase):
                ways.append(phrase)
            elif phrase.value in kind.particles and phrase.says == "way":
                self._use(phrase)
            elif not self._expand(phrase):
                self._use(phrase, LEFT_OUT)
        aimed = ways or self.cue.direction or self.each
        unaimed = self._find("place", "object") or self.lemma in {"hold", "put"}
        if not aimed and self.kind in _AIMED and unaimed:
            return False
        if not ways:
            self._settle_direction(self.cue.direction, "")
            return True
        best = max(enumerate(ways), key=lambda item: (item[1].strength, item[0]))[1]
        for phrase in ways:
            agrees = phrase.value == best.value and phrase.strength != SOURCE
            self._use(phrase, USED if phrase is best or agrees else OVERRIDDEN)
        self._settle_view(best)
        return True

    def _turn_back(self, back: Phrase) -> None:
        """ "turns its back to the camera" faces away from it."""
        self._use(back, USED if self.kind == "turn" else LEFT_OUT)
        if self.kind == "turn" and not self._find("way"):
            self.cue = replace(self.cue, direction="away")
        for k, phrase in enumerate(self.phrases):
            if phrase.says == "way" and self.kind == "turn":
                opposite = v.OPPOSITES.get(phrase.value, phrase.value)
                self.phrases[k] = replace(phrase, value=opposite)

    def _add_sight(self, phrase: Phrase, ways: list[Phrase]) -> None:
        if self.kind == "look":
            ways.append(replace(phrase, strength=GOAL))
        else:
            self._use(phrase, LEFT_OUT)

    def _tells_limb(self, phrase: Phrase) -> bool:
        """ "lifts the leg on the left of the picture" """
        sideways = phrase.value in {"left", "right"} and phrase.view == "picture"
        return sideways and self.kind in _WITH_LIMBS and not self.cue.side

    def _knows(self, phrase: Phrase) -> bool:
        if _is_clockwise(phrase) and self.kind not in {"turn", "spin"}:
            return False
        if phrase.view == "viewer" and self.kind not in _TAKES_VIEWER:
            return False
        if self.kind == "turn" and phrase.value in {"toward", "away", "back"}:
            return True
        return self._knows_way(phrase.value)

    def _knows_way(self, direction: str) -> bool:
        return direction in KINDS[self.kind].directions

    def _expand(self, phrase: Phrase) -> bool:
        """ "left and right", "back and forth" are two actions."""
        if phrase.says != "way":
            return False
        if phrase.value == "sides" and "left" in KINDS[self.kind].directions:
            first = phrase.tokens[0].text.split()[0]
            self.each = ("right", "left") if first == "right" else ("left", "right")
        elif phrase.value == "shuttle" and self.kind in TRAVELS:
            self.each = ("forward", "back")
        elif phrase.value == "updown" and self.kind == "look":
            self.kind = "nod"
        else:
            return False
        self._use(phrase)
        return True

    def _settle_view(self, phrase: Phrase) -> None:
        view = phrase.view if phrase.view in {"own", "picture"} else ""
        if _is_clockwise(phrase):  # as seen from above, whoever looks
            view = ""
        elif self.kind == "turn" and view == "picture":
            self.kind = "face"
        self._settle_direction(phrase.value, view)

    def _settle_direction(self, direction: str, view: str) -> None:
        """Writes the direction down; turns toward or away from the camera face that way."""
        if self.repeats and direction == "back":
            direction = "forward" if self.kind == "look" else "return"
        if self.kind == "turn" and direction in {"toward", "away"}:
            self.kind = "face"
        elif self.kind == "turn" and direction == "back":
            direction = "around"
        view = view or (self.cue.view if self.cue.side else "")
        self.cue = replace(self.cue, direction=direction, view=view)

    def _take_figures(self) -> bool:
        takes: dict[str, Callable[[Any], bool]] = {
            "amount": self._take_amount,
            "pace": self._take_pace,
            "count": self._take_count,
            "number": self._take_number,
            "degrees": self._take_degrees,
            "turns": lambda value: self._take_degrees(360 * value),
            "steps": self._take_steps,
            "seconds": self._take_seconds,
        }
        fresh: dict[str, Any] = {}
        if self.repeats:  # "slowly, then quickly"
            said = {p.says for p in self.phrases} & {"pace", "amount"}
            self.cue = replace(self.cue, **dict.fromkeys(said, 1.0))
        for phrase in self._find(*takes):
            if phrase.says in fresh and phrase.says != "amount":
                repeats = fresh[phrase.says] == phrase.value  # "a full 360 degrees"
                self._use(phrase, USED if repeats else LEFT_OUT)
                continue
            taken = takes[phrase.says](phrase.value)
            fresh[phrase.says] = phrase.value
            self._use(phrase, USED if taken else LEFT_OUT)
        return True

    def _take_amount(self, amount: float) -> bool:
        if self.kind == "spin" and amount < 1:
            return self._take_degrees(360 * amount)
        if "amount" not in KINDS[self.kind].takes:
            return False
        self.cue = replace(self.cue, amount=self.cue.amount * amount)
        return True

    def _take_pace(self, pace: float) -> bool:
        self.cue = replace(self.cue, pace=self.cue.pace * pace)
        return True

    def _take_count(self, count: float) -> bool:
        if self.lemma == "step":
            return self._take_steps(count)
        if count != int(count):
            return self.kind == "spin" and self._take_degrees(360 * count)
        if not (KINDS[self.kind].repeats or "count" in KINDS[self.kind].takes) or count < 1:
            return False
        self.cue = replace(self.cue, count=int(count))
        return True

    def _take_number(self, number: float) -> bool:
        """A number of nothing counts what is done: "nod three", "two left, three right"."""
        if self.cue.steps:
            return self._take_steps(number)
        if self.kind in {"turn", "spin"} and number > MOST_COUNT:
            return self._take_degrees(number)
        return not self._find("unknown") and self._take_count(number)

    def _take_degrees(self, degrees: float) -> bool:
        if "degrees" not in KINDS[self.kind].takes or degrees <= 0:
            return False
        self.cue = replace(self.cue, degrees=degrees)
        return True

    def _take_steps(self, steps: float) -> bool:
        if "steps" not in KINDS[self.kind].takes or steps != int(steps) or steps < 1:
            return False
        self.cue = replace(self.cue, steps=int(steps))
        return True

    def _take_seconds(self, seconds: float) -> bool:
        if seconds < 0.1:
            return False
        self.cue = replace(self.cue, seconds=seconds)
        if self.lemma == "stand" and not self._find("way"):  # "stands for two seconds"
            self.kind = "stay"
        return True


def _is_clockwise(phrase: Phrase) -> bool:
    """Whether a way to the left or right goes round, as seen from above."""
    return any("clockwise" in token.text for token in phrase.tokens)


def _pair_limbs(cue: Cue) -> list[Cue]:
    """ "raises its arms": the left and the right one at once, as often as is said."""
    goes = max(cue.count, 1) if KINDS[cue.verb].repeats else 1
    count = 0 if KINDS[cue.verb].repeats else cue.count
    left = replace(cue, side="left", count=count)
    return [left, replace(left, side="right", together=True)] * goes
