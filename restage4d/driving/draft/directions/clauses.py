"""Tokens as clauses: each with at most one verb, what stands before and behind it, and how it goes
with the clause before."""

from dataclasses import dataclass, field

from restage4d.driving.draft.directions import vocabulary as v
from restage4d.driving.draft.directions.tokens import KIND_OF_VERB, Token
from restage4d.driving.draft.directions.verbs import NOUN_HEADS, is_verb

_SOFT_LINKS = frozenset({",", ":", "and", "or", "plus"})  # they also join words
_POSTURES = v.split_words("sit crouch rise stay")
_AHEAD = 16  # tokens in which the verb of a clause is looked for


@dataclass
class Clause:
    """A stretch of the sentence with at most one verb.

    Attributes:
        lead, verb, rest: the tokens before the verb, the verb, and those behind it.
        carriers: verbs that only carry its own ("never stops walking").
        link: how it goes with the clause before: "then", "together", "after" ("X after Y"),
            "before", "first" ("X, but first Y"), "instead" or "until".
        joint: the words and commas that join it to the clause before.
        sentence: number of its sentence; ``opens``: whether it is the first there.
        negated: it is said not to happen.
        doubtful: whether it is negated cannot be told.
        pairs: the clause behind it happens at the same time.
        purpose: it is what the clause before is done for ("to graze").
        posture: a limb's state that goes with the clause before ("with its head down").
        repeats: a clause without a verb goes on with this one's ("turns left, then right").
    """

    lead: list[Token] = field(default_factory=list)
    verb: Token | None = None
    rest: list[Token] = field(default_factory=list)
    carriers: list[Token] = field(default_factory=list)
    link: str = "then"
    joint: str = ""
    sentence: int = 0
    opens: bool = False
    negated: bool = False
    doubtful: bool = False
    pairs: bool = False
    purpose: bool = False
    posture: bool = False
    repeats: "Clause | None" = None

    @property
    def tokens(self) -> list[Token]:
        return [*self.lead, *([self.verb] if self.verb else []), *self.rest]

    @property
    def is_participle(self) -> bool:
        """ "nodding" without "is"."""
        helped = any(t.is_a("auxiliary") for t in self.lead)
        return self.verb is not None and self.verb.text.endswith("ing") and not helped


def split_clauses(tokens: list[Token]) -> list[Clause]:
    """The clauses in the order of the text; verbless ones joined to what they go on with."""
    splitter = _Splitter(tokens)
    for at in range(len(tokens)):
        splitter.read(at)
    return _attach_fragments([c for c in splitter.clauses if c.tokens])


def order_clauses(clauses: list[Clause]) -> list[Clause]:
    """The clauses in the order in which they happen: "before", "after" and "first" say so."""
    ordered: list[Clause] = []
    early: Clause | None = None  # the X of "before Y, X" comes before the Y
    for clause in clauses:
        if early is not None:
            ordered.insert(ordered.index(early), clause)
            early = None
        elif clause.link in {"after", "first"} and not clause.opens and ordered:
            ordered.insert(len(ordered) - 1, clause)
        else:
            ordered.append(clause)
        if clause.link == "before" and clause.opens:
            early = clause
    return ordered


class _Splitter:
    """Reads tokens one by one into clauses."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.clause = Clause(opens=True)
        self.clauses = [self.clause]

    def read(self, at: int) -> None:
        rules = (
            self._end_sentence,
            self._doubt,
            self._negate,
            self._link,
            self._take_posture,
            self._take_verb,
        )
        if not any(rule(at, self.tokens[at]) for rule in rules):
            (self.clause.rest if self.clause.verb else self.clause.lead).append(self.tokens[at])

    def _start(self, link: str = "then", joint: str = "", negated: bool = False) -> None:
        """A new clause, unless nothing has been said in this one yet."""
        before = self.clause
        if before.tokens or before.negated:
            self.clause = Clause(link=link, joint=joint, sentence=before.sentence, negated=negated)
            self.clauses.append(self.clause)
        else:
            before.joint = f"{before.joint} {joint}".strip()
            before.negated = before.negated or negated
            if link != "then":
                before.link = link

    def _end_sentence(self, at: int, token: Token) -> bool:
        if token.get("link") != "stop":
            return False
        if self.clause.tokens:
            self._start()
            self.clause.sentence += 1
        self.clause.opens = True
        return True

    def _negate(self, at: int, token: Token) -> bool:
        if not token.is_a("negation"):
            return False
        following = self._get(at + 1)
        acts = following.is_a("verb") or following.is_a("auxiliary")
        if token.text in {"without", "no", "nothing"} and not acts:
            return False
        if self.clause.verb:
            self._start(negated=True)
        self.clause.negated = True
        self.clause.lead.append(token)
        return True

    def _doubt(self, at: int, token: Token) -> bool:
        """ "almost falls": whether it does cannot be told."""
        self.clause.doubtful = self.clause.doubtful or token.is_a("hedge")
        return False

    def _link(self, at: int, token: Token) -> bool:
        if token.is_a("at_once") and self._join_at_once(at):
            return True
        link = self._read_link(at, token)
        if link == "":
            return False
        if link != "then":
            self._start(link, token.text)
        elif self.clause.verb is None and self.clause.tokens and self._joins_words(at, token):
            self.clause.lead.append(token)
        else:
            carries = token.text in {"or", "nor"} and self.clause.negated
            self._start("then", token.text, negated=carries)
        return True

    def _read_link(self, at: int, token: Token) -> str:
        """How the clause that begins here goes with the one before; "" where none begins."""
        link = token.get("link") or ""
        if token.text == "as":
            begins = self._get(at + 1).is_a("pronoun", *NOUN_HEADS)
            return "together" if begins and self._finds_verb(at + 1) else ""
        if token.text == "once" and not self._get(at + 1).is_a("pronoun", *NOUN_HEADS):
            return ""
        if (link in {"after", "before"} or token.text == "than") and not self._finds_verb(at + 1):
            return ""
        return link

    def _join_at_once(self, at: int) -> bool:
        if self.clause.verb and self._get(at + 1).get("link") in {None, "then", "stop"}:
            ends = at + 1 >= len(self.tokens) or self._get(at + 1).is_a("link")
            if ends:
                self.clause.link = "together"
            else:
                self._start("together", self.tokens[at].text)
            return True
        if not self.clause.tokens:
            if self.clause.opens and not any(c.verb for c in self.clauses):
                self.clause.pairs = True
            else:
                self.clause.link = "together"
            return True
        return False

    def _joins_words(self, at: int, token: Token) -> bool:
        """Whether a comma or "and" before the verb joins words, not clauses."""
        if token.text not in _SOFT_LINKS or self.clause.link == "until" or self.clause.negated:
            return False
        after = self._get(at + 1)
        unknown = [t for t in self.clause.lead if not t.tags]
        if _is_posture(self.clause):
            return False
        if self.clause.lead[0].is_a("preposition", "pace") or len(unknown) < 2:
            return True
        return bool(
            not after.is_a("verb", "pronoun", "link", "pace")
            and not (after.is_a("determiner") and unknown[-1].text.endswith("s"))
        )

    def _take_posture(self, at: int, token: Token) -> bool:
        """ "with its head down" is a clause of its own."""
        if token.text != "with" or not self.clause.verb:
            return False
        noun = next((t for t in self.tokens[at + 2 : at + 4] if t.is_a("limb")), None)
        if noun is None or noun.get("limb") not in {"head", "tail"}:
            return False
        self._start("together", token.text)
        self.clause.posture = True
        return True

    def _take_verb(self, at: int, token: Token) -> bool:
        if not token.is_a("verb"):
            return False
        clause = self.clause
        described = clause.is_participle and any(not t.tags for t in clause.lead)
        told = clause.tokens if clause.verb else None
        finite = described and not self._get(at - 1).tags and token.text.endswith("s")
        if not (finite or is_verb(token, self._get(at + 1), clause.lead, told)):
            return False
        if clause.verb is None and self._is_relative(at):
            clause.lead.append(Token(token.text, token.words))
        elif clause.verb is None:
            self._begin_with(token)
        elif clause.verb.get("verb") in v.STOPPING and self._is_gerund(token):
            if clause.negated:  # "never stops walking"
                clause.carriers.append(clause.verb)
                clause.verb, clause.negated = token, False
            else:
                self._start(negated=True)
                self.clause.verb = token
        elif self._get(at - 1).text == "to":
            clause.rest.pop()
            self._start()
            self.clause.verb, self.clause.purpose = token, True
        else:
            if described and KIND_OF_VERB[clause.verb.get("verb")] in _POSTURES:
                clause.lead += [Token(t.text, t.words) for t in (clause.verb, *clause.rest)]
                clause.verb, clause.rest = token, []  # "the man sitting on a bench stands up"
                return True
            together = self._is_gerund(token) or described
            self._start("together" if together else "then")
            self.clause.verb = token
        return True

    def _begin_with(self, token: Token) -> None:
        """The verb of a clause that has none yet; says whether it goes along with the one before
        ("runs left, nodding")."""
        clause = self.clause
        clause.verb = token
        before = self.clauses[-2] if len(self.clauses) > 1 else None
        if before is None or before.verb is None or clause.link != "then" or clause.opens:
            return
        named = any(not t.tags or t.is_a("pronoun") for t in clause.lead)
        goes_on = before.link == "together" and before.is_participle and clause.joint == "and"
        if (
            clause.is_participle
            and not named
            and (goes_on or (clause.joint == "," and not before.is_participle))
        ):
            clause.link = "together"
        elif (
            clause.joint == ","
            and before.is_participle
            and not before.opens
            and not named
            and any(not t.tags for t in before.lead)
        ):  # "the dog, wagging its tail, walks"
            clause.link = "together"
        negated_before = (
            any(t.is_a("negation") for t in before.lead) and clause.joint == "and" and not named
        )
        if negated_before and token.text == token.get("verb"):
            clause.doubtful = True

    def _is_relative(self, at: int) -> bool:
        """Whether the verb tells which subject is meant ("the dog that was sitting gets up")."""
        lead = self.clause.lead
        relative = [k for k, t in enumerate(lead) if k and t.is_a("relative")]
        if not relative or lead[relative[0] - 1].tags or not self._finds_verb(at + 1):
            return False
        return all(t.tags for t in lead[relative[0] :])

    def _is_gerund(self, token: Token) -> bool:
        return token.text.endswith("ing")

    def _finds_verb(self, at: int) -> bool:
        """Whether a verb stands between here and the next link."""
        for k in range(at, min(at + _AHEAD, len(self.tokens))):
            if self.tokens[k].is_a("link") and self.tokens[k].text != "as":
                return False
            if is_verb(self.tokens[k], self._get(k + 1), self.tokens[at:k], None):
                return True
        return False

    def _get(self, at: int) -> Token:
        return self.tokens[at] if 0 <= at < len(self.tokens) else Token("")


def _attach_fragments(clauses: list[Clause]) -> list[Clause]:
    """Joins verbless clauses to the one before: more about it ("turns left, slowly"), or once more
    the same ("turns left, then right")."""
    kept: list[Clause] = []
    for clause in clauses:
        if clause.verb is None and _is_posture(clause):
            clause.posture, clause.link = True, "together" if kept else clause.link
        before = next((c for c in reversed(kept) if not (c.negated and c.repeats)), None)
        goes_on = (
            before is not None
            and (before.verb is not None or before.repeats is not None)
            and clause.verb is None
            and not clause.posture
            and clause.link in {"then", "together"}
            and _is_fragment(clause)
        )
        if not goes_on or before is None:
            kept.append(clause)
        elif (
            clause.negated  # "not to the left"
            or _lists_goals(clause) & _lists_goals(before)
            or clause.lead[-1].text == "again"
        ):
            clause.repeats = before.repeats or before
            clause.rest, clause.lead = clause.lead, []
            kept.append(clause)
        else:
            before.rest += clause.lead
    return kept


def _is_posture(clause: Clause) -> bool:
    """ "head down", "keeps its tail up": a limb and where it is, nothing else."""
    limbs = [t.get("limb") for t in clause.lead if t.is_a("limb")]
    ways = [t for t in clause.lead if t.get("direction") in {"up", "down"}]
    others = [t for t in clause.lead if not t.is_a("limb", "direction")]
    known = all(t.is_a("possessive", "determiner", "auxiliary", "filler") for t in others)
    return known and len(ways) == 1 and limbs in (["head"], ["tail"])


def _is_fragment(clause: Clause) -> bool:
    """Whether no new subject begins here."""
    first = next((t for t in clause.lead if not t.is_a("filler", "negation")), clause.lead[-1])
    unknown = any(not t.tags for t in clause.lead)
    return not unknown or (bool(first.tags) and not first.is_a("determiner", "owner", "pronoun"))


def _lists_goals(clause: Clause) -> set[str]:
    """What kinds of goal a clause names."""
    goals = {tag for t in clause.tokens for tag in ("direction", "limb") if t.is_a(tag)}
    texts = [t for t in clause.tokens if t.is_a("unit")]
    if any(t.get("unit") == "steps" for t in texts):
        goals.add("direction")
    if any(t.is_a("viewer") for t in clause.tokens):
        goals.add("direction")
    if "then" in clause.joint.split() or not clause.joint:
        goals |= {tag for t in clause.tokens for tag in ("pace", "times") if t.is_a(tag)}
    return goals
