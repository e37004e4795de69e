"""The body plan of the first frame laid onto the puppet's Gaussians: one plan for what acts in the
picture and for the skeleton."""

import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.anatomy.limbs import find_lobes, find_torso, measure_radius
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.body_plan import BodyPlan, Limb
from restage4d.puppet import Puppet
from restage4d.skeleton.body_parts import BodyPart, Kind, Place, to_place

Mask = NDArray[np.bool_]
F32 = NDArray[np.float32]

_SOLID = 0.3  # opacity from which a Gaussian counts
_TORSOS = (0.5, 0.65)  # lobes are thinner than this share of the thickest place; finer ones first
_SHORTEST = 0.04  # of the mask's longer side, of a lobe that only bones need
_SAME = 0.3  # of a lobe's area, or a known part's: with so much in common it is that part
_LOW, _DOWN = 0.35, 0.6  # a leg's tip is that low in the mask, and the leg points down that much
_END = 0.3  # of a part's thickness: Gaussians so near are its end, or its joint
_FEWEST = 8  # Gaussians at an end
_MUZZLE = 0.04  # of a head's pixels: the foremost


def find_body_parts(puppet: Puppet, mask: Mask, plan: BodyPlan | None = None) -> list[BodyPart]:
    """Where the parts that stand out in the first frame are among the puppet's Gaussians.

    Args:
        puppet: its first performance's first frame is the one that ``mask`` is of.
        mask: (H, W) the subject in it.
        plan: of whoever drew the driving video; read from the mask where None.

    Example:
        >>> [part.kind for part in find_body_parts(puppet, mask)]
        ['head', 'tail', 'leg', 'leg', 'leg', 'leg']
    """
    if not mask.any():
        return []
    plan = plan or read_body_plan(mask)
    first = puppet.performances[0]
    solid = puppet.subject.opacities > _SOLID
    means, posed = puppet.subject.means[solid], puppet.pose(first, 0).means[solid]
    seen = posed @ first.w2c[0, :3, :3].T + first.w2c[0, :3, 3]
    pixel = seen @ first.K[0].T
    pixel = pixel[:, :2] / np.maximum(pixel[:, 2:], 1e-6)
    scale = np.array(mask.shape[::-1]) / np.array(first.size)
    found = []
    for kind, limb, tip in _list_limbs(plan, mask):
        places = [
            _lift(place, limb, pixel * scale, seen[:, 2], means, scale[0] * first.K[0, 0, 0])
            for place in (limb.pivot, tip)
        ]
        if places[0] is not None and places[1] is not None:
            found.append(BodyPart(kind, places[0], places[1]))
    return found


def _list_limbs(plan: BodyPlan, mask: Mask) -> list[tuple[Kind, Limb, tuple[float, float]]]:
    """What the plan knows, with tips, and shorter or thicker lobes that it makes nothing of. Where
    it does not know the head, what it calls a tail may be anything."""
    listed: list[tuple[Kind, Limb]] = []
    for leg in plan.legs:
        if not leg.hidden:
            listed.append(("leg", leg))
    if plan.head is not None:
        listed.append(("head", plan.head))
        if plan.tail is not None:
            listed.append(("tail", plan.tail))
    others = list(plan.others)
    radius_at = measure_radius(mask)
    for share in _TORSOS:
        lobes = find_lobes(mask, find_torso(mask, radius_at, share))
        others += [x for x in lobes if x.length >= _SHORTEST * max(np.ptp(plan.box[::2]), 1)]
    for limb in others:
        mine = limb.weight > 0.5
        if not any(_overlap(x.weight > 0.5, mine) > _SAME for _, x in listed):
            listed.append(("leg" if _hangs(limb, plan) else "limb", limb))
    return [(k, x, _find_muzzle(x, plan) if k == "head" else x.tip) for k, x in listed]


def _overlap(a: Mask, b: Mask) -> float:
    """How much of the smaller one both share."""
    return float((a & b).sum() / max(min(a.sum(), b.sum()), 1))


def _hangs(limb: Limb, plan: BodyPlan) -> bool:
    y0, y1 = plan.box[1], plan.box[3]
    is_low = limb.tip[1] > y1 - _LOW * (y1 - y0)
    return is_low and limb.tip[1] - limb.pivot[1] > _DOWN * limb.length


def _find_muzzle(head: Limb, plan: BodyPlan) -> tuple[float, float]:
    """A head's foremost place where the body faces aside, else its highest: not an ear's tip."""
    rows, cols = np.nonzero(head.weight > 0.5)
    ahead = plan.facing * cols if plan.facing else -rows
    front = ahead >= np.quantile(ahead, 1 - _MUZZLE)
    return float(cols[front].mean()) + 0.5, float(rows[front].mean()) + 0.5


def _lift(
    place: tuple[float, float], limb: Limb, pixel: F32, depth: F32, means: F32, focal: float
) -> Place | None:  # pixel (N, 2), depth (N,), means (N, 3)
    """The canonical place of the Gaussians of a limb around a pixel, nearest layer alone: another
    leg may stand behind. None where hardly any are drawn there."""
    height, width = limb.weight.shape
    at = np.floor(pixel).astype(int)
    inside = (depth > 0) & (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)
    if inside.sum() < _FEWEST:
        return None
    mine = np.flatnonzero(inside)
    thick = limb.area / max(limb.length, 1.0)  # pixels
    away = np.linalg.norm(pixel[mine] - place, axis=1)
    near = mine[away <= max(_END * thick, float(np.sort(away)[_FEWEST - 1]))]
    first = float(np.quantile(depth[near], 0.1))
    front = near[depth[near] <= first * (1 + thick / focal)]
    return to_place(means[front].astype(np.float64).mean(0))
