"""The subject in the first frame as a later frame sees it.

Followed to a later frame and from there back, a mask loses what was background and gets what was
missed, as motion and revealed background tell more on the way; but its outline is less exact. So
the two are compared region by region.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, rewind
from restage4d.frame_arrays import stack_on_cores
from restage4d.priors.masks.following.propagate import STEPS, follow
from restage4d.priors.masks.regions import label
from restage4d.priors.masks.selecting.segment import Still, measure_outline
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.progress import Progress, Task

Bool = NDArray[np.bool_]

_LATER = 8  # frames after which the subject is followed back
_SIDE = 384  # pixels of the longer side at which it is followed, at most
_SEEN = 0.6  # share of a guess that must be followed
_LESS = 0.05  # by which the score of an outline may fall


def count_steps(frames: int) -> int:
    """By how many `correct_by_later_frame` advances its task for a clip of ``frames``."""
    return 2 * STEPS * (1 + _LATER) if frames > _LATER else 0


def correct_by_later_frame(base: Clip, still: Still, mask: Bool, guess: Bool, task: Task) -> Bool:
    """``mask`` (H, W) of the first frame with each region taken away, or added, in which it differs
    from the mask that is followed back to it, where that leaves its outline as clear. Of ``guess``
    those regions are added that are followed, too. As it is where the clip is too short.

    Args:
        base: the clip.
        still: its first frame.
        guess: (H, W) outside of the mask, what may be its subject's.
        task: advanced by `count_steps`.

    Example:
        >>> with progress.task(TaskId.SELECT, count_steps(len(base))) as task:
        ...     mask = correct_by_later_frame(base, still, mask, guess, task)
    """
    if len(base) <= _LATER or not mask.any():
        return mask
    ratio = min(1.0, _SIDE / max(base.size))
    size = round(ratio * base.size[0]), round(ratio * base.size[1])
    frames = stack_on_cores(lambda frame: _resize(frame, size), base.frames[: 1 + _LATER])
    later = _follow_to_end(Clip(frames, base.fps), _resize_mask(mask | guess, size), task)
    back = _follow_to_end(Clip(frames[::-1], base.fps), later, task)
    seen = _resize_mask(back, base.size)
    for region in _list_regions(guess):
        if seen[region].mean() > _SEEN:
            mask = mask | region
    first = _resize_mask(mask, size)
    result, score = mask, measure_outline(still, mask).score
    for region in [*_list_regions(first & ~back), *_list_regions(back & ~first)]:
        where = _resize_mask(region, base.size)
        changed = result | where if back[region].all() else result & ~where
        clearness = measure_outline(still, changed).score
        if clearness >= score - _LESS:
            result, score = changed, clearness
    return result


def _follow_to_end(clip: Clip, first: Bool, task: Task) -> Bool:
    """The subject of ``first`` (H, W) in the last frame."""
    rewound = rewind(clip, [])
    return follow(rewound, compute_optical_flow(rewound, Progress()), first, task)[0]


def _list_regions(mask: Bool) -> list[Bool]:
    """The connected parts of ``mask`` (H, W)."""
    parts = label(mask, corners=True)
    return [parts == number for number in range(1, int(parts.max()) + 1)]


def _resize_mask(mask: Bool, size: tuple[int, int]) -> Bool:
    return _resize(mask.astype(np.float32), size) > 0.5


def _resize(picture: NDArray, size: tuple[int, int]) -> NDArray:  # (H, W[, C]) -> (h, w[, C])
    if picture.shape[1::-1] == size:
        return picture
    smaller = size[0] < picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how))
