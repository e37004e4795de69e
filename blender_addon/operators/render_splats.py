# SPDX-License-Identifier: GPL-3.0-or-later
"""*Render Splats*: reads the scene step by step, then the backend draws it (`render_job`) while
Blender is free."""

from pathlib import Path
from typing import cast

import bpy

from restage4d.errors import InputError

from .. import failures, runtime
from ..languages import say
from ..puppet import importer
from ..puppet.output import render_job
from ..session.steps import Steps
from ..viewport.display import get_display
from ..viewport.live_preview import redraw
from ..viewport.mesh_depth import MeshDepth
from . import stepped
from .writing import WritesFiles


class RESTAGE4D_OT_render_splats(WritesFiles, stepped.OnPuppet, bpy.types.Operator):
    """Render the scene camera's animation of the puppet on the backend, to EXR sequences of colour
    with alpha and of depth"""

    bl_idname = "restage4d.render_splats"
    bl_label = "Render Splats"
    bl_options = {"REGISTER"}  # noqa: RUF012
    suffixes = (".exr",)
    is_sequence = True
    filepath: bpy.props.StringProperty(
        subtype="FILE_PATH",
        default="//splats.exr",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    filter_glob: bpy.props.StringProperty(default="*.exr", options={"HIDDEN"})
    background: bpy.props.BoolProperty(
        name="Background",
        description="With the static background; without, the subject alone on clear ground",
        default=True,
    )
    missing: bpy.props.BoolProperty(
        name="Only Missing Frames",
        description=(
            "Draw what is not there yet, and keep each frame as soon as it is drawn: a rendering "
            "that was interrupted goes on where it was"
        ),
    )
    samples: bpy.props.IntProperty(
        name="Motion Blur",
        description="Pictures between two frames that are averaged; 1: no blur",
        default=1,
        min=1,
        max=64,
    )
    shutter: bpy.props.FloatProperty(
        name="Shutter",
        description="How long the shutter is open, in frames",
        default=0.5,
        min=0.01,
        max=2.0,
    )
    holdout: bpy.props.BoolProperty(
        name="Hidden by Objects",
        description=(
            "Leave clear what stands behind other objects of the scene, to be laid over their "
            "render"
        ),
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if render_job.current is not None and not render_job.current.finished:
            cls.poll_message_set(say("Splats are being rendered already"))
            return False
        if context.scene.camera is None:
            cls.poll_message_set(say("The scene has no camera"))
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath.startswith("//") and not bpy.data.filepath:
            self.filepath = self.filepath.removeprefix("//")  # where the file browser last was
        imported = importer.find_selected_puppet(context)
        if imported is not None:  # what is switched off in the view is off in the picture
            self.background = get_display(imported.armature).background
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def list_files(self, context: bpy.types.Context) -> list[Path]:
        frames = [] if self.missing else _find_frames(context)
        pictures, depths = render_job.list_files(self.place, frames)
        return [*pictures.values(), *depths.values()]

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        for name in ("background", "holdout", "missing", "samples"):
            layout.prop(self, name)
        column = layout.column()
        column.active = self.samples > 1
        column.prop(self, "shutter")

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.ask(context) or super().execute(context)

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        scene = cast(bpy.types.Scene, context.scene)
        frames = list(_find_frames(context))
        if self.missing:
            pictures, depths = render_job.list_files(self.place, frames)
            frames = [f for f in frames if not (pictures[f].exists() and depths[f].exists())]
            if not frames:
                raise InputError("Every frame is there already.", "Switch Only Missing Frames off.")
        times = render_job.list_times(frames, self.samples, self.shutter)
        meshes = MeshDepth(scene) if self.holdout else None
        reading = render_job.render_steps(imported, scene, times, background=self.background)
        try:
            for i in range(len(times)):
                next(reading)
                if meshes is not None and i % self.samples == self.samples // 2:
                    meshes.read(frames[i // self.samples])
                yield i + 1, len(times)
            while True:
                next(reading)
                yield len(times), len(times)
        except StopIteration as end:
            render_job.current = render_job.Render(
                end.value,
                frames,
                self.background,
                self.place,
                runtime.make_connector(),
                samples=self.samples,
                picture=render_job.read_picture(scene),
                meshes=meshes.files if meshes is not None else {},
                keeps=self.missing,
                scratch=meshes.scratch if meshes is not None else None,
            )
            render_job.start(render_job.current)
            bpy.app.timers.register(_watch, first_interval=0.2)
            self.done = "The backend renders; Blender is free meanwhile"
        finally:
            reading.close()
            if meshes is not None:
                meshes.free()


def _find_frames(context: bpy.types.Context) -> range:
    scene = cast(bpy.types.Scene, context.scene)
    return range(scene.frame_start, scene.frame_end + 1)


class RESTAGE4D_OT_cancel_render(bpy.types.Operator):
    """Stop rendering splats; nothing is written"""

    bl_idname = "restage4d.cancel_render"
    bl_label = "Cancel Rendering"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if render_job.current is None or render_job.current.finished:
            cls.poll_message_set(say("No splats are being rendered"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        assert render_job.current is not None
        render_job.current.cancelled = True
        return {"FINISHED"}


def _watch() -> float | None:
    """Keeps the sidebar and the status bar up to date until the rendering is over."""
    render = render_job.current
    over = render is None or render.finished
    try:
        text = "" if render is None or over else f"Render Splats: {render.says}"
        for window in bpy.context.window_manager.windows:
            if text:
                window.workspace.status_text_set(say(text))
            else:
                window.workspace.status_text_set(None)
        redraw(views=False)
        if render is not None and over and render.unexpected is not None:
            failures.record(render.unexpected)
    except Exception as error:  # a timer that raises is called no more
        failures.tell_once("render", "Showing how far the rendering is", error)
    return None if over else 0.3


CLASSES = (RESTAGE4D_OT_render_splats, RESTAGE4D_OT_cancel_render)
