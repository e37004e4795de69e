"""The phrases around a verb: where to, how far, how often, how long, with which limb."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.driving.draft.directions.tokens import Token

GOAL, BARE, PLACE, SOURCE = 3, 2, 1, 0  # how strongly a phrase says where to
_FUNCTION_TAGS = v.split_words(
    "determiner possessive pronoun preposition auxiliary light request filler link negation "
    "at_once relative"
)


@dataclass(frozen=True)
class Phrase:
    """Some tokens that say one thing.

    Attributes:
        says: "way", "limb", "amount", "pace", "count", "degrees", "seconds", "steps", "turns",
            "number" (of nothing), "object" (of the verb), "place" or "unknown".
        value: the direction, limb, figure ...; of a place, whether one goes toward it.
        tokens: what says it.
        strength: of a way.
        view: of a way: "own", "picture" or "".
        owner: the possessive that says so.
        side, which: of a limb, as in `directions.actions.Cue`.
    """

    says: str
    value: Any
    tokens: tuple[Token, ...]
    strength: int = BARE
    view: str = ""
    owner: Token | None = None
    side: str = ""
    which: str = ""


def is_function_word(token: Token) -> bool:
    """Articles, prepositions and the like, which say nothing by themselves."""
    return bool(token.tags) and set(token.tags) <= _FUNCTION_TAGS


def find_which(tokens: Sequence[Token]) -> str:
    """Which limb a noun phrase names: "front", "hind", "arm", "leg", or "" of any."""
    texts = {token.text for token in tokens}
    found = (which for which, words in v.WHICH_LIMBS.items() if texts & set(words.split()))
    return next(found, "")


def read_phrases(before: list[Token], verb: Token | None, behind: list[Token]) -> list[Phrase]:
    """The phrases before and behind a verb, in the order of the text."""
    reader = _Reader([*before, *([verb] if verb else []), *behind], len(before) if verb else -1)
    return list(reader.read())


class _Reader:
    """Reads phrases from left to right."""

    def __init__(self, tokens: list[Token], verb_at: int) -> None:
        self.tokens, self.verb_at = tokens, verb_at

    def read(self) -> Iterator[Phrase]:
        at = 0
        rules = (
            self._read_number,
            self._read_fraction,
            self._read_preposition,
            self._read_limb,
            self._read_own_side,
            self._read_object,
            self._read_word,
        )
        while at < len(self.tokens):
            if at == self.verb_at:
                if self._get(at).is_a("fraction"):  # "makes a quarter turn"
                    yield Phrase("degrees", self._get(at).get("fraction"), (self._get(at),))
                at += 1
                continue
            phrases, end = next(found for rule in rules if (found := rule(at)) is not None)
            yield from phrases
            at = end

    def _get(self, at: int) -> Token:
        return self.tokens[at] if 0 <= at < len(self.tokens) else Token("")

    def _read_number(self, at: int) -> tuple[list[Phrase], int] | None:
        token = self._get(at)
        single = token.is_a("determiner") and self._get(at + 1).is_a("unit")
        if not token.is_a("number") and not (single and at + 1 != self.verb_at):
            return None
        value = token.get("number") if token.is_a("number") else 1
        middle: list[Phrase] = []
        end = at + 1
        while self._get(end).text in {"more", "whole"}:
            end += 1
        if self._get(end).is_a("limb") and end != self.verb_at:  # "two paws"
            return [Phrase("unknown", None, (token,))], at + 1
        if self._get(end).is_a("amount", "pace", "fraction") and not single:
            middle, end = self._read_word(end)
        unit = self._get(end)
        says = unit.get("unit") or ""
        if end == self.verb_at and says != "steps":
            says = "times"
        if not says and unit.is_a("verb") and end != self.verb_at:
            same = self.verb_at >= 0 and unit.get("verb") == self._get(self.verb_at).get("verb")
            says = "times" if same else ""
        if not says:
            return [Phrase("number", value, (token,))], at + 1
        if middle and middle[0].says == "degrees":  # "two half turns"
            value, middle = value * middle[0].value, []
            return [Phrase("degrees", value, tuple(self.tokens[at : end + 1]))], end + 1
        spoken = (token,) if end == self.verb_at else (token, unit)
        if says == "times" and self._get(end + 1).text == "as":
            return [Phrase("unknown", None, (token, unit))], end + 1
        scaled = {"minutes": ("seconds", 60 * value), "times": ("count", value)}
        says, value = scaled.get(says, (says, value))
        return [Phrase(says, value, spoken), *middle], end + (end != self.verb_at)

    def _read_fraction(self, at: int) -> tuple[list[Phrase], int] | None:
        token = self._get(at)
        if not token.is_a("fraction"):
            return None
        end = at + 1
        if self._get(end).is_a("determiner") and self._get(end + 1).is_a("unit"):
            end += 1
        unit = self._get(end) if end != self.verb_at else Token("")
        if unit.get("unit") in {"seconds", "steps"}:
            share = token.get("fraction") / 360
            return [Phrase(unit.get("unit"), share, (token, unit))], end + 1
        end += unit.get("unit") == "turns"
        return [Phrase("degrees", token.get("fraction"), tuple(self.tokens[at:end]))], max(
            end, at + 1
        )

    def _read_preposition(self, at: int) -> tuple[list[Phrase], int] | None:
        token = self._get(at)
        if not token.is_a("preposition"):
            return None
        role = token.get("preposition")
        follows = self._get(at + 1)
        if token.is_a("direction") and not self._begins_noun(at + 1):
            return None
        measures = follows.is_a("determiner") and self._ends_unit(at + 1)
        if follows.is_a("number", "fraction") or measures:
            return [], at + 1  # "for two seconds", "by a step"
        if token.is_a("direction", "amount") and self._reads_side(at + 1):
            return None
        found, end = self._read_noun(at + 1, role, token)
        if end == at + 1 and token.text in {"toward", "towards"}:
            return [Phrase("unknown", None, (token,))], end
        if token.get("direction") in {"up", "down", "around"}:  # "climbs up the hill"
            found = [Phrase("way", token.get("direction"), (token,), PLACE), *found]
        return found, end

    def _ends_unit(self, at: int) -> bool:
        return self._get(at + 1).is_a("unit", "number", "fraction")

    def _begins_noun(self, at: int) -> bool:
        token = self._get(at)
        return token.is_a("determiner", "possessive", "owner") and not self._ends_unit(at)

    def _reads_side(self, at: int) -> bool:
        """Whether "the left" follows."""
        return self._get(at + 1).get("direction") in {"left", "right"} and self._get(at).is_a(
            "determiner"
        )

    def _read_noun(self, at: int, role: str, preposition: Token) -> tuple[list[Phrase], int]:
        """What stands behind a preposition."""
        end, owner, nouns = at, None, list[Token]()
        while end < len(self.tokens) and end != self.verb_at:
            token = self._get(end)
            spoken = (preposition, *self.tokens[at : end + 1])
            if (limb := self._read_limb(end)) and not nouns:
                if preposition.text in {"with", "by", "on", ""} and role != "source":
                    return [replace(limb[0][0], strength=PLACE)], limb[1]
                nouns += self.tokens[end : limb[1]]
                end = limb[1]
            elif token.text == "back" and owner and not nouns:  # "turns its back to the camera"
                return [Phrase("back", None, (token,))], end + 1
            elif token.get("direction") in {"left", "right", "back"} and not nouns:
                return self._read_side(at, end, role, spoken, owner)
            elif token.is_a("viewer") and not nouns:
                return [_way_to_viewer(role, preposition, spoken)], end + 1
            elif token.is_a("possessive"):
                owner, end = token, end + 1
            elif token.is_a("determiner", "filler", "owner"):
                nouns += [token] if token.is_a("owner") else []
                end += 1
            elif not token.tags or token.is_a("sight", "verb", "amount", "unit"):
                if nouns and token.text.endswith("ly"):
                    break
                nouns.append(token)
                end += 1
            else:
                break
        nouns = [t for t in nouns if not is_function_word(t)]
        if role == "object" and all(t.is_a("amount") for t in nouns):
            return [], at + 1  # "a small step"
        if not nouns:
            return [], max(end, at)
        toward = role == "goal" and preposition.text in {"toward", "towards"}
        if role == "goal" and nouns[-1].is_a("sight"):
            return [Phrase("sight", nouns[-1].get("sight"), tuple(nouns))], end
        return [Phrase("place", toward, tuple(nouns), PLACE)], end

    def _read_side(
        self, at: int, end: int, role: str, spoken: tuple[Token, ...], owner: Token | None
    ) -> tuple[list[Phrase], int]:
        """ "the left side of the frame", "its own left"."""
        side = self._get(end).get("direction")
        end += 1
        while self._get(end).text in {"side", "hand", "edge", "half", "border"}:
            spoken = (*spoken, self._get(end))
            end += 1
        view = self._get(end).get("view") or ("own" if owner else "")
        if self._get(end).is_a("view"):
            spoken = (*spoken, self._get(end))
            end += 1
        strength = GOAL
        if role == "source":
            side, strength = v.OPPOSITES[side], SOURCE
        return [Phrase("way", side, spoken, strength, view, owner)], end

    def _read_limb(self, at: int) -> tuple[list[Phrase], int] | None:
        """ "its left front paw", "the head", "tail"."""
        end, side = at, ""
        while True:
            token = self._get(end)
            if token.is_a("limb"):
                tokens = tuple(self.tokens[at : end + 1])
                which = find_which(tokens)
                limb = Phrase("limb", token.get("limb"), tokens, side=side, which=which)
                return [limb], end + 1
            if token.get("direction") in {"left", "right"} and not side:
                side = token.get("direction")
            elif token.text not in v.LIMB_PARTS and not (
                end == at and token.is_a("determiner", "possessive", "owner")
            ):
                return None
            end += 1

    def _read_own_side(self, at: int) -> tuple[list[Phrase], int] | None:
        owner, side = self._get(at), self._get(at + 1)
        if not owner.is_a("possessive") or side.get("direction") not in {"left", "right"}:
            return None
        return [Phrase("way", side.get("direction"), (owner, side), BARE, "own", owner)], at + 2

    def _read_object(self, at: int) -> tuple[list[Phrase], int] | None:
        """A noun phrase without a preposition: what the verb is done to."""
        first = self._get(at)
        if not first.is_a("determiner", "possessive", "owner"):
            return None
        found, end = self._read_noun(at, "object", Token(""))
        if not found:
            return [], max(end, at + 1)
        if found[0].says == "place":
            strength = 1 if first.is_a("possessive") else 0
            return [Phrase("object", first.is_a("possessive"), found[0].tokens, strength)], end
        return found, end

    def _read_word(self, at: int) -> tuple[list[Phrase], int]:
        token = self._get(at)
        if token.is_a("times") and self._get(at + 1).text == "as":  # "twice as far"
            return [Phrase("unknown", None, (token,))], at + 1
        if token.is_a("view"):
            return [Phrase("view", token.get("view"), (token,))], at + 1
        for tag, says in (
            ("times", "count"), ("pace", "pace"), ("amount", "amount"),
            ("direction", "way"), ("fraction", "degrees"), ("limb", "limb"),
        ):  # fmt: skip
            if token.is_a(tag):
                view = self._get(at + 1)
                if tag == "direction" and view.is_a("view"):
                    phrase = Phrase("way", token.get(tag), (token, view), BARE, view.get("view"))
                    return [phrase], at + 2
                which = find_which([token]) if tag == "limb" else ""
                return [Phrase(says, token.get(tag), (token,), which=which)], at + 1
        if token.is_a("viewer"):
            return [Phrase("way", "toward", (token,), BARE, "viewer")], at + 1
        if is_function_word(token):
            return [], at + 1
        return [Phrase("unknown", None, (token,))], at + 1


def _way_to_viewer(role: str, preposition: Token, spoken: tuple[Token, ...]) -> Phrase:
    if role == "goal":
        return Phrase("way", "toward", spoken, GOAL)
    if role == "source":
        return Phrase("way", "away", spoken, BARE)
    if role == "object":
        return Phrase("way", "toward", spoken, BARE, "viewer")
    return Phrase("unknown", None, spoken)
