"""Where a head begins, its skull, its muzzle and its ears."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restage4d.se3 import Array
from restage4d.skeleton.branches import Branch, find_branches
from restage4d.skeleton.shape import Shape, compute_distances, label_islands

_FIRST, _LAST = 0.08, 0.65  # of the height, from the top: where a neck may be
_WAIST = 0.75  # of the head's and the shoulders' widest: how narrow a neck is
_SHOULDERS = 1.6  # times what is above, where shoulders begin without a neck
_OFF_AXIS = 0.12  # of the height: how far beside the middle a head's top is
_SECTIONS = 20
_FRONT = 0.97  # of a head's cells that lie behind its muzzle
_OFF = 0.4  # of the way from neck to muzzle: nearer to the trunk is no skull
_EAR = 0.05  # of the subject's longest side


def find_head_on_top(shape: Shape, known: Sequence[Branch] = ()) -> Branch | None:
    """The head of who stands upright: what is above the height where the body is narrowest below
    it, or where shoulders begin. None where it does neither.

    Args:
        known: limbs that are not counted, such as a raised arm.
    """
    free = np.ones(len(shape), bool)
    for branch in known:
        free &= ~branch.cells
    if not free.any():
        return None
    down = ((shape.places[free, 2].max() - shape.places[:, 2]) / shape.size).astype(int)
    free &= down >= 0
    area = np.bincount(down[free]).astype(float)
    area = np.convolve(np.pad(area, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    neck = _find_neck(area)
    if neck is None:
        return None
    cells = free & (down < neck)
    if not cells.any():
        return None
    island = label_islands(len(shape), shape.edges[cells[shape.edges].all(1)])
    cells &= island == np.bincount(island[cells]).argmax()
    top = int(np.where(cells, shape.places[:, 2], -np.inf).argmax())
    low = float(shape.places[cells, 2].min())
    edge = cells & (shape.places[:, 2] < low + 2 * shape.size)
    start, end = shape.places[edge].mean(0), shape.places[top]
    line = start + np.linspace(0, 1, _SECTIONS)[:, None] * (end - start)
    flat = shape.places[cells, :2] - shape.places[cells, :2].mean(0)
    radius = np.full(_SECTIONS, float(np.sqrt((flat**2).sum(1).mean())))
    along = np.where(cells, shape.places[:, 2] - low, 0.0)
    return Branch(cells, top, along, float(end[2]) - low, line, radius)


def stands_on_top(shape: Shape, limb: Branch) -> bool:
    """Whether a limb of who stands upright goes up above the body's middle: a head, no arm."""
    low, high = np.quantile(shape.places[:, 2], [0.01, 0.99])
    way = limb.line[-1] - limb.line[0]
    off = float(np.linalg.norm((limb.line[-1] - np.median(shape.places, axis=0))[:2]))
    above = limb.line[-1, 2] > high - _FIRST * (high - low)
    return bool(above and off < _OFF_AXIS * (high - low) and way[2] > np.linalg.norm(way[:2]))


def _find_neck(area: Array) -> int | None:
    """From the cells of each layer, from the top down: how many layers are the head."""
    first, last = (round(share * len(area)) for share in (_FIRST, _LAST))
    best, neck = _WAIST, None
    for k in range(max(first, 2), last):
        share = area[k] / max(min(area[:k].max(), area[k:].max()), 1e-9)
        if share < best:
            best, neck = share, k
    if neck is None:
        jumps = [k for k in range(max(first, 2), last) if area[k + 1] > _SHOULDERS * area[:k].max()]
        neck = jumps[0] + 1 if jumps else None
    return neck


def find_muzzle(shape: Shape, cells: NDArray[np.bool_], forward: Array) -> Array:  # -> (3,)
    """Where a head is foremost."""
    places = shape.places[cells]
    ahead = places @ forward
    return places[ahead >= np.quantile(ahead, _FRONT)].mean(0)


def find_skull(
    shape: Shape, cells: NDArray[np.bool_], start: Array, end: Array
) -> tuple[Array, float]:
    """(3,) the middle and the radius of a head: its deepest place, away from the trunk.

    Args:
        start, end: (3,) where neck or head joins the trunk, and the muzzle.
    """
    places, depth = shape.places[cells], shape.radius[cells]
    away = np.linalg.norm(places - start, axis=1)
    far = away > _OFF * float(np.linalg.norm(end - start))
    far = far if far.any() else ~far
    deep = far & (depth >= 0.8 * depth[far].max())
    return places[deep].mean(0), float(depth[deep].max())


def find_ears(shape: Shape, head: Branch, skull: Array, end: Array) -> list[Branch]:
    """At most two thin parts that stick out above the skull, the longer one first."""
    start = np.flatnonzero(head.cells)
    start = start[np.linalg.norm(shape.places[start] - skull, axis=1).argmin()]
    way = compute_distances(shape, np.array([start]), head.cells)
    least = max(_EAR * float(np.ptp(shape.places, axis=0).max()), 2 * shape.size)
    found = find_branches(shape, np.where(np.isfinite(way), way, -1.0), least, least)
    ears = []
    for ear in found:
        tip = shape.places[ear.tip]
        others = min(float(np.linalg.norm(tip - x)) for x in (head.line[0], end))
        if tip[2] > skull[2] + 0.5 * least and others > float(np.linalg.norm(tip - skull)):
            ears.append(ear)
    return sorted(ears, key=lambda x: -x.length)[:2]
