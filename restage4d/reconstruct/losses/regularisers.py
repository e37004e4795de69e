"""Regularisers: smooth motion, few bases per point, round Gaussians.

Pure functions of tensors, each a mean, so that weights do not depend on sizes.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.reconstruct.model.skinning import to_array


def acceleration(values: Tensor, triples: Tensor) -> Tensor:  # (..., T, D), (S, 3) -> (..., S, D)
    """Second difference over frames that follow one another; ``triples`` are (before, now, after)
    positions in time."""
    before, now, after = (values.index_select(-2, triples[:, i]) for i in range(3))
    return before - 2 * now + after


def smooth_bases(bases: Tensor, triples: Tensor) -> Tensor:  # (K, T, 9), (S, 3)
    """Mean L1 acceleration of the bases, rotation : translation = 1 : 2 (Shape-of-Motion)."""
    if len(triples) == 0:
        return bases.new_zeros(())
    if bases.device.type != "cpu" or bases.dtype != torch.float32:
        return smooth_bases_reference(bases, triples)
    return _SmoothBases.apply(bases, triples)  # pyright: ignore[reportReturnType]


def smooth_bases_reference(bases: Tensor, triples: Tensor) -> Tensor:
    """`smooth_bases` on any device and type, by autograd."""
    bend = acceleration(bases, triples).abs()
    return bend[..., :6].mean() + 2 * bend[..., 6:].mean()


def smooth_tracks(points: Tensor) -> Tensor:  # (N, 3 frames, 3)
    """Mean L1 acceleration of points over three frames that follow one another."""
    return (points[:, 0] - 2 * points[:, 1] + points[:, 2]).abs().mean()


def sparsity(coefs: Tensor) -> Tensor:  # (N, K)
    """``1 - Σ β²``: 0 when one basis moves a point alone."""
    return (1 - (coefs * coefs).sum(-1)).mean()


def scale_variance(log_scales: Tensor) -> Tensor:  # (N, 3)
    """Mean variance of a Gaussian's three log scales: needles and flakes cost."""
    if log_scales.device.type != "cpu" or log_scales.dtype != torch.float32:
        return scale_variance_reference(log_scales)
    return _ScaleVariance.apply(log_scales)  # pyright: ignore[reportReturnType]


def scale_variance_reference(log_scales: Tensor) -> Tensor:
    """`scale_variance` on any device and type, by autograd."""
    return log_scales.var(dim=-1).mean()


class _SmoothBases(torch.autograd.Function):
    @staticmethod
    def forward(ctx, bases, triples):
        grad = np.zeros(bases.shape, np.float32)
        total = _bend(to_array(bases), to_array(triples), grad)
        ctx.grad = grad
        return torch.tensor(total, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        return torch.from_numpy(ctx.grad) * v_loss, None


class _ScaleVariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, log_scales):
        ctx.grad = np.empty(log_scales.shape, np.float32)
        return torch.tensor(_vary(to_array(log_scales), ctx.grad), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        return torch.from_numpy(ctx.grad) * v_loss


@njit(nogil=True, cache=True)
def _bend(bases, triples, grad):
    """Smoothness of the bases; its gradient is added to ``grad``."""
    count = bases.shape[0] * len(triples)
    shares = np.array([1 / (6 * count), 2 / (3 * count)], np.float32)
    total = 0.0
    for k in range(bases.shape[0]):
        for s in range(len(triples)):
            before, now, after = triples[s]
            for c in range(9):
                bend = bases[k, before, c] - 2 * bases[k, now, c] + bases[k, after, c]
                share = shares[0 if c < 6 else 1]
                total += share * abs(bend)
                g = share * np.sign(bend)
                grad[k, before, c] += g
                grad[k, now, c] -= 2 * g
                grad[k, after, c] += g
    return total


@njit(nogil=True, cache=True)
def _vary(values, grad):
    """By differences, so that a round Gaussian has no gradient at all: Adam would make full steps
    of what rounding leaves."""
    total = 0.0
    for i in range(len(values)):
        for j in range(3):
            one, other = values[i, (j + 1) % 3], values[i, (j + 2) % 3]
            apart = ((values[i, j] - one) + (values[i, j] - other)) / 3
            total += apart * apart / 2
            grad[i, j] = apart / len(values)
    return total / max(len(values), 1)
