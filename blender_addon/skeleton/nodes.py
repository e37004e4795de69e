# SPDX-License-Identifier: GPL-3.0-or-later
"""Node trees of the body rig: what the artist changed of each bone, and points carried on by it.

Plain nodes, as those of Eq. 1: a .blend plays and renders without this extension.
"""

from typing import Any

import bpy

from restage4d.skeleton.skinning import INFLUENCES

from ..puppet.nodes.node_tree import NodeTree, add_group

BONE, BONE_WEIGHT = "bone", "bone_weight"  # attributes of points, numbered from _0
_ROUNDING = 5e-6  # quaternion and units that rounding leaves where nothing is changed
_TURN, _TURN_W, _SHIFT, _SHIFT_W = "turn", "turn_w", "shift", "shift_w"


def make_undo_captured() -> bpy.types.NodeTree:
    """Vertices 3k, 3k + 1, 3k + 2 at 0, e0, e1 go to where the inverse of bone k's captured motion
    carries them; "Captured" has the motion itself as three such vertices."""
    t, group = add_group("Restage4D Undo Captured", [("Captured", "NodeSocketObject")])
    frames = _read_object(t, group.outputs["Captured"])
    position = t.node("GeometryNodeInputPosition").outputs[0]
    first, x, y = _sample_frame(t, frames, position)
    z = t.vector("CROSS_PRODUCT", x, y)
    away = t.vector("SUBTRACT", position, first)
    local = t.node(
        "ShaderNodeCombineXYZ",
        {i: t.vector("DOT_PRODUCT", axis, away) for i, axis in enumerate((x, y, z))},
    ).outputs[0]
    moved = t.node(
        "GeometryNodeSetPosition", {"Geometry": group.outputs["Geometry"], "Position": local}
    ).outputs[0]
    t.node("NodeGroupOutput", {"Geometry": moved})
    t.arrange()
    return t.tree


def make_dual_quaternions() -> bpy.types.NodeTree:
    """Three vertices per bone become its dual quaternion, as attributes of all three."""
    t, group = add_group("Restage4D Changes", [])
    geometry: Any = group.outputs["Geometry"]
    position = t.node("GeometryNodeInputPosition").outputs[0]
    shift, x, y = _sample_frame(t, geometry, position)
    turn = t.node(
        "FunctionNodeAxesToRotation",
        {"Primary Axis": x, "Secondary Axis": y},
        primary_axis="X",
        secondary_axis="Y",
    ).outputs[0]
    quat = t.node("FunctionNodeRotationToQuaternion", {0: turn})
    w = quat.outputs[0]
    v = t.node("ShaderNodeCombineXYZ", {i: quat.outputs[i + 1] for i in range(3)}).outputs[0]
    half = t.vector(
        "MULTIPLY", shift, t.node("ShaderNodeCombineXYZ", dict.fromkeys(range(3), 0.5)).outputs[0]
    )
    dual = t.vector("ADD", t.vector("MULTIPLY", half, w), t.vector("CROSS_PRODUCT", half, v))
    dual_w = t.math("MULTIPLY", t.vector("DOT_PRODUCT", half, v), -1.0)
    for name, kind, value in (
        (_TURN, "FLOAT_VECTOR", v),
        (_TURN_W, "FLOAT", w),
        (_SHIFT, "FLOAT_VECTOR", dual),
        (_SHIFT_W, "FLOAT", dual_w),
    ):
        inputs = {"Geometry": geometry, "Name": name, "Value": value}
        geometry = t.node(
            "GeometryNodeStoreNamedAttribute", inputs, data_type=kind, domain="POINT"
        ).outputs[0]
    t.node("NodeGroupOutput", {"Geometry": geometry})
    t.arrange()
    return t.tree


def make_carrying() -> bpy.types.NodeTree:
    """Points go on with the blended dual quaternions of their bones, in "Changes"; the twin of
    `restage4d.skeleton.posing.blend_changes`. Moves ``position`` and turns ``rotation``. Where no
    bone is changed, as in a performance that was only imported, they are passed on as they are."""
    t, group = add_group("Restage4D Skeleton", [("Changes", "NodeSocketObject")])
    changes = _read_object(t, group.outputs["Changes"])
    total: list[Any] = [None] * 4
    first: list[Any] = []
    for j in range(INFLUENCES):
        row = t.node(
            "FunctionNodeIntegerMath",
            {0: t.attribute(f"{BONE}_{j}", "INT"), 1: 3},
            operation="MULTIPLY",
        ).outputs[0]
        values = [
            _sample(t, changes, t.attribute(name, kind), row, kind)
            for name, kind in (
                (_TURN, "FLOAT_VECTOR"),
                (_TURN_W, "FLOAT"),
                (_SHIFT, "FLOAT_VECTOR"),
                (_SHIFT_W, "FLOAT"),
            )
        ]
        share = t.attribute(f"{BONE_WEIGHT}_{j}", "FLOAT")
        if j == 0:
            first = values
        else:  # the two quaternions of a rotation: the one on the first bone's side
            dot = t.math("MULTIPLY", values[1], first[1])
            dot = t.math("ADD", dot, t.vector("DOT_PRODUCT", values[0], first[0]))
            flip = t.math("MULTIPLY_ADD", t.math("LESS_THAN", dot, 0.0), -2.0, 1.0)
            share = t.math("MULTIPLY", share, flip)
        for i, value in enumerate(values):
            if i % 2 == 0:
                part = t.vector("MULTIPLY", value, share)
                total[i] = part if j == 0 else t.vector("ADD", total[i], part)
            else:
                part = t.math("MULTIPLY", value, share)
                total[i] = part if j == 0 else t.math("ADD", total[i], part)
    v, w, d, dw = total
    square = t.math("ADD", t.math("MULTIPLY", w, w), t.vector("DOT_PRODUCT", v, v))
    shift = t.vector("SUBTRACT", t.vector("MULTIPLY", d, w), t.vector("MULTIPLY", v, dw))
    shift = t.vector("ADD", shift, t.vector("CROSS_PRODUCT", v, d))
    shift = t.vector("MULTIPLY", shift, t.math("DIVIDE", 2.0, square))
    axes = t.node("ShaderNodeSeparateXYZ", {0: v})
    turn = t.node(
        "FunctionNodeQuaternionToRotation", {0: w, **{i + 1: axes.outputs[i] for i in range(3)}}
    ).outputs[0]
    position = t.node("GeometryNodeInputPosition").outputs[0]
    turned = t.node("FunctionNodeRotateVector", {"Vector": position, "Rotation": turn}).outputs[0]
    rotation = t.node(
        "FunctionNodeRotateRotation",
        {"Rotation": t.attribute("rotation", "QUATERNION"), "Rotate By": turn},
        rotation_space="GLOBAL",
    ).outputs[0]
    place = t.vector("ADD", turned, shift)
    switch = t.node(
        "GeometryNodeSwitch",
        {
            "Switch": _find_change(t, changes),
            "False": group.outputs["Geometry"],
            "True": t.carry_points(group.outputs["Geometry"], place, rotation),
        },
        input_type="GEOMETRY",
    )
    t.node("NodeGroupOutput", {"Geometry": switch.outputs[0]})
    t.arrange()
    return t.tree


def _find_change(t: NodeTree, changes: Any) -> Any:
    """Whether any bone is changed by more than `_ROUNDING`."""
    sizes = [t.vector("LENGTH", t.attribute(name, "FLOAT_VECTOR")) for name in (_TURN, _SHIFT)]
    largest = t.node(
        "GeometryNodeAttributeStatistic",
        {"Geometry": changes, "Attribute": t.math("MAXIMUM", *sizes)},
        data_type="FLOAT",
        domain="POINT",
    ).outputs["Max"]
    return t.node(
        "FunctionNodeCompare",
        {0: largest, 1: _ROUNDING},
        data_type="FLOAT",
        operation="GREATER_THAN",
    ).outputs[0]


def _read_object(t: NodeTree, obj: Any) -> Any:
    inputs = {"Object": obj}
    return t.node("GeometryNodeObjectInfo", inputs, transform_space="ORIGINAL").outputs["Geometry"]


def _sample(t: NodeTree, geometry: Any, value: Any, row: Any, kind: str) -> Any:
    inputs = {"Geometry": geometry, "Value": value, "Index": row}
    return t.node("GeometryNodeSampleIndex", inputs, data_type=kind, domain="POINT").outputs[0]


def _sample_frame(t: NodeTree, geometry: Any, position: Any) -> tuple[Any, Any, Any]:
    """Origin and the first two axes of the frame that a vertex belongs to, three by three."""
    index = t.node("GeometryNodeInputIndex").outputs[0]
    row = t.math("MULTIPLY", t.math("FLOOR", t.math("DIVIDE", t.math("ADD", index, 0.5), 3.0)), 3.0)
    places = [
        _sample(t, geometry, position, t.math("ADD", row, c + 0.25), "FLOAT_VECTOR")
        for c in range(3)
    ]
    return (
        places[0],
        t.vector("SUBTRACT", places[1], places[0]),
        t.vector("SUBTRACT", places[2], places[0]),
    )
