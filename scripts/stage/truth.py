"""Points on the subject's whole surface: where they are in every frame, and whether the camera sees
them."""

from typing import Any

import bpy
import mathutils
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SurfacePoints:
    """Points spread evenly over the area of the meshes as they are now, held by triangle and
    barycentric coordinates.

    Only the outer surface counts: points from which no way leads out (inside overlapping parts) are
    left out.
    """

    def __init__(self, meshes: list[bpy.types.Object], count: int, seed: int) -> None:
        self._meshes = meshes
        vertices, triangles = geometry(meshes)
        a, b, c = (vertices[triangles[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        extent = float(np.ptp(vertices, axis=0).max())
        more = count
        while True:
            rng = np.random.default_rng(seed)
            # stratified along the triangle list: more even than independent draws
            where = (np.arange(more) + rng.uniform(0, 1, more)) / more * area.sum()
            face = np.minimum(np.searchsorted(np.cumsum(area), where), len(area) - 1)
            r1, r2 = np.sqrt(rng.uniform(0, 1, more)), rng.uniform(0, 1, more)
            self._corners = triangles[face]
            self._bary = np.stack([1 - r1, r1 * (1 - r2), r1 * r2], 1)
            outer = np.flatnonzero(_outside(self.positions(), extent))
            if len(outer) >= count:
                break
            more = round(1.05 * more * count / max(len(outer), 0.1 * more)) + 1
        keep = outer[np.linspace(0, len(outer) - 1, count).round().astype(int)]
        self._corners, self._bary = self._corners[keep], self._bary[keep]

    def positions(self) -> Array:  # -> (P, 3)
        """World positions in the pose as it stands."""
        vertices, _ = geometry(self._meshes)
        return np.einsum("pi,pij->pj", self._bary, vertices[self._corners])


def _outside(points: Array, extent: float) -> NDArray[np.bool_]:  # (P, 3) -> (P,)
    """Whether at least one of 40 directions leads away from each surface point without meeting
    anything for half the extent."""
    k = np.arange(40) + 0.5
    polar, turn = np.arccos(1 - 2 * k / 40), np.pi * (1 + 5**0.5) * k
    directions = np.stack(
        [np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1
    )
    scene, depsgraph = bpy.context.scene, bpy.context.evaluated_depsgraph_get()

    def free(point: Array, direction: Array) -> bool:
        start = mathutils.Vector(point + 2e-3 * extent * direction)
        return not scene.ray_cast(
            depsgraph, start, mathutils.Vector(direction), distance=0.5 * extent
        )[0]

    return np.array([any(free(p, d) for d in directions) for p in points])


def geometry(meshes: list[bpy.types.Object]) -> tuple[Array, NDArray[np.int64]]:
    """World vertices and triangles of all meshes with armature and modifiers applied."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    vertices, triangles, start = [], [], 0
    for thing in meshes:
        evaluated = thing.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        co = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", co)
        mesh.calc_loop_triangles()
        tri = np.empty(3 * len(mesh.loop_triangles), np.int32)
        mesh.loop_triangles.foreach_get("vertices", tri)
        world = np.array(evaluated.matrix_world)
        vertices.append(co.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])
        triangles.append(tri.reshape(-1, 3).astype(np.int64) + start)
        start += len(mesh.vertices)
        evaluated.to_mesh_clear()
    return np.concatenate(vertices), np.concatenate(triangles)


def visible(
    points: Array, K: Array, w2c: Array, size: tuple[int, int], tolerance: float
) -> NDArray[np.bool_]:
    """Whether a ray from the camera reaches each world point (P, 3) inside the picture; stops
    ``tolerance`` short of it."""
    at = points @ w2c[:3, :3].T + w2c[:3, 3]
    xy = at[:, :2] / at[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    inside = (at[:, 2] > 0) & (xy >= 0).all(1) & (xy < size).all(1)
    eye = -w2c[:3, :3].T @ w2c[:3, 3]
    scene, depsgraph = bpy.context.scene, bpy.context.evaluated_depsgraph_get()
    out = np.zeros(len(points), bool)
    for i in np.flatnonzero(inside):
        ray = points[i] - eye
        length = np.linalg.norm(ray)
        hit, *_ = scene.ray_cast(
            depsgraph,
            mathutils.Vector(eye),
            mathutils.Vector(ray / length),
            distance=length - tolerance,
        )
        out[i] = not hit
    return out
