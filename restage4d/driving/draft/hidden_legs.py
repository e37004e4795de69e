"""Legs that the first frame hides: an animal seen from the side has two at each end, and where its
outline shows one, the other stands behind it, up to the foot or whole."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import BodyPlan, Limb, split_legs

Mask = NDArray[np.bool_]

# heights that a body is long at least, of which a side is seen: where it is known which way it
# faces, and where it is not
_LONG, _LONG_UNKNOWN = 0.9, 1.1
_ONE_END = 0.15  # of the width: nearer than this to another leg, a leg is of the same end
_FARTHER = 1.0  # pixels by which a hidden foot counts as higher: it stands farther away
_FOOT = 0.05  # of a leg's area, that a foot has at least
_GROUND = 0.15  # of the body's height: how much higher than the near one a far foot may be
_BESIDE = 0.6  # of the rows of the smaller of two feet, that both share
_STANDS = 0.08  # of the body's height, within which of its lowest point a leg stands
_GAP = 0.25  # of a leg's rows, in which a gap between two legs is to be seen at least
_NEARER = 2.0  # times as far from a leg's foot as from the other's, a place is of the other alone
_JOINT = 0.15  # weight up to which a place is of the body as well
_FORKS = np.linspace(0.0, 0.95, 20)  # shares of a leg's length at which two feet may part


def add_hidden_legs(body: BodyPlan) -> BodyPlan:
    """The plan with the far leg of every end that shows one only.

    The far leg is a copy of the near one, `Limb.hidden`, and comes right after it. Where the lobe
    ends in two feet, each has its own.

    Nothing is added where the body is upright, is seen from the front or from behind, or has its
    legs close together (a bird).

    Example:
        >>> [leg.hidden for leg in add_hidden_legs(plan_of_three_legs).legs]
        [False, True, False, False]
    """
    x0, y0, x1, y1 = body.box
    if body.upright or x1 - x0 < (_LONG if body.facing else _LONG_UNKNOWN) * (y1 - y0):
        return body
    alone = [ends[0] for ends in split_legs(body) if len(ends) == 1]
    legs: list[Limb] = []
    for k, leg in enumerate(body.legs):
        others = [other.pivot[0] for other in body.legs if other is not leg]
        apart = min(abs(leg.pivot[0] - x) for x in others or [(x0 + x1) / 2])
        if k in alone and apart > _ONE_END * (x1 - x0):
            legs += _split_leg(leg, _find_feet(leg, body.box))
        else:
            legs.append(leg)
    return replace(body, legs=legs)


def _find_feet(leg: Limb, box: tuple[int, int, int, int]) -> list[Mask]:
    """The two feet of a leg that is two, the lower one first; none where only one is seen."""
    part, height = leg.weight > 0.5, box[3] - box[1]
    lowest = _find_lowest(part)
    for share in _FORKS:
        count, labels = cv2.connectedComponents((part & (leg.along > share)).astype(np.uint8))
        feet = [labels == k for k in range(1, count)]
        feet = [foot for foot in feet if foot.sum() > _FOOT * part.sum()]
        feet = [foot for foot in feet if _find_lowest(foot) > lowest - _GROUND * height]
        feet = sorted(feet, key=lambda foot: -int(foot.sum()))[:2]
        if len(feet) == 2 and _stand_side_by_side(*feet):
            break
    else:
        # a leg in the air that is folded joins below, too
        feet = _find_strands(part) if lowest > box[3] - _STANDS * height else []
    return sorted(feet, key=lambda foot: -_find_lowest(foot))


def _find_strands(part: Mask) -> list[Mask]:
    """Two legs whose feet touch, by the gap between them; none where there is none."""
    rows = np.flatnonzero(part.any(1))
    starts = np.diff(part[rows].astype(np.int8), axis=1, prepend=0) == 1
    split = np.concatenate([[False], starts.sum(1) == 2, [False]])
    edges = np.flatnonzero(np.diff(split.astype(np.int8))).reshape(-1, 2)
    first, last = max(edges, key=lambda e: e[1] - e[0], default=(0, 0))
    if last - first < _GAP * len(rows):
        return []
    right = np.zeros_like(part)
    right[rows[first:last]] = starts[first:last].cumsum(1) > 1
    between = np.zeros_like(part)
    between[rows[first:last]] = True
    strands = [part & between & ~right, part & between & right]
    away = [_measure_distance(strand) for strand in strands]
    below = part.copy()
    below[: rows[first]] = False
    return [below & (away[0] <= away[1]), below & (away[0] > away[1])]


def _stand_side_by_side(a: Mask, b: Mask) -> bool:
    """Whether two parts share most of the smaller one's rows; what is one above the other is of one
    leg."""
    rows = a.any(1), b.any(1)
    return bool((rows[0] & rows[1]).sum() > _BESIDE * min(r.sum() for r in rows))


def _find_lowest(part: Mask) -> int:
    return int(np.flatnonzero(part.any(1))[-1])


def _split_leg(leg: Limb, feet: list[Mask]) -> list[Limb]:
    """The near and the far leg; what is above their feet is of both."""
    if not feet:
        tip = leg.tip[0], leg.tip[1] - _FARTHER
        return [leg, replace(leg, tip=tip, hidden=True)]
    pair, away = [], [_measure_distance(foot) for foot in feet]
    for k, own in enumerate(feet):
        row = _find_lowest(own)
        tip = float(np.flatnonzero(own[row]).mean()) + 0.5, row + 0.5
        others = (away[k] > _NEARER * away[1 - k]) & (leg.weight > _JOINT)
        weight = np.where(others, 0, leg.weight).astype(np.float32)
        pair.append(replace(leg, tip=tip, weight=weight, hidden=k == 1))
    return pair


def _measure_distance(part: Mask) -> NDArray[np.float32]:
    """Of every pixel to a part."""
    inverse = (~part).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(inverse, cv2.DIST_L2, 5), np.float32)
