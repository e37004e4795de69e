"""The subject's shadow on the ground: found beside its feet, taken off the clean plate, and moved
along with it."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import percentile_filter

from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.compositing.matte import blur_within, dilate, spread
from restage4d.driving.draft.shape.stance import View

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DARK, _DIM = 0.75, 0.87  # of the brightness around: surely shadow; shadow's rim
_TINT = 0.05  # how far a shadow's chromaticity may be from the lit ground's
_DIM_MEASURED, _SURE_MEASURED = 0.9, 0.8  # the same, where other frames show the lit ground
_LEAST = 0.01  # of the subject's area, for a measured shadow
_EVEN = 0.22  # spread of the logarithm of its darkness: shadows are even, things are not


def find_ground(mask: Mask, body: BodyPlan) -> Mask:
    """Where the subject's shadow is looked for: around and below its feet, (H, W)."""
    x0, y0, x1, y1 = body.box
    tall, long = y1 - y0, x1 - x0
    zone = np.zeros(mask.shape, bool)
    zone[
        max(0, round(y1 - 0.35 * tall)) : round(y1 + 0.25 * tall),
        max(0, round(x0 - 0.6 * long)) : round(x1 + 0.6 * long),
    ] = True
    return zone


def measure_shadow(frame: F32, behind: F32, known: Mask, ground: Mask, hole: Mask) -> Mask:
    """Ground that other frames show brighter: dark in this frame, of the ground's tint, and joined
    to the subject.

    Args:
        frame: (H, W, 3) in 0..255.
        behind: (H, W, 3) the ground in other frames, where ``known`` (H, W).
        ground: (H, W) from `find_ground`.
        hole: (H, W) what the subject and its soft outline cover.
    """
    usable = (known & ground & ~hole).astype(np.float32)
    here, there = (blur_within(x, usable, 1.2) for x in (frame, behind))
    level = here.sum(-1) / np.maximum(there.sum(-1), 1)
    tint = here / np.maximum(here.sum(-1, keepdims=True), 1)
    other = there / np.maximum(there.sum(-1, keepdims=True), 1)
    alike = np.abs(tint - other).max(-1) < 1.5 * _TINT
    darker = (usable > 0) & alike & (level < _DIM_MEASURED)
    darker = cv2.morphologyEx(darker.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    darker = cv2.morphologyEx(darker, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) * (usable > 0)
    darker = darker.astype(np.uint8)
    _, labels = cv2.connectedComponents(darker)
    near = dilate(hole, 3)
    joined = np.unique(labels[near & (labels > 0)])
    sure = np.unique(labels[(level < _SURE_MEASURED) & (labels > 0)])
    return np.isin(labels, np.intersect1d(joined, sure))


def guess_shadow(frame: F32, mask: Mask, hole: Mask, ground: Mask, body: BodyPlan) -> Mask:
    """Ground that seems to lie in the subject's shadow in this frame alone: dark, of the ground's
    tint, even, and touching the subject near its feet.

    Args:
        frame: (H, W, 3) in 0..255.
        mask: (H, W) the subject.
        hole: (H, W) what the subject and its soft outline cover.
        ground: (H, W) from `find_ground`.
        body: its box.
    """
    y0, y1 = body.box[1], body.box[3]
    tall, zone = y1 - y0, ground
    open_ground = (~hole).astype(np.float32)
    small = (max(8, mask.shape[1] // 4), max(8, mask.shape[0] // 4))
    filled = np.asarray(
        cv2.resize(spread(frame, open_ground), small, interpolation=cv2.INTER_AREA), np.float32
    )
    grey = filled.mean(-1)
    window = max(5, round(0.3 * tall / 4)) | 1
    lit = percentile_filter(grey, 75, size=window)
    lit = cv2.resize(
        cv2.GaussianBlur(lit, (0, 0), window / 6), mask.shape[::-1], interpolation=cv2.INTER_LINEAR
    )
    near = cv2.GaussianBlur(frame, (0, 0), 1.2)
    level = near.mean(-1) / np.maximum(lit, 1)
    tint = near / np.maximum(near.sum(-1, keepdims=True), 1)
    bright = np.where((level > 0.9) & zone & ~hole, 1.0, 0.0).astype(np.float32)
    ground_tint = spread(tint, bright)
    like_ground = np.abs(tint - ground_tint).max(-1) < _TINT
    possible = zone & ~hole & like_ground & (level < _DIM)
    sure = possible & (level < _DARK)
    feet = mask.copy()
    feet[: round(y1 - 0.3 * tall)] = False
    reach = cv2.dilate(feet.astype(np.uint8), np.ones((19, 19), np.uint8)) > 0
    count, labels = cv2.connectedComponents(possible.astype(np.uint8))
    parts = [labels == k for k in range(1, count)]
    parts = [
        p
        for p in parts
        if (p & sure).sum() >= 0.004 * mask.sum() and (p & reach).sum() > 0.04 * p.sum()
    ]
    even = [np.log(np.maximum(level[p & sure], 0.02)).std() < _EVEN for p in parts]
    parts = [p for p, e in zip(parts, even, strict=True) if e or (p & reach).sum() > 0.5 * p.sum()]
    clear = [p for p in parts if (p & sure).sum() >= 0.45 * p.sum()]
    if not clear:
        return np.zeros_like(mask)
    usual = float(np.median(level[np.any(clear, axis=0) & sure]))
    return np.any(
        [p for p in parts if abs(float(np.median(level[p & sure])) - usual) < 0.1], axis=0
    )


class Shadow:
    """How much darker the ground is in the shadow, ready to move with the subject.

    Args:
        frame: (H, W, 3) the first frame.
        behind: (H, W, 3) the ground in other frames, where ``measured``.
        measured: (H, W) from `measure_shadow`.
        guessed: (H, W) from `guess_shadow`.
        hole: (H, W) what the subject covers.
        top: the row above which there is no ground.

    Attributes:
        where: (H, W) the shadow outside the hole.
        lit: (H, W, 3) the first frame without the shadow, outside the hole.
        factor: (H, W, 3) the light that the shadow leaves, 0..1, also under the subject.
    """

    def __init__(
        self, frame: F32, behind: F32, measured: Mask, guessed: Mask, hole: Mask, top: int
    ) -> None:
        self.where = measured | guessed
        self.any = bool(self.where.any())
        self.lit = frame
        if not self.any:
            return
        factor = self._measure_factor(frame, measured, guessed, hole, behind)
        soft = cv2.GaussianBlur(dilate(measured, 2).astype(np.float32), (0, 0), 1.0)[..., None]
        lifted = np.minimum(frame / factor, 255)
        lifted = lifted + soft * (behind - lifted)
        self.lit = np.where(hole[..., None], frame, lifted).astype(np.float32)
        known = ~hole
        known[:top] = True
        self.factor = spread(
            np.where(known[..., None], factor, 1).astype(np.float32), known.astype(np.float32)
        )

    def _measure_factor(
        self, frame: F32, measured: Mask, guessed: Mask, hole: Mask, behind: F32
    ) -> F32:  # -> (H, W, 3)
        """The light that is left outside the hole: against what other frames show where that is
        known, against the ground around elsewhere; finer detail is the ground's own."""
        open_ground = (~hole).astype(np.float32)
        here = blur_within(frame, open_ground, 1.0)
        rim = dilate(guessed, 3)
        clear = (~hole & ~rim & ~dilate(measured, 3)).astype(np.float32)
        lit = spread(blur_within(frame, clear, 6.0), clear)
        share = np.clip(here / np.maximum(lit, 1), 0.2, 1)
        soft = cv2.GaussianBlur(rim.astype(np.float32), (0, 0), 1.5)[..., None]
        factor = 1 - soft * (1 - share)
        there = np.maximum(blur_within(behind, open_ground, 1.0), 1)
        share = cv2.medianBlur(np.clip(here / there, 0.15, 1).astype(np.float32), 5)
        soft = cv2.GaussianBlur(dilate(measured, 2).astype(np.float32), (0, 0), 1.0)[..., None]
        return (factor + soft * (share - factor)).astype(np.float32)

    def draw_on(
        self, plate: F32, view: View, right: float, away: float, up: float, turned: float
    ) -> F32:
        """The plate with the shadow moved over the ground; it fades as the subject leaves the
        ground or turns."""
        if not self.any:
            return plate
        height, width = plate.shape[:2]
        corners = np.array(
            [[0, 0.75 * height], [width, 0.75 * height], [width, height], [0, height]]
        )
        ground = view.intersect_ground(corners) + np.array([right, away])
        moved = view.project(np.column_stack([ground[:, 0], np.zeros(4), ground[:, 1]]))[:, :2]
        H = cv2.getPerspectiveTransform(
            (corners - 0.5).astype(np.float32), (moved - 0.5).astype(np.float32)
        )
        factor = cv2.warpPerspective(
            self.factor, H, (width, height), flags=cv2.INTER_LINEAR, borderValue=(1, 1, 1)
        )
        if up > 1:
            factor = cv2.GaussianBlur(factor, (0, 0), 0.08 * up)
        return plate * (1 - (1 - factor) * (1 - 0.5 * turned)).astype(np.float32)


def find_shadow(
    frame: F32, mask: Mask, hole: Mask, body: BodyPlan, behind: F32, known: Mask
) -> Shadow:
    """The subject's shadow: measured where other frames show the ground without it, guessed
    elsewhere; see `measure_shadow` and `guess_shadow`."""
    ground = find_ground(mask, body)
    measured = measure_shadow(frame, behind, known, ground, hole)
    guessed = guess_shadow(frame, mask, hole, ground, body)
    count, labels = cv2.connectedComponents((measured | guessed).astype(np.uint8))
    for part in (labels == k for k in range(1, count)):
        if measured[part].mean() < 0.5 * guessed[part].mean():
            measured &= ~part  # it stays in most frames
        elif (measured & part).sum() < _LEAST * mask.sum():
            measured &= ~part
        else:
            guessed &= ~part
    top = round(body.box[3] - 0.35 * (body.box[3] - body.box[1]))
    return Shadow(frame, behind, measured, guessed, hole, top)
