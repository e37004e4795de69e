"""Which way a subject goes by itself, whatever the camera does."""

import cv2
import numpy as np
import pytest
from walking_animal import HEIGHT, WIDTH, animal, staged, texture

from restage4d.clips import Clip
from restage4d.driving.draft.anatomy.own_motion import measure_own_speed
from restage4d.driving.draft.compositing.registration import register
from restage4d.progress import Progress, TaskId


def test_its_own_motion_tells_the_head_end():
    """2.5 pixels a frame at 24 frames a second, in widths of the animal."""
    base, mask, _ = staged()
    width = np.ptp(np.flatnonzero(mask.any(0))) + 1
    back = Clip(base.frames[::-1], 24.0)
    with Progress().task(TaskId.EMPTY_STAGE) as stage:
        speed = measure_own_speed(base, register(base, mask, stage))
        other = measure_own_speed(back, register(back, animal(90 + 37.5)[..., 0] > 0.5, stage))
    assert speed == pytest.approx(2.5 * 24 / width, rel=0.1)
    assert other == pytest.approx(-2.5 * 24 / width, rel=0.1)


def test_a_camera_that_goes_round_is_no_own_motion():
    """What stands above the ground goes by in the picture by its height, and the feet stay."""
    base, mask, wall = staged()
    coat = np.roll(texture(HEIGHT, WIDTH, 2, 10, 120), 0, 1)
    foot, frames = 135, []
    for t in range(16):
        lean = 4.0 * t / (foot - 55)  # 4 pixels a frame at the torso
        shear = np.array([[1, -lean, lean * foot], [0, 1, 0]])
        alpha, fur = (
            cv2.warpAffine(a.astype(np.float32), shear, (WIDTH, HEIGHT)).reshape(a.shape)
            for a in (animal(90), coat)
        )
        frames.append(alpha * fur + (1 - alpha) * wall)
    round_it = Clip(np.round(frames).astype(np.uint8), base.fps)
    with Progress().task(TaskId.EMPTY_STAGE) as stage:
        speed = measure_own_speed(round_it, register(round_it, mask, stage))
    width = np.ptp(np.flatnonzero(mask.any(0))) + 1
    assert abs(speed) < 0.1 * 4 * 24 / width
