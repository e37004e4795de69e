# SPDX-License-Identifier: GPL-3.0-or-later
"""Points that are taken out of a puppet, and put back.

They wait with everything they had in a mesh of their own, which the points' object holds: it is
saved with the .blend, and no export sees it.
"""

from typing import Any, cast

import bmesh
import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError

from .. import attributes

KEY = "restage4d_erased"  # the points object's: the mesh of those taken out
ORDER = "restage4d_order"  # a point's attribute: its place among all


def count_erased(points: bpy.types.Object) -> int:
    """How many points were taken out."""
    mesh = points.get(KEY)
    return len(mesh.vertices) if isinstance(mesh, bpy.types.Mesh) else 0


def erase(points: bpy.types.Object, chosen: NDArray[np.bool_]) -> int:
    """Takes points out, (N,); how many. The object must not be in Edit Mode.

    Raises:
        InputError: none or all of them are chosen.
    """
    count = int(chosen.sum())
    if count == 0:
        raise InputError("No splat is selected.", "Select some first.")
    if count == len(chosen):
        raise InputError("All splats are selected.", "A puppet keeps at least one.")
    mesh = attributes.get_mesh(points)
    if ORDER not in mesh.attributes:
        order = np.arange(len(chosen), dtype=np.int32)
        attributes.set_attribute(mesh, ORDER, "INT", "value", order)
    aside: Any = points.get(KEY)
    if not isinstance(aside, bpy.types.Mesh):
        aside = mesh.copy()
        aside.name = f"{mesh.name} erased"
        _write(aside, [(mesh, chosen)])
    else:
        _write(aside, [(aside, None), (mesh, chosen)])
    points[KEY] = aside
    _write(mesh, [(mesh, ~chosen)])
    return count


def restore(points: bpy.types.Object) -> int:
    """Puts all of them back where they were; how many. They are selected afterwards, alone."""
    aside: Any = points.get(KEY)
    count = count_erased(points)
    if count == 0:
        return 0
    mesh = attributes.get_mesh(points)
    mesh.vertices.foreach_set("select", np.zeros(len(mesh.vertices), bool))
    aside.vertices.foreach_set("select", np.ones(count, bool))
    _write(mesh, [(mesh, None), (aside, None)])
    del points[KEY]
    if aside.users == 0:
        bpy.data.meshes.remove(aside)
    mesh.attributes.remove(mesh.attributes[ORDER])
    return count


def _write(
    target: bpy.types.Mesh, parts: list[tuple[bpy.types.Mesh, NDArray[np.bool_] | None]]
) -> None:
    """Makes a mesh of some vertices of others, with all they have, in the order of `ORDER`."""
    bm = bmesh.new()
    try:
        for mesh, kept in parts:
            first = len(bm.verts)
            bm.from_mesh(mesh)
            if kept is not None:
                bm.verts.ensure_lookup_table()
                gone = [bm.verts[first + i] for i in np.flatnonzero(~kept).tolist()]
                bmesh.ops.delete(bm, geom=gone, context="VERTS")
        order: Any = cast(Any, bm.verts.layers.int)[ORDER]
        bm.verts.sort(key=lambda vertex: vertex[order])
        bm.to_mesh(target)
    finally:
        bm.free()
    target.update_tag()
