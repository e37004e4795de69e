"""All that one picture is compared with, colour, mask, depth and tracks, with gradients in one pass
on a CPU.

The readable twin is `picture_reference`, a sum of the functions of `data_terms` and `photometric`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.reconstruct.losses import data_terms
from restage4d.reconstruct.losses.photometric import (
    compute_photometric,
    photometric_reference,
)
from restage4d.reconstruct.model.skinning import to_array

SUBJECT, DEPTH, CARRIED = 3, 4, 5  # channels of a rendering, after rgb
F32 = np.float32


@dataclass(frozen=True)
class Weights:
    """Of the terms; ``dssim`` is the share of 1 - SSIM in the colour's."""

    rgb: float
    dssim: float
    mask: float
    depth: float
    depth_gradient: float
    track_2d: float


@dataclass
class TrackPairs:
    """Tracks in the drawn frame and in another: ``xy``, ``goal`` (P, 2) pixels there, ``trust``
    (P,), 0 where either does not show one, ``K`` (3, 3) and ``w2c`` (4, 4) of the other frame."""

    xy: Tensor
    goal: Tensor
    trust: Tensor
    K: Tensor
    w2c: Tensor


def picture_loss(
    image: Tensor,
    alpha: Tensor,
    target: Tensor,
    mask: Tensor,
    depth: Tensor | None,
    tracks: TrackPairs | None,
    weights: Weights,
) -> Tensor:
    """Weighted sum of colour, mask, depth, depth gradient and track losses; differentiable by
    ``image``, ``alpha`` and the other frame's camera.

    Args:
        image: (H, W, C) rendered: rgb, subject, sum of z and, for tracks, carried positions.
        alpha: (H, W) accumulated.
        target: (H, W, 3) in 0..1.
        mask: (H, W), -1 unknown.
        depth: (H, W) z, 0 unknown; None: neither depth nor tracks are compared.
        tracks: None: they are not compared.
    """
    if image.device.type != "cpu" or image.dtype != torch.float32:
        return picture_reference(image, alpha, target, mask, depth, tracks, weights)
    w2c = torch.eye(4) if tracks is None else tracks.w2c
    return _Picture.apply(image, alpha, w2c, target, mask, depth, tracks, weights)  # pyright: ignore[reportReturnType]


def picture_reference(
    image: Tensor,
    alpha: Tensor,
    target: Tensor,
    mask: Tensor,
    depth: Tensor | None,
    tracks: TrackPairs | None,
    weights: Weights,
) -> Tensor:
    """`picture_loss` on any device and type, by autograd."""
    c, subject = weights, image[..., SUBJECT]
    loss = c.rgb * photometric_reference(image[..., :3], target, c.dssim)
    loss = loss + c.mask * data_terms.mask_loss(subject, mask)
    if depth is None:
        return loss
    drawn = image[..., DEPTH] / alpha.clamp_min(1e-4)  # Eq. 4, divided by the accumulated alpha
    known = ((depth > 0) & (mask >= 0)).to(depth)
    sure = known * ((mask > 0.5) | (mask == 0)).to(known)
    loss = loss + c.depth * data_terms.depth_loss(drawn, depth, known)
    loss = loss + c.depth_gradient * data_terms.depth_gradient_loss(drawn, depth, sure)
    if tracks is None:
        return loss
    return loss + c.track_2d * data_terms.track_loss(
        image[..., CARRIED:], subject, tracks.xy, tracks.goal, tracks.trust, tracks.K, tracks.w2c
    )


class _Picture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, alpha, w2c, target, mask, depth, tracks, weights):
        c = weights
        planes, a = to_array(image).transpose(2, 0, 1), to_array(alpha)
        planes = np.ascontiguousarray(planes)
        grad = np.zeros(planes.shape, np.float32)
        v_alpha, v_w2c = np.zeros_like(a), np.zeros((4, 4), np.float32)
        loss = c.rgb * compute_photometric(planes, to_array(target), c.dssim, c.rgb, grad)
        mask_array = to_array(mask)
        loss += _mask(planes[SUBJECT], mask_array, c.mask, grad[SUBJECT])
        if depth is not None:
            goal, sum_z = to_array(depth), planes[DEPTH]
            drawn, error, v_drawn = np.empty_like(a), np.empty_like(a), np.empty_like(a)
            known = np.empty(a.shape, np.uint8)
            _relate(sum_z, a, goal, mask_array, drawn, error, known)
            limit = _find_limit(error, known, 1, 0.98)
            loss += _depth(drawn, goal, error, known, limit, c.depth, v_drawn)
            log_error = np.empty((2, *a.shape), np.float32)
            both = np.empty((2, *a.shape), np.uint8)
            _differ(drawn, goal, known, log_error, both)
            for axis in (0, 1):
                limit = _find_limit(np.abs(log_error[axis]), both[axis], 1, 0.95)
                loss += _depth_gradient(
                    drawn, log_error[axis], both[axis], limit, axis, c.depth_gradient, v_drawn
                )
            _unrelate(drawn, a, v_drawn, grad[DEPTH], v_alpha)
            if tracks is not None:
                loss += _compute_tracks(planes, tracks, w2c, c.track_2d, grad, v_w2c)
        ctx.grads = grad, v_alpha, v_w2c
        return torch.tensor(loss, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        grads, scale = ctx.grads, v_loss.item()
        if scale != 1:
            for grad in grads:
                grad *= scale
        image, alpha, w2c = map(torch.from_numpy, grads)
        return image.permute(1, 2, 0), alpha, w2c, None, None, None, None, None


def _find_limit(error: np.ndarray, known: np.ndarray, bit: int, q: float) -> float:
    """As `data_terms.below_quantile` finds it."""
    step = data_terms.sample_step(error.size)
    values = error.ravel()[::step][(known.ravel()[::step] & bit) > 0]
    if not len(values):
        return -1.0
    rank = max(int(q * len(values)), 1) - 1
    return float(np.partition(values, rank)[rank])


def _compute_tracks(planes, tracks: TrackPairs, w2c: Tensor, weight: float, grad, v_w2c) -> float:
    """Adds the track term's gradients to those of the planes and of the camera."""
    xy, goal, trust = to_array(tracks.xy), to_array(tracks.goal), to_array(tracks.trust)
    error, pixels = np.empty(len(xy), np.float32), np.empty((len(xy), 10), np.float32)
    camera = to_array(w2c), to_array(tracks.K)
    total = _sample_tracks(planes, xy, goal, trust, *camera, error, pixels)
    most = _find_limit(error, (trust > 0).view(np.uint8), 1, 0.98)
    return _tracks(planes, xy, goal, *camera, error, pixels, most, total, weight, grad, v_w2c)


@njit(nogil=True, cache=True)
def _mask(subject, mask, weight, grad):
    total, count = 0.0, 0
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if mask[y, x] >= 0:
                count += 1
                total += abs(subject[y, x] - mask[y, x])
    share = F32(weight / max(count, 1e-6))
    for y in range(height):
        for x in range(width):
            if mask[y, x] >= 0:
                grad[y, x] += share * np.sign(subject[y, x] - mask[y, x])
    return weight * total / max(count, 1e-6)


@njit(nogil=True, cache=True)
def _relate(sum_z, alpha, goal, mask, drawn, error, known):
    """Depth of what is seen, its relative error, and which pixels count: 1 for depth, 2 for its
    gradient."""
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            d = sum_z[y, x] / max(alpha[y, x], F32(1e-4))
            drawn[y, x] = d
            error[y, x] = abs((d - goal[y, x]) / max(goal[y, x], F32(1e-3)))
            m = mask[y, x]
            known[y, x] = 0
            if goal[y, x] > 0 and m >= 0:
                known[y, x] = 3 if m > 0.5 or m == 0 else 1


@njit(nogil=True, cache=True)
def _depth(drawn, goal, error, known, limit, weight, v_drawn):
    """Sets ``v_drawn`` to the depth term's gradient."""
    total, count = 0.0, 0
    height, width = drawn.shape
    for y in range(height):
        for x in range(width):
            if known[y, x] and error[y, x] <= limit:
                total += error[y, x]
                count += 1
    share = F32(weight / max(count, 1e-6))
    for y in range(height):
        for x in range(width):
            v_drawn[y, x] = 0
            if known[y, x] and error[y, x] <= limit:
                sign = np.sign(drawn[y, x] - goal[y, x])
                v_drawn[y, x] = share * sign / max(goal[y, x], F32(1e-3))
    return weight * total / max(count, 1e-6)


@njit(nogil=True, cache=True)
def _differ(drawn, goal, known, error, both):
    """Errors of the differences of log depth to the next row and to the next column; ``both`` says
    which count."""
    height, width = drawn.shape
    ratio = np.empty(drawn.shape, np.float32)
    for y in range(height):
        for x in range(width):
            ratio[y, x] = np.log(max(drawn[y, x], F32(1e-3)) / max(goal[y, x], F32(1e-3)))
    for y in range(height):
        for x in range(width):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            error[0, y, x] = ratio[below, x] - ratio[y, x]
            error[1, y, x] = ratio[y, right] - ratio[y, x]
            here = known[y, x] == 3
            both[0, y, x] = y + 1 < height and here and known[below, x] == 3
            both[1, y, x] = x + 1 < width and here and known[y, right] == 3


@njit(nogil=True, cache=True)
def _depth_gradient(drawn, error, both, limit, axis, weight, v_drawn):
    """Adds one axis' gradient to ``v_drawn``."""
    total, count = 0.0, 0
    height, width = drawn.shape
    for y in range(height):
        for x in range(width):
            if both[y, x] and abs(error[y, x]) <= limit:
                total += abs(error[y, x])
                count += 1
    share = F32(weight / max(count, 1e-6))
    down, across = (1, 0) if axis == 0 else (0, 1)
    for y in range(height):
        for x in range(width):
            if both[y, x] and abs(error[y, x]) <= limit:
                g = share * np.sign(error[y, x])
                next_, here = drawn[y + down, x + across], drawn[y, x]
                if next_ >= F32(1e-3):
                    v_drawn[y + down, x + across] += g / next_
                if here >= F32(1e-3):
                    v_drawn[y, x] -= g / here
    return weight * total / max(count, 1e-6)


@njit(nogil=True, cache=True)
def _unrelate(drawn, alpha, v_drawn, v_sum_z, v_alpha):
    height, width = drawn.shape
    for y in range(height):
        for x in range(width):
            by = v_drawn[y, x] / max(alpha[y, x], F32(1e-4))
            v_sum_z[y, x] += by
            if alpha[y, x] >= F32(1e-4):
                v_alpha[y, x] -= by * drawn[y, x]


@njit(nogil=True, cache=True)
def _corners(x, y, width, height):
    """The pixel whose centre is left of and above a place, and the shares of the next ones."""
    left, top = int(np.floor(x - F32(0.5))), int(np.floor(y - F32(0.5)))
    return left, top, x - F32(0.5) - left, y - F32(0.5) - top


@njit(nogil=True, cache=True)
def _sample_tracks(planes, xy, goal, trust, w2c, K, error, kept):
    """Fills every track's error over the longer side, and ``kept`` (P, 10): the drawn four, its
    weight, camera x, y, z and pixel. Returns the sum of the weights."""
    _, height, width = planes.shape
    longer, total = max(width, height), 0.0
    for p in range(len(xy)):
        left, top, fx, fy = _corners(xy[p, 0], xy[p, 1], width, height)
        for c in range(4):
            plane = CARRIED + c if c < 3 else SUBJECT
            value = F32(0)
            for dy in range(2):
                for dx in range(2):
                    y, x = top + dy, left + dx
                    if y >= 0 and x >= 0 and y < height and x < width:
                        share = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                        value += share * planes[plane, y, x]
            kept[p, c] = value
        s = max(kept[p, 3], F32(1e-3))
        for r in range(3):
            kept[p, 5 + r] = w2c[r, 3]
            for c in range(3):
                kept[p, 5 + r] += w2c[r, c] * kept[p, c] / s
        z = max(kept[p, 7], F32(0.01))
        kept[p, 8] = kept[p, 5] / z * K[0, 0] + K[0, 2]
        kept[p, 9] = kept[p, 6] / z * K[1, 1] + K[1, 2]
        error[p] = (abs(kept[p, 8] - goal[p, 0]) + abs(kept[p, 9] - goal[p, 1])) / longer
        kept[p, 4] = trust[p] if kept[p, 3] > 0.5 and kept[p, 7] > 0.01 else 0.0
        total += kept[p, 4]
    return total


@njit(nogil=True, cache=True)
def _tracks(planes, xy, goal, w2c, K, error, kept, most, total, weight, grad, v_w2c):
    """The track term; adds its gradients to ``grad`` and ``v_w2c``."""
    _, height, width = planes.shape
    longer, loss, scale = max(width, height), 0.0, weight / max(total, 1e-6)
    v_camera, v_drawn = np.zeros(3), np.zeros(4)
    for p in range(len(xy)):
        loss += scale * kept[p, 4] * min(error[p], most)
        if kept[p, 4] == 0 or error[p] > most:
            continue
        share = scale * kept[p, 4] / longer
        z, s = max(kept[p, 7], F32(0.01)), max(kept[p, 3], F32(1e-3))
        v_u = share * np.sign(kept[p, 8] - goal[p, 0]) * K[0, 0] / z
        v_v = share * np.sign(kept[p, 9] - goal[p, 1]) * K[1, 1] / z
        v_camera[0], v_camera[1] = v_u, v_v
        v_camera[2] = -(v_u * kept[p, 5] + v_v * kept[p, 6]) / z
        v_drawn[3] = 0.0
        for c in range(3):
            v_point = 0.0
            for r in range(3):
                v_point += w2c[r, c] * v_camera[r]
                v_w2c[r, c] += v_camera[r] * kept[p, c] / s
            v_drawn[c] = v_point / s
            v_drawn[3] -= v_point * kept[p, c] / (s * s)
        for r in range(3):
            v_w2c[r, 3] += v_camera[r]
        left, top, fx, fy = _corners(xy[p, 0], xy[p, 1], width, height)
        for dy in range(2):
            for dx in range(2):
                y, x = top + dy, left + dx
                if y >= 0 and x >= 0 and y < height and x < width:
                    part = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                    for c in range(4):
                        grad[CARRIED + c if c < 3 else SUBJECT, y, x] += part * v_drawn[c]
    return loss
