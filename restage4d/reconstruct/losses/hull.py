"""Where the frames allow the subject to be: inside its outline, not before the surface that is
seen, not far behind it.

What a frame hides nothing else supervises. Two facts hold for it all the same: the whole subject
lies inside the silhouette (a visual hull over time, where a mask loss says nothing of what lies
behind the ground as the camera sees it), and what is hidden lies behind what hides it, and hardly
further than the body is thick.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from restage4d.clips import Priors
from restage4d.priors.geometry.inflation import inflate
from restage4d.reconstruct.model.projection import project

F32 = NDArray[np.float32]
_EDGE = 1.0  # pixels by which a point may stick out of the outline
_LOOSE = 0.04  # of the extent; by which a point may lie before the surface
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
        focal = priors.cameras.K[:, 0, 0]
        outside, thick = (
            np.zeros(priors.masks.shape, np.float32),
            np.zeros(len(priors.masks), np.float32),
        )
        for t, mask in enumerate(priors.masks):
            subject = mask > 0.5
            if subject.any():
                outside[t] = np.maximum(np.asarray(distance_transform_edt(mask == 0)) - _EDGE, 0)
                depth = priors.depth[t][subject]
                known = depth[depth > 0]
                thick[t] = (
                    2
                    * _WIDER
                    * inflate(subject).max()
                    / focal[t]
                    * (np.median(known) if len(known) else 0)
                )
        front = np.where(priors.masks > 0.5, priors.depth, 0)
        self.outside, self.front, self.thick = (
            torch.from_numpy(a).to(device) for a in (outside, front, thick)
        )

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

    def _sample_front(self, frames: Tensor | int, xy: Tensor) -> Tensor:  # (..., 2) -> (...)
        """The surface's depth at pixels; those outside the picture have the border's."""
        height, width = self.front.shape[1:]
        column, row = (
            xy[..., 0].detach().clamp(0, width - 1).long(),
            xy[..., 1].detach().clamp(0, height - 1).long(),
        )
        return self.front[frames, row, column]
