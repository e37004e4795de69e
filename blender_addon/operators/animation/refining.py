# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.refine_performance``: the performance that plays, solved anew around what was changed
in it, as one more performance."""

from functools import partial
from typing import Any, cast

import bpy

from ... import paths
from ...languages import say
from ...puppet import actions, importer, shot_settings
from ...puppet.animation import refining
from ...puppet.playback import nla
from ...session.command import check_environment, command_steps
from ...session.steps import Steps
from ..stepped import OnPuppet
from .layers import get_shown


class RESTAGE4D_OT_refine_performance(OnPuppet, bpy.types.Operator):
    """Solve the performance that plays anew around your changes, smooth in time, as a new
    performance; needs the backend's libraries on this computer"""

    bl_idname = "restage4d.refine_performance"
    bl_label = "Refine"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; there is no new performance"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        imported = importer.find_selected_puppet(context)
        if imported is not None and nla.find_playing(imported) is None:
            cls.poll_message_set(say("Click a performance first, so that it plays"))
            return False
        return super().poll(context)

    def steps_on(self, context: Any, imported: importer.ImportedPuppet) -> Steps[None]:
        name, scene = get_shown(imported).name, cast(bpy.types.Scene, context.scene)
        root = check_environment(paths.backend_root())
        made = yield from refining.refine_steps(imported, scene, name, partial(command_steps, root))
        importer.activate(imported, made.name, scene=None)
        shot_settings.follow_range(imported, scene, actions.FIRST_FRAME + made.n_frames - 1)
        scene.frame_set(scene.frame_current)
        self.done = f"{made.name!r} plays"


CLASSES = (RESTAGE4D_OT_refine_performance,)
