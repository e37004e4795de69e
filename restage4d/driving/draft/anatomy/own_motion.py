"""Which way a subject goes by itself in the footage: the strongest sign of where its head is."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

from restage4d.clips import Clip
from restage4d.driving.draft.compositing.matte import dilate
from restage4d.driving.draft.compositing.registration import Registration

F64 = NDArray[np.float64]
Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_SECONDS = 0.35  # later motion says less of where the head is in the first frame
_MOST_STEPS = 24
_FEWEST = 4  # points that must be followed
_FEET = 0.7  # of the height from above; below it legs swing


def measure_own_speed(base: Clip, found: Registration) -> float:
    """How fast the subject moves to the right against the ground that it stands on, in widths of
    itself per second (left is negative), around the first frame; 0 where it cannot be told.

    The ground at its feet is as far from the camera as the subject, so that a travelling camera
    does not count; legs, which swing, and the outline are left out. What stands above the ground
    moves against it in the picture, too, when the camera goes round (plane and parallax), by its
    height: where the torso, and what its shift comes to at the feet by its rows, do not go the same
    way, nothing is told; else the slower says it. Steps that go against the others lower the
    figure: it is multiplied by (agreeing - disagreeing) / all.
    """
    cols = np.flatnonzero(found.masks[0].any(0))
    width = float(cols[-1] - cols[0] + 1)
    speeds, weights = [], []
    grays = [
        cv2.cvtColor(base.frames[t], cv2.COLOR_RGB2GRAY) for t in found.index[: _MOST_STEPS + 1]
    ]
    for k, (a, b) in enumerate(zip(found.index[: len(grays) - 1], found.index[1:], strict=False)):
        torso, ground = _split(found.masks[k])
        here = np.linalg.inv(found.to_first[k + 1]) @ found.to_first[k]
        moved = _measure_shifts(grays[k], grays[k + 1], torso, here)
        if moved is None:
            continue
        beside = _measure_shifts(grays[k], grays[k + 1], ground, here)
        below = 0.0 if beside is None else float(np.median(beside[1]))
        lowest = int(np.flatnonzero(found.masks[k].any(1))[-1])
        shifts = np.array([np.median(moved[1]), _extend(*moved, lowest)])
        speeds.append((shifts - below) / width * base.fps / (b - a))
        weights.append(np.exp(-a / base.fps / _SECONDS))
    if len(speeds) < 3:
        return 0.0
    torso, feet = (_average(np.array(of), np.array(weights)) for of in zip(*speeds, strict=True))
    return float(np.sign(torso) * min(abs(torso), abs(feet))) if torso * feet > 0 else 0.0


def _average(speeds: F64, weights: F64) -> float:
    mean = float(np.average(speeds, weights=weights))
    agree = float(np.average(np.sign(speeds) == np.sign(mean), weights=weights))
    return mean * max(2 * agree - 1, 0.0)


def _extend(rows: F64, shifts: F64, row: int) -> float:
    """What the shifts come to at a row, by a line that few of them do not bend (Theil and Sen)."""
    if np.ptp(rows) == 0:
        return float(np.median(shifts))
    with np.errstate(invalid="ignore"):  # of the slope's error, which ties can make no number
        slope, height = np.asarray(theilslopes(shifts, rows), np.float64)[:2]
    return float(height + slope * row)


def _split(mask: Mask) -> tuple[Mask, Mask]:
    """The subject without its outline and legs, and the ground around its feet."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask, mask
    height, width = rows[-1] - rows[0] + 1, cols[-1] - cols[0] + 1
    rim = max(3, round(0.06 * width))
    torso = cv2.erode(mask.astype(np.uint8), np.ones((rim, rim), np.uint8)).astype(bool)
    torso[rows[0] + round(_FEET * height) :] = False
    ground = dilate(mask, max(6, round(0.25 * height))) & ~dilate(mask, 4)
    ground[: rows[0] + round(_FEET * height)] = False
    return torso, ground


def _measure_shifts(
    before: Gray, after: Gray, region: Mask, camera: NDArray
) -> tuple[F64, F64] | None:  # (N,), (N,)
    """The rows of a region's points, and how far they move to the right beyond what the camera does
    to the background, in pixels; None where too few can be followed."""
    points = cv2.goodFeaturesToTrack(
        before, 200, 0.003, 4, mask=region.astype(np.uint8), blockSize=5
    )
    if points is None or len(points) < _FEWEST:
        return None
    moved, there, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, np.empty_like(points), maxLevel=4
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        after, before, moved, np.empty_like(points), maxLevel=4
    )
    good = (there[:, 0] > 0) & (again[:, 0] > 0) & (np.abs(back - points).max(axis=(1, 2)) < 0.7)
    if good.sum() < _FEWEST:
        return None
    still = cv2.perspectiveTransform(points[good].astype(np.float64), camera)
    rows, shifts = points[good][:, 0, 1], (moved[good] - still)[:, 0, 0]
    return np.asarray(rows, np.float64), np.asarray(shifts, np.float64)
