"""Pinhole projection of tensors."""

import torch
from torch import Tensor


def project(points: Tensor, K: Tensor, w2c: Tensor, near: float = 0.01) -> tuple[Tensor, Tensor]:
    """World points (..., 3) to pixels (..., 2) and z-depth (...); K (..., 3, 3) and w2c (..., 4, 4)
    broadcast."""
    camera = (w2c[..., :3, :3] * points[..., None, :]).sum(-1) + w2c[..., :3, 3]
    z = camera[..., 2]
    xy = camera[..., :2] / z.clamp_min(near)[..., None]
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], -1)
    centre = torch.stack([K[..., 0, 2], K[..., 1, 2]], -1)
    return xy * focal + centre, z
