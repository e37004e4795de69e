"""The plane of a body's bilateral symmetry, found from what the frames show of it.

A point of the surface, reflected through the right plane, is a point of the body, too: in no frame
may it stand beside the outline or before the surface that is seen there, and where it comes to lie
on that surface, it has its colour. Each plane that stands about upright is judged by this: what
lies there and is alike speaks for it, what is contradicted or unlike speaks against it. Points that
are hardly moved by the reflection say nothing. A turn before the camera decides most: seen from one
side alone, many planes are as good, and none is sure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_STEP = 9.0  # degrees between the planes that are tried
_TILTS = (-24.0, -12.0, 0.0, 12.0, 24.0)  # degrees by which a plane may lean ...
_MOST = 28.0  # ... and no more, when refined
_OFFSETS = 9  # planes along each normal
_FINER = ((4.5, 0.03), (2.0, 0.015), (1.0, 0.007))  # degrees, extents: steps of the refinement
_BESIDE = 0.02, 0.08  # of the extent beside the outline: from none to all of a contradiction
_BEFORE = 0.05, 0.15  # of the extent before the surface, likewise; up to the first it lies on it
_MOVED = 0.08, 0.18  # of the extent: reflections that move a point by less say nothing, to all
_ALIKE = 0.12  # standard deviation of differences of colours that are alike, RGB in 0..1
_CONTRADICTED, _UNLIKE = 1.5, 0.7  # weights beside that of what is alike
_LEAST = -0.15  # score of a plane that may be right ...
_CLEAR = 0.08  # ... and by how much it is better than every other one ...
_OTHER = 35.0  # ... whose normal is as many degrees apart


@dataclass(frozen=True)
class Plane:
    """Points x with ``normal`` (3,) · x = ``offset``; the normal is of unit length."""

    normal: F64
    offset: float

    def measure_height(self, points: F32) -> F64:  # (N, 3) -> (N,)
        """Signed distance from the plane."""
        return points @ self.normal - self.offset

    def reflect(self, points: F32) -> F32:  # (N, 3) -> (N, 3)
        """The mirror images."""
        moved = 2 * self.measure_height(points)[:, None] * self.normal
        return (points - moved).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """What one frame knows of the body.

    Attributes:
        R, shift: (N, 3, 3), (N, 3) motion of each point's surroundings to this frame's world.
        surface: (H, W) z-depth of the drawn subject, 0 where it is not.
        beside: (H, W) pixels to the outline, 0 inside.
        picture: (H, W, 3) in 0..1.
        K, w2c: of the frame.
    """

    R: F32
    shift: F32
    surface: F32
    beside: F64
    picture: F32
    K: F32
    w2c: F32


def find_symmetry_plane(
    points: F32, colours: F32, looks: list[Look], extent: float
) -> Plane | None:  # (N, 3), (N, 3)
    """The plane through which the body is its own mirror image, None where none is sure.

    Args:
        points: (N, 3) of the surface, some hundreds, in a world with +Z up.
        colours: (N, 3) in 0..1.
        looks: of some frames.
        extent: of the body.
    """

    def score(azimuth: float, tilt: float, offset: float) -> float:
        plane = Plane(_make_normal(azimuth, tilt), offset)
        return measure_symmetry(plane, points, colours, looks, extent)

    tried = []
    for azimuth in np.arange(0, 180, _STEP):
        for tilt in _TILTS:
            low, high = np.quantile(points @ _make_normal(azimuth, tilt), [0.02, 0.98])
            tried += [
                (score(azimuth, tilt, offset), azimuth, tilt, offset)
                for offset in np.linspace(low, high, _OFFSETS)
            ]
    best = max(tried)
    middle = np.median(points, 0)
    for turn, shift in _FINER:
        while True:
            _, azimuth, tilt, offset = best
            normal = _make_normal(azimuth, tilt)
            near = [(azimuth, tilt, offset + way * shift * extent) for way in (-1, 1)]
            for more, lean in ((turn, 0), (-turn, 0), (0, turn), (0, -turn)):
                a, b = azimuth + more, float(np.clip(tilt + lean, -_MOST, _MOST))
                near.append((a, b, offset + middle @ (_make_normal(a, b) - normal)))
            better = max((score(*one), *one) for one in near)
            if better[0] <= best[0]:
                break
            best = better
    normal = _make_normal(best[1], best[2])
    apart = np.cos(np.radians(_OTHER))
    others = [t[0] for t in tried if abs(_make_normal(t[1], t[2]) @ normal) < apart]
    sure = best[0] > _LEAST and best[0] > max(others) + _CLEAR
    return Plane(normal, float(best[3])) if sure else None


def measure_symmetry(
    plane: Plane, points: F32, colours: F32, looks: list[Look], extent: float
) -> float:
    """How much speaks for the plane: 1 where every mirror image is seen and alike, less than 0
    where more speaks against it."""
    found = plane.reflect(points)
    moved = 2 * np.abs(plane.measure_height(points)) / extent
    says = _ramp(moved, *_MOVED)
    total = 0.0
    for look in looks:
        world = np.einsum("nij,nj->ni", look.R, found) + look.shift
        camera = world @ look.w2c[:3, :3].T + look.w2c[:3, 3]
        z = np.maximum(camera[:, 2], 1e-6)
        column, row = np.floor((camera / z[:, None]) @ look.K.T)[:, :2].astype(int).T
        height, width = look.surface.shape
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        inside &= camera[:, 2] > 0
        column, row = column.clip(0, width - 1), row.clip(0, height - 1)
        surface = look.surface[row, column]
        beside = look.beside[row, column] * z / look.K[0, 0] / extent
        before = np.where(surface > 0, (surface - z) / extent, 0)
        wrong = np.maximum(_ramp(beside, *_BESIDE), _ramp(before, *_BEFORE))
        on = (surface > 0) & (np.abs(before) < _BEFORE[0]) & (beside <= 0)
        apart = ((look.picture[row, column] - colours) ** 2).sum(-1)
        alike = np.exp(-apart / (2 * _ALIKE**2))
        value = says * on * (alike - _UNLIKE * (1 - alike)) - _CONTRADICTED * wrong
        total += float((inside * value).mean())
    return total / max(len(looks), 1)


def _make_normal(azimuth: float, tilt: float) -> F64:  # degrees -> (3,)
    a, b = np.radians([azimuth, tilt])
    return np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])


def _ramp(x: F64, low: float, high: float) -> F64:
    """0 up to ``low``, 1 from ``high`` on."""
    return np.clip((x - low) / (high - low), 0, 1)
