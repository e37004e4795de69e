"""The world frame of a puppet: +Z up, the subject about 1 in extent and standing at the origin in
b_0."""

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.frame_arrays import stack_on_cores
from restage4d.priors.geometry import ground
from restage4d.priors.geometry.ground import Ground

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_EYE = (
    1.5  # metres from the ground to the camera where nothing tells: somebody standing or kneeling
)
_METRES = (0.1, 20.0)  # bounds of metres per unit: a subject is no ant and no house


def align_world(
    rewound: Rewound, masks: F32, depth: F32, cameras: Cameras
) -> tuple[F32, Cameras, float]:
    """Turns, moves and scales the world so that contracts of `restage4d.clips` hold.

    Up is the normal of the ground around and below the subject, where the background's depth shows
    a plane there, else that of level cameras. The origin is where the subject stands in b_0 (or in
    the frame nearest to it that shows the subject), +X to the right and +Y away as seen from b_0's
    camera. The extent is the diagonal of the box, along these axes, that holds 96 % of the
    subject's points there along each.

    Returns:
        depth (T, H, W) and cameras in the new units, and metres per unit: by the camera's height, a
        guess.
    """
    feet = ground.measure_footprint(masks)
    plane = ground.fit_ground(
        cameras, feet, _sample_beside(masks, depth, cameras, feet)
    ) or ground.guess_ground(cameras, feet)
    shown = np.flatnonzero(
        [((mask > 0.5) & (z > 0)).any() for mask, z in zip(masks, depth, strict=True)]
    )
    t = int(shown[np.abs(shown - rewound.seam).argmin()]) if len(shown) else rewound.seam
    R = _compute_axes(cameras, rewound.seam, plane)
    points = _lift((masks[t] > 0.5), depth[t], cameras, t) @ R.T
    if len(points):
        low, high = np.percentile(points, [2, 98], axis=0)
        extent = max(float(np.linalg.norm(high - low)), 1e-6)
        lowest = points[points[:, 2] < low[2] + 0.1 * (high[2] - low[2])]
        origin = np.array([*np.median(lowest[:, :2], axis=0), plane.level])
        if abs(low[2] - plane.level) > extent:  # the plane is not what the subject stands on
            origin[2] = points[:, 2].min()
    else:
        extent, origin = 1.0, np.array([0.0, 0.0, plane.level])
    # x' = (R x - origin) / extent, hence w2c' = [Rc Rᵀ, (Rc Rᵀ origin + tc) / extent]
    w2c = cameras.w2c.astype(np.float64)
    moved = np.tile(np.eye(4), (len(w2c), 1, 1))
    moved[:, :3, :3] = w2c[:, :3, :3] @ R.T
    moved[:, :3, 3] = (moved[:, :3, :3] @ origin + w2c[:, :3, 3]) / extent
    sparse = ((cameras.points @ R.T - origin) / extent).astype(np.float32)
    aligned = Cameras(cameras.K, moved.astype(np.float32), cameras.kind, sparse)
    height = float(np.median(ground.compute_centres(aligned)[:, 2]))
    metres = float(np.clip(_EYE / height, *_METRES)) if height > 0 else 1.0
    scaled = stack_on_cores(lambda z: (z / extent).astype(np.float32), depth)
    return scaled, aligned, metres


def _compute_axes(
    cameras: Cameras, t: int, plane: Ground
) -> F64:  # -> (3, 3) rows X, Y, Z of the new world
    ahead = cameras.w2c[t, 2, :3].astype(np.float64)
    if abs(ahead @ plane.up) > 0.99:  # looking straight down: the top of the picture is ahead
        ahead = -cameras.w2c[t, 1, :3].astype(np.float64)
    ahead = ahead - (ahead @ plane.up) * plane.up
    ahead /= np.linalg.norm(ahead)
    return np.stack([np.cross(ahead, plane.up), ahead, plane.up])


def _lift(
    where: NDArray[np.bool_], depth: F32, cameras: Cameras, t: int
) -> F64:  # (H, W), (H, W) -> (M, 3)
    rows, cols = np.nonzero(where & (depth > 0))
    ray = ground.compute_directions(
        cameras, np.full(len(rows), t), np.stack([cols, rows], 1).astype(np.float64) + 0.5
    )
    return ground.compute_centres(cameras)[t] + depth[rows, cols, None] * ray


def _sample_beside(
    masks: F32, depth: F32, cameras: Cameras, feet: ground.Footprint
) -> F64:  # -> (M, 3)
    """Background points below and beside the subject's lowest fifth, from some frames."""
    found = [np.zeros((0, 3))]
    rng = np.random.default_rng(0)
    frames = np.flatnonzero(np.isfinite(feet.top))
    for t in frames[:: max(1, len(frames) // 12)]:
        tall = feet.contact[t, 1] - feet.top[t]
        row, col = np.mgrid[: masks.shape[1], : masks.shape[2]]
        near = (row > feet.contact[t, 1] - 0.2 * tall) & (row < feet.contact[t, 1] + tall)
        near &= np.abs(col - feet.contact[t, 0]) < tall
        points = _lift(near & (masks[t] == 0), depth[t], cameras, t)
        found.append(points[rng.permutation(len(points))[:250]])
    return np.concatenate(found)
