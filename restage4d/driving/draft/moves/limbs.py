"""Which of the subject's limbs a direction means."""

import numpy as np

from restage4d.driving.draft.body_plan import BodyPlan, Limb, split_legs
from restage4d.driving.draft.prompt import Action, Directions, describe_action

_WRONG_SIDE = 0.08  # of the width beyond the middle: a limb there is the other side's
_SLANTED = 0.35  # of its length: a limb so far aside moves on to that side

# What becomes of an action of the head or tail where there is none.
_WITHOUT_HEAD = {
    "look": "moves nothing",
    "nod": "bends the whole body instead",
    "shake": "turns the whole body instead",
    "graze": "lowers the whole head end instead",
}
_WITHOUT_TAIL = {"wag": "sways the whole body instead", "raise_tail": "moves nothing"}
_WITH_LIMBS = frozenset({"lift", "wave", "kick"})


def find_limb(body: BodyPlan, action: Action) -> int | None:
    """The limb of a lift, wave or kick, as an index into `BodyPlan.limbs`; None where the body plan
    has none such.

    Seen from the side, the own left and right are the near and the far leg of the end; who stands
    upright is taken to face the camera. Of what is not said, an upright body takes an arm, or a leg
    to kick; an animal a front leg, or a hind leg to kick.
    """
    candidates = _list_candidates(body, action)
    if not candidates:
        return None
    limbs, own = body.limbs, action.view == "own"
    side = {"left": -1, "right": 1}.get(action.direction, 0)
    if side and own and not body.upright and body.facing:
        nearer = (side > 0) == (body.facing > 0)
        pick = max if nearer else min
        ends = split_legs(body)
        first = next((e for e in _order_ends(ends, action) if set(e) & set(candidates)), ())
        same_end = [k for k in candidates if k in first] or candidates
        return pick(same_end, key=lambda k: limbs[k].tip[1])
    if side:
        x0, _, x1, _ = body.box
        turned = -1 if own else 1
        best = max(candidates, key=lambda k: turned * side * limbs[k].pivot[0])
        beyond = turned * side * (limbs[best].pivot[0] - (x0 + x1) / 2)
        return best if beyond > -_WRONG_SIDE * (x1 - x0) else None
    toward = body.facing or 1
    if action.verb == "kick" and not body.upright:
        toward = -toward
    if action.which == "hind" and not body.upright:
        toward = -(body.facing or 1)
    return max(candidates, key=lambda k: toward * limbs[k].pivot[0])


def _list_candidates(body: BodyPlan, action: Action) -> list[int]:
    legs = list(range(len(body.legs)))
    others = list(range(len(legs), len(body.limbs)))
    which = action.which
    if body.upright:
        if which in {"arm", "front"}:
            return others
        if which in {"leg", "hind"} or action.verb == "kick":
            return legs
        return others or legs
    if which in {"front", "arm", "hind"}:
        front, hind = split_legs(body)
        return hind if which == "hind" else front
    return legs or others  # an animal waves a paw, not an ear


def _order_ends(ends: tuple[list[int], list[int]], action: Action) -> tuple[list[int], ...]:
    """The head end's legs and the hind legs, the likelier ones first."""
    return ends[::-1] if action.verb == "kick" or action.which == "hind" else ends


def find_outward(body: BodyPlan, limb: Limb) -> int:
    """The side to which a limb moves on as it rises, +1 to the right: where it slants to; else
    forward, or away from an upright body."""
    across = limb.tip[0] - limb.pivot[0]
    if abs(across) > _SLANTED * limb.length:
        return 1 if across > 0 else -1
    if body.upright:
        return 1 if limb.pivot[0] >= (body.box[0] + body.box[2]) / 2 else -1
    return 1 if body.facing >= 0 else -1


def measure_elevation(limb: Limb) -> float:
    """How far a limb points up, radians from level, at rest."""
    across, down = abs(limb.tip[0] - limb.pivot[0]), limb.tip[1] - limb.pivot[1]
    return float(-np.arctan2(down, across))


def find_missing_limbs(directions: Directions, body: BodyPlan) -> list[str]:
    """What the directions ask of limbs that the body plan has not found, each as a sentence.

    Example::

        find_missing_limbs(parse("wags its tail"), body)
        # ['No tail was found: "wags its tail" sways the whole body instead.']
    """
    notes = []
    for action in directions.actions:
        limb, instead = "", ""
        if action.verb in _WITHOUT_HEAD and body.head is None and action.limb != "body":
            limb, instead = "head", _WITHOUT_HEAD[action.verb]
        elif action.verb in _WITHOUT_TAIL and body.tail is None:
            limb, instead = "tail", _WITHOUT_TAIL[action.verb]
        elif action.verb in _WITH_LIMBS and find_limb(body, action) is None:
            limb, instead = "such limb", "sways the whole body instead"
        elif action.verb == "limp" and not body.legs:
            limb, instead = "leg", "sways the whole body instead"
        if limb:
            notes.append(f'No {limb} was found: "{describe_action(action)}" {instead}.')
    return list(dict.fromkeys(notes))
