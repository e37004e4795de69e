"""Which limb is what: legs by where they point, head and tail by thickness, height and ears."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from restage4d.se3 import Array
from restage4d.skeleton.body_parts import Kind
from restage4d.skeleton.branches import Branch
from restage4d.skeleton.shape import Shape

_ON_HEAD = 2.0  # cells: what is nearer to the head, and no leg, is a part of it
_LOW = 0.3  # of the height: feet are below it
_ARM = 0.55  # of the height: arms begin above it
_LEVEL = 0.1  # of the height: arms begin as high as each other
_UPRIGHT = 1.25  # heights in lengths
_SLENDER, _STOUT = 5.5, 4.0  # lengths of a limb in radii: surely a limb; the least of a leg
_AHEAD = 3.0  # how much it counts where the body goes, per length
_SURE = 0.18  # lead of the head's score over the tail's
_THIN = 0.04  # of the extent: an end as thin as that is no head


@dataclass(frozen=True)
class Part:
    """A limb and its name; ``kind`` is "leg", "arm", "head", "tail" or "limb"."""

    name: str
    kind: str
    branch: Branch


@dataclass(frozen=True)
class Body:
    """What is known of the body as a whole.

    Attributes:
        parts: limbs with their names.
        forward: (3,) horizontal unit vector; where nothing is known, along the body.
        upright: stands on two legs or none, higher than long.
        is_named: whether head and facing are known.
    """

    parts: list[Part]
    forward: Array
    upright: bool
    is_named: bool


def name_limbs(
    shape: Shape,
    limbs: list[Branch],
    camera: Array,
    way: Array,
    head: Array | None,
    kinds: Mapping[int, Kind],
) -> Body:
    """Names for all limbs.

    Args:
        way: (3,) how far the body goes in the world, in all performances together.
        camera: (3,) where the first frame was filmed from: who stands upright faces it.
        head: (3,) a place that a person says is on the head, canonical; overrules the rest.
        kinds: what is known of limbs beforehand, by ``id``.
    """
    places = shape.places
    low, high = np.quantile(places, 0.01, axis=0), np.quantile(places, 0.99, axis=0)
    height, extent = high[2] - low[2], float((high - low).max())
    legs, free, short = _sort_out(shape, limbs, kinds)
    seen = [x for x in legs if kinds.get(id(x)) == "leg"]
    upright = is_upright(shape, limbs, kinds)
    if len(seen) >= 4:  # what else hangs down is a fold or a shred, no fifth leg
        legs = seen
    elif upright and len(seen) == 2:  # a third one may be a coat or a sheath
        free += [x for x in legs if not any(x is y for y in seen)]
        legs = seen
    given = next((x for x in free if kinds.get(id(x)) == "head"), None)
    aside = np.ones(len(places), bool)
    for limb in limbs:
        aside &= ~limb.cells
    trunk = places[aside] if aside.sum() > 20 else places
    middle = trunk.mean(0)
    if head is not None:
        found, sure = _pick_near(free or limbs, places, head), True
        legs = [x for x in legs if x is not found]
        free = [x for x in free if x is not found]
    elif given is not None:
        found, sure = given, True
        free = [x for x in free if x is not given]
    elif upright:
        found, sure = _find_top(free, middle, height, low), True
        free = [x for x in free if x is not found]
    else:
        found, sure = _find_head(free, middle, way, extent, height, low)
        free = [x for x in free if x is not found]
    parts: list[Part] = []
    if found is not None and sure:
        parts.append(Part("head", "head", found))
    elif found is not None:
        free.insert(0, found)
    if upright:
        forward = _flatten(camera - middle)
    elif found is not None and sure:
        forward = _flatten(found.line[-6] - middle)
    else:
        forward = _find_axis(trunk)
    if sure and not upright and found is not None:
        free = _join_to_head(shape, found, free)
        behind = [x for x in free if (x.line[0] - middle) @ forward < 0]
        tail = max(behind, key=lambda x: -((x.line[0] - middle) @ forward), default=None)
        tail = next((x for x in free if kinds.get(id(x)) == "tail"), tail)
        if tail is not None:
            parts.append(Part("tail", "tail", tail))
            free = [x for x in free if x is not tail]
    left = np.array([-forward[1], forward[0], 0.0])
    known = sure and (found is not None or upright)
    parts += _name_legs(legs, middle, forward, left, upright, known)
    free += [x for x in short if upright and _is_elbow(x, low[2], height, middle)]
    arms = [x for x in free if upright and x.line[0, 2] > float(np.median(trunk[:, 2]))]
    if len(arms) == 1:
        arms += [x for x in free if _is_other_arm(x, arms[0], middle, left, height)][:1]
    free = [x for x in free if not any(x is y for y in arms)]
    parts += _name_sides(arms, middle, left, "arm", "arm")
    parts += [Part(f"limb_{i + 1}", "limb", x) for i, x in enumerate(free)]
    return Body(parts, forward, upright, known)


def is_upright(shape: Shape, limbs: list[Branch], kinds: Mapping[int, Kind]) -> bool:
    """Whether the body stands on two legs or none, higher than long; the legs that the plan saw
    count, where it saw any."""
    legs, free, _ = _sort_out(shape, limbs, kinds)
    legs = [x for x in legs if kinds.get(id(x)) == "leg"] or legs
    low, high = np.quantile(shape.places[:, 2], [0.01, 0.99])
    return len(legs) <= 2 and high - low > _UPRIGHT * _measure_length(shape, free)


def _sort_out(
    shape: Shape, limbs: list[Branch], kinds: Mapping[int, Kind]
) -> tuple[list[Branch], list[Branch], list[Branch]]:
    """Legs, other limbs, and short ones that are no legs. A leg points down to the ground."""
    low, high = np.quantile(shape.places[:, 2], [0.01, 0.99])
    legs, free, short = [], [], []
    for limb in limbs:
        drop = limb.line[0, 2] - limb.line[-1, 2]
        reach = float(np.linalg.norm(limb.line[-1] - limb.line[0]))
        slender = measure_slenderness(limb) > _STOUT
        is_leg = limb.line[-1, 2] < low + _LOW * (high - low) and drop > 0.6 * reach and slender
        kind = kinds.get(id(limb), "limb")
        if kind == "leg" or (kind == "limb" and is_leg):
            legs.append(limb)
        else:
            (short if limb.is_short else free).append(limb)
    return legs, free, short


def _is_elbow(limb: Branch, ground: float, height: float, middle: Array) -> bool:
    """Whether a short limb sticks out to the side where arms are."""
    x, y, z = limb.line[-1] - limb.line[0]
    high = (limb.line[-1, 2] - ground) / height
    out = np.array([x, y, 0.0]) @ _flatten(limb.line[-1] - middle)
    return bool(_ARM < high < 0.95 and out > abs(z) and limb.cells.sum() > 20)


def _is_other_arm(limb: Branch, arm: Branch, middle: Array, left: Array, height: float) -> bool:
    """Whether a limb begins as high as an arm, on the other side: one that holds a shield."""
    level = abs(float(limb.line[0, 2] - arm.line[0, 2])) < _LEVEL * height
    sides = [float((x.line.mean(0) - middle) @ left) for x in (limb, arm)]
    return limb is not arm and level and sides[0] * sides[1] < 0


def measure_slenderness(limb: Branch) -> float:
    """Length in radii."""
    return limb.length / max(float(np.median(limb.radius)), 1e-9)


def is_body(body: Body) -> bool:
    """Whether this is a body with limbs, and no car or fruit: two legs, one slender one, or a head
    with an arm."""
    long = [part for part in body.parts if not part.branch.is_short]
    legs = [measure_slenderness(part.branch) for part in long if part.kind == "leg"]
    kinds = {part.kind for part in long}
    return len(legs) > 1 or max(legs, default=0.0) > _SLENDER or {"head", "arm"} <= kinds


def _measure_length(shape: Shape, free: list[Branch]) -> float:
    """How long the body is from above, arms held out not counted."""
    kept = np.ones(len(shape), bool)
    for limb in free:
        if measure_slenderness(limb) > _SLENDER:
            kept &= ~limb.cells
    flat = shape.places[kept, :2] if kept.sum() > 20 else shape.places[:, :2]
    flat = flat @ np.linalg.eigh(np.cov(flat.T))[1]
    return float(np.ptp(np.quantile(flat, [0.01, 0.99], axis=0), axis=0).max())


def _find_top(free: list[Branch], middle: Array, height: float, low: Array) -> Branch | None:
    above = [x for x in free if x.line[-1, 2] > low[2] + 0.7 * height]

    def score(x: Branch) -> float:
        off = float(np.linalg.norm((x.line[-1] - middle)[:2]))
        return float(x.line[-1, 2] - low[2]) - off + 2 * float(np.median(x.radius))

    return max(above, key=score, default=None)


def _find_head(
    free: list[Branch], middle: Array, way: Array, extent: float, height: float, low: Array
) -> tuple[Branch | None, bool]:
    """The end that is most like a head, and whether that is sure."""

    def score(x: Branch) -> float:
        thick = float(np.quantile(x.radius, 0.8)) / extent
        high = float(x.line[-5:, 2].max() - low[2]) / height
        blunt = float(np.median(x.radius[12:18]) / max(np.median(x.radius[2:8]), 1e-3 * extent))
        volume = float(np.sqrt(x.cells.sum()))
        ears = min(len(x.small), 2)
        ahead = float(_flatten(x.line[0] - middle) @ way) / extent
        return (
            10 * thick
            + 0.8 * high
            + 0.4 * min(blunt, 1.5)
            + 0.25 * ears
            + 0.02 * volume
            + _AHEAD * min(max(ahead, -0.2), 0.2)
        )

    order = sorted(free, key=score, reverse=True)
    if not order:
        return None, False
    best = order[0]
    if float(np.quantile(best.radius, 0.8)) < _THIN * extent:
        return best, False
    return best, len(order) == 1 or score(best) - score(order[1]) > _SURE


def _pick_near(limbs: list[Branch], places: Array, at: Array) -> Branch | None:
    def away(x: Branch) -> float:
        return float(np.linalg.norm(places[x.cells] - at, axis=1).min())

    return min(limbs, key=away, default=None)


def _name_legs(
    legs: list[Branch], middle: Array, forward: Array, left: Array, upright: bool, known: bool
) -> list[Part]:
    if not known:
        return [Part(f"leg_{i + 1}", "leg", x) for i, x in enumerate(legs)]
    if upright:
        return _name_sides(legs, middle, left, "leg", "leg")
    order = sorted(legs, key=lambda x: -float((x.line[0] - middle) @ forward))
    count = sum((x.line[0] - middle) @ forward > 0 for x in order)
    count = 2 if len(order) == 4 else count
    ahead, behind = order[:count], order[count:]
    return [
        *_name_sides(ahead, middle, left, "leg_front", "leg"),
        *_name_sides(behind, middle, left, "leg_hind", "leg"),
    ]


def _name_sides(
    limbs: list[Branch], middle: Array, left: Array, name: str, kind: str
) -> list[Part]:
    """ ".L" and ".R" by side; further ones are numbered."""
    ordered = sorted(limbs, key=lambda x: -float((x.line.mean(0) - middle) @ left))
    if len(ordered) == 2:
        return [Part(f"{name}.{s}", kind, x) for s, x in zip("LR", ordered, strict=True)]
    parts, count = [], {"L": 0, "R": 0}
    for x in ordered:
        side = "L" if (x.line.mean(0) - middle) @ left > 0 else "R"
        count[side] += 1
        number = f"_{count[side]}" if count[side] > 1 else ""
        parts.append(Part(f"{name}{number}.{side}", kind, x))
    return parts


def _join_to_head(shape: Shape, head: Branch, free: list[Branch]) -> list[Branch]:
    """Limbs less those that sit on the head, whose cells become the head's: its far side."""
    mine = shape.places[head.cells]
    kept = []
    for limb in free:
        theirs = shape.places[limb.cells]
        away = min(float(np.linalg.norm(mine - place, axis=1).min()) for place in theirs)
        if away < _ON_HEAD * shape.size:
            head.cells |= limb.cells
        else:
            kept.append(limb)
    return kept


def _flatten(v: Array) -> Array:
    flat = np.array([v[0], v[1], 0.0])
    return flat / max(float(np.linalg.norm(flat)), 1e-9)


def _find_axis(places: Array) -> Array:
    """The horizontal direction in which they reach farthest, to +x or else to +y."""
    axis = np.linalg.eigh(np.cov(places[:, :2].T))[1][:, -1]
    axis = axis if axis @ np.array([1.0, 1e-3]) > 0 else -axis
    return np.array([axis[0], axis[1], 0.0])
