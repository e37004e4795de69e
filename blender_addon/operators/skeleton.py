# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators of the body rig: ``restage4d.find_contacts``, ``restage4d.lock_contacts``,
``restage4d.free_contacts``, ``restage4d.set_ik``, ``restage4d.place_head`` (click on it)."""

from collections.abc import Set
from typing import cast

import bpy

from restage4d.errors import InputError
from restage4d.skeleton.contacts import HEIGHT, SPEED

from .. import compat
from ..languages import translate
from ..puppet import attributes, importer
from ..puppet.playback import nla
from ..skeleton import build, contacts, rebuild
from ..skeleton.contact_list import Contact, read_contacts
from ..skeleton.plan import IK, PART
from .puppet import ClickOnPuppet, OnPuppet


class _OnSkeleton(OnPuppet):
    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        if not build.list_bones(imported.armature):
            return "This puppet has no skeleton, only a handle per region"
        return ""


class _OnContacts(_OnSkeleton):
    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        why = super().missing(context, imported)
        if not why and nla.find_playing(imported) is None:
            return "Play one performance first; contacts belong to it"
        return why

    @staticmethod
    def find_playing(imported: importer.ImportedPuppet) -> importer.ImportedPerformance:
        playing = nla.find_playing(imported)
        assert playing is not None  # poll
        return playing


def find_selected_parts(imported: importer.ImportedPuppet) -> set[str]:
    """The parts of the body that the selected bones belong to."""
    bones = imported.armature.pose.bones
    return {b.bone[PART] for b in bones if compat.is_bone_selected(b) and PART in b.bone}


class RESTAGE4D_OT_find_contacts(_OnContacts):
    """Find where feet stand in the performance that plays, and mark it on the timeline"""

    bl_idname = "restage4d.find_contacts"
    bl_label = "Find Contacts"
    speed: bpy.props.FloatProperty(
        name="Speed",
        description="Slower is standing; in lengths of the subject a second",
        default=SPEED,
        min=0.01,
        max=5,
    )
    height: bpy.props.FloatProperty(
        name="Height",
        description="Lower above the ground is standing; in lengths of the subject",
        default=HEIGHT,
        min=0.01,
        max=1,
    )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        playing, scene = self.find_playing(imported), cast(bpy.types.Scene, context.scene)
        found = contacts.find(imported, playing, scene, speed=self.speed, height=self.height)
        importer.mark(imported, playing)
        if not found:
            return translate("No foot stands long enough; raise Speed or Height in the panel below")
        parts = ", ".join(sorted({c.part for c in found}))
        return translate("{count} contacts of {parts}, marked on the timeline").format(
            count=len(found), parts=parts
        )


_SCOPES = (
    ("CURRENT", "At This Frame", "Contacts that hold at the current frame"),
    ("SELECTED", "Of Selected Limbs", "All contacts of the limbs whose bones are selected"),
    ("ALL", "All", "All contacts of the performance"),
)


def _choose(
    context: bpy.types.Context, imported: importer.ImportedPuppet, name: str, scope: str
) -> list[Contact]:
    """Raises `InputError` where there are none."""
    mine = read_contacts(imported.armature, name)
    if not mine:
        raise InputError("No contacts are known in this performance.", "Find contacts first.")
    frame, parts = context.scene.frame_current, find_selected_parts(imported)
    if scope == "CURRENT":
        mine = [c for c in mine if c.first <= frame <= c.last]
        mine = [c for c in mine if c.part in parts] or mine
    elif scope == "SELECTED":
        mine = [c for c in mine if c.part in parts]
    if not mine:
        raise InputError(
            "No contact is meant.", "Go to a frame between its markers, or choose All."
        )
    return mine


class RESTAGE4D_OT_lock_contacts(_OnContacts):
    """Hold feet where they stand, by inverse kinematics, over the frames of their contacts"""

    bl_idname = "restage4d.lock_contacts"
    bl_label = "Lock Contacts"
    scope: bpy.props.EnumProperty(name="Which", items=_SCOPES, default="ALL")
    blend: bpy.props.IntProperty(
        name="Blend", description="Frames to go over into it and out again", default=4, min=1
    )
    on: bpy.props.StringProperty(
        name="On Object",
        description="Object that carries the places, such as a moving platform; empty: the ground",
        search=lambda self, context, text: [o.name for o in context.scene.objects],
    )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        scene, playing = cast(bpy.types.Scene, context.scene), self.find_playing(imported)
        on = scene.objects.get(self.on) if self.on else None
        if self.on and on is None:
            raise InputError(f"There is no object {self.on!r}.", "Choose one of the scene.")
        chosen = _choose(context, imported, playing.name, self.scope)
        frame = scene.frame_current, scene.frame_subframe
        done = contacts.lock(imported, chosen, scene=scene, blend=self.blend, on=on)
        scene.frame_set(frame[0], subframe=frame[1])
        missed = contacts.measure_misses(imported, scene, done)
        if missed:
            worst, by = max(missed, key=lambda x: x[1])
            self.level = "WARNING"
            return translate(
                "{count} contacts held, {missed} of them out of reach, {part} at frames {first} to "
                "{last} by {share:.1f} % of the subject. Lower the hips there, or move the circles "
                "nearer"
            ).format(
                count=len(done),
                missed=len(missed),
                part=worst.part,
                first=worst.first,
                last=worst.last,
                share=100 * by,
            )
        return translate("{count} contacts held; move their circles to move the places").format(
            count=len(done)
        )


class RESTAGE4D_OT_free_contacts(_OnContacts):
    """Let held feet go again; their circles and keys are removed"""

    bl_idname = "restage4d.free_contacts"
    bl_label = "Free Contacts"
    scope: bpy.props.EnumProperty(name="Which", items=_SCOPES, default="ALL")

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        scene, playing = cast(bpy.types.Scene, context.scene), self.find_playing(imported)
        count = contacts.free(imported, _choose(context, imported, playing.name, self.scope))
        scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)
        return translate("{count} contacts free again").format(count=count)


class RESTAGE4D_OT_set_ik(_OnSkeleton):
    """Switch the limbs of the selected bones between turning bones (FK) and reaching (IK)"""

    bl_idname = "restage4d.set_ik"
    bl_label = "IK / FK"
    on: bpy.props.BoolProperty(name="IK", default=True)

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        armature, parts = imported.armature, find_selected_parts(imported)
        limbs = [
            b
            for b in armature.pose.bones
            if b.bone.get(build.rig.ROLE) == IK and b.bone[PART] in parts
        ]
        if not limbs:
            raise InputError("No limb is selected.", "Select a bone of a leg or an arm.")
        for control in limbs:
            control[build.SWITCH] = float(self.on)
        armature.update_tag()
        context.view_layer.update()
        return f"{', '.join(sorted(b.bone[PART] for b in limbs))}: {'IK' if self.on else 'FK'}"


class RESTAGE4D_OT_place_head(ClickOnPuppet, _OnSkeleton):
    """Click on the puppet's head: its skeleton is found anew. Keys and contacts of the old
    skeleton's bones are removed"""

    bl_idname = "restage4d.place_head"
    bl_label = "Place Head"
    cursor = "EYEDROPPER"
    text = "Click on the puppet's head   Esc: leave"
    point: bpy.props.IntProperty(
        name="Point", description="The Gaussian that is on the head", default=-1, min=-1
    )

    def take(
        self,
        context: bpy.types.Context,
        event: bpy.types.Event,
        imported: importer.ImportedPuppet,
        point: int,
    ) -> Set[str]:
        self.point = point
        return self.execute(context)

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        count = len(attributes.get_mesh(imported.points).vertices)
        if not 0 <= self.point < count:
            raise InputError("There is nothing of the puppet.", "Click on its head.")
        scene = cast(bpy.types.Scene, context.scene)
        names = rebuild.place_head(imported, scene, self.point)
        return f"{len(names)} bones: {', '.join(names[:6])} ..."


CLASSES = (
    RESTAGE4D_OT_place_head,
    RESTAGE4D_OT_find_contacts,
    RESTAGE4D_OT_lock_contacts,
    RESTAGE4D_OT_free_contacts,
    RESTAGE4D_OT_set_ik,
)
