# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.export_for_programs``: what the artist made of a puppet in the formats of
``restage4d export``, which the backend's environment writes."""

from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import Any, cast

import bpy

from restage4d.errors import InputError
from restage4d.exporting.formats import FORMATS, Axes, check_place

from ... import paths
from ...languages import CONTEXT
from ...puppet import importer
from ...puppet.output import other_programs
from ...puppet.playback import nla
from ...session.command import check_environment, command_steps
from ...session.steps import Steps
from ..puppet import list_performances
from ..stepped import OnPuppet
from ..writing import WritesFiles

_AXES = (
    ("FORMAT", "As Expected", "Where programs that read this format expect up to be"),
    (Axes.Z_UP.value, "Z Up", "As in Blender"),
    (Axes.Y_UP.value, "Y Up", "As in glTF and most engines"),
    (Axes.Y_DOWN.value, "Y Down", "As 3DGS trainers write and SuperSplat expects"),
)


class RESTAGE4D_OT_export_for_programs(WritesFiles, OnPuppet, bpy.types.Operator):
    """Export splats, USD, glTF, pictures, a film or cameras for other programs, as the scene plays
    them; needs the backend's libraries on this computer"""

    bl_idname = "restage4d.export_for_programs"
    bl_label = "Export for Other Programs"
    bl_options = {"REGISTER"}  # noqa: RUF012
    filepath: bpy.props.StringProperty(
        subtype="FILE_PATH", options={"SKIP_SAVE", "PATH_SUPPORTS_BLEND_RELATIVE"}
    )
    format: bpy.props.EnumProperty(
        name="Format",
        description="What the other program reads",
        items=[(name, name, form.about) for name, form in FORMATS.items()],
        default="usd-splats",
    )
    as_played: bpy.props.BoolProperty(
        name="What Plays Now",
        description="Over the scene's frames: NLA, handles and constraints, not one performance",
        default=False,
    )
    performance: bpy.props.EnumProperty(
        name="Performance",
        description="Which one, with its layers",
        items=list_performances,
        options={"SKIP_SAVE"},
    )
    use_range: bpy.props.BoolProperty(
        name="Own Range", description="Not all frames, but those given here", default=False
    )
    first: bpy.props.IntProperty(
        name="First", description="First frame, with an own range", default=1
    )
    last: bpy.props.IntProperty(
        name="Last", description="Last frame, with an own range", default=100
    )
    background: bpy.props.BoolProperty(
        name="Background", description="The static background, in every frame", default=False
    )
    axes: bpy.props.EnumProperty(name="Axes", description="Where up is", items=_AXES)
    scale: bpy.props.FloatProperty(
        name="Scale", description="File units per metre", default=1.0, min=1e-6, max=1e6
    )

    @property
    def is_sequence(self) -> bool:  # type: ignore[override]
        return self.choose().makes_folder

    def choose(self: Any) -> other_programs.Choice:
        """The choices, for `other_programs`."""
        name = self.performance
        if not self.properties.is_property_set("performance"):
            name = _find_shown(bpy.context)
        return other_programs.Choice(
            self.format,
            "" if self.as_played else name,
            range(self.first, self.last + 1) if self.use_range else None,
            self.background,
            "" if self.axes == "FORMAT" else self.axes,
            self.scale,
        )

    def complete(self, path: str) -> str:
        return other_programs.complete_name(path, self.choose())

    def find_place(self) -> Path:
        choice = self.choose()
        if not bpy.path.basename(self.filepath):
            raise InputError("No name is given for what is written.", "Such as fox.")
        place = paths.resolve(other_programs.complete_name(self.filepath, choice))
        if choice.makes_folder and place.is_file():
            raise InputError(f"{place} is a file.", "Give the name of a folder.")
        if not choice.makes_folder and place.is_dir():
            raise InputError(f"{place} is a folder.", "Give the name of a file.")
        check_place(self.format, place, choice.frames or range(2 if choice.makes_folder else 1))
        return place

    def list_files(self, context: bpy.types.Context) -> list[Path]:
        imported = importer.find_selected_puppet(context)
        assert imported is not None  # poll
        scene = cast(bpy.types.Scene, context.scene)
        return other_programs.list_files(imported, scene, self.place, self.choose())

    def invoke(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        self.performance = _find_shown(context)
        if not self.filepath:
            name = bpy.path.display_name_from_filepath(bpy.data.filepath) or "puppet"
            self.filepath = self.complete(f"//{name}" if bpy.data.filepath else name)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.ask(context) or super().execute(context)

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        self.done, scene = f"Wrote {self.place}", cast(bpy.types.Scene, context.scene)
        command = partial(command_steps, check_environment(paths.backend_root()))
        return other_programs.program_steps(imported, scene, self.place, self.choose(), command)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "format")
        layout.prop(self, "as_played")
        column = layout.column()
        column.active = not self.as_played
        column.prop(self, "performance")
        layout.prop(self, "use_range")
        column = layout.column(align=True)
        column.active = self.use_range
        column.prop(self, "first")
        column.prop(self, "last")
        for name in ("background", "axes", "scale"):
            layout.prop(self, name)


def _find_shown(context: bpy.types.Context) -> str:
    """The performance that plays, else the newest one."""
    imported = importer.find_selected_puppet(context)
    shown = nla.find_shown(imported) if imported is not None else None
    return shown.name if shown is not None else ""


def _draw_export_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.operator(
        RESTAGE4D_OT_export_for_programs.bl_idname,
        text="Restage4D for Other Programs",
        text_ctxt=CONTEXT,
    )


def add_menus() -> None:
    bpy.types.TOPBAR_MT_file_export.append(_draw_export_menu)


def remove_menus() -> None:
    bpy.types.TOPBAR_MT_file_export.remove(_draw_export_menu)


CLASSES = (RESTAGE4D_OT_export_for_programs,)
