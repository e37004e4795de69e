"""Data terms: rendered masks, depth and motion against what the priors say.

Pure functions of tensors, each a mean, so that weights do not depend on sizes.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from restage4d.reconstruct.model.projection import project

_SAMPLED = 4096  # pixels from which a quantile is told


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
    return masked_mean(error, valid * below_quantile(error, valid, 0.98))


def depth_gradient_loss(depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:  # (H, W) x3
    """L1 between image gradients of log depth, the worst 5 % left out: keeps shape where the scale
    of depth is unsure."""
    total = depth.new_zeros(())
    log_depth, log_target = depth.clamp_min(1e-3).log(), target.clamp_min(1e-3).log()
    for axis in (0, 1):
        n, last = valid.shape[axis], (0, 0, 0, 1) if axis == 0 else (0, 1)  # of the picture's size
        error = pad((log_depth.diff(dim=axis) - log_target.diff(dim=axis)).abs(), last)
        both = pad(valid.narrow(axis, 1, n - 1) * valid.narrow(axis, 0, n - 1), last)
        total = total + masked_mean(error, both * below_quantile(error, both, 0.95))
    return total


def sample_step(count: int) -> int:
    """Every how manyth of so many pixels tells a quantile; odd, to fall on all columns."""
    return count // _SAMPLED | 1


def below_quantile(error: Tensor, weight: Tensor, q: float) -> Tensor:
    """1 where ``error`` is below its q-quantile among weighted elements, as `find_quantile` tells
    it."""
    return (error.detach() <= find_quantile(error, weight, q)).to(error)


def find_quantile(error: Tensor, weight: Tensor, q: float) -> Tensor:  # -> (1,)
    """The q-quantile among elements with weight, as every `sample_step`th tells it; without
    waiting for a GPU."""
    step = sample_step(error.numel())
    some, counts = error.detach().flatten()[::step], weight.flatten()[::step] > 0
    values = torch.where(counts, some, torch.inf).sort().values
    rank = ((q * counts.sum().double()).long() - 1).clamp_min(0)
    return values.gather(0, rank[None])


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
        trust: (P,) weights of the tracks, 0 for those that do not count.
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
    error = torch.minimum(error, find_quantile(error, trust, 0.98))
    return masked_mean(error, weight * (z.detach() > 0.01))
