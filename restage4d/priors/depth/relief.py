"""Depth without learned weights: the subject as a relief that stands on the ground, before one
still background."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.frame_arrays import make_frames
from restage4d.priors.depth.backdrop import Backdrop
from restage4d.priors.depth.stance import Stance, StanceConfig, find_stance
from restage4d.priors.geometry import ground as world
from restage4d.priors.geometry.ground import Ground
from restage4d.priors.geometry.inflation import inflate
from restage4d.progress import Progress, TaskId
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_WAY = np.linspace(0.3, 1, 8)  # of the way from the camera to the subject, where no wall may stand


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
            result = make_frames(masks.shape)

            def relieve(t: int) -> F64:
                subject = masks[t] > 0.5
                if not subject.any():
                    return np.zeros((0, 3))
                z = _compute_relief(cameras, t, subject, stance.distance[t], stance.normal[t])
                result[t][subject] = _keep_above(ground, cameras, t, z)[subject]
                return _sample_way(cameras, t, result[t])

            seen = map_on_cores(relieve, range(len(masks)))
            shown = np.isfinite(feet.top)
            far = self.config.far * _measure_reach(cameras, stance, shown)
            backdrop = Backdrop(
                cameras, ground, points, far, rewound.clip.size, np.concatenate(seen)
            )
            still = backdrop.compute_depth(0) if cameras.kind == "static" else None

            def surround(t: int) -> None:
                mask, around = masks[t], backdrop.compute_depth(t) if still is None else still
                result[t] = np.where(mask > 0.5, result[t], np.where(mask < 0, 0, around))

            map_on_cores(surround, range(len(masks)), task.advance)
            return result


def _measure_reach(cameras: Cameras, stance: Stance, shown: NDArray[np.bool_]) -> float:
    """How far the subject is at its farthest, in the frames that show it (or in all)."""
    which = shown if shown.any() else slice(None)
    offset = stance.place[which] - world.compute_centres(cameras)[which]
    return float(np.percentile(np.linalg.norm(offset, axis=1), 90))


def _keep_above(ground: Ground, cameras: Cameras, t: int, z: F64) -> F64:  # (H, W) -> (H, W)
    """Depth that goes nowhere below the ground."""
    drop = np.maximum(-(_compute_rays(cameras, t, z.shape) @ ground.up), 1e-9)
    eye = world.compute_centres(cameras)[t]
    return np.minimum(z, float(ground.compute_height(eye)) / drop)


def _sample_way(cameras: Cameras, t: int, z: F32) -> F64:  # (H, W) -> (M, 3)
    """Points of a depth map in the world, sparsely; with a camera that travels, of the way there,
    too."""
    step = max(2, max(z.shape) // 100)
    ray, z = _compute_rays(cameras, t, z.shape, step), z[::step, ::step]
    offset = z[z > 0, None] * ray[z > 0]
    way = _WAY if cameras.kind == "moving" else _WAY[-1:]
    return (world.compute_centres(cameras)[t] + way[:, None, None] * offset).reshape(-1, 3)


def _compute_rays(cameras: Cameras, t: int, shape: tuple[int, ...], step: int = 1) -> F64:
    """Directions through every ``step``-th pixel down and across, with z-depth 1."""
    rows, columns = (np.arange(0, n, step, dtype=np.float64) + 0.5 for n in shape)
    return world.compute_frame_directions(cameras, t, columns, rows)


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
