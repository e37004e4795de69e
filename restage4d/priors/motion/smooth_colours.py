"""Colours of pictures as clues take them: in Lab, without the sensor's noise."""

import cv2
import numpy as np
from numpy.typing import NDArray


def smooth_lab(frame: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """Lab colours (H, W, 3) of an sRGB picture (L in 0..100), smoothed over ``sigma`` pixels."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), sigma), np.float32)
