"""The subject in the first frame: from a click, a box or a mask, or found by its motion against the background."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from restage4d.errors import InputError
from restage4d.priors.flow import optical_flow, warp
from restage4d.priors.regions import disk, label, tidy
from restage4d.progress import Progress
from restage4d.scene import Clip, Selection, rewind

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_LOOKAHEAD = 16  # frames over which motion against the background is added up
_MOVES = 4.0  # times the background's own scatter from which a pixel moves by itself
_ROUNDS = 8  # in which a subject grows around its moving part
_SMALLEST, _LARGEST = 0.001, 0.8  # share of the frame that a subject may fill

_POINT_REMEDY = "Click on the middle of the subject in the first frame, or draw a box or give a mask."


def select_subject(base: Clip, selection: Selection, progress: Progress) -> Bool:
    """The subject in the base's first frame, (H, W).

    Raises:
        InputError: the mask has another size than the frame or is empty, the box or point lies outside, there is nothing at the
            point that stands out from its surroundings, or nothing was pointed at and nothing moves.
    """
    width, height = base.size
    if selection.mask is not None:
        return _given(np.asarray(selection.mask), (height, width))
    frame = base.frames[0]
    moving = motion(base, progress)
    with progress.stage("select the subject"):
        if selection.box is not None:
            mask = _boxed(frame, moving, selection.box)
        elif selection.point is not None:
            mask = _clicked(frame, moving, selection.point)
        else:
            mask = _mover(frame, moving)
    return mask


def _given(mask: NDArray, shape: tuple[int, int]) -> Bool:
    if mask.shape != shape:
        raise InputError(
            f"The mask has {mask.shape[::-1]} pixels (width, height), the video {shape[::-1]}.",
            "Give a mask of the video's first frame in the video's size.",
        )
    mask = mask > 0
    share = mask.mean()
    if not 0 < share < 1:
        raise InputError(f"The mask is {'empty' if share == 0 else 'full'}.", "Mark the subject white and everything else black.")
    return mask


def motion(base: Clip, progress: Progress) -> F32:  # -> (H, W)
    """How far each pixel of the first frame moves against the background in the next frames, over the background's scatter.

    The background is what moves by the dominant homography of each pair of frames.
    """
    width, height = base.size
    rewound = rewind(Clip(base.frames[:_LOOKAHEAD], base.fps), [])
    best = {plain: np.zeros((height, width), np.float32) for plain in (True, False)}
    scatters: dict[bool, list[float]] = {True: [], False: []}
    if len(rewound) < 2:
        return best[True]
    flow = optical_flow(rewound, progress)
    order = rewound.video(0)
    rows, cols = np.indices((height, width), np.float32)
    here = np.stack([cols, rows], -1)
    moved = np.zeros((height, width, 2), np.float32)
    followed = np.ones((height, width), bool)
    total = np.eye(3)
    for a, b in pairwise(order):
        total = dominant_homography(flow.between(a, b)) @ total
        step = warp(flow.between(a, b), moved)
        back = warp(flow.between(b, a), moved + step)
        followed &= np.linalg.norm(step + back, axis=-1) < 1 + 0.05 * np.linalg.norm(step, axis=-1)
        moved = moved + step
        expected = cv2.perspectiveTransform(here.reshape(1, -1, 2), total).reshape(here.shape)
        if followed.mean() < 0.3:
            break
        left_over = here + moved - expected
        for plain, residual in ((True, left_over), (False, left_over - _parallax(left_over.astype(np.float32)))):
            apart = np.linalg.norm(residual, axis=-1)
            scatter = 1.5 * np.median(apart[followed]) + 0.3
            scatters[plain].append(scatter)
            best[plain] = np.maximum(best[plain], np.where(followed, apart / scatter, 0)).astype(np.float32)
    # Taking parallax out brings in the margins' own errors, so it must explain much.
    return best[bool(not scatters[True] or np.mean(scatters[False]) > 0.4 * np.mean(scatters[True]))]


def _parallax(left_over: F32) -> F32:  # (H, W, 2) -> (H, W, 2)
    """What ground and backdrop move by beyond the homography: it changes from row to row, so each row's margins tell it."""
    height, width = left_over.shape[:2]
    margin = max(2, width // 8)
    sides = [np.median(band, axis=1) for band in (left_over[:, :margin], left_over[:, -margin:])]
    left, right = (ndimage.median_filter(side, size=(max(3, height // 6), 1), mode="nearest") for side in sides)
    share = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    return left[:, None] * (1 - share) + right[:, None] * share


def dominant_homography(flow: F32, free: Bool | None = None) -> NDArray[np.float64]:  # (H, W, 2) -> (3, 3)
    """The homography that most pixels (of ``free``, if given) move by; the identity where there is none."""
    height, width = flow.shape[:2]
    step = max(2, max(height, width) // 64)
    rows, cols = (grid.ravel() for grid in np.mgrid[step // 2 : height : step, step // 2 : width : step])
    if free is not None and free[rows, cols].sum() >= 50:
        rows, cols = rows[free[rows, cols]], cols[free[rows, cols]]
    start = np.stack([cols, rows], -1).astype(np.float32)
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(start, start + flow[rows, cols], cv2.RANSAC, 1.0, maxIters=500)
    return np.eye(3) if found is None else np.asarray(found, np.float64)


def grab(frame: NDArray[np.uint8], labels: NDArray[np.uint8], rounds: int = 4) -> Bool:  # (H, W, 3), (H, W) -> (H, W)
    """GrabCut in Lab from ``labels`` (cv2.GC_*), looking at the surroundings of what may be foreground only."""
    rows, cols = np.nonzero(labels != cv2.GC_BGD)
    pad = max(frame.shape[:2]) // 12
    box = np.s_[max(rows.min() - pad, 0) : rows.max() + pad + 1, max(cols.min() - pad, 0) : cols.max() + pad + 1]
    inside = labels[box].copy()
    lab = cv2.cvtColor(np.ascontiguousarray(frame[box]), cv2.COLOR_RGB2LAB)
    result = np.zeros(labels.shape, bool)
    fore, back = (inside == cv2.GC_FGD) | (inside == cv2.GC_PR_FGD), (inside == cv2.GC_BGD) | (inside == cv2.GC_PR_BGD)
    if fore.any() and back.any():
        cv2.setRNGSeed(0)  # GrabCut starts with k-means
        cv2.grabCut(lab, inside, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
        fore = (inside == cv2.GC_FGD) | (inside == cv2.GC_PR_FGD)
    result[box] = fore
    return result


def _grown(frame: NDArray[np.uint8], moving: F32, part: Bool, sure: Bool) -> Bool:
    """The whole subject around its moving ``part``: GrabCut, again and again while it still finds more around it.

    Often only a head or a leg moves in the first second; each round may reach a little further than the one before.
    """
    mask = part
    seed = part & (moving > 2 * _MOVES)
    for _ in range(_ROUNDS):
        size = np.sqrt(mask.sum())
        labels = np.full(part.shape, cv2.GC_BGD, np.uint8)
        labels[cv2.dilate(mask.astype(np.uint8), disk(max(3, round(0.25 * size)))) > 0] = cv2.GC_PR_BGD
        labels[mask] = cv2.GC_PR_FGD
        labels[(cv2.erode(mask.astype(np.uint8), disk(max(1, round(0.05 * size)))) > 0) & seed] = cv2.GC_FGD
        labels[sure] = cv2.GC_FGD
        found = tidy(grab(frame, labels), mask | sure)
        if found.sum() < 1.03 * mask.sum() or found.mean() > _LARGEST:
            return found
        mask = found
    return mask


def _moving_parts(moving: F32) -> NDArray[np.intp]:
    size = max(moving.shape)
    mask = (moving > _MOVES).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk(max(1, size // 200)))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk(max(2, size // 80)))
    return label(mask > 0, corners=True)


def _mover(frame: NDArray[np.uint8], moving: F32) -> Bool:
    parts = _moving_parts(moving)
    areas = np.bincount(parts.ravel())
    weight = np.bincount(parts.ravel(), np.minimum(moving, 10 * _MOVES).ravel())
    weight[0] = 0
    best = int(weight.argmax())
    if best == 0 or not _SMALLEST < areas[best] / parts.size < _LARGEST:
        raise InputError(
            "Nothing in the video's first second moves by itself.",
            "Click on the subject in the first frame, draw a box or give a mask.",
        )
    return _checked(_grown(frame, moving, parts == best, np.zeros(parts.shape, bool)), "where something moves")


def _clicked(frame: NDArray[np.uint8], moving: F32, point: tuple[float, float]) -> Bool:
    height, width = moving.shape
    x, y = point
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"The click ({x:g}, {y:g}) lies outside the frame of {width}x{height} pixels.", _POINT_REMEDY)
    at = (int(x), int(y))
    sure = np.zeros((height, width), np.uint8)
    cv2.circle(sure, at, max(2, max(height, width) // 128), 1, -1)
    parts = _moving_parts(moving)
    near = np.zeros((height, width), np.uint8)
    cv2.circle(near, at, max(3, max(height, width) // 30), 1, -1)
    touched = np.bincount(parts[near > 0])
    touched[0] = 0
    on = sure > 0
    mask = tidy(_grown(frame, moving, parts == touched.argmax(), on) if touched.any() else _by_colour(frame, on), on)
    return _checked(mask, f"at ({x:g}, {y:g})")


def _by_colour(frame: NDArray[np.uint8], sure: Bool) -> Bool:
    """What stands still around ``sure`` and looks like it."""
    height, width = sure.shape
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.float32)
    apart = np.linalg.norm(lab - np.median(lab[sure], axis=0), axis=-1)
    labels = np.where(apart < 25, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    border = max(2, min(height, width) // 50)
    labels[:border], labels[-border:], labels[:, :border], labels[:, -border:] = (cv2.GC_BGD,) * 4
    labels[sure] = cv2.GC_FGD
    return grab(frame, labels)


def _boxed(frame: NDArray[np.uint8], moving: F32, box: tuple[float, float, float, float]) -> Bool:
    height, width = moving.shape
    x0, y0, x1, y1 = box
    left, right = max(0, round(min(x0, x1))), min(width, round(max(x0, x1)))
    top, bottom = max(0, round(min(y0, y1))), min(height, round(max(y0, y1)))
    if right - left < 4 or bottom - top < 4:
        raise InputError(f"The box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) holds next to nothing.", "Draw a box around the subject.")
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    inside = labels[top:bottom, left:right]
    inside[:] = cv2.GC_PR_FGD
    hot = moving[top:bottom, left:right]
    if (hot > _MOVES).mean() > 0.1:
        inside[hot < _MOVES / 2] = cv2.GC_PR_BGD
    mask = grab(frame, labels)
    parts = label(mask, corners=True)
    if mask.any():
        mask = tidy(mask, parts == 1 + np.bincount(parts[mask])[1:].argmax())
    return _checked(mask, "in the box")


def _checked(mask: Bool, where: str) -> Bool:
    share = mask.mean()
    if share < _SMALLEST:
        raise InputError(f"There is nothing {where} that stands out from its surroundings.", _POINT_REMEDY)
    if share > _LARGEST:
        raise InputError(f"What was found {where} fills {share:.0%} of the frame.", _POINT_REMEDY)
    return mask
