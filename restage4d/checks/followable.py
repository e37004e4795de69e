"""Whether points on the subject can be followed: water, smoke and plain surfaces cannot."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.checks.findings import Finding
from restage4d.checks.thresholds import DEFAULT, Thresholds

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_POINTS = 200  # on the subject, spread evenly
_SIZE = (15, 15)  # window of the sparse flow, pixels at a longer side of 384
_LEAST_ERROR = 0.75  # pixels: nothing is followed better than that
_STARTS = 12  # frames of a clip from which points are followed


def measure_following(
    frames: NDArray[np.uint8],  # (T, H, W, 3)
    masks: F32,  # (T, H, W)
    thresholds: Thresholds = DEFAULT,
) -> F64:  # (S, 2)
    """Start frame and the share of points on the subject that come back to where they began when
    they are followed over some frames and back (Kalal et al. 2010), for some starts.

    Points are spread evenly, not set on corners: what has no texture shall count. Pyramidal
    Lucas-Kanade as OpenCV has it.
    """
    span = min(thresholds.follow_frames, len(frames) - 1)
    if span < 1:
        return np.zeros((0, 2))
    starts = np.unique(np.linspace(0, len(frames) - 1 - span, _STARTS).round().astype(int))
    allowed = max(thresholds.follow_error * max(masks.shape[1:]) / 384, _LEAST_ERROR)
    rng = np.random.default_rng(0)
    shares = []
    for t in starts:
        inside = cv2.erode((masks[t] > 0.5).astype(np.uint8), np.ones((5, 5), np.uint8))
        rows, cols = np.nonzero(inside)
        if len(rows) < 30:
            continue
        chosen = rng.permutation(len(rows))[:_POINTS]
        begin = np.stack([cols[chosen], rows[chosen]], 1).astype(np.float32)[:, None]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[t : t + span + 1]]
        points, good = begin, np.ones(len(begin), bool)
        for a, b in pairwise([*grey, *grey[-2::-1]]):
            points, kept, _ = cv2.calcOpticalFlowPyrLK(
                a, b, points, np.empty_like(points), winSize=_SIZE, maxLevel=3
            )
            good &= kept[:, 0] > 0
        miss = np.linalg.norm((points - begin)[:, 0], axis=1)
        shares.append((t, float((good & (miss < allowed)).mean())))
    return np.array(shares).reshape(-1, 2)


def check_following(
    frames: NDArray[np.uint8],
    masks: F32,
    *,
    video: str = "base",
    thresholds: Thresholds = DEFAULT,
) -> list[Finding]:
    """A finding where most of the subject cannot be followed. Arguments as `measure_following`."""
    shares = measure_following(frames, masks, thresholds)
    if not len(shares) or np.median(shares[:, 1]) >= thresholds.followed:
        return []
    share = float(np.median(shares[:, 1]))
    hopeless = share < thresholds.unfollowable
    text = (
        f"Only {share:.0%} of the points on the subject can be followed in {video}: it has no "
        "texture, or flows like water or smoke."
    )
    remedy = "Choose a subject with a surface of its own, or a sharper and slower clip."
    severity = "refuse" if hopeless else "warning"
    return [Finding("unfollowable", severity, text, remedy, 0, len(frames) - 1, video)]
