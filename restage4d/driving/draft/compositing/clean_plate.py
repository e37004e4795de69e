"""The clean plate: the base's first frame without the subject.

What other frames of the base show behind the subject is brought over by homographies and a smooth
residual flow; what no frame shows is completed from patches of the picture itself
(`restage4d.driving.draft.compositing.inpaint`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from restage4d.clips import Clip
from restage4d.driving.draft.compositing.inpaint import complete
from restage4d.driving.draft.compositing.matte import spread
from restage4d.progress import Task

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MOST_FRAMES = 60
_AGREE = 28.0  # grey levels between views that show the same
_SHARP = 0.6  # how sharp a view must be beside the first frame
_GOOD_FIT = 14.0  # mean difference in grey levels that registered frames may have around the hole


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


def dilate(mask: Mask, radius: int) -> Mask:
    """The mask with everything within ``radius`` pixels of it."""
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), shape).astype(bool)


def register(base: Clip, mask: Mask, stage: Task) -> Registration:
    """Follows background and subject from frame to frame; ends early where the background is lost
    (a cut, a blur)."""
    stride = int(np.ceil(len(base) / _MOST_FRAMES))
    unit = max(base.size) / 384
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    result = Registration([0], [np.eye(3)], [mask])
    gray = cv2.cvtColor(base.frames[0], cv2.COLOR_RGB2GRAY)
    grid = np.stack(np.meshgrid(np.arange(base.size[0]), np.arange(base.size[1])), -1).astype(
        np.float32
    )
    soft = mask.astype(np.float32)
    like_subject = _learn_colours(base.frames[0], mask)
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
        if (
            like_subject is not None
        ):  # where colours tell subject from background, they keep the mask from drifting off
            alike = like_subject(base.frames[t])
            soft = np.where(
                dilate(soft > 0.3, reach),
                np.maximum(soft * (0.9 + 0.1 * alike), 0.8 * (alike > 0.8)),
                soft,
            ).astype(np.float32)
        gray = after
        result.index.append(t)
        result.to_first.append(result.to_first[-1] @ H)
        result.masks.append(dilate(soft > 0.3, round((2 + 0.06 * t) * unit)))
        stage.advance()
    return result


def _learn_colours(
    frame: NDArray[np.uint8], mask: Mask
) -> Callable[[NDArray[np.uint8]], F32] | None:
    """How much a pixel's colour is the subject's rather than its surroundings', 0..1; None where
    colours do not tell."""

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
    if (share[number[mask]] > 0.8).mean() < 0.7 or (share[number[around]] > 0.8).mean() > 0.004:
        return None
    return lambda picture: share[bins(picture)]


def _match_background(from_gray: NDArray, to_gray: NDArray, subject: Mask) -> F64 | None:
    """Homography of the background from one frame to the one before; None where too little
    agrees."""
    free = (~subject).astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(to_gray, 500, 0.003, 6, mask=free, blockSize=5)
    if corners is None or len(corners) < 20:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        to_gray, from_gray, corners, np.empty_like(corners), maxLevel=4
    )
    back, again, _ = cv2.calcOpticalFlowPyrLK(
        from_gray, to_gray, moved, np.empty_like(corners), maxLevel=4
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


def make_clean_plate(
    base: Clip, first: F32, hole: Mask, unlike: Mask, found: Registration, stage: Task
) -> F32:
    """``first``, the base's first frame (H, W, 3) in 0..255, with ``hole`` filled and unchanged
    outside it.

    Where ``unlike`` (H, W), other frames are not trusted (the subject's shadow falls there in them,
    too).
    """
    plate = first.copy()
    views: list[
        F32
    ] = []  # (pixels of the hole, 3) each, NaN where a view does not show the background
    for t, H, mask in zip(found.index[1:], found.to_first[1:], found.masks[1:], strict=True):
        seen = cv2.warpPerspective(
            (~mask).astype(np.uint8), H, base.size, flags=cv2.INTER_NEAREST
        ).astype(bool)
        hidden = dilate(~seen, 2)
        if (hole & ~hidden).sum() >= max(20, 0.01 * hole.sum()):
            piece = _align_view(base.frames[t], H, hidden, plate, hole, base.size)
            if piece is not None:
                views.append(np.where(hidden[hole][:, None], np.nan, piece[hole]))
        stage.advance()
    left = hole.copy()
    if len(views) >= 2:
        plate[hole], missing = _merge_views(np.stack(views))
        left[hole] = missing | unlike[hole]
        left = dilate(left, 1) & hole  # the last pixel before a gap is the least certain
    return complete(plate, left, np.random.default_rng(0)) if left.any() else plate


def _merge_views(views: F32) -> tuple[F32, NDArray[np.bool_]]:  # (V, P, 3) -> (P, 3), (P,)
    """Per pixel the earliest view that agrees with most others, and where there is none.

    A rough mask lets parts of the subject slip through; they move, so that most views agree on the
    background. One view's pixels are sharper than their median.
    """
    known = np.isfinite(views[..., 0])
    count = known.sum(0)
    enough = count >= 2
    middle = np.zeros(views.shape[1:], np.float32)
    middle[enough] = np.nanmedian(views[:, enough], axis=0)
    with np.errstate(invalid="ignore"):
        agrees = known & (np.abs(views - middle).max(-1) < _AGREE)
    enough &= agrees.sum(0) >= np.maximum(2, 0.5 * count)
    result = np.zeros_like(middle)
    first = agrees.argmax(0)
    result[enough] = views[first[enough], np.flatnonzero(enough)]
    return result, ~enough


def _align_view(
    frame: NDArray[np.uint8], H: F64, hidden: Mask, plate: F32, left: Mask, size: tuple[int, int]
) -> F32 | None:
    """Another frame in the plate's view, bent and tinted to meet the plate around the hole; None
    where it does not fit."""
    warped = cv2.warpPerspective(
        frame, H, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    both = ~hidden & ~left
    near = both & dilate(left, max(6, max(size) // 25))
    if near.sum() < 50:
        return None
    now = cv2.cvtColor(np.clip(plate, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    then = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY)
    then = np.where(both, then, now).astype(np.uint8)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
        now, then, np.zeros((*now.shape, 2), np.float32)
    )
    inner = both & ~dilate(~both, 4) & (np.abs(flow).max(-1) < 0.03 * max(size))
    if inner.sum() < 50:
        return None
    smooth = cv2.GaussianBlur(
        spread(np.asarray(flow, np.float32), inner.astype(np.float32)), (0, 0), max(size) / 60
    )
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).astype(np.float32)
    bent = cv2.remap(warped, grid + smooth, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
    bent = np.asarray(bent, np.float32)
    rest = plate - bent
    if float(np.abs(rest[near]).mean()) > _GOOD_FIT:
        return None
    if (
        cv2.Laplacian(bent, cv2.CV_32F)[near].std()
        < _SHARP * cv2.Laplacian(plate, cv2.CV_32F)[near].std()
    ):
        return None
    tint = spread(
        np.asarray(cv2.blur(rest, (3, 3)), np.float32),
        (near & (np.abs(rest).max(-1) < 50)).astype(np.float32),
    )
    return np.clip(bent + tint, 0, 255).astype(np.float32)
