"""Cutting the subject out: a soft matte for a hard mask, and the subject's colours without the
background in them."""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def estimate_matte(
    frame: Array, mask: NDArray[np.bool_]
) -> Array:  # (H, W, 3) in 0..255, (H, W) -> (H, W) in 0..1
    """Opacity of the subject: the mask, softened along its outline to follow the picture (guided
    filter, He et al. 2013)."""
    radius = max(2, round(max(mask.shape) / 150))
    inside = mask.astype(np.float32)
    raw = _filter_guided(frame / 255, inside, radius, 2e-4)
    # a guided filter fades over its whole window; the middle of its range is the edge
    alpha = np.clip((raw - 0.12) / 0.76, 0, 1)
    distance = signed_distance(mask)
    width = radius * 0.8
    low, high = np.clip(distance / width, 0, 1), np.clip(1 + distance / width, 0, 1)
    return np.clip(alpha, low, high).astype(np.float32)


def dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The mask with everything within ``radius`` pixels of it."""
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), shape).astype(bool)


def signed_distance(mask: NDArray[np.bool_]) -> Array:
    """Pixels to the outline, positive inside. What the image border cuts off goes on behind it."""
    padded = np.pad(mask, 8, mode="edge").astype(np.uint8)
    outward = np.asarray(cv2.distanceTransform(1 - padded, cv2.DIST_L2, 5), np.float32)
    return (cv2.distanceTransform(padded, cv2.DIST_L2, 5) - outward)[8:-8, 8:-8]


def _filter_guided(
    guide: Array, target: Array, radius: int, eps: float
) -> Array:  # (H, W, 3), (H, W) -> (H, W)
    """Guided filter with a colour guide."""
    size = (2 * radius + 1, 2 * radius + 1)

    def box(x: Array) -> Array:
        return np.asarray(cv2.blur(x, size, borderType=cv2.BORDER_REPLICATE), np.float32)

    mean_g, mean_t = box(guide), box(target)
    cov_gt = box(guide * target[..., None]) - mean_g * mean_t[..., None]
    outer = (guide[..., :, None] * guide[..., None, :]).reshape(*target.shape, 9)
    cov_gg = np.concatenate([box(outer[..., i : i + 3]) for i in (0, 3, 6)], -1).reshape(
        *target.shape, 3, 3
    )
    cov_gg = (
        cov_gg - mean_g[..., :, None] * mean_g[..., None, :] + eps * np.eye(3, dtype=np.float32)
    )
    a = np.linalg.solve(cov_gg, cov_gt[..., None])[..., 0].astype(np.float32)
    b = mean_t - (a * mean_g).sum(-1)
    return (box(a) * guide).sum(-1) + box(b)


def spread(values: Array, weight: Array) -> Array:  # (H, W, C), (H, W) -> (H, W, C)
    """Fills where ``weight`` is 0 smoothly from where it is not (pull-push over a pyramid); keeps
    values of weight 1."""
    if min(weight.shape) <= 2:
        total = max(float(weight.sum()), 1e-6)
        mean = (values * weight[..., None]).sum((0, 1)) / total
        return (weight[..., None] * values + (1 - weight[..., None]) * mean).astype(np.float32)
    size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
    small_weight = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), np.float32)
    weighted = np.asarray(
        cv2.resize(values * weight[..., None], size, interpolation=cv2.INTER_AREA), np.float32
    )
    weighted = weighted.reshape(*small_weight.shape, -1)
    small = spread(
        weighted / np.maximum(small_weight, 1e-6)[..., None], np.minimum(small_weight * 4, 1)
    )
    back = np.asarray(
        cv2.resize(small, weight.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    ).reshape(values.shape)
    return (weight[..., None] * values + (1 - weight[..., None]) * back).astype(np.float32)


def estimate_foreground(
    frame: Array, alpha: Array, plate: Array
) -> Array:  # (H, W, 3), (H, W), (H, W, 3) -> (H, W, 3)
    """The subject's own colours, with ``alpha · F + (1 - alpha) · plate ≈ frame``; outside, colours
    of its edge carried outward.

    Where the subject is half transparent, its colour is taken from the nearby solid part and bent
    towards what the frame shows.
    """
    solid = (alpha > 0.97).astype(np.float32)
    smooth = spread(frame, solid)
    a = alpha[..., None]
    rest = frame - (a * smooth + (1 - a) * plate)
    fitted = smooth + np.clip(a * rest / (a * a + 0.06), -40, 40)
    return np.clip(np.where(a > 0.97, frame, fitted), 0, 255).astype(np.float32)


def blur_within(values: Array, weight: Array, sigma: float) -> Array:
    """Local mean of the values (H, W, C) where ``weight`` is 1."""
    total = np.asarray(cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma), np.float32)
    total = total.reshape(values.shape)  # OpenCV drops an only channel
    return (total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]).astype(
        np.float32
    )
