"""The losses of both stages: pure functions of tensors, each a mean so that weights do not depend
on sizes."""

import torch
from torch import Tensor


def masked_mean(value: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean that is 0 where nothing has weight; ``weight`` broadcasts to ``value``."""
    weight = weight.expand_as(value)
    return (value * weight).sum() / weight.sum().clamp_min(1e-6)


def mask_loss(rendered: Tensor, mask: Tensor) -> Tensor:  # (H, W), (H, W)
    """L1 between the rendered subject's alpha and the mask; the unknown band (-1) is left out."""
    return masked_mean((rendered - mask).abs(), (mask >= 0).to(rendered))


def depth_loss(depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:  # (H, W) x3
    """L1 of relative depth error, the worst 2 % left out; ``valid`` weighs pixels."""
    error = ((depth - target) / target.clamp_min(1e-3)).abs()
    return masked_mean(error, valid * _below_quantile(error, valid, 0.98))


def depth_gradient_loss(depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:  # (H, W) x3
    """L1 between image gradients of log depth, the worst 5 % left out: keeps shape where the scale
    of depth is unsure."""
    total = depth.new_zeros(())
    log_depth, log_target = depth.clamp_min(1e-3).log(), target.clamp_min(1e-3).log()
    for axis in (0, 1):
        error = (log_depth.diff(dim=axis) - log_target.diff(dim=axis)).abs()
        n = valid.shape[axis]
        both = valid.narrow(axis, 1, n - 1) * valid.narrow(axis, 0, n - 1)
        total = total + masked_mean(error, both * _below_quantile(error, both, 0.95))
    return total


def _below_quantile(error: Tensor, weight: Tensor, q: float) -> Tensor:
    """1 where ``error`` is below its q-quantile among weighted elements."""
    values = error.detach()[weight > 0]
    if values.numel() == 0:
        return torch.zeros_like(error)
    rank = max(int(q * values.numel()), 1)
    return (error.detach() <= values.kthvalue(rank).values).to(error)


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


def project(points: Tensor, K: Tensor, w2c: Tensor, near: float = 0.01) -> tuple[Tensor, Tensor]:
    """World points (..., 3) to pixels (..., 2) and z-depth (...); K (..., 3, 3) and w2c (..., 4, 4)
    broadcast."""
    camera = (w2c[..., :3, :3] * points[..., None, :]).sum(-1) + w2c[..., :3, 3]
    z = camera[..., 2]
    xy = camera[..., :2] / z.clamp_min(near)[..., None]
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], -1)
    centre = torch.stack([K[..., 0, 2], K[..., 1, 2]], -1)
    return xy * focal + centre, z
