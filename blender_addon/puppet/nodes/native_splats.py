# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's own Gaussian splats, from 5.3 on: point clouds that the rig moves, drawn by the
viewport, EEVEE and Cycles, with or without this extension.

Each follows a display object (`importer.ImportedPuppet.splats`, ``background_splats``) and takes
its points from the same mesh. Older Blenders have no such points: there the display object's balls
render, and this extension draws the viewport.
"""

import bpy

from ... import compat
from . import node_tree

_KEY = "restage4d_native"  # of the display object: the point cloud that stands for it
_TREE = "Restage4D Native Splats"


def is_available() -> bool:
    """Whether this Blender draws splats itself."""
    return hasattr(bpy.types, "GeometryNodePointsSetType")


def find_native(display: bpy.types.Object) -> bpy.types.Object | None:
    """The point cloud that stands for a display object; None where there is none or it was
    deleted."""
    found = display.get(_KEY)
    return found if isinstance(found, bpy.types.Object) and found.users_collection else None


def ensure_native(points: bpy.types.Object, display: bpy.types.Object) -> bpy.types.Object:
    """The point cloud of a display object, made where there is none; needs `is_available`."""
    native = find_native(display)
    if native is not None:
        return native
    data = bpy.data.pointclouds.new(f"{display.name} native")
    native = bpy.data.objects.new(data.name, data)
    modifier = node_tree.add_modifier(native, "Native Splats", _find_tree())
    compat.set_input(modifier, "Points", points)
    native.parent = points
    native.hide_select = True
    for collection in display.users_collection:
        collection.objects.link(native)
    display[_KEY] = native
    return native


def remove_unused() -> None:
    """Takes the node tree away where nothing uses it any more."""
    known = bpy.data.node_groups.get(_TREE)
    if known is not None and known.users == 0:
        bpy.data.node_groups.remove(known)


def _find_tree() -> bpy.types.NodeTree:
    """Object Info, Mesh to Points, Set Point Cloud Type; the splats' attributes come along."""
    known = bpy.data.node_groups.get(_TREE)
    if known is not None and known.library is None:
        return known
    t, group = node_tree.add_group(_TREE, [("Points", "NodeSocketObject")])
    mesh = t.node(
        "GeometryNodeObjectInfo", {"Object": group.outputs["Points"]}, transform_space="RELATIVE"
    ).outputs["Geometry"]
    points = t.node("GeometryNodeMeshToPoints", {"Mesh": mesh}).outputs[0]
    splats = t.node("GeometryNodePointsSetType", {"Points": points})
    splats.inputs["Type"].default_value = "3D Gaussian Splat"
    t.node("NodeGroupOutput", {"Geometry": splats.outputs[0]})
    t.arrange()
    return t.tree
