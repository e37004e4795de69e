"""The subject's shadow on the ground: found beside its feet, taken off the clean plate, and moved
along with it."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import percentile_filter

from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.compositing.matte import spread
from restage4d.driving.draft.relief import View

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DARK, _DIM = 0.75, 0.87  # of the brightness around: surely shadow; shadow's rim
_TINT = 0.05  # how far a shadow's chromaticity may be from the lit ground's
_EVEN = 0.22  # spread of the logarithm of its darkness: shadows are even, things are not


def find_shadow(frame: F32, mask: Mask, hole: Mask, body: BodyPlan) -> Mask:
    """Ground that lies in the subject's shadow: dark, of the ground's tint, even, and touching the
    subject near its feet.

    Args:
        frame: (H, W, 3) in 0..255.
        mask: (H, W) the subject.
        hole: (H, W) what the subject and its soft outline cover.
        body: its box.
    """
    x0, y0, x1, y1 = body.box
    tall, long = y1 - y0, x1 - x0
    zone = np.zeros(mask.shape, bool)
    zone[
        max(0, round(y1 - 0.35 * tall)) : round(y1 + 0.25 * tall),
        max(0, round(x0 - 0.6 * long)) : round(x1 + 0.6 * long),
    ] = True
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
        where: (H, W) from `find_shadow`.
        hole: (H, W) what the subject covers.
        top: the row above which there is no ground.

    Attributes:
        lit: (H, W, 3) the first frame without the shadow, outside the hole.
    """

    def __init__(self, frame: F32, where: Mask, hole: Mask, top: int) -> None:
        self.any = bool(where.any())
        self.lit = frame
        if not self.any:
            return
        rim = cv2.dilate(where.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        clear = (~hole & ~rim).astype(np.float32)
        ground = spread(_blur_within(frame, clear, 6.0), clear)
        here = _blur_within(
            frame, (~hole).astype(np.float32), 1.0
        )  # finer detail is the ground's own and stays
        soft = np.asarray(cv2.GaussianBlur(rim.astype(np.float32), (0, 0), 1.5), np.float32)[
            ..., None
        ]
        factor = 1 - soft * (1 - np.clip(here / np.maximum(ground, 1), 0.2, 1))
        self.lit = np.where(hole[..., None], frame, np.minimum(frame / factor, 255)).astype(
            np.float32
        )
        known = ~hole
        known[:top] = True
        self.factor = spread(
            np.where(known[..., None], factor, 1).astype(np.float32), known.astype(np.float32)
        )

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


def _blur_within(values: F32, weight: F32, sigma: float) -> F32:
    """Local mean of the values where ``weight`` is 1."""
    total = np.asarray(cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma), np.float32)
    return (total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]).astype(
        np.float32
    )
