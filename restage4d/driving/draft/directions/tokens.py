"""A sentence as tokens: words, and terms of several words, with what each can mean."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.errors import InputError

LONGEST = 4_000  # characters
_WORD = re.compile(r"-?\d+(?:\.\d+)?|[^\W\d_]+(?:['-][^\W\d_]+)*|[°,;:.!?&\n]")
_PUNCTUATION = frozenset("°,;:.!?\n")


@dataclass(frozen=True, eq=False)
class Token:
    """A word or a term of several words. Tokens are equal only to themselves.

    Attributes:
        text: in lower case.
        words: the indices of its words in the sentence; none for punctuation.
        tags: what it can be ("verb", "direction", "number" ...), each with its value.
    """

    text: str
    words: tuple[int, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)

    def is_a(self, *tags: str) -> bool:
        return any(tag in self.tags for tag in tags)

    def get(self, tag: str) -> Any:
        return self.tags.get(tag)


def _list_forms(verb: str) -> set[str]:
    """A regular verb's forms: turn, turns, turned, turning; nod, nodding; wave, waving; hurry,
    hurries."""
    doubles = (
        len(verb) > 2
        and verb[-1] not in "aeiouwxy"
        and verb[-2] in "aeiou"
        and verb[-3] not in "aeiou"
        and verb not in v.UNDOUBLED
    )
    stem = verb[:-1] if verb.endswith("e") else verb + verb[-1] * doubles
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return {verb, verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"}
    third = verb + ("es" if verb.endswith(("sh", "ch", "o", "x", "ss")) else "s")
    return {verb, third, stem + "ed", stem + "ing"}


def _collect_lexicon() -> dict[tuple[str, ...], dict[str, Any]]:
    """Every term of the vocabulary with its tags."""
    lexicon: dict[tuple[str, ...], dict[str, Any]] = {}

    def add(term: str, tag: str, value: Any) -> None:
        lexicon.setdefault(tuple(term.split("_")), {}).setdefault(tag, value)

    valued = {
        "direction": v.DIRECTIONS, "view": v.VIEWS, "limb": v.LIMBS, "amount": v.AMOUNTS,
        "pace": v.PACES, "number": v.NUMBERS, "times": v.TIMES, "fraction": v.FRACTIONS,
        "unit": v.UNITS, "preposition": v.PREPOSITIONS, "sight": v.SIGHTS,
    }  # fmt: skip
    for tag, table in valued.items():
        for value, terms in table.items():
            for term in terms.split():
                add(term, tag, value)
    for value, terms in v.LINKS.items():
        for term in terms.split(" "):
            add(term, "link", value)
    plain = {
        "determiner": v.DETERMINERS, "possessive": v.POSSESSIVES, "pronoun": v.PRONOUNS,
        "viewer": v.VIEWERS, "at_once": v.AT_ONCE, "negation": v.NEGATIONS,
        "auxiliary": v.AUXILIARIES, "light": v.LIGHT_VERBS, "request": v.REQUESTS,
        "filler": v.FILLERS, "relative": v.RELATIVES, "hedge": v.HEDGES, "adverb": v.ADVERBS,
    }  # fmt: skip
    for tag, terms in plain.items():
        for term in terms.split():
            add(term, tag, True)
    for verbs in v.VERBS.values():
        for verb in verbs.split():
            for form in _list_forms(verb):
                add(form, "verb", verb)
    for form, verb in v.IRREGULAR_FORMS.items():
        add(form, "verb", verb)
    for term, tags in lexicon.items():
        if "fraction" in tags and term[-1] in v.TURNS:
            tags["verb"] = "turn"
    return lexicon


LEXICON = _collect_lexicon()
KIND_OF_VERB = {verb: kind for kind, verbs in v.VERBS.items() for verb in verbs.split()}
_LONGEST_TERM = max(map(len, LEXICON))


def list_words(text: str) -> list[str]:
    """The words of a text as they are written, punctuation apart.

    Raises:
        InputError: the text is too long to be directions.
    """
    if len(text) > LONGEST:
        raise InputError(
            f"The directions have {len(text)} characters; at most {LONGEST} are read.",
            "Say in a few sentences what the subject shall do.",
        )
    return _WORD.findall(text.replace("’", "'").replace("‑", "-"))


def tokenize(words: list[str]) -> list[Token]:
    """Tokens of the words of `list_words`; the longest term that fits is taken."""
    lower = ["and" if w == "&" else w.lower() for w in words]
    tokens: list[Token] = []
    at = 0
    numbers = [index for index, _ in _count_words(words)]
    while at < len(lower):
        size = next((n for n in range(_LONGEST_TERM, 1, -1) if _is_term(lower, at, n)), 1)
        term = tuple(lower[at : at + size])
        spoken = tuple(numbers[k] for k in range(at, min(at + size, len(lower))) if numbers[k] >= 0)
        tokens.append(Token(" ".join(term), spoken, LEXICON.get(term) or _tag_word(term[0])))
        at += size
    return list(_join_numbers(tokens))


def _is_term(words: list[str], at: int, size: int) -> bool:
    """Whether a term of that size stands here ("down to", but not in "bends down to drink")."""
    tags = LEXICON.get(tuple(words[at : at + size]))
    if tags is None or at + size > len(words):
        return False
    if words[at] == "back" and at and "possessive" in LEXICON.get((words[at - 1],), {}):
        return False  # "turns its back to the camera"
    after = LEXICON.get(tuple(words[at + size : at + size + 1]), {})
    return not ("preposition" in tags and words[at + size - 1] == "to" and "verb" in after)


def is_word(text: str) -> bool:
    """Whether a piece of `list_words` is a word, and no punctuation."""
    return text not in _PUNCTUATION


def _count_words(words: list[str]) -> Iterator[tuple[int, str]]:
    """Every word with its index among those that are no punctuation; -1 for punctuation."""
    index = 0
    for word in words:
        if not is_word(word):
            yield -1, word
        else:
            yield index, word
            index += 1


def _tag_word(word: str) -> dict[str, Any]:
    """Tags of a word that the vocabulary lacks."""
    if word[-1].isdecimal():
        return {"number": float(word)}
    if word.endswith("n't") or word in {"dont", "doesnt", "isnt", "wont", "cant"}:
        return {"negation": True}
    if word.endswith(("'s", "s'")):
        return {"owner": word[:-2]}
    if word.endswith("'"):
        return {"owner": word[:-1]}
    parts = [LEXICON.get((part,), {}).get("number") for part in word.split("-")]
    if len(parts) > 1 and all(parts):
        return {"number": float(sum(p for p in parts if p))}
    return {}


def _join_numbers(tokens: list[Token]) -> Iterator[Token]:
    """One token for "two and a half" and "one hundred and eighty"."""
    at = 0
    while at < len(tokens):
        size, value = _read_number(tokens[at : at + 6])
        if size > 1:
            run = tokens[at : at + size]
            words = tuple(w for t in run for w in t.words)
            yield Token(" ".join(t.text for t in run), words, {"number": value})
        else:
            yield tokens[at]
        at += max(size, 1)


def _read_number(tokens: list[Token]) -> tuple[int, float]:
    """How many tokens from the first make a number, and its value."""
    value, size = 0.0, 0
    while size < len(tokens):
        texts = [t.text for t in tokens[size : size + 3]]
        number = tokens[size].get("number")
        if size and texts in (["and", "a", "half"], ["and", "one", "half"]):
            return size + 3, value + 0.5
        if size and texts[0] == "and" and value >= 100 and tokens[size + 1 : size + 2]:
            number = tokens[size + 1].get("number")
            if not number:
                break
            return size + 2, value + number
        if not number or (size and not (number == 100 or (value >= 20 and number < value))):
            break
        value = value * 100 if number == 100 and size else value + number
        size += 1
    return size, value
