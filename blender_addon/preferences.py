# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's preferences."""

from typing import Any

import bpy

from . import properties


class Restage4DPreferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    connection: bpy.props.EnumProperty(  # type: ignore[valid-type]
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
    connection_file: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Connection File",
        description="It holds the address and the keys: keep it to yourself",
        subtype="FILE_PATH",
    )
    folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Restage4D Folder",
        description=(
            "A checkout with scripts/bootstrap.py to start the backend from; empty: set up by "
            "this extension"
        ),
        subtype="DIR_PATH",
    )
    store: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Store",
        description="Where the backend keeps uploads, jobs and results; empty: its usual place",
        subtype="DIR_PATH",
    )
    stop_with_blender: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Stop the Backend with Blender",
        description=(
            "A backend started here ends with Blender, and its jobs go on with its next start"
        ),
    )
    start_by_itself: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Start It Again by Itself",
        description="A backend on this computer that was lost while a job ran is started again",
        default=True,
    )
    answer_limit: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Answer",
        description="Seconds that the backend has for an answer",
        default=10.0,
        min=1.0,
        max=120.0,
        subtype="TIME_ABSOLUTE",
    )
    start_limit: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Start",
        description="Seconds that the backend has to start",
        default=60.0,
        min=5.0,
        max=600.0,
        subtype="TIME_ABSOLUTE",
    )
    quality: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Quality", description="Of new scenes", items=properties.QUALITIES, default="default"
    )
    longer_side: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Working Size",
        description=(
            "Longer side, in pixels, at which shots are reconstructed; time grows with its square"
        ),
        default=384,
        min=128,
        max=2048,
    )

    def draw(self, context: Any) -> None:
        layout = self.layout
        layout.use_property_split = True
        column = layout.column(heading="Connection")
        column.prop(self, "connection")
        if self.connection == "FILE":
            column.prop(self, "connection_file")
        else:
            column.prop(self, "folder")
            column.prop(self, "store")
            column.prop(self, "start_by_itself")
            column.prop(self, "stop_with_blender")
        column = layout.column(heading="Time Limits", align=True)
        column.prop(self, "answer_limit")
        column.prop(self, "start_limit")
        column = layout.column(heading="New Scenes")
        column.prop(self, "quality")
        column.prop(self, "longer_side")
        _draw_keys(layout)
        layout.operator("restage4d.report_bug", icon="URL")


def _draw_keys(layout: Any) -> None:
    """Keys of providers are the backend's: no .blend and no preferences hold them."""
    from . import runtime  # which reads these preferences itself

    box = layout.box()
    box.label(
        text="Keys of driving-video services are kept by the backend, never by Blender",
        icon="LOCKED",
    )
    for provider in runtime.session().backend.providers:
        if provider.sends:
            row = box.row()
            row.label(text=provider.label, icon="X" if provider.needs else "CHECKMARK")
            row.label(text=provider.needs[0] if provider.needs else "Its key is there")


class Defaults:
    """The preferences' defaults, for where the code runs without being installed as an
    extension."""

    connection = "OWN"
    connection_file = folder = store = ""
    stop_with_blender, start_by_itself = False, True
    answer_limit, start_limit, quality, longer_side = 10.0, 60.0, "default", 384


def get() -> Any:
    addon = bpy.context.preferences.addons.get(__package__)
    return addon.preferences if addon is not None and addon.preferences is not None else Defaults


CLASSES = (Restage4DPreferences,)
