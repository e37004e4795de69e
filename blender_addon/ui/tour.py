# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick tour at the top of the sidebar: five steps, until it was read or closed."""

from typing import Any

import bpy

from .. import preferences
from ..languages import CONTEXT, translate
from .panel_base import CATEGORY
from .text import paragraph

STEPS: tuple[tuple[Any, str, str], ...] = (
    (
        "LINKED",
        "Start the backend",
        "It does the heavy work beside Blender. The first time it is set up; after that one click "
        "starts it.",
    ),
    (
        "FILE_MOVIE",
        "Pick the shot",
        "Drop a video on the 3D view, then click the subject on its first frame, or let what moves "
        "be it.",
    ),
    (
        "TEXT",
        "Say what it shall do",
        "A sentence such as: it crouches, then jumps. Below it stands what will be acted.",
    ),
    (
        "PLAY",
        "Restage",
        "Minutes, not hours. The puppet shows while it converges; you may save and close Blender.",
    ),
    (
        "ARMATURE_DATA",
        "Make it yours",
        "Move the coloured handles in Pose Mode, key them, play it as a Playblast, export it. "
        "Shift+Alt+R opens the puppet's pie menu.",
    ),
)


class RESTAGE4D_PT_tour(bpy.types.Panel):
    bl_label = "Quick Tour"
    bl_idname = "RESTAGE4D_PT_tour"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY
    bl_order = 0

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return not preferences.get().tour_over

    def draw(self, context: bpy.types.Context) -> None:
        layout, step = self.layout, min(preferences.get().tour_step, len(STEPS) - 1)
        assert layout is not None
        icon, title, text = STEPS[step]
        layout.label(
            text=f"{step + 1}/{len(STEPS)}  {translate(title)}", icon=icon, translate=False
        )
        paragraph(layout, context, text)
        row = layout.row(align=True)
        if step:
            row.operator("restage4d.tour", text="Back", text_ctxt=CONTEXT).by = -1  # pyright: ignore
        if step + 1 < len(STEPS):
            row.operator("restage4d.tour", text="Next", text_ctxt=CONTEXT).by = 1  # pyright: ignore
        row.operator("restage4d.tour", text="Close", text_ctxt=CONTEXT, icon="X").by = 0  # pyright: ignore


CLASSES = (RESTAGE4D_PT_tour,)
