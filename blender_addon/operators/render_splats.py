# SPDX-License-Identifier: GPL-3.0-or-later
"""*Render Splats*: reads the scene step by step, then the backend draws it (`render_job`) while
Blender is free."""

from pathlib import Path
from typing import cast

import bpy

from .. import runtime
from ..puppet import importer
from ..puppet.output import render_job
from ..session.steps import Steps
from ..viewport.live_preview import redraw
from . import stepped


class RESTAGE4D_OT_render_splats(stepped.OnPuppet, bpy.types.Operator):
    """Render the scene camera's animation of the puppet on the backend, to EXR sequences of colour
    with alpha and of depth"""

    bl_idname = "restage4d.render_splats"
    bl_label = "Render Splats"
    bl_options = {"REGISTER"}  # noqa: RUF012
    filepath: bpy.props.StringProperty(subtype="FILE_PATH", default="//splats.exr")
    filter_glob: bpy.props.StringProperty(default="*.exr", options={"HIDDEN"})
    background: bpy.props.BoolProperty(
        name="Background",
        description="With the static background; without, the subject alone on clear ground",
        default=True,
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if render_job.current is not None and not render_job.current.finished:
            cls.poll_message_set("Splats are being rendered already")
            return False
        if context.scene.camera is None:
            cls.poll_message_set("The scene has no camera")
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        scene = cast(bpy.types.Scene, context.scene)
        frames = range(scene.frame_start, scene.frame_end + 1)
        reading = render_job.render_steps(imported, scene, frames, background=self.background)
        try:
            for i in range(len(frames)):
                next(reading)
                yield i + 1, len(frames)
            next(reading)
        except StopIteration as end:
            path = Path(bpy.path.abspath(self.filepath))
            render_job.current = render_job.Render(
                end.value, frames, self.background, path, runtime.make_connector()
            )
            render_job.start(render_job.current)
            bpy.app.timers.register(_watch, first_interval=0.2)
            self.done = "The backend renders; Blender is free meanwhile"
        finally:
            reading.close()


class RESTAGE4D_OT_cancel_render(bpy.types.Operator):
    """Stop rendering splats; nothing is written"""

    bl_idname = "restage4d.cancel_render"
    bl_label = "Cancel Rendering"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if render_job.current is None or render_job.current.finished:
            cls.poll_message_set("No splats are being rendered")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        assert render_job.current is not None
        render_job.current.cancelled = True
        return {"FINISHED"}


def _watch() -> float | None:
    """Keeps the sidebar and the status bar up to date until the rendering is over."""
    assert render_job.current is not None
    over = render_job.current.finished
    for window in bpy.context.window_manager.windows:
        window.workspace.status_text_set(
            None if over else f"Render Splats: {render_job.current.says}"
        )
    redraw(views=False)
    return None if over else 0.3


CLASSES = (RESTAGE4D_OT_render_splats, RESTAGE4D_OT_cancel_render)
