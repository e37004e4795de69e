"""The script: timed actions, and what became of every word of the directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restage4d.driving.draft.directions.actions import Action, Cue, schedule_cues
from restage4d.driving.draft.directions.schema import find_json, read_cues
from restage4d.driving.draft.directions.wording import describe_actions


@dataclass(frozen=True)
class Word:
    """A word of the directions and what became of it.

    Attributes:
        text: in lower case.
        fate: "used", "overridden" (by a later or stronger word), "left out", or "filler".
        action: index of the action that uses it; None where none does (a negation is used so).
    """

    text: str
    fate: str
    action: int | None = None


@dataclass(frozen=True)
class Directions:
    """What was understood: ``actions`` in the order of their start, and all ``words``."""

    actions: tuple[Action, ...]
    words: tuple[Word, ...] = ()

    @property
    def seconds(self) -> float:
        return max(a.end for a in self.actions)

    @property
    def ignored(self) -> tuple[str, ...]:
        """The words that were left out, in order, each once, in lower case."""
        left_out = (w.text for w in self.words if w.fate == "left out")
        return tuple(dict.fromkeys(left_out))

    def describe(self) -> str:
        """What will be acted, as a sentence."""
        return describe_actions(self.actions)

    @classmethod
    def from_cues(cls, cues: Sequence[Cue], words: Sequence[Word] = ()) -> "Directions":
        """The script of cues; a word's ``action`` counts cues, and comes to count actions."""
        timed = schedule_cues(cues)
        first: dict[int | None, int] = {
            cue: at for at, (cue, _) in reversed(list(enumerate(timed)))
        }
        return cls(
            tuple(action for _, action in timed),
            tuple(Word(w.text, w.fate, first.get(w.action)) for w in words),
        )

    @classmethod
    def from_json(cls, data: Any) -> "Directions":
        """The script of an object of `schema.build_schema`, as a language model gives it.

        Example::

            Directions.from_json({"actions": [{"verb": "walk", "direction": "left", "steps": 3}]})

        Raises:
            InputError: a field is wrong; names it.
        """
        cues, left_out = read_cues(data)
        return cls.from_cues(cues, [Word(text, "left out") for text in left_out])


def read_script(reply: str) -> Directions:
    """The script in a language model's reply to `schema.script_request`.

    Raises:
        InputError: the reply holds no script, or one with a wrong field.
    """
    return Directions.from_json(find_json(reply))
