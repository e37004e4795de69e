"""What was read in a clause: its cues, and what becomes of each word."""

from dataclasses import dataclass, field

from restage4d.driving.draft.directions.actions import Cue
from restage4d.driving.draft.directions.clauses import Clause
from restage4d.driving.draft.directions.phrases import is_function_word
from restage4d.driving.draft.directions.tokens import Token

USED, OVERRIDDEN, LEFT_OUT, FILLER = "used", "overridden", "left out", "filler"


@dataclass
class Reading:
    """A clause's cues, and the fate of its tokens."""

    cues: list[Cue] = field(default_factory=list)
    name: list[Token] = field(default_factory=list)  # of the subject, where nothing is acted
    fates: dict[Token, str] = field(default_factory=dict)

    def mark(self, fate: str, *tokens: Token) -> None:
        """Fixes what becomes of tokens; articles and the like stay what they are."""
        for token in tokens:
            if not is_function_word(token):
                self.fates[token] = fate


def leave_out(clause: Clause) -> Reading:
    """A clause that is not acted."""
    reading = Reading()
    reading.mark(LEFT_OUT, *clause.tokens)
    if clause.verb is None:  # "takes place"
        reading.fates.update({t: LEFT_OUT for t in clause.lead if t.is_a("light")})
    return reading


def obey_negation(clause: Clause) -> Reading:
    """Nothing is done; standing still is, where moving at all is forbidden."""
    reading = Reading()
    reading.mark(USED, *clause.tokens)
    reading.fates.update({t: USED for t in clause.lead if t.is_a("negation")})
    moves = clause.verb is not None and clause.verb.get("verb") == "move"
    if moves and not any(t.text == "without" for t in clause.lead) and clause.link != "instead":
        reading.cues.append(Cue("stay"))
    return reading
