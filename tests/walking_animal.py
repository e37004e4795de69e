"""A drawn animal that walks to the right before a still wall."""

from functools import cache

import cv2
import numpy as np

from restage4d.clips import Clip

WIDTH, HEIGHT = 240, 160


def texture(height: int, width: int, seed: int, low: float, high: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    fine, coarse = rng.random((height, width, 3)), rng.random((height // 16, width // 16, 3))
    large = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    mixed = 0.3 * cv2.GaussianBlur(fine, (0, 0), 1.0) + 0.7 * large
    return low + (high - low) * np.clip(mixed, 0, 1)


def animal(x: float, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Mask of a four-legged thing with a long neck to the right, its middle at column x."""
    canvas = np.zeros((size[1] * 4, size[0] * 4), np.uint8)

    def at(*points: tuple[float, float]) -> np.ndarray:
        return np.array([[(x + px) * 4, py * 4] for px, py in points], np.int32)

    cv2.ellipse(canvas, (at((0, 0))[0][0], 88 * 4), (38 * 4, 17 * 4), 0, 0, 360, 255, -1)
    for foot in (-30, -18, 16, 29):
        cv2.fillPoly(
            canvas, [at((foot - 4, 92), (foot + 4, 92), (foot + 3, 135), (foot - 3, 135))], 255
        )
    cv2.fillPoly(canvas, [at((24, 80), (36, 92), (56, 58), (46, 52))], 255)
    cv2.ellipse(canvas, (round((x + 55) * 4), 52 * 4), (11 * 4, 8 * 4), 15, 0, 360, 255, -1)
    return (
        cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    )


@cache
def staged() -> tuple[Clip, np.ndarray, np.ndarray]:
    """A clip of the animal walking to the right before a still wall; its first mask; the clean
    plate."""
    wall = texture(HEIGHT, WIDTH, 1, 60, 220)
    coat = np.roll(texture(HEIGHT, WIDTH, 2, 10, 120), 0, 1)
    frames = []
    for t in range(16):
        alpha = animal(90 + 2.5 * t)
        frames.append(alpha * np.roll(coat, round(2.5 * t), 1) + (1 - alpha) * wall)
    return Clip(np.round(frames).astype(np.uint8), 24.0), animal(90)[..., 0] > 0.5, wall
