# SPDX-License-Identifier: GPL-3.0-or-later
"""Words in panels: paragraphs wrapped to the width, and what is wrong with what to do about it."""

import textwrap
import unicodedata
from typing import Any

import bpy

from ..languages import say
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
    for i, line in enumerate(wrap(say(text), letters)):
        column.label(
            text=line,
            translate=False,
            icon=icon if i == 0 else ("BLANK1" if icon != "NONE" else "NONE"),
        )


def wrap(text: str, letters: int) -> list[str]:
    """Lines of a width in Latin letters. Chinese and Japanese characters are two wide, and a line
    may end between any two of them.

    Example:
        >>> wrap("ab cd", 4), wrap("重い処理", 4)
        (['ab', 'cd'], ['重い', '処理'])
    """
    wide = [unicodedata.east_asian_width(letter) in "WF" for letter in text]
    if not any(wide):
        return textwrap.wrap(text, letters)
    lines, line, width, at = [], "", 0, 0
    while at < len(text):
        end = at + 1  # of what stays together: one wide character, or a word
        while not wide[at] and end < len(text) and not wide[end] and text[end] != " ":
            end += 1
        while end < len(text) and text[end] in _NO_BEGINNING:
            end += 1
        piece = sum(1 + w for w in wide[at:end])
        if line and width + piece > letters:
            lines, line, width = [*lines, line.rstrip()], "", 0
        line += text[at:end] if line else text[at:end].lstrip()
        width, at = width + piece, end
    return [*lines, line.rstrip()]


_NO_BEGINNING = "、。，：；）」』)."  # of a line


def fault_box(layout: bpy.types.UILayout, context: bpy.types.Context, fault: Fault) -> None:
    """What is wrong, and below it what to do."""
    box = layout.box()
    column = box.column()
    column.alert = True
    paragraph(column, context, name_fields(fault.what), icon="ERROR")
    if fault.remedy:
        paragraph(box, context, name_fields(fault.remedy), icon="INFO")
