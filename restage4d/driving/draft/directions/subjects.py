"""Who a clause speaks of: the subject, a limb of it, or somebody else."""

from dataclasses import dataclass, field

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.driving.draft.directions.clauses import Clause
from restage4d.driving.draft.directions.phrases import find_which
from restage4d.driving.draft.directions.tokens import KIND_OF_VERB, Token

_SKIPPED = ("light", "request", "auxiliary", "filler", "negation", "link")
_NAMES = ("determiner", "possessive", "pronoun")
_ENDS_NAME = (
    "preposition",
    "pace",
    "auxiliary",
    "pronoun",
    "negation",
    "light",
    "times",
    "hedge",
    "adverb",
)


@dataclass
class Subject:
    """Who acts in a clause.

    Attributes:
        noun: its name's last word; "" where only a pronoun or nothing names it.
        pronoun: whether a pronoun stands for it.
        other: whether it is known to be somebody else.
        limb: the limb that acts, as in `vocabulary.LIMBS`, or "".
        side, which: of that limb, as in `directions.actions.Cue`.
        name: the tokens that name it.
        modifiers: tokens before the verb that say how or where.
        unknown: tokens before the verb that say nothing known.
    """

    noun: str = ""
    pronoun: bool = False
    other: bool = False
    limb: str = ""
    side: str = ""
    which: str = ""
    name: list[Token] = field(default_factory=list)
    modifiers: list[Token] = field(default_factory=list)
    unknown: list[Token] = field(default_factory=list)

    @property
    def is_named(self) -> bool:
        return bool(self.noun)


def read_subject(clause: Clause) -> Subject:
    """The subject that stands before the verb."""
    subject, lead, at, light = Subject(), clause.lead, 0, False
    while at < len(lead):
        token = lead[at]
        if token.is_a(*_SKIPPED):
            light = light or (token.is_a("light") and not _is_request(lead, at))
            at += 1
        elif token.is_a("pronoun") and not token.is_a("possessive") and not subject.name:
            subject.pronoun = True
            subject.name.append(token)
            at += 1
        elif token.is_a("preposition"):
            end = next((k for k in range(at, len(lead)) if lead[k].text == ","), len(lead))
            subject.modifiers += lead[at:end]
            at = end
        elif _begins_name(lead, at) and not (light or subject.name):
            at = _read_name(lead, at, subject, acts=clause.verb is not None)
        elif not token.tags and not light:
            subject.unknown.append(token)
            at += 1
        else:
            subject.modifiers.append(token)
            at += 1
    return subject


def _is_request(lead: list[Token], at: int) -> bool:
    """ "make the dog sit", but not "make a turn"."""
    after = lead[at + 1] if at + 1 < len(lead) else Token("")
    return lead[at].is_a("request") and after.is_a(*_NAMES) and after.text not in {"a", "an"}


def _begins_name(lead: list[Token], at: int) -> bool:
    token = lead[at]
    if token.is_a("number"):
        return at + 1 < len(lead) and not lead[at + 1].tags
    if not token.tags:
        return not _is_adverb(lead, at)
    return token.is_a("determiner", "possessive", "owner", "limb", "verb", "viewer")


def _is_adverb(lead: list[Token], at: int) -> bool:
    """ "happily", but not "the friendly dog"."""
    token = lead[at]
    named_later = at + 1 < len(lead) and not lead[at + 1].tags
    return not token.tags and token.text.endswith("ly") and not named_later


def _read_name(lead: list[Token], at: int, subject: Subject, acts: bool) -> int:
    """Reads a noun phrase with what describes it ("a dog in a red coat wearing a harness")."""
    end = at
    while end < len(lead) and not _ends_name(lead, end):
        described = end > at and (lead[end].is_a("relative") or _is_participle(lead, end))
        if described:
            break
        end += 1
    phrase = lead[at:end]
    noun_at = _find_noun(phrase, acts, [t.text for t in lead[end:]] == ["to"])
    if not phrase[0].tags and len(phrase) == 1 and not _names_who(lead, end, acts):
        subject.unknown += phrase
        return end
    kept = phrase[: noun_at + 1]
    subject.unknown += phrase[noun_at + 1 :]
    subject.name += kept
    _name_limb(kept, subject)
    describes = end < len(lead) and (
        lead[end].is_a("preposition")
        or lead[end].is_a("relative")
        or (end > 0 and _is_participle(lead, end))
    )
    while describes and acts and end < len(lead) and not _ends_description(lead, end):
        subject.name.append(lead[end])
        end += 1
    return end


def _names_who(lead: list[Token], end: int, acts: bool) -> bool:
    """Whether a single unknown word is a name ("Rex sits"), and no verb ("and begs", "refuses to
    sit")."""
    infinitive = end == len(lead) - 1 and lead[end].text == "to"
    return acts and not infinitive


def _ends_description(lead: list[Token], at: int) -> bool:
    if lead[at].is_a("auxiliary"):
        return not lead[at - 1].is_a("relative")
    return lead[at].is_a("pace", "negation", "link", "light") or _is_adverb(lead, at)


def _ends_name(lead: list[Token], at: int) -> bool:
    ends = lead[at].is_a(*_ENDS_NAME) and not lead[at].is_a("possessive")
    return ends or _is_adverb(lead, at)


def _is_participle(lead: list[Token], at: int) -> bool:
    return lead[at].text.endswith("ing") and not lead[at].tags and not lead[at - 1].tags


def _find_noun(phrase: list[Token], acts: bool, precedes_infinitive: bool) -> int:
    """Where the noun of a noun phrase stands. Behind it can be a verb that is not known: always
    where no other verb follows, else before a further article ("the dog bites the ...")."""
    articles = [k for k, t in enumerate(phrase) if k and t.is_a("determiner", "possessive")]
    joined = [k for k in articles if phrase[k - 1].is_a("link")]
    further = next((k for k in articles if k not in joined), len(phrase))
    words = [k for k in range(further) if not phrase[k].is_a("determiner", "link", "number")]
    unknown = [k for k in words if not phrase[k].tags]
    if len(unknown) > 1 and (not acts or further < len(phrase) or precedes_infinitive):
        return unknown[-2]
    return words[-1] if words else further - 1


def _name_limb(phrase: list[Token], subject: Subject) -> None:
    """ "its head", "the dog's left paw", "the tail" are limbs of the subject; else the last word
    is its noun."""
    owners = [t.get("owner") for t in phrase if t.is_a("owner")]
    last = phrase[-1]
    if last.is_a("pronoun", "possessive"):  # "make her jump"
        subject.pronoun = True
        return
    described = all(t.tags or t.text in v.LIMB_PARTS for t in phrase[:-1])
    if last.is_a("limb") and last.get("limb") != "body" and (owners or described):
        subject.limb = last.get("limb")
        sides = [t.get("direction") for t in phrase if t.get("direction") in {"left", "right"}]
        subject.side = sides[0] if sides else ""
        subject.which = find_which(phrase)
        subject.noun = owners[-1] if owners else ""
    elif last.is_a("owner"):
        subject.noun = last.get("owner")
    elif last.is_a("limb") and described:
        subject.limb = "body"
    else:
        subject.noun = last.text
        subject.other = phrase[0].text == "its"  # "its owner"


class Cast:
    """Remembers who is the subject, and of whom the last clause spoke.

    The subject is whoever acts first. Whatever else is named is somebody else, who does nothing.
    """

    def __init__(self) -> None:
        self.main = ""
        self._current = ""  # the noun of the last clause; "" = the subject
        self._first: dict[int, bool] = {}  # whether a sentence begins with the subject
        self.has_acted = False

    def is_subject(self, clause: Clause, subject: Subject) -> bool:
        """Whether the subject acts in this clause."""
        noun = self._find_noun(clause, subject)
        own = noun not in v.NEVER_SUBJECTS | v.UNKNOWN_PARTS and (
            not noun or not self.main or noun == self.main or noun in v.SUBJECT_NAMES
        )
        begins_own = self._first.setdefault(clause.sentence, own)
        if subject.pronoun and not begins_own and self.has_acted:
            own = False  # "the camera follows as it turns" tells once more what has been said
            noun = self._current
        own = own and not subject.other
        self._current = noun
        lemma = clause.verb.get("verb") if clause.verb else ""
        if own and noun and KIND_OF_VERB.get(lemma, "cannot") != "cannot":
            self.main = self.main or noun
        return own

    def is_main(self, subject: Subject) -> bool:
        """Whether it names the one subject."""
        return not subject.noun or subject.noun == self.main or subject.noun in v.SUBJECT_NAMES

    def _find_noun(self, clause: Clause, subject: Subject) -> str:
        if subject.noun:
            return subject.noun
        if subject.pronoun or subject.limb:
            return self.main
        token = clause.verb
        if clause.opens and token is not None and token.text == token.get("verb"):
            return self.main  # an imperative
        return self._current
