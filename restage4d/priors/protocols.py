"""What a provider of each prior must offer. The weight-free ones live beside this file; learned
ones plug in the same way."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import (
    Cameras,
    Clip,
    Rewound,
    Selection,
    Tracks,
)
from restage4d.progress import Progress

F32 = NDArray[np.float32]


class MaskProvider(Protocol):
    """Finds the subject and follows it."""

    name: str

    def select(self, base: Clip, selection: Selection, progress: Progress) -> NDArray[np.bool_]:
        """The subject in the base's first frame, (H, W). Raises `InputError` if there is nothing at
        the selection."""
        ...

    def propagate(self, rewound: Rewound, first: NDArray[np.bool_], progress: Progress) -> F32:
        """Masks (T, H, W) as in `Priors.masks`, from ``first``, the mask of frame
        ``rewound.seam``."""
        ...


class CameraProvider(Protocol):
    """Finds the cameras from the background."""

    name: str

    def cameras(self, rewound: Rewound, masks: F32, progress: Progress) -> Cameras: ...


class DepthProvider(Protocol):
    """Finds planar z-depth (T, H, W) in the cameras' units, continuous over time and over the
    seam."""

    name: str

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32: ...


class TrackProvider(Protocol):
    """Follows points over the whole rewound clip."""

    name: str

    def tracks(self, rewound: Rewound, masks: F32, progress: Progress) -> Tracks: ...
