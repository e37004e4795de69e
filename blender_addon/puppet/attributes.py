# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians as vertex-only meshes, and back.

A mesh of points carries Blender 5.3's names for splats, so that newer versions draw it natively:
``position``, ``scale`` (σ), ``rotation`` (QUATERNION wxyz), ``radiance:base`` (raw f_dc and
opacity), ``radiance:sh_k`` from 0 on. Beside them ``display_color`` (linear, of the degree-0
coefficient), ``region_color``, ``shown_weight`` and ``opacity`` for the display, and
``influence_j``/``weight_j`` for the rig. Where SH are above degree 0, `REST` keeps the rotations
at rest: the rig turns ``rotation``, and what it was turned by is the difference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import bmesh
import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import F32, Gaussians, sh_to_rgb
from restage4d.srgb import srgb_to_linear

from .. import compat

COLOR = "display_color"  # "color" has a meaning of its own in Cycles
REGION_COLOR = "region_color"
REST = "restage4d_rest"
WEIGHT = "shown_weight"  # of the bones whose weights are being shown
_ROWS = 2048  # points in one step of `vertex_group_steps`
RAMP_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
RAMP_COLORS = (
    (0.01, 0.01, 0.12),
    (0.0, 0.1, 0.9),
    (0.0, 0.8, 0.1),
    (0.9, 0.8, 0.0),
    (0.9, 0.0, 0.0),
)  # linear


def get_mesh(obj: bpy.types.Object) -> bpy.types.Mesh:
    """The mesh of an object of points."""
    return cast(bpy.types.Mesh, obj.data)


@contextmanager
def reading_mesh(obj: bpy.types.Object) -> Iterator[bpy.types.Mesh]:
    """The mesh of an object, evaluated or not, to be read in any mode: in Edit Mode Blender does
    not tell the attributes of the object's own."""
    mesh = obj.to_mesh()
    try:
        yield mesh
    finally:
        obj.to_mesh_clear()


def _get_values(attribute: bpy.types.Attribute) -> Any:
    """The values, whose type hangs on the attribute's."""
    return cast(Any, attribute).data


def points_mesh(name: str, means: F32) -> bpy.types.Mesh:  # (N, 3)
    """A vertex-only mesh of positions, none selected; `write_gaussians` gives it the rest."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(means))
    mesh.vertices.foreach_set("select", np.zeros(len(means), bool))
    if len(means):  # without vertices there is no such attribute
        _get_values(mesh.attributes["position"]).foreach_set("vector", means.ravel())
    return mesh


def write_gaussians(mesh: bpy.types.Mesh, gaussians: Gaussians) -> None:
    """The Gaussians' attributes beside the positions."""
    n = len(gaussians)
    color = np.ones((n, 4), np.float32)
    color[:, :3] = srgb_to_linear(sh_to_rgb(gaussians.sh[:, 0]).clip(0, 1))
    radiance = np.concatenate([gaussians.sh[:, 0], gaussians.opacities[:, None]], axis=1)
    set_attribute(mesh, "scale", "FLOAT_VECTOR", "vector", gaussians.scales)
    set_attribute(mesh, "rotation", "QUATERNION", "value", gaussians.quats)
    set_attribute(mesh, "radiance:base", compat.FLOAT4, compat.FLOAT4_FIELD, radiance)
    for k in range(1, gaussians.sh.shape[1]):
        name = f"radiance:sh_{k - 1}"  # 5.3 counts from 0, without the base
        set_attribute(mesh, name, "FLOAT_VECTOR", "vector", gaussians.sh[:, k])
    set_attribute(mesh, "opacity", "FLOAT", "value", gaussians.opacities)
    set_attribute(mesh, COLOR, "FLOAT_COLOR", "color", color)
    mesh.color_attributes.active_color_name = COLOR
    mesh.color_attributes.render_color_index = mesh.color_attributes.find(COLOR)


def ball_mesh(name: str) -> bpy.types.Mesh:
    """The unit icosphere of 20 faces that stands for a Gaussian, with `COLOR` as its active
    colour."""
    mesh = bpy.data.meshes.new(name)
    bm = bmesh.new()
    try:
        bmesh.ops.create_icosphere(bm, subdivisions=1, radius=1.0)
        bm.to_mesh(mesh)
    finally:
        bm.free()
    mesh.attributes.new(COLOR, "FLOAT_COLOR", "POINT")
    mesh.color_attributes.active_color_name = COLOR
    return mesh


def set_attribute(
    mesh: bpy.types.Mesh, name: str, kind: Any, field: str, values: NDArray[Any]
) -> None:
    """A point attribute, new or there already, set in bulk; values of another dtype than its own
    are 10 to 100 times slower."""
    attribute = mesh.attributes.get(name) or mesh.attributes.new(name, kind, "POINT")
    _get_values(attribute).foreach_set(field, np.ascontiguousarray(values).ravel())
    mesh.update_tag()


def read_attribute(
    mesh: bpy.types.Mesh, name: str, field: str, width: int
) -> F32:  # -> (N, width), (N,) for width 1
    """A float point attribute; KeyError names it where it is missing."""
    out = np.empty(len(mesh.vertices) * width, np.float32)
    _get_values(mesh.attributes[name]).foreach_get(field, out)
    return out.reshape(-1, width) if width > 1 else out


def count_coefficients(mesh: bpy.types.Mesh) -> int:
    """SH coefficients of each point: 1, 4, 9 or 16."""
    return 1 + sum(a.name.startswith("radiance:sh_") for a in mesh.attributes)


def write_rest(mesh: bpy.types.Mesh, gaussians: Gaussians) -> None:
    """`REST` of points that a rig moves, where something turns with them."""
    if gaussians.sh.shape[1] > 1:
        set_attribute(mesh, REST, "QUATERNION", "value", gaussians.quats)


def read_radiance(mesh: bpy.types.Mesh) -> F32:  # (N, 4)
    """SH of degree 0 and opacity; a colour in files of Blenders that have no plain 4-vectors."""
    kept: Any = mesh.attributes["radiance:base"]
    field = "vector" if kept.data_type == "FLOAT4" else "color"
    return read_attribute(mesh, "radiance:base", field, 4)


def read_gaussians(mesh: bpy.types.Mesh) -> Gaussians:
    """What `points_mesh` and `write_gaussians` wrote, to the bit. For an evaluated mesh: the posed
    Gaussians."""
    radiance = read_radiance(mesh)
    first = 0 if "radiance:sh_0" in mesh.attributes else 1  # files of before count from 1
    sh = [radiance[:, :3]]
    while (name := f"radiance:sh_{len(sh) - 1 + first}") in mesh.attributes:
        sh.append(read_attribute(mesh, name, "vector", 3))
    return Gaussians(
        means=read_attribute(mesh, "position", "vector", 3),
        quats=read_attribute(mesh, "rotation", "value", 4),
        scales=read_attribute(mesh, "scale", "vector", 3),
        opacities=np.ascontiguousarray(radiance[:, 3]),
        sh=np.stack(sh, axis=1),
    )


def read_weights(mesh: bpy.types.Mesh, bases: NDArray[np.bool_]) -> F32:  # (K,) -> (N,)
    """How much some of the bases, together, move each point."""
    index, weight = read_influences(mesh)
    return np.where(bases[index], weight, 0).sum(1, dtype=np.float32)


def write_regions(
    mesh: bpy.types.Mesh, region: NDArray[np.intp], colors: F32
) -> None:  # (N,), (R, 3) sRGB
    """`REGION_COLOR` of every point: that of its region."""
    color = np.ones((len(region), 4), np.float32)
    color[:, :3] = srgb_to_linear(colors)[region]
    set_attribute(mesh, REGION_COLOR, "FLOAT_COLOR", "color", color)


def write_weights(mesh: bpy.types.Mesh, share: F32) -> None:  # (N,)
    """`WEIGHT` of every point: how much some bones, together, move it."""
    set_attribute(mesh, WEIGHT, "FLOAT", "value", share)


def write_influences(
    mesh: bpy.types.Mesh, index: NDArray[np.uint16], weight: F32
) -> None:  # (N, M), (N, M)
    """``influence_j`` and ``weight_j``, what the rig reads."""
    for j in range(index.shape[1]):
        set_attribute(mesh, f"influence_{j}", "INT", "value", index[:, j].astype(np.int32))
        set_attribute(mesh, f"weight_{j}", "FLOAT", "value", weight[:, j])


def read_influences(mesh: bpy.types.Mesh) -> tuple[NDArray[np.uint16], F32]:
    """What `write_influences` wrote: (N, M) and (N, M)."""
    m = sum(1 for j in range(8) if f"influence_{j}" in mesh.attributes)
    index = np.empty((len(mesh.vertices), m), np.uint16)
    weight = np.empty((len(mesh.vertices), m), np.float32)
    column = np.empty(len(mesh.vertices), np.int32)
    for j in range(m):
        _get_values(mesh.attributes[f"influence_{j}"]).foreach_get("value", column)
        index[:, j], weight[:, j] = column, read_attribute(mesh, f"weight_{j}", "value", 1)
    return index, weight


def vertex_group_steps(
    obj: bpy.types.Object, names: list[str], index: NDArray[np.integer], weight: F32
) -> Iterator[float]:
    """Vertex groups of the bones' names with the same weights, for painting and for exporters that
    know skins.

    Other groups stay. Yields the share that is done after every `_ROWS` points; ended early, all
    weights are as before. A mesh without other attributes is quicker in the first and the last
    step, which Blender does whole.
    """
    there = {
        name: group.index for name in names if (group := obj.vertex_groups.get(name)) is not None
    }
    place = [
        there[name] if name in there else obj.vertex_groups.new(name=name).index for name in names
    ]
    before = set(there.values())
    bm = bmesh.new()
    try:
        bm.from_mesh(get_mesh(obj))
        layer = bm.verts.layers.deform.verify()
        vertices = iter(bm.verts)
        for first in range(0, len(index), _ROWS):
            yield first / len(index)
            rows = slice(first, first + _ROWS)
            for groups, weights in zip(index[rows].tolist(), weight[rows].tolist(), strict=True):
                deform: Any = next(vertices)[layer]
                for group in before.intersection(deform.keys()) if before else ():
                    del deform[group]
                for group, value in zip(groups, weights, strict=True):
                    if value > 0:  # an index may stand twice in a row
                        deform[place[group]] = deform.get(place[group], 0.0) + value
        yield 1.0
        bm.to_mesh(get_mesh(obj))
    finally:
        bm.free()
