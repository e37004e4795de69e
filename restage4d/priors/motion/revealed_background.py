"""The background that later frames show in the first frame's place: what the first frame shows
otherwise is a thing that moves, also a foot that stands for a while."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, rewind
from restage4d.priors.motion.background_motion import NODE, BackgroundMotion
from restage4d.priors.motion.optical_flow import Flow
from restage4d.progress import Progress

F32 = NDArray[np.float32]

LOOKAHEAD = 61  # frames that tell at most
_FRAMES = 12  # of them that are looked at, evenly spread
_SIDE = 192  # pixels of the longer side at which the background's motion is found
_FEWEST = 3  # frames that must show a place
_NEXT = 2  # of them from the first frame on that show too much of what it shows
_SHARE = 0.3  # of the frames must show a place as the first frame does
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
    step = max(1, -(-min(len(base) - 1, LOOKAHEAD - 1) // _FRAMES))
    frames = base.frames[:LOOKAHEAD:step]
    if len(frames) < _NEXT + _FEWEST:
        return np.full(frames.shape[1:3], np.nan, np.float32)
    scale = max(frames.shape[1:3]) / 384
    first = _smooth_lab(frames[0], scale)
    apart = []
    for number, place in _locate(Clip(frames, base.fps), progress):
        there = cv2.remap(
            _smooth_lab(frames[number], scale), place[..., 0], place[..., 1], cv2.INTER_LINEAR
        )
        inside = ((place >= 0) & (place <= np.array(first.shape[1::-1]) - 1)).all(-1)
        miss = round(_MISS * scale)
        apart.append(
            np.where(
                inside, _measure_unlikeness(first, np.asarray(there, np.float32), miss), np.inf
            )
        )
    ranked = np.sort(np.array(apart, np.float32), axis=0)
    count = np.isfinite(ranked).sum(0)
    rank = np.round(_SHARE * np.maximum(count - 1, 0)).astype(np.intp)
    found = np.take_along_axis(ranked, rank[None], axis=0)[0]
    return np.where(count >= _FEWEST, found, np.nan).astype(np.float32)


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


def _measure_unlikeness(here: F32, there: F32, miss: int) -> F32:
    """The least distance (H, W) of Lab colours (H, W, 3) ``here`` to those of ``there`` within
    ``miss`` pixels. Less light takes as much of a colour's strength."""
    height, width = here.shape[:2]
    wide = cv2.copyMakeBorder(there, miss, miss, miss, miss, cv2.BORDER_REPLICATE)
    least = np.full((height, width), np.inf, np.float32)
    for down in sorted({0, miss, 2 * miss}):
        for across in sorted({0, miss, 2 * miss}):
            other = wide[down : down + height, across : across + width]
            lighter = here[..., 0] - other[..., 0]
            dim = np.minimum((here[..., 0] + 16) / (other[..., 0] + 16), 1)
            hue = here[..., 1:] - other[..., 1:] * dim[..., None]
            shade = np.interp(dim, _DARK, (1, _SHADE)).astype(np.float32)
            light = np.where(lighter < 0, shade * lighter, lighter)
            least = np.minimum(least, light**2 + (hue**2).sum(-1))
    return np.sqrt(least)


def _smooth_lab(frame: NDArray[np.uint8], scale: float) -> F32:
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), 1.0 * scale), np.float32)
