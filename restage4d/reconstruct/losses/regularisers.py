"""Regularisers: smooth motion, few bases per point, round Gaussians.

Pure functions of tensors, each a mean, so that weights do not depend on sizes.
"""

from torch import Tensor


def acceleration(values: Tensor, triples: Tensor) -> Tensor:  # (..., T, D), (S, 3) -> (..., S, D)
    """Second difference over frames that follow one another; ``triples`` are (before, now, after)
    positions in time."""
    before, now, after = (values.index_select(-2, triples[:, i]) for i in range(3))
    return before - 2 * now + after


def smooth_bases(
    rots: Tensor, trans: Tensor, triples: Tensor
) -> Tensor:  # (K, T, 6), (K, T, 3), (S, 3)
    """Mean L1 acceleration of the bases, rotation : translation = 1 : 2 (Shape-of-Motion)."""
    if len(triples) == 0:
        return rots.new_zeros(())
    return acceleration(rots, triples).abs().mean() + 2 * acceleration(trans, triples).abs().mean()


def smooth_tracks(points: Tensor) -> Tensor:  # (N, 3 frames, 3)
    """Mean L1 acceleration of points over three frames that follow one another."""
    return (points[:, 0] - 2 * points[:, 1] + points[:, 2]).abs().mean()


def sparsity(coefs: Tensor) -> Tensor:  # (N, K)
    """``1 - Σ β²``: 0 when one basis moves a point alone."""
    return (1 - (coefs * coefs).sum(-1)).mean()


def scale_variance(log_scales: Tensor) -> Tensor:  # (N, 3)
    """Mean variance of a Gaussian's three log scales: needles and flakes cost."""
    return log_scales.var(dim=-1).mean()
