"""What sticks out of a body: the branches of its distance from the middle, by persistence.

A branch is born at a tip, a place farther from the body's middle than all around it. Nearer to the
middle branches meet; one that is longer than ``least`` when it meets another is a limb, and so is
the other one up to there (the merge tree of superlevel sets; Edelsbrunner et al. 2002).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from restage4d.se3 import Array
from restage4d.skeleton.shape import Shape, compute_distances, label_islands

_LEAST, _SMALL = (0.14, 0.09), 0.06  # of the subject's longest side: limbs; ears and toes
_SHORT = 0.05  # of it: short limbs
_FEWEST = 12  # cells of a limb
_SAME = 0.1  # of a limb's cells in another one: it is that one
_HUGE = 0.3  # of the body: with that much of it, a long limb is looked for again among short ones
_CELLS = 3.5  # a limb is at least as long
_SEEDS = 5  # ends from which the middle is judged
_SECTIONS = 20  # along a limb
_STRAND_STARTS, _STRAND_END = (0.0, 0.15, 0.3, 0.45), 0.75  # of a limb: where strands are apart
_BULGE = 1.55  # times a limb's usual radius: there it is the body already


@dataclass
class Branch:
    """A part that sticks out.

    Attributes:
        cells: (C,) which cells are the branch's.
        tip: its farthest cell.
        along: (C,) way from the joint; only of its cells.
        length: of the way from joint to tip.
        line: (S, 3) middle of its sections from joint to tip, the tip itself last.
        radius: (S,) how thick the sections are.
        small: short ones that sit on it (ears, toes).
        is_short: shorter than limbs usually are: only a leg in the air or an elbow is worth it.
    """

    cells: NDArray[np.bool_]
    tip: int
    along: Array
    length: float
    line: Array
    radius: Array
    small: list["Branch"] = field(default_factory=list)
    is_short: bool = False


def find_middle(shape: Shape) -> Array:  # -> (C,)
    """Ways from the body's middle: of the thick places the one whose longest way to anywhere is
    shortest."""
    start = int(np.linalg.norm(shape.places - shape.places.mean(0), axis=1).argmin())
    ways = [compute_distances(shape, np.array([start]))]
    for _ in range(_SEEDS):
        ways.append(compute_distances(shape, np.array([int(np.min(ways, axis=0).argmax())])))
    thick = shape.radius >= 0.6 * shape.radius.max()
    most = np.where(thick, np.max(ways[1:], axis=0), np.inf)
    return compute_distances(shape, np.array([int(most.argmin())]))


def find_limbs(shape: Shape, known: Sequence[Branch] = ()) -> list[Branch]:
    """A body's limbs beside those that are known, the farthest-reaching first: long ones, and
    shorter ones beside them."""
    way, extent = find_middle(shape), float(np.ptp(shape.places, axis=0).max())
    found = list(known)
    for least in (*_LEAST, _SHORT):
        short = least == _SHORT
        long = least * extent if short else max(least * extent, _CELLS * shape.size)
        for limb in find_branches(shape, way, long, max(_SMALL * extent, 2 * shape.size)):
            held = any(_share(limb, x) > _SAME for x in found)
            huge = least == _LEAST[0] and limb.cells.mean() > _HUGE
            if not held and not huge and limb.cells.sum() >= _FEWEST:
                found.append(replace(limb, is_short=short))
    found = found[len(known) :]
    return sorted(found, key=lambda limb: (-way[limb.tip], limb.tip))


def _share(limb: Branch, other: Branch) -> float:
    """How much of a limb is another one; all of it where its tip is."""
    return 1.0 if other.cells[limb.tip] else (limb.cells & other.cells).sum() / limb.cells.sum()


def find_branches(shape: Shape, way: Array, least: float, small: float) -> list[Branch]:
    """Branches at least ``least`` long, the farthest-reaching first; on them those at least
    ``small`` long.

    Args:
        way: (C,) distance of each cell from the middle, see `find_middle`.
        least, small: world units.
    """
    order = np.argsort(-way, kind="stable")
    neighbours: list[list[int]] = [[] for _ in range(len(shape))]
    for a, b in shape.edges.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    part_of = np.full(len(shape), -1)
    into: dict[int, int] = {}  # tip of a part -> tip of the part that it went into
    cells: dict[int, list[int]] = {}
    joined: dict[int, bool] = {}  # whether a limb met it
    on: dict[int, list[tuple[int, list[int], float]]] = {}  # small ones
    limbs: list[tuple[int, list[int], float, list[tuple[int, list[int], float]]]] = []

    def find(tip: int) -> int:
        while into[tip] != tip:
            into[tip] = into[into[tip]]
            tip = into[tip]
        return tip

    for cell in order.tolist():
        near = sorted({find(int(part_of[n])) for n in neighbours[cell] if part_of[n] >= 0})
        if not near:
            into[cell], cells[cell], joined[cell], on[cell] = cell, [], False, []
            near = [cell]
        best, level = max(near, key=lambda tip: (way[tip], -tip)), float(way[cell])
        for tip in near:
            if tip == best:
                continue
            if way[tip] - level >= least:
                for limb in (tip, best):
                    if not joined[limb]:
                        limbs.append((limb, list(cells[limb]), level, on[limb]))
                joined[best] = True
            elif way[tip] - level >= small:
                on[best].append((tip, list(cells[tip]), level))
            into[tip] = best
            cells[best] += cells.pop(tip)
            on[best] = on[best] + ([] if way[tip] - level >= least else on[tip])
        cells[best].append(cell)
        part_of[cell] = best
    found = [_measure(shape, way, *x) for limb in limbs for x in _split(shape, way, *limb)]
    return sorted((b for b in found if b.length >= least), key=lambda b: (-way[b.tip], b.tip))


Limb = tuple[int, list[int], float, list[tuple[int, list[int], float]]]


def _split(
    shape: Shape,
    way: Array,
    tip: int,
    cells: list[int],
    level: float,
    small: list[tuple[int, list[int], float]],
) -> list[Limb]:
    """Two legs that touch at their feet are one branch with two strands: each gets its own."""
    mine = np.array(cells)
    share = (way[mine] - level) / max(float(way[tip]) - level, 1e-9)
    for first in _STRAND_STARTS:
        band = mine[(share >= first) & (share <= _STRAND_END)]
        inside = np.full(len(shape), -1)
        inside[band] = np.arange(len(band))
        label = label_islands(len(band), inside[shape.edges[(inside[shape.edges] >= 0).all(1)]])
        strands = [band[label == i] for i in np.unique(label)]
        strands = [
            x
            for x in strands
            if len(x) > 0.2 * len(band) and np.ptp(way[x]) > 0.3 * (way[tip] - level)
        ]
        if len(strands) < 2:
            continue
        within = np.zeros(len(shape), bool)
        within[mine[share >= first]] = True
        near = np.stack([compute_distances(shape, x, within) for x in strands]).argmin(0)
        parts = [np.flatnonzero(within & (near == i)) for i in range(len(strands))]
        lowest = [float(way[x].min()) for x in parts]
        return [
            (int(x[way[x].argmax()]), x.tolist(), low, [])
            for x, low in zip(parts, lowest, strict=True)
        ]
    return [(tip, cells, level, small)]


def _measure(
    shape: Shape,
    way: Array,
    tip: int,
    cells: list[int],
    level: float,
    small: list[tuple[int, list[int], float]],
) -> Branch:
    """A limb up to where it is the body already."""
    mine = np.zeros(len(shape), bool)
    mine[cells] = True
    _, radius = trace_line(shape, mine, way - level, float(way[tip]) - level)
    usual = max(float(np.median(radius[_SECTIONS // 2 :])), 0.8 * shape.size)
    inner = np.flatnonzero(radius[: _SECTIONS * 3 // 4] > _BULGE * usual + 1.1 * shape.size)
    step = (float(way[tip]) - level) / _SECTIONS
    cut = level + step * (int(inner[-1]) + 1) if len(inner) else level
    mine &= way >= cut
    along, length = np.where(mine, way - cut, 0.0), float(way[tip]) - cut
    line, radius = trace_line(shape, mine, along, length)
    line[-1] = 0.5 * (line[-1] + shape.places[tip])
    parts = [_measure(shape, way, *x, []) for x in small if x[2] >= cut]
    return Branch(mine, tip, along, length, line, radius, parts)


def trace_line(
    shape: Shape, cells: NDArray[np.bool_], along: Array, length: float
) -> tuple[Array, Array]:
    """(S, 3) middle and (S,) radius of a part's sections, `_SECTIONS` of them from 0 to
    ``length``."""
    section = np.clip(along / max(length, 1e-9) * _SECTIONS, 0, _SECTIONS - 1).astype(int)
    line, radius = np.full((_SECTIONS, 3), np.nan), np.full(_SECTIONS, np.nan)
    for i in range(_SECTIONS):
        mine = cells & (section == i)
        if mine.any():
            line[i] = shape.places[mine].mean(0)
            radius[i] = np.sqrt(((shape.places[mine] - line[i]) ** 2).sum(1).mean())
    there = np.flatnonzero(np.isfinite(radius))
    at = np.arange(_SECTIONS)
    columns = [np.interp(at, there, line[there, i]) for i in range(3)]
    return np.stack(columns, axis=1), np.interp(at, there, radius[there])
