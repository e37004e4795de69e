# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's buttons: they hand requests to the session and return at once."""

from pathlib import Path
from typing import cast

import bpy

from restage4d.defaults import DRAFT_DRIVER
from restage4d.errors import InputError

from .. import (
    failures,
    orders,
    paths,
    preferences,
    runtime,
    takes,
)
from ..languages import say
from ..properties import RESTAGE4D_PG_shot, get_shot, set_head
from ..puppet import importer
from ..puppet.animation import performances
from ..puppet.camera import MOVIES
from ..session.models import PRIORS
from ..session.session import Session
from ..viewport.live_preview import redraw

AS_FILMED = (
    0.743,
    0.669,
    0.0,
    0.0,
)  # along +Y, as the first frame's camera looks, and a little from above


class _OwnBackend(bpy.types.Operator):
    """A button for the backend on this computer."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if preferences.get().connection != "OWN":
            cls.poll_message_set(
                say(
                    "The preferences name a backend on another computer: its keeper starts "
                    "and stops it"
                )
            )
        elif runtime.session().backend.phase in ("starting", "setting up"):
            cls.poll_message_set(say("It is being started"))
        else:
            return True
        return False


class RESTAGE4D_OT_start_backend(_OwnBackend):
    """Start the backend on this computer"""

    bl_idname = "restage4d.start_backend"
    bl_label = "Start the Backend"

    def execute(self, context: bpy.types.Context) -> set[str]:
        runtime.session().start()
        return {"FINISHED"}


class RESTAGE4D_OT_set_up_backend(_OwnBackend):
    """Download what the backend needs, once, then start it"""

    bl_idname = "restage4d.set_up_backend"
    bl_label = "Set Up and Start"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.online_access:
            cls.poll_message_set(
                say(
                    "It downloads packages: allow it in Preferences > System > Network > "
                    "Allow Online Access"
                )
            )
            return False
        if paths.backend_root() is None and not paths.SOURCE.is_file():
            cls.poll_message_set(say("Choose the Restage4D folder in the extension's preferences"))
            return False
        return super().poll(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        runtime.session().start()
        return {"FINISHED"}


class RESTAGE4D_OT_stop_backend(_OwnBackend):
    """Stop the backend; its jobs go on with its next start"""

    bl_idname = "restage4d.stop_backend"
    bl_label = "Stop the Backend"

    def execute(self, context: bpy.types.Context) -> set[str]:
        runtime.session().stop()
        return {"FINISHED"}


class RESTAGE4D_OT_pick_video(bpy.types.Operator):
    """Use this video as the shot to restage"""

    bl_idname = "restage4d.pick_video"
    bl_label = "Pick a Video to Restage"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    filepath: bpy.props.StringProperty(
        subtype="FILE_PATH",
        options={"SKIP_SAVE", "PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    filter_glob: bpy.props.StringProperty(
        default=";".join(f"*{suffix}" for suffix in sorted(MOVIES)), options={"HIDDEN"}
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath:  # dropped on the window
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            if not (place := paths.resolve(self.filepath)).exists():
                raise InputError(f"{place} does not exist.", "Pick another.")
        except InputError as error:
            self.report({"ERROR"}, say(str(error)))
            return {"CANCELLED"}
        chosen = get_shot(context.scene)
        if not chosen.video:
            usual = preferences.get()
            chosen.quality, chosen.longer_side = usual.quality, usual.longer_side
        chosen.video, chosen.use_range, chosen.selection = self.filepath, False, "MOTION"
        set_head(chosen, None)
        return {"FINISHED"}


class RESTAGE4D_FH_video(bpy.types.FileHandler):
    bl_idname = "RESTAGE4D_FH_video"
    bl_label = "Restage this video"
    bl_import_operator = "restage4d.pick_video"
    bl_file_extensions = ";".join(sorted(MOVIES))

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


class RESTAGE4D_OT_restage(bpy.types.Operator):
    """Turn the shot into a puppet that performs the prompt"""

    bl_idname = "restage4d.restage"
    bl_label = "Restage"
    bl_options = {"UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        chosen, session = get_shot(context.scene), runtime.session()
        missing = _find_missing(chosen, session)
        if missing:
            cls.poll_message_set(say(missing))
        return not missing

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = get_shot(context.scene)
        job = runtime.session().restage(orders.make_order(chosen))
        chosen.job, chosen.into = job.id, None
        return {"FINISHED"}


class RESTAGE4D_OT_restage_into(bpy.types.Operator):
    """Let the puppet in the scene perform the prompt too: the same points and bones, one more
    performance"""

    bl_idname = "restage4d.restage_into"
    bl_label = "Restage into This Puppet"
    bl_options = {"UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        missing = _find_missing(get_shot(context.scene), runtime.session())
        if importer.find_selected_puppet(context) is None:
            missing = "Select the puppet, made from this shot, that is to perform it"
        if missing:
            cls.poll_message_set(say(missing))
        return not missing

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen, scene = get_shot(context.scene), cast(bpy.types.Scene, context.scene)
        imported = importer.find_selected_puppet(context)
        assert imported is not None  # poll
        try:
            order = orders.make_order(chosen)
            order.into = Path(bpy.app.tempdir) / f"into {imported.armature.session_uid}.puppet"
            performances.make_filmed_puppet(imported, scene).save(order.into)
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        chosen.job, chosen.into = runtime.session().restage(order).id, imported.armature
        return {"FINISHED"}


def _find_missing(chosen: RESTAGE4D_PG_shot, session: Session) -> str:
    """Why the shot cannot be restaged yet; empty where it can."""
    if session.backend.phase != "ready":
        return "The backend is not running: start it at the top of this panel"
    if not chosen.video or session.shot is None:
        return "Pick a video first"
    if session.shot.phase == "failed":
        return "The video cannot be used: the Shot panel says why"
    if session.shot.phase in ("waiting", "uploading"):
        return "The video is still being sent to the backend"
    if chosen.source == "FILE":
        if not chosen.driving or not Path(bpy.path.abspath(chosen.driving)).exists():
            return "Pick your driving video, or make one from the prompt"
    elif not chosen.prompt.strip():
        return "Say what the subject shall do: type a prompt"
    elif chosen.provider == DRAFT_DRIVER and orders.read_draft_prompt(chosen.prompt).fault:
        return "The draft driver cannot act this prompt: the Direction panel says why"
    elif chosen.provider != DRAFT_DRIVER and takes.find_picked(chosen) is None:
        return "Make a driving video in the Direction panel and look at it first"
    for kind in PRIORS:
        estimator = session.backend.provider(kind, getattr(chosen, kind))
        if estimator is None or estimator.needs:
            return f"The estimator of {kind} is not set up: choose another below"
    if session.job is not None and session.job.active:
        return "A restaging of this scene runs already"
    return ""


class _OfJob(bpy.types.Operator):
    """A button of the running job."""

    request = ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        session = runtime.session()
        if session.job is None or not session.job.active:
            cls.poll_message_set(say("Nothing runs"))
        elif session.backend.phase != "ready":
            cls.poll_message_set(say("The backend does not answer at the moment"))
        elif session.job.stopping:
            cls.poll_message_set(say("It is being stopped"))
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        session = runtime.session()
        getattr(session, self.request)(session.job)
        return {"FINISHED"}


class RESTAGE4D_OT_pause(_OfJob):
    """Pause the restaging; everything done so far is kept"""

    bl_idname = "restage4d.pause"
    bl_label = "Pause the Restaging"
    request = "pause"


class RESTAGE4D_OT_resume(_OfJob):
    """Go on with the restaging where it was paused"""

    bl_idname = "restage4d.resume"
    bl_label = "Go On with the Restaging"
    request = "resume"


class RESTAGE4D_OT_cancel(_OfJob):
    """Stop the restaging for good"""

    bl_idname = "restage4d.cancel"
    bl_label = "Cancel the Restaging"
    request = "cancel"


class RESTAGE4D_OT_forget_job(bpy.types.Operator):
    """Put the finished restaging away, so that another can begin; its files stay"""

    bl_idname = "restage4d.forget_job"
    bl_label = "Put the Restaging Away"

    def execute(self, context: bpy.types.Context) -> set[str]:
        get_shot(context.scene).job = ""
        runtime.session().forget()
        runtime.live.hide()
        return {"FINISHED"}


class RESTAGE4D_OT_look_at_it(bpy.types.Operator):
    """Turn the 3D views to the puppet in the making, from where it was filmed"""

    bl_idname = "restage4d.look_at_it"
    bl_label = "Look at It"

    def execute(self, context: bpy.types.Context) -> set[str]:
        found = runtime.live.middle()
        if found is None:
            return {"CANCELLED"}
        for area in context.window.screen.areas:
            if area.type == "VIEW_3D":
                view = cast(bpy.types.SpaceView3D, area.spaces.active).region_3d
                view.view_perspective = "PERSP"
                view.view_location, view.view_distance, view.view_rotation = (
                    found[0].tolist(),
                    2.2 * found[1],
                    AS_FILMED,
                )
        redraw()
        return {"FINISHED"}


CLASSES = (
    RESTAGE4D_OT_start_backend,
    RESTAGE4D_OT_set_up_backend,
    RESTAGE4D_OT_stop_backend,
    RESTAGE4D_OT_pick_video,
    RESTAGE4D_FH_video,
    RESTAGE4D_OT_restage,
    RESTAGE4D_OT_restage_into,
    RESTAGE4D_OT_pause,
    RESTAGE4D_OT_resume,
    RESTAGE4D_OT_cancel,
    RESTAGE4D_OT_forget_job,
    RESTAGE4D_OT_look_at_it,
)
