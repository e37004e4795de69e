# SPDX-License-Identifier: GPL-3.0-or-later
"""Node trees by code: nodes with their settings and inputs in one call."""

from collections.abc import Mapping
from typing import Any, cast

import bpy

_OUTPUT = "NodeGroupOutput"


class NodeTree:
    """Makes nodes with their settings and inputs in one call: an input is a value or the output
    socket that feeds it."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(self, kind: str, inputs: Mapping[Any, Any] | None = None, **settings: Any) -> Any:
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        for name, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[name])
            else:
                cast(Any, node.inputs[name]).default_value = value
        return node

    def math(self, operation: str, *values: "bpy.types.NodeSocket | float") -> bpy.types.NodeSocket:
        return self.node("ShaderNodeMath", dict(enumerate(values)), operation=operation).outputs[0]

    def vector(
        self, operation: str, *values: "bpy.types.NodeSocket | float"
    ) -> bpy.types.NodeSocket:
        output = "Value" if operation in ("DOT_PRODUCT", "LENGTH") else "Vector"
        return self.node(
            "ShaderNodeVectorMath", dict(enumerate(values)), operation=operation
        ).outputs[output]

    def attribute(self, name: str, kind: str) -> bpy.types.NodeSocket:
        """A named attribute as a field of Geometry Nodes."""
        return self.node("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=kind).outputs[
            "Attribute"
        ]

    def carry_points(self, geometry: Any, position: Any, rotation: Any) -> Any:
        """The geometry with its points at ``position`` and ``rotation`` as their attribute of that
        name. Captured together, so that what both come from is evaluated once and not once per
        use."""
        capture = self.node("GeometryNodeCaptureAttribute", {"Geometry": geometry}, domain="POINT")
        fields = ("VECTOR", "Position", position), ("ROTATION", "Rotation", rotation)
        for kind, name, value in fields:
            capture.capture_items.new(kind, name)
            self.tree.links.new(value, capture.inputs[name])
        posed = self.node(
            "GeometryNodeSetPosition",
            {"Geometry": capture.outputs["Geometry"], "Position": capture.outputs["Position"]},
        ).outputs[0]
        return self.node(
            "GeometryNodeStoreNamedAttribute",
            {"Geometry": posed, "Name": "rotation", "Value": capture.outputs["Rotation"]},
            data_type="QUATERNION",
            domain="POINT",
        ).outputs[0]

    def remove_unused(self) -> None:
        """Takes nodes away that nothing reads."""
        while True:
            read = {link.from_node for link in self.tree.links}
            idle = [n for n in self.tree.nodes if n not in read and n.bl_idname != _OUTPUT]
            if not idle:
                return
            for node in idle:
                self.tree.nodes.remove(node)

    def arrange(self) -> None:
        """Columns by distance from the output, so that a person who opens the tree can read it."""
        depth: dict[bpy.types.Node | None, int] = {}
        links = [(link.from_node, link.to_node) for link in self.tree.links]
        level = {n for n in self.tree.nodes if not any(a == n for a, _ in links)}
        column = 0
        while level:
            depth |= dict.fromkeys(level, column)
            level, column = {a for a, b in links if b in level}, column + 1
        rows: dict[int, int] = {}
        for node in self.tree.nodes:
            x = depth[node]
            node.location = (-220 * x, -170 * rows.setdefault(x, 0))
            rows[x] += 1


def add_group(name: str, inputs: list[tuple[str, str]]) -> tuple[NodeTree, bpy.types.Node]:
    """A Geometry Nodes group with a geometry going in and out and further inputs; returns it and
    its input node."""
    tree: Any = bpy.data.node_groups.new(name, "GeometryNodeTree")
    for socket, kind in [("Geometry", "NodeSocketGeometry"), *inputs]:
        tree.interface.new_socket(socket, in_out="INPUT", socket_type=kind)
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    tree.is_modifier = True
    return NodeTree(tree), tree.nodes.new("NodeGroupInput")


def add_modifier(
    obj: bpy.types.Object, name: str, tree: bpy.types.NodeTree
) -> bpy.types.NodesModifier:
    """A Geometry Nodes modifier with a group."""
    modifier = cast(bpy.types.NodesModifier, obj.modifiers.new(name, "NODES"))
    modifier.node_group = cast(bpy.types.GeometryNodeTree, tree)
    return modifier


def mark_asset(tree: bpy.types.NodeTree, description: str) -> None:
    """Lets a group be found in the Asset Browser, to be used beside puppets: the first of its kind
    in the file, and only as long as it is used."""
    others = (t.asset_data for t in bpy.data.node_groups if t.asset_data is not None)
    if any(about.description == description for about in others):
        return
    tree.asset_mark()
    tree.use_fake_user = False
    about = tree.asset_data
    if about is not None:
        about.description, about.author = description, "Restage4D"
        about.tags.new("Gaussian splats", skip_if_exists=True)
