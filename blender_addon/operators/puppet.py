# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on a puppet in the scene, for a panel to place.

``restage4d.play_performance`` (name), ``restage4d.use_shot_settings``,
``restage4d.blend_performances`` (first, second, start, frames), ``restage4d.pick_bones`` (click on
the puppet), ``restage4d.select_bones`` (of the selected points), ``restage4d.select_points`` (of
the selected bones), ``restage4d.apply_weights`` and ``restage4d.write_weights`` (vertex groups to
the rig and back).
"""

from collections.abc import Set
from typing import Any, cast

import bpy

from restage4d.errors import InputError

from .. import failures
from ..languages import say
from ..puppet import actions, attributes, importer, rig, shot_settings, weights
from ..puppet.playback import nla
from ..session.steps import Steps
from . import in_view, stepped


class OnPuppet(bpy.types.Operator):
    """Of one step on the selected puppet; these define ``work(context, imported)``, which returns
    what to tell the artist."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    level = "INFO"  # of what `work` returns: the status bar shows only the last report

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        imported = importer.find_selected_puppet(context)
        if imported is None:
            cls.poll_message_set(say("Select a part of one puppet, such as its armature"))
            return False
        why = cls.missing(context, imported)
        if why:
            cls.poll_message_set(say(why))
        return not why

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        """What is missing before it can run; empty for nothing."""
        return ""

    def execute(self: Any, context: bpy.types.Context) -> set[str]:
        try:
            imported = importer.find_selected_puppet(context)
            assert imported is not None  # poll
            said = self.work(context, imported)
            self.report({self.level}, say(said))
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        return {"FINISHED"}


_items: list[tuple[str, str, str]] = []  # Blender does not keep the strings of a callback alive


def list_performances(self: Any, context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    """The selected puppet's, as the items of an enum."""
    imported = importer.find_selected_puppet(context) if context else None
    _items[:] = (
        [(p.name, p.name, p.prompt) for p in imported.performances]
        if imported
        else [("", "None", "")]
    )
    return _items


class RESTAGE4D_OT_play_performance(OnPuppet):
    """Play a performance on bones and camera, with its footage; bones moved without a key go to
    rest. The scene's settings stay"""

    bl_idname = "restage4d.play_performance"
    bl_label = "Play Performance"
    name: bpy.props.EnumProperty(name="Performance", items=list_performances)

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        loose = importer.describe_moved_bones(imported)
        importer.activate(imported, self.name, scene=None)
        last = actions.FIRST_FRAME + imported.performance(self.name).n_frames - 1
        shot_settings.follow_range(imported, cast(bpy.types.Scene, context.scene), last)
        return f"Playing {self.name!r}" + (f"; at rest again, having no key: {loose}" * bool(loose))


class RESTAGE4D_OT_use_shot_settings(OnPuppet):
    """Give the scene picture size, frame rate, range, camera and colours of the shot, for the
    performance that plays"""

    bl_idname = "restage4d.use_shot_settings"
    bl_label = "Use the Shot's Settings"

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown, scene = nla.find_shown(imported), cast(bpy.types.Scene, context.scene)
        if shown is None:
            return "The puppet has no performance any more"
        used = shot_settings.are_used(imported, shown, scene)
        return "The scene has the shot's settings" if used else ""

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown = nla.find_shown(imported)
        assert shown is not None  # poll
        shot_settings.use(imported, shown, cast(bpy.types.Scene, context.scene))
        return f"The scene has the shot's settings, and the range of {shown.name!r}"


class RESTAGE4D_OT_blend_performances(OnPuppet):
    """Lay two performances into the NLA, so that the puppet goes over from one into the other"""

    bl_idname = "restage4d.blend_performances"
    bl_label = "Blend Performances"
    first: bpy.props.EnumProperty(name="From", items=list_performances)
    second: bpy.props.EnumProperty(name="To", items=list_performances)
    start: bpy.props.IntProperty(
        name="Start", description="Frame where the second begins to show", default=1
    )
    frames: bpy.props.IntProperty(
        name="Length", description="Frames until it has taken over", default=12, min=1
    )

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        return "" if len(imported.performances) > 1 else "The puppet has only one performance"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        imported = importer.find_selected_puppet(context)
        assert imported is not None  # poll
        self.first, self.second = imported.performances[0].name, imported.performances[-1].name
        self.start = context.scene.frame_current
        return context.window_manager.invoke_props_dialog(self)

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        if self.first == self.second:
            raise InputError("Both performances are the same.", "Choose two different ones.")
        last = nla.blend(imported, self.first, self.second, start=self.start, frames=self.frames)
        shot_settings.follow_range(imported, cast(bpy.types.Scene, context.scene), last)
        return (
            f"{self.first!r} goes over into {self.second!r} at frame {self.start}; change it in "
            "the NLA editor"
        )


class RESTAGE4D_OT_select_bones(OnPuppet):
    """Select the bones that move the selected points"""

    bl_idname = "restage4d.select_bones"
    bl_label = "Bones of Selected Points"
    handles: bpy.props.BoolProperty(
        name="Handles",
        description="Select the handles of the bones' regions instead of the bones themselves",
        default=False,
    )
    least: bpy.props.FloatProperty(
        name="Least",
        description="Bones with at least this share of the strongest one's influence",
        default=0.1,
        min=0,
        max=1,
    )

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        return (
            ""
            if imported.points.mode == "EDIT"
            else "Select points of the puppet in Edit Mode first"
        )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        chosen = weights.find_selected_points(imported.points)
        if not chosen.any():
            raise InputError("No point is selected.", "Select some in Edit Mode.")
        index, weight = attributes.read_influences(attributes.get_mesh(imported.points))
        k = len(rig.bone_names(imported.armature))
        share = weights.sum_shares(index[chosen], weight[chosen], k)
        return (
            f"{weights.select_bones(imported, share, self.least, handles=self.handles)} bases "
            f"move the {chosen.sum()} points"
        )


class RESTAGE4D_OT_select_points(OnPuppet):
    """Select, in Edit Mode, the points that the selected bones move"""

    bl_idname = "restage4d.select_points"
    bl_label = "Points of Selected Bones"
    least: bpy.props.FloatProperty(
        name="Least",
        description="Points that owe at least this much of their motion to the bones",
        default=0.5,
        min=0,
        max=1,
    )

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        return (
            ""
            if weights.find_selected_bones(imported.armature)
            else "Select bones of the puppet in Pose Mode first"
        )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        return f"{weights.select_points(imported, self.least)} points selected"


class ClickOnPuppet(in_view.InView):
    """Of tools that take one click on the selected puppet; these define ``take(context, event,
    imported, point)``, the point -1 where nothing is."""

    def invoke(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        if context.area is None or context.area.type != "VIEW_3D":
            self.report({"ERROR"}, say("This works in a 3D view."))
            return {"CANCELLED"}
        return self.open_in_view(context)

    def handle(
        self: Any, context: bpy.types.Context, event: bpy.types.Event, at: tuple[int, int] | None
    ) -> Set[str]:
        if event.type != "LEFTMOUSE" or event.value != "PRESS" or at is None:
            return {"RUNNING_MODAL"}
        imported = importer.find_selected_puppet(context)
        found = in_view.find_view(context.window, self.area)
        if imported is None or found is None:
            return {"CANCELLED"}
        area, region = found
        matrix = cast(bpy.types.SpaceView3D, area.spaces.active).region_3d.perspective_matrix
        size = region.width, region.height
        point = weights.pick(imported, context.evaluated_depsgraph_get(), at, matrix, size)
        return self.take(context, event, imported, point)


class RESTAGE4D_OT_pick_bones(ClickOnPuppet, OnPuppet):
    """Click on the puppet to select the control that moves that place; with Ctrl the bones of its
    bases, with Shift in addition"""

    bl_idname = "restage4d.pick_bones"
    bl_label = "Pick on the Puppet"
    cursor = "EYEDROPPER"
    text = "Click on the puppet   Ctrl: its bases   Shift: in addition   Esc: leave"

    def take(
        self,
        context: bpy.types.Context,
        event: bpy.types.Event,
        imported: importer.ImportedPuppet,
        point: int,
    ) -> Set[str]:
        if point < 0:
            self.report({"INFO"}, say("There is nothing of the puppet"))
            return {"CANCELLED"}
        if not event.ctrl and weights.select_control(imported, point, extend=event.shift):
            return {"FINISHED"}
        with attributes.reading_mesh(imported.points) as mesh:
            index, weight = attributes.read_influences(mesh)
        share = weights.sum_shares(
            index[point], weight[point], len(rig.bone_names(imported.armature))
        )
        weights.select_bones(
            imported, share, 0.25 if event.ctrl else 1.0, handles=not event.ctrl, extend=event.shift
        )
        return {"FINISHED"}


class RESTAGE4D_OT_apply_weights(stepped.OnPuppet, bpy.types.Operator):
    """Let the vertex groups, as they are now, move the points: of each point the eight largest,
    summing to one"""

    bl_idname = "restage4d.apply_weights"
    bl_label = "Apply Vertex Groups"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; the weights are as they were"

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        changed, cut = yield from weights.apply_groups_steps(imported)
        self.done = f"{changed} points have new weights" + (
            f"; {cut} kept the eight largest" if cut else ""
        )


class RESTAGE4D_OT_write_weights(stepped.OnPuppet, bpy.types.Operator):
    """Let the vertex groups say what moves the points now; changes that were not applied go"""

    bl_idname = "restage4d.write_weights"
    bl_label = "Weights to Vertex Groups"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; the vertex groups are as they were"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        imported = importer.find_selected_puppet(context)
        if imported is not None and imported.points.mode != "OBJECT":
            cls.poll_message_set(say("Leave Edit Mode first"))
            return False
        return True

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        yield from weights.write_groups_steps(imported)
        self.done = f"{len(rig.bone_names(imported.armature))} vertex groups written"


CLASSES = (
    RESTAGE4D_OT_play_performance,
    RESTAGE4D_OT_use_shot_settings,
    RESTAGE4D_OT_blend_performances,
    RESTAGE4D_OT_select_bones,
    RESTAGE4D_OT_select_points,
    RESTAGE4D_OT_pick_bones,
    RESTAGE4D_OT_apply_weights,
    RESTAGE4D_OT_write_weights,
)
