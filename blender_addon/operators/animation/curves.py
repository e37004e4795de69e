# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on the curves of the performance that plays: ``restage4d.simplify_curves``
(tolerance), ``restore_capture``, ``spread_pose`` (reach), ``smooth_curves`` (first, last, frames).
"""

from collections.abc import Set
from typing import cast

import bpy

from restage4d.errors import InputError

from ... import compat
from ...languages import say
from ...puppet import actions, importer
from ...puppet.animation import curves, simplify
from ...puppet.playback import nla
from ...session.steps import Steps
from .. import stepped
from .layers import OnShown, get_shown


class RESTAGE4D_OT_simplify_curves(stepped.OnPuppet, bpy.types.Operator):
    """Replace the key per frame by few smooth keys that one can edit, so that no point moves by
    more than the error. The capture is kept and can be restored"""

    bl_idname = "restage4d.simplify_curves"
    bl_label = "Simplify"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; the keys are as they were"
    tolerance: bpy.props.FloatProperty(
        name="Error",
        description="How far any point may be from where it was, in mm of the scene (a unit is a "
        "metre)",
        default=2.0,
        min=0.05,
        soft_max=20.0,
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        imported = importer.find_selected_puppet(context)
        if imported is not None and nla.find_playing(imported) is None:
            cls.poll_message_set(say("Click a performance first, so that it plays"))
            return False
        return True

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        shown, scene = get_shown(imported), cast(bpy.types.Scene, context.scene)
        made = yield from simplify.simplify_steps(imported, scene, shown, self.tolerance)
        self.done = (
            f"{made.before} keys became {made.after}; no point is off by more than {made.mm:.2g} "
            f"mm, {made.pixels:.2g} pixels of the shot"
        )


class RESTAGE4D_OT_restore_capture(OnShown):
    """Bring back the keys that the performance had before it was simplified, smoothed or spread"""

    bl_idname = "restage4d.restore_capture"
    bl_label = "Restore the Capture"

    @classmethod
    def lacks(cls, imported: importer.ImportedPuppet, shown: importer.ImportedPerformance) -> str:
        return "" if curves.has_capture(shown.action) else "Its keys are as they were captured"

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown = get_shown(imported)
        count = curves.restore_capture(shown.action)
        importer.play(imported, shown)  # what has no keys any more goes to rest
        _show_now(context)
        return f"{shown.name!r} has its {count} captured curves again"


class RESTAGE4D_OT_spread_pose(OnShown):
    """Write what you moved in this frame into the performance's own keys, fading out over the
    frames around it"""

    bl_idname = "restage4d.spread_pose"
    bl_label = "Apply with Falloff"
    reach: bpy.props.IntProperty(
        name="Falloff", description="Frames before and after that go along", default=6, min=0
    )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown, scene = get_shown(imported), cast(bpy.types.Scene, context.scene)
        count = curves.spread_pose(imported, scene, shown, self.reach)
        frame = scene.frame_current
        return f"{count} bones moved at frames {frame - self.reach} to {frame + self.reach}"


class RESTAGE4D_OT_smooth_curves(OnShown):
    """Smooth the performance's keys in a range of frames: of the selected bones, else of all"""

    bl_idname = "restage4d.smooth_curves"
    bl_label = "Smooth a Range"
    first: bpy.props.IntProperty(name="First", default=1)
    last: bpy.props.IntProperty(name="Last", default=250)
    frames: bpy.props.FloatProperty(
        name="Strength", description="Frames over which it is smoothed", default=2.0, min=0.2
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        imported, scene = importer.find_selected_puppet(context), context.scene
        shown = nla.find_playing(imported) if imported is not None else None
        if shown is not None and scene is not None:
            last = actions.FIRST_FRAME + shown.n_frames - 1
            self.first = max(actions.FIRST_FRAME, scene.frame_current - 8)
            self.last = min(last, scene.frame_current + 8)
        return context.window_manager.invoke_props_dialog(self)

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        if self.last - self.first < 2:
            raise InputError(
                "There is no frame between the first and the last.", "Widen the range."
            )
        shown = get_shown(imported)
        posed = imported.armature.pose.bones
        chosen = [b.name for b in posed if compat.is_bone_selected(b)]
        bones = chosen if context.mode == "POSE" and chosen else None
        count = curves.smooth_range(
            shown.action, bones, self.first, self.last, self.frames, shown.n_frames
        )
        if not count:
            raise InputError("The selected bones have no keys.", "Select others, or none.")
        _show_now(context)
        return f"{count} curves smoothed between frames {self.first} and {self.last}"


def _show_now(context: bpy.types.Context) -> None:
    scene = cast(bpy.types.Scene, context.scene)
    scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)


CLASSES = (
    RESTAGE4D_OT_simplify_curves,
    RESTAGE4D_OT_restore_capture,
    RESTAGE4D_OT_spread_pose,
    RESTAGE4D_OT_smooth_curves,
)
