"""Wheels: round, dark-rimmed parts at the bottom of a subject without legs, which roll as it goes.

Only wheels seen from the side are found, two at least and of about one size; others do not turn.
"""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import BodyPlan

F32 = NDArray[np.float32]

_SMALLEST, _LARGEST = 0.11, 0.28  # radius, of the subject's height
_HUB = 0.68  # of the wheel's radius
_FINE = 2  # they are looked for in a picture so much larger
_LIFTED = 0.22  # of the height above the subject's lowest point: the far wheel's bottom, at most
_CONTRAST = 22.0  # grey levels by which a hub is brighter than its tyre
_ALIKE = 1.35  # the most that one wheel's radius is of the other's


@dataclass(frozen=True)
class Wheel:
    """A wheel in the first frame: ``centre`` (x, y) and ``radius`` in pixels."""

    centre: tuple[float, float]
    radius: float

    def covers(self, xy: F32) -> NDArray[np.bool_]:  # (N, 2) -> (N,)
        """Which places lie on it."""
        return np.hypot(*(xy - self.centre).T) <= self.radius

    def roll(self, xy: F32, way: float) -> F32:  # (N, 2) -> (N, 2)
        """What lay at rest where these places are after it has rolled ``way`` pixels to the
        right."""
        angle = way / self.radius
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = (xy - self.centre).T
        turned = np.column_stack([x * cos + y * sin, y * cos - x * sin])
        return (turned + self.centre).astype(np.float32)


def find_wheels(frame: F32, mask: NDArray[np.bool_], body: BodyPlan) -> list[Wheel]:
    """The two wheels of a vehicle seen from the side; empty where there are none for sure.

    Args:
        frame: (H, W, 3) the first frame.
        mask: (H, W) the subject.
        body: its plan.
    """
    x0, y0, x1, y1 = body.box
    height = y1 - y0
    if body.legs or body.upright or height < 24:
        return []
    grey = cv2.cvtColor(frame.astype(np.uint8), cv2.COLOR_RGB2GRAY)
    fine = cv2.resize(grey, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), 0.5 * _FINE).astype(np.float32)
    top, left = _FINE * (y0 + height // 2), _FINE * x0
    scored = []
    for radius in np.geomspace(_SMALLEST, _LARGEST, 8) * height:
        contrast = _measure_contrast(fine, _FINE * _HUB * radius)[top:, left : _FINE * x1]
        highest = cv2.dilate(contrast, np.ones((2 * round(_FINE * radius) + 1,) * 2, np.uint8))
        for row, col in np.argwhere((contrast == highest) & (contrast > _CONTRAST)):
            wheel = Wheel(
                (float(left + col + 0.5) / _FINE, float(top + row + 0.5) / _FINE), float(radius)
            )
            low = y1 - (wheel.centre[1] + wheel.radius)
            if -0.1 * height < low < _LIFTED * height and _is_inside(wheel, mask):
                scored.append((float(contrast[row, col]), wheel))
    pairs = [
        (a[0] + b[0], a[1], b[1]) for a, b in combinations(scored, 2) if _are_a_pair(a[1], b[1])
    ]
    return list(max(pairs, key=lambda pair: pair[0])[1:]) if pairs else []


def _measure_contrast(grey: F32, hub: float) -> F32:  # (H, W) -> (H, W)
    """By how many grey levels a hub of that radius around every pixel would be brighter than the
    tyre around it, less how unevenly it is."""
    reach = round(1.6 * hub) + 1
    height, width = grey.shape
    wide = np.pad(grey, reach, mode="edge")
    around = []
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):

        def look(share: float, angle: float = angle) -> F32:
            y = reach + round(share * hub * np.sin(angle))
            x = reach + round(share * hub * np.cos(angle))
            return wide[y : y + height, x : x + width]

        inside = (look(0.4) + look(0.6) + look(0.8)) / 3
        around.append(inside - (look(1.2) + look(1.4)) / 2)
    contrast = np.stack(around)
    return np.asarray(contrast.mean(0) - contrast.std(0), np.float32)


def _are_a_pair(a: Wheel, b: Wheel) -> bool:
    apart = abs(a.centre[0] - b.centre[0])
    sizes = sorted((a.radius, b.radius))
    return sizes[1] <= _ALIKE * sizes[0] and apart > 2.5 * sizes[1]


def _is_inside(wheel: Wheel, mask: NDArray[np.bool_]) -> bool:
    rows, cols = np.indices(mask.shape)
    disc = wheel.covers(np.stack([cols.ravel(), rows.ravel()], -1) + np.float32(0.5))
    return bool(mask.ravel()[disc].mean() > 0.8)
