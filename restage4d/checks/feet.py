"""Whether the lowest part of the subject is followed as well as the rest: legs that are lost in
grass, or that masks and tracks take for ground, leave a puppet without feet."""

import numpy as np
from numpy.typing import NDArray

from restage4d.checks.findings import Finding, describe_frames
from restage4d.checks.thresholds import DEFAULT, Thresholds
from restage4d.clips import Tracks

F64 = NDArray[np.float64]

_LOW = 0.75  # of the subject's height in the first frame: what is lower counts as its feet
_FEWEST = 20  # points that can tell


def measure_feet(
    tracks: Tracks,
    rows: NDArray[np.intp],  # (T,)
    mask: NDArray[np.bool_],  # (H, W)
) -> tuple[F64, F64]:  # (T,), (T,)
    """Shares of the points in the subject's lowest quarter, and of all others, that are seen in
    each frame of those that are seen in the first; nan where there are too few.

    Args:
        tracks: over the rewound clip.
        rows: a video's frames, its first one first.
        mask: the subject there.
    """
    height = np.flatnonzero(mask.any(1))
    unknown = np.full(len(rows), np.nan)
    if not len(height):
        return unknown, unknown
    begin = tracks.visible[:, rows[0]]
    is_low = tracks.xy[:, rows[0], 1] > height[0] + _LOW * (height[-1] + 1 - height[0])
    low, others = begin & is_low, begin & ~is_low
    if low.sum() < _FEWEST or others.sum() < _FEWEST:
        return unknown, unknown
    seen = tracks.visible[:, rows]
    return seen[low].mean(0), seen[others].mean(0)


def check_feet(
    tracks: Tracks,
    rows: NDArray[np.intp],
    mask: NDArray[np.bool_],
    *,
    video: str = "base",
    thresholds: Thresholds = DEFAULT,
) -> list[Finding]:
    """A finding where the lowest part of the subject is lost while the rest is still followed, for
    a fifth of the frames or more. Arguments as `measure_feet`."""
    low, others = measure_feet(tracks, rows, mask)
    lost = np.nan_to_num(low, nan=1.0) < thresholds.feet_followed * np.nan_to_num(others, nan=0.0)
    if lost.mean() < thresholds.feet_frames:
        return []
    where, first, last = describe_frames(lost)
    text = (
        f"Points on the lowest quarter of the subject are lost in {video}, {where}: "
        f"{low[lost].min():.0%} of them are left, {others[lost].min():.0%} of the others."
    )
    remedy = "Look whether masks keep its feet there (--mask FRAME=FILE), or end before."
    return [Finding("feet-lost", "warning", text, remedy, first, last, video)]
