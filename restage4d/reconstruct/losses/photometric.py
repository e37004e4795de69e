"""The colour loss of 3DGS and Shape-of-Motion, L1 and structural similarity: on planes with its
gradient, and its twin by autograd."""

import cv2
import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn.functional import conv2d

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def photometric_reference(image: Tensor, target: Tensor, dssim: float) -> Tensor:
    """``(1 - dssim) · L1 + dssim · (1 - SSIM)`` on any device and type, by autograd."""
    return (1 - dssim) * (image - target).abs().mean() + dssim * (
        1 - ssim_map(image, target).mean()
    )


def ssim_map(image: Tensor, target: Tensor) -> Tensor:  # (H, W, C) x2 -> (H, W, C)
    """Structural similarity, 11-pixel Gaussian window, σ = 1.5, K1 = 0.01, K2 = 0.03, data range 1
    (Wang et al. 2004), zero outside the image."""
    a, b = image.permute(2, 0, 1)[:, None], target.permute(2, 0, 1)[:, None]
    window = torch.from_numpy(_window()).to(a)

    def blur(x: Tensor) -> Tensor:
        x = conv2d(x, window.view(1, 1, -1, 1), padding=(_WINDOW // 2, 0))
        return conv2d(x, window.view(1, 1, 1, -1), padding=(0, _WINDOW // 2))

    mu_a, mu_b = blur(a), blur(b)
    var_a = blur(a * a) - mu_a * mu_a
    var_b = blur(b * b) - mu_b * mu_b
    cov = blur(a * b) - mu_a * mu_b
    upper = (2 * mu_a * mu_b + _C1) * (2 * cov + _C2)
    found = upper / ((mu_a * mu_a + mu_b * mu_b + _C1) * (var_a + var_b + _C2))
    return found[:, 0].permute(1, 2, 0)


def compute_photometric(
    planes: np.ndarray, target: np.ndarray, dssim: float, weight: float, grad: np.ndarray
) -> float:
    """`photometric_reference` of the first three ``planes`` (C, H, W) against ``target`` (H, W, 3).
    Its gradient, times ``weight``, is added to ``grad`` (C, H, W)."""
    total, size = 0.0, 3 * planes[0].size
    for c in range(3):
        a, b = planes[c], np.ascontiguousarray(target[..., c])
        squares, product = np.empty_like(a), np.empty_like(a)
        _multiply(a, b, squares, product)
        by_mu, by_square, by_product = np.empty_like(a), np.empty_like(a), np.empty_like(a)
        ssim, l1 = _ssim(
            a, b, _blur(a), _blur(b), _blur(squares), _blur(product), by_mu, by_square, by_product
        )
        total += (1 - dssim) * l1 / size + dssim * (1 / 3 - ssim / size)
        shares = np.float32((1 - dssim) * weight / size), np.float32(-dssim * weight / size)
        _add_gradient(a, b, _blur(by_mu), _blur(by_square), _blur(by_product), *shares, grad[c])
    return total


def _window() -> np.ndarray:  # (11,)
    g = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA * _SIGMA))
    return (g / g.sum()).astype(np.float32)


_KERNEL = _window()


def _blur(plane: np.ndarray) -> np.ndarray:  # (H, W): symmetric and zero outside: its own transpose
    return cv2.sepFilter2D(plane, -1, _KERNEL, _KERNEL, borderType=cv2.BORDER_CONSTANT)


@njit(nogil=True, cache=True, fastmath=True)
def _multiply(a, b, squares, product):
    """a² + b², the only way in which squares enter, and a·b."""
    height, width = a.shape
    for y in range(height):
        for x in range(width):
            squares[y, x] = a[y, x] * a[y, x] + b[y, x] * b[y, x]
            product[y, x] = a[y, x] * b[y, x]


@njit(nogil=True, cache=True, fastmath=True)
def _ssim(a, b, mu_a, mu_b, squares, product, by_mu, by_square, by_product):
    """Sums of SSIM and L1; SSIM's derivatives by the blurred a, a² and a·b."""
    total, l1 = 0.0, 0.0
    c1, c2, two = np.float32(_C1), np.float32(_C2), np.float32(2)
    height, width = a.shape
    for y in range(height):
        row, apart = np.float32(0), np.float32(0)
        for x in range(width):
            p, q = mu_a[y, x], mu_b[y, x]
            both = p * p + q * q
            upper1, lower1 = two * p * q + c1, both + c1
            upper2, lower2 = (
                two * (product[y, x] - p * q) + c2,
                squares[y, x] - both + c2,
            )
            inverse = np.float32(1) / (lower1 * lower2)
            value = upper1 * upper2 * inverse
            square = -value * lower1 * inverse  # -value / lower2
            cross = two * upper1 * inverse
            by_mu[y, x] = (
                two * q * upper2 * inverse
                - two * p * value * lower2 * inverse
                - two * p * square
                - q * cross
            )
            by_square[y, x], by_product[y, x] = square, cross
            row += value
            apart += abs(a[y, x] - b[y, x])
        total += row
        l1 += apart
    return total, l1


@njit(nogil=True, cache=True, fastmath=True)
def _add_gradient(a, b, by_mu, by_square, by_product, l1, ssim, grad):
    height, width = a.shape
    for y in range(height):
        for x in range(width):
            value, goal = a[y, x], b[y, x]
            sign = l1 if value > goal else (-l1 if value < goal else np.float32(0))
            similar = (
                by_mu[y, x] + np.float32(2) * value * by_square[y, x] + goal * by_product[y, x]
            )
            grad[y, x] += sign + ssim * similar
