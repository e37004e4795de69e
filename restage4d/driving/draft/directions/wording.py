"""Timed actions as a sentence, so that everybody sees what will be acted before it is made."""

from collections.abc import Sequence

from restage4d.driving.draft.directions.actions import Action
from restage4d.driving.draft.directions.kinds import DEFAULT_COUNTS

_VERBS = {
    "turn": "turns", "face": "turns to face", "walk": "walks", "run": "runs", "jump": "jumps",
    "crouch": "crouches", "sit": "sits down", "bow": "bows", "rise": "rises", "lean": "leans",
    "nod": "nods", "shake": "shakes its head", "spin": "spins", "stretch": "stretches",
    "wave": "waves", "lift": "lifts", "wag": "wags its tail", "stay": "stays as it is",
    "drive": "drives", "climb": "climbs", "kick": "kicks", "roll": "rolls over",
    "graze": "grazes", "dance": "dances", "limp": "limps", "stumble": "stumbles", "fall": "falls",
    "pounce": "pounces", "raise_tail": "raises its tail",
}  # fmt: skip
_WAYS = {
    "forward": "forward", "back": "backward", "toward": "toward the camera",
    "away": "away from the camera", "around": "around", "place": "on the spot",
}  # fmt: skip
_LOOKS = {
    "up": "raises its head", "down": "lowers its head", "toward": "looks at the camera",
    "away": "looks away from the camera", "back": "looks back", "forward": "looks straight ahead",
    "": "looks at the camera",
}  # fmt: skip
_FACES = {"toward": "the camera", "away": "away from the camera", "": "the camera"}
_GOES = frozenset({"walk", "run", "drive", "climb", "limp", "stumble", "pounce", "lean"})
_LIES = 1.5  # a crouch as deep as that is lying


def describe_actions(actions: Sequence[Action]) -> str:
    """Such as "turns 60° to its left, 0.9 s; walks 3 steps, 1.5 s; meanwhile nods 6 times,
    1.5 s"."""
    return "; ".join(
        f"{'meanwhile ' if a.together else ''}{describe_action(a)}, {a.seconds:.1f} s"
        for a in actions
    )


def describe_action(action: Action) -> str:
    """Such as "turns 60° to its left"."""
    parts = [
        _name(action),
        _count(action),
        f"{action.degrees:g}°" if action.verb in {"turn", "spin"} else "",
        _say_way(action),
        _say_manner(action),
    ]
    return " ".join(p for p in parts if p)


def _name(action: Action) -> str:
    if action.verb == "look":
        sideways = action.direction in {"left", "right"}
        return "looks" if sideways else _LOOKS.get(action.direction, "looks")
    if action.verb == "face" and action.direction in _FACES:
        return f"{_VERBS['face']} {_FACES[action.direction]}"
    if action.verb == "crouch" and action.amount >= _LIES:
        return "lies down"
    if action.verb == "shake" and action.limb == "body":
        return "shakes its body"
    if action.verb in {"lift", "wave", "kick"}:
        joint = " with" if action.verb == "kick" else ""
        return f"{_VERBS[action.verb]}{joint} {_name_limb(action)}"
    return _VERBS[action.verb]


def _name_limb(action: Action) -> str:
    noun = action.which if action.which in {"arm", "leg"} else f"{action.which} limb".strip()
    if not action.direction:
        return f"its {noun}" if action.which else "a limb"
    if action.view == "picture":
        return f"the {noun} on the picture's {action.direction}"
    return f"its {action.direction} {noun}"


def _count(action: Action) -> str:
    if action.steps:
        return f"{action.steps} step{'s' * (action.steps > 1)}"
    if action.verb in DEFAULT_COUNTS or (action.verb == "jump" and action.count > 1):
        return {1: "once", 2: "twice"}.get(action.count, f"{action.count} times")
    return ""


def _say_way(action: Action) -> str:
    if action.verb in {"look", "face"} and action.direction not in {"left", "right"}:
        return ""
    if action.verb in {"lift", "wave", "kick"}:
        return ""
    if action.verb in {"turn", "spin"} and action.direction not in {"left", "right"}:
        return "to its left"  # as a plain turn goes
    if action.direction in {"left", "right"}:
        whose = "its" if action.view == "own" else "the picture's"
        return f"{'' if action.verb == 'face' else 'to '}{whose} {action.direction}"
    if action.verb in _GOES and not action.direction:
        return "forward"
    return _WAYS.get(action.direction, "")


def _say_manner(action: Action) -> str:
    words = []
    if action.amount != 1 and not action.steps and action.verb not in {"turn", "crouch"}:
        words.append("a little" if action.amount < 1 else "far")
    if action.pace != 1:
        words.append("slowly" if action.pace < 1 else "quickly")
    return ", ".join(words)
