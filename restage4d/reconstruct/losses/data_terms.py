"""Data terms: rendered masks, depth and motion against what the priors say.

Pure functions of tensors, each a mean, so that weights do not depend on sizes.
"""

import torch
from torch import Tensor

from restage4d.reconstruct.model.projection import project


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


def track_loss(
    carried: Tensor,
    subject: Tensor,
    xy: Tensor,
    goal: Tensor,
    trust: Tensor,
    K: Tensor,
    w2c: Tensor,
) -> Tensor:
    """Where the Gaussians seen at a track's pixel in one frame go in another, against the track: L1
    over the longer side, the worst 2 % capped.

    Args:
        carried: (H, W, 3) rendered subject positions at the other frame, weighted by ``subject``.
        subject: (H, W) rendered alpha of the subject.
        xy, goal: (P, 2) pixels of the tracks in the one frame and in the other.
        trust: (P,) weights of the tracks.
        K, w2c: (3, 3), (4, 4) of the other frame.
    """
    height, width = subject.shape
    scale = xy.new_tensor([2 / width, 2 / height])
    stack = torch.cat([carried, subject[..., None]], -1).permute(2, 0, 1)[None]
    drawn = torch.nn.functional.grid_sample(
        stack, (xy * scale - 1)[None, None], align_corners=False
    )[0, :, 0].T
    weight = trust * (drawn[:, 3].detach() > 0.5)
    pixels, z = project(drawn[:, :3] / drawn[:, 3:].clamp_min(1e-3), K, w2c)
    error = (pixels - goal).abs().sum(-1) / max(width, height)
    error = error.clamp_max(float(error.detach().quantile(0.98)))
    return masked_mean(error, weight * (z.detach() > 0.01))
