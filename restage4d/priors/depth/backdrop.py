"""Everything behind the subject as one still surface: the ground, and a smooth wall that stands
around the cameras.

It is one model in the world, seen by every camera, so background depth is consistent from frame to
frame by construction.
"""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter
from scipy.sparse import coo_array, vstack
from scipy.sparse.linalg import splu

from restage4d.clips import Cameras
from restage4d.priors.geometry.ground import (
    Ground,
    compute_centres,
    compute_directions,
    compute_frame_directions,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_CELLS = 72  # grid cells along the longer side of the wall
_HIGH = 0.04  # a point this far above the ground, relative to its distance, belongs to the wall
_STIFF = 3.0  # the wall's smoothness against its points
_BEHIND = 0.85  # inverse distance of the wall over the subject's, at most
_STEPS = 40  # along a ray when it looks for the surface


class Backdrop:
    """The background around a middle point, in cylinder coordinates: azimuth and slope (height over
    horizontal distance).

    Inverse horizontal distance is the larger of the ground's (``-slope / eye``) and the wall's, a
    smooth grid drawn through the points above the ground; without any, the wall stands everywhere
    at ``far``.

    Args:
        cameras: of all frames; their mean position is the middle.
        ground: below all cameras.
        points: (S, 3) of the background.
        far: horizontal distance of the wall where no point tells.
        size: (width, height) of the frames.
        subject: (M, 3) points of the subject's surface in all frames, and on the way there, before
            which, or above which at a smaller distance, no wall may stand.
    """

    def __init__(
        self,
        cameras: Cameras,
        ground: Ground,
        points: F64,
        far: float,
        size: tuple[int, int],
        subject: F64,
    ) -> None:
        self.ground, self.cameras, self.size = ground, cameras, size
        eyes = compute_centres(cameras)
        self.middle = eyes.mean(0)
        self.eye = float(ground.compute_height(self.middle))
        ahead = cameras.w2c[:, 2, :3].astype(np.float64).mean(0)
        ahead -= (ahead @ ground.up) * ground.up
        if np.linalg.norm(ahead) < 1e-6:
            ahead = np.cross(ground.up, cameras.w2c[0, 0, :3].astype(np.float64))
        self.ahead = ahead / np.linalg.norm(ahead)
        self.right = np.cross(self.ahead, ground.up)
        corners = np.array(
            [(x * size[0], y * size[1]) for x in (0, 0.5, 1) for y in (0, 0.5, 1)], float
        )
        frames = np.repeat(np.arange(len(cameras.w2c)), len(corners))
        seen = self.to_polar(
            self.middle
            + 1e3
            * far
            * compute_directions(cameras, frames, np.tile(corners, (len(cameras.w2c), 1)))
        )
        wall = self.to_polar(points)[
            ground.compute_height(points) > _HIGH * np.linalg.norm(points - self.middle, axis=1)
        ]
        low, high = seen[:, :2].min(0), np.minimum(seen[:, :2].max(0), 3.0)
        low[1] = max(low[1], -3.0)
        margin = 0.1 * (high - low) + 1e-3
        self.low, self.high = low - margin, high + margin
        cells = np.maximum(
            np.round(_CELLS * (self.high - self.low) / (self.high - self.low).max()), 6
        ).astype(int)
        self.wall = self._fit_surface(cells, wall, len(points), 1 / far)
        self.wall = np.minimum(self.wall, self._limit_wall(self.to_polar(subject)))

    def _limit_wall(self, subject: F64) -> F64:  # (M, 3) -> (rows of slope, columns of azimuth)
        """The largest inverse distance that the wall may have, infinite where nothing is before
        it."""
        rows, columns = self.wall.shape
        limit = np.full(self.wall.shape, np.inf)
        at = (subject[:, :2] - self.low) / (self.high - self.low) * (columns - 1, rows - 1)
        column, row = np.clip(np.round(at).astype(int), 0, (columns - 1, rows - 1)).T
        np.minimum.at(limit, (row, column), _BEHIND * subject[:, 2])
        return np.minimum.accumulate(minimum_filter(limit, 3), axis=0)

    def to_polar(self, points: F64) -> F64:  # (..., 3) -> (..., 3)
        """Azimuth, slope and inverse horizontal distance of points as seen from the middle."""
        offset = points - self.middle
        x, y = offset @ self.right, offset @ self.ahead
        inverse = 1 / np.maximum(np.hypot(x, y), 1e-9)
        return np.stack([np.arctan2(x, y), (offset @ self.ground.up) * inverse, inverse], -1)

    def _fit_surface(
        self, cells: NDArray[np.intp], points: F64, total: int, default: float
    ) -> F64:  # -> (rows of slope, columns of azimuth)
        """The smoothest grid of inverse distances near the points, robustly; towards ``default``
        far from them."""
        columns, rows = (int(c) for c in cells)
        few = max(8, 0.04 * total)
        inside = ((points[:, :2] > self.low) & (points[:, :2] < self.high)).all(1)
        points = points[inside]
        if len(points) < few:  # stray points on the ground, not a wall
            return np.full((rows, columns), default)
        default = min(default, float(np.median(points[:, 2])))
        at = (points[:, :2] - self.low) / (self.high - self.low) * (cells - 1)
        base = np.minimum(at.astype(int), cells - 2)
        share = at - base
        number = np.arange(rows * columns).reshape(rows, columns)
        corner, weight = [], []
        for dx in (0, 1):
            for dy in (0, 1):
                corner.append(number[base[:, 1] + dy, base[:, 0] + dx])
                weight.append(
                    np.where(dx, share[:, 0], 1 - share[:, 0])
                    * np.where(dy, share[:, 1], 1 - share[:, 1])
                )
        line = np.tile(np.arange(len(points)), 4)
        sample = coo_array(
            (np.concatenate(weight), (line, np.concatenate(corner))),
            shape=(len(points), number.size),
        ).tocsr()
        bends = []
        for a, b, c in (
            (number[:-2], number[1:-1], number[2:]),
            (number[:, :-2], number[:, 1:-1], number[:, 2:]),
        ):
            line = np.tile(np.arange(a.size), 3)
            value = np.repeat([1.0, -2.0, 1.0], a.size)
            bends.append(
                coo_array(
                    (value, (line, np.concatenate([a.ravel(), b.ravel(), c.ravel()]))),
                    shape=(a.size, number.size),
                )
            )
        bend = vstack(bends).tocsr()
        hold = 1e-3 * coo_array((np.ones(number.size), (number.ravel(), number.ravel()))).tocsr()
        target = points[:, 2]
        trust = np.ones(len(points))
        grid = np.full(number.size, default)
        for _ in range(4):
            system = (
                sample.T @ (sample * trust[:, None]) + _STIFF * (bend.T @ bend) + hold
            ).tocsc()
            grid = splu(system).solve(
                sample.T @ (trust * target) + hold @ np.full(number.size, default)
            )
            off = sample @ grid - target
            width = 1.5 * np.median(np.abs(off)) + 0.02 * np.median(target)
            trust = 1 / (1 + (off / width) ** 2)
        return np.clip(grid, 0.2 * default, np.percentile(target, 98)).reshape(rows, columns)

    def sample_inverse(self, azimuth: F64, slope: F64) -> F64:
        """Inverse horizontal distance of the surface in directions from the middle (arrays of one
        2D shape)."""
        rows, columns = self.wall.shape
        x = (azimuth - self.low[0]) / (self.high[0] - self.low[0]) * (columns - 1)
        y = (slope - self.low[1]) / (self.high[1] - self.low[1]) * (rows - 1)
        x, y = (
            np.clip(x, 0, columns - 1).astype(np.float32),
            np.clip(y, 0, rows - 1).astype(np.float32),
        )
        wall = cv2.remap(self.wall, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.maximum(wall, -slope / self.eye)

    def compute_depth(self, frame: int) -> F32:  # -> (H, W)
        """Planar z-depth of the surface in one frame."""
        width, height = self.size
        # a march along rays costs much, and the wall has not more detail in a larger picture
        step = 1 if self.cameras.kind != "moving" else 2 * max(round(max(self.size) / 384), 1)
        places = (np.arange(0, extent, step, dtype=np.float64) + step / 2 for extent in self.size)
        ray = compute_frame_directions(self.cameras, frame, *places)
        eye = compute_centres(self.cameras)[frame]
        if np.linalg.norm(eye - self.middle) < 1e-6 * self.eye:
            far = self.to_polar(self.middle + ray)
            z = far[..., 2] / self.sample_inverse(far[..., 0], far[..., 1])
        else:
            z = self._march(eye, ray)
        result = z.astype(np.float32)
        if step > 1:  # inverse depth is what is smooth in the image
            whole = result.shape[1] * step, result.shape[0] * step
            result = 1 / cv2.resize(1 / result, whole, interpolation=cv2.INTER_LINEAR)
        return result[:height, :width].astype(np.float32)

    def _march(self, eye: F64, ray: F64) -> F64:
        """Where rays from ``eye`` first go behind the surface: steps of equal ratio, then
        halving."""

        def is_behind(z: F64) -> NDArray[np.bool_]:
            at = self.to_polar(eye + z[..., None] * ray)
            return at[..., 2] <= self.sample_inverse(at[..., 0], at[..., 1])

        nearest = 0.05 * self.eye
        farthest = (
            3
            / max(float(self.wall.min()), 1e-9)
            / np.linalg.norm(
                ray - (ray @ self.ground.up)[..., None] * self.ground.up, axis=-1
            ).min()
        )
        steps = np.geomspace(nearest, max(farthest, 10 * nearest), _STEPS)
        near, far = np.full(ray.shape[:2], steps[0]), np.full(ray.shape[:2], steps[-1])
        found = np.zeros(ray.shape[:2], bool)
        for a, b in itertools.pairwise(steps):
            hit = ~found & is_behind(np.full(ray.shape[:2], b))
            near[hit], far[hit] = a, b
            found |= hit
            if found.all():
                break
        near[~found] = far[~found]
        for _ in range(12):
            middle = (near + far) / 2
            past = is_behind(middle)
            near, far = np.where(past, near, middle), np.where(past, middle, far)
        return (near + far) / 2
