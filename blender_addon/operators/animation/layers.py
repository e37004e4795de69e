# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on tweak layers: ``restage4d.add_layer`` (name, ramp_in, ramp_out), ``edit_layer``
(number; 0: the performance itself), ``key_layer``, ``remove_layer`` (number), ``bake_layers``.
"""

from collections.abc import Set
from typing import cast

import bpy

from restage4d.errors import InputError

from ...puppet import importer
from ...puppet.animation import layers, performances
from ...puppet.playback import nla
from ..puppet import OnPuppet


def get_shown(imported: importer.ImportedPuppet) -> importer.ImportedPerformance:
    """The performance that plays. Raises `InputError` where none does."""
    shown = nla.find_playing(imported)
    if shown is None:
        raise InputError("No performance plays.", "Click one in the panel first.")
    return shown


class OnShown(OnPuppet):
    """Of one step on the performance that plays."""

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown = nla.find_playing(imported)
        if shown is None:
            return "Click a performance first, so that it plays"
        return cls.lacks(imported, shown)

    @classmethod
    def lacks(cls, imported: importer.ImportedPuppet, shown: importer.ImportedPerformance) -> str:
        """What the performance lacks before it can run; empty for nothing."""
        return ""


class OnLayers(OnShown):
    """Of one step on a performance with layers."""

    number: bpy.props.IntProperty(name="Layer", description="Its number in the list", default=1)

    @classmethod
    def lacks(cls, imported: importer.ImportedPuppet, shown: importer.ImportedPerformance) -> str:
        found = layers.find_layers(imported.armature, shown.action)
        return "" if found else "The performance has no layer yet"

    def get_layer(
        self, imported: importer.ImportedPuppet, shown: importer.ImportedPerformance
    ) -> layers.Layer:
        """The layer of that number."""
        found = layers.find_layers(imported.armature, shown.action)
        if not 1 <= self.number <= len(found):
            raise InputError(f"There is no layer {self.number}.", f"There are {len(found)}.")
        return found[self.number - 1]


class RESTAGE4D_OT_add_layer(OnShown):
    """Add a layer over the performance that plays: keys you set now go into it, and the performance
    keeps its own"""

    bl_idname = "restage4d.add_layer"
    bl_label = "Add Layer"
    name: bpy.props.StringProperty(name="Name", default="Tweak")
    ramp_in: bpy.props.IntProperty(
        name="Ramp In", description="Frames before its first key", default=layers.RAMPS[0], min=1
    )
    ramp_out: bpy.props.IntProperty(
        name="Ramp Out", description="Frames after its last key", default=layers.RAMPS[1], min=1
    )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown = get_shown(imported)
        count = len(layers.find_layers(imported.armature, shown.action))
        name = self.name.strip() or "Tweak"
        name = f"{name} {count + 1}" if count and name == "Tweak" else name
        ramps = self.ramp_in, self.ramp_out
        layers.add_layer(imported.armature, shown.action, name, ramps)
        importer.play(imported, shown)
        return f"Keys go into {name!r}: pose bones and key them (I), or use Key the Pose"


class RESTAGE4D_OT_edit_layer(OnLayers):
    """Let your keys go into this layer"""

    bl_idname = "restage4d.edit_layer"
    bl_label = "Edit Layer"

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown = get_shown(imported)
        armature = imported.armature
        if self.number == 0:
            layers.play_without(armature, shown.action)
            return f"Keys go into {shown.name!r} itself; its layers are off meanwhile"
        layer = layers.edit(armature, self.get_layer(imported, shown))
        return f"Keys go into {layer.name!r}"


class RESTAGE4D_OT_key_layer(OnLayers):
    """Key every bone that you moved in this frame, on the layer that is edited"""

    bl_idname = "restage4d.key_layer"
    bl_label = "Key the Pose"

    @classmethod
    def lacks(cls, imported: importer.ImportedPuppet, shown: importer.ImportedPerformance) -> str:
        edited = layers.find_edited(imported.armature)
        return "" if edited is not None else "Choose the layer that gets the keys first"

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        scene, layer = cast(bpy.types.Scene, context.scene), layers.find_edited(imported.armature)
        assert layer is not None  # poll
        keyed = layers.key_pose(imported.armature, scene)
        if not keyed:
            raise InputError("No bone is moved.", "Pose some in this frame first.")
        named = ", ".join(keyed[:3])
        if len(keyed) > 3:
            named = f"{named} and {len(keyed) - 3} more"
        return f"Keyed on {layer.name!r} at frame {scene.frame_current}: {named}"


class RESTAGE4D_OT_remove_layer(OnLayers):
    """Take this layer away with its keys"""

    bl_idname = "restage4d.remove_layer"
    bl_label = "Remove Layer"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown = get_shown(imported)
        layer = self.get_layer(imported, shown)
        name = layer.name
        layers.remove_layer(imported.armature, layer)
        importer.play(imported, shown)
        return f"{name!r} is gone"


class RESTAGE4D_OT_bake_layers(OnLayers):
    """Make a new performance of this one and its layers; both stay as they are"""

    bl_idname = "restage4d.bake_layers"
    bl_label = "Bake to a Performance"
    name: bpy.props.StringProperty(name="Name", description="Empty: after the performance")

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        shown, scene = get_shown(imported), cast(bpy.types.Scene, context.scene)
        name = self.name.strip() or f"{shown.name} baked"
        made = performances.bake(imported, scene, shown.name, name)
        importer.activate(imported, made.name, scene=None)
        return f"{made.name!r} is {shown.name!r} with its layers"


CLASSES = (
    RESTAGE4D_OT_add_layer,
    RESTAGE4D_OT_edit_layer,
    RESTAGE4D_OT_key_layer,
    RESTAGE4D_OT_remove_layer,
    RESTAGE4D_OT_bake_layers,
)
