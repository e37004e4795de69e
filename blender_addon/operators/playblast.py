# SPDX-License-Identifier: GPL-3.0-or-later
"""*Playblast*: the scene's frames as the 3D view shows them, with the Gaussians, as a video or as
numbered pictures."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

import bpy

from restage4d.io.atomic import replacing

from ..languages import CONTEXT
from ..puppet.output.sequences import list_frames, sequence_steps
from ..session.steps import Steps
from ..viewport import playblast
from . import stepped
from .writing import WritesFiles


class RESTAGE4D_OT_playblast(WritesFiles, stepped.Stepped, bpy.types.Operator):
    """Write the scene's frames as this view shows them, with the Gaussians, which Blender's own
    viewport render leaves out"""

    bl_idname = "restage4d.playblast"
    bl_label = "Playblast"
    bl_options = {"REGISTER"}  # noqa: RUF012
    suffixes = (".mp4", ".png")
    filepath: bpy.props.StringProperty(
        subtype="FILE_PATH", default="//playblast.mp4", options={"PATH_SUPPORTS_BLEND_RELATIVE"}
    )
    filter_glob: bpy.props.StringProperty(default="*.mp4;*.png", options={"HIDDEN"})
    overlays: bpy.props.BoolProperty(
        name="Overlays",
        description="With grid, bones and outlines, below the splats; without, the picture alone",
    )

    @property
    def is_sequence(self) -> bool:  # type: ignore[override]
        return self.place.suffix == ".png"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath.startswith("//") and not bpy.data.filepath:
            self.filepath = self.filepath.removeprefix("//")  # where the file browser last was
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def list_files(self, context: bpy.types.Context) -> list[Path]:
        if not self.is_sequence:
            return [self.place]
        return list(list_frames(self.place, _find_frames(context)).values())

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.ask(context) or super().execute(context)

    def steps(self, context: bpy.types.Context) -> Steps[None]:
        self.done = self.describe_written(context)
        frames, is_video = _find_frames(context), not self.is_sequence
        places = list_frames(self.place.with_suffix(".png"), frames)
        if not is_video:
            draw = partial(_draw_frames, context, frames, places, overlays=self.overlays)
            yield from sequence_steps(self.place.parent, (len(frames), len(frames)), draw)
            return
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            yield from _draw_frames(context, frames, places, folder, self.overlays)
            with replacing(self.place) as temporary:
                scene = cast(bpy.types.Scene, context.scene)
                rate = scene.render.fps / scene.render.fps_base
                playblast.write_video([folder / places[f].name for f in frames], temporary, rate)


def _draw_frames(
    context: bpy.types.Context, frames: range, places: Any, folder: Path, overlays: bool
) -> Steps[None]:
    """Steps through the frames; afterwards the view and the scene stand as they stood."""
    scene, r = cast(bpy.types.Scene, context.scene), context.scene.render
    _, area, region = playblast.find_view()
    space = cast(bpy.types.SpaceView3D, area.spaces.active)
    share = r.resolution_percentage / 100
    size = max(round(r.resolution_x * share), 1), max(round(r.resolution_y * share), 1)
    camera = playblast.ViewCamera(space, size)
    before, shown = (scene.frame_current, scene.frame_subframe), space.overlay.show_overlays
    painting = playblast.Playblast(size)
    try:
        for i, frame in enumerate(frames):
            scene.frame_set(frame)
            space.overlay.show_overlays = shown and overlays
            picture = painting.draw(area, region, camera)
            space.overlay.show_overlays = shown
            playblast.write_picture(folder / places[frame].name, picture)
            yield i + 1, len(frames)
    finally:
        space.overlay.show_overlays = shown
        painting.free()
        scene.frame_set(before[0], subframe=before[1])


def _find_frames(context: bpy.types.Context) -> range:
    scene = cast(bpy.types.Scene, context.scene)
    return range(scene.frame_start, scene.frame_end + 1)


def _draw_view_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator(
        RESTAGE4D_OT_playblast.bl_idname,
        icon="RENDER_ANIMATION",
        text="Playblast with Splats",
        text_ctxt=CONTEXT,
    )


def add_menus() -> None:
    bpy.types.VIEW3D_MT_view.append(_draw_view_menu)


def remove_menus() -> None:
    bpy.types.VIEW3D_MT_view.remove(_draw_view_menu)


CLASSES = (RESTAGE4D_OT_playblast,)
