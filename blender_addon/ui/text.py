# SPDX-License-Identifier: GPL-3.0-or-later
"""Words in panels: paragraphs wrapped to the width, and what is wrong with what to do about it."""

import textwrap
from typing import Any

import bpy

from ..languages import translate
from ..session.models import Fault
from ..wording import name_fields


def paragraph(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    text: str,
    icon: Any = "NONE",
    width: int | None = None,
) -> None:
    """A text wrapped to the sidebar's width, or to ``width`` in pixels of a scale of 1."""
    scale = context.preferences.system.ui_scale or 1.0  # 0 without a window
    pixels = width * scale if width else context.region.width if context.region else 240
    letters = max(18, int(pixels / (6.2 * scale)) - (5 if icon == "NONE" else 9))
    column = layout.column(align=True)
    column.scale_y = 0.75
    for i, line in enumerate(textwrap.wrap(translate(text), letters)):
        column.label(
            text=line,
            translate=False,
            icon=icon if i == 0 else ("BLANK1" if icon != "NONE" else "NONE"),
        )


def fault_box(layout: bpy.types.UILayout, context: bpy.types.Context, fault: Fault) -> None:
    """What is wrong, and below it what to do."""
    box = layout.box()
    column = box.column()
    column.alert = True
    paragraph(column, context, name_fields(fault.what), icon="ERROR")
    if fault.remedy:
        paragraph(box, context, name_fields(fault.remedy), icon="INFO")
