# SPDX-License-Identifier: GPL-3.0-or-later
"""The finished puppet comes into the scene: by itself where the artist is in nothing else, or by
the panel's button."""

from pathlib import Path
from typing import Any

import bpy

from restage4d.errors import InputError

from .. import headless, runtime
from ..puppet import importer
from ..session.models import Fault, Job
from ..session.session import Session
from ..session.steps import Steps
from ..viewport import display
from . import stepped


def when_possible(here: Session) -> None:
    """Begins to bring in a finished puppet, unless the artist is in the middle of something or has
    put it off."""
    job = here.job
    if job is None or job.loaded is None or job.brought_in or job.put_off or job.fault is not None:
        return
    if bpy.context.mode != "OBJECT" or stepped.shown is not None:
        return
    if bpy.app.background:
        bpy.ops.restage4d.bring_in()
        return
    windows = bpy.context.window_manager.windows
    if not any(len(w.modal_operators) for w in windows):
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.restage4d.bring_in("INVOKE_DEFAULT")


class RESTAGE4D_OT_bring_in(stepped.Stepped, bpy.types.Operator):
    """Bring the finished puppet into the scene; leaves the mode you are in"""

    bl_idname = "restage4d.bring_in"
    bl_label = "Bring In the Puppet"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    done = "The puppet is here"
    undone = "Cancelled; the Restage panel brings it in later"

    @classmethod
    def poll(cls, context: Any) -> bool:
        job = runtime.session().job
        if job is None or job.loaded is None:
            cls.poll_message_set("It is still being fetched")
            return False
        return super().poll(context)

    def steps(self, context: Any) -> Steps[None]:
        job, scene = runtime.session().job, context.scene
        assert job is not None
        try:
            yield from _steps(job, scene)
        except InputError as error:
            job.fault = Fault.of(error)
            raise
        except GeneratorExit:
            job.put_off = True
            raise


def _steps(job: Job, scene: Any) -> Steps[None]:
    assert job.loaded is not None
    puppet, first = job.loaded, not importer.find_puppets(scene)
    name = Path(bpy.path.abspath(scene.restage4d.video)).stem if scene.restage4d.video else "puppet"
    yield from display.import_steps(puppet, name=name, footage=_footage(job))
    if first:
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    headless.look_through(area.spaces.active, puppet.subject.means)
    job.brought_in, job.loaded = True, None
    scene.restage4d.job = ""
    runtime.live.hide()


def _footage(job: Job) -> dict[str, Path]:
    """Footage by performance: files have spaces of the names as underscores."""
    assert job.loaded is not None
    files = {p.name: job.footage.get(p.name.replace(" ", "_")) for p in job.loaded.performances}
    return {name: path for name, path in files.items() if path is not None}


CLASSES = (RESTAGE4D_OT_bring_in,)
