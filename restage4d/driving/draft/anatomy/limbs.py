"""Limbs of a silhouette: lobes that stick out of the torso, and ends cut off where the body
narrows."""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.graph import MCP_Geometric

from restage4d.driving.draft.body_plan import Limb

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TORSO = 0.5  # lobes are thinner than this share of the thickest place
_LEAST_AREA = 0.006  # of the mask, for a lobe
_BALL = 0.5  # of the torso's radius, of a ball that a whole head holds
_EAR = 0.35  # of the torso's radius: a short end as thin as that is an ear, a horn, a muzzle
_SMALL_HEAD = 0.45  # of the body's width; a tail held up is thinner


def measure_radius(mask: Mask) -> F32:  # (H, W) -> (H, W)
    """Distance to the outline; the picture's border is none."""
    padded = np.pad(mask, 1, mode="edge").astype(np.uint8)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)


def find_torso(mask: Mask, radius_at: F32, share: float = _TORSO) -> Mask:
    """What is left of the mask after opening it by ``share`` of its thickest place."""
    radius = float(radius_at.max())
    core = keep_largest(radius_at > share * radius)
    far = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    return (far <= share * radius + 1) & mask


def keep_largest(region: Mask) -> Mask:
    """The region's largest connected part."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else region


def find_lobes(mask: Mask, torso: Mask) -> list[Limb]:
    """Parts of the mask outside the torso that are big and long enough to be limbs."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (mask & ~torso).astype(np.uint8), connectivity=8
    )
    found = []
    for k in range(1, count):
        if stats[k, cv2.CC_STAT_AREA] < max(12, _LEAST_AREA * mask.sum()):
            continue
        limb = measure_limb(mask, labels == k, torso)
        if limb is not None:
            found.append(limb)
    return found


def measure_limb(mask: Mask, part: Mask, torso: Mask, stubby: float = 0.7) -> Limb | None:
    """A limb from its pixels: distances within the mask from where it joins the torso. None where
    it is shorter than ``stubby`` times the joint's width, which is a bulge."""
    joint = part & cv2.dilate(torso.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if not joint.any():
        return None
    outward = compute_path_length(part, joint)
    reached = part & (outward < 1e6)
    length = float(outward[reached].max())
    far = reached & (outward == length)
    ys, xs = np.nonzero(joint)
    width = float(np.hypot(np.ptp(xs), np.ptp(ys))) + 1
    if length < max(4.0, stubby * width):
        return None
    inward = compute_path_length(
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


def compute_path_length(region: Mask, start: Mask) -> F32:
    """Path length inside a region from the start's pixels; 1e6 where it cannot be reached."""
    costs = MCP_Geometric(np.where(region, 1.0, np.inf)).find_costs(np.argwhere(start & region))[0]
    return np.where(np.isfinite(costs), costs, 1e6).astype(np.float32)


def cut_end(
    trunk: Mask,
    radius_at: F32,
    start: tuple[float, float],
    neck: float,
    most_area: float,
    most_way: float,
) -> Mask | None:
    """The end of a trunk around ``start`` (x, y), up to where it last is at most ``neck`` of the
    torso wide on the way to the body; None where it never is.

    Width is how many pixels lie at the same path length from the start. A muzzle alone is no end:
    it goes on past the place
    where it is half as thick as the torso, to the narrowest one that follows.

    Args:
        trunk: (H, W) without legs.
        radius_at: (H, W) as from `measure_radius`, of the whole mask.
        start: a point of the end.
        neck: of the torso's thickness.
        most_area: pixels that the end may have.
        most_way: pixels of path that it may reach.
    """
    radius = float(radius_at.max())
    way, widths = _measure_widths(trunk, start)
    within = (np.cumsum(widths) <= most_area) & (np.arange(len(widths)) <= most_way)
    necks = np.flatnonzero(within & (widths <= 2 * radius * neck))
    if not len(necks) or necks[-1] < max(3, 0.4 * radius):
        return None
    reach = int(necks[-1])
    thick = float(way[trunk & (radius_at >= _BALL * radius)].min())
    ball = float(radius_at[trunk & (way <= reach)].max())
    near = thick < 1.3 * radius or (ball < _EAR * radius and thick < 2.5 * radius)
    if near and reach < thick + 0.6 * radius:
        first, last = (int(thick + share * radius) for share in (0.6, 1.8))
        last = min(last, int(np.flatnonzero(within)[-1]))
        reach = max(reach, first + int(widths[first : last + 1].argmin()) if last > first else last)
    return keep_largest(trunk & (way <= reach))


def _measure_widths(trunk: Mask, start: tuple[float, float]) -> tuple[F32, F32]:
    """(H, W) path length from the start, and the trunk's width at every whole path length."""
    rows, cols = np.nonzero(trunk)
    nearest = int(np.hypot(cols + 0.5 - start[0], rows + 0.5 - start[1]).argmin())
    seed = np.zeros_like(trunk)
    seed[rows[nearest], cols[nearest]] = True
    way = compute_path_length(trunk, seed)
    counts = np.bincount(way[way < 1e6].astype(np.int64)).astype(np.float32)
    smooth = cv2.GaussianBlur(counts[None], (0, 0), 2.0)[0]
    return way, np.asarray(smooth, np.float32)


def find_neck(mask: Mask, waist: float) -> Mask | None:
    """What stands above the row where an upright body is narrowest below its head; None where it
    does not narrow to ``waist`` of what is above it and of what is below it."""
    rows = np.flatnonzero(mask.any(1))
    top, height = int(rows[0]), len(rows)
    widths = cv2.GaussianBlur(
        mask[top : rows[-1] + 1].sum(1).astype(np.float32)[:, None], (0, 0), 0.015 * height + 0.3
    )[:, 0]
    best, neck = waist, 0
    for row in range(round(0.08 * height), round(0.65 * height)):
        above, below = widths[:row].max(), widths[row:].max()
        if above < _SMALL_HEAD * below:
            continue
        share = float(widths[row] / min(above, below))
        if share < best:
            best, neck = share, row
    if not neck:
        return None
    part = mask.copy()
    part[top + neck :] = False
    return keep_largest(part)
