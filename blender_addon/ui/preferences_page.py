# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's page in Blender's preferences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from .. import paths, preferences, properties, runtime
from ..languages import CONTEXT, translate


def _make_absolute(name: str) -> Callable[[Any, bpy.types.Context], None]:
    """Of a path, when it is entered: ``//`` is the folder of the .blend that is open now, and the
    preferences hold for all."""

    def update(page: Any, context: bpy.types.Context) -> None:
        given = getattr(page, name)
        if given.startswith("//") and bpy.data.filepath:
            setattr(page, name, str(paths.resolve(given)))

    return update


class Restage4DPreferences(bpy.types.AddonPreferences):
    bl_idname = preferences.PACKAGE

    connection: bpy.props.EnumProperty(
        name="Backend",
        items=(
            ("OWN", "This Computer", "Found by itself, and started and stopped here"),
            (
                "FILE",
                "A Connection File",
                "Of a backend on another computer; its keeper makes the file for you",
            ),
        ),
    )
    connection_file: bpy.props.StringProperty(
        name="Connection File",
        description="It holds the address and the keys: keep it to yourself",
        subtype="FILE_PATH",
        update=_make_absolute("connection_file"),
    )
    folder: bpy.props.StringProperty(
        name="Restage4D Folder",
        description=(
            "A checkout with scripts/bootstrap.py to start the backend from; empty: set up by "
            "this extension"
        ),
        subtype="DIR_PATH",
        update=_make_absolute("folder"),
    )
    store: bpy.props.StringProperty(
        name="Store",
        description="Where the backend keeps uploads, jobs and results; empty: its usual place",
        subtype="DIR_PATH",
        update=_make_absolute("store"),
    )
    stop_with_blender: bpy.props.BoolProperty(
        name="Stop the Backend with Blender",
        description=(
            "A backend started here ends with Blender, and its jobs go on with its next start"
        ),
    )
    start_by_itself: bpy.props.BoolProperty(
        name="Start It Again by Itself",
        description="A backend on this computer that was lost while a job ran is started again",
        default=preferences.DEFAULTS.start_by_itself,
    )
    answer_limit: bpy.props.FloatProperty(
        name="Answer",
        description="Seconds that the backend has for an answer",
        default=preferences.DEFAULTS.answer_limit,
        min=1.0,
        max=120.0,
        subtype="TIME_ABSOLUTE",
    )
    start_limit: bpy.props.FloatProperty(
        name="Start",
        description="Seconds that the backend has to start",
        default=preferences.DEFAULTS.start_limit,
        min=5.0,
        max=600.0,
        subtype="TIME_ABSOLUTE",
    )
    quality: bpy.props.EnumProperty(
        name="Quality",
        description="With which new scenes begin",
        items=properties.QUALITIES,
        default=preferences.DEFAULTS.quality,
    )
    longer_side: bpy.props.IntProperty(
        name="Working Size",
        description=properties.WORKING_SIZE,
        default=preferences.DEFAULTS.longer_side,
        min=128,
        max=2048,
    )
    tour_over: bpy.props.BoolProperty(
        name="The Quick Tour Is Over",
        description="Switch it off to see the tour in the sidebar again",
    )
    tour_step: bpy.props.IntProperty(options={"HIDDEN"}, min=0)

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        column = _add_part(layout, "Connection")
        column.prop(self, "connection")
        if self.connection == "FILE":
            _draw_path(column, self, "connection_file")
        else:
            _draw_path(column, self, "folder")
            _draw_path(column, self, "store")
            column.prop(self, "start_by_itself")
            column.prop(self, "stop_with_blender")
        column = _add_part(layout, "Time Limits")
        column.prop(self, "answer_limit")
        column.prop(self, "start_limit")
        column = _add_part(layout, "New Scenes")
        column.prop(self, "quality")
        column.prop(self, "longer_side")
        layout.prop(self, "tour_over")
        _draw_keys(layout)
        layout.operator("restage4d.report_bug", icon="URL")


def _add_part(layout: bpy.types.UILayout, heading: str) -> bpy.types.UILayout:
    """A part of the page below its heading; Blender draws a column's own only beside checkboxes."""
    layout.label(text=heading, text_ctxt=CONTEXT)
    return layout.column()


def _draw_path(layout: bpy.types.UILayout, page: Restage4DPreferences, name: str) -> None:
    layout.prop(page, name)
    if getattr(page, name).startswith("//"):  # entered while the .blend had no folder
        layout.label(
            text="A full path is needed, not one beside the .blend", text_ctxt=CONTEXT, icon="ERROR"
        )
    elif getattr(page, name) and not Path(getattr(page, name)).exists() and name != "store":
        layout.label(text="There is nothing at this path", text_ctxt=CONTEXT, icon="ERROR")


def _draw_keys(layout: bpy.types.UILayout) -> None:
    """Keys of providers are the backend's: no .blend and no preferences hold them."""
    box = layout.box()
    box.label(
        text="Keys of driving-video services are kept by the backend, never by Blender",
        text_ctxt=CONTEXT,
        icon="LOCKED",
    )
    for provider in runtime.session().backend.providers:
        if provider.sends:
            row = box.row()
            row.label(text=provider.label, icon="X" if provider.needs else "CHECKMARK")
            text = provider.needs[0] if provider.needs else translate("Its key is there")
            row.label(text=text, translate=False)


CLASSES = (Restage4DPreferences,)
