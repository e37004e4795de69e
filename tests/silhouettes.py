"""Drawn outlines whose build is known."""

import cv2
import numpy as np

W, H, SCALE = 240, 160, 4
Mask = np.ndarray


class _Sheet:
    """A canvas in pixels of W x H, drawn four times as large."""

    def __init__(self) -> None:
        self.canvas = np.zeros((H * SCALE, W * SCALE), np.uint8)

    def polygon(self, *points: tuple[float, float]) -> "_Sheet":
        cv2.fillPoly(self.canvas, [np.round(np.array(points) * SCALE).astype(np.int32)], 255)
        return self

    def ellipse(self, x: float, y: float, a: float, b: float, tilt: float = 0) -> "_Sheet":
        centre, axes = (round(x * SCALE), round(y * SCALE)), (round(a * SCALE), round(b * SCALE))
        cv2.ellipse(self.canvas, centre, axes, tilt, 0, 360, 255, -1)
        return self

    def limb(self, *points: tuple[float, float], width: float) -> "_Sheet":
        line = np.round(np.array(points) * SCALE).astype(np.int32)
        cv2.polylines(self.canvas, [line], False, 255, round(width * SCALE))
        return self

    def mask(self) -> Mask:
        return cv2.resize(self.canvas, (W, H), interpolation=cv2.INTER_AREA) > 127


def draw_quadruped(head: str = "level", bell: bool = False) -> Mask:
    """A four-legged animal that faces right.

    Args:
        head: "level" (a cow), "raised" (a horse), "lowered" (grazing).
        bell: whether one hangs from its neck.
    """
    sheet = _Sheet().ellipse(110, 80, 46, 20)
    for foot in (70, 84, 134, 148):
        sheet.limb((foot, 90), (foot, 138), width=7)
    sheet.limb((66, 72), (58, 100), width=4)  # tail
    x, y = {"level": (176, 70), "raised": (176, 38), "lowered": (182, 112)}[head]
    sheet.limb((144, 74), (x - 8, y), width=17).ellipse(x, y, 15, 9)
    if bell:
        sheet.limb((160, 74), (160, 96), width=4).ellipse(160, 96, 5, 5)
    return sheet.mask()


def draw_biped(arms: str = "out") -> Mask:
    """A person from the front, arms "out" to the sides or one "up"."""
    sheet = _Sheet().ellipse(120, 22, 9, 11).limb((120, 30), (120, 44), width=7)
    sheet.polygon((106, 42), (134, 42), (130, 88), (110, 88))
    sheet.limb((114, 86), (108, 150), width=8).limb((126, 86), (134, 150), width=8)
    sheet.limb((108, 45), (58, 46), width=6)
    sheet.limb((132, 45), (182, 44) if arms == "out" else (150, 6), width=6)
    return sheet.mask()


def draw_dog_from_above() -> Mask:
    """A dog that comes at the camera: its tail up at the top, its head below."""
    sheet = _Sheet().ellipse(120, 70, 22, 44).limb((120, 30), (112, 4), width=9)
    sheet.limb((106, 104), (104, 140), width=8).limb((134, 104), (136, 132), width=8)
    return sheet.ellipse(120, 116, 17, 20).mask()


def draw_car() -> Mask:
    """A car from the side: a long box on two wheels."""
    sheet = _Sheet().polygon((50, 110), (50, 92), (80, 86), (98, 64), (158, 64), (176, 86))
    sheet.polygon((50, 110), (50, 92), (80, 86), (176, 86), (190, 92), (190, 110))
    return sheet.ellipse(80, 110, 11, 11).ellipse(162, 110, 11, 11).mask()


def draw_blob() -> Mask:
    return _Sheet().ellipse(120, 80, 45, 42).mask()
