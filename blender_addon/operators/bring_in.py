# SPDX-License-Identifier: GPL-3.0-or-later
"""The finished puppet comes into the scene: begun by `sync` or by the panel's button."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import bpy

from restage4d.puppet import Puppet

from .. import corrections, failures, runtime
from ..languages import say
from ..properties import RESTAGE4D_PG_shot, get_shot
from ..puppet import camera, importer
from ..puppet.animation import performances
from ..puppet.in_scene import room
from ..session.models import Fault, WatchedJob
from ..session.steps import Steps, in_thread
from ..viewport import display
from . import scene_choice, stepped


class RESTAGE4D_OT_bring_in(scene_choice.ChoosesScene, stepped.Stepped, bpy.types.Operator):
    """Bring the finished puppet into the scene; leaves the mode you are in"""

    bl_idname = "restage4d.bring_in"
    bl_label = "Bring In the Puppet"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; the Restage panel brings it in later"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        job = runtime.session().job
        again = job is not None and job.brought_in and job.puppet is not None
        if job is None or (job.loaded is None and not again):
            cls.poll_message_set(say("It is still being fetched"))
            return False
        return super().poll(context)

    def steps(self, context: bpy.types.Context) -> Steps[None]:
        job, scene = runtime.session().job, cast(bpy.types.Scene, context.scene)
        assert job is not None
        try:
            why, first = self.decide(scene), not importer.find_puppets(scene)
            imported = yield from _bring_in_steps(job, scene, keep_scene=self.keep_scene)
            said = room.hide(room.find_in_the_way(imported, scene))
            if first:
                said = self.show(why, imported, scene)
            self.done = f"The puppet is here; {self.describe(why, imported, scene)}"
            self.done += f"; {said}" * bool(said)
        except Exception as error:  # with a fault, nobody begins it again by himself
            told = failures.explain(self.bl_label, error)
            job.fault = Fault.of(told)
            raise told from error
        except GeneratorExit:
            job.put_off = True
            raise


def _bring_in_steps(
    job: WatchedJob, scene: bpy.types.Scene, *, keep_scene: bool
) -> Steps[importer.ImportedPuppet]:
    puppet, path = job.loaded, job.puppet
    if puppet is None:  # brought in before: it was undone, or the choice was changed
        assert path is not None
        puppet = yield from in_thread((0, 100), lambda: Puppet.load(path))
    chosen = get_shot(scene)
    there = [p for p in importer.find_puppets(scene) if p.armature == chosen.into]
    if there:
        yield from _add_performances(there[0], puppet, _find_footage(job, puppet))
        _note_brought_in(job, chosen)
        return there[0]
    name = Path(bpy.path.abspath(chosen.video)).stem if chosen.video else "puppet"
    imported = yield from display.import_steps(
        puppet, name=name, footage=_find_footage(job, puppet), set_up_scene=not keep_scene
    )
    _note_brought_in(job, chosen)
    return imported


def _note_brought_in(job: WatchedJob, chosen: RESTAGE4D_PG_shot) -> None:
    if job.masks is not None:
        corrections.keep_job_masks(chosen, job.masks)
    job.brought_in, job.loaded = True, None
    chosen.job = ""
    runtime.live.hide()


def _add_performances(
    imported: importer.ImportedPuppet, puppet: Puppet, footage: dict[str, Path]
) -> Steps[None]:
    """What the puppet that is there performs more now; the last one plays."""
    for i, p in enumerate(puppet.performances[1:]):
        yield i, len(puppet.performances)
        image = None
        if p.name in footage:
            label, files = f"{imported.armature.name} {p.name}", [footage[p.name]]
            image = camera.add_footage(imported.camera, label, files, p.n_frames)
        made = performances.add_performance(imported, p, p.name, prompt=p.prompt, footage=image)
        found = [f for f in puppet.findings if f.video == p.name]
        imported.about["findings"] += [replace(f, video=made.name) for f in found]
        importer.remember(imported)
        importer.activate(imported, made.name, scene=None)


def _find_footage(job: WatchedJob, puppet: Puppet) -> dict[str, Path]:
    """Footage by performance: files have spaces of the names as underscores."""
    files = {p.name: job.footage.get(p.name.replace(" ", "_")) for p in puppet.performances}
    return {name: path for name, path in files.items() if path is not None}


CLASSES = (RESTAGE4D_OT_bring_in,)
