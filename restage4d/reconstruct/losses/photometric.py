"""The colour loss of 3DGS and Shape-of-Motion, L1 and structural similarity, with a one-pass CPU
path and its twin."""

from functools import cache

import cv2
import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def photometric(image: Tensor, target: Tensor, dssim: float) -> Tensor:  # (H, W, 3) x2
    """``(1 - dssim) · L1 + dssim · (1 - SSIM)``; differentiable by ``image``."""
    if image.device.type != "cpu" or image.dtype != torch.float32:
        return photometric_reference(image, target, dssim)
    return _Photometric.apply(image, target, dssim)  # pyright: ignore[reportReturnType]


def photometric_reference(image: Tensor, target: Tensor, dssim: float) -> Tensor:
    """`photometric` on any device and type, by autograd."""
    return (1 - dssim) * (image - target).abs().mean() + dssim * (
        1 - ssim_map(image, target).mean()
    )


def ssim_map(image: Tensor, target: Tensor) -> Tensor:  # (H, W, C) x2 -> (H, W, C)
    """Structural similarity, 11-pixel Gaussian window, σ = 1.5, K1 = 0.01, K2 = 0.03, data range 1
    (Wang et al. 2004)."""
    rows, cols = _blur_matrix(image.shape[0]).to(image), _blur_matrix(image.shape[1]).to(image)

    def blur(x: Tensor) -> Tensor:
        return torch.einsum("yh,hwc,xw->yxc", rows, x, cols)

    mu_a, mu_b = blur(image), blur(target)
    var_a = blur(image * image) - mu_a * mu_a
    var_b = blur(target * target) - mu_b * mu_b
    cov = blur(image * target) - mu_a * mu_b
    return (
        (2 * mu_a * mu_b + _C1)
        * (2 * cov + _C2)
        / ((mu_a * mu_a + mu_b * mu_b + _C1) * (var_a + var_b + _C2))
    )


def _window() -> np.ndarray:  # (11,)
    g = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA * _SIGMA))
    return (g / g.sum()).astype(np.float32)


@cache
def _blur_matrix(n: int) -> Tensor:  # (n, n)
    """Row i holds the Gaussian window around pixel i (zero outside the image)."""
    offset = np.arange(n)[None] - np.arange(n)[:, None] + _WINDOW // 2
    return torch.from_numpy(
        np.where((offset >= 0) & (offset < _WINDOW), _window()[offset.clip(0, _WINDOW - 1)], 0)
    )


def _blur(
    image: np.ndarray,
) -> np.ndarray:  # (H, W, C): symmetric and zero outside, so its own transpose
    return cv2.sepFilter2D(image, -1, _window(), _window(), borderType=cv2.BORDER_CONSTANT)


class _Photometric(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, target, dssim):
        a, b = image.detach().contiguous().numpy(), target.contiguous().numpy()
        partial = np.empty((3, *a.shape), np.float32)
        ssim, l1 = _ssim(
            a, b, _blur(a), _blur(b), _blur(a * a), _blur(b * b), _blur(a * b), partial
        )
        ctx.arrays = a, b, partial, dssim
        return image.new_tensor((1 - dssim) * l1 / a.size + dssim * (1 - ssim / a.size))

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        a, b, (by_mu, by_aa, by_ab), dssim = ctx.arrays
        grad = np.empty_like(a)
        scale = float(v_loss) / a.size
        _gradient(
            a,
            b,
            _blur(by_mu),
            _blur(by_aa),
            _blur(by_ab),
            (1 - dssim) * scale,
            -dssim * scale,
            grad,
        )
        return torch.from_numpy(grad), None, None


@njit(nogil=True, cache=True)
def _ssim(a, b, mu_a, mu_b, aa, bb, ab, partial):
    """Sums of SSIM and L1; ``partial`` (3, H, W, C) gets SSIM's derivatives by the blurred a, a²
    and a·b."""
    total, l1 = 0.0, 0.0
    height, width, channels = a.shape
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                p, q = mu_a[y, x, c], mu_b[y, x, c]
                upper1, lower1 = 2 * p * q + np.float32(_C1), p * p + q * q + np.float32(_C1)
                upper2 = 2 * (ab[y, x, c] - p * q) + np.float32(_C2)
                lower2 = aa[y, x, c] - p * p + bb[y, x, c] - q * q + np.float32(_C2)
                value = upper1 * upper2 / (lower1 * lower2)
                by_aa = -value / lower2
                by_ab = 2 * upper1 / (lower1 * lower2)
                by_p = (
                    2 * q * upper2 / (lower1 * lower2)
                    - 2 * p * value / lower1
                    - 2 * p * by_aa
                    - q * by_ab
                )
                partial[0, y, x, c], partial[1, y, x, c], partial[2, y, x, c] = by_p, by_aa, by_ab
                total += value
                l1 += abs(a[y, x, c] - b[y, x, c])
    return total, l1


@njit(nogil=True, cache=True)
def _gradient(a, b, by_mu, by_aa, by_ab, l1, ssim, grad):
    height, width, channels = a.shape
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                value, goal = a[y, x, c], b[y, x, c]
                sign = np.sign(value - goal)
                similar = by_mu[y, x, c] + 2 * value * by_aa[y, x, c] + goal * by_ab[y, x, c]
                grad[y, x, c] = l1 * sign + ssim * similar
