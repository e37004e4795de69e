"""Image figures: PSNR and SSIM inside the frame and inside the subject, mask IoU
(docs/metrics.md)."""

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
BACKDROP = 128  # grey behind a subject that is shown alone


def psnr(image: U8, target: U8, where: Bool | None = None) -> float:  # (H, W, 3) x2, (H, W)
    """Peak signal-to-noise ratio in dB, peak 255, over all pixels or those of ``where``; nan where
    that has none."""
    error = (image.astype(np.float64) - target) ** 2
    values = error if where is None else error[where]
    return (
        float("nan")
        if values.size == 0
        else float(10 * np.log10(255**2 / max(values.mean(), 1e-10)))
    )


def mean_psnr(images: list[U8], targets: list[U8], where: list[Bool] | None = None) -> float:
    """Mean over frames of their PSNR; frames whose ``where`` is empty do not count."""
    values = [
        psnr(a, b, None if where is None else where[i])
        for i, (a, b) in enumerate(zip(images, targets, strict=True))
    ]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def ssim(image: U8, target: U8, where: Bool | None = None) -> float:  # (H, W, 3) x2, (H, W)
    """Structural similarity (Wang et al. 2004: Gaussian window σ = 1.5, 11 pixels, K1 0.01, K2
    0.03), averaged over all pixels or those of ``where``; nan where that has none."""
    if where is not None and not where.any():
        return float("nan")
    options = {
        "channel_axis": -1,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
    }
    full = np.asarray(structural_similarity(image, target, full=True, **options)[1])
    return float((full if where is None else full[where]).mean())


def cut_out(picture: U8, mask: Bool) -> U8:  # (H, W, 3), (H, W) -> (H, W, 3)
    """The subject of a picture before plain grey."""
    return np.where(mask[..., None], picture, np.uint8(BACKDROP))


def subject_psnr(image: U8, target: U8, mask: Bool) -> float:  # (H, W, 3) x2, (H, W)
    """PSNR of a subject shown alone: the squared error of the whole picture over the number of
    pixels of the true ``mask``.

    What sticks out beyond the mask counts in full, and an empty surrounding does not flatter. nan
    where the mask is empty.
    """
    if not mask.any():
        return float("nan")
    error = ((image.astype(np.float64) - target) ** 2).sum() / (3 * mask.sum())
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def iou(a: Bool, b: Bool) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = (a | b).sum()
    return 1.0 if union == 0 else float((a & b).sum() / union)
