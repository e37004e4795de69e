"""Where the frames allow the subject to be: inside its outline, not before the surface that is
seen, not far behind it.

What a frame hides nothing else supervises. Two facts hold for it all the same: the whole subject
lies inside the silhouette (a visual hull over time, where a mask loss says nothing of what lies
behind the ground as the camera sees it), and what is hidden lies behind what hides it, and hardly
further than the body is thick.
"""

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.clips import Priors
from restage4d.frame_arrays import make_frames
from restage4d.priors.geometry.inflation import inflate
from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.model.skinning import to_array
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
_EDGE = 1.0  # pixels by which a point may stick out of the outline
_LOOSE = 0.04  # of the extent; by which a point may lie before the surface
OUTSIDE, BEHIND = 1, 2  # of `Hull.flag_guesses`
_WIDER = 1.25  # times the thickness of the widest part: parts may stand side by side


class Hull:
    """The frames' silhouettes and surfaces on ``device``.

    Attributes:
        outside: (T, H, W) pixels from the outline's inside or the mask's unknown band; 0 in frames
            without the subject.
        front: (T, H, W) z-depth of the subject's surface, 0 where it is not seen.
        thick: (T,) world units; how far behind the surface the subject reaches.
    """

    def __init__(self, priors: Priors, device: torch.device | str = "cpu") -> None:
        outside, front = make_frames(priors.masks.shape), make_frames(priors.masks.shape)
        thick = np.zeros(len(priors.masks), np.float32)

        def measure(t: int) -> None:
            outside[t], thick[t] = _measure_silhouette(priors, t)
            front[t] = np.where(priors.masks[t] > 0.5, priors.depth[t], 0)

        map_on_cores(measure, range(len(priors.masks)))
        self.outside, self.front, self.thick = (
            torch.from_numpy(a).to(device) for a in (outside, front, thick)
        )

    def compute_mean_excess(self, points: Tensor, frames: Tensor, K: Tensor, w2c: Tensor) -> Tensor:
        """The mean of `compute_excess`, in one pass on a CPU; differentiable by ``points`` and
        ``w2c``."""
        if points.device.type != "cpu" or points.dtype != torch.float32:
            return self.compute_excess(points, frames, K, w2c).mean()
        return _MeanExcess.apply(points, w2c, K, frames, self)  # pyright: ignore[reportReturnType]

    def compute_excess(self, points: Tensor, frames: Tensor, K: Tensor, w2c: Tensor) -> Tensor:
        """How far points are from where each frame allows them, world units: (N, F).

        Args:
            points: (N, F, 3) in the world at ``frames`` (F,).
            K, w2c: (F, 3, 3), (F, 4, 4).
        """
        height, width = self.front.shape[1:]
        xy, z = project(points, K, w2c)
        scale = xy.new_tensor([2 / width, 2 / height])
        grid = (xy * scale - 1).transpose(0, 1)[:, None]  # (F, 1, N, 2)
        away = torch.nn.functional.grid_sample(
            self.outside[frames][:, None], grid, align_corners=False
        )[:, 0, 0].T
        in_view = (
            (xy.detach() >= 0).all(-1)
            & (xy[..., 0] < width)
            & (xy[..., 1] < height)
            & (z.detach() > 0.01)
        )
        front = self._sample_front(frames[None], xy)
        known = (front > 0).to(z)
        deep = (z - front - self.thick[frames]).clamp_min(0) + (front - _LOOSE - z).clamp_min(0)
        return (away * z.detach() / K[:, 0, 0] + known * deep) * in_view

    def classify(
        self, points: Tensor, frame: int, K: Tensor, w2c: Tensor, by: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Which of points (N, 3) lie outside the outline of a frame, and which by more than ``by``
        (N,) behind its surface."""
        with torch.no_grad():
            xy, z = project(points, K, w2c)
            front = self._sample_front(frame, xy)
            return front == 0, (front > 0) & (z > front + by)

    def flag_guesses(
        self, points: Tensor, frame: int, K: Tensor, w2c: Tensor, far: Tensor
    ) -> Tensor:
        """Which guesses of the far side, ``far`` (N,) > 0 behind their surface, a frame does
        not decide: (N,) uint8, `OUTSIDE` its outline, `BEHIND` its surface by more than half of
        that. No gradient."""
        if points.device.type != "cpu" or points.dtype != torch.float32:
            outside, behind = self.classify(points, frame, K, w2c, 0.5 * far)
            return (far > 0) * (outside * OUTSIDE + behind * BEHIND).to(torch.uint8)
        flags = np.zeros(len(points), np.uint8)
        arrays = map(to_array, (points, w2c, K, self.front[frame], far))
        _flag_guesses(*[*arrays, flags])
        return torch.from_numpy(flags)

    def _sample_front(self, frames: Tensor | int, xy: Tensor) -> Tensor:  # (..., 2) -> (...)
        """The surface's depth at pixels; those outside the picture have the border's."""
        height, width = self.front.shape[1:]
        column, row = (
            xy[..., 0].detach().clamp(0, width - 1).long(),
            xy[..., 1].detach().clamp(0, height - 1).long(),
        )
        return self.front[frames, row, column]


def _measure_silhouette(priors: Priors, t: int) -> tuple[F32, float]:
    """``outside`` (H, W) and ``thick`` of a frame."""
    mask, subject = priors.masks[t], priors.masks[t] > 0.5
    if not subject.any():
        return np.zeros(mask.shape, np.float32), 0.0
    outside = np.maximum(np.asarray(distance_transform_edt(mask == 0)) - _EDGE, 0)
    depth = priors.depth[t][subject]
    known = depth[depth > 0]
    distance = float(np.median(known)) if len(known) else 0.0
    widest = float(inflate(subject).max()) / float(priors.cameras.K[t, 0, 0])
    return outside.astype(np.float32), 2 * _WIDER * widest * distance


class _MeanExcess(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, w2c, K, frames, hull):
        v_points = np.empty(points.shape, np.float32)
        v_w2c = np.zeros(w2c.shape, np.float32)
        given = points, w2c, K, frames, hull.outside, hull.front, hull.thick
        total = _measure_excess(*[*map(to_array, given), v_points, v_w2c])
        ctx.grads = v_points, v_w2c
        return torch.tensor(total, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):
        return *(torch.from_numpy(grad) * v_loss for grad in ctx.grads), None, None, None


@njit(nogil=True, cache=True)
def _measure_excess(points, w2c, K, frames, outside, front, thick, v_points, v_w2c):
    """The mean excess, and its gradients."""
    _, height, width = front.shape
    n, count = points.shape[:2]
    total, share = 0.0, np.float32(1 / max(n * count, 1))
    near, loose = np.float32(0.01), np.float32(_LOOSE)
    v = np.zeros(3, np.float32)
    for i in range(n):
        for f in range(count):
            t, p = frames[f], points[i, f]
            x, y, z = w2c[f, 0, 3], w2c[f, 1, 3], w2c[f, 2, 3]
            for c in range(3):
                x += w2c[f, 0, c] * p[c]
                y += w2c[f, 1, c] * p[c]
                z += w2c[f, 2, c] * p[c]
                v_points[i, f, c] = 0
            deep = max(z, near)
            px, py = x / deep * K[f, 0, 0] + K[f, 0, 2], y / deep * K[f, 1, 1] + K[f, 1, 2]
            if not (px >= 0 and py >= 0 and px < width and py < height and z > near):
                continue
            left, top = int(np.floor(px - 0.5)), int(np.floor(py - 0.5))
            fx, fy = px - np.float32(0.5) - left, py - np.float32(0.5) - top
            away = right = down = np.float32(0)
            for dy in range(2):
                for dx in range(2):
                    row, column = top + dy, left + dx
                    if row >= 0 and column >= 0 and row < height and column < width:
                        value = outside[t, row, column]
                        sx, sy = (fx if dx else 1 - fx), (fy if dy else 1 - fy)
                        away += sx * sy * value
                        right += (value if dx else -value) * sy
                        down += (value if dy else -value) * sx
            scale = z / K[f, 0, 0]
            total += away * scale
            v_x, v_y = (
                share * scale * right * K[f, 0, 0] / deep,
                share * scale * down * K[f, 1, 1] / deep,
            )
            v[0], v[1], v[2] = v_x, v_y, -(v_x * x + v_y * y) / deep
            surface = front[t, int(py), int(px)]
            if surface > 0:
                if z > surface + thick[t]:
                    total += z - surface - thick[t]
                    v[2] += share
                elif z < surface - loose:
                    total += surface - loose - z
                    v[2] -= share
            for r in range(3):
                v_w2c[f, r, 3] += v[r]
                for c in range(3):
                    v_points[i, f, c] += w2c[f, r, c] * v[r]
                    v_w2c[f, r, c] += v[r] * p[c]
    return total * share


@njit(nogil=True, cache=True)
def _flag_guesses(points, w2c, K, front, far, flags):
    height, width = front.shape
    for i in range(len(points)):
        if far[i] <= 0:
            continue
        x, y, z = w2c[0, 3], w2c[1, 3], w2c[2, 3]
        for c in range(3):
            x += w2c[0, c] * points[i, c]
            y += w2c[1, c] * points[i, c]
            z += w2c[2, c] * points[i, c]
        deep = max(z, np.float32(0.01))
        u, v = x / deep * K[0, 0] + K[0, 2], y / deep * K[1, 1] + K[1, 2]
        column, row = min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
        surface = front[int(row), int(column)]
        if surface == 0:
            flags[i] = OUTSIDE
        elif z > surface + np.float32(0.5) * far[i]:
            flags[i] = BEHIND
