# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's own Gaussian splats, from 5.3 on: point clouds that the rig moves, drawn by the
viewport, EEVEE and Cycles, with or without this extension.

Each follows a display object (`importer.ImportedPuppet.splats`, ``background_splats``) and takes
its points from the same mesh. Older Blenders have no such points: there the display object's balls
render, and this extension draws the viewport.
"""

import bpy

from restage4d import sh

from ... import compat
from ..attributes import REST, count_coefficients, get_mesh
from . import node_tree
from .copying import PointsCopy
from .fields import turn_radiance

_KEY = "restage4d_native"  # of the display object: the point cloud that stands for it
_TREE = "Restage4D Splats of SH Degree "  # and the degree
_GAUSSIAN = (
    ("rotation", "QUATERNION"),
    ("scale", "FLOAT_VECTOR"),
    ("radiance:base", "FLOAT_COLOR"),
)


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
    _take_points(native, points)
    native.parent = points
    native.hide_select = True
    for collection in display.users_collection:
        collection.objects.link(native)
    display[_KEY] = native
    return native


def renew(points: bpy.types.Object, display: bpy.types.Object) -> None:
    """After the points got others' attributes, maybe of another SH degree."""
    native = find_native(display)
    if native is not None:
        native.modifiers.clear()
        _take_points(native, points)


def _take_points(native: bpy.types.Object, points: bpy.types.Object) -> None:
    degree = sh.degree_of(count_coefficients(get_mesh(points)))
    modifier = node_tree.add_modifier(native, "Native Splats", _find_tree(degree))
    compat.set_input(modifier, "Points", points)


def remove_unused() -> None:
    """Takes the node trees away that nothing uses any more."""
    unused = [t for t in bpy.data.node_groups if t.name.startswith(_TREE) and t.users == 0]
    bpy.data.batch_remove(unused)


def _find_tree(degree: int) -> bpy.types.NodeTree:
    """The object's points as splats, with the attributes of splats and nothing else. SH above
    degree 0 are turned by what turned the Gaussian since it was at rest (`attributes.REST`)."""
    name = f"{_TREE}{degree}"
    known = bpy.data.node_groups.get(name)
    if known is not None and known.library is None:
        return known
    t, group = node_tree.add_group(name, [("Points", "NodeSocketObject")])
    mesh = t.node(
        "GeometryNodeObjectInfo", {"Object": group.outputs["Points"]}, transform_space="RELATIVE"
    ).outputs["Geometry"]
    copy = PointsCopy(t, mesh)
    names = [f"radiance:sh_{k}" for k in range((degree + 1) ** 2 - 1)]
    for name, kind in (*_GAUSSIAN, *((name, "FLOAT_VECTOR") for name in names)):
        copy.store(name, kind)
    points = _turn(t, copy, names) if names else copy.geometry
    splats = t.node("GeometryNodePointsSetType", {"Points": points})
    splats.inputs["Type"].default_value = "3D Gaussian Splat"
    t.node("NodeGroupOutput", {"Geometry": splats.outputs[0]})
    t.remove_unused()
    t.arrange()
    return t.tree


def _turn(t: node_tree.NodeTree, copy: PointsCopy, names: list[str]) -> bpy.types.NodeSocket:
    """The points with their SH turned. Where nothing is known of their rest, as in a background,
    they stand as they are."""
    kept = t.node("GeometryNodeInputNamedAttribute", {"Name": REST}, data_type="QUATERNION")
    now = t.attribute("rotation", "QUATERNION")
    rest = t.node("GeometryNodeSwitch", {"Switch": kept.outputs["Exists"]}, input_type="ROTATION")
    t.tree.links.new(kept.outputs["Attribute"], rest.inputs["True"])
    t.tree.links.new(now, rest.inputs["False"])
    copy.store(REST, "QUATERNION", rest.outputs[0])
    back = t.node(
        "FunctionNodeRotateRotation",
        {
            "Rotation": t.node("FunctionNodeInvertRotation", {0: now}).outputs[0],
            "Rotate By": t.attribute(REST, "QUATERNION"),
        },
        rotation_space="GLOBAL",
    ).outputs[0]
    old = [t.attribute(name, "FLOAT_VECTOR") for name in names]
    capture = t.node("GeometryNodeCaptureAttribute", {"Geometry": copy.geometry}, domain="POINT")
    for name, value in zip(names, turn_radiance(t, old, back), strict=True):
        capture.capture_items.new("VECTOR", name)
        t.tree.links.new(value, capture.inputs[name])
    inputs = {"Geometry": capture.outputs["Geometry"], "Name": REST}
    out = t.node("GeometryNodeRemoveAttribute", inputs).outputs[0]
    for name in names:
        inputs = {"Geometry": out, "Name": name, "Value": capture.outputs[name]}
        out = t.node(
            "GeometryNodeStoreNamedAttribute", inputs, data_type="FLOAT_VECTOR", domain="POINT"
        ).outputs[0]
    return out
