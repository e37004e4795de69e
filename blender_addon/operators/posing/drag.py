# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.drag``: press on a splat and pull, the body follows; ``restage4d.pin`` (click) and
``restage4d.clear_pins``: what holds meanwhile."""

from collections.abc import Set
from typing import Any, cast

import bpy
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Matrix, Vector

from restage4d.errors import InputError
from restage4d.posing import drag

from ... import failures
from ...languages import say, translate
from ...puppet import importer, weights
from ...puppet.posing import hand, pins
from ...skeleton import following
from .. import in_view
from . import gizmos

_WHEEL = {"WHEELUPMOUSE": 1.15, "WHEELDOWNMOUSE": 1 / 1.15}
_NOTHING = "There is nothing of a puppet under the mouse."


def pick(
    context: bpy.types.Context, area: bpy.types.Area, region: bpy.types.Region, at: tuple[int, int]
) -> tuple[importer.ImportedPuppet, int] | None:
    """The puppet and its point that one sees at a place of a 3D view: of the selected puppet where
    it is there, else of any."""
    rv3d = cast(bpy.types.SpaceView3D, area.spaces.active).region_3d
    depsgraph, size = context.evaluated_depsgraph_get(), (region.width, region.height)
    chosen = importer.find_selected_puppet(context)
    for imported in [chosen] if chosen else importer.find_puppets(context.scene):
        point = weights.pick(imported, depsgraph, at, rv3d.perspective_matrix, size)
        if point >= 0:
            return imported, point
    return None


class OnPuppetInView:
    """Of tools that need a puppet in the scene and a 3D view to be pressed in."""

    def pick_pressed(
        self: Any, context: bpy.types.Context, event: bpy.types.Event
    ) -> tuple[importer.ImportedPuppet, int, tuple[int, int]] | None:
        """What `pick` finds under the mouse, and where that is in the region; None, and said why,
        where there is nothing."""
        found = None
        if context.area is not None and context.area.type == "VIEW_3D":
            found = in_view.find_view(context.window, context.area.as_pointer())
        if found is None:
            self.report({"ERROR"}, say("This works in a 3D view."))
            return None
        area, region = found
        at = event.mouse_x - region.x, event.mouse_y - region.y
        if self.point >= 0:  # of a gizmo
            return self.find_armature(context), self.point, at
        picked = pick(context, area, region, at)
        if picked is None:
            self.report({"INFO"}, say(_NOTHING))
            return None
        return *picked, at

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        tell: Any = cls
        if not importer.find_puppets(context.scene):
            tell.poll_message_set(say("There is no puppet in this scene"))
        elif context.mode not in {"OBJECT", "POSE"}:
            tell.poll_message_set(say("Works in Object Mode and Pose Mode"))
        else:
            return True
        return False

    def find_armature(self: Any, context: bpy.types.Context) -> importer.ImportedPuppet:
        """The puppet that the operator's property names, else the selected one."""
        obj = context.scene.objects.get(self.armature)
        if obj is not None and importer.KEY in obj:
            return importer.recall(obj)
        imported = importer.find_selected_puppet(context)
        if imported is None:
            raise InputError("It is not clear which puppet.", "Select a part of one.")
        return imported


class RESTAGE4D_OT_drag(OnPuppetInView, in_view.InView, bpy.types.Operator):
    """Press on the puppet and pull: the body follows as rigidly as it can. Wheel: how far along the
    body; Ctrl click: pin or unpin what holds meanwhile"""

    bl_idname = "restage4d.drag"
    bl_label = "Drag the Puppet"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    cursor = "SCROLL_XY"
    text = "Pull   Wheel: reach   Let go: keep   Esc: leave it as it was"

    offset: bpy.props.FloatVectorProperty(
        name="Offset",
        description="From where it was, in the world",
        subtype="TRANSLATION",
        unit="LENGTH",
    )
    reach: bpy.props.FloatProperty(
        name="Reach",
        description=(
            "How far from the hand, along the body, it may bend; in shares of the body's size"
        ),
        default=0.35,
        min=0.02,
        soft_max=2.0,
        subtype="FACTOR",
    )
    size: bpy.props.FloatProperty(
        name="Hand",
        description="Radius of what is held by the hand, in shares of the body's size",
        default=0.03,
        min=0.001,
        soft_max=0.2,
        max=1.0,
        subtype="FACTOR",
    )
    frames: bpy.props.IntProperty(
        name="Frames",
        description="Frames before and after this one over which it comes and goes",
        default=6,
        min=0,
        soft_max=48,
    )
    set_keys: bpy.props.BoolProperty(
        name="Set Keys",
        description=(
            "Key what was moved. Off: only where Auto Keying is on, as with any pose; without a "
            "key it is gone at the next frame"
        ),
        default=True,
    )
    point: bpy.props.IntProperty(options={"HIDDEN", "SKIP_SAVE"}, default=-1)
    armature: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    pulled: drag.Drag | None = None
    hold: hand.Hold | None = None
    carried = Matrix()  # what the skeleton does to the place in the hand, above the bases
    missed = Vector()  # how much farther it must be pulled for that

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        try:
            picked = self.pick_pressed(context, event)
            if picked is None:
                return {"CANCELLED"}
            self.armature, self.point = picked[0].armature.name, picked[1]
            self.offset = (0.0, 0.0, 0.0)
            self._begin(picked[0])
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        assert self.hold is not None
        where = Vector(self.hold.body.pose()[self.point].tolist())
        self.pressed_at, self.hand_at = picked[2], self.carried @ where
        return self.open_in_view(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """As a script calls it and the redo panel: ``point`` by ``offset``."""
        try:
            imported = self.find_armature(context)
            self._begin(imported)
            self._pull(imported, steps=4)
            return self._finish(context, imported)
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        found = in_view.find_view(context.window, self.area)
        turned = event.type in _WHEEL and event.value == "PRESS" and not event.alt
        if found is not None and self.hold is not None and turned:
            try:
                self.reach = min(max(self.reach * _WHEEL[event.type], 0.02), 4.0)
                gizmos.write_share("reach", self.reach)
                imported = self.find_armature(context)
                self._grab(imported)
                self._pull(imported, steps=4)
                self._tell(context)
                found[0].tag_redraw()
            except Exception as error:
                self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
                self.abandon(context)
                return self._end(context, {"CANCELLED"})
            return {"RUNNING_MODAL"}
        return in_view.InView.modal(self, context, event)

    def handle(
        self, context: bpy.types.Context, event: bpy.types.Event, at: tuple[int, int] | None
    ) -> Set[str]:
        if self.hold is None:
            return {"RUNNING_MODAL"}
        imported = self.find_armature(context)
        if event.type == "MOUSEMOVE":
            self.offset = self._find_offset(context, imported, event)
            self._pull(imported)
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
            if np.linalg.norm(self.offset) == 0:
                return {"CANCELLED"}
            return self._finish(context, imported)
        return {"RUNNING_MODAL"}

    def abandon(self, context: bpy.types.Context) -> None:
        """The bones go back to what they were."""
        if self.hold is not None:
            hand.put_back(self.find_armature(context).armature, self.hold)

    def _begin(self, imported: importer.ImportedPuppet) -> None:
        if self.set_keys:
            hand.check_keyable(imported.armature)
        self.hold = hand.take_hold(imported)
        self._grab(imported)
        self.carried, self.missed = self._find_carrying(imported), Vector()

    def _grab(self, imported: importer.ImportedPuppet) -> None:
        assert self.hold is not None
        body = self.hold.body
        extent = float(np.linalg.norm(np.ptp(body.means, axis=0)))
        grip = drag.grab(body, self.point, size=self.size * extent, reach=self.reach * extent)
        self.pulled = drag.Drag(body, grip, pins.find_pinned(imported.armature, body.means))
        gizmos.put_hand(imported, self.point, extent)

    def _pull(self, imported: importer.ImportedPuppet, *, steps: int = 2) -> None:
        assert self.pulled is not None
        assert self.hold is not None
        into = imported.points.matrix_world.to_3x3().inverted_safe()
        offset = into @ Vector(self.offset)
        turned = self.carried.to_3x3().inverted_safe()
        bases = self.pulled.move(np.array(turned @ (offset + self.missed)), steps=steps)
        hand.pose_bones(imported.armature, self.hold, bases)
        if self.carried == Matrix():
            return
        for _ in range(steps):  # what the artist turned goes along with its joints
            bpy.context.view_layer.update()
            wanted = self.carried @ Vector(self.hold.body.pose()[self.point].tolist()) + offset
            place = Vector(self.hold.body.pose(bases)[self.point].tolist())
            self.missed += wanted - self._find_carrying(imported) @ place
            bases = self.pulled.move(np.array(turned @ (offset + self.missed)), steps=steps)
            hand.pose_bones(imported.armature, self.hold, bases)

    def _find_carrying(self, imported: importer.ImportedPuppet) -> Matrix:
        posed = imported.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        return Matrix(following.find_carrying(posed, imported.points, self.point).tolist())

    def _finish(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> set[str]:
        """Lets it come to rest, and keys it."""
        assert self.pulled is not None
        assert self.hold is not None
        scene = cast(bpy.types.Scene, context.scene)
        bases = self.pulled.settle()
        if self.set_keys or scene.tool_settings.use_keyframe_insert_auto:
            count = hand.key_motion(imported, scene, self.hold, bases, frames=self.frames)
            span = f" over {2 * self.frames + 1} frames" if self.frames else ""
            self.report({"INFO"}, say(f"{count} bones keyed{span}"))
        else:
            hand.pose_bones(imported.armature, self.hold, bases)
            self.report({"INFO"}, say("Moved without a key: it is gone at the next frame"))
        return {"FINISHED"}

    def _find_offset(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet, event: bpy.types.Event
    ) -> Vector:
        """How far the mouse went from the press, in the plane of the view through the hand."""
        found = in_view.find_view(context.window, self.area)
        assert found is not None
        assert self.hold is not None
        area, region = found
        rv3d: Any = cast(bpy.types.SpaceView3D, area.spaces.active).region_3d
        depth = imported.points.matrix_world @ self.hand_at
        at = event.mouse_x - region.x, event.mouse_y - region.y
        here, there = (
            view3d_utils.region_2d_to_location_3d(region, rv3d, place, depth)
            for place in (self.pressed_at, at)
        )
        return there - here

    def _tell(self, context: bpy.types.Context) -> None:
        if context.workspace is not None:
            reach = translate("Reach {reach:.2f}").format(reach=self.reach)
            context.workspace.status_text_set(f"{reach}   {translate(self.text)}")


class RESTAGE4D_OT_pin(OnPuppetInView, bpy.types.Operator):
    """Pin the place under the mouse, so that it holds while the puppet is dragged; again: unpin
    it"""

    bl_idname = "restage4d.pin"
    bl_label = "Pin or Unpin"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    size: bpy.props.FloatProperty(
        name="Size",
        description="Radius of what is pinned, in shares of the body's size",
        default=0.05,
        min=0.001,
        soft_max=0.3,
        max=1.0,
        subtype="FACTOR",
    )
    point: bpy.props.IntProperty(options={"HIDDEN", "SKIP_SAVE"}, default=-1)
    armature: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        picked = self.pick_pressed(context, event)
        if picked is None:
            return {"CANCELLED"}
        self.armature, self.point = picked[0].armature.name, picked[1]
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            imported = self.find_armature(context)
            means = hand.read_rest(imported)
            if not 0 <= self.point < len(means):
                raise InputError(_NOTHING, "Click on a splat.")
            extent = float(np.linalg.norm(np.ptp(means, axis=0)))
            held = pins.toggle_pin(imported.armature, means, self.point, self.size * extent)
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        imported.armature.update_tag()
        count = len(pins.find_pinned(imported.armature, means))
        self.report({"INFO"}, say(f"{'Pinned' if held else 'Unpinned'}; {count} points hold"))
        return {"FINISHED"}


class RESTAGE4D_OT_clear_pins(OnPuppetInView, bpy.types.Operator):
    """Let go of everything that was pinned"""

    bl_idname = "restage4d.clear_pins"
    bl_label = "Clear Pins"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        imported = importer.find_selected_puppet(context)
        if imported is None:
            cls.poll_message_set(say("Select a part of one puppet, such as its armature"))
        elif pins.KEY not in imported.armature:
            cls.poll_message_set(say("Nothing is pinned"))
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        imported = importer.find_selected_puppet(context)
        assert imported is not None  # poll
        count = pins.clear_pins(imported.armature)
        imported.armature.update_tag()
        self.report({"INFO"}, say(f"{count} pins taken away"))
        return {"FINISHED"}


CLASSES = (RESTAGE4D_OT_drag, RESTAGE4D_OT_pin, RESTAGE4D_OT_clear_pins)
