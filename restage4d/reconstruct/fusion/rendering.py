"""The scene drawn to look at: colour, subject and depth in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from restage4d.reconstruct.model.scene_model import Splats
from restage4d.splatting import rasterize


@dataclass
class View:
    """One rendering: rgb (H, W, 3), subject alpha (H, W), z-depth (H, W) of what is seen, alpha (H,
    W)."""

    rgb: Tensor
    subject: Tensor
    depth: Tensor
    alpha: Tensor


def render_view(
    subject: Splats,
    background: Splats,
    K: Tensor,
    w2c: Tensor,
    size: tuple[int, int],
) -> View:
    """Colour, subject mask and depth."""
    n, b = len(subject.means), len(background.means)
    means = torch.cat([subject.means, background.means])
    z = means @ w2c[2, :3] + w2c[2, 3]
    is_subject = torch.cat([means.new_ones(n), means.new_zeros(b)])
    channels = [torch.cat([subject.rgb, background.rgb]), is_subject[:, None], z[:, None]]
    image, alpha, _ = rasterize(
        means,
        torch.cat([subject.quats, background.quats]),
        torch.cat([subject.scales, background.scales]),
        torch.cat([subject.opacities, background.opacities]),
        torch.cat(channels, 1),
        w2c,
        K,
        *size,
    )
    depth = image[..., 4] / alpha.clamp_min(1e-4)  # Eq. 4, divided by the accumulated alpha
    return View(image[..., :3], image[..., 3], depth, alpha)
