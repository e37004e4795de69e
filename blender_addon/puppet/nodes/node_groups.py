# SPDX-License-Identifier: GPL-3.0-or-later
"""The node trees: Eq. 1 of the paper as exact skinning, and the display of Gaussians.

All of it is plain nodes: a .blend plays and renders on a machine that never heard of this
extension.
"""

from collections.abc import Iterator
from typing import Any

import bpy

from ..attributes import (
    COLOR,
    RAMP_COLORS,
    RAMP_PLACES,
    REGION_COLOR,
    WEIGHT,
)
from .copying import PointsCopy
from .materials import CUTOFF, make_material
from .node_tree import NodeTree, add_group

_CORNERS = ("Origin", "First Axis", "Second Axis")  # the three vertices of a basis


def make_skinning(influences: int) -> bpy.types.NodeTree:
    """The tree of `skinning_steps`."""
    *_, tree = skinning_steps(influences)
    return tree


def skinning_steps(influences: int) -> Iterator[bpy.types.NodeTree]:
    """Eq. 1 for points with attributes ``influence_0..M-1`` and ``weight_0..M-1``.

    Its "Bases" object has three vertices per basis, at 0, e0 and e1 of the basis' frame. The three
    are blended by the point's weights: the first is the translation, the differences to it are the
    blended rotation columns, and *Axes to Rotation* (first axis kept, second made orthogonal) is
    the Gram-Schmidt of Eq. 1. Moves ``position`` and turns ``rotation``.

    Yields the tree after every part of it, since nodes and links are slow to make.
    """
    t, group = add_group(
        f"Restage4D Eq. 1, {influences} influences", [("Bases", "NodeSocketObject")]
    )
    frames = t.node(
        "GeometryNodeObjectInfo", {"Object": group.outputs["Bases"]}, transform_space="ORIGINAL"
    ).outputs["Geometry"]
    position = t.node("GeometryNodeInputPosition").outputs[0]
    # Of few vertices once a frame, so that no point computes where its bases' vertices are.
    corners = t.node("GeometryNodeCaptureAttribute", {"Geometry": frames}, domain="POINT")
    index = t.node("GeometryNodeInputIndex").outputs[0]
    first = t.node("FunctionNodeIntegerMath", {0: index, 1: 3}, operation="MULTIPLY").outputs[0]
    for c, name in enumerate(_CORNERS):
        row = t.node("FunctionNodeIntegerMath", {0: first, 1: c}, operation="ADD").outputs[0]
        corners.capture_items.new("VECTOR", name)
        t.tree.links.new(_sample(t, frames, position, row), corners.inputs[name])
    blended: list[Any] = [None, None, None]  # t, t + r0, t + r1
    for j in range(influences):
        weight = t.attribute(f"weight_{j}", "FLOAT")
        basis = t.attribute(f"influence_{j}", "INT")
        for c, name in enumerate(_CORNERS):
            sample = _sample(t, corners.outputs["Geometry"], corners.outputs[name], basis)
            if blended[c] is None:
                blended[c] = t.vector("MULTIPLY", sample, weight)
            else:
                blended[c] = t.vector("MULTIPLY_ADD", sample, weight, blended[c])
        yield t.tree
    turn = t.node(
        "FunctionNodeAxesToRotation",
        {
            "Primary Axis": t.vector("SUBTRACT", blended[1], blended[0]),
            "Secondary Axis": t.vector("SUBTRACT", blended[2], blended[0]),
        },
        primary_axis="X",
        secondary_axis="Y",
    ).outputs[0]
    moved = t.vector(
        "ADD",
        t.node("FunctionNodeRotateVector", {"Vector": position, "Rotation": turn}).outputs[0],
        blended[0],
    )
    turned = t.node(
        "FunctionNodeRotateRotation",
        {"Rotation": t.attribute("rotation", "QUATERNION"), "Rotate By": turn},
        rotation_space="GLOBAL",
    ).outputs[0]
    stored = t.carry_points(group.outputs["Geometry"], moved, turned)
    t.node("NodeGroupOutput", {"Geometry": stored})
    yield t.tree
    t.arrange()
    yield t.tree


def _sample(
    t: NodeTree, geometry: bpy.types.NodeSocket, value: bpy.types.NodeSocket, index: Any
) -> bpy.types.NodeSocket:
    """A vector of a geometry's points."""
    inputs = {"Geometry": geometry, "Value": value, "Index": index}
    return t.node(
        "GeometryNodeSampleIndex", inputs, data_type="FLOAT_VECTOR", domain="POINT"
    ).outputs[0]


def display_steps() -> Iterator[bpy.types.NodeTree]:
    """Shows the Gaussians of another object ("Points"), by its ``scale``, ``rotation``,
    ``display_color`` and ``opacity``.

    * Points: octahedra of the Gaussian's volume, the cheapest.
    * Ellipsoids: opaque, real geometry with a colour attribute, right in every engine and in solid
      shading.
    * Splats: the Gaussians themselves, soft and blended along the view ray, for Cycles and EEVEE.

    "Color" is as filmed, of the region that moves a point most, or the weight of the bones shown
    (`attributes.WEIGHT`), blue to red. "Size" is the radius in standard deviations of points and
    ellipsoids; those fainter than "Min Opacity" are left out there. The shape of the ellipsoids is
    the object's own mesh (`attributes.ball_mesh`).

    Yields the tree after every part of it.
    """
    inputs = [
        ("Points", "NodeSocketObject"),
        ("Mode", "NodeSocketMenu"),
        ("Color", "NodeSocketMenu"),
        ("Size", "NodeSocketFloat"),
        ("Min Opacity", "NodeSocketFloat"),
    ]
    t, group = add_group("Restage4D Display", inputs)
    source = t.node(
        "GeometryNodeObjectInfo", {"Object": group.outputs["Points"]}, transform_space="ORIGINAL"
    ).outputs["Geometry"]

    copy = PointsCopy(t, source)
    colors = {
        "Filmed": t.attribute(COLOR, "FLOAT_COLOR"),
        "Regions": t.attribute(REGION_COLOR, "FLOAT_COLOR"),
        "Weights": _add_ramp(t, t.attribute(WEIGHT, "FLOAT")),
    }
    color = _add_menu(t, group.outputs["Color"], "RGBA", colors)
    yield t.tree
    copy.store(COLOR, "FLOAT_COLOR", color)
    copy.store("opacity", "FLOAT")
    capture = t.node("GeometryNodeCaptureAttribute", {"Geometry": copy.geometry}, domain="POINT")
    for name, item, kind in (
        ("scale", "VECTOR", "FLOAT_VECTOR"),
        ("rotation", "ROTATION", "QUATERNION"),
    ):
        capture.capture_items.new(item, name)
        t.tree.links.new(copy.sample(t.attribute(name, kind), kind), capture.inputs[name])
    points, scale, rotation = (capture.outputs[i] for i in ("Geometry", "scale", "rotation"))
    yield t.tree

    opacity = t.attribute("opacity", "FLOAT")
    faint = t.node(
        "FunctionNodeCompare",
        {0: opacity, 1: group.outputs["Min Opacity"]},
        data_type="FLOAT",
        operation="LESS_THAN",
    ).outputs[0]
    dense = t.node(
        "GeometryNodeDeleteGeometry", {"Geometry": points, "Selection": faint}, domain="POINT"
    ).outputs[0]

    axes = t.node("ShaderNodeSeparateXYZ", {0: scale})
    volume = t.math(
        "MULTIPLY", t.math("MULTIPLY", axes.outputs[0], axes.outputs[1]), axes.outputs[2]
    )
    radius = t.math("MULTIPLY", t.math("POWER", volume, 1 / 3), group.outputs["Size"])

    def add_instances(
        geometry: bpy.types.NodeSocket,
        shape: bpy.types.NodeSocket,
        size: Any,
    ) -> bpy.types.NodeSocket:
        inputs = {"Points": geometry, "Instance": shape, "Rotation": rotation, "Scale": size}
        return t.node("GeometryNodeInstanceOnPoints", inputs).outputs[0]

    def set_material(
        geometry: bpy.types.NodeSocket, material: bpy.types.Material
    ) -> bpy.types.NodeSocket:
        return t.node(
            "GeometryNodeSetMaterial", {"Geometry": geometry, "Material": material}
        ).outputs[0]

    yield t.tree
    solid, soft = (
        make_material("Restage4D Solid", soft=False),
        make_material("Restage4D Splats", soft=True),
    )
    ball = t.node("GeometryNodeMeshIcoSphere", {"Radius": 1.0, "Subdivisions": 2}).outputs["Mesh"]
    # The object's own mesh, an icosphere, has COLOR as its active colour, and the realized one
    # takes that over: solid shading shows nothing else. Its values must go, or they would hide the
    # points'.
    shape = t.node(
        "GeometryNodeRemoveAttribute", {"Geometry": group.outputs["Geometry"], "Name": COLOR}
    ).outputs[0]
    # Solid shading shows no colours of point clouds: points are octahedra, with one vertex of the
    # object's own mesh for the same reason.
    first = t.node(
        "FunctionNodeCompare", {0: copy.index, 1: 0.5}, data_type="FLOAT", operation="GREATER_THAN"
    ).outputs[0]
    vertex = t.node(
        "GeometryNodeDeleteGeometry", {"Geometry": shape, "Selection": first}, domain="POINT"
    ).outputs[0]
    octahedron = t.node(
        "GeometryNodeMeshUVSphere", {"Segments": 4, "Rings": 2, "Radius": 1.0}
    ).outputs["Mesh"]
    dot = t.node("GeometryNodeJoinGeometry")
    for part in (octahedron, vertex):  # the last one joined comes first
        t.tree.links.new(part, dot.inputs["Geometry"])
    across = t.node("ShaderNodeCombineXYZ", {0: radius, 1: radius, 2: radius}).outputs[0]
    sized = t.vector("MULTIPLY", scale, group.outputs["Size"])
    small = {
        name: t.node(
            "GeometryNodeRealizeInstances", {"Geometry": add_instances(dense, shape, size)}
        ).outputs[0]
        for name, shape, size in (
            ("Points", dot.outputs[0], across),
            ("Ellipsoids", shape, sized),
        )
    }
    cutoff: Any = (CUTOFF,) * 3
    soft_size = t.vector("MULTIPLY", scale, cutoff)
    modes = {
        "Points": set_material(small["Points"], solid),
        "Ellipsoids": set_material(small["Ellipsoids"], solid),
        "Splats": set_material(add_instances(points, ball, soft_size), soft),
    }

    t.node("NodeGroupOutput", {"Geometry": _add_menu(t, group.outputs["Mode"], "GEOMETRY", modes)})
    yield t.tree
    for name, value in {
        "Mode": "Ellipsoids",
        "Color": "Filmed",
        "Size": 1.3,
        "Min Opacity": 0.2,
    }.items():
        socket: Any = t.tree.interface.items_tree[name]
        socket.default_value = value
        if name == "Size":
            socket.min_value = 0.0
        elif name == "Min Opacity":
            socket.min_value, socket.max_value = 0.0, 1.0
    t.arrange()
    yield t.tree


def _add_menu(
    t: NodeTree, chosen: bpy.types.NodeSocket, kind: str, values: dict[str, bpy.types.NodeSocket]
) -> bpy.types.NodeSocket:
    """A Menu Switch between named values."""
    switch = t.node("GeometryNodeMenuSwitch", data_type=kind)
    switch.enum_items.clear()
    for name, value in values.items():
        switch.enum_items.new(name)
        t.tree.links.new(value, switch.inputs[name])
    t.tree.links.new(chosen, switch.inputs["Menu"])
    return switch.outputs[0]


def _add_ramp(t: NodeTree, value: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """The colour of a weight: `attributes.RAMP_COLORS`."""
    node = t.node("ShaderNodeValToRGB", {"Fac": value})
    elements = node.color_ramp.elements
    while len(elements) < len(RAMP_PLACES):
        elements.new(0.5)
    for element, (place, color) in zip(
        elements, zip(RAMP_PLACES, RAMP_COLORS, strict=True), strict=True
    ):
        element.position, element.color = place, (*color, 1.0)
    return node.outputs["Color"]


def make_frames() -> bpy.types.NodeTree:
    """The points of one object of the collection "Frames": in the scene's frame "First" those of
    the first by name, then of the next; the last ones stay."""
    inputs = [("Frames", "NodeSocketCollection"), ("First", "NodeSocketInt")]
    t, group = add_group("Restage4D Frames", inputs)
    frames = t.node(
        "GeometryNodeCollectionInfo",
        {
            "Collection": group.outputs["Frames"],
            "Separate Children": True,
            "Reset Children": True,
        },
    ).outputs[0]
    count = t.node(
        "GeometryNodeAttributeDomainSize", {"Geometry": frames}, component="INSTANCES"
    ).outputs["Instance Count"]
    now = t.node("GeometryNodeInputSceneTime").outputs["Frame"]
    wanted = t.math("FLOOR", t.math("SUBTRACT", now, group.outputs["First"]))
    wanted = t.math("MINIMUM", t.math("MAXIMUM", wanted, 0.0), t.math("SUBTRACT", count, 1.0))
    index = t.node("GeometryNodeInputIndex").outputs[0]
    off = t.math("ABSOLUTE", t.math("SUBTRACT", index, wanted))
    others = t.math("GREATER_THAN", off, 0.5)
    inputs = {"Geometry": frames, "Selection": others}
    one = t.node("GeometryNodeDeleteGeometry", inputs, domain="INSTANCE").outputs[0]
    out = t.node("GeometryNodeRealizeInstances", {"Geometry": one}).outputs[0]
    t.node("NodeGroupOutput", {"Geometry": out})
    t.arrange()
    return t.tree
