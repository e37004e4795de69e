# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on performances as clips. The list: ``restage4d.rename_performance`` (name),
``duplicate_performance``, ``delete_performance``, ``move_performance`` (by). New ones:
``sequence_performances`` (second, frames), ``loop_performance`` (times, frames),
``reverse_performance``, ``add_speed_curve``, ``retime_performance`` (speed), ``mix_performances``
(other), ``transfer_performance`` (source). All start from the performance that plays; those that
make one leave the others as they are.
"""

from collections.abc import Callable, Set
from typing import Any, cast

import bpy
import numpy as np

from restage4d.errors import InputError
from restage4d.puppet import Performance

from ... import compat
from ...puppet import actions, importer, rig, shot_settings
from ...puppet.animation import clips, performances, speed, transfer
from ...puppet.animation.sampling import Body
from ...skeleton import build
from ..puppet import list_performances
from .layers import OnShown, get_shown

Imported = importer.ImportedPuppet


def make_performance(
    context: bpy.types.Context,
    imported: Imported,
    names: list[str],
    label: str,
    compute: Callable[[list[Performance], Body], Performance],
) -> str:
    """Reads performances as they play, makes one of them, adds it as ``label`` and plays it;
    returns its name."""
    scene = cast(bpy.types.Scene, context.scene)
    read = performances.read_performances(imported, scene, names)
    made = compute([read[name] for name in names], performances.read_body(imported))
    added = performances.add_performance(imported, made, label)
    importer.activate(imported, added.name, scene=None)
    shot_settings.follow_range(imported, scene, actions.FIRST_FRAME + added.n_frames - 1)
    scene.frame_set(scene.frame_current)
    return added.name


class RESTAGE4D_OT_rename_performance(OnShown):
    """Give the performance that plays another name"""

    bl_idname = "restage4d.rename_performance"
    bl_label = "Rename Performance"
    name: bpy.props.StringProperty(name="Name")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        imported = importer.find_selected_puppet(context)
        assert imported is not None  # poll
        self.name = get_shown(imported).name
        return context.window_manager.invoke_props_dialog(self)

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        old = get_shown(imported).name
        return f"{old!r} is now {performances.rename(imported, old, self.name).name!r}"


class RESTAGE4D_OT_duplicate_performance(OnShown):
    """Make a copy of the performance that plays, with its layers"""

    bl_idname = "restage4d.duplicate_performance"
    bl_label = "Duplicate Performance"

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        made = performances.duplicate(imported, get_shown(imported).name)
        importer.activate(imported, made.name, scene=None)
        return f"{made.name!r} plays"


class RESTAGE4D_OT_delete_performance(OnShown):
    """Delete the performance that plays, with its layers"""

    bl_idname = "restage4d.delete_performance"
    bl_label = "Delete Performance"

    @classmethod
    def lacks(cls, imported: Imported, shown: importer.ImportedPerformance) -> str:
        return "" if len(imported.performances) > 1 else "It is the puppet's only performance"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        name = get_shown(imported).name
        performances.delete(imported, name)
        return f"{name!r} is gone"


class RESTAGE4D_OT_move_performance(OnShown):
    """Move the performance that plays in the list"""

    bl_idname = "restage4d.move_performance"
    bl_label = "Move Performance"
    by: bpy.props.IntProperty(name="By", description="Places; below 0: up", default=1)

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        performances.move(imported, get_shown(imported).name, self.by)
        return ", ".join(p.name for p in imported.performances)


class RESTAGE4D_OT_sequence_performances(OnShown):
    """Let another performance follow the one that plays, from where it leaves the subject"""

    bl_idname = "restage4d.sequence_performances"
    bl_label = "Then"
    second: bpy.props.EnumProperty(name="Then", items=list_performances)
    frames: bpy.props.IntProperty(
        name="Seam",
        description="Frames over which the first goes over into the second; 0 cuts",
        default=8,
        min=0,
    )

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        first = get_shown(imported).name
        made = make_performance(
            context, imported, [first, self.second], f"{first}, {self.second}",
            lambda p, body: clips.sequence(p[0], p[1], body, self.frames),
        )  # fmt: skip
        return f"{made!r} plays"


class RESTAGE4D_OT_loop_performance(OnShown):
    """Repeat the performance that plays; the subject goes on from where it is"""

    bl_idname = "restage4d.loop_performance"
    bl_label = "Loop"
    times: bpy.props.IntProperty(name="Times", default=3, min=2, max=50)
    frames: bpy.props.IntProperty(
        name="Seam", description="Frames over which the end goes over into the start", default=6,
        min=0,
    )  # fmt: skip

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        name = get_shown(imported).name
        made = make_performance(
            context, imported, [name], f"{name} x{self.times}",
            lambda p, body: clips.loop(p[0], body, self.times, self.frames),
        )  # fmt: skip
        return f"{made!r} plays"


class RESTAGE4D_OT_reverse_performance(OnShown):
    """Play the performance backwards"""

    bl_idname = "restage4d.reverse_performance"
    bl_label = "Reverse"

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        name = get_shown(imported).name
        made = make_performance(
            context, imported, [name], f"{name} reversed", lambda p, body: clips.reverse(p[0])
        )
        return f"{made!r} plays"


class RESTAGE4D_OT_add_speed_curve(OnShown):
    """Give the performance a curve of its speed, to be edited in the Graph Editor; Retime follows
    it"""

    bl_idname = "restage4d.add_speed_curve"
    bl_label = "Add Speed Curve"

    @classmethod
    def lacks(cls, imported: Imported, shown: importer.ImportedPerformance) -> str:
        return "It has one already" if speed.find_curve(shown.action) is not None else ""

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        shown = get_shown(imported)
        speed.add_curve(imported.armature, shown.action, shown.n_frames)
        return "Edit the curve Speed in the Graph Editor: 2 is twice as fast; then Retime"


class RESTAGE4D_OT_retime_performance(OnShown):
    """Play the performance at another pace: by its speed curve, if it has one, and this factor"""

    bl_idname = "restage4d.retime_performance"
    bl_label = "Retime"
    speed: bpy.props.FloatProperty(
        name="Speed", description="2 is twice as fast", default=1.0, min=0.05, max=20.0
    )

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        shown = get_shown(imported)
        speeds = self.speed * speed.read_curve(shown.action, shown.n_frames)
        if (speeds == 1).all():
            raise InputError("The speed is 1 throughout.", "Set one here, or add a speed curve.")
        made = make_performance(
            context, imported, [shown.name], f"{shown.name} retimed",
            lambda p, body: clips.retime(p[0], speeds, body),
        )  # fmt: skip
        return f"{made!r} plays, {imported.performance(made).n_frames} frames long"


class RESTAGE4D_OT_mix_performances(OnShown):
    """Let the parts of the selected bones do what they do in another performance"""

    bl_idname = "restage4d.mix_performances"
    bl_label = "Selected Parts From"
    other: bpy.props.EnumProperty(name="From", items=list_performances)

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: Imported) -> str:
        chosen = find_selected_bases(imported)
        if not chosen.any():
            return "Select handles or bones of the parts, in Pose Mode"
        if chosen.all():
            return "Select some parts, not the whole subject"
        return super().missing(context, imported)

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        name, chosen = get_shown(imported).name, find_selected_bases(imported)
        if self.other == name:
            raise InputError("That is the performance that plays.", "Choose another one.")
        made = make_performance(
            context, imported, [name, self.other], f"{name} with {self.other}",
            lambda p, body: clips.mix(p[0], p[1], chosen, body),
        )  # fmt: skip
        return f"{made!r}: {chosen.sum()} bases from {self.other!r}"


def find_selected_bases(imported: Imported) -> np.ndarray:  # (K,) bool
    """The bases of the selected bones, and of those below them."""
    names = rig.bone_names(imported.armature)
    below = set()
    for posed in imported.armature.pose.bones:
        if compat.is_bone_selected(posed):
            below |= {posed.name, *(bone.name for bone in posed.bone.children_recursive)}
    chosen = np.array([name in below for name in names])
    if build.list_bones(imported.armature):  # a skeleton's bones have no bases below them
        bones = rig.get_armature(imported.armature).bones
        parts = {bones[name][rig.REGION] for name in below if rig.REGION in bones[name]}
        chosen |= np.isin(rig.region_of_bases(imported.armature), list(parts))
    return chosen


_sources: list[tuple[str, str, str]] = []  # Blender does not keep the strings of a callback alive


def _list_sources(self: Any, context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    mine = importer.find_selected_puppet(context) if context else None
    others = importer.find_puppets(context.scene) if context and mine else []
    _sources[:] = [
        (f"{puppet.armature.name}|{p.name}", f"{p.name} of {puppet.armature.name}", p.prompt)
        for puppet in others
        if mine is not None and puppet.armature != mine.armature
        for p in puppet.performances
    ] or [("", "None", "")]
    return _sources


class RESTAGE4D_OT_transfer_performance(OnShown):
    """Take over a performance of another puppet of the same kind, fitted by place and size"""

    bl_idname = "restage4d.transfer_performance"
    bl_label = "From Another Puppet"
    source: bpy.props.EnumProperty(name="Performance", items=_list_sources)

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: Imported) -> str:
        if len(importer.find_puppets(context.scene)) < 2:
            return "There is no other puppet in this scene"
        return super().missing(context, imported)

    def work(self, context: bpy.types.Context, imported: Imported) -> str:
        scene = cast(bpy.types.Scene, context.scene)
        armature, _, name = self.source.partition("|")
        found = [p for p in importer.find_puppets(scene) if p.armature.name == armature]
        if not found:
            raise InputError("That puppet is not in this scene.", "Choose a performance of one.")
        other = performances.read_performances(found[0], scene, [name])[name]
        body = performances.read_body(found[0])
        made = make_performance(
            context, imported, [get_shown(imported).name], name,
            lambda p, own: transfer.transfer(other, body, p[0], own),
        )  # fmt: skip
        return f"{made!r} plays"


CLASSES = (
    RESTAGE4D_OT_rename_performance,
    RESTAGE4D_OT_duplicate_performance,
    RESTAGE4D_OT_delete_performance,
    RESTAGE4D_OT_move_performance,
    RESTAGE4D_OT_sequence_performances,
    RESTAGE4D_OT_loop_performance,
    RESTAGE4D_OT_reverse_performance,
    RESTAGE4D_OT_add_speed_curve,
    RESTAGE4D_OT_retime_performance,
    RESTAGE4D_OT_mix_performances,
    RESTAGE4D_OT_transfer_performance,
)
