"""Depth without learned weights: the subject as a relief that stands on the ground, before one
still background."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.priors.depth.backdrop import Backdrop
from restage4d.priors.depth.stance import StanceConfig, find_stance
from restage4d.priors.geometry import ground as world
from restage4d.priors.geometry.inflation import inflate
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class ReliefConfig:
    """``stance``: how the subject's distance and turn are found. ``far``: distance of the wall
    behind the subject over the subject's own, where no point tells."""

    stance: StanceConfig = field(default_factory=StanceConfig)
    far: float = 1.8


class ReliefDepth:
    """Billboard and dome: the mask's lowest parts on the ground say how far and how turned,
    `relief.inflate` says how round.

    Distance and turn are robust smooth fits over the whole tree of frames, so they neither flicker
    nor jump at the seam; a jump of the subject differs from a step back because its size stays. The
    background is a `Backdrop`.
    """

    name = "relief"

    def __init__(self, config: ReliefConfig | None = None) -> None:
        self.config = config or ReliefConfig()

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32:
        """See `restage4d.priors.protocols.DepthProvider`. 0 in the masks' unknown band."""
        with progress.task(TaskId.DEPTH, len(rewound)) as task:
            feet = world.measure_footprint(masks)
            points = world.select_background(cameras, masks)
            ground = world.find_ground(cameras, feet, points)
            stance = find_stance(rewound, masks, cameras, feet, ground, self.config.stance)
            shown = np.isfinite(feet.top)
            place = stance.place[shown] if shown.any() else stance.place
            reach = np.linalg.norm(
                place - world.compute_centres(cameras)[shown if shown.any() else slice(None)],
                axis=1,
            )
            far = self.config.far * float(np.percentile(reach, 90))
            backdrop = Backdrop(cameras, ground, points, far, rewound.clip.size, place)
            result = np.zeros(masks.shape, np.float32)
            still = backdrop.compute_depth(0) if cameras.kind == "static" else None
            for t, mask in enumerate(masks):
                subject = mask > 0.5
                result[t] = backdrop.compute_depth(t) if still is None else still
                if subject.any():
                    result[t][subject] = _compute_relief(
                        cameras, t, subject, stance.distance[t], stance.normal[t]
                    )[subject]
                result[t][mask < 0] = 0
                task.advance()
            return result


def _compute_relief(
    cameras: Cameras, t: int, subject: NDArray[np.bool_], distance: float, normal: F64
) -> F64:
    """Z-depth (H, W) of the plane less the dome."""
    height, width = subject.shape
    K = cameras.K[t].astype(np.float64)
    n = cameras.w2c[t, :3, :3].astype(np.float64) @ normal
    x, y = (
        (np.arange(width) + 0.5 - K[0, 2]) / K[0, 0],
        (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1],
    )
    inverse = (n[0] * x + n[1] * y[:, None] + n[2]) / distance
    usual = float(np.median(inverse[subject]))
    z = 1 / np.clip(inverse, 0.6 * usual, 1.7 * usual)  # a plane seen edge-on has no bounds
    return z * (1 - np.minimum(inflate(subject) / K[0, 0], 0.5))
