"""A person that was clicked, by MediaPipe's silhouettes: they take no bystander of the same colours
along."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from restage4d.clips import Clip, Rewound, Selection, rewind
from restage4d.evaluate.metrics.image import iou
from restage4d.priors.masks.grabcut import GrabCutMasks, mark_border_unknown
from restage4d.priors.people.body import find_body
from restage4d.priors.people.person_depth import PersonConfig
from restage4d.progress import Progress

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
_SOLID, _SURE, _FAINT = 0.5, 0.8, 0.3  # silhouettes: the outline, the person's, and what may be
_ROOM = 5  # pixels around the latter, at a longer side of 384: hair, a blurred hand
_WINDOWS = (0.25, 0.35, 0.45, 1.0)  # of the picture, about a click, in which a person is sought
_AGREE = 0.6  # IoU of two silhouettes of one person; what one window alone shows may be nobody
_NEAR = 4  # pixels by which a click may miss the silhouette
_SAME = 0.85  # IoU of the first mask with the silhouette: then the person alone is followed


class PersonMasks:
    """A `MaskProvider` (`restage4d.priors.protocols`) for people: the selection is theirs, and is
    followed as without weights and then cut to the silhouettes of the frames. Where nobody is at
    the selection, or it holds more than a person, it is as without weights.

    Args:
        config: see `PersonConfig`.
    """

    name = "mediapipe"

    def __init__(self, config: PersonConfig) -> None:
        self.config = config
        self._plain = GrabCutMasks()

    def select(self, base: Clip, selection: Selection, progress: Progress) -> Bool:
        """See `MaskProvider`."""
        found = self._find_person(base, selection, progress)
        return self._plain.select(base, selection, progress) if found is None else found

    def propagate(self, rewound: Rewound, first: Bool, progress: Progress) -> F32:
        """See `MaskProvider`."""
        plain = self._plain.propagate(rewound, first, progress)
        body = find_body(self.config.python, rewound, plain, self.config.timeout, progress)
        seam = rewound.seam
        if not body.is_person or iou(body.mask[seam] > _SOLID, first) < _SAME:
            return plain
        masks = plain > 0.5
        room = max(1, round(_ROOM * max(rewound.clip.size) / 384))
        for t in np.flatnonzero(body.found):
            masks[t] &= binary_dilation(body.mask[t] > _FAINT, iterations=room)
            masks[t] |= body.mask[t] > _SURE
        masks[seam] = first
        return mark_border_unknown(masks)

    def _find_person(self, base: Clip, selection: Selection, progress: Progress) -> Bool | None:
        """The silhouette (H, W) at a click or in a box; None where nobody is."""
        windows = _list_windows(selection, base.size)
        if not windows:
            return None
        width, height = base.size
        tried = rewind(Clip(np.repeat(base.frames[:1], len(windows), 0), base.fps), [])
        given = np.zeros((len(windows), height, width), np.float32)
        for mask, (x0, y0, x1, y1) in zip(given, windows, strict=True):
            mask[y0:y1, x0:x1] = 1
        body = find_body(self.config.python, tried, given, self.config.timeout, progress)
        seen = [body.mask[t] > _SOLID for t in np.flatnonzero(body.found)]
        if selection.point is None:
            return seen[0] if seen else None
        x, y = (int(v) for v in selection.point)
        at = min(y, height - 1), min(x, width - 1)
        hit = [mask for mask in seen if binary_dilation(mask, iterations=_NEAR)[at]]
        for i, mask in enumerate(hit):
            if any(iou(mask, other) > _AGREE for other in hit[i + 1 :]):
                return mask
        return None


def _list_windows(selection: Selection, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Boxes x0 y0 x1 y1 inside the picture in which a person is sought, the likeliest first."""
    width, height = size
    if selection.box is not None:
        x0, y0, x1, y1 = (round(v) for v in selection.box)
        return [(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))]
    if selection.point is None:
        return []
    x, y = selection.point
    boxes = []
    for part in _WINDOWS:
        half = part * max(width, height) / 2
        boxes.append(
            (
                round(max(x - half, 0)),
                round(max(y - half, 0)),
                round(min(x + half, width)),
                round(min(y + half, height)),
            )
        )
    return boxes
