# SPDX-License-Identifier: GPL-3.0-or-later
"""The finished puppet comes into the scene: begun by `sync` or by the panel's button."""

from pathlib import Path

import bpy

from .. import failures, runtime
from ..properties import get_shot
from ..puppet import camera, importer
from ..session.models import Fault, WatchedJob
from ..session.steps import Steps
from ..viewport import display
from . import stepped


class RESTAGE4D_OT_bring_in(stepped.Stepped, bpy.types.Operator):
    """Bring the finished puppet into the scene; leaves the mode you are in"""

    bl_idname = "restage4d.bring_in"
    bl_label = "Bring In the Puppet"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    done = "The puppet is here"
    undone = "Cancelled; the Restage panel brings it in later"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = runtime.session().job
        if job is None or job.loaded is None:
            cls.poll_message_set("It is still being fetched")
            return False
        return super().poll(context)

    def steps(self, context: bpy.types.Context) -> Steps[None]:
        job, scene = runtime.session().job, context.scene
        assert job is not None
        try:
            yield from _bring_in_steps(job, scene)
        except Exception as error:  # with a fault, nobody begins it again by himself
            told = failures.explain(self.bl_label, error)
            job.fault = Fault.of(told)
            raise told from error
        except GeneratorExit:
            job.put_off = True
            raise


def _bring_in_steps(job: WatchedJob, scene: bpy.types.Scene | None) -> Steps[None]:
    assert job.loaded is not None
    puppet, first = job.loaded, not importer.find_puppets(scene)
    chosen = get_shot(scene)
    name = Path(bpy.path.abspath(chosen.video)).stem if chosen.video else "puppet"
    yield from display.import_steps(puppet, name=name, footage=_find_footage(job))
    if first:
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    camera.look_through(area.spaces.active, puppet.subject.means)
    job.brought_in, job.loaded = True, None
    chosen.job = ""
    runtime.live.hide()


def _find_footage(job: WatchedJob) -> dict[str, Path]:
    """Footage by performance: files have spaces of the names as underscores."""
    assert job.loaded is not None
    files = {p.name: job.footage.get(p.name.replace(" ", "_")) for p in job.loaded.performances}
    return {name: path for name, path in files.items() if path is not None}


CLASSES = (RESTAGE4D_OT_bring_in,)
