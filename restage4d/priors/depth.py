"""Depth without learned weights: the subject as a relief that stands on the ground, before one still background."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from restage4d.priors import ground as world
from restage4d.priors.backdrop import Backdrop
from restage4d.priors.ground import Footprint, Ground
from restage4d.priors.relief import inflate
from restage4d.progress import Progress
from restage4d.scene import Cameras, Rewound

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class ReliefConfig:
    """Standard deviations that weigh what is known of the subject's distance, all of its logarithm.

    Attributes:
        contact: what the ground contact tells, in every frame.
        size: what the subject's height in the image tells, in every frame, besides ``pose``.
        pose: by how much a change of pose alters that height from frame to frame.
        jerk: second difference from frame to frame at 24 fps: how fast a subject changes its speed along the view.
        far: distance of the wall behind the subject over the subject's own, where no point tells.
    """

    contact: float = 0.03
    size: float = 0.03
    pose: float = 0.01
    jerk: float = 5e-4
    far: float = 1.8


class ReliefDepth:
    """Billboard and dome: the mask's lowest part on the ground says how far, `relief.inflate` says how round.

    The distance is one robust smooth fit over the whole tree of frames, so it neither flickers nor jumps at the seam; a jump of
    the subject is told from a step back because its size stays. The background is a `Backdrop`.
    """

    name = "relief"

    def __init__(self, config: ReliefConfig | None = None) -> None:
        self.config = config or ReliefConfig()

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32:
        """See `restage4d.priors.protocols.DepthProvider`. 0 in the masks' unknown band."""
        with progress.stage("depth", len(rewound)) as stage:
            feet = world.footprint(masks)
            points = world.clear(cameras, masks)
            ground = world.find(cameras, feet, points)
            facing = _facing(cameras, ground)
            distance = subject_distance(rewound, cameras, feet, ground, facing, self.config)
            eyes = world.centres(cameras)
            every = np.arange(len(rewound))
            stand = np.isfinite(feet.top)
            contact = np.where(stand[:, None], feet.contact, cameras.K[:, :2, 2])
            ray = world.directions(cameras, every, contact)
            place = eyes + ray * (distance / (ray * facing).sum(1))[:, None]
            reach = np.linalg.norm(place - eyes, axis=1)
            far = self.config.far * float(np.percentile(reach[stand], 90) if stand.any() else reach.max())
            backdrop = Backdrop(cameras, ground, points, far, rewound.clip.size, place[stand])
            result = np.zeros(masks.shape, np.float32)
            still = backdrop.depth(0) if cameras.kind == "static" else None
            for t, mask in enumerate(masks):
                subject = mask > 0.5
                result[t] = backdrop.depth(t) if still is None else still
                if subject.any():
                    result[t][subject] = _relief(cameras, t, subject, distance[t], facing[t])[subject]
                result[t][mask < 0] = 0
                stage.advance()
            return result


def _facing(cameras: Cameras, ground: Ground) -> F64:  # -> (T, 3) unit
    """Normals of the planes on which the subject is drawn, pointing away from the cameras.

    The planes are upright, but seen from more than 30° above they lean back, as what one then sees of a subject is its back.
    """
    ahead = cameras.w2c[:, 2, :3].astype(np.float64)
    down = np.clip(-(ahead @ ground.up), -1, 1)
    level = ahead + down[:, None] * ground.up
    level /= np.maximum(np.linalg.norm(level, axis=1, keepdims=True), 1e-9)
    lean = np.maximum(np.arcsin(np.maximum(down, 0)) - np.radians(30), 0)
    return level * np.cos(lean)[:, None] - ground.up * np.sin(lean)[:, None]


def _relief(cameras: Cameras, t: int, subject: NDArray[np.bool_], distance: float, facing: F64) -> F64:
    """Z-depth (H, W) of the billboard less the dome."""
    height, width = subject.shape
    K = cameras.K[t].astype(np.float64)
    normal = cameras.w2c[t, :3, :3].astype(np.float64) @ facing
    x, y = (np.arange(width) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]
    z = distance / np.maximum(normal[0] * x + normal[1] * y[:, None] + normal[2], 0.05)
    return z * (1 - np.minimum(inflate(subject) / K[0, 0], 0.5))


def subject_distance(
    rewound: Rewound, cameras: Cameras, feet: Footprint, ground: Ground, facing: F64, config: ReliefConfig
) -> F64:  # -> (T,)
    """How far the subject's plane is from the camera, along ``facing``, in every frame.

    Robust least squares for ln(distance) and a slow ln(height) over the tree of frames: the ground contact tells the distance
    (not while the subject is in the air or cut off), its height in the image tells changes of distance (not of pose), and both go
    smoothly along every video.
    """
    count = len(rewound)
    frames = np.arange(count)
    low = world.directions(cameras, frames, np.nan_to_num(feet.contact))
    eyes = world.centres(cameras)
    drop = low @ ground.up
    z = ground.height(eyes) / np.maximum(-drop, ground.height(eyes).mean() * 1e-6 + 1e-3)
    along = (low * facing).sum(1)
    told = np.log(np.maximum(z * along, 1e-9))
    told_ok = feet.grounded & (drop < -1e-3) & (along > 0.05)
    tall = (feet.contact[:, 1] - feet.top) / cameras.K[:, 1, 1]
    seen_ok = feet.whole & (tall > 0)
    size = np.log(np.where(seen_ok, tall, 1.0))

    rate = 24.0 / rewound.clip.fps
    smooth, sigma = [], []
    for source in range(rewound.n_branches + 1):
        video = rewound.video(source)
        for a, b, c in zip(video, video[1:], video[2:], strict=False):
            smooth.append((a, b, c))
            sigma.append(config.jerk * rate**2)
    rows, cols, values, rights, sigmas, kinds = [], [], [], [], [], []

    def equation(unknowns: list, factors: list[float], right: float, sigma: float, kind: int) -> None:
        rows.extend([len(rights)] * len(unknowns))
        cols.extend(unknowns)
        values.extend(factors)
        rights.append(right)
        sigmas.append(sigma)
        kinds.append(kind)

    for t in frames:
        if told_ok[t]:
            equation([t], [1.0], told[t], config.contact, 1)
        if seen_ok[t]:  # ln(height in the image) = ln(height) - ln(distance)
            equation([count + t, t], [1.0, -1.0], size[t], config.size, 1)
    for (a, b, c), s in zip(smooth, sigma, strict=True):
        equation([a, b, c], [1.0, -2.0, 1.0], 0.0, s, 0)
    for a, b in rewound.neighbours():
        equation([count + a, count + b], [1.0, -1.0], 0.0, config.pose * np.sqrt(rate), 0)
        equation([a, b], [1.0, -1.0], 0.0, 0.1, 0)
    fallback = float(np.median(told[told_ok])) if told_ok.any() else float(np.log(3 * ground.height(eyes).mean()))
    for t in (rewound.seam, count + rewound.seam):
        equation([t], [1.0], fallback if t < count else 0.0, 10.0, 0)

    A = coo_array((values, (rows, cols)), shape=(len(rights), 2 * count)).tocsr()
    right, weight = np.array(rights), 1 / np.array(sigmas) ** 2
    robust = np.array(kinds) == 1
    trust = np.ones(len(right))
    x = np.zeros(2 * count)
    for _ in range(12):
        W = weight * trust
        x = splu((A.T @ (A * W[:, None])).tocsc()).solve(A.T @ (W * right))
        off = (A @ x - right) ** 2 * weight
        trust = np.where(robust, 1 / (1 + off / 4), 1.0)
    return np.exp(x[:count])
