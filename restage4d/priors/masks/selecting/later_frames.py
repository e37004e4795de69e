"""The subject in the first frame as a later frame sees it.

Followed to a later frame and from there back, a mask loses what was background and gets what was
missed, as motion and revealed background tell more on the way; but its outline is less exact. So
the two are compared region by region.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Rewound, rewind
from restage4d.frame_arrays import stack_on_cores
from restage4d.priors.masks.following.propagate import STEPS, follow
from restage4d.priors.masks.regions import label, remove_fragments
from restage4d.priors.masks.selecting.segment import Still, measure_outline
from restage4d.priors.motion.first_motion import OwnMotion
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.progress import Progress, Task

Bool = NDArray[np.bool_]

_LATER = 8  # frames after which the subject is followed back
_SIDE = 384  # pixels of the longer side at which it is followed, at most
_SEEN = 0.6  # share of a guess that must be followed
_LESS = 0.05  # by which the score of the outline may fall below the best so far


def count_steps(frames: int) -> int:
    """By how many `correct_by_later_frame` advances its task for a clip of ``frames``."""
    return 2 * STEPS * (1 + _LATER) if frames > _LATER else 0


def correct_by_later_frame(
    base: Clip, still: Still, mask: Bool, guess: Bool, traced: Bool, task: Task
) -> Bool:
    """``mask`` (H, W) of the first frame with each region taken away, or added, in which it differs
    from the mask that is followed back to it, where that leaves its outline as clear. Of ``guess``
    and ``traced`` those regions are added that are followed, too. As it is where the clip is too
    short.

    Args:
        base: the clip.
        still: its first frame.
        guess: (H, W) outside of the mask, what may be its subject's.
        traced: (H, W) the same with an outline that is known: what is followed of it stays whole.
        task: advanced by `count_steps`.

    Example:
        >>> with progress.task(TaskId.SELECT, count_steps(len(base))) as task:
        ...     mask = correct_by_later_frame(base, still, mask, guess, traced, task)
    """
    if len(base) <= _LATER or not mask.any():
        return mask
    maybe = guess | traced
    ratio = min(1.0, _SIDE / max(base.size))
    size = round(ratio * base.size[0]), round(ratio * base.size[1])
    still = _resize_still(still, size)
    frames = stack_on_cores(lambda frame: _resize(frame, size), base.frames[: 1 + _LATER])
    there = rewind(Clip(frames, base.fps), [])  # lives on: its flow is that of the way back, too
    later = _follow_to_end(there, _resize_mask(mask | maybe, size), task)
    back = _follow_to_end(rewind(Clip(frames[::-1], base.fps), []), later, task)
    if not back.any():
        return mask
    first, added = _resize_mask(mask, size), np.zeros_like(mask)
    for region in _list_regions(_resize_mask(maybe, size)):
        if back[region].mean() > _SEEN:
            first, added = first | region, added | _resize_mask(region, base.size)
    result = mask | (added & maybe)
    now, best = first, measure_outline(still, first).score
    gone, come = (_list_regions(part) for part in (first & ~back, back & ~first))
    for region, comes in [*((r, False) for r in gone), *((r, True) for r in come)]:
        task.advance(0)
        changed = now | region if comes else now & ~region
        clearness = measure_outline(still, changed).score
        if changed.any() and clearness >= best - _LESS:
            now, best = changed, max(best, clearness)
            where = _resize_mask(region, base.size)
            result = result | where if comes else result & ~where
    return remove_fragments(result | (added & traced))


def _follow_to_end(rewound: Rewound, first: Bool, task: Task) -> Bool:
    """The subject of ``first`` (H, W) in the last frame."""
    return follow(rewound, compute_optical_flow(rewound, Progress()), first, task)[0]


def _list_regions(mask: Bool) -> list[Bool]:
    """The connected parts of ``mask`` (H, W)."""
    parts = label(mask, corners=True)
    return [parts == number for number in range(1, int(parts.max()) + 1)]


def _resize_still(still: Still, size: tuple[int, int]) -> Still:
    """The same frame as a smaller picture."""
    if still.frame.shape[1::-1] == size:
        return still
    motion = still.motion
    velocity = _resize(motion.velocity, size) * np.float32(size[0] / still.frame.shape[1])
    known = _resize_mask(motion.known, size)
    return Still(
        _resize(still.frame, size), OwnMotion(_resize(motion.moving, size), velocity, known)
    )


def _resize_mask(mask: Bool, size: tuple[int, int]) -> Bool:
    return _resize(mask.astype(np.float32), size) > 0.5


def _resize(picture: NDArray, size: tuple[int, int]) -> NDArray:  # (H, W[, C]) -> (h, w[, C])
    if picture.shape[1::-1] == size:
        return picture
    smaller = size[0] < picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how))
