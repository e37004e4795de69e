# SPDX-License-Identifier: GPL-3.0-or-later
"""Words in panels: paragraphs wrapped to the width, and what is wrong with what to do about it."""

import re
import textwrap
from typing import Any

import bpy

from ..session.models import Fault


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
    for i, line in enumerate(textwrap.wrap(text, letters)):
        column.label(text=line, icon=icon if i == 0 else ("BLANK1" if icon != "NONE" else "NONE"))


def name_fields(text: str) -> str:
    """A remedy in the panel's words: the command line's options become fields and buttons.

    Example:
        >>> name_fields("What works is the part with --frames 11 --first 9.")
        'What works is the part with First 10, Last 20.'
    """
    for pattern, field in _FIELDS:
        text = re.sub(pattern, field, text)
    found = dict(re.findall(r"--(first|frames) (\d+)", text))
    first, count = int(found.get("first", 0)), found.get("frames")
    fields = [f"First {first + 1}"] if "first" in found else []
    fields += [f"Last {first + int(count)}"] if count is not None else []
    return re.sub(r"(--(first|frames) \d+ ?)+(?<! )", ", ".join(fields), text)


_FIELDS = (
    ("with --select, --box or --mask", "with Select the Subject"),
    ("with --driving FILE", "of your own: choose My Own Video"),
    ("--longer-side", "the Working Size in the preferences"),
    ("with --priors", "on the command line with --priors"),
)


def fault_box(layout: bpy.types.UILayout, context: bpy.types.Context, fault: Fault) -> None:
    """What is wrong, and below it what to do."""
    box = layout.box()
    column = box.column()
    column.alert = True
    paragraph(column, context, fault.what, icon="ERROR")
    if fault.remedy:
        paragraph(box, context, name_fields(fault.remedy), icon="INFO")
