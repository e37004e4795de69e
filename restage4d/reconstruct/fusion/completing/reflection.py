"""Gaussians reflected: through the middle of the body as one frame outlines it, or through its
plane of symmetry."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.priors.geometry.inflation import inflate
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.reconstruct.fusion.completing.symmetry import Plane
from restage4d.reconstruct.motion.linear_fit import fit_linear

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_SURFACE = 0.04  # of the extent: a Gaussian this near to the drawn surface belongs to it
LIP = 2.0  # pixels along the outline whose colours may be mixed with the background
WALL = 3.0  # pixels beyond the lip whose Gaussians close the wall between both sides
_LAYERS = 12  # of such a wall at most, through a plane of symmetry ...
_DEEP = 32  # ... and through the middle, where every pixel along the outline has its column
_CELL = 0.8  # distances of neighbours: side of the cells that each hold one Gaussian of a wall
_FEW = 50  # pixels that tell a plane, points that tell the colours of a body's sides
# of half the body's thickness: how far inside the lip its sides reach, less than a fifth of the way
# from the outline of something round to its middle
_SIDE = 0.3
_STEEPEST = 1.0  # slope of the body's plane along the picture's vertical
# shares of its way at which a copy is tried where frames contradict it
_NEARER = (0.8, 0.6, 0.4, 0.2)
_ALIKE, _LOW = 16, 0.25  # copies nearby that go the same way, and which of them decides
_HERE = np.eye(4, dtype=np.float32)  # w2c of points in the camera's frame
_STEPS = 10  # along the way to the far side
_COVERED = 2.0  # distances of neighbours, within which an observed Gaussian covers a place


@dataclass(frozen=True)
class Reflection:
    """Gaussians of one frame reflected: ``source`` (M,) rows of those they are copies of, ``means``
    (M, 3) and ``quats`` (M, 4) in the world at that frame, ``clear`` (M,) distances of neighbours
    within which an observed Gaussian covers the place, and ``wall`` (M,), which stand between a rim
    and its image, where no frame shows anything alike."""

    source: NDArray[np.intp]
    means: F32
    quats: F32
    clear: F32
    wall: Bool


def reflect(
    means: F32, quats: F32, may: Bool, surface: F32, mask: Bool, K: F32, w2c: F32
) -> Reflection:
    """The mirror image of the surface that one frame shows.

    Args:
        means, quats: (N, 3), (N, 4) wxyz, all Gaussians in the world at the frame.
        may: (N,) which may be sources.
        surface: (H, W) z-depth of the drawn subject, 0 where it is not.
        mask: (H, W) the subject.
        K, w2c: of the frame.
    """
    row, column, z, _ = find_pixels(means, K, w2c, mask.shape)
    camera = means @ w2c[:3, :3].T + w2c[:3, 3]
    front = surface[row, column]
    inside = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    near = may & (z > 0) & (front > 0) & (np.abs(z - front) < _SURFACE * measure_extent(means))
    source = np.flatnonzero(near & (inside[row, column] > LIP))
    half = inflate(mask)
    thick = np.maximum(2 * (half / K[0, 0] + 1)[row, column] * front - 2 * z, 0.0)[source]
    axis = find_axis(surface, mask, K)
    thick *= _measure_reach(camera[source], thick[:, None] * axis, mask, K)
    spacing = measure_spacing(means[source])
    wall, origin = _build_wall(camera[source], half, inside, surface, axis, spacing, mask, K)
    there = np.concatenate([camera[source] + thick[:, None] * axis, wall])
    closing = np.arange(len(there)) >= len(source)
    source = np.concatenate([source, source[origin]])
    axis = np.broadcast_to(axis @ w2c[:3, :3], (len(source), 3))
    return Reflection(
        source,
        ((there - w2c[:3, 3]) @ w2c[:3, :3]).astype(np.float32),
        mirror_quats(quats[source], axis),
        np.full(len(source), _COVERED, np.float32),
        closing,
    )


def _build_wall(
    camera: F32, half: F32, inside: F32, surface: F32, axis: F32, spacing: float, mask: Bool, K: F32
) -> tuple[F32, NDArray[np.intp]]:  # -> (M, 3), (M,)
    """What closes the body between its near side and the image of that, all along the outline.

    Args:
        camera: (N, 3) Gaussians of the near side in the camera's frame.
        half: (H, W) half the body's thickness in pixels.
        inside: (H, W) pixels from the outline.
        surface: (H, W) z-depth of the near side, 0 where it is not solid.
        axis: (3,) from side to side, in the camera's frame.
        spacing: of the Gaussians.
        mask: (H, W) the subject.
        K: of the frame.

    Returns:
        Places in the camera's frame, and the Gaussian nearest to where each starts.
    """
    row, column = np.nonzero((inside > LIP + 1) & (inside <= LIP + 2) & (surface > 0))
    if not len(row) or spacing <= 0:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.intp)
    z = surface[row, column]
    pixels = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], 1)
    start = (pixels @ np.linalg.inv(K).T * z[:, None]).astype(np.float32)
    start = start[_thin_out(start, spacing)]
    row, column, z, _ = find_pixels(start, K, _HERE, mask.shape)
    thick = 2 * half[row, column] / K[0, 0] * z
    thick = thick * _measure_reach(start, thick[:, None] * axis, mask, K)
    layers = np.ceil(thick / spacing).astype(int).clip(1, _DEEP)
    of = np.repeat(np.arange(len(start)), layers - 1)
    number = np.arange(len(of)) - np.repeat(np.cumsum(layers - 1) - layers + 1, layers - 1)
    share = (number + 1) / layers[of]
    there = (start[of] + (share * thick[of])[:, None] * axis).astype(np.float32)
    one = _thin_out(there, spacing)
    origin = np.asarray(KDTree(camera).query(start)[1], np.intp)
    return there[one], origin[of[one]]


def _thin_out(points: NDArray[np.floating], spacing: float) -> NDArray[np.intp]:  # (N, 3) -> (M,)
    """Rows of one point in each cell of a grid."""
    cells = np.floor(points / max(_CELL * spacing, 1e-6)).astype(np.int64)
    return np.sort(np.unique(cells, axis=0, return_index=True)[1])


def find_axis(surface: F32, mask: Bool, K: F32) -> F32:  # (H, W), (H, W), (3, 3) -> (3,)
    """The direction, in the camera's frame, from the body's near side to its far side.

    It is square to the plane through the ``surface`` along the picture's vertical: horizontal for
    a body that stands, however far down the camera looks, and down for one that lies along the
    ground. From behind it shows then what it shows from the front. The picture's horizontal is
    left out: what stands askew shows two of its sides.
    """
    row, column = np.nonzero(mask & (surface > 0))
    z = surface[row, column].astype(np.float64)
    if len(z) < _FEW:
        return np.array([0, 0, 1], np.float32)
    y = (row + 0.5 - K[1, 2]) / K[1, 1] * z
    x = (column + 0.5 - K[0, 2]) / K[0, 0] * z
    slope = fit_linear(np.stack([x, y, np.ones(len(z))], 1), z)[1].clip(-_STEEPEST, _STEEPEST)
    axis = np.array([0, -slope, 1]) / np.hypot(slope, 1)
    return axis.astype(np.float32)


def _measure_reach(camera: F32, move: F32, mask: Bool, K: F32) -> F32:  # (M, 3), (M, 3) -> (M,)
    """The share of its ``move`` that a point can go inside the outline."""
    reach = np.ones(len(camera), np.float32)
    for share in np.linspace(1 / _STEPS, 1, _STEPS):
        row, column, _, inside = find_pixels(camera + share * move, K, _HERE, mask.shape)
        inside &= mask[row, column]
        reach = np.where(inside, reach, np.minimum(reach, share - 1 / _STEPS))
    return reach


def bring_inside(
    found: Reflection, posed: F32, allow: Callable[[F32, NDArray[np.intp]], Bool]
) -> Reflection:
    """Copies brought back towards their sources as far as the frames ask for: a body that turns
    shows in other frames that its far side is nearer than one outline says.

    Args:
        found: as `reflect` gives it; what closes the wall stays where it is.
        posed: (N, 3) all Gaussians in the world at the frame.
        allow: whether all frames allow copies at (M, 3) in the world that are the rows (M,) of
            ``found``.
    """
    image = np.flatnonzero(~found.wall)
    start, way = posed[found.source[image]], (found.means - posed[found.source])[image]
    share = np.ones(len(image), np.float32)
    wrong = np.flatnonzero(~allow(found.means[image], image))
    for nearer in _NEARER:
        share[wrong] = nearer
        here = (start[wrong] + nearer * way[wrong]).astype(np.float32)
        wrong = wrong[~allow(here, image[wrong])]
    if len(image) > _ALIKE:  # one surface, not two that lie through one another
        about = np.asarray(KDTree(start).query(start, k=_ALIKE)[1], np.intp)
        share = np.minimum(share, np.quantile(share[about], _LOW, axis=1)).astype(np.float32)
    means = found.means.copy()
    means[image] = start + share[:, None] * way
    return replace(found, means=means)


def reflect_through_plane(means: F32, quats: F32, may: Bool, rim: Bool, plane: Plane) -> Reflection:
    """The mirror image through the body's plane of symmetry.

    Args:
        means, quats: (N, 3), (N, 4) wxyz, all Gaussians in the world at the plane's frame.
        may: (N,) which may be sources.
        rim: (N,) those along the outline, whose copies stand behind one another all the way.
        plane: of symmetry.
    """
    source = np.flatnonzero(may)
    height = np.abs(plane.measure_height(means[source]))
    spacing = measure_spacing(means[source])
    layers = np.ceil(2 * height / max(spacing, 1e-6)).astype(int)
    layers = np.where(rim[source], layers, 1).clip(1, _LAYERS)
    repeat = np.repeat(np.arange(len(source)), layers)
    number = np.arange(len(repeat)) - np.repeat(np.cumsum(layers) - layers, layers) + 1
    share = (number / layers[repeat])[:, None].astype(np.float32)
    source = source[repeat]
    moved = plane.reflect(means[source]) - means[source]
    image = share[:, 0] == 1
    wall = np.flatnonzero(~image)
    first = _thin_out((means[source] + share * moved)[wall], spacing)
    one = np.sort(np.concatenate([np.flatnonzero(image), wall[first]]))
    source, share, moved = source[one], share[one], moved[one]
    normals = np.broadcast_to(plane.normal.astype(np.float32), (len(source), 3))
    return Reflection(
        source,
        (means[source] + share * moved).astype(np.float32),
        mirror_quats(quats[source], normals),
        np.where(share[:, 0] < 1, 1, _COVERED).astype(np.float32),
        share[:, 0] < 1,
    )


def find_inside(points: F32, surface: F32, mask: Bool, K: F32, w2c: F32, tolerance: float) -> Bool:
    """Points (M, 3) inside the body that one frame shows: within its outline, and along their ray
    no more than ``tolerance`` (world units) farther behind its ``surface`` (H, W) than the outline
    lets the body be thick. What lies beyond was guessed behind another frame's surface, and hangs
    in the air."""
    row, column, z, seen = find_pixels(points, K, w2c, mask.shape)
    front = surface[row, column]
    back = front * (1 + 2 * inflate(mask)[row, column] / K[0, 0])
    return seen & mask[row, column] & ((front <= 0) | (z < back + tolerance))


def mirror_quats(quats: F32, normals: F32) -> F32:  # (M, 4), (M, 3) -> (M, 4)
    """Orientations of Gaussians reflected through planes with unit ``normals``.

    A Gaussian is the same with one of its axes turned round, so that the reflection of its axes,
    with the last one turned, is a rotation again.
    """
    axes = se3.quat_to_matrix(quats)
    axes = axes - 2 * normals[:, :, None] * np.einsum("mi,mij->mj", normals, axes)[:, None, :]
    axes[:, :, 2] *= -1
    return se3.matrix_to_quat(axes).astype(np.float32)


def measure_margin(posed: F32, surface: F32, mask: Bool, K: F32, w2c: F32) -> F32:  # -> (N,)
    """Pixels by which points on the drawn surface are inside the outline, 0 for others."""
    row, column, z, _ = find_pixels(posed, K, w2c, mask.shape)
    front = surface[row, column]
    on = (z > 0) & (front > 0) & (np.abs(z - front) < _SURFACE * measure_extent(posed))
    inside = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    return np.where(on, inside[row, column], 0).astype(np.float32)


def find_sides(posed: F32, near: Bool, surface: F32, mask: Bool, K: F32, w2c: F32) -> Bool:
    """Which of the ``near`` (N,) lie on the drawn surface where it goes round to the far side:
    inside the outline, and not where the picture's border cuts the body off. All of those inside,
    where next to none are."""
    row, column, _, _ = find_pixels(posed, K, w2c, mask.shape)
    margin = measure_margin(posed, surface, mask, K, w2c)
    whole = np.pad(mask, 1, mode="edge")  # the body goes on beyond the border
    apart = np.asarray(distance_transform_edt(whole))[1:-1, 1:-1][row, column]
    inside = near & (margin > LIP)
    sides = inside & (apart < LIP + _SIDE * inflate(mask)[row, column])
    return sides if sides.sum() >= _FEW else inside


def measure_extent(means: F32) -> float:  # (N, 3)
    """The longest side of the box about all but a few."""
    return float(np.ptp(np.quantile(means, [0.02, 0.98], axis=0), axis=0).max())


def measure_spacing(points: F32) -> float:  # (N, 3)
    """Median distance to the third nearest neighbour."""
    if len(points) < 4:
        return 0.0
    return float(np.median(np.asarray(KDTree(points).query(points, k=4)[0])[:, 3]))
