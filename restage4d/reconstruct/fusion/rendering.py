"""The scene drawn for the fit: colour, subject, depth and motion in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from restage4d.reconstruct.model.scene_model import Splats
from restage4d.splatting import rasterize


@dataclass
class View:
    """One rendering: rgb (H, W, 3), subject alpha (H, W), z-depth (H, W) of what is seen, alpha (H,
    W), carried (H, W, 3)."""

    rgb: Tensor
    subject: Tensor
    depth: Tensor
    alpha: Tensor
    carried: Tensor
    info: dict


def render_view(
    subject: Splats,
    background: Splats,
    K: Tensor,
    w2c: Tensor,
    size: tuple[int, int],
    carry: Tensor | None = None,
) -> View:
    """Colour, subject mask, depth and, where given, subject positions ``carry`` (N, 3) at another
    time, in one pass."""
    n, b = len(subject.means), len(background.means)
    means = torch.cat([subject.means, background.means])
    z = means @ w2c[2, :3] + w2c[2, 3]
    is_subject = torch.cat([means.new_ones(n), means.new_zeros(b)])
    channels = [torch.cat([subject.rgb, background.rgb]), is_subject[:, None], z[:, None]]
    if carry is not None:
        channels.append(torch.cat([carry, means.new_zeros(b, 3)]))
    image, alpha, info = rasterize(
        means,
        torch.cat([subject.quats, background.quats]),
        torch.cat([subject.scales, background.scales]),
        torch.cat([subject.opacities, background.opacities]),
        torch.cat(channels, 1),
        w2c,
        K,
        *size,
    )
    # One split instead of slices: its gradient is one concatenation.
    rgb, mask, z_sum, carried = image.permute(2, 0, 1).split([3, 1, 1, image.shape[-1] - 5])
    depth = z_sum[0] / alpha.clamp_min(1e-4)  # Eq. 4, divided by the accumulated alpha
    return View(rgb.permute(1, 2, 0), mask[0], depth, alpha, carried.permute(1, 2, 0), info)
