"""Completing a hole in a picture from the picture's own patches, coarse to fine.

Voting patches as in Wexler et al. 2007, found by PatchMatch (Barnes et al. 2009); near patches are
preferred. How busy the surroundings are is matched along with the colours, as in Newson et al.
2014: voting blurs, and what is blurred would otherwise only match what is smooth, fog in the end.
"""

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.compositing.matte import blur_within, dilate, spread

F32 = NDArray[np.float32]

_R = 3  # patches are 7 x 7
_SMALLEST = 40  # longer side of the coarsest level, pixels
# what a match a whole diagonal away costs, in squared grey levels: near things are alike
_FAR = 4000.0
_LIKE = 0.25  # how much a patch's tone shall be what the hole's surroundings suggest there
_BUSY = 40.0  # how much a place's busyness counts beside its colours
_ROUNDS = 6  # of matching and voting per level


def complete(
    picture: F32,
    hole: NDArray[np.bool_],
    rng: np.random.Generator,
    avoid: NDArray[np.bool_] | None = None,
) -> F32:
    """Fills ``hole`` (H, W) of ``picture`` (H, W, 3) in 0..255; everything else stays as it is, and
    nothing is copied from where ``avoid`` (H, W) is."""
    if not hole.any():
        return picture
    if avoid is None or (hole | avoid).all():
        avoid = np.zeros_like(hole)
    if hole.all() or min(hole.shape) < 4 * _R:
        return np.asarray(
            cv2.inpaint(picture.astype(np.uint8), hole.astype(np.uint8), 3, cv2.INPAINT_TELEA),
            np.float32,
        )
    unsafe = (avoid & ~hole).astype(np.float32)
    levels = [(np.concatenate([picture, _measure_busyness(picture, hole)], -1), hole, unsafe)]
    while max(levels[-1][1].shape) > _SMALLEST * 1.5 and min(levels[-1][1].shape) > 6 * _R:
        image, missing, unsafe = levels[-1]
        size = ((missing.shape[1] + 1) // 2, (missing.shape[0] + 1) // 2)
        share = np.asarray(
            cv2.resize((~missing).astype(np.float32), size, interpolation=cv2.INTER_AREA),
            np.float32,
        )
        known = np.asarray(
            cv2.resize(image * ~missing[..., None], size, interpolation=cv2.INTER_AREA), np.float32
        )
        unsafe = np.asarray(cv2.resize(unsafe, size, interpolation=cv2.INTER_AREA), np.float32)
        levels.append(
            ((known / np.maximum(share, 1e-3)[..., None]).astype(np.float32), share < 0.5, unsafe)
        )
    image, missing, unsafe = levels[-1]
    guess = spread(image, (~missing & (unsafe < 0.5)).astype(np.float32))
    guess = np.where(missing[..., None], guess, image).astype(np.float32)
    field = None
    for depth, (image, missing, unsafe) in enumerate(reversed(levels)):
        if depth:
            up = cv2.resize(guess, missing.shape[::-1], interpolation=cv2.INTER_CUBIC)
            guess = np.where(missing[..., None], up, image).astype(np.float32)
        safe = ~missing & (unsafe < 0.5)
        tone = spread(guess[..., :3], (safe if safe.any() else ~missing).astype(np.float32))
        smooth = np.asarray(cv2.GaussianBlur(tone, (0, 0), 2.0), np.float32)
        guess, field = _complete_level(guess, missing, unsafe >= 0.5, field, smooth, rng)
    filled = np.clip(guess[..., :3], 0, 255)
    return np.where(hole[..., None], filled, picture).astype(np.float32)


def _measure_busyness(picture: F32, hole: NDArray[np.bool_]) -> F32:  # -> (H, W, 1)
    """Mean steepness around every pixel, from outside the hole."""
    grey = picture.mean(-1)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
    known = (~dilate(hole, 2)).astype(np.float32)
    return spread(blur_within(slope[..., None], known, max(hole.shape) / 80), known)


def _complete_level(
    guess: F32,
    missing: NDArray[np.bool_],
    avoid: NDArray[np.bool_],
    coarse: NDArray[np.int32] | None,
    smooth: F32,
    rng: np.random.Generator,
) -> tuple[F32, NDArray[np.int32]]:
    """Matching and voting at one size; the field (H, W, 2) of every target patch's source (row,
    column) goes on to the next."""
    height, width = missing.shape
    kernel = np.ones((2 * _R + 1, 2 * _R + 1), np.uint8)
    touched = cv2.dilate(missing.astype(np.uint8), kernel).astype(bool)
    source = ~touched
    source[:_R] = source[-_R:] = source[:, :_R] = source[:, -_R:] = False
    kept_off = source & ~dilate(avoid, _R) if avoid.any() else source
    source = kept_off if kept_off.any() else source
    if not source.any():
        return guess, np.zeros((height, width, 2), np.int32)
    rows, cols = np.nonzero(source)
    pick = rng.integers(0, len(rows), (height, width))
    field = np.stack([rows[pick], cols[pick]], -1).astype(np.int32)
    if coarse is not None:
        up = np.repeat(np.repeat(coarse * 2, 2, 0), 2, 1)[:height, :width]
        up = up + np.indices((height, width)).transpose(1, 2, 0) % 2
        fits = source[np.clip(up[..., 0], 0, height - 1), np.clip(up[..., 1], 0, width - 1)]
        field = np.where(fits[..., None], up, field).astype(np.int32)
    distance = cv2.distanceTransform(missing.astype(np.uint8), cv2.DIST_L2, 3)
    trust = np.where(missing, 1.3 ** -np.minimum(distance, 30), 1.0).astype(np.float32)
    for round_ in range(_ROUNDS):
        _match(guess, smooth, touched, source, field, rng)
        guess = _vote(guess, missing, touched, field, trust, last=round_ == _ROUNDS - 1)
    return guess, field


@numba.njit(cache=True, fastmath=True)
def _compute_cost(image, smooth, i, j, si, sj):
    """Squared difference of the patch at (i, j), clipped at the border, to the source patch at (si,
    sj)."""
    h, w = image.shape[:2]
    total = np.float32(0)
    n = 0
    for di in range(max(-_R, -i), min(_R, h - 1 - i) + 1):
        for dj in range(max(-_R, -j), min(_R, w - 1 - j) + 1):
            for k in range(3):
                d = image[i + di, j + dj, k] - image[si + di, sj + dj, k]
                total += d * d
            n += 1
    away = ((i - si) ** 2 + (j - sj) ** 2) / np.float32(h * h + w * w)
    unlike = np.float32(0)
    for k in range(3):
        unlike += (smooth[i, j, k] - smooth[si, sj, k]) ** 2
    busy = (image[i, j, 3] - image[si, sj, 3]) ** 2
    return total / n + _FAR * away + _LIKE * unlike + _BUSY * busy


@numba.njit(cache=True, fastmath=True)
def _match(image, smooth, touched, source, field, rng):
    """PatchMatch: propagation in both scan orders and a random search around the present match."""
    h, w = touched.shape
    cost = np.full((h, w), np.float32(1e30))
    for i in range(h):
        for j in range(w):
            if touched[i, j]:
                cost[i, j] = _compute_cost(image, smooth, i, j, field[i, j, 0], field[i, j, 1])
    for sweep in range(2):
        step = 1 if sweep == 0 else -1
        for ii in range(h):
            i = ii if step == 1 else h - 1 - ii
            for jj in range(w):
                j = jj if step == 1 else w - 1 - jj
                if not touched[i, j]:
                    continue
                for axis in range(2):
                    ni, nj = (i - step, j) if axis == 0 else (i, j - step)
                    if 0 <= ni < h and 0 <= nj < w and touched[ni, nj]:
                        si = field[ni, nj, 0] + (step if axis == 0 else 0)
                        sj = field[ni, nj, 1] + (step if axis == 1 else 0)
                        if 0 <= si < h and 0 <= sj < w and source[si, sj]:
                            c = _compute_cost(image, smooth, i, j, si, sj)
                            if c < cost[i, j]:
                                cost[i, j], field[i, j, 0], field[i, j, 1] = c, si, sj
                reach = max(h, w) // 2
                while reach >= 1:
                    si = field[i, j, 0] + rng.integers(-reach, reach + 1)
                    sj = field[i, j, 1] + rng.integers(-reach, reach + 1)
                    if 0 <= si < h and 0 <= sj < w and source[si, sj]:
                        c = _compute_cost(image, smooth, i, j, si, sj)
                        if c < cost[i, j]:
                            cost[i, j], field[i, j, 0], field[i, j, 1] = c, si, sj
                    reach //= 2


@numba.njit(cache=True, fastmath=True)
def _vote(image, missing, touched, field, trust, last):
    """Every missing pixel becomes the trust-weighted mean of what the patches over it say; in the
    end, its own patch's centre."""
    h, w = missing.shape
    result = image.copy()
    mean = np.zeros(4, np.float32)
    for i in range(h):
        for j in range(w):
            if not missing[i, j]:
                continue
            total = np.float32(0)
            mean[:] = 0
            reach = 1 if last else _R
            for di in range(max(-reach, -i), min(reach, h - 1 - i) + 1):
                for dj in range(max(-reach, -j), min(reach, w - 1 - j) + 1):
                    pi, pj = i + di, j + dj
                    if touched[pi, pj]:
                        si, sj = field[pi, pj, 0] - di, field[pi, pj, 1] - dj
                        t = trust[pi, pj]
                        total += t
                        for k in range(4):
                            mean[k] += t * image[si, sj, k]
            if total > 0:
                for k in range(4):
                    result[i, j, k] = mean[k] / total
    return result
