"""Masks that a person corrected on later frames of the base: the subject is followed anew from
each."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Rewound, rewind
from restage4d.priors.protocols import MaskProvider
from restage4d.progress import Progress

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_CONTEXT = 8  # frames beyond those that are replaced, so that the last of them are followed as well


def nearest_keyframes(n_frames: int, corrected: list[int]) -> NDArray[np.intp]:
    """For each base frame the keyframe it follows: the nearest in time of frame 0 and those
    ``corrected``, the earlier of two. (n_frames,)

    Example:
        >>> nearest_keyframes(6, [3])
        array([0, 0, 3, 3, 3, 3])
    """
    keyframes = np.array(sorted({0, *corrected}))
    away = np.abs(np.arange(n_frames)[:, None] - keyframes)
    return keyframes[away.argmin(axis=1)]


def follow_from_keyframe(
    rewound: Rewound,
    number: int,
    corrections: Mapping[int, Bool],
    provider: MaskProvider,
    progress: Progress,
) -> tuple[NDArray[np.intp], F32]:
    """Follows the subject both ways from a corrected mask.

    Args:
        rewound: the clip.
        number: of the base frame to start from, one of ``corrections``.
        corrections: masks (H, W) by the number of their base frame, from 1.
        provider: who follows.
        progress: told what the provider tells.

    Returns:
        rows: positions in ``rewound`` of the frames that follow this keyframe.
        masks: (rows, H, W) as in `Priors.masks`.
    """
    base = rewound.video(0)
    own = np.flatnonzero(nearest_keyframes(len(base), [*corrections]) == number)
    first, last = max(int(own[0]) - _CONTEXT, 0), min(int(own[-1]) + _CONTEXT, len(base) - 1)
    frames, fps = rewound.clip.frames[base], rewound.clip.fps
    before = Clip(frames[first : number + 1][::-1], fps)
    after = Clip(frames[number : last + 1], fps)
    # as if it was filmed from the keyframe on, and what lies before it were a driving video
    alone = rewind(after, [before]) if len(after) > 1 else rewind(before, [])
    found = provider.propagate(alone, corrections[number], progress)
    masks = np.empty((len(base), *found.shape[1:]), np.float32)
    if len(after) > 1:
        masks[number : last + 1] = found[alone.video(0)]
        masks[first : number + 1] = found[alone.video(1)][::-1]
    else:
        masks[first : number + 1] = found[alone.video(0)][::-1]
    return base[own], masks[own]
