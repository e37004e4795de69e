"""The sRGB curve (IEC 61966-2-1), for values of any range: splats' colours leave 0..1."""

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def srgb_to_linear(c: NDArray[np.floating]) -> F32:
    """Linear light of coded values; below 0 the line goes on."""
    c = np.asarray(c, np.float32)
    return np.where(c <= 0.04045, c / 12.92, ((c.clip(0) + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def linear_to_srgb(c: NDArray[np.floating]) -> F32:
    """The inverse of `srgb_to_linear`."""
    c = np.asarray(c, np.float32)
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * c.clip(0) ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


def premultiplied_to_linear(rgba: F32) -> F32:  # (H, W, 4) -> (H, W, 4)
    """sRGB-encoded colour premultiplied by alpha to linear colour premultiplied by alpha."""
    alpha = rgba[..., 3:]
    straight = rgba[..., :3] / np.maximum(alpha, 1e-6)
    return np.concatenate([srgb_to_linear(straight.clip(0)) * alpha, alpha], -1).astype(np.float32)
