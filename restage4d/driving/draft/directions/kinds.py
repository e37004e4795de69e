"""The kinds of action, and what can be said about each."""

from dataclasses import dataclass

USUAL_TURN = 60.0  # degrees; a relief seen edge-on shows little, so plain turns stop short of that
STEP_SECONDS = 0.5
DEFAULT_COUNTS = {"nod": 2, "shake": 2, "wave": 2, "wag": 4}
TRAVELS = frozenset({"walk", "run", "drive", "climb", "limp", "stumble"})


@dataclass(frozen=True)
class Kind:
    """What can be said about one kind of action.

    Attributes:
        seconds: one go at the usual pace and amount.
        directions: those that make a difference.
        particles: those that the kind has anyway ("sits down").
        takes: "amount", "degrees", "count", "steps" and "limb", as far as they make a difference.
        repeats: whether "twice" means two actions (where ``takes`` has no "count").
        view: whose left and right it is where nothing is said: the subject's "own" or the
            "picture"'s.
    """

    seconds: float
    directions: frozenset[str]
    particles: frozenset[str]
    takes: frozenset[str]
    repeats: bool
    view: str


def _kind(
    seconds: float,
    directions: str = "",
    takes: str = "",
    particles: str = "",
    repeats: bool = False,
    view: str = "picture",
) -> Kind:
    split = [frozenset(words.split()) for words in (directions, particles, takes)]
    return Kind(seconds, split[0], split[1], split[2], repeats, view)


_WAYS = "left right forward back toward away"
KINDS = {
    "turn": _kind(0.9, "left right around", "amount degrees count limb", view="own"),
    "face": _kind(1.0, "left right toward away"),
    "look": _kind(0.7, "left right toward away up down forward back", "amount limb"),
    "walk": _kind(2.0, f"{_WAYS} place", "amount steps"),
    "run": _kind(1.5, f"{_WAYS} place", "amount steps"),
    "jump": _kind(1.1, _WAYS, "amount count", "up place updown"),
    "crouch": _kind(0.9, "", "amount limb", "down"),
    "sit": _kind(1.0, "", "", "down"),
    "bow": _kind(1.4, "", "amount", "down forward", repeats=True),
    "rise": _kind(0.8, "", "", "up"),
    "lean": _kind(0.8, _WAYS, "amount limb", "over"),
    "nod": _kind(0.5, "", "amount count limb", "updown"),
    "shake": _kind(0.45, "", "amount count limb", "sides"),
    "spin": _kind(1.5, "left right", "degrees count limb", "around place", view="own"),
    "stretch": _kind(1.5, "", "amount limb", "up", repeats=True),
    "wave": _kind(0.6, "", "amount count limb", "sides updown", view="own"),
    "lift": _kind(0.8, "", "amount limb", "up", repeats=True, view="own"),
    "wag": _kind(0.35, "", "amount count limb", "sides"),
    "stay": _kind(1.0, "", "", "place"),
    "drive": _kind(2.0, f"{_WAYS} place", "amount steps"),
    "climb": _kind(2.0, _WAYS, "amount steps", "up"),
    "kick": _kind(0.8, "", "amount limb", "out", repeats=True, view="own"),
    "roll": _kind(2.0, "left right", "", "over around", repeats=True),
    "graze": _kind(2.0, "", "", "down"),
    "dance": _kind(1.8, "", "amount limb", "around place"),
    "limp": _kind(2.0, f"{_WAYS} place", "amount steps"),
    "stumble": _kind(1.5, _WAYS, "amount steps", "over"),
    "fall": _kind(0.8, "left right", "", "down over"),
    "pounce": _kind(1.5, _WAYS, "amount", repeats=True),
    "raise_tail": _kind(0.8, "", "amount limb", "up"),
}


SECONDS = {name: kind.seconds for name, kind in KINDS.items()}
