"""Faults of the subject's masks: cut off, too small or large, shrunk, grown, with
lost parts, in pieces, jumping."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from restage4d.checks.findings import Finding, Severity, describe_frames
from restage4d.checks.thresholds import DEFAULT, Thresholds
from restage4d.clips import Tracks

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

_CORRECT = "Correct the masks there, or end before it."
_REMEDIES = {
    "subject-cut-off": "The puppet lacks what no frame shows.",
    "mask-lost-part": "It is taken for unknown there; correct it with --mask FRAME=FILE.",
}


@dataclass(frozen=True)
class MaskFigures:
    """Of every mask of T frames.

    Attributes:
        area: (T,) share of the picture.
        border: (T,) share of the outline that lies on the picture's border; 0 without a mask.
        largest: (T,) share of the area in the largest piece; gaps of a few pixels do not part.
        middle: (T, 2) centroid in pixels, nan without a mask.
        unknown: (T,) unknown pixels farther from the outline than a border band, over the mask's
            area and theirs; 0 without either.
    """

    area: F64
    border: F64
    largest: F64
    middle: F64
    unknown: F64


def measure_masks(masks: F32) -> MaskFigures:  # (T, H, W) as in `Priors.masks`
    """Figures of every mask by itself."""
    count, height, width = masks.shape
    figures = MaskFigures(
        np.zeros(count),
        np.zeros(count),
        np.ones(count),
        np.full((count, 2), np.nan),
        np.zeros(count),
    )
    reach = 2 * max(1, max(height, width) // 128) + 1
    band = np.ones((reach, reach), np.uint8)
    for t, soft in enumerate(masks):
        mask = (soft > 0.5).astype(np.uint8)
        figures.area[t] = mask.sum() / np.maximum((soft >= 0).sum(), 1)
        inner = cv2.morphologyEx(((soft < 0) | (mask > 0)).astype(np.uint8), cv2.MORPH_OPEN, band)
        lost = (soft < 0) & (inner > 0) & (cv2.dilate(mask, band) == 0)
        figures.unknown[t] = lost.sum() / max(lost.sum() + mask.sum(), 1)
        if not mask.any():
            continue
        rows, cols = np.nonzero(mask)
        figures.middle[t] = cols.mean() + 0.5, rows.mean() + 0.5
        outline = mask - cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0)
        known_rows = np.flatnonzero((soft >= 0).any(1))
        known_cols = np.flatnonzero((soft >= 0).any(0))
        edge = np.ones_like(mask)
        edge[known_rows[0] + 1 : known_rows[-1], known_cols[0] + 1 : known_cols[-1]] = 0
        figures.border[t] = (outline & edge).sum() / outline.sum()
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, band)
        _, _, stats, _ = cv2.connectedComponentsWithStats(closed)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        figures.largest[t] = sizes.max() / sizes.sum()
    return figures


def check_first_mask(
    mask: Bool,  # (H, W)
    thresholds: Thresholds = DEFAULT,
) -> list[Finding]:
    """Findings about the subject selected in b_0, before anything is made of it."""
    share = float(mask.mean())
    percent = f"The subject is {100 * share:.2g} % of the first frame."
    if share < thresholds.tiny:
        remedy = "Select another subject, or give a closer shot."
        return [Finding("subject-small", "refuse", percent, remedy, 0, 0)]
    if share > thresholds.whole:
        remedy = "Select the subject alone, with --select, --box or --mask."
        return [Finding("subject-large", "refuse", percent, remedy, 0, 0)]
    if share < thresholds.small:
        remedy = "Raise --longer-side or crop the video: few pixels give a coarse puppet."
        return [Finding("subject-small", "warning", percent, remedy, 0, 0)]
    if share > thresholds.large:
        remedy = "See whether the selection is right; cameras need some background around it."
        return [Finding("subject-large", "warning", percent, remedy, 0, 0)]
    return []


def check_masks(
    masks: F32,  # (T, H, W) as in `Priors.masks`
    *,
    video: str = "base",
    scale: F64 | None = None,
    thresholds: Thresholds = DEFAULT,
) -> list[Finding]:
    """Findings about one video's masks in playing order, b_0 first.

    Args:
        masks: of the frames.
        video: its name in the findings.
        scale: (T,) the subject's size over that in b_0 as its points show it (`measure_scale`):
            what comes nearer may grow. None: 1.
        thresholds: see `Thresholds`.
    """
    figures = measure_masks(masks)
    if not figures.area[0]:
        text = f"There is no subject in the first frame of {video}."
        return [Finding("subject-lost", "refuse", text, "Select it.", 0, 0, video)]
    ratio = figures.area / figures.area[0] / (1.0 if scale is None else scale**2)
    lost = figures.area < thresholds.lost * figures.area[0]
    hopeless = lost.mean() > thresholds.lost_share
    cut_off = figures.border > thresholds.border
    jumps = _find_jumps(figures, masks[0].size, thresholds)
    broken = (figures.largest < thresholds.largest_piece) & ~lost
    broken &= figures.largest[0] > 0.5 + 0.5 * thresholds.largest_piece
    least, most = f"below {thresholds.shrunk:.0%} of", f"over {thresholds.grown:g} times"
    first_area = "its area in the first frame"
    faults: list[tuple[str, Severity, str, Bool]] = [
        ("subject-lost", "refuse" if hopeless else "warning", "The subject is lost", lost),
        (
            "mask-shrunk",
            "warning",
            f"The subject's mask is {least} {first_area}",
            (ratio < thresholds.shrunk) & ~lost,
        ),
        (
            "mask-grown",
            "warning",
            f"The subject's mask is {most} {first_area}",
            ratio > thresholds.grown,
        ),
        (
            "mask-lost-part",
            "warning",
            "A part of the subject is missing in its mask",
            figures.unknown > thresholds.unknown,
        ),
        ("mask-pieces", "warning", "The subject's mask is in pieces", broken),
        ("mask-jump", "warning", "The subject's mask jumps", jumps),
        (
            "subject-cut-off",
            "note" if cut_off.mean() < 0.25 else "warning",
            "The picture's border cuts the subject off",
            cut_off,
        ),
    ]
    found = []
    for code, severity, what, flags in faults:
        if flags.any():
            where, first, last = describe_frames(flags)
            remedy = _REMEDIES.get(code, _CORRECT)
            text = f"{what} in {video}, {where}."
            found.append(Finding(code, severity, text, remedy, first, last, video))
    return found


def _find_jumps(figures: MaskFigures, pixels: int, thresholds: Thresholds) -> Bool:
    """Frames whose mask is elsewhere than in the frame before: by much of its size, and by much
    more than it usually moves."""
    flags = np.zeros(len(figures.area), bool)
    step = np.linalg.norm(np.diff(figures.middle, axis=0), axis=1)
    size = np.sqrt(figures.area * pixels)
    alike = (
        np.abs(np.log((size[1:] + 1e-6) / (size[:-1] + 1e-6))) < 0.35
    )  # else it is another fault
    size = np.minimum(size[1:], size[:-1])
    told = np.nan_to_num(step)
    usual = median_filter(told, 9, mode="nearest") if len(told) else told
    flags[1:] = (told > thresholds.jump * size) & (told > thresholds.jump_rate * usual) & alike
    return flags


def measure_scale(tracks: Tracks, frames: NDArray[np.intp]) -> F64:  # (T,) -> (T,)
    """How large the subject is in each of ``frames`` over the first of them, by the distances
    between its tracks: independent of any mask's area.

    The logarithms of the median change from frame to frame are added up; a frame with fewer than
    eight tracks in common with the one before changes nothing.
    """
    grown = np.zeros(len(frames))
    rng = np.random.default_rng(0)
    for i, (a, b) in enumerate(pairwise(frames), 1):
        both = np.flatnonzero(tracks.visible[:, a] & tracks.visible[:, b])
        grown[i] = grown[i - 1]
        if len(both) < 8:
            continue
        pairs = rng.choice(both, (400, 2))
        before, after = (
            np.linalg.norm(tracks.xy[pairs[:, 0], t] - tracks.xy[pairs[:, 1], t], axis=1)
            for t in (a, b)
        )
        far = before > max(np.percentile(before, 50), 1.0)
        if far.any():
            grown[i] += np.median(np.log(np.maximum(after[far], 1e-3) / before[far]))
    return np.exp(grown)
