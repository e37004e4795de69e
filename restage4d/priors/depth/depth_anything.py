"""Depth by Depth Anything V2 (transformers): one network pass per frame, then one alignment over
the whole clip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.priors.depth.alignment import align, collect_map_anchors, collect_point_anchors
from restage4d.priors.depth.relief import ReliefDepth
from restage4d.priors.motion.background_points import follow
from restage4d.progress import Progress, TaskId
from restage4d.providers.devices import devices, precision, until_it_fits
from restage4d.providers.weights import load_pretrained

F32 = NDArray[np.float32]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH = 8  # frames at once, halved while they do not fit
_FEW = 20  # sparse points per frame below which the weight-free depth gives the scale


@dataclass(frozen=True)
class DepthAnythingConfig:
    """``weights``: `restage4d.providers.weights.fingerprint` of the folder, for the cache."""

    weights: str


class DepthAnythingDepth:
    """A `restage4d.priors.protocols.DepthProvider`.

    Args:
        name: as in the catalogue.
        folder: config.json and weights.
        config: see `DepthAnythingConfig`.

    Raises:
        InputError: the weights are damaged or of another model.
    """

    def __init__(self, name: str, folder: Path, config: DepthAnythingConfig) -> None:
        self.name, self.config = name, config
        self._model: Any = load_pretrained(
            transformers.DepthAnythingForDepthEstimation, folder, ("depth_anything",), torch.float32
        )

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32:
        """Depth (T, H, W) in the cameras' units. 0 in the masks' unknown band."""
        disparity = self.estimate_disparity(rewound.clip.frames, progress)
        metric = self._model.config.depth_estimation_type == "metric"
        return align_depth(disparity, rewound, masks, cameras, progress, shift=not metric)

    def estimate_disparity(self, frames: NDArray[np.uint8], progress: Progress) -> F32:
        """What the network says, (T, H, W), larger = nearer, a scale and shift of its own in every
        frame."""
        attempts = [(device, batch) for device in devices() for batch in (_BATCH, 2, 1)]
        result = np.empty(frames.shape[:3], np.float32)
        with progress.task(TaskId.DEPTH, len(frames)) as task:

            def run(attempt: tuple[torch.device, int]) -> None:
                device, batch = attempt
                task.step = 0
                self._model.to(device=device, dtype=precision(device))
                for t in range(0, len(frames), batch):
                    some = frames[t : t + batch]
                    result[t : t + len(some)] = self._run_network(some, device)
                    task.advance(len(some))

            until_it_fits(attempts, run, self.name)
        return result

    def _run_network(self, frames: NDArray[np.uint8], device: torch.device) -> F32:
        height, width = frames.shape[1:3]
        patch = self._model.config.patch_size
        trained = self._model.config.backbone_config.image_size  # 518 for the real ones
        side = trained if isinstance(trained, int) else trained[0]
        # as its image processor does: the scale nearer to 1 of those that bring width or height to
        # the side
        scale = min((side / height, side / width), key=lambda s: abs(1 - s))
        size = tuple(max(patch, round(scale * n / patch) * patch) for n in (height, width))
        picture = (
            torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).to(device).float()
            / 255
        )
        picture = F.interpolate(
            picture, size, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
        mean, deviation = (
            torch.tensor(v, device=device)[:, None, None] for v in (_MEAN, _DEVIATION)
        )
        with torch.inference_mode():
            estimated = self._model(
                pixel_values=((picture - mean) / deviation).to(precision(device))
            ).predicted_depth
        large = F.interpolate(
            estimated[:, None].float(), (height, width), mode="bilinear", align_corners=False
        )[:, 0]
        values = np.nan_to_num(large.cpu().numpy())
        if self._model.config.depth_estimation_type == "metric":
            return (1 / np.maximum(values, 1e-3)).astype(np.float32)
        return np.maximum(values, 0).astype(np.float32)


def align_depth(
    disparity: F32,
    rewound: Rewound,
    masks: F32,
    cameras: Cameras,
    progress: Progress,
    *,
    shift: bool,
) -> F32:
    """Depth from disparity by `restage4d.priors.depth.alignment`: anchored to sparse points, or to
    the weight-free depth."""
    with progress.task(TaskId.BACKGROUND_POINTS, len(rewound)) as task:
        tracks = follow(rewound, masks, task)
    anchors = collect_point_anchors(cameras, masks)
    if len(anchors.z) < _FEW * len(rewound):
        anchors = collect_map_anchors(ReliefDepth().depth(rewound, masks, cameras, progress), masks)
    with progress.task(TaskId.ALIGN_DEPTH):
        depth = align(disparity, rewound, cameras, tracks, anchors, shift)
    depth[masks < 0] = 0
    return depth
