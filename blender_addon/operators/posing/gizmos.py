# SPDX-License-Identifier: GPL-3.0-or-later
"""Gizmos of *Drag the Puppet*: a handle at the splat that was pressed last, which pulls it on, and
two circles about it, which set the hand's radius and the reach.

They belong to the tool (its ``bl_widget``), so they show and go with it.
"""

import math
from dataclasses import dataclass
from typing import Any

import bpy
import gpu
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Matrix, Vector

from ... import failures
from ...languages import translate
from ...puppet import attributes, importer

TOOL = "restage4d.drag_tool"
RINGS = "size", "reach"  # properties of the tool's operator, in shares of the body's size
_WITHIN = 6.0  # pixels from a ring at which it is pressed
_COLORS = {"size": (1.0, 1.0, 1.0), "reach": (0.35, 0.75, 1.0)}
_HOVER = (1.0, 0.85, 0.2)


@dataclass(frozen=True)
class Hand:
    """What was pressed last.

    Attributes:
        armature: name of the puppet's armature.
        point: row of the splat.
        count: of the splats there were; with others, the row may be another splat's.
        extent: the body's size at rest, in the armature's own units.
    """

    armature: str
    point: int
    count: int
    extent: float


_hands: list[Hand] = []  # one at most


def put_hand(imported: importer.ImportedPuppet, point: int, extent: float) -> None:
    """Remembers a splat as the one in the hand."""
    count = len(attributes.get_mesh(imported.points).vertices)
    _hands[:] = [Hand(imported.armature.name, point, count, extent)]


def find_hand(context: bpy.types.Context) -> tuple[Hand, Vector, float] | None:
    """The hand, where its splat is posed to, and the body's size, both in the world; None where it
    has none, or that puppet has other splats by now."""
    obj = context.scene.objects.get(_hands[0].armature) if _hands and context.scene else None
    if obj is None or importer.KEY not in obj:
        return None
    hand, points = _hands[0], importer.recall(obj).points
    shown = attributes.get_mesh(points.evaluated_get(context.evaluated_depsgraph_get())).vertices
    if len(attributes.get_mesh(points).vertices) != hand.count or hand.point >= len(shown):
        return None
    scale = points.matrix_world.median_scale
    return hand, points.matrix_world @ shown[hand.point].co, hand.extent * scale


def find_tool(context: bpy.types.Context) -> bpy.types.WorkSpaceTool | None:
    """The tool *Drag the Puppet*, where it is the chosen one."""
    mode: Any = context.mode
    if mode not in {"OBJECT", "POSE"} or context.workspace is None:
        return None
    tool = context.workspace.tools.from_space_view3d_mode(mode, create=False)
    return tool if tool is not None and tool.idname == TOOL else None


def read_share(name: str) -> float:
    """Radius of a ring: a property of the tool, as the bar above the view shows it."""
    tool = find_tool(bpy.context)
    return getattr(tool.operator_properties("restage4d.drag"), name) if tool is not None else 0.0


def write_share(name: str, value: float) -> None:
    """Sets the tool's property, within its range; without the tool nothing."""
    tool = find_tool(bpy.context)
    if tool is not None:
        drag = tool.operator_properties("restage4d.drag")
        known: Any = drag.bl_rna.properties[name]
        setattr(drag, name, min(max(value, known.hard_min), min(known.hard_max, 4.0)))


def measure_pixels(region: Any, rv3d: Any, where: Vector, length: float) -> tuple[Vector, float]:
    """Where a place of the world is in a view's region, and how many pixels a length across the
    view is there; (0, 0) and 0 behind the viewer."""
    across = rv3d.view_matrix.inverted().to_3x3() @ Vector((length, 0.0, 0.0))
    ends = [
        view3d_utils.location_3d_to_region_2d(region, rv3d, place)
        for place in (where, where + across)
    ]
    if ends[0] is None or ends[1] is None:
        return Vector((0.0, 0.0)), 0.0
    return ends[0], (ends[1] - ends[0]).length


def make_circle(rv3d: Any, where: Vector, radius: float) -> list[Vector]:
    """A closed circle about a place of the world, towards the viewer."""
    turn = rv3d.view_rotation.to_matrix()
    angles = [2 * math.pi * i / 64 for i in range(65)]
    return [where + radius * (turn @ Vector((math.cos(a), math.sin(a), 0.0))) for a in angles]


class RESTAGE4D_GT_ring(bpy.types.Gizmo):
    """A circle about the hand that faces the view; pulled, it gets larger or smaller."""

    bl_idname = "RESTAGE4D_GT_ring"
    __slots__ = ("before", "extent", "name", "where")

    def setup(self) -> None:
        self.where, self.extent, self.name, self.before = Vector(), 0.0, "reach", (0.0, 0.0)

    def draw(self, context: bpy.types.Context) -> None:
        radius = read_share(self.name) * self.extent
        circle: Any = make_circle(context.region_data, self.where, radius)
        places = [tuple(place) for place in circle]
        shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
        hot = self.is_highlight or self.is_modal
        color = self.color_highlight if hot else self.color
        gpu.state.blend_set("ALPHA")
        shader.bind()
        viewport: Any = gpu.state.viewport_get()
        shader.uniform_float("viewportSize", viewport[2:])
        shader.uniform_float("lineWidth", self.line_width)
        shader.uniform_float("color", (*color, self.alpha_highlight if hot else self.alpha))
        batch_for_shader(shader, "LINE_STRIP", {"pos": places}).draw(shader)
        gpu.state.blend_set("NONE")

    def test_select(self, context: bpy.types.Context, location: Any) -> int:
        """0, its only part, where the mouse is on the circle, else -1."""
        place, pixels = self._measure(context)
        far = (Vector(location) - place).length
        on = pixels > 0 and abs(far - read_share(self.name) * pixels) <= _WITHIN
        return 0 if on else -1

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.before = read_share(self.name), self._find_share(context, event)
        return {"RUNNING_MODAL"}

    def modal(
        self, context: bpy.types.Context, event: bpy.types.Event, tweak: set[str]
    ) -> set[str]:
        first, pressed = self.before
        change = self._find_share(context, event) - pressed
        value = first + (0.1 * change if "PRECISE" in tweak else change)
        write_share(self.name, round(value, 2) if "SNAP" in tweak else value)
        words = {"size": translate("Hand"), "reach": translate("Reach")}[self.name]
        context.area.header_text_set(f"{words}: {read_share(self.name):.3f}")
        context.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def exit(self, context: bpy.types.Context, cancel: bool) -> None:
        if cancel:
            write_share(self.name, self.before[0])
        context.area.header_text_set(None)

    def _measure(self, context: bpy.types.Context) -> tuple[Vector, float]:
        return measure_pixels(context.region, context.region_data, self.where, self.extent)

    def _find_share(self, context: bpy.types.Context, event: bpy.types.Event) -> float:
        """How far the mouse is from the hand, in shares of the body's size."""
        place, pixels = self._measure(context)
        at = Vector((event.mouse_region_x, event.mouse_region_y))
        return (at - place).length / pixels if pixels > 0 else 0.0


class RESTAGE4D_GGT_drag(bpy.types.GizmoGroup):
    """The handle and its two rings."""

    bl_idname = "RESTAGE4D_GGT_drag"
    bl_label = "Drag the Puppet"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"3D", "SHOW_MODAL_ALL"}  # noqa: RUF012

    def setup(self, context: bpy.types.Context) -> None:
        for name in RINGS:
            ring: Any = self.gizmos.new(RESTAGE4D_GT_ring.bl_idname)
            ring.name = name
            _paint(ring, _COLORS[name], 2.0)
        handle: Any = self.gizmos.new("GIZMO_GT_move_3d")
        handle.draw_style, handle.draw_options = "RING_2D", {"FILL", "ALIGN_VIEW"}
        handle.scale_basis = 0.12
        handle.use_operator_tool_properties = True
        handle.use_grab_cursor = False
        _paint(handle, (1.0, 1.0, 1.0), 1.0)

    def draw_prepare(self, context: bpy.types.Context) -> None:
        """Before each drawing: where the hand is by now. Never raises."""
        found = None
        try:
            if find_tool(context) is not None and context.region_data is not None:
                found = find_hand(context)
            failures.works_again("the gizmos")
        except Exception as error:
            failures.tell_once("the gizmos", "Drawing the gizmos", error)
        for gizmo in self.gizmos:
            gizmo.hide = found is None
        if found is None:
            return
        hand, where, extent = found
        gizmos: list[Any] = list(self.gizmos)
        *rings, handle = gizmos
        for ring in rings:
            ring.where, ring.extent = where, extent
        handle.matrix_basis = Matrix.Translation(where)
        drag = handle.target_set_operator("restage4d.drag")
        drag.armature, drag.point = hand.armature, hand.point


def _paint(gizmo: Any, color: tuple[float, float, float], width: float) -> None:
    gizmo.color, gizmo.alpha = color, 0.7
    gizmo.color_highlight, gizmo.alpha_highlight = _HOVER, 1.0
    gizmo.line_width = width
    gizmo.use_draw_modal = True


CLASSES = (RESTAGE4D_GT_ring, RESTAGE4D_GGT_drag)
