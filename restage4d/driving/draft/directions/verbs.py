"""Whether a word is a verb where it stands: "the duck ducks", "walks 3 steps", "takes a bow"."""

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.driving.draft.directions.tokens import Token

NOUN_HEADS = ("determiner", "possessive", "owner")


def is_verb(token: Token, after: Token, lead: list[Token], told: list[Token] | None) -> bool:
    """Whether a word that can be a verb is one here, and no noun or adjective ("the duck", "walks 3
    steps", "a sitting dog"; but "takes a bow", "3 jumps").

    Args:
        token: the word.
        after: what follows.
        lead: the tokens of its clause before the clause's verb.
        told: all tokens of its clause so far, if it has a verb already.
    """
    if not token.is_a("verb"):
        return False
    if token.text in v.ENDS and after.is_a("limb"):  # "its rear leg"
        return False
    said = lead if told is None else told
    before = said[-1] if said else Token("")
    light = any(t.is_a("light") for t in lead)
    if token.is_a("fraction"):  # "makes a quarter turn", "half turn left"
        return told is None and (light or not lead)
    if token.text == "back":
        return not said and after.get("direction") in {"up", "away"}
    if token.is_a("limb"):
        if before.is_a(*NOUN_HEADS) or before.text in v.LIMB_PARTS or before.is_a("direction"):
            return False
        return token.get("limb") != "head" or _heads_somewhere(token, after)
    if token.text.endswith("ing") and not before.is_a("determiner"):
        return True
    if told is None:
        return _is_verb_in_lead(before, said, after, light)
    return _is_verb_behind(token, before, said)


def _heads_somewhere(token: Token, after: Token) -> bool:
    if token.get("verb") == "face":
        return True
    return after.is_a("direction", "preposition") and after.get("direction") not in {"up", "down"}


def _is_verb_in_lead(before: Token, said: list[Token], after: Token, light: bool) -> bool:
    if before.is_a("number"):  # "takes two steps", "three steps left", not "the two walks"
        return light or not any(t.is_a("determiner") or not t.tags for t in said)
    if before.is_a("determiner", "fraction"):
        return light and not after.is_a("verb")
    if before.is_a("possessive", "owner"):  # but "make her nod"
        return before.is_a("pronoun") and any(t.is_a("request") for t in said)
    earlier = said[-2] if len(said) > 1 else Token("")
    return light or not (before.is_a("amount") and earlier.is_a("determiner"))


def _is_verb_behind(token: Token, before: Token, said: list[Token]) -> bool:
    if before.text == "to":
        return token.text == token.get("verb")
    if before.is_a("number", "fraction", "preposition", *NOUN_HEADS):
        return False
    for earlier in reversed(said):  # inside a noun phrase?
        noun_follows = earlier.is_a("number", *NOUN_HEADS)
        if noun_follows or earlier.get("preposition") == "place":
            return False
        if earlier.tags and not earlier.is_a("amount", "filler"):
            break
    return True
