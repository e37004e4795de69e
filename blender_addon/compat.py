# SPDX-License-Identifier: GPL-3.0-or-later
"""The one module that knows how Blender's versions differ (4.5, 5.0, 5.2); everything else is the
same on all of them."""

from typing import Any, cast

import bpy

EEVEE = "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"

# Blender 5.3's splats want a plain 4-vector, which 5.1 brought; before that four floats are only
# had as a colour.
_DATA_TYPE: Any = bpy.types.Attribute.bl_rna.properties["data_type"]
_ATTRIBUTE_TYPES = {item.identifier for item in _DATA_TYPE.enum_items}
FLOAT4, FLOAT4_FIELD = (
    ("FLOAT4", "vector") if "FLOAT4" in _ATTRIBUTE_TYPES else ("FLOAT_COLOR", "color")
)


def new_fcurve(channelbag: Any, data_path: str, index: int, group: str) -> Any:
    """A new F-curve in a named group; `Action.fcurves` is gone in 5.0 and `group_name` is missing
    in 4.5."""
    if bpy.app.version >= (5, 0, 0):
        return channelbag.fcurves.new(data_path, index=index, group_name=group)
    fcurve = channelbag.fcurves.new(data_path, index=index)
    fcurve.group = channelbag.groups.get(group) or channelbag.groups.new(group)
    return fcurve


def set_input(modifier: Any, name: str, value: Any) -> None:
    """Sets a Geometry Nodes modifier's input by its name in the panel; ``value`` of a menu is the
    item's name."""
    tree = modifier.node_group
    socket = next(
        s
        for s in tree.interface.items_tree
        if s.item_type == "SOCKET" and s.in_out == "INPUT" and s.name == name
    )
    if hasattr(modifier, "properties"):  # 5.1 and later
        getattr(modifier.properties.inputs, socket.identifier).value = value
    else:
        if (
            socket.socket_type == "NodeSocketMenu"
        ):  # kept as the item's number, which only the Menu Switch's sockets tell
            switch = next(
                link.to_node
                for link in tree.links
                if link.from_socket.identifier == socket.identifier
            )
            value = int(switch.inputs[value].identifier.removeprefix("Item_"))
        modifier[socket.identifier] = value
    modifier.id_data.update_tag()  # neither way tells the dependency graph


def get_strips(editor: Any) -> Any:
    """The strips of a sequencer; they were called sequences before 4.4."""
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def set_movie_output(render: Any) -> None:
    """An MP4 with H.264; 5.0 has media types above file formats."""
    if hasattr(render.image_settings, "media_type"):
        render.image_settings.media_type = "VIDEO"
    render.image_settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
    render.ffmpeg.constant_rate_factor = "HIGH"
    render.ffmpeg.gopsize = 12


def get_input(modifier: Any, name: str) -> Any:
    """A Geometry Nodes modifier's input by its name in the panel; not for menus."""
    socket = next(
        s
        for s in modifier.node_group.interface.items_tree
        if s.item_type == "SOCKET" and s.in_out == "INPUT" and s.name == name
    )
    if hasattr(modifier, "properties"):  # 5.1 and later
        return getattr(modifier.properties.inputs, socket.identifier).value
    return modifier[socket.identifier]


def is_bone_selected(posed: Any) -> bool:
    """Whether a pose bone is selected; 5.0 moved this from the bone to the pose bone."""
    return (posed if bpy.app.version >= (5, 0, 0) else posed.bone).select


def select_bone(posed: Any, chosen: bool) -> None:
    (posed if bpy.app.version >= (5, 0, 0) else posed.bone).select = chosen


def show_bone(posed: Any) -> None:
    """Takes a pose bone out of hiding."""
    posed.bone.hide = False
    if bpy.app.version >= (5, 0, 0):
        posed.hide = False


def material_tree(material: bpy.types.Material) -> bpy.types.NodeTree:
    """The emptied node tree of a material; materials without one ended with 5.0."""
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = cast(bpy.types.NodeTree, material.node_tree)
    tree.nodes.clear()
    return tree
