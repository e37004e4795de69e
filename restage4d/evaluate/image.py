"""Image figures: PSNR inside the frame and inside the subject, mask IoU (docs/metrics.md)."""

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def psnr(image: U8, target: U8, where: NDArray[np.bool_] | None = None) -> float:  # (H, W, 3) x2, (H, W)
    """Peak signal-to-noise ratio in dB, peak 255, over all pixels or those of ``where``; nan where that has none."""
    error = (image.astype(np.float64) - target) ** 2
    values = error if where is None else error[where]
    return float("nan") if values.size == 0 else float(10 * np.log10(255**2 / max(values.mean(), 1e-10)))


def mean_psnr(images: list[U8], targets: list[U8], where: list[NDArray[np.bool_]] | None = None) -> float:
    """Mean over frames of their PSNR; frames whose ``where`` is empty do not count."""
    values = [psnr(a, b, None if where is None else where[i]) for i, (a, b) in enumerate(zip(images, targets, strict=True))]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = (a | b).sum()
    return 1.0 if union == 0 else float((a & b).sum() / union)
