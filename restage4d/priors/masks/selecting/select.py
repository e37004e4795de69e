"""The subject in the first frame: from a click, a box or a mask, or found by its motion against the
background."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, Selection
from restage4d.errors import InputError
from restage4d.priors.masks.limbs import add_standing_limbs, guess_limbs, trace_limbs
from restage4d.priors.masks.regions import disk, label, tidy
from restage4d.priors.masks.selecting.later_frames import correct_by_later_frame, count_steps
from restage4d.priors.masks.selecting.segment import (
    Still,
    close_mask,
    erode,
    fill_holes,
    measure_border_share,
    measure_outline,
    open_mask,
    run_grabcut,
    segment,
)
from restage4d.priors.masks.selecting.surroundings import (
    remove_revealed_background,
    remove_still_pieces,
    remove_surroundings,
)
from restage4d.priors.motion.first_motion import measure_motion
from restage4d.priors.motion.revealed_background import measure_change
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_MOVES = 4.0  # times the background's own scatter from which a pixel moves by itself
_LEVELS = (6.0, 4.0, 2.8, 1.7)  # of motion from which pixels may belong to what moves at a click
_OWN = 0.4  # times what moves there moves on average is the highest of them
_LIKE = 10.0  # distance in Lab within which colours are the clicked one beyond doubt
_STILL = (8.0, 12.0, 18.0, 26.0)  # distances in Lab tried where nothing moves at the click
_DISCS = (0.1, 0.16)  # radius of the discs tried there, over the frame's longer side
_NEARLY, _MUCH = 0.75, 4.0  # times the best score, and its area: the whole around a part
_BRIDGES = (0.03, 0.06)  # half the width of bridges that are cut there, over the root of the area
_CLEARLY = 0.5  # step in log speed over its outline from which something clearly moves
_FAINT = 7.0  # step in Lab over its outline under which something does not stand out
_SMALLEST, _LARGEST = 0.001, 0.8  # share of the frame that a subject may fill
_PINHOLE, _HOLE = 0.003, 0.02  # of the frame: holes up to that are the subject's; of what is still
_CUT = 0.25  # share of the frame's border that a subject may touch

_POINT_REMEDY = (
    "Click on the middle of the subject in the first frame, or draw a box or give a mask."
)


def select_subject(base: Clip, selection: Selection, progress: Progress) -> Bool:
    """The subject in the base's first frame, (H, W).

    Raises:
        InputError: the mask has another size than the frame or is empty, the box or point lies
            outside, there is nothing at the point that stands out from its surroundings, or nothing
            was pointed at and nothing moves.
    """
    width, height = base.size
    if selection.mask is not None:
        return _check_mask(np.asarray(selection.mask), (height, width))
    measured = progress.start_beside(lambda quiet: measure_change(base, quiet))
    still = Still(base.frames[0], measure_motion(base, progress))
    with progress.task(TaskId.SELECT, 1 + count_steps(len(base))) as task:
        allowed = np.ones((height, width), bool)
        if selection.box is not None:
            allowed = _draw_box((height, width), selection.box)
            found = _select_in_box(still, allowed)
        elif selection.point is not None:
            found = _select_at_point(still, selection.point)
        else:
            found = _find_mover(still)
        found = _clean(still, found)
        change = measured.result()
        found = remove_revealed_background(still.lab, change, found)
        whole = add_standing_limbs(still.lab, change, found) & allowed
        task.advance()
        limbs = whole & ~found  # they stand: the later frame may not know them
        guess = guess_limbs(still.lab, change, whole) & allowed
        traced = trace_limbs(still.lab, still.moving, whole) & allowed
        corrected = correct_by_later_frame(base, still, whole, guess, traced, task)
        return (corrected | limbs) & allowed


def _check_mask(mask: NDArray, shape: tuple[int, int]) -> Bool:
    if mask.shape != shape:
        raise InputError(
            f"The mask has {mask.shape[::-1]} pixels (width, height), the video {shape[::-1]}.",
            "Give a mask of the video's first frame in the video's size.",
        )
    mask = mask > 0
    share = mask.mean()
    if not 0 < share < 1:
        raise InputError(
            f"The mask is {'empty' if share == 0 else 'full'}.",
            "Mark the subject white and everything else black.",
        )
    return mask


def _label_moving_parts(moving: F32) -> NDArray[np.intp]:
    size = max(moving.shape)
    mask = (moving > _MOVES).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk(max(1, size // 200)))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk(max(2, size // 80)))
    return label(mask > 0, corners=True)


def _find_mover(still: Still) -> Bool:
    parts = _label_moving_parts(still.moving)
    areas = np.bincount(parts.ravel())
    weight = np.bincount(parts.ravel(), np.minimum(still.moving, 10 * _MOVES).ravel())
    weight *= (
        1 - _measure_cut_off(parts)
    ) ** 2  # a backdrop that moves against the ground is cut off all around
    weight[0] = 0
    best = int(weight.argmax())
    if best == 0 or not _SMALLEST < areas[best] / parts.size < _LARGEST:
        raise InputError(
            "Nothing in the video's first second moves by itself.",
            "Click on the subject in the first frame, draw a box or give a mask.",
        )
    depth = cv2.distanceTransform(np.pad(parts == best, 1).astype(np.uint8), cv2.DIST_L2, 5)[
        1:-1, 1:-1
    ]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return _select_at_point(still, (float(col), float(row)))


def _measure_cut_off(parts: NDArray[np.intp]) -> NDArray[np.float64]:  # (H, W) -> (parts,)
    """Share of each part's outline that is the frame's border."""
    whole = np.pad(parts, 1)
    outline, border = np.zeros(parts.max() + 1), np.zeros(parts.max() + 1)
    for rolled, side in (
        (whole[:-2, 1:-1], parts[0]),
        (whole[2:, 1:-1], parts[-1]),
        (whole[1:-1, :-2], parts[:, 0]),
        (whole[1:-1, 2:], parts[:, -1]),
    ):
        outline += np.bincount(parts[rolled != parts], minlength=len(outline))
        border += np.bincount(side, minlength=len(border))
    return border / np.maximum(outline, 1)


def _select_at_point(still: Still, point: tuple[float, float]) -> Bool:
    height, width = still.moving.shape
    x, y = point
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(
            f"The click ({x:g}, {y:g}) lies outside the frame of {width}x{height} pixels.",
            _POINT_REMEDY,
        )
    sure, spot = (
        _draw_spot(still, point, max(least, max(height, width) // part))
        for least, part in ((2, 128), (3, 60))
    )
    unlike = np.min(
        [
            np.linalg.norm(still.lab - c, axis=-1)
            for c in np.quantile(still.lab[spot], (0.2, 0.5, 0.8), axis=0)
        ],
        axis=0,
    )
    candidates = []
    guess = _find_moving_at(still, spot)
    if guess is not None:
        core = guess & (unlike < _LIKE)
        free, strict = (segment(still, guess, core, sure, way, guess) for way in (False, True))
        tight = segment(still, free, erode(free), sure, True, guess)
        candidates = [
            _clean(still, mask) for mask in (free, strict, tight) if mask.sum() > 0.6 * free.sum()
        ]
    outlines = [measure_outline(still, mask) for mask in candidates]
    if not any(outline.speed >= _CLEARLY for outline in outlines):
        whole = candidates + _list_still_at(still, sure, unlike, point)
        candidates = _list_variants(whole, sure)
        outlines = [measure_outline(still, mask) for mask in candidates]
    best = _choose_whole(candidates, [outline.score for outline in outlines])
    if best < 0 or outlines[best].clearness < _FAINT:
        raise InputError(
            f"There is nothing at ({point[0]:g}, {point[1]:g}) that stands out from its "
            "surroundings.",
            _POINT_REMEDY,
        )
    return fill_holes(candidates[best], _PINHOLE * still.moving.size)


def _choose_whole(masks: list[Bool], scores: list[float]) -> int:
    """Number of the mask with the best score; of one around it that is nearly as good and much
    larger, if there is one: a click on a mouth means the dog. -1 without any."""
    best = int(np.argmax(scores)) if masks else -1
    around = [
        i
        for i, mask in enumerate(masks)
        if scores[i] > _NEARLY * scores[best]
        and mask.sum() > _MUCH * masks[best].sum()
        and (mask & masks[best]).sum() > 0.9 * masks[best].sum()
    ]
    return max(around, key=lambda i: scores[i], default=best)


def _clean(still: Still, mask: Bool) -> Bool:
    """``mask`` without what stands still, and without surroundings that it took along, if its
    outline gets no less clear."""
    mask = remove_still_pieces(still.motion, mask)
    rest = remove_surroundings(still.lab, still.frame, mask)
    if measure_outline(still, rest).score < measure_outline(still, mask).score:
        return mask
    return rest


def _draw_spot(still: Still, point: tuple[float, float], radius: int) -> Bool:
    spot = np.zeros(still.moving.shape, np.uint8)
    cv2.circle(spot, (int(point[0]), int(point[1])), radius, 1, -1)
    return spot > 0


def _find_moving_at(still: Still, spot: Bool) -> Bool | None:
    """What moves together around ``spot``; None where nothing does, or all but the whole frame."""
    size = max(spot.shape)
    for level in _LEVELS:
        hot = open_mask(still.moving > level, 1)
        whole = fill_holes(close_mask(hot, max(2, size // 120)), 0.03 * spot.size)
        if (whole & spot).sum() < 0.5 * spot.sum():
            continue
        guess = tidy(whole, spot)
        if level > _LEVELS[-1] and _OWN * np.median(still.moving[guess]) < level:
            continue
        if (
            measure_border_share(guess) > 0.04 or guess.mean() > 0.5
        ):  # as water does: then only what moves alike
            own = np.median(still.velocity[spot & guess], axis=0)
            alike = (
                np.linalg.norm(still.velocity - own, axis=-1) < 0.35 * np.linalg.norm(own) + 0.05
            )
            guess = tidy(open_mask(whole & alike, 2) | spot, spot)
        if measure_border_share(guess) < 0.15 and _SMALLEST < guess.mean() < 0.5:
            return guess
    return None


def _list_still_at(still: Still, sure: Bool, unlike: F32, point: tuple[float, float]) -> list[Bool]:
    """What may be meant by a click on something that hardly moves: what looks like ``sure`` around
    it, and what discs around ``point`` grow or shrink to."""
    guesses = []
    for limit in _STILL:
        alike = open_mask((unlike < limit) & (still.moving < _MOVES), 1) | sure
        guess = tidy(fill_holes(close_mask(alike, 2), 0.01 * alike.size), sure)
        if measure_border_share(guess) > _CUT or guess.mean() > _LARGEST:
            break
        guesses.append(guess)
    size = max(sure.shape)
    guesses += [_draw_spot(still, point, round(share * size)) for share in _DISCS]
    masks = [segment(still, guess, guess, sure) for guess in guesses]
    return [
        mask
        for mask in masks
        if measure_border_share(mask) <= _CUT and _SMALLEST < mask.mean() < _LARGEST
    ]


def _list_variants(masks: list[Bool], sure: Bool) -> list[Bool]:
    """``masks``, holes filled, what most of them agree on, and each without what hangs on it by a
    thin bridge."""
    if not masks:
        return []
    most = _HOLE * sure.size
    masks = [fill_holes(mask, most) for mask in masks]
    masks.append(tidy(np.mean(masks, axis=0) > 0.5, sure))
    return masks + [
        tidy(open_mask(mask, max(1, round(share * float(np.sqrt(mask.sum()))))) | sure, sure)
        for mask in masks
        for share in _BRIDGES
    ]


def _draw_box(shape: tuple[int, int], box: tuple[float, float, float, float]) -> Bool:
    """The pixels (H, W) in ``box``."""
    height, width = shape
    x0, y0, x1, y1 = box
    left, right = max(0, round(min(x0, x1))), min(width, round(max(x0, x1)))
    top, bottom = max(0, round(min(y0, y1))), min(height, round(max(y0, y1)))
    if right - left < 4 or bottom - top < 4:
        raise InputError(
            f"The box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) holds next to nothing.",
            "Draw a box around the subject.",
        )
    inside = np.zeros(shape, bool)
    inside[top:bottom, left:right] = True
    return inside


def _select_in_box(still: Still, inside: Bool) -> Bool:
    nothing = np.zeros_like(inside)
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    coloured = run_grabcut(still.frame, labels)
    candidates = [coloured]
    if (still.moving[inside] > _LEVELS[-1]).mean() > 0.1:
        for level in _LEVELS:
            guess = (
                fill_holes(close_mask(open_mask(still.moving > level, 1), 2), 0.03 * inside.size)
                & inside
            )
            if guess.sum() > 0.1 * inside.sum():
                free = segment(still, guess, guess, nothing) & inside
                candidates += [free, segment(still, free, erode(free), nothing, True) & inside]
    best = max(
        (_keep_largest(mask) for mask in candidates),
        key=lambda mask: measure_outline(still, mask).clearness * _measure_span(mask, inside),
    )
    if best.mean() < _SMALLEST:
        raise InputError(
            "There is nothing in the box that stands out from its surroundings.", _POINT_REMEDY
        )
    return fill_holes(best, _PINHOLE * best.size)


def _keep_largest(mask: Bool) -> Bool:
    parts = label(mask, corners=True)
    return tidy(mask, parts == 1 + np.bincount(parts[mask])[1:].argmax()) if mask.any() else mask


def _measure_span(mask: Bool, box: Bool) -> float:
    """Share of the box's width and height that ``mask`` takes."""
    return float(np.prod([mask.any(axis).sum() / box.any(axis).sum() for axis in (0, 1)]))
