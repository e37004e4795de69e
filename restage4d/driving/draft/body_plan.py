"""A body plan from a silhouette: which end is the head, where legs and tail hang, what leans on the
ground.

Lobes that stick out of the torso are found by opening the mask; they become limbs by where they
point. Nothing is learned and nothing is certain: what is not found is None or empty, and motion
then falls back to the whole body.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.graph import MCP_Geometric

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TORSO = 0.5  # lobes are thinner than this share of the thickest place
_LEAST_AREA = 0.006  # of the mask, for a lobe
_HEAVIER = 0.02  # difference of the ends' heft that tells head from tail
_OWN_MOTION = 0.05  # widths that a subject must move by itself to show which way it goes


@dataclass
class Limb:
    """A part that swings about ``pivot``; all in pixels of the frame.

    Attributes:
        pivot, tip: (x, y) where it joins the torso and its far end.
        weight: (H, W) 0 in the torso, 1 in the limb, smooth over the joint.
        along: (H, W) 0 at the joint to 1 at the tip.
    """

    pivot: tuple[float, float]
    tip: tuple[float, float]
    weight: F32
    along: F32

    @property
    def length(self) -> float:
        return float(np.hypot(self.tip[0] - self.pivot[0], self.tip[1] - self.pivot[1]))


@dataclass
class BodyPlan:
    """What is known of the subject's build.

    Attributes:
        facing: +1 head to the right of the screen, -1 to the left, 0 unknown or towards the camera.
        upright: taller than long, as people are.
        box: x0, y0, x1, y1 of the mask.
        yaw: of the body's axis to the screen, radians counter-clockwise from above; found later,
            from the feet.
        legs: from left to right; head, tail, others: see `Limb`.
        radius: half the torso's thickness.
    """

    facing: int
    upright: bool
    box: tuple[int, int, int, int]
    radius: float
    yaw: float = 0.0
    legs: list[Limb] = field(default_factory=list)
    head: Limb | None = None
    tail: Limb | None = None
    others: list[Limb] = field(default_factory=list)

    @property
    def limbs(self) -> list[Limb]:
        """Legs first, then the others."""
        return [*self.legs, *self.others]


def read_body_plan(mask: Mask, own_motion: float = 0.0) -> BodyPlan:
    """Reads a body plan from a mask.

    Args:
        mask: (H, W) the subject.
        own_motion: how far it moves to the right by itself in the footage, in widths; tells the
            head end where it is clear.
    """
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, x1, y0, y1 = int(cols[0]), int(cols[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    padded = np.pad(mask, 1, mode="edge").astype(np.uint8)
    radius_at = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    radius = float(radius_at.max())
    upright = (y1 - y0) > 1.25 * (x1 - x0)
    result = BodyPlan(0, upright, (x0, y0, x1, y1), radius)
    core = _keep_largest(radius_at > _TORSO * radius)
    torso = (
        cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5) <= _TORSO * radius + 1
    ) & mask
    lobes = _find_lobes(mask, torso)
    ground = y1 - 0.3 * (y1 - y0)
    free = []
    for lobe in lobes:
        down = lobe.tip[1] - lobe.pivot[1]
        if down > 0.6 * lobe.length and lobe.tip[1] > ground:
            result.legs.append(lobe)
        else:
            free.append(lobe)
    result.legs.sort(key=lambda leg: leg.pivot[0])
    if upright:
        above = [
            lobe
            for lobe in free
            if lobe.tip[1] < lobe.pivot[1] and lobe.tip[1] < y0 + 0.1 * (y1 - y0)
        ]
        result.head = max(
            above, key=lambda lobe: float(lobe.weight.sum()), default=None
        ) or _find_end(mask, "up", result, free)
        result.others = [lobe for lobe in free if lobe is not result.head]
        return result
    _name_ends(result, mask, free, own_motion)
    return result


def _keep_largest(region: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else region


def _find_lobes(mask: Mask, torso: Mask) -> list[Limb]:
    """Parts of the mask outside the torso that are big and long enough to be limbs."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (mask & ~torso).astype(np.uint8), connectivity=8
    )
    found = []
    for k in range(1, count):
        if stats[k, cv2.CC_STAT_AREA] < max(12, _LEAST_AREA * mask.sum()):
            continue
        limb = _measure_limb(mask, labels == k, torso)
        if limb is not None:
            found.append(limb)
    return found


def _measure_limb(mask: Mask, part: Mask, torso: Mask) -> Limb | None:
    """A limb from its pixels: distances within the mask from where it joins the torso."""
    joint = part & cv2.dilate(torso.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if not joint.any():
        return None
    outward = _compute_path_length(part, joint)
    far = outward == outward[part].max()
    length = float(outward[part].max())
    ys, xs = np.nonzero(joint)
    width = float(np.hypot(np.ptp(xs), np.ptp(ys))) + 1
    if length < max(4.0, 0.7 * width):  # a bulge
        return None
    inward = _compute_path_length(
        torso, torso & cv2.dilate(joint.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    )
    signed = np.where(part, outward, -inward)
    half = np.clip(0.6 * width, 2.5, 0.35 * length)
    t = np.clip((signed + half) / (2 * half), 0, 1)
    weight = np.where(part | torso, t * t * (3 - 2 * t), 0).astype(np.float32)
    along = np.where(part, np.clip(outward / length, 0, 1), 0).astype(np.float32)
    tip_y, tip_x = (float(v.mean()) for v in np.nonzero(far))
    return Limb(
        (float(xs.mean()) + 0.5, float(ys.mean()) + 0.5), (tip_x + 0.5, tip_y + 0.5), weight, along
    )


def _compute_path_length(region: Mask, start: Mask) -> F32:
    """Path length inside a region from the start's pixels; 1e6 where it cannot be reached."""
    costs = MCP_Geometric(np.where(region, 1.0, np.inf)).find_costs(np.argwhere(start & region))[0]
    return np.where(np.isfinite(costs), costs, 1e6).astype(np.float32)


def _find_end(mask: Mask, where: str, body: BodyPlan, lobes: list[Limb]) -> Limb | None:
    """The end of a body without a neck as a limb: what lies around its outermost point, with the
    lobes (ears) that grow there."""
    ys, xs = np.nonzero(mask)
    tip = int({"up": -ys, "left": -xs, "right": xs}[where].argmax())
    x, y = float(xs[tip]), float(ys[tip])
    to_legs = min(
        (np.hypot(x - leg.pivot[0], y - leg.pivot[1]) for leg in body.legs), default=3 * body.radius
    )
    reach = float(np.clip(0.55 * to_legs, 1.5 * body.radius, 2.4 * body.radius))
    rows, cols = np.indices(mask.shape)
    near = _keep_largest(mask & (np.hypot(cols - x, rows - y) < reach))
    for lobe in lobes:
        if near[round(lobe.pivot[1] - 0.5), round(lobe.pivot[0] - 0.5)]:
            near |= lobe.weight > 0.5
    rest = mask & ~near
    return _measure_limb(mask, near, rest) if rest.sum() > 1.5 * near.sum() else None


def _name_ends(body: BodyPlan, mask: Mask, free: list[Limb], own_motion: float) -> None:
    """Decides which end of a long body is the head, by where it goes, else by what lies beyond the
    legs; fills ``body``."""
    x0, _, x1, _ = body.box
    middle, width = (x0 + x1) / 2, x1 - x0
    ends = {
        side: max(
            (lobe for lobe in free if side * (lobe.tip[0] - middle) > 0.25 * width),
            key=lambda lobe: float(lobe.weight.sum()),
            default=None,
        )
        for side in (-1, 1)
    }
    if abs(own_motion) > _OWN_MOTION:
        body.facing = 1 if own_motion > 0 else -1
    else:
        heavier = _compute_heft(mask, body, 1) - _compute_heft(mask, body, -1)
        body.facing = 0 if abs(heavier) < _HEAVIER else 1 if heavier > 0 else -1
    if body.facing:
        sides = {-1: "left", 1: "right"}
        head, tail = ends[body.facing], ends[-body.facing]
        if body.legs:  # ears are no head, and a lobe may be half a neck
            end = _find_end(mask, sides[body.facing], body, free)
            candidates = [
                limb for limb in (head, end) if limb and _is_outermost(limb, body, body.facing)
            ]
            head = max(candidates, key=lambda limb: float(limb.weight.sum()), default=head)
        body.head = head
        body.tail = tail or (_find_end(mask, sides[-body.facing], body, []) if body.legs else None)
    taken = [limb.weight > 0.5 for limb in (body.head, body.tail) if limb]
    free = [
        lobe
        for lobe in free
        if not any(t[round(lobe.tip[1] - 0.5), round(lobe.tip[0] - 0.5)] for t in taken)
    ]
    body.others = [lobe for lobe in free if lobe is not body.head and lobe is not body.tail]


def _is_outermost(limb: Limb, body: BodyPlan, side: int) -> bool:
    """Whether a limb is the body's outermost part at an end."""
    cols = np.flatnonzero((limb.weight > 0.5).any(0))
    x0, _, x1, _ = body.box
    return bool(len(cols)) and (cols[0] - x0 if side < 0 else x1 - 1 - cols[-1]) < 0.05 * (x1 - x0)


def _compute_heft(mask: Mask, body: BodyPlan, side: int) -> float:
    """How much of the mask lies beyond the legs at an end, and a little for how high it reaches:
    heads are heavy and high."""
    x0, y0, x1, y1 = body.box
    edge = x0 if side < 0 else x1
    joints = [abs(leg.pivot[0] - edge) for leg in body.legs]
    reach = float(np.clip(min(joints, default=0.25 * (x1 - x0)), 0.2 * (x1 - x0), 0.35 * (x1 - x0)))
    part = mask[:, : round(x0 + reach)] if side < 0 else mask[:, round(x1 - reach) :]
    top = np.flatnonzero(part.any(1))[0]
    return float(part.sum() / mask.sum() + 0.1 * (y1 - top) / (y1 - y0))
