"""What motion initialisation says of many points in many frames, with gradients in one pass on a
CPU: agreement with tracks, lengths of edges (Eq. 2), smooth paths. The twins beside them work on
any device and type, by autograd."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.reconstruct.losses.data_terms import masked_mean
from restage4d.reconstruct.losses.rigidity import edge_lengths, motion_similarity
from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.model.skinning import to_array

F32 = np.float32


@dataclass
class Observations:
    """Of P tracks in F frames: ``xyz`` (P, F, 3) world, ``xy`` (P, F, 2) pixels, ``seen`` (P, F)
    bool, ``trust`` (P, F); the frames' ``K`` (F, 3, 3), ``w2c`` (F, 4, 4)."""

    xyz: Tensor
    xy: Tensor
    seen: Tensor
    trust: Tensor
    K: Tensor
    w2c: Tensor


def observation_loss(points: Tensor, tracks: Observations, weights: tuple[float, float]) -> Tensor:
    """Weighted L1 of points (P, F, 3) from tracks that are seen, and of their projections, in units
    of the focal length, from all tracks before the camera, hidden ones by half."""
    if points.device.type != "cpu" or points.dtype != torch.float32:
        return observation_loss_reference(points, tracks, weights)
    return _Observe.apply(points, tracks, weights)  # pyright: ignore[reportReturnType]


def observation_loss_reference(
    points: Tensor, tracks: Observations, weights: tuple[float, float]
) -> Tensor:
    """`observation_loss` by autograd."""
    seen = tracks.seen.to(points)
    apart = (points - tracks.xyz).abs()
    loss = weights[0] * masked_mean(apart, (seen * tracks.trust)[..., None])
    pixels, z = project(points, tracks.K, tracks.w2c)
    error = (pixels - tracks.xy).abs() / tracks.K[:, 0, 0][:, None]
    trust = tracks.trust * torch.where(seen > 0, 1.0, 0.5) * (z > 0)
    return loss + weights[1] * masked_mean(error, trust[..., None])


def rigidity_init(points: Tensor, canonical: Tensor, coefs: Tensor, edges: Tensor) -> Tensor:
    """Eq. 2 as a mean over frames and edges instead of a sum: ``points`` (N, T, 3), ``canonical``
    (N, 3), ``coefs`` (N, K), ``edges`` (E, 2).

    s_ij is a weight and gets no gradient: it would pay for making neighbours' coefficients unlike
    instead of their motion alike.
    """
    if len(edges) == 0:
        return points.new_zeros(())
    if points.device.type != "cpu" or points.dtype != torch.float32:
        return rigidity_init_reference(points, canonical, coefs, edges)
    similarity = motion_similarity(coefs.detach(), edges)
    return _Stretch.apply(points, canonical, similarity, edges)  # pyright: ignore[reportReturnType]


def rigidity_init_reference(
    points: Tensor, canonical: Tensor, coefs: Tensor, edges: Tensor
) -> Tensor:
    """`rigidity_init` by autograd."""
    stretch = (edge_lengths(points, edges) - edge_lengths(canonical, edges)[:, None]).abs()
    return (motion_similarity(coefs.detach(), edges)[:, None] * stretch).mean()


def bend_loss(
    path: Tensor, rays: Tensor, rest: float, weights: tuple[float, float]
) -> Tensor:  # (P, S, 3 frames, 3), (S, 3)
    """Weighted mean acceleration of paths, below ``rest`` squared, and of its part along the
    viewing direction."""
    if path.device.type != "cpu" or path.dtype != torch.float32:
        return bend_loss_reference(path, rays, rest, weights)
    return _Bend.apply(path, rays, rest, weights)  # pyright: ignore[reportReturnType]


def bend_loss_reference(
    path: Tensor, rays: Tensor, rest: float, weights: tuple[float, float]
) -> Tensor:
    """`bend_loss` by autograd."""
    bend = path[:, :, 0] - 2 * path[:, :, 1] + path[:, :, 2]
    loss = weights[0] * ((bend.square() + rest**2).sqrt() - rest).mean()
    return loss + weights[1] * (bend * rays).sum(-1).abs().mean()


class _Observe(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, tracks, weights):
        ctx.grad = np.empty(points.shape, np.float32)
        arrays = map(to_array, (points, *vars(tracks).values()))
        return torch.tensor(_observe(*[*arrays, *weights, ctx.grad]), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        return torch.from_numpy(ctx.grad) * v_loss, None, None


class _Stretch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, canonical, similarity, edges):
        ctx.grads = np.zeros(points.shape, np.float32), np.zeros(canonical.shape, np.float32)
        arrays = map(to_array, (points, canonical, similarity, edges))
        return torch.tensor(_stretch(*[*arrays, *ctx.grads]), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        return *(torch.from_numpy(grad) * v_loss for grad in ctx.grads), None, None


class _Bend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, path, rays, rest, weights):
        ctx.grad = np.empty(path.shape, np.float32)
        arrays = map(to_array, (path, rays))
        return torch.tensor(_bend(*[*arrays, rest, *weights, ctx.grad]), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        return torch.from_numpy(ctx.grad) * v_loss, None, None, None


@njit(nogil=True, cache=True)
def _observe(points, xyz, xy, seen, trust, K, w2c, weight_3d, weight_2d, grad):
    n, frames = seen.shape
    near, total_3d, total_2d, sum_3d, sum_2d = F32(0.01), 0.0, 0.0, 0.0, 0.0
    z = np.empty((n, frames), np.float32)
    for i in range(n):
        for f in range(frames):
            z[i, f] = w2c[f, 2, 3]
            for c in range(3):
                z[i, f] += w2c[f, 2, c] * points[i, f, c]
            if seen[i, f]:
                sum_3d += 3 * trust[i, f]
            if z[i, f] > 0:
                sum_2d += 2 * trust[i, f] * (1.0 if seen[i, f] else 0.5)
    share_3d, share_2d = weight_3d / max(sum_3d, 1e-6), weight_2d / max(sum_2d, 1e-6)
    v = np.empty(3, np.float32)
    for i in range(n):
        for f in range(frames):
            weight = F32(share_3d * trust[i, f]) if seen[i, f] else F32(0)
            for c in range(3):
                apart = points[i, f, c] - xyz[i, f, c]
                total_3d += weight * abs(apart)
                grad[i, f, c] = weight * np.sign(apart)
            if z[i, f] <= 0:
                continue
            weight = F32(share_2d * trust[i, f] * (1.0 if seen[i, f] else 0.5) / K[f, 0, 0])
            deep, x, y = max(z[i, f], near), w2c[f, 0, 3], w2c[f, 1, 3]
            for c in range(3):
                x += w2c[f, 0, c] * points[i, f, c]
                y += w2c[f, 1, c] * points[i, f, c]
            off_x = x / deep * K[f, 0, 0] + K[f, 0, 2] - xy[i, f, 0]
            off_y = y / deep * K[f, 1, 1] + K[f, 1, 2] - xy[i, f, 1]
            total_2d += weight * (abs(off_x) + abs(off_y))
            v[0] = weight * np.sign(off_x) * K[f, 0, 0] / deep
            v[1] = weight * np.sign(off_y) * K[f, 1, 1] / deep
            v[2] = -(v[0] * x + v[1] * y) / deep if z[i, f] >= near else F32(0)
            for c in range(3):
                for r in range(3):
                    grad[i, f, c] += w2c[f, r, c] * v[r]
    return total_3d + total_2d


@njit(nogil=True, cache=True)
def _stretch(points, canonical, similarity, edges, v_points, v_canonical):
    total, frames = 0.0, points.shape[1]
    share = F32(1 / (len(edges) * frames))
    d = np.empty(3, np.float32)
    for e in range(len(edges)):
        i, j = edges[e]
        squared = F32(1e-12)
        for c in range(3):
            squared += (canonical[i, c] - canonical[j, c]) ** 2
        rest, weight, longer = F32(math.sqrt(squared)), share * similarity[e], F32(0)
        for f in range(frames):
            squared = F32(1e-12)
            for c in range(3):
                d[c] = points[i, f, c] - points[j, f, c]
                squared += d[c] * d[c]
            length = F32(math.sqrt(squared))
            total += weight * abs(length - rest)
            sign = weight * np.sign(length - rest)
            longer += sign
            for c in range(3):
                g = sign * d[c] / length
                v_points[i, f, c] += g
                v_points[j, f, c] -= g
        for c in range(3):
            g = -longer * (canonical[i, c] - canonical[j, c]) / rest
            v_canonical[i, c] += g
            v_canonical[j, c] -= g
    return total


@njit(nogil=True, cache=True)
def _bend(path, rays, rest, weight, weight_along, grad):
    total, n, triples = 0.0, path.shape[0], path.shape[1]
    share, share_along = F32(weight / (n * triples * 3)), F32(weight_along / (n * triples))
    bend = np.empty(3, np.float32)
    for i in range(n):
        for s in range(triples):
            along = F32(0)
            for c in range(3):
                bend[c] = path[i, s, 0, c] - 2 * path[i, s, 1, c] + path[i, s, 2, c]
                along += bend[c] * rays[s, c]
            total += share_along * abs(along)
            by_along = share_along * np.sign(along)
            for c in range(3):
                length = F32(math.sqrt(bend[c] * bend[c] + rest * rest))
                total += share * (length - rest)
                g = share * bend[c] / length + by_along * rays[s, c]
                grad[i, s, 0, c], grad[i, s, 1, c], grad[i, s, 2, c] = g, -2 * g, g
    return total
