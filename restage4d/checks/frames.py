"""Faults of the video itself: hard cuts, fades, blank and repeated frames, flashes, jumps of the
exposure."""

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.checks.findings import Finding, describe_frames, find_runs
from restage4d.checks.thresholds import DEFAULT, Thresholds
from restage4d.clips import Clip

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

_SIDE = 96  # longer side, pixels, at which frames are compared
_BLOCK = 16  # side of a block that is sought in the other frame
_REACH = 24  # pixels that it may have moved: a quarter of the picture
_TEXTURE = 4.0  # grey levels of standard deviation from which a block can be found
_DARK, _BRIGHT = 40.0, 215.0  # grey levels that blank frames are named black or white by


@dataclass(frozen=True)
class FrameFaults:
    """Where a clip of T frames is not one unbroken shot.

    Attributes:
        cuts: numbers of frames that begin another shot.
        flashes: (first, last) of short disturbances after which the shot goes on.
        exposures: numbers of frames from which on the exposure is another.
        blank: (T,) frames without a picture.
        faded: (T,) frames of a fade that still show something.
        repeated: (T,) frames that repeat the one before.
    """

    cuts: list[int]
    flashes: list[tuple[int, int]]
    exposures: list[int]
    blank: Bool
    faded: Bool
    repeated: Bool

    @property
    def disturbed(self) -> Bool:
        """(T,) frames that do not show the shot as it is."""
        flags = self.blank | self.faded
        for a, b in self.flashes:
            flags[a : b + 1] = True
        return flags


def check_frames(
    clip: Clip,
    *,
    video: str = "base",
    first: int = 0,
    thresholds: Thresholds = DEFAULT,
) -> list[Finding]:
    """Findings about a clip's frames; the remedy offers the longest part that works.

    Args:
        clip: b_0 first.
        video: its name in the findings.
        first: the number that b_0 has in the file, as ``--first`` counts.
        thresholds: see `Thresholds`.
    """
    faults = find_frame_faults(clip.frames, thresholds)
    offer = _offer(faults, len(clip), video, first, thresholds)
    found = [
        Finding("hard-cut", "refuse", f"There is a hard cut at frame {k} of {video}.", offer, k, k)
        for k in faults.cuts
    ]
    lasting = faults.blank.copy()
    for a, b in faults.flashes:
        lasting[a : b + 1] = False
        text = f"The picture is disturbed for a moment (a flash or a lost picture) in {video}, "
        found.append(
            Finding("flash", "warning", f"{text}{_span(a, b)}.", "Repair or cut them out.", a, b)
        )
    bright = clip.frames[:, ::8, ::8].mean((1, 2, 3))
    for a, b in find_runs(lasting):
        level = float(bright[a : b + 1].mean())
        colour = "black" if level < _DARK else "white" if level > _BRIGHT else "of one colour"
        text = f"The picture is {colour} in {video}, {_span(a, b)}."
        found.append(Finding("blank", "refuse", text, offer, a, b))
    for a, b in find_runs(faults.faded):
        text = f"The picture fades in or out in {video}, {_span(a, b)}."
        found.append(Finding("fade", "warning", text, offer, a, b))
    for k in faults.exposures:
        text = f"The exposure jumps at frame {k} of {video}."
        found.append(Finding("exposure-jump", "warning", text, "Even it out or end before.", k, k))
    found += _check_repeats(faults.repeated, video, thresholds)
    return [
        replace(finding, video=video)
        for finding in sorted(found, key=lambda finding: finding.first_frame)
    ]


def find_frame_faults(
    frames: NDArray[np.uint8], thresholds: Thresholds = DEFAULT
) -> FrameFaults:  # (T, H, W, 3)
    """Looks at every pair of neighbouring frames, and past those that differ."""
    small = [_shrink(frame) for frame in frames]
    contrast = np.array([picture.std() for picture in small])
    blank = contrast < thresholds.blank_contrast
    faded = _find_fades(small, contrast, blank, thresholds)
    pairs = [compare(a, b) for a, b in pairwise(small)]
    alike = np.array([pair.similarity for pair in pairs])
    gain = np.array([pair.gain for pair in pairs])
    usual = np.array([_usual(alike, i) for i in range(len(alike))])
    change = np.array([_change(a, b) for a, b in pairwise(small)])
    cuts: list[int] = []
    flashes: list[tuple[int, int]] = []
    exposures: list[int] = []
    k = 1
    while k < len(small):
        apart = alike[k - 1] < min(
            thresholds.cut_similarity, thresholds.cut_drop * usual[k - 1]
        )  # False where there is no texture to tell by
        fading = faded[k - 1] or faded[k]
        other = abs(np.log(gain[k - 1])) > np.log(thresholds.exposure_gain) and not fading
        if not (apart or other or blank[k]) or blank[k - 1]:
            k += 1
            continue
        back = _find_return(small, k, thresholds)
        if back:
            j, similarity = back
            if not apart or similarity > alike[k - 1] + 0.1:  # else the motion is merely fast
                flashes.append((k, j - 1))
            k = j + 1
        else:
            if apart and not blank[k]:
                cuts.append(k)
            elif other and not blank[k]:
                exposures.append(k)
            k += 1
    cuts += _find_cuts_across_blank(small, blank, flashes, thresholds)
    repeated = np.concatenate([[False], _find_repeats(change, thresholds)])
    return FrameFaults(sorted(cuts), flashes, exposures, blank, faded, repeated & ~blank)


@dataclass(frozen=True)
class Comparison:
    """Two pictures after the motion between them: ``similarity`` -1..1, nan without texture, and
    ``gain``, the second's brightness over the first's."""

    similarity: float
    gain: float


def compare(a: F32, b: F32) -> Comparison:  # (H, W) x2, grey levels
    """Every textured block of ``b`` is sought in ``a`` by normalised cross-correlation, which knows
    no exposure; both figures are medians over blocks."""
    height, width = b.shape
    best, gains = [], []
    for y in range(0, height - _BLOCK + 1, _BLOCK):
        for x in range(0, width - _BLOCK + 1, _BLOCK):
            block = b[y : y + _BLOCK, x : x + _BLOCK]
            if block.std() < _TEXTURE:
                continue
            top, left = max(0, y - _REACH), max(0, x - _REACH)
            around = a[top : y + _BLOCK + _REACH, left : x + _BLOCK + _REACH]
            scores = cv2.matchTemplate(around, block, cv2.TM_CCOEFF_NORMED)
            _, score, _, (col, row) = cv2.minMaxLoc(scores)
            there = around[row : row + _BLOCK, col : col + _BLOCK]
            best.append(score)
            gains.append((block.mean() + 8) / (there.mean() + 8))
    if len(best) < 3:
        return Comparison(float("nan"), 1.0)
    return Comparison(float(np.median(best)), float(np.median(gains)))


def _shrink(frame: NDArray[np.uint8]) -> F32:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = _SIDE / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _usual(alike: F64, i: int) -> float:
    """How alike neighbours are around pair ``i``, itself left out."""
    around = np.concatenate([alike[max(0, i - 4) : i], alike[i + 1 : i + 5]])
    around = around[np.isfinite(around)]
    return float(np.median(around)) if len(around) else 1.0


def _find_return(small: list[F32], k: int, thresholds: Thresholds) -> tuple[int, float] | None:
    """The frame soon after ``k`` with which the shot before ``k`` goes on, and how alike they
    are."""
    for j in range(k + 1, min(k + thresholds.flash_frames + 1, len(small))):
        pair = compare(small[k - 1], small[j])
        same = abs(np.log(pair.gain)) < 0.7 * np.log(thresholds.exposure_gain)
        if same and pair.similarity >= thresholds.return_similarity:
            return j, pair.similarity
    return None


def _find_cuts_across_blank(
    small: list[F32], blank: Bool, flashes: list[tuple[int, int]], thresholds: Thresholds
) -> list[int]:
    """Where another shot follows after blank frames."""
    found = []
    for a, b in find_runs(blank):
        if a > 0 and b + 1 < len(small) and not any(f <= a <= g for f, g in flashes):
            alike = compare(small[a - 1], small[b + 1]).similarity
            if alike < thresholds.cut_similarity:
                found.append(b + 1)
    return found


def _find_fades(small: list[F32], contrast: F64, blank: Bool, thresholds: Thresholds) -> Bool:
    """Frames in which one and the same picture loses its contrast towards black or white."""
    faded = np.zeros(len(small), bool)
    if blank.all():
        return faded
    usual = float(np.median(contrast[~blank]))
    mean = np.array([picture.mean() for picture in small])
    for a, b in find_runs(contrast < thresholds.fade_contrast * usual):
        for end, step in ((a, -1), (b, 1)):  # outwards, as long as there is more and more
            t = end
            while 0 <= t + step < len(small) and contrast[t + step] > 1.02 * contrast[t]:
                t += step
            low, high = sorted((end, t))
            inside = np.arange(low, high + 1)
            ramp = inside[~blank[inside]]
            extreme = mean[end] < 0.6 * mean[t] or mean[end] > 0.6 * mean[t] + 0.4 * 255
            one = [np.corrcoef(small[i].ravel(), small[i + 1].ravel())[0, 1] for i in ramp[:-1]]
            if len(ramp) >= thresholds.fade_frames and extreme and np.median(one) > 0.7:
                faded[ramp] = True
                faded[a : b + 1] |= ~blank[a : b + 1]
    return faded


def _change(a: F32, b: F32) -> float:
    """Mean difference in grey levels of the block that changes most."""
    return float(cv2.blur(np.abs(a - b), (8, 8)).max())


def _find_repeats(change: F64, thresholds: Thresholds) -> Bool:  # (T - 1,) -> (T - 1,)
    if not len(change):
        return np.zeros(0, bool)
    return change < min(1.0, thresholds.frozen_change * float(np.percentile(change, 75)))


def _check_repeats(repeated: Bool, video: str, thresholds: Thresholds) -> list[Finding]:
    found = []
    for a, b in find_runs(repeated):
        if b - a + 1 >= thresholds.frozen_frames:
            text = f"The video stands still in {video}, {_span(a - 1, b)}."
            found.append(Finding("frozen", "warning", text, "Cut the standstill out.", a - 1, b))
    single = repeated.copy()
    for finding in found:
        single[finding.first_frame : finding.last_frame + 1] = False
    if single.sum() >= max(2, 0.03 * len(single)):
        where, a, b = describe_frames(single)
        text = f"The video repeats the frame before in {video}, {where}."
        remedy = "Give the clip at the rate at which it was filmed."
        found.append(Finding("repeated", "note", text, remedy, a, b))
    return found


def _offer(faults: FrameFaults, count: int, video: str, first: int, thresholds: Thresholds) -> str:
    """The part that works in words: that from b_0 on, else the longest."""
    bad = faults.blank | faults.faded
    for a, b in faults.flashes:  # short enough to be bridged
        bad[a : b + 1] = False
    parts = []
    for a, b in find_runs(~bad):
        edges = [a, *(k for k in faults.cuts if a < k <= b), b + 1]
        parts += list(pairwise(edges))
    parts = [(a, b) for a, b in parts if b - a >= thresholds.usable_frames]
    if not parts or parts == [(0, count)]:
        return "Give a clip that is one unbroken shot."
    a, b = parts[0] if parts[0][0] == 0 else max(parts, key=lambda part: part[1] - part[0])
    if video != "base":
        cut = f"Keep its first {b} frames only, or make another." if a == 0 else "Make another."
        return cut
    end = f" --frames {b - a}" if b < count else ""
    begin = f" --first {first + a}" if a or first else ""
    return f"What works is the part with{begin}{end}."


def _span(a: int, b: int) -> str:
    return f"frame {a}" if a == b else f"frames {a} to {b}"
