# SPDX-License-Identifier: GPL-3.0-or-later
"""*Drag the Puppet* in the toolbar of the 3D view, its shortcut, and what shows while it is chosen:
the hand about the cursor and the pins, beside the gizmos."""

from typing import Any, cast

import bpy
import gpu
import numpy as np
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Vector

from ... import failures
from ...languages import CONTEXT
from ...puppet import attributes, importer
from ...puppet.posing import hand, pins
from . import gizmos

TOOL = gizmos.TOOL
_HAND, _REACH, _PIN = (1.0, 1.0, 1.0, 0.9), (1.0, 1.0, 1.0, 0.35), (1.0, 0.55, 0.1, 1.0)
_keymaps: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []
_handles: list[object] = []
_nearest: dict[str, Any] = {}  # of `_find_pins`


def _draw_settings(
    context: bpy.types.Context, layout: bpy.types.UILayout, tool: bpy.types.WorkSpaceTool
) -> None:
    drag = tool.operator_properties("restage4d.drag")
    for name in ("reach", "size", "frames", "set_keys"):
        layout.prop(drag, name)
    pin = tool.operator_properties("restage4d.pin")
    layout.prop(pin, "size", text="Pin", text_ctxt=CONTEXT)
    layout.operator("restage4d.clear_pins", text="", icon="X")


def _draw_cursor(
    context: bpy.types.Context, tool: bpy.types.WorkSpaceTool, xy: tuple[int, int]
) -> None:
    """The hand and the reach, as large as they are where the puppet is. Never raises."""
    try:
        scale = _find_scale(context)
        drag: Any = tool.operator_properties("restage4d.drag")
        if scale > 0:
            draw_circle(xy, drag.size * scale, _HAND)
            if gizmos.find_hand(context) is None:  # else the reach is about the hand
                draw_circle(xy, drag.reach * scale, _REACH)
        failures.works_again("the hand")
    except Exception as error:
        failures.tell_once("the hand", "Drawing the hand", error)
    finally:
        gpu.state.blend_set("NONE")


def _find_scale(context: bpy.types.Context) -> float:
    """How many pixels of the view the puppet's size is; 0 where there is no puppet."""
    imported = importer.find_selected_puppet(context)
    if imported is None or context.region is None or context.region_data is None:
        return 0.0
    corners = np.array(imported.points.bound_box)
    extent = float(np.linalg.norm(np.ptp(corners, axis=0)))
    bones = imported.armature.pose.bones
    places = np.array([b.head[:] for b in bones]) if len(bones) else corners
    middle = imported.armature.matrix_world @ Vector(np.median(places, axis=0).tolist())
    extent *= imported.points.matrix_world.median_scale
    return gizmos.measure_pixels(context.region, context.region_data, middle, extent)[1]


def _draw_pins() -> None:
    """The draw handler of the pins, while the tool is chosen. Never raises."""
    context = bpy.context
    try:
        if gizmos.find_tool(context) is None:
            return
        region, rv3d = context.region, context.region_data
        for imported in importer.find_puppets(context.scene):
            if region is None or rv3d is None or pins.KEY not in imported.armature:
                continue
            for place in _find_pins(context, imported):
                at = view3d_utils.location_3d_to_region_2d(region, rv3d, place)
                if at is not None:
                    for radius in (4.0, 7.0):
                        draw_circle((round(at.x), round(at.y)), radius, _PIN)
        failures.works_again("pins")
    except Exception as error:
        failures.tell_once("pins", "Drawing the pins", error)
    finally:
        gpu.state.blend_set("NONE")


def _find_pins(context: bpy.types.Context, imported: importer.ImportedPuppet) -> list[Vector]:
    """Where the pins are in the world: at the splats nearest to their middles."""
    points = imported.points
    evaluated = points.evaluated_get(context.evaluated_depsgraph_get())
    shown = attributes.get_mesh(evaluated).vertices
    key = (points.name_full, len(shown), *pins.read_pins(imported.armature).ravel().tolist())
    if _nearest.get("key") != key:  # the search reads all points, and a view is drawn often
        rows = pins.find_nearest(imported.armature, hand.read_rest(imported))
        _nearest.update(key=key, rows=rows)
    return [points.matrix_world @ shown[i].co for i in _nearest["rows"] if i < len(shown)]


def draw_circle(at: tuple[int, int], radius: float, color: tuple[float, ...]) -> None:
    """A circle about a place of a region, in its pixels."""
    angle = np.linspace(0, 2 * np.pi, 49)
    places = np.stack([np.cos(angle), np.sin(angle)], 1) * radius + at
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    shader.bind()
    shader.uniform_float("color", color)
    batch_for_shader(shader, "LINE_STRIP", {"pos": places.astype(np.float32).tolist()}).draw(shader)


class _Dragging(bpy.types.WorkSpaceTool):
    bl_space_type = "VIEW_3D"
    bl_idname = TOOL
    bl_label = "Drag the Puppet"
    bl_description = (
        "Press on a splat and pull: the body follows as rigidly as it can.\n"
        "Wheel while pulling: how far along the body. Ctrl click: pin or unpin a place"
    )
    bl_icon = "ops.pose.push"
    bl_cursor = "SCROLL_XY"
    bl_widget = gizmos.RESTAGE4D_GGT_drag.bl_idname
    bl_keymap = (
        ("restage4d.drag", {"type": "LEFTMOUSE", "value": "PRESS"}, None),
        ("restage4d.pin", {"type": "LEFTMOUSE", "value": "PRESS", "ctrl": True}, None),
    )
    draw_settings = staticmethod(_draw_settings)
    draw_cursor = staticmethod(_draw_cursor)


class RESTAGE4D_WT_drag_object(_Dragging):
    bl_context_mode = "OBJECT"


class RESTAGE4D_WT_drag_pose(_Dragging):
    bl_context_mode = "POSE"


TOOLS = (RESTAGE4D_WT_drag_object, RESTAGE4D_WT_drag_pose)


def register() -> None:
    for tool in TOOLS:
        bpy.utils.register_tool(tool, separator=tool is TOOLS[0])
    keys = bpy.context.window_manager.keyconfigs.addon
    if keys is not None:  # there are none without a window
        for name in ("Object Mode", "Pose"):
            keymap = keys.keymaps.new(name, space_type="EMPTY")
            item = keymap.keymap_items.new("wm.tool_set_by_id", "D", "PRESS", shift=True, alt=True)
            cast(Any, item.properties).name = TOOL
            _keymaps.append((keymap, item))
    if not bpy.app.background:
        add = bpy.types.SpaceView3D.draw_handler_add
        _handles.append(add(_draw_pins, (), "WINDOW", "POST_PIXEL"))


def unregister() -> None:
    while _handles:
        bpy.types.SpaceView3D.draw_handler_remove(_handles.pop(), "WINDOW")
    while _keymaps:
        keymap, item = _keymaps.pop()
        keymap.keymap_items.remove(item)
    for tool in reversed(TOOLS):
        bpy.utils.unregister_tool(tool)
