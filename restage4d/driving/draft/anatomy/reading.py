"""Reads the body plan: limbs by where they stick out and point, the head's end by what shape and
motion say, or by what a person said. Nothing is learned; what is not sure is left out."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.anatomy.head_end import (
    HEAD_RADIUS,
    Box,
    Odds,
    reaches_out,
    to_confidence,
    weigh_ends,
    weigh_upright,
)
from restage4d.driving.draft.anatomy.limbs import (
    cut_end,
    find_lobes,
    find_neck,
    find_torso,
    keep_largest,
    measure_limb,
    measure_radius,
)
from restage4d.driving.draft.body_plan import SURE, BodyPlan, Limb
from restage4d.errors import InputError

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_GROUND = 0.3  # of the height: how much higher feet may be that stand farther away
_MOST_LEG = 0.22  # of the mask
_OTHERS = 0.12  # of the box's longer side: what is shorter (a bell, a tuft) is no limb
_MOST_HEAD = 0.3  # of the mask
_NECK, _TAIL = 0.7, 0.4  # of the torso's thickness: wider is no neck, no tail
_EAR = 0.4  # of the torso's radius: thinner lobes are ears, no head
_END_ON = 0.75  # widths in heights: narrower, the ends are not to the left and right
_COMPACT = 2.2  # areas of the largest ball in a head; arms and tails have more
_TOY = 1.7  # the same of a head larger than `_MOST_HEAD`; a trunk with arms has more
_BESIDE = 0.03  # of the box's longer side: how far beside the mask a click may be
_WAIST = 0.75  # of the head and of the body: how narrow a neck is
_ASIDE = 0.12  # of the width: a head this far from the middle says where the body faces


def read_body_plan(
    mask: Mask, own_speed: float = 0.0, head: tuple[float, float] | None = None
) -> BodyPlan:
    """Reads a body plan.

    Args:
        mask: (H, W) the subject in the first frame.
        own_speed: how fast it moves to the right by itself around that frame, in widths per second
            (`restage4d.driving.draft.anatomy.own_motion.measure_own_speed`).
        head: (x, y) in pixels where a person sees its head; overrules everything else.

    Raises:
        InputError: ``head`` is not on the subject.

    Example:
        >>> plan = read_body_plan(mask, own_speed=0.2)
        >>> plan.facing, round(plan.confidence, 1), plan.doubt
        (1, 0.9, '')
    """
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1
    radius_at = measure_radius(mask)
    plan = BodyPlan(0, False, box, float(radius_at.max()))
    lobes = find_lobes(mask, find_torso(mask, radius_at))
    plan.legs, free = _split_legs(lobes, box, radius_at, float(mask.sum()))
    plan.upright = _is_upright(free, mask, box)
    trunk = mask.copy()
    for leg in plan.legs:
        trunk &= leg.weight <= 0.5
    trunk = keep_largest(trunk)
    if head is not None:
        _place_head(plan, mask, trunk, free, head, radius_at)
    elif not (plan.upright and _find_head_on_top(plan, mask, radius_at, trunk, free)):
        _find_ends(plan, mask, radius_at, trunk, free, own_speed)
    _sort_others(plan, free)
    return plan


def _split_legs(
    lobes: list[Limb], box: Box, radius_at: F32, area: float
) -> tuple[list[Limb], list[Limb]]:
    """Legs, from left to right, and the other lobes. A tail that hangs joins higher than legs, a
    lowered head is short or thick for a leg."""
    y0, y1 = box[1], box[3]
    height = y1 - y0
    down = [
        lobe
        for lobe in lobes
        if lobe.tip[1] - lobe.pivot[1] > 0.6 * lobe.length
        and lobe.tip[1] > y1 - _GROUND * height
        and lobe.area < _MOST_LEG * area
    ]
    joint = float(np.median([lobe.pivot[1] for lobe in down])) if down else 0.0
    longest = max((lobe.length for lobe in down), default=0.0)
    thick = {id(lobe): _measure_thickness(lobe, radius_at) for lobe in down}
    usual = float(np.median([*thick.values()])) if down else 0.0

    def is_leg(lobe: Limb) -> bool:
        if lobe.tip[1] > y1 - 0.08 * height:
            return True
        if thick[id(lobe)] > max(1.4 * usual, 0.45 * radius_at.max()):
            return False
        return lobe.pivot[1] > joint - 0.12 * height and lobe.length > 0.45 * longest

    legs = sorted((lobe for lobe in down if is_leg(lobe)), key=lambda leg: leg.pivot[0])
    return legs, [lobe for lobe in lobes if not any(lobe is leg for leg in legs)]


def _is_upright(free: list[Limb], mask: Mask, box: Box) -> bool:
    """Taller than long, arms stretched out sideways not counted."""
    x0, y0, x1, y1 = box
    body, arms = mask.copy(), False
    for lobe in free:
        aside = abs(lobe.tip[0] - lobe.pivot[0]) > abs(lobe.tip[1] - lobe.pivot[1])
        if aside and lobe.area < 0.15 * mask.sum() and lobe.tip[1] < (y0 + y1) / 2:
            body &= lobe.weight <= 0.5
            arms = True
    width = int(np.ptp(np.flatnonzero(body.any(0)))) + 1
    return (y1 - y0) > 1.25 * (x1 - x0) or (arms and (y1 - y0) > 1.6 * width)


def _find_head_on_top(
    plan: BodyPlan, mask: Mask, radius_at: F32, trunk: Mask, free: list[Limb]
) -> bool:
    """Finds the head of a body that stands upright; False where that is not sure."""

    y0, y1 = plan.box[1], plan.box[3]
    above = [
        lobe
        for lobe in free
        if lobe.pivot[1] - lobe.tip[1] > 0.5 * abs(lobe.tip[0] - lobe.pivot[0])
        and lobe.tip[1] < y0 + 0.25 * (y1 - y0)
        and _is_round(lobe.weight > 0.5, plan.radius, radius_at)
    ]
    found = max(above, key=lambda lobe: _measure_thickness(lobe, radius_at), default=None)
    has_neck = False
    if found is None:
        part = find_neck(trunk, _WAIST)
        most = _COMPACT if part is None or part.mean() < _MOST_HEAD * mask.mean() else _TOY
        if part is None or not _is_round(part, plan.radius, radius_at, most):
            return False
        found = measure_limb(mask, part, mask & ~part, stubby=0.4)
        # without legs to be seen, only a toy's large head is told from a dog's rump from above
        has_neck = any(leg.length > 0.2 * (y1 - y0) for leg in plan.legs) or (
            radius_at[part].max() > 0.9 * plan.radius
        )
    odds = weigh_upright(has_neck, plan.radius, plan.legs, plan.box)
    plan.confidence = to_confidence(odds)
    if found is None or plan.confidence < SURE:
        return False
    plan.head = replace(found, confidence=plan.confidence)
    return True


def _is_round(part: Mask, radius: float, radius_at: F32, most: float = _COMPACT) -> bool:
    """Whether a part is as thick as a head is, and has at most ``most`` times its largest ball's
    area; arms and tails are not."""
    ball = float(radius_at[part].max(initial=0))
    return ball >= HEAD_RADIUS * radius and part.sum() < most * np.pi * ball**2


def _measure_thickness(limb: Limb, radius_at: F32) -> float:
    """Radius of the largest ball in a limb, pixels."""
    return float(radius_at[limb.weight > 0.5].max(initial=0))


def _find_ends(
    plan: BodyPlan, mask: Mask, radius_at: F32, trunk: Mask, free: list[Limb], own_speed: float
) -> None:
    """Finds facing, head and tail of a long body where they are sure."""
    x0, y0, x1, y1 = plan.box
    odds = weigh_ends(trunk, plan.radius, plan.legs, bool(plan.legs or free), plan.box, own_speed)
    plan.confidence = odds.confidence
    if plan.confidence < SURE:
        plan.doubt = _explain(plan, odds, free, reaches_out(trunk))
        return
    plan.facing = 1 if odds.total > 0 else -1
    if x1 - x0 < _END_ON * (y1 - y0):
        plan.doubt = "It is seen nearly from the front or from behind: only its way is known."
        return
    plan.upright = False
    if plan.legs or free:
        plan.head = _find_head(plan, mask, radius_at, trunk, free)
        plan.tail = _find_tail(plan, mask, radius_at, trunk, free)
        if plan.head is None:
            plan.doubt = "It is clear which way it faces, but not where its head begins."


def _explain(plan: BodyPlan, odds: Odds, free: list[Limb], cut_off: bool) -> str:
    if not (plan.legs or free):
        return "No head, leg or tail stands out from its outline."
    if odds.shape * odds.motion < 0 and min(abs(odds.shape), abs(odds.motion)) > 0.5:
        side = "right" if odds.shape > 0 else "left"
        return f"Its outline looks as if the head were on the {side}, but it moves the other way."
    if plan.box[3] - plan.box[1] > plan.box[2] - plan.box[0]:
        return "It is seen from the front, from behind or from above, and neither end stands out."
    if cut_off:
        return "An end of it is outside the picture, and it hardly moves."
    return "Both ends look alike, and it hardly moves."


def _find_head(
    plan: BodyPlan, mask: Mask, radius_at: F32, trunk: Mask, free: list[Limb]
) -> Limb | None:
    """The head with its neck at the end where the body faces."""
    x0, y0, x1, y1 = plan.box
    side, width = plan.facing, x1 - x0
    stretched = [lobe for lobe in free if _is_like_leg(plan, lobe, radius_at)]
    for leg in stretched:
        trunk = keep_largest(trunk & (leg.weight <= 0.5))
    lobes = [
        lobe
        for lobe in free
        if not any(lobe is leg for leg in stretched)
        and side * (lobe.tip[0] - (x0 + x1) / 2) > 0.25 * width
        and (
            _measure_thickness(lobe, radius_at) > _EAR * plan.radius
            or lobe.length > 0.4 * max(width, y1 - y0)
        )
    ]
    lobe = max(lobes, key=lambda lobe: lobe.area, default=None)
    start = lobe.tip if lobe else _find_extreme(trunk, side)
    cut = _cut_limb(plan, mask, radius_at, trunk, start, _NECK)
    best = max((x for x in (lobe, cut) if x), key=lambda x: x.area, default=None)
    if best is None:
        return None
    highest = float(np.flatnonzero((best.weight > 0.5).any(1))[0])
    if not plan.legs and highest > y0 + 0.15 * (y1 - y0):  # a swan's head is high; a bumper is not
        return None
    return replace(best, confidence=plan.confidence)


def _is_like_leg(plan: BodyPlan, lobe: Limb, radius_at: F32) -> bool:
    """Whether a lobe may be a leg in the air: thin, long, and no higher than the body's middle."""
    y0, y1 = plan.box[1], plan.box[3]
    return (
        _measure_thickness(lobe, radius_at) < _EAR * plan.radius
        and lobe.length > 0.15 * (y1 - y0)
        and min(lobe.tip[1], lobe.pivot[1]) > (y0 + y1) / 2 - 0.1 * (y1 - y0)
    )


def _find_tail(
    plan: BodyPlan, mask: Mask, radius_at: F32, trunk: Mask, free: list[Limb]
) -> Limb | None:
    """The tail at the other end: a lobe there, else where the body ends thin."""
    x0, _, x1, _ = plan.box
    side, width = -plan.facing, x1 - x0
    edge = x1 if side > 0 else x0
    lobes = [
        lobe for lobe in free if abs(lobe.tip[0] - edge) < 0.2 * width and lobe.length > 0.1 * width
    ]
    tail = max(lobes, key=lambda lobe: lobe.area, default=None)
    sure = plan.confidence
    if tail is None:
        tail = _cut_limb(plan, mask, radius_at, trunk, _find_extreme(trunk, side), _TAIL)
        sure *= 0.8
        if tail and tail.length < 0.1 * width:
            return None
    return replace(tail, confidence=sure) if tail and sure >= SURE else None


def _cut_limb(
    plan: BodyPlan,
    mask: Mask,
    radius_at: F32,
    trunk: Mask,
    start: tuple[float, float],
    narrow: float,
) -> Limb | None:
    """The end around ``start``, up to where it is narrow against the torso."""
    joints = [
        float(np.hypot(leg.pivot[0] - start[0], leg.pivot[1] - start[1])) for leg in plan.legs
    ]
    most = _MOST_HEAD * float(mask.sum())
    part = cut_end(trunk, radius_at, start, narrow, most, min(joints, default=np.inf))
    return None if part is None else measure_limb(mask, part, mask & ~part, stubby=0.4)


def _find_extreme(trunk: Mask, side: int) -> tuple[float, float]:
    """The outermost point on a side."""
    cols = np.flatnonzero(trunk.any(0))
    x = int(cols[-1] if side > 0 else cols[0])
    return x + 0.5, float(np.flatnonzero(trunk[:, x]).mean()) + 0.5


def _place_head(
    plan: BodyPlan,
    mask: Mask,
    trunk: Mask,
    free: list[Limb],
    head: tuple[float, float],
    radius_at: F32,
) -> None:
    """Puts the head where a person saw it."""
    x0, y0, x1, y1 = plan.box
    rows, cols = np.nonzero(mask)
    away = np.hypot(cols + 0.5 - head[0], rows + 0.5 - head[1])
    if away.min() > max(2.0, _BESIDE * max(x1 - x0, y1 - y0)):
        raise InputError(
            "The point given as the subject's head is not on the subject.",
            "Point at its head in the first frame, within the mask; correct the mask if it lacks "
            "the head.",
        )
    x, y = int(cols[away.argmin()]), int(rows[away.argmin()])
    plan.confidence, plan.doubt = 1.0, ""
    plan.legs = [leg for leg in plan.legs if leg.weight[y, x] <= 0.5]
    lobe = next((lobe for lobe in free if lobe.weight[y, x] > 0.5), None)
    cut = _cut_limb(plan, mask, radius_at, trunk, _find_tip(trunk, (x, y), plan.radius), _NECK)
    part = find_neck(trunk, _WAIST) if plan.upright else None
    above = None if part is None else measure_limb(mask, part, mask & ~part, stubby=0.4)
    found = [limb for limb in (lobe, cut, above) if limb and limb.weight[y, x] > 0.9]
    best = max(found, key=lambda limb: limb.area, default=None)
    if best is None:  # the head lies before the body: around the click
        rows, cols = np.indices(mask.shape)
        reach = float(np.clip(1.3 * radius_at[y, x], 0.8 * plan.radius, 1.2 * plan.radius))
        part = keep_largest(mask & (np.hypot(cols - x, rows - y) <= reach))
        best = measure_limb(mask, part, mask & ~part, stubby=0.0)
    plan.head = best
    off = (head[0] - (x0 + x1) / 2) / (x1 - x0)
    on_top = plan.upright and y < y0 + 0.35 * (y1 - y0)
    if on_top or abs(off) < _ASIDE:
        return
    plan.facing, plan.upright = (1 if off > 0 else -1), False
    plan.tail = _find_tail(
        plan, mask, radius_at, trunk, [limb for limb in free if limb is not best]
    )


def _find_tip(trunk: Mask, head: tuple[int, int], radius: float) -> tuple[float, float]:
    """Where a head ends: what is farthest from the trunk's middle near a point of the head."""
    rows, cols = np.nonzero(trunk)
    near = np.hypot(cols - head[0], rows - head[1]) <= max(1.2 * radius, 2.0)
    if not near.any():
        return head[0] + 0.5, head[1] + 0.5
    far = np.where(near, np.hypot(cols - cols.mean(), rows - rows.mean()), -1.0).argmax()
    return float(cols[far]) + 0.5, float(rows[far]) + 0.5


def _sort_others(plan: BodyPlan, free: list[Limb]) -> None:
    """Lobes that are neither head nor tail nor too short are other limbs."""
    x0, y0, x1, y1 = plan.box
    taken = [limb.weight > 0.5 for limb in (plan.head, plan.tail) if limb]
    least = _OTHERS * max(x1 - x0, y1 - y0)
    plan.others = [
        lobe
        for lobe in free
        if lobe.length >= least
        and not any(t[round(lobe.tip[1] - 0.5), round(lobe.tip[0] - 0.5)] for t in taken)
    ]
