"""Smooth bodies from blended primitives: signed distances and a surface-nets mesh. Numpy only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Field = Callable[[Array], Array]  # (N, 3) -> (N,) signed distance, negative inside


@dataclass(frozen=True)
class Cone:
    """A round cone (a capsule with two radii) that belongs to a bone.

    Attributes:
        bone: name of the bone that carries this part.
        a, b: end points.
        ra, rb: radii there.
        blend: width of the smooth union with everything before it.
        flat: optional (normal x, y, z, factor): the cone is ``factor`` times thinner along the unit
            normal.
        hollow: for flat cones, how deep the side of +normal is scooped out, in units of the radius.
    """

    bone: str
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    ra: float
    rb: float
    blend: float = 0.03
    flat: tuple[float, float, float, float] | None = None
    hollow: float = 0.0

    def distance(self, p: Array) -> Array:
        a, b = np.array(self.a), np.array(self.b)
        if self.flat is None:
            return _round_cone(p - a, b - a, self.ra, self.rb)
        outside = self._thin(p, 0.0, 1.0)
        return np.maximum(outside, -self.scoop(p)) if self.hollow else outside

    def scoop(self, p: Array) -> Array:
        """Distance to the volume that is scooped out of a hollow cone."""
        return self._thin(p, self.hollow * self.ra, 0.86)

    def _thin(self, p: Array, shift: float, grow: float) -> Array:
        assert self.flat is not None
        n, factor = np.array(self.flat[:3]) / np.linalg.norm(self.flat[:3]), self.flat[3]
        a, axis = np.array(self.a), np.subtract(self.b, self.a)
        q = p - a - shift * n
        q = q + (factor - 1) * (q @ n)[:, None] * n
        axis = axis + (factor - 1) * (axis @ n) * n
        return _round_cone(q, axis, self.ra * grow, self.rb * grow) / factor


def _round_cone(p: Array, axis: Array, ra: float, rb: float) -> Array:
    """Distance to the hull of two spheres, ``ra`` at the origin and ``rb`` at ``axis`` (after Inigo
    Quilez)."""
    l2 = float(axis @ axis)
    rr = ra - rb
    a2 = l2 - rr * rr
    y = p @ axis
    z = y - l2
    x2 = ((p * l2 - y[:, None] * axis) ** 2).sum(1)
    y2, z2 = y * y * l2, z * z * l2
    k = np.sign(rr) * rr * rr * x2
    return np.where(
        np.sign(z) * a2 * z2 > k,
        np.sqrt(x2 + z2) / l2 - rb,
        np.where(
            np.sign(y) * a2 * y2 < k,
            np.sqrt(x2 + y2) / l2 - ra,
            (np.sqrt(x2 * a2 / l2) + y * rr) / l2 - ra,
        ),
    )


def union(cones: list[Cone]) -> Field:
    """The smooth union (polynomial smooth minimum) of ``cones`` in their order."""

    def field(p: Array) -> Array:
        total = cones[0].distance(p)
        for cone in cones[1:]:
            d, k = cone.distance(p), cone.blend
            h = np.maximum(k - np.abs(total - d), 0) / k
            total = np.minimum(total, d) - h * h * k / 4
        return total

    return field


def surface_nets(
    field: Field, low: Array, high: Array, voxel: float
) -> tuple[Array, NDArray[np.int64]]:
    """The zero surface of ``field`` inside a box as a quad mesh: vertices (N, 3) on the surface,
    quads (F, 4) facing out."""
    size = 4 * np.ceil((np.asarray(high) - low) / (4 * voxel)).astype(int) + 1
    values = _sample(field, low, size, voxel)
    inside = values < 0
    corners = [
        tuple(slice(o, size[i] - 1 + o) for i, o in enumerate(np.unravel_index(c, (2, 2, 2))))
        for c in range(8)
    ]
    count = sum(inside[c].astype(int) for c in corners)
    cells = np.argwhere((count > 0) & (count < 8))
    number = np.full(size - 1, -1, np.int64)
    number[tuple(cells.T)] = np.arange(len(cells))
    vertices = low + voxel * (cells + 0.5)
    quads = []
    for axis in range(3):  # one quad around every grid edge along ``axis`` whose ends differ
        u, v = (axis + 1) % 3, (axis + 2) % 3
        here = [slice(1, -1)] * 3
        here[axis] = slice(0, -1)
        there = list(here)
        there[axis] = slice(1, None)
        starts, ends = inside[tuple(here)], inside[tuple(there)]
        edges = np.argwhere(starts != ends) + [0 if i == axis else 1 for i in range(3)]
        ring = []
        for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1)):
            cell = edges.copy()
            cell[:, u] -= 1 - du
            cell[:, v] -= 1 - dv
            ring.append(number[tuple(cell.T)])
        quad = np.stack(ring, 1)
        outward = starts[starts != ends]
        quads.append(np.where(outward[:, None], quad, quad[:, ::-1]))
    faces = np.concatenate(quads)
    for smooth in (1, 1, 1, 0):
        vertices = project(field, diffuse(vertices, faces, smooth), voxel)
    return vertices, faces


def _sample(field: Field, low: Array, size: NDArray[np.integer], voxel: float) -> Array:
    """Values of ``field`` on a grid; away from the surface those of the nearest point of a grid
    four times as coarse."""

    def points(index: Array) -> Array:
        return low + voxel * index

    coarse = np.stack(np.meshgrid(*(np.arange(0, n, 4) for n in size), indexing="ij"), -1)
    known = field(points(coarse.reshape(-1, 3))).reshape(coarse.shape[:3])
    near = np.ix_(*((np.arange(n) + 2) // 4 for n in size))
    values = known[near]
    close = np.argwhere(
        np.abs(values) < 4.5 * voxel
    )  # a grid point is at most 2 * 3**0.5 voxels from its coarse one
    values[tuple(close.T)] = field(points(close))
    return values


def project(field: Field, p: Array, voxel: float) -> Array:
    """One damped Newton step of points towards the zero surface, at most half a voxel long."""
    here, h = field(p), 0.1 * voxel
    g = np.stack([(field(p + h * e) - here) / h for e in np.eye(3)], 1)
    step = here[:, None] * g / np.maximum((g * g).sum(1, keepdims=True), 1e-6)
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return p - step * np.minimum(1, 0.5 * voxel / np.maximum(length, 1e-12))


def diffuse(
    values: Array, quads: NDArray[np.int64], rounds: int
) -> Array:  # (N, C), (F, 4) -> (N, C)
    """Averages ``values`` over neighbouring vertices ``rounds`` times: smooth weights that respect
    the surface."""
    a = np.concatenate([quads[:, i] for i in range(4)] + [quads[:, i - 1] for i in range(4)])
    b = np.concatenate([quads[:, i - 1] for i in range(4)] + [quads[:, i] for i in range(4)])
    order = np.argsort(a, kind="stable")
    a, b = a[order], b[order]
    starts = np.flatnonzero(np.r_[True, a[1:] != a[:-1]])
    owners, counts = a[starts], np.diff(np.r_[starts, len(a)])
    for _ in range(rounds):
        mean = np.add.reduceat(values[b], starts, axis=0) / counts[:, None].astype(values.dtype)
        values = values.copy()
        values[owners] = 0.5 * values[owners] + 0.5 * mean
    return values
