"""The kinds of action: what acting can do, and what stands in for what it cannot do yet."""

from dataclasses import dataclass
from typing import Any

USUAL_TURN = 60.0  # degrees; a relief seen edge-on shows little, so plain turns stop short of that
STEP_SECONDS = 0.5
DEFAULT_COUNTS = {"nod": 2, "shake": 2, "wave": 2, "wag": 4}
TRAVELS = frozenset({"walk", "run", "drive", "climb", "limp", "stumble"})


@dataclass(frozen=True)
class Kind:
    """What can be said about one kind of action, and is acted.

    Attributes:
        seconds: one go at the usual pace and amount.
        directions: those that make a difference.
        particles: those that the kind has anyway ("sits down").
        takes: "amount", "degrees", "count", "steps" and "limb", as far as they make a difference.
        repeats: whether "twice" means two actions (where ``takes`` has no "count").
        views: whose left and right it knows, the usual one first: the subject's "own" or the
            "picture"'s. Once ``acting`` goes by `Action.view`, every kind has both.
    """

    seconds: float
    directions: frozenset[str]
    particles: frozenset[str]
    takes: frozenset[str]
    repeats: bool
    views: tuple[str, ...]


def _kind(
    seconds: float,
    directions: str = "",
    takes: str = "",
    particles: str = "",
    repeats: bool = False,
    views: str = "picture",
) -> Kind:
    split = [frozenset(words.split()) for words in (directions, particles, takes)]
    return Kind(seconds, split[0], split[1], split[2], repeats, tuple(views.split()))


_WAYS = "left right forward back toward away"
KINDS = {
    "turn": _kind(0.9, "left right around", "amount degrees count limb", views="own"),
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
    "spin": _kind(1.5, "left right", "degrees count limb", "around place", views="own"),
    "stretch": _kind(1.5, "", "amount limb", "up", repeats=True),
    "wave": _kind(0.6, "", "amount count limb", "sides updown", views="own"),
    "lift": _kind(0.8, "", "amount limb", "up", repeats=True, views="own"),
    "wag": _kind(0.35, "", "amount count limb", "sides"),
    "stay": _kind(1.0, "", "", "place"),
    "drive": _kind(2.0, f"{_WAYS} place", "amount steps"),
    "climb": _kind(2.0, _WAYS, "amount steps", "up"),
    "kick": _kind(0.8, "", "amount limb", "out", repeats=True, views="own"),
    "roll": _kind(2.0, "left right", "", "over around", repeats=True),
    "graze": _kind(2.0, "", "", "down"),
    "dance": _kind(1.8, "", "amount limb", "around place"),
    "limp": _kind(2.0, f"{_WAYS} place", "amount steps"),
    "stumble": _kind(1.5, _WAYS, "amount steps", "over"),
    "fall": _kind(0.8, "", "", "down over"),
    "pounce": _kind(1.5, _WAYS, "amount", repeats=True),
    "raise_tail": _kind(0.8, "", "amount limb", "up"),
}


def find_acted_directions(verb: str) -> frozenset[str]:
    """The directions of a kind that make a difference now, whatever stands in for it."""
    acted = [KINDS[part["verb"]].directions for part in NEAREST.get(verb, ())]
    return KINDS[verb].directions & frozenset().union(*acted) if acted else KINDS[verb].directions


SECONDS = {name: kind.seconds for name, kind in KINDS.items()}

NEW_KINDS = (
    "drive",
    "climb",
    "kick",
    "roll",
    "graze",
    "dance",
    "limp",
    "stumble",
    "fall",
    "pounce",
    "raise_tail",
)
"""Kinds that acting does not know yet, and the motion that each is to be:

- drive: translate as "walk" does, without steps, bob or waddle; wheels roll by the way gone.
- climb: walk forward with the body tipped upwards by about 25 degrees, rising a little.
- kick: lift the leg of that side (own view), thrust it out quickly, put it down.
- roll: lie down, roll once about the long axis, and lie.
- graze (eat, drink, sniff): lower the head to the ground, nod there a little for a while.
- dance: bounce in place on alternate legs, the body swaying from side to side with them.
- limp: walk, one leg hardly lifted and unloaded quickly, the body dipping on it.
- stumble: walk, the front dipping once as a foot catches, two quick steps after.
- fall: tip over sideways until the body lies, and lie.
- pounce: crouch, rear loaded, then a long low jump forward, front first.
- raise_tail: lift the tail, and let it down.

Take a kind out of this tuple and out of `NEAREST` once ``acting`` has a method for it.
"""

# What is acted instead, one after the other; what is said besides carries over.
NEAREST: dict[str, tuple[dict[str, Any], ...]] = {
    "drive": ({"verb": "walk"},),
    "climb": ({"verb": "walk"},),
    "kick": ({"verb": "lift", "limb": "limb"},),
    "roll": ({"verb": "crouch", "amount": 1.6}, {"verb": "shake", "limb": "body"}),
    "graze": ({"verb": "look", "limb": "head", "direction": "down"}, {"verb": "nod", "count": 4}),
    "dance": ({"verb": "shake", "limb": "body", "count": 4},),
    "limp": ({"verb": "walk", "pace": 0.6},),
    "stumble": ({"verb": "walk"}, {"verb": "bow", "amount": 0.5, "pace": 1.6}),
    "fall": ({"verb": "crouch", "amount": 1.7},),
    "pounce": ({"verb": "crouch"}, {"verb": "jump"}),
    "raise_tail": ({"verb": "wag", "limb": "tail"},),
}
