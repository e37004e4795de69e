"""Dense optical flow between neighbouring frames of the rewound clip: computed once, shared by
masks and tracks.

Dense inverse search (Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016) as
OpenCV has it.
"""

import weakref
from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.frame_arrays import make_frames
from restage4d.progress import Progress, TaskId
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
F16 = NDArray[np.float16]

_FULL_DETAIL = (
    512  # longer side up to which the flow is computed at every pixel; above it at every second one
)


class Flow:
    """Flow along every edge of the tree of frames, both ways.

    Args:
        known: of a clip that shares frames with ``rewound``: taken over where both of an edge's
            are in it.

    Attributes:
        ahead: (T, H, W, 2) float16 pixels, from the parent of frame t to frame t, at the parent's
            pixels. Zero for the root.
        back: (T, H, W, 2) float16 pixels, from frame t to its parent, at frame t's pixels. Zero for
            the root.
    """

    def __init__(self, rewound: Rewound, progress: Progress, known: "Flow | None" = None) -> None:
        width, height = rewound.clip.size
        self._parent, self._size = rewound.parent, (width, height)
        self._digests = [blake2b(frame.tobytes()).digest() for frame in rewound.clip.frames]
        same: dict[int, tuple[F16, F16]] = {}
        if known and known._size == (width, height):
            there = {}
            for (parent, child), t in known._list_edges().items():
                there[parent, child] = known.ahead[t], known.back[t]
                there[child, parent] = known.back[t], known.ahead[t]  # played backwards
            same = {t: there[edge] for edge, t in self._list_edges().items() if edge in there}
        self.ahead, self.back = (
            make_frames((len(rewound), height, width, 2), np.float16) for _ in range(2)
        )
        finest = 0 if max(width, height) <= _FULL_DETAIL else 1
        with progress.task(TaskId.OPTICAL_FLOW, len(rewound) - 1) as task:

            def search(edge: tuple[int, int]) -> None:
                _, t = edge
                if t in same:
                    self.ahead[t], self.back[t] = same[t]
                    return
                here, there = (
                    cv2.cvtColor(rewound.clip.frames[i], cv2.COLOR_RGB2GRAY) for i in edge
                )
                dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # one a thread
                dis.setFinestScale(finest)
                self.ahead[t] = dis.calc(here, there, None)  # type: ignore[call-overload]
                self.back[t] = dis.calc(there, here, None)  # type: ignore[call-overload]

            map_on_cores(search, rewound.neighbours(), task.advance)

    def _list_edges(self) -> dict[tuple[bytes, bytes], int]:
        """The child's number by the digests of both frames of an edge, (parent, child)."""
        return {
            (self._digests[p], self._digests[t]): t for t, p in enumerate(self._parent) if p >= 0
        }

    def get_flow(self, a: int, b: int) -> F32:
        """Flow (H, W, 2) in pixels from frame ``a`` to its neighbour ``b``, at the pixels of
        ``a``."""
        if self._parent[b] == a:
            return self.ahead[b].astype(np.float32)
        if self._parent[a] == b:
            return self.back[a].astype(np.float32)
        raise ValueError(f"frames {a} and {b} are not neighbours")

    def compute_error(self, a: int, b: int) -> F32:
        """Forward-backward error (H, W) in pixels: how far a pixel of ``a`` comes back from itself,
        to ``b`` and back."""
        there = self.get_flow(a, b)
        miss = there + warp(self.get_flow(b, a), there)
        return np.hypot(miss[..., 0], miss[..., 1])


_last: tuple[weakref.ref[Rewound], Flow] | None = None


def compute_optical_flow(rewound: Rewound, progress: Progress) -> Flow:
    """The flow of ``rewound``; asked again for the same object, the same flow without work, and for
    one that shares frames with the last one, only what is new (that of one clip is kept)."""
    global _last
    last = _last
    if last is not None and last[0]() is rewound:
        return last[1]
    flow = Flow(rewound, progress, last[1] if last else None)
    _last = (weakref.ref(rewound, _forget), flow)
    return flow


def _forget(reference: weakref.ref[Rewound]) -> None:
    global _last
    if _last is not None and _last[0] is reference:
        _last = None


def warp(image: NDArray, flow: F32) -> F32:  # (H, W[, C]), (H, W, 2) -> (H, W[, C])
    """``image`` of one frame seen from another, whose flow to that one is ``flow``: pixel x shows
    ``image`` at x + flow(x)."""
    rows, cols = np.indices(flow.shape[:2], np.float32)
    x, y = cols + flow[..., 0], rows + flow[..., 1]
    return np.asarray(
        cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def sample(image: NDArray, xy: F32) -> F32:  # (H, W[, C]), (P, 2) -> (P[, C])
    """Bilinear samples of ``image`` at points ``xy`` (pixel centres at +0.5), those outside taken
    at the border."""
    height, width = image.shape[:2]
    x = np.clip(xy[:, 0] - 0.5, 0, width - 1)
    y = np.clip(xy[:, 1] - 0.5, 0, height - 1)
    col = np.minimum(x.astype(np.intp), max(width - 2, 0))
    row = np.minimum(y.astype(np.intp), max(height - 2, 0))
    right, below = min(1, width - 1), min(1, height - 1)
    fx, fy = (x - col).astype(np.float32), (y - row).astype(np.float32)
    if image.ndim == 3:
        fx, fy = fx[:, None], fy[:, None]
    top = image[row, col] * (1 - fx) + image[row, col + right] * fx
    bottom = image[row + below, col] * (1 - fx) + image[row + below, col + right] * fx
    return (top * (1 - fy) + bottom * fy).astype(np.float32)
