"""Doubts about estimated cameras and depth: a steep camera above a ground that few points support,
a background that does not move as cameras and depth say, a subject behind its background, depth
that flickers."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.checks.findings import Finding, describe_frames
from restage4d.checks.thresholds import DEFAULT, Thresholds
from restage4d.clips import Priors, Rewound
from restage4d.frame_arrays import take_frames
from restage4d.priors.geometry import ground

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_FLAT = 0.015  # a ground point lies this near to the plane, relative to its distance
_FEW = 30  # points that are too few to tell
_PAIR = 4  # frames between the two of a pair in which the background is followed
_PAIRS = 16  # looked at per clip
_POINTS = 150  # of the background in each
_GIVE = "Give cameras or depth with --priors, or another provider of them."


def check_video_priors(
    rewound: Rewound,
    priors: Priors,
    rows: NDArray[np.intp],
    video: str,
    thresholds: Thresholds = DEFAULT,
) -> list[Finding]:
    """Findings about depth and cameras of one video, at ``rows`` of the rewound clip."""
    last = len(rows) - 1
    found = []
    masks, depth = take_frames(priors.masks, rows), take_frames(priors.depth, rows)
    behind = measure_behind(masks, depth, thresholds.behind)
    before, feet = measure_against_points(priors, rows, thresholds.behind)
    flags = (behind > thresholds.behind_share) | (before > thresholds.behind_share)
    if flags.mean() > 0.25:
        where, first, end = describe_frames(flags)
        text = f"The subject's depth is behind the background that is behind it in {video}, {where}"
        found.append(Finding("subject-behind", "warning", f"{text}.", _GIVE, first, end, video))
    ratio = float(np.median(feet[np.isfinite(feet)])) if np.isfinite(feet).any() else 1.0
    if max(ratio, 1 / ratio) > thresholds.feet:
        side = "in front of" if ratio > 1 else "behind"
        text = (
            f"The subject stands {side} the ground at its feet in {video}: the points there are at "
            f"{ratio:.2f} times its depth."
        )
        found.append(Finding("subject-off-ground", "warning", text, _GIVE, 0, last, video))
    flicker = measure_flicker(masks, depth)
    flags = flicker > thresholds.flicker
    if flags.mean() > 0.1:
        where, first, end = describe_frames(flags)
        text = f"The subject's depth flickers in {video}, {where}."
        found.append(Finding("depth-flicker", "warning", text, _GIVE, first, end, video))
    miss = measure_reprojection(rewound, priors, rows)
    if len(miss):
        allowed = thresholds.reprojection * max(priors.masks.shape[1:]) / 384
        wrong = miss[:, 1] > allowed
        if wrong.mean() > thresholds.reprojection_share:
            text = (
                f'The camera is taken to be "{priors.cameras.kind}", but the background of '
                f"{video} moves otherwise, by {np.median(miss[wrong, 1]):.0f} pixels in "
                f"{_PAIR} frames."
            )
            found.append(Finding("camera-doubtful", "warning", text, _GIVE, 0, last, video))
    return found


def measure_tilt(rewound: Rewound, priors: Priors) -> tuple[float, float, int]:
    """Degrees by which b_0's camera looks down, the share of the cameras' sparse background points
    that lie on the ground (z = 0), and how many points there are.

    All points count, not the low ones alone: a camera that looks steeply down sees little but the
    ground, so that most of them should lie on it.
    """
    ahead = priors.cameras.w2c[rewound.seam, 2, :3].astype(np.float64)
    tilt = float(np.degrees(np.arcsin(np.clip(-ahead[2], -1, 1))))
    points = ground.select_background(priors.cameras, priors.masks)
    if len(points) < _FEW:
        return tilt, 0.0, len(points)
    eye = np.median(ground.compute_centres(priors.cameras), axis=0)
    distance = np.linalg.norm(points - eye, axis=1)
    return tilt, float((np.abs(points[:, 2]) < _FLAT * distance).mean()), len(points)


def check_tilt(rewound: Rewound, priors: Priors, thresholds: Thresholds = DEFAULT) -> list[Finding]:
    """A finding where a camera looks steeply down (or up) and few points say so."""
    tilt, support, count = measure_tilt(rewound, priors)
    if abs(tilt) < thresholds.steep or (count >= _FEW and support >= thresholds.ground_support):
        return []
    way = "down" if tilt > 0 else "up"
    because = (
        f"only {support:.0%} of the background's points lie on the ground it assumes"
        if count >= _FEW
        else "no points of the background say so"
    )
    text = f"The camera is taken to look {abs(tilt):.0f}° {way}, but {because}."
    return [Finding("tilt-doubtful", "warning", text, _GIVE, 0, 0)]


def measure_behind(masks: F32, depth: F32, margin: float = DEFAULT.behind) -> F64:  # (T, H, W) x2
    """Share of the upper half of the subject's outline, per frame, at which the subject is farther
    than the background beside it by ``margin`` of its depth. nan where nothing is known.

    What stands in front of the subject does so along a part of its outline; below its middle the
    ground in front of it is rightly nearer.
    """
    shares = np.full(len(masks), np.nan)
    reach = max(2, round(max(masks.shape[1:]) / 96))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    for t, (soft, z) in enumerate(zip(masks, depth, strict=True)):
        mask = (soft > 0.5).astype(np.uint8)
        rows = np.flatnonzero(mask.any(1))
        if len(rows) < 4 * reach:
            continue
        subject, outside = (mask > 0) & (z > 0), (soft == 0) & (z > 0)
        rim = subject & (cv2.erode(mask, np.ones((3, 3), np.uint8)) == 0)
        rim[(rows[0] + rows[-1]) // 2 :] = False
        beside = _mean_around(z, outside, kernel)
        own = _mean_around(z, subject, kernel)
        known = rim & (beside > 0) & (own > 0)
        if known.sum() >= 10:
            shares[t] = (own[known] > (1 + margin) * beside[known]).mean()
    return shares


def measure_against_points(
    priors: Priors, rows: NDArray[np.intp], margin: float = DEFAULT.behind
) -> tuple[F64, F64]:  # (T,), (T,)
    """The subject's depth against the cameras' sparse background points, which know nothing of it.

    Returns:
        before: share of the points around its upper half that are nearer than it by ``margin``,
            though they are seen behind or beside it; nan where there are fewer than 10.
        feet: depth of the points at the height of its feet over that of its feet; nan where there
            are fewer than 6.
    """
    cameras = priors.cameras
    points = ground.select_background(cameras, priors.masks)
    before, feet = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for i, t in enumerate(rows):
        depth = priors.depth[t]
        row, col = np.nonzero((priors.masks[t] > 0.5) & (depth > 0))
        if len(row) < 50 or not len(points):
            continue
        top, left = row.min(), col.min()
        tall, wide = np.ptp(row) + 1, np.ptp(col) + 1
        local = points @ cameras.w2c[t, :3, :3].T + cameras.w2c[t, :3, 3]
        x, y = ((local @ cameras.K[t].T)[:, :2] / np.maximum(local[:, 2:], 1e-6)).T
        beside = (local[:, 2] > 1e-6) & (np.abs(x - left - 0.5 * wide) < wide)
        upper = local[beside & (y > top - 0.2 * tall) & (y < top + 0.5 * tall), 2]
        lower = local[beside & (np.abs(y - top - tall) < 0.12 * tall), 2]
        if len(upper) >= 10:
            before[i] = (upper < np.median(depth[row, col]) / (1 + margin)).mean()
        if len(lower) >= 6:
            low = row > top + 0.9 * tall
            feet[i] = np.median(lower) / np.median(depth[row[low], col[low]])
    return before, feet


def _mean_around(z: F32, where: NDArray[np.bool_], kernel: NDArray[np.uint8]) -> F32:
    """Mean depth of the pixels of ``where`` under the kernel, 0 where there is none."""
    size = kernel.shape[::-1]
    total = cv2.boxFilter(np.where(where, z, 0).astype(np.float32), -1, size, normalize=False)
    count = cv2.boxFilter(where.astype(np.float32), -1, size, normalize=False)
    return np.asarray(np.where(count > 0.5, total / np.maximum(count, 1), 0), np.float32)


def measure_flicker(masks: F32, depth: F32) -> F64:  # (T, H, W) x2 -> (T,)
    """How far the subject's median depth is from the mean of both neighbours', relative; 0 at the
    ends and where it is not known."""
    log = np.full(len(masks), np.nan)
    for t, (mask, z) in enumerate(zip(masks, depth, strict=True)):
        known = z[(mask > 0.5) & (z > 0)]
        if len(known) >= 20:
            log[t] = np.log(np.median(known))
    off = np.zeros(len(masks))
    off[1:-1] = np.abs(log[1:-1] - 0.5 * (log[:-2] + log[2:]))
    return np.nan_to_num(off)


def measure_reprojection(
    rewound: Rewound, priors: Priors, rows: NDArray[np.intp]
) -> F64:  # -> (S, 2)
    """First frame and median distance in pixels between where background points are in the second
    frame of a pair and where depth and cameras put them, for some pairs of a video.

    Points are corners, followed by sparse optical flow there and back; pairs with fewer than 20
    that return are left out.
    """
    masks, cameras = priors.masks, priors.cameras
    step = min(_PAIR, len(rows) - 1)
    if step < 1:
        return np.zeros((0, 2))
    misses = []
    wide = np.ones((2 * max(3, masks.shape[2] // 64) + 1,) * 2, np.uint8)
    for i in np.unique(np.linspace(0, len(rows) - 1 - step, _PAIRS).round().astype(int)):
        a, b = rows[i], rows[i + step]
        still = (cv2.dilate((masks[a] != 0).astype(np.uint8), wide) == 0) & (priors.depth[a] > 0)
        grey = [cv2.cvtColor(rewound.clip.frames[t], cv2.COLOR_RGB2GRAY) for t in (a, b)]
        corners = cv2.goodFeaturesToTrack(
            grey[0], _POINTS, 0.01, 5, mask=still.astype(np.uint8) * 255
        )
        if corners is None or len(corners) < 20:
            continue
        there, kept, _ = cv2.calcOpticalFlowPyrLK(grey[0], grey[1], corners, np.empty_like(corners))
        again, _, _ = cv2.calcOpticalFlowPyrLK(grey[1], grey[0], there, np.empty_like(corners))
        good = (kept[:, 0] > 0) & (np.abs(again - corners).max((1, 2)) < 0.7)
        if good.sum() < 20:
            continue
        begin, end = corners[good, 0].astype(np.float64) + 0.5, there[good, 0] + 0.5
        cell = begin.astype(int)
        z = priors.depth[a, cell[:, 1], cell[:, 0]].astype(np.float64)
        frame = np.full(len(begin), a)
        world = ground.compute_centres(cameras)[a] + z[:, None] * ground.compute_directions(
            cameras, frame, begin
        )
        local = world @ cameras.w2c[b, :3, :3].T + cameras.w2c[b, :3, 3]
        image = local @ cameras.K[b].T.astype(np.float64)
        xy = image[:, :2] / np.maximum(image[:, 2:], 1e-6)
        misses.append((i, float(np.median(np.linalg.norm(xy - end, axis=1)))))
    return np.array(misses).reshape(-1, 2)
