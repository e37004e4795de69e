"""Points of the background, followed through the rewound clip: what cameras are found from."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.progress import Task

F32 = NDArray[np.float32]

_WINDOW = (15, 15)
_SPACING = 9  # pixels between points when picked, at 384 pixels of longer side
_ROUND_TRIP = 0.5  # pixels that a point may miss itself by, there and back
_MARGIN = 5  # pixels kept clear of the subject: half a window less a little


def follow(rewound: Rewound, masks: F32, task: Task) -> F32:
    """Background points by pyramidal Lucas-Kanade with a round-trip check, along the tree of
    frames.

    Points are picked wherever a frame has corners and no point yet, and followed away from b_m,
    into every branch.

    Args:
        masks: (T, H, W) as in `Priors.masks`; anything but 0 counts as subject.
        task: advanced by one for every frame.

    Returns:
        xy (P, T, 2) in pixels (centres at +0.5), NaN where a point is not seen. Every point is seen
        in three frames at least.
    """
    count, height, width = masks.shape
    scale = max(height, width) / 384
    spacing = max(4, round(_SPACING * scale))
    reach = round(_MARGIN * scale)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.005)

    def read_grey(t: int) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(rewound.clip.frames[t], cv2.COLOR_RGB2GRAY), np.uint8)

    live: list[tuple[NDArray[np.int64], F32]] = [
        (np.empty(0, np.int64), np.empty((0, 2), np.float32))
    ] * count
    known = 0
    for t, parent in enumerate(rewound.parent):
        free = (cv2.dilate((masks[t] != 0).astype(np.uint8), kernel) == 0).astype(np.uint8)
        number, xy = live[parent] if parent >= 0 else live[t]
        grey = read_grey(t)
        if len(xy):
            before = read_grey(parent)
            ahead, found, _ = cv2.calcOpticalFlowPyrLK(
                before,
                grey,
                xy,
                xy.copy(),
                winSize=_WINDOW,
                maxLevel=4,
                criteria=criteria,
            )
            back, found_back, _ = cv2.calcOpticalFlowPyrLK(
                grey,
                before,
                ahead,
                ahead.copy(),
                winSize=_WINDOW,
                maxLevel=4,
                criteria=criteria,
            )
            missed = np.linalg.norm(back - xy, axis=1)
            cell = np.floor(ahead + 0.5).astype(int)
            inside = (cell >= 2).all(1) & (cell[:, 0] < width - 2) & (cell[:, 1] < height - 2)
            keep = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (missed < _ROUND_TRIP) & inside
            keep[keep] = free[cell[keep, 1], cell[keep, 0]] > 0
            number, xy = number[keep], ahead[keep]
        for x, y in np.round(xy).astype(int):
            cv2.circle(free, (int(x), int(y)), spacing, 0, -1)
        fresh = cv2.goodFeaturesToTrack(grey, 0, 0.002, spacing, mask=free, blockSize=5)
        if fresh is not None:
            fresh = cv2.cornerSubPix(grey, fresh, (3, 3), (-1, -1), criteria).reshape(-1, 2)
            number = np.concatenate([number, np.arange(known, known + len(fresh))])
            xy = np.concatenate([xy, fresh])
            known += len(fresh)
        live[t] = (number, xy.astype(np.float32))
        task.advance()
    result = np.full((known, count, 2), np.nan, np.float32)
    for t, (number, xy) in enumerate(live):
        result[number, t] = xy + 0.5  # OpenCV puts the centre of pixel 0 at 0
    return result[np.isfinite(result[..., 0]).sum(1) >= 3]


def triangulate(xy: F32, cameras: Cameras) -> F32:  # (P, T, 2) -> (S, 3)
    """World points of tracks under known cameras: those seen from two places that agree to a pixel
    in most frames."""
    K, w2c = cameras.K.astype(np.float64), cameras.w2c.astype(np.float64)
    seen = np.isfinite(xy[..., 0])
    ray = np.nan_to_num((xy - K[:, :2, 2]) / K[:, [0, 1], [0, 1]])
    # x·(row 3) - (row 1 or 2) applied to the point is 0 (direct linear transform)
    lines = ray[..., None] * w2c[:, None, 2] - w2c[:, :2]
    lines = (lines * seen[..., None, None]).reshape(len(xy), -1, 4)
    A, b = lines[..., :3], -lines[..., 3]
    normal = np.einsum("pki,pkj->pij", A, A)
    spread = np.linalg.eigvalsh(normal)
    # depth is known by the smallest eigenvalue: over the next one, it is the mean squared angle
    # between viewing rays
    good = spread[:, 0] > (np.radians(0.5) / 2) ** 2 * spread[:, 1]
    points = np.linalg.solve(
        normal[good] + 1e-12 * np.eye(3), np.einsum("pki,pk->pi", A[good], b[good])[..., None]
    )[..., 0]
    local = np.einsum("tij,pj->pti", w2c[:, :3, :3], points) + w2c[:, :3, 3]
    image = local[..., :2] / np.maximum(local[..., 2:], 1e-9) * K[:, [0, 1], [0, 1]] + K[:, :2, 2]
    scale = 2 * float(np.median(K[:, :2, 2].max(1))) / 384
    off = np.linalg.norm(image - xy[good], axis=-1)
    agreed = ((off < scale) & (local[..., 2] > 1e-6)).sum(1) >= 0.8 * seen[good].sum(1)
    return points[agreed].astype(np.float32)
