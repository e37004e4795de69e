# SPDX-License-Identifier: GPL-3.0-or-later
"""Get Better Estimators: what fits this computer is shown, and fetched after a yes."""

import bpy

from ... import paths, preferences, runtime
from ...languages import say
from ...session.estimators import Estimators


def _get_state() -> Estimators:
    return runtime.session().estimators.state


class RESTAGE4D_OT_get_estimators(bpy.types.Operator):
    """Show which learned models would estimate better on this computer; nothing is downloaded
    yet"""

    bl_idname = "restage4d.get_estimators"
    bl_label = "Get Better Estimators"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if preferences.get().connection != "OWN":
            cls.poll_message_set(
                say("The backend is on another computer: its keeper has its models")
            )
        elif paths.backend_root() is None or runtime.needs_set_up():
            cls.poll_message_set(say("Set the backend up first"))
        elif _get_state().phase in ("looking", "fetching"):
            cls.poll_message_set(say("It is under way"))
        else:
            return True
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        root = paths.backend_root()
        assert root is not None  # poll
        runtime.session().estimators.look(root)
        return {"FINISHED"}


class RESTAGE4D_OT_answer_commercial(bpy.types.Operator):
    """Asked once: some models may not be used for commercial work, and are then not offered"""

    bl_idname = "restage4d.answer_commercial"
    bl_label = "Commercial Use"
    commercial: bpy.props.BoolProperty(
        name="Commercial Use", description="Whether what is made is for commercial use"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        root = paths.backend_root()
        if root is None:
            return {"CANCELLED"}
        runtime.session().estimators.look(root, self.commercial)
        return {"FINISHED"}


class RESTAGE4D_OT_fetch_estimators(bpy.types.Operator):
    """Download these models, in the background; stopped, it goes on later where it stood"""

    bl_idname = "restage4d.fetch_estimators"
    bl_label = "Download the Estimators"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.online_access:
            cls.poll_message_set(
                say(
                    "It downloads models: allow it in Preferences > System > Network > Allow "
                    "Online Access"
                )
            )
            return False
        state = _get_state()
        return state.phase == "offered" and bool(state.missing)

    def execute(self, context: bpy.types.Context) -> set[str]:
        root = paths.backend_root()
        if root is None:
            return {"CANCELLED"}
        runtime.session().estimators.fetch(root)
        return {"FINISHED"}


class RESTAGE4D_OT_stop_fetching(bpy.types.Operator):
    """Stop the download; what came so far stays"""

    bl_idname = "restage4d.stop_fetching"
    bl_label = "Stop the Download"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        state = _get_state()
        return state.phase == "fetching" and not state.stopping

    def execute(self, context: bpy.types.Context) -> set[str]:
        runtime.session().estimators.cancel()
        return {"FINISHED"}


class RESTAGE4D_OT_close_estimators(bpy.types.Operator):
    """Put the offer away"""

    bl_idname = "restage4d.close_estimators"
    bl_label = "Put the Estimators Away"

    def execute(self, context: bpy.types.Context) -> set[str]:
        runtime.session().estimators.close()
        return {"FINISHED"}


CLASSES = (
    RESTAGE4D_OT_get_estimators,
    RESTAGE4D_OT_answer_commercial,
    RESTAGE4D_OT_fetch_estimators,
    RESTAGE4D_OT_stop_fetching,
    RESTAGE4D_OT_close_estimators,
)
