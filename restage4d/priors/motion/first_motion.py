"""How the first frame's pixels move against the background in the frames that follow."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from restage4d.clips import Clip, rewind
from restage4d.priors.motion.background_motion import is_lost
from restage4d.priors.motion.optical_flow import compute_optical_flow, warp
from restage4d.priors.motion.smooth_colours import smooth_lab
from restage4d.progress import Progress

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_BLUR = 1.5  # pixels over which colours are smoothed
_LOOKAHEAD = 16  # frames over which motion against the background is added up
_LASTING = 2  # frames for which a pixel must be that far away; a leg is lost soon after
_SPECK = 192  # of the longer side: specks of motion that are smaller are errors of the flow
_JUMP = 14.0  # change of smoothed Lab colour that ends a pixel's way: something else hides it


@dataclass
class OwnMotion:
    """How the pixels of the first frame move against the background in the next frames.

    Attributes:
        moving: (H, W) the farthest that a pixel gets for a while, over the background's own
            scatter.
        velocity: (H, W, 2) pixels per frame, over as many frames as a pixel can be followed.
        known: (H, W) what can be followed long enough to tell.
    """

    moving: F32
    velocity: F32
    known: Bool


def measure_motion(base: Clip, progress: Progress) -> OwnMotion:
    """The first frame's motion against the background, which is what moves by the dominant
    homography of each pair of frames.

    A pixel is followed as long as flow comes back and its colour stays: background that the subject
    is about to hide is dragged along for a frame or two.
    """
    width, height = base.size
    rewound = rewind(Clip(base.frames[:_LOOKAHEAD], base.fps), [])
    shape = (height, width)
    nothing = np.zeros((*shape, 2), np.float32)
    if len(rewound) < 2:
        return OwnMotion(nothing[..., 0], nothing, np.ones(shape, bool))
    flow = compute_optical_flow(rewound, progress)
    order = rewound.video(0)
    rows, cols = np.indices(shape, np.float32)
    here = np.stack([cols, rows], -1)
    moved = nothing.copy()
    followed = np.ones(shape, bool)
    total = np.eye(3)
    first = smooth_lab(base.frames[0], _BLUR)
    left, right, seen = [], [], []
    for b, (p, t) in enumerate(pairwise(order), 1):
        total = fit_dominant_homography(flow.get_flow(p, t)) @ total
        step = warp(flow.get_flow(p, t), moved)
        back = warp(flow.get_flow(t, p), moved + step)
        followed = followed & ~is_lost(step, back)
        moved = moved + step
        change = warp(smooth_lab(base.frames[b], _BLUR), moved) - first
        followed &= np.linalg.norm(change, axis=-1) < _JUMP
        if followed.mean() < 0.3:
            break
        expected = cv2.perspectiveTransform(here.reshape(1, -1, 2), total).reshape(here.shape)
        left.append((here + moved - expected).astype(np.float32))
        right.append(left[-1] - _fit_parallax(left[-1]))
        seen.append(followed)
    if not seen:
        return OwnMotion(nothing[..., 0], nothing, np.ones(shape, bool))
    # Taking parallax out brings in the margins' own errors, so it must explain much.
    before, after = _measure_scatters(left, seen), _measure_scatters(right, seen)
    if np.mean(after) > 0.4 * np.mean(before):
        return _add_up(left, before, seen)
    return _add_up(right, after, seen)


def _measure_scatters(residual: list[F32], seen: list[Bool]) -> list[float]:
    """The background's own scatter after each step, in pixels."""
    return [
        1.5 * float(np.median(np.hypot(r[..., 0], r[..., 1])[s])) + 0.3
        for r, s in zip(residual, seen, strict=True)
    ]


def _add_up(residual: list[F32], scatters: list[float], seen: list[Bool]) -> OwnMotion:
    """Motion from what the background leaves over after each step (H, W, 2), its own scatter, and
    which pixels were followed that far (H, W)."""
    velocity = np.zeros_like(residual[0])
    apart = []
    for i, (left, scatter, followed) in enumerate(zip(residual, scatters, seen, strict=True)):
        velocity[followed] = left[followed] / (i + 1)
        apart.append(np.where(followed, np.hypot(left[..., 0], left[..., 1]) / scatter, 0))
    early = apart[: _LASTING - 1]  # what is fast is lost before it has lasted
    late = [np.min(apart[i : i + _LASTING], axis=0) for i in range(max(0, len(apart) - len(early)))]
    farthest = np.max(early + late, axis=0).astype(np.float32)
    size = 2 * round(max(farthest.shape) / _SPECK) + 1
    moving = ndimage.median_filter(farthest, size, mode="nearest")
    return OwnMotion(moving, velocity, seen[min(_LASTING, len(seen)) - 1])


def _fit_parallax(left_over: F32) -> F32:  # (H, W, 2) -> (H, W, 2)
    """What ground and backdrop move by beyond the homography: it changes from row to row, so each
    row's margins tell it."""
    height, width = left_over.shape[:2]
    margin = max(2, width // 8)
    sides = [np.median(band, axis=1) for band in (left_over[:, :margin], left_over[:, -margin:])]
    left, right = (
        ndimage.median_filter(side, size=(max(3, height // 6), 1), mode="nearest") for side in sides
    )
    share = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    return left[:, None] * (1 - share) + right[:, None] * share


def fit_dominant_homography(
    flow: F32, free: Bool | None = None
) -> NDArray[np.float64]:  # (H, W, 2) -> (3, 3)
    """The homography that most pixels (of ``free``, if given) move by; the identity where there is
    none."""
    height, width = flow.shape[:2]
    step = max(2, max(height, width) // 64)
    rows, cols = (
        grid.ravel() for grid in np.mgrid[step // 2 : height : step, step // 2 : width : step]
    )
    if free is not None and free[rows, cols].sum() >= 50:
        rows, cols = rows[free[rows, cols]], cols[free[rows, cols]]
    start = np.stack([cols, rows], -1).astype(np.float32)
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(start, start + flow[rows, cols], cv2.RANSAC, 1.0, maxIters=500)
    return np.eye(3) if found is None else np.asarray(found, np.float64)
