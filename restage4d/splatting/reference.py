"""The dense reference: readable torch, gradients by autograd, any floating dtype. Memory is N x H x
W: for tests only."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from restage4d.splatting.constants import (
    EPS2D,
    FAR,
    FOV_MARGIN,
    MAX_ALPHA,
    MAX_EXTENT,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    QUAT_EPS,
)


def quat_to_matrix(quats: Tensor) -> Tensor:  # (N, 4) wxyz, any length -> (N, 3, 3)
    w, x, y, z = normalize(quats, dim=-1, eps=QUAT_EPS).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(-1, 3, 3)


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    w2c: Tensor,
    K: Tensor,
    width: int,
    height: int,
    eps2d: float,
) -> tuple[
    Tensor, Tensor, Tensor
]:  # means2d (N, 2), blurred 2D covariance (N, 2, 2), camera z (N,)
    """EWA projection: the pinhole's Jacobian at the centre carries the covariance to the image."""
    R = w2c[:3, :3]
    x, y, z = (means @ R.T + w2c[:3, 3]).unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FOV_MARGIN * 0.5 * width / fx, FOV_MARGIN * 0.5 * height / fy
    tx = z * (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    ty = z * (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2], -1).reshape(
        -1, 2, 3
    )
    M = J @ R @ (quat_to_matrix(quats) * scales[:, None, :])
    cov = M @ M.transpose(1, 2) + eps2d * torch.eye(2, dtype=M.dtype, device=M.device)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), cov, z


def footprint(
    means2d: Tensor, cov: Tensor, opacities: Tensor, width: int, height: int
) -> Tensor:  # -> (N,) int32
    """Radius in pixels of the box outside which a Gaussian is fainter than `MIN_ALPHA`; 0 off the
    image."""
    extent = (2 * (opacities / MIN_ALPHA).clamp_min(1).log()).sqrt().clamp_max(MAX_EXTENT)
    radius = (extent[:, None] * cov.diagonal(dim1=1, dim2=2).sqrt()).ceil()
    size = torch.tensor([width, height], dtype=means2d.dtype, device=means2d.device)
    inside = ((means2d + radius > 0) & (means2d - radius < size)).all(-1) & (radius > 0).all(-1)
    return torch.where(inside, radius.amax(-1).clamp_max(1e9), 0).to(torch.int32)


def rasterize(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    w2c: Tensor,
    K: Tensor,
    width: int,
    height: int,
    *,
    near: float = 0.01,
    eps2d: float = EPS2D,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """`restage4d.splatting.rasterize`, densely."""
    n = len(means)
    # which Gaussians are drawn; the rest must not reach the graph, or a NaN of theirs would spread
    with torch.no_grad():
        means2d, cov, z = project(means, quats, scales, w2c, K, width, height, eps2d)
        det = torch.linalg.det(cov)
        radii = footprint(means2d, cov, opacities, width, height)
        drawn = (z >= near) & (z <= FAR) & (det > 0) & det.isfinite() & (opacities >= MIN_ALPHA)
        drawn &= means2d.isfinite().all(-1) & (radii > 0)
        radii = torch.where(drawn, radii, 0)
    keep = drawn.nonzero().squeeze(1)

    visible2d, cov, z = project(
        means[keep], quats[keep], scales[keep], w2c, K, width, height, eps2d
    )
    means2d = means.new_zeros(n, 2).index_put((keep,), visible2d)
    depths = means.new_zeros(n).index_put((keep,), z)
    order = z.detach().argsort(stable=True)
    front = keep[order]
    conic = torch.linalg.inv(cov[order])

    ys = torch.arange(height, dtype=means.dtype, device=means.device) + 0.5
    xs = torch.arange(width, dtype=means.dtype, device=means.device) + 0.5
    pixels = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)  # (H, W, 2)
    delta = means2d[front][:, None, None] - pixels  # (V, H, W, 2)
    sigma = 0.5 * torch.einsum("vhwi,vij,vhwj->vhw", delta, conic, delta)
    alpha = (opacities[front][:, None, None] * torch.exp(-sigma)).clamp_max(MAX_ALPHA)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha)
    after = torch.cumprod(1 - alpha, 0)
    # Transmittance only falls, so "stopped before" is the same as "at or below the limit now".
    alpha = torch.where(after > MIN_TRANSMITTANCE, alpha, 0)
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:1]), 1 - alpha]), 0)[: len(alpha)]
    weight = alpha * before  # (V, H, W)
    image = torch.einsum("vhw,vc->hwc", weight, colors[front])
    return image, weight.sum(0), {"means2d": means2d, "radii": radii, "depths": depths}
