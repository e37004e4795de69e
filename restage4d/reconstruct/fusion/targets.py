"""What renderings are compared with: whole frames, their subject alone, and closer looks at it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from restage4d.clips import Priors, Rewound
from restage4d.reconstruct.fusion.closeups import Box, Closeups, find_box


@dataclass
class Shot:
    """A picture and the pinhole that draws the like of it.

    Attributes:
        K: (3, 3), size: (width, height).
        target: (H, W, 3) in 0..1.
        mask: (H, W) the subject in 0..1, -1 unknown.
        depth: (H, W) z, 0 unknown; None for the subject alone.
    """

    K: Tensor
    size: tuple[int, int]
    target: Tensor
    mask: Tensor
    depth: Tensor | None


class Targets:
    """The frames on ``device``, with their masks, depth and intrinsics."""

    def __init__(
        self,
        rewound: Rewound,
        priors: Priors,
        closeups: Closeups | None,
        device: torch.device | str,
    ) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device)

        self.device, self.size, self.closeups = device, rewound.clip.size, closeups
        self.frames, self.masks = tensor(rewound.clip.frames), tensor(priors.masks)
        self.boxes: dict[int, Box | None] = {}
        self.depth, self.K = tensor(priors.depth), list(tensor(priors.cameras.K).unbind(0))
        tracks = priors.tracks
        trust = np.where(tracks.visible, tracks.confidence, 0).astype(np.float32)
        self.xy = list(tensor(np.ascontiguousarray(tracks.xy.transpose(1, 0, 2))).unbind(0))
        self.trust = list(tensor(np.ascontiguousarray(trust.T)).unbind(0))

    def get_frame(self, frame: int) -> Shot:
        """A whole frame."""
        target = self.frames[frame].to(torch.float32) / 255
        return Shot(self.K[frame], self.size, target, self.masks[frame], self.depth[frame])

    def get_subject(self, frame: int) -> Shot:
        """The part of a frame around its subject; the whole frame where that is hardly there."""
        whole = self.get_frame(frame)
        if frame not in self.boxes:
            self.boxes[frame] = find_box(self.masks[frame].cpu().numpy())
        box = self.boxes[frame]
        if box is None:
            return whole
        (left, right), (top, bottom) = box
        rows, columns = slice(top, bottom), slice(left, right)
        K = whole.K.clone()
        K[0, 2] -= left
        K[1, 2] -= top
        target, mask = (a[rows, columns].contiguous() for a in (whole.target, whole.mask))
        return Shot(K, (right - left, bottom - top), target, mask, None)

    def get_closeup(self, frame: int) -> Shot | None:
        """The subject of a frame at the finer scale, where there is a crop."""
        if self.closeups is None or frame not in self.closeups.corners:
            return None
        picture = torch.from_numpy(self.closeups.pictures[frame]).to(self.device)
        (x, y), (sx, sy) = self.closeups.corners[frame], self.closeups.scale
        K = self.K[frame].clone()
        K[0] *= sx
        K[1] *= sy
        K[0, 2] -= x
        K[1, 2] -= y
        height, width = picture.shape[:2]
        mask = self.masks[frame]
        column = (torch.arange(width, device=self.device) + x + 0.5) * (2 / sx / mask.shape[1]) - 1
        row = (torch.arange(height, device=self.device) + y + 0.5) * (2 / sy / mask.shape[0]) - 1
        grid = torch.stack(torch.meshgrid(column, row, indexing="xy"), -1)[None]
        maps = torch.stack([mask.clamp_min(0), (mask < 0).to(mask)])[None]
        soft, unknown = grid_sample(maps, grid, padding_mode="border", align_corners=False)[0]
        mask = torch.where(unknown > 0.5, -1.0, soft)
        return Shot(K, (width, height), picture.to(torch.float32) / 255, mask, None)

    def choose_other(self, frame: int, rng: np.random.Generator) -> int:
        """A second frame to follow tracks to, nearer ones more likely; the same where there is no
        other."""
        n = len(self.frames)
        others = np.flatnonzero(np.arange(n) != frame)
        if len(others) == 0:
            return frame
        weight = np.exp(-2.0 * np.abs(others - frame) / n)
        return int(rng.choice(others, p=weight / weight.sum()))

    def get_tracks(self, frame: int, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels (P, 2) of the tracks in both frames, and their trust (P,), 0 where either does not
        show one."""
        return self.xy[frame], self.xy[other], self.trust[frame] * self.trust[other]
