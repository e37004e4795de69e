# SPDX-License-Identifier: GPL-3.0-or-later
"""The Direction step's buttons: who makes the driving video, what it is asked for, making some, and
picking one."""

from collections.abc import Set
from typing import Any, cast
from urllib.parse import urlsplit

import bpy

from restage4d.defaults import DRAFT_DRIVER
from restage4d.errors import InputError
from restage4d.protocol.connection import is_loopback

from .. import orders, paths, runtime, takes
from ..languages import say
from ..properties import RESTAGE4D_PG_shot, get_shot
from ..session.models import PRIORS
from ..ui.text import paragraph

OFFLINE = (
    "That is a service elsewhere, and Blender may not go online: Preferences > System > Network > "
    "Allow Online Access"
)


class RESTAGE4D_OT_use_provider(bpy.types.Operator):
    """Choose who makes or estimates this"""

    bl_idname = "restage4d.use_provider"
    bl_label = "Use This Provider"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012
    kind: bpy.props.StringProperty(default="driving", options={"SKIP_SAVE"})
    name: bpy.props.StringProperty(options={"SKIP_SAVE"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        provider = runtime.session().backend.provider(properties.kind, properties.name)
        return provider.about if provider is not None else "Choose who makes or estimates this"

    def execute(self, context: bpy.types.Context) -> set[str]:
        name = "provider" if self.kind == "driving" else self.kind
        if self.kind not in ("driving", *PRIORS):
            return {"CANCELLED"}
        setattr(get_shot(context.scene), name, self.name)
        return {"FINISHED"}


def find_obstacle(chosen: RESTAGE4D_PG_shot) -> str:
    """Why no driving video can be made from the prompt; empty where one can."""
    session = runtime.session()
    if session.backend.phase != "ready":
        return "The backend is not running: start it at the top of this panel"
    if session.shot is None or not session.shot.content or session.shot.phase == "failed":
        return "Pick a video first; it must be with the backend"
    if not chosen.prompt.strip():
        return "Say what the subject shall do: type a prompt"
    provider = session.backend.provider("driving", chosen.provider)
    if provider is None:
        return "The backend knows no such provider: choose another"
    if provider.needs:
        return f"{provider.label} is not set up: {provider.needs[0]}"
    if provider.sends and not bpy.app.online_access:
        return OFFLINE
    if chosen.provider == DRAFT_DRIVER and orders.read_draft_prompt(chosen.prompt).fault:
        return "The draft driver cannot act this prompt: what stands below it says why"
    if session.driving_job is not None and session.driving_job.active:
        return "Driving videos are being made already"
    return ""


class _AsksConsent(bpy.types.Operator):
    """A button of which a person must know something before; then a dialog says it and asks."""

    agree = "Go On"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if why := cls.find_obstacle(get_shot(context.scene)):
            cls.poll_message_set(say(why))
        return not why

    @classmethod
    def find_obstacle(cls, chosen: RESTAGE4D_PG_shot) -> str:
        return find_obstacle(chosen)

    def terms(self, chosen: RESTAGE4D_PG_shot) -> list[str]:
        """What a person must know before; empty for nothing."""
        return []

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        if not self.terms(get_shot(context.scene)):
            return self.execute(context)
        dialog = context.window_manager.invoke_props_dialog
        return dialog(self, width=420, title=self.bl_label, confirm_text=self.agree)

    def draw(self, context: bpy.types.Context) -> None:
        for text in self.terms(get_shot(context.scene)):
            paragraph(cast(bpy.types.UILayout, self.layout), context, text, icon="INFO", width=420)


class RESTAGE4D_OT_refine_prompt(_AsksConsent):
    """Show what the provider will be asked for, to be changed, and what it costs. Nothing is made
    yet"""

    bl_idname = "restage4d.refine_prompt"
    bl_label = "Refine the Prompt"
    agree = "Send Them"

    @classmethod
    def find_obstacle(cls, chosen: RESTAGE4D_PG_shot) -> str:
        refiner = runtime.session().backend.refiner
        elsewhere = refiner and not is_loopback(
            urlsplit(refiner.rpartition(" at ")[2]).hostname or ""
        )
        return OFFLINE if elsewhere and not bpy.app.online_access else find_obstacle(chosen)

    def terms(self, chosen: RESTAGE4D_PG_shot) -> list[str]:
        refiner = runtime.session().backend.refiner
        return (
            [
                f"The first frame and the prompt are sent to {refiner}, which writes the refined "
                "prompt."
            ]
            if refiner
            else []
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        runtime.session().prepare(orders.make_driving_order(get_shot(context.scene)))
        return {"FINISHED"}


class RESTAGE4D_OT_make_driving(_AsksConsent):
    """Make the driving video to look at before the shot is restaged"""

    bl_idname = "restage4d.make_driving"
    bl_label = "Make the Driving Video"
    bl_options = {"UNDO"}  # noqa: RUF012
    agree = "Agree and Make"

    @classmethod
    def find_obstacle(cls, chosen: RESTAGE4D_PG_shot) -> str:
        if (
            not (why := find_obstacle(chosen))
            and chosen.provider != DRAFT_DRIVER
            and not orders.get_refined_prompt(chosen)
        ):
            return "Refine the prompt first: that shows what will be asked for, on which terms"
        return why

    def terms(self, chosen: RESTAGE4D_PG_shot) -> list[str]:
        if chosen.provider == DRAFT_DRIVER:
            return []
        count = chosen.candidates
        many = (
            [f"{count} videos are made; what is said of one holds for each."]
            if count > 1 and chosen.terms
            else []
        )
        return [*chosen.terms.splitlines(), *many]

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = get_shot(context.scene)
        job = runtime.session().make_driving(orders.make_driving_order(chosen))
        chosen.driving_job, chosen.takes_for = job.id, takes.make_key(chosen)
        chosen.takes.clear()
        return {"FINISHED"}


class RESTAGE4D_OT_cancel_driving(bpy.types.Operator):
    """Stop making driving videos"""

    bl_idname = "restage4d.cancel_driving"
    bl_label = "Cancel the Driving Videos"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = runtime.session().driving_job
        if job is None or not job.active:
            cls.poll_message_set(say("None are being made"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        session = runtime.session()
        if session.driving_job is not None:
            session.cancel(session.driving_job)
        return {"FINISHED"}


class RESTAGE4D_OT_forget_driving(bpy.types.Operator):
    """Put the driving videos that were not made away"""

    bl_idname = "restage4d.forget_driving"
    bl_label = "Put the Driving Videos Away"

    def execute(self, context: bpy.types.Context) -> set[str]:
        get_shot(context.scene).driving_job = ""
        runtime.session().forget_driving()
        return {"FINISHED"}


class RESTAGE4D_OT_pick_take(bpy.types.Operator):
    """Restage the shot with this driving video"""

    bl_idname = "restage4d.pick_take"
    bl_label = "Pick This Driving Video"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012
    number: bpy.props.IntProperty()

    def execute(self, context: bpy.types.Context) -> set[str]:
        get_shot(context.scene).take = self.number
        return {"FINISHED"}


class RESTAGE4D_OT_play_take(bpy.types.Operator):
    """Play the video in the system's player"""

    bl_idname = "restage4d.play_take"
    bl_label = "Play"
    bl_options = {"INTERNAL"}  # noqa: RUF012
    number: bpy.props.IntProperty()

    def execute(self, context: bpy.types.Context) -> set[str]:
        take = next((t for t in get_shot(context.scene).takes if t.number == self.number), None)
        if take is None:
            return {"CANCELLED"}
        try:
            bpy.ops.wm.path_open(filepath=str(paths.resolve(take.path)))
        except (InputError, RuntimeError) as error:  # the video, or a player, is not there
            self.report({"ERROR"}, say(str(error).strip().removeprefix("Error: ")))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    RESTAGE4D_OT_use_provider,
    RESTAGE4D_OT_refine_prompt,
    RESTAGE4D_OT_make_driving,
    RESTAGE4D_OT_cancel_driving,
    RESTAGE4D_OT_forget_driving,
    RESTAGE4D_OT_pick_take,
    RESTAGE4D_OT_play_take,
)
