# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender's own exporters see of a puppet."""

import bpy

from ..attributes import COLOR
from .copying import PointsCopy
from .node_tree import add_group

_KEPT = (("opacity", "FLOAT"), (COLOR, "FLOAT_COLOR"))  # beside positions, rotations and sizes


def make_cache(*, points: bool, local: bool) -> bpy.types.NodeTree:
    """The points of "Subject" and "Background", in the world or each in its own space.

    As a mesh of vertices (Alembic, which takes positions alone) or as a point cloud (USD) with
    ``rotation``, ``scale``, ``opacity`` and colour.
    """
    t, group = add_group(
        "Restage4D Cache", [("Subject", "NodeSocketObject"), ("Background", "NodeSocketObject")]
    )
    space = "ORIGINAL" if local else "RELATIVE"
    join = t.node("GeometryNodeJoinGeometry")
    for name in ("Background", "Subject"):  # the last one joined comes first
        info = t.node(
            "GeometryNodeObjectInfo", {"Object": group.outputs[name]}, transform_space=space
        )
        rotation, scale = (
            t.attribute("rotation", "QUATERNION"),
            t.attribute("scale", "FLOAT_VECTOR"),
        )
        if not local:
            rotation = t.node(
                "FunctionNodeRotateRotation",
                {"Rotation": rotation, "Rotate By": info.outputs["Rotation"]},
                rotation_space="GLOBAL",
            ).outputs[0]
            scale = t.vector("MULTIPLY", scale, info.outputs["Scale"])
        axes = t.node("ShaderNodeSeparateXYZ", {0: scale})
        volume = t.math("MULTIPLY", axes.outputs[0], axes.outputs[1])
        radius = t.math("POWER", t.math("MULTIPLY", volume, axes.outputs[2]), 1 / 3)
        copy = PointsCopy(t, info.outputs["Geometry"], radius if points else 0.0)
        if points:
            copy.store("rotation", "QUATERNION", rotation)
            copy.store("scale", "FLOAT_VECTOR", scale)
            for attribute, kind in _KEPT:
                copy.store(attribute, kind)
        t.tree.links.new(copy.geometry, join.inputs["Geometry"])
    out = join.outputs[0]
    if not points:
        out = t.node("GeometryNodePointsToVertices", {"Points": out}).outputs[0]
    t.node("NodeGroupOutput", {"Geometry": out})
    t.arrange()
    return t.tree
