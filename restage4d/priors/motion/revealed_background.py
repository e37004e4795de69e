"""The background that other frames show in a frame's place: what the frame shows otherwise is a
thing that moves, also a foot that stands for a while."""

from collections.abc import Iterable

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from restage4d.clips import Clip, rewind
from restage4d.priors.motion.background_motion import NODE, BackgroundMotion
from restage4d.priors.motion.optical_flow import Flow
from restage4d.priors.motion.ranking import insert
from restage4d.priors.motion.smooth_colours import smooth_lab
from restage4d.progress import Progress

F32 = NDArray[np.float32]

LOOKAHEAD = 61  # frames that tell at most
_FRAMES = 12  # of them that are looked at, evenly spread
_SIDE = 192  # pixels of the longer side at which the background's motion is found
_FEWEST = 3  # frames that must show a place
_NEXT = 2  # of them from the first frame on that show too much of what it shows
_SHARE = 0.3  # of the frames must show a place as the first frame does
_SCATTER = (1.5, 3.0)  # times the median change, or Lab at least: the background's own
_MISS = 1.0  # pixels by which a place may be missed, at a longer side of 384
_SHADE = 0.8  # what light counts where the first frame is darker: it may be a shadow,
_DARK = (0.45, 0.6)  # if its lightness is not below that share: then all of it counts, between some


def measure_change(base: Clip, progress: Progress) -> F32:
    """How unlike (H, W) the first frame's pixels are to the background that later frames show in
    their place, in Lab; NaN where too few frames tell.

    The background's motion is that of `BackgroundMotion`, from one of a few frames to the next. A
    place may be missed by two pixels, and shadows count little.

    Example:
        >>> change = measure_change(base, progress)
        >>> moves = change > 20
    """
    step = _choose_step(len(base))
    frames = base.frames[:LOOKAHEAD:step]
    if len(frames) < _NEXT + _FEWEST:
        return np.full(frames.shape[1:3], np.nan, np.float32)
    scale = max(frames.shape[1:3]) / 384
    first = smooth_lab(frames[0], scale)
    others = (
        (smooth_lab(frames[number], scale), place)
        for number, place in _locate(Clip(frames, base.fps), progress)
    )
    return _compare(first, others, scale)


def measure_change_around(
    lab: F32, motion: BackgroundMotion, t: int, window: tuple[slice, slice], ratio: float = 1.0
) -> F32:
    """The same of frame ``t`` of a clip within a ``window`` of it, told by frames before and after.

    Args:
        lab: (T, H, W, 3) colours of all frames, as `smooth_lab` makes them.
        motion: of the background between them.
        window: rows and columns.
        ratio: of the size of ``lab`` to that of the frames that ``motion`` knows.
    """
    scale = max(lab.shape[1:3]) / 384
    step = _choose_step(len(lab))
    offsets = tuple(range(_NEXT * step, min(len(lab), LOOKAHEAD), step))
    here = lab[t][window]
    half = np.float32(0.5)
    if not offsets:
        return np.full(here.shape[:2], np.nan, np.float32)
    at = [
        ((np.arange(s.start, s.stop, dtype=np.float32) + half) / np.float32(ratio) - half) / NODE
        for s in window
    ]
    down, across = (slice(int(i[0]), int(i[-1]) + 2) for i in at)  # the nodes around the window
    grid = np.meshgrid(at[1] - np.float32(across.start), at[0] - np.float32(down.start))
    others = (
        (
            lab[number],
            (cv2.remap(nodes, *grid, cv2.INTER_LINEAR) + half) * np.float32(ratio) - half,
        )
        for number, nodes in zip(*motion.locate_background(t, offsets, (down, across)), strict=True)
    )
    return _compare(here, others, scale)


def normalise_change(change: F32) -> F32:
    """``change`` (H, W) over the background's own, the median; NaN where nothing is known."""
    if not np.isfinite(change).any():
        return change
    scatter = max(_SCATTER[0] * float(np.nanmedian(change)), _SCATTER[1])
    return np.maximum(change / np.float32(scatter), np.float32(1e-3))


def _choose_step(total: int) -> int:
    """Frames from one of those that are looked at to the next."""
    return max(1, -(-min(total - 1, LOOKAHEAD - 1) // _FRAMES))


def _compare(here: F32, others: Iterable[tuple[F32, F32]], scale: float) -> F32:
    """How unlike (H, W) the colours ``here`` are to those that most of the ``others`` show: their
    colours (H', W', 3), and places in them (H, W, 2)."""
    apart, miss = [], round(_MISS * scale)
    for lab, place in others:
        there = cv2.remap(lab, place[..., 0], place[..., 1], cv2.INTER_LINEAR)
        right, below = lab.shape[1] - 1, lab.shape[0] - 1
        unlike = _measure_unlikeness(here, np.asarray(there, np.float32), miss)
        _leave_out(unlike, place, right, below)
        apart.append(unlike)
    if len(apart) < _FEWEST:
        return np.full(here.shape[:2], np.nan, np.float32)
    return _choose_by_rank(np.stack(apart), _FEWEST, _SHARE)


def _locate(clip: Clip, progress: Progress) -> list[tuple[int, F32]]:
    """Numbers of later frames, and where in them (H, W, 2) the background of the first one lies;
    from a small picture."""
    (height, width), total = clip.frames.shape[1:3], len(clip)
    factor = min(1.0, _SIDE / max(height, width))
    size = round(width * factor), round(height * factor)
    small = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in clip.frames])
    rewound = rewind(Clip(small, clip.fps), [])
    motion = BackgroundMotion(rewound, Flow(rewound, progress), np.zeros(small.shape[:3], bool))
    where, places = motion.locate_background(rewound.seam, tuple(range(_NEXT, total)))
    ratio = np.array([width / size[0], height / size[1]], np.float32)
    half = np.float32(0.5)
    across, down = (
        (((np.arange(n, dtype=np.float32) + half) / r - half) / NODE).astype(np.float32)
        for n, r in ((width, ratio[0]), (height, ratio[1]))
    )
    cols, rows = np.meshgrid(across, down)
    return [
        (
            rewound.seam - int(number),
            (cv2.remap(nodes, cols, rows, cv2.INTER_LINEAR) + half) * ratio - half,
        )
        for number, nodes in zip(where, places, strict=True)
    ]


# no check of what is divided by: with it the inner loop would not be done eight pixels at a time
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz", "contract"})
def _measure_unlikeness(here: F32, there: F32, miss: int) -> F32:
    """The least distance (H, W) of Lab colours (H, W, 3) ``here`` to those of ``there`` within
    ``miss`` pixels. Less light takes as much of a colour's strength."""
    height, width = here.shape[:2]
    zero, one, black = np.float32(0), np.float32(1), np.float32(16)
    dark, slope = np.float32(_DARK[0]), np.float32(1 / (_DARK[1] - _DARK[0]))
    shade = np.float32(1 - _SHADE)
    rim = np.empty((3, height, width + 2 * miss), np.float32)  # planes, with borders repeated
    for row in range(height):
        for col in range(width + 2 * miss):
            for c in range(3):
                rim[c, row, col] = there[row, min(max(col - miss, 0), width - 1), c]
    unlike = np.empty((height, width), np.float32)
    mine = np.empty((3, width), np.float32)
    for row in range(height):
        least = unlike[row]
        for col in range(width):
            least[col] = np.inf
            for c in range(3):
                mine[c, col] = here[row, col, c]
        for down in (-miss, 0, miss):
            y = min(max(row + down, 0), height - 1)
            for start in (0, miss, 2 * miss):
                other = rim[:, y, start : start + width]
                for col in range(width):
                    lighter = mine[0, col] - other[0, col]
                    dim = min((mine[0, col] + black) / (other[0, col] + black), one)
                    part = min(max((dim - dark) * slope, zero), one)
                    lighter *= one - shade * (part if lighter < zero else zero)
                    red = mine[1, col] - other[1, col] * dim
                    yellow = mine[2, col] - other[2, col] * dim
                    apart = lighter * lighter + red * red + yellow * yellow
                    least[col] = min(least[col], apart)
            if miss == 0:
                break
        for col in range(width):
            least[col] = np.sqrt(least[col])
    return unlike


@njit(cache=True, nogil=True)
def _leave_out(unlike: F32, place: F32, right: int, below: int) -> None:
    """Sets ``unlike`` (H, W) to infinity where ``place`` (H, W, 2) lies outside of a picture whose
    last column and row are ``right`` and ``below``."""
    for row in range(unlike.shape[0]):
        for col in range(unlike.shape[1]):
            x, y = place[row, col, 0], place[row, col, 1]
            if not (x >= 0 and y >= 0 and x <= right and y <= below):
                unlike[row, col] = np.inf


@njit(cache=True, nogil=True)
def _choose_by_rank(apart: F32, fewest: int, share: float) -> F32:
    """Of the finite values of ``apart`` (M, H, W) at each place the one that ``share`` of the rest
    are less than, (H, W); NaN where they are fewer than ``fewest``."""
    height, width = apart.shape[1:]
    chosen = np.full((height, width), np.nan, np.float32)
    ranked = np.empty(len(apart), np.float32)
    for row in range(height):
        for col in range(width):
            count = 0
            for m in range(len(apart)):
                value = apart[m, row, col]
                if not value < np.inf:
                    continue
                insert(ranked, count, value)
                count += 1
            if count >= fewest:
                chosen[row, col] = ranked[int(np.rint(share * (count - 1)))]
    return chosen
