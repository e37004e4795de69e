"""Frames of the base brought into its first frame's view, and where the subject is in each.

Homographies of the background follow from frame to frame and are drawn back to the first frame
wherever the two still share enough; the mask is carried along by what moves against them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from restage4d.clips import Clip
from restage4d.driving.draft.compositing.matte import dilate, spread
from restage4d.progress import Task

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MOST_FRAMES = 40
_MOVES = 0.6  # pixels from frame to frame from which motion tells subject from background
_SHARED = 0.15  # of the picture that two frames must share to be matched


@dataclass
class Registration:
    """Frames of the base seen from its first frame's view.

    Attributes:
        index: numbers of the frames, 0 first.
        to_first: homographies from each frame's pixels to frame 0's (OpenCV pixel centres).
        masks: rough masks of the subject in each frame, on the large side.
    """

    index: list[int]
    to_first: list[F64]
    masks: list[Mask]


def register(base: Clip, mask: Mask, stage: Task) -> Registration:
    """Follows background and subject from frame to frame; ends early where the background is lost
    (a cut, a blur)."""
    stride = int(np.ceil(len(base) / _MOST_FRAMES))
    unit = max(base.size) / 384
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    result = Registration([0], [np.eye(3)], [mask])
    gray = cv2.cvtColor(base.frames[0], cv2.COLOR_RGB2GRAY)
    start = gray
    grid = np.stack(np.meshgrid(np.arange(base.size[0]), np.arange(base.size[1])), -1).astype(
        np.float32
    )
    soft = mask.astype(np.float32)
    like_subject, tell = _learn_colours(base.frames[0], mask)
    reach = round(12 * unit)
    for t in range(stride, len(base), stride):
        after = cv2.cvtColor(base.frames[t], cv2.COLOR_RGB2GRAY)
        H = _match_background(after, gray, dilate(soft > 0.3, round(3 * unit)))
        if H is None:
            break
        # first along the camera's motion, then the rest: large pans are beyond the flow's reach
        linear = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        nearby = cv2.warpPerspective(
            gray, H, base.size, flags=linear, borderMode=cv2.BORDER_REPLICATE
        )
        flow = flow_of.calc(after, nearby, np.zeros((*gray.shape, 2), np.float32))
        camera = cv2.perspectiveTransform((grid + flow).reshape(1, -1, 2), H).reshape(grid.shape)
        soft = cv2.remap(soft, camera, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
        alike = like_subject(base.frames[t])
        soft = _weigh_motion(soft, np.asarray(flow, np.float32), alike, reach)
        if tell:  # where colours tell subject from background, they keep the mask from drifting off
            soft = np.where(
                dilate(soft > 0.3, reach),
                np.maximum(soft * (0.9 + 0.1 * alike), 0.8 * (alike > 0.8)),
                soft,
            ).astype(np.float32)
        gray = after
        result.index.append(t)
        result.masks.append(dilate(soft > 0.3, round((2 + 0.06 * t) * unit)))
        to_first = result.to_first[-1] @ H
        drift = _measure_drift(gray, start, to_first, result.masks[-1], mask)
        result.to_first.append(drift @ to_first)
        stage.advance()
    return result


def _measure_drift(gray: NDArray, start: NDArray, to_first: F64, mask: Mask, mask0: Mask) -> F64:
    """What is missing at a homography to the first frame that many small ones added up to; the
    identity where the two share too little."""
    size = gray.shape[1], gray.shape[0]
    free = cv2.warpPerspective((~mask).astype(np.uint8), to_first, size, flags=cv2.INTER_NEAREST)
    free = cv2.erode(free, np.ones((9, 9), np.uint8)).astype(bool)
    if (free & ~mask0).mean() < _SHARED:
        return np.eye(3)
    warped = cv2.warpPerspective(gray, to_first, size, borderMode=cv2.BORDER_REPLICATE)
    H = _match_background(warped, start, ~free | mask0, most=150, levels=2)
    return np.eye(3) if H is None or not _is_slight(H, size) else H


def _is_slight(H: F64, size: tuple[int, int]) -> bool:
    """Whether a homography moves no corner of the picture far."""
    w, h = size
    corners = np.array([[[0, 0], [w, 0], [0, h], [w, h]]], np.float64)
    return bool(np.abs(cv2.perspectiveTransform(corners, H) - corners).max() < 0.08 * max(size))


def _weigh_motion(soft: F32, flow: F32, alike: F32, reach: int) -> F32:
    """The mask, less what stands with the background and more what moves with the subject.

    Flow alone leaves the mask on all ground that the subject lays bare: it comes from nowhere, so
    that its flow leads into the subject.

    Args:
        soft: (H, W) the mask, 0..1.
        flow: (H, W, 2) motion against the background.
        alike: (H, W) how much a colour is the subject's, 0..1: parts that stand still for a moment
            (a foot) are kept by it.
        reach: pixels beyond the mask in which the subject may be.
    """
    inside = soft > 0.5
    near = dilate(inside, reach)
    if not inside.any() or near.all():
        return soft
    still = spread(flow, (~near).astype(np.float32))  # parallax and what the homography missed
    moves = np.hypot(flow[..., 0] - still[..., 0], flow[..., 1] - still[..., 1])
    of_subject = moves[inside]
    usual = float(np.quantile(of_subject, 0.65))
    if usual < max(_MOVES, float(np.quantile(moves[~near], 0.9))):
        return soft
    share = np.clip(moves / usual / 0.4 - 0.25, 0, 1)
    share = np.asarray(cv2.blur(share, (3, 3)), np.float32)
    kept = soft * (0.7 + 0.3 * np.maximum(share, alike**2))
    return np.where(near, np.maximum(kept, 0.7 * (share > 0.9)), soft * 0.5).astype(np.float32)


def _learn_colours(
    frame: NDArray[np.uint8], mask: Mask
) -> tuple[Callable[[NDArray[np.uint8]], F32], bool]:
    """How much a pixel's colour is the subject's rather than its surroundings', 0..1, and whether
    that alone tells them apart."""

    def bins(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
        lab = cv2.cvtColor(cv2.GaussianBlur(picture, (0, 0), 0.8), cv2.COLOR_RGB2LAB).astype(
            np.int64
        )
        return (lab[..., 0] // 16 * 32 + lab[..., 1] // 8) * 32 + lab[..., 2] // 8

    number = bins(frame)
    inside, outside = (
        np.bincount(number[m], minlength=16 * 32 * 32).reshape(16, 32, 32) for m in (mask, ~mask)
    )
    inside, outside = (gaussian_filter(h / max(h.sum(), 1), 0.8).ravel() for h in (inside, outside))
    share = (inside / (inside + outside + 1e-9)).astype(np.float32)
    around = dilate(mask, max(frame.shape) // 16) & ~dilate(mask, 2)
    tell = (share[number[mask]] > 0.8).mean() > 0.7 and (share[number[around]] > 0.8).mean() < 0.004
    return lambda picture: share[bins(picture)], bool(tell)


def _match_background(
    from_gray: NDArray, to_gray: NDArray, subject: Mask, most: int = 400, levels: int = 4
) -> F64 | None:
    """Homography of the background from one frame to another, by at most so many corners over so
    many sizes; None where too little agrees."""
    free = (~subject).astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(to_gray, most, 0.003, 6, mask=free, blockSize=5)
    if corners is None or len(corners) < 20:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        to_gray, from_gray, corners, np.empty_like(corners), maxLevel=levels
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        from_gray, to_gray, moved, np.empty_like(corners), maxLevel=levels
    )
    good = (found[:, 0] > 0) & (again[:, 0] > 0) & (np.abs(back - corners).max(axis=(1, 2)) < 0.7)
    if good.sum() < 20:
        return None
    H, inliers = cv2.findHomography(moved[good], corners[good], cv2.USAC_MAGSAC, 1.0)
    return (
        None
        if H is None or inliers.sum() < max(15, 0.25 * good.sum())
        else np.asarray(H, np.float64)
    )
