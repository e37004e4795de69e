# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's preferences, to be read; `ui.preferences_page` shows them."""

from dataclasses import dataclass
from typing import Any

import bpy

from restage4d.defaults import LONGER_SIDE, QUALITY

PACKAGE = __package__ or ""  # as Blender knows the extension: bl_ext.REPOSITORY.restage4d


@dataclass(frozen=True)
class Preferences:
    """What the user can set, with its defaults: they hold where the code runs without being
    installed as an extension."""

    connection: str = "OWN"
    connection_file: str = ""
    folder: str = ""
    store: str = ""
    stop_with_blender: bool = False
    start_by_itself: bool = True
    answer_limit: float = 10.0
    start_limit: float = 60.0
    quality: str = QUALITY
    longer_side: int = LONGER_SIDE
    tour_over: bool = False
    tour_step: int = 0


DEFAULTS = Preferences()


def get() -> Preferences:
    page = find()
    return page if page is not None else DEFAULTS


def find() -> Any:
    """The preferences that Blender keeps, with the same fields as properties; None where the code
    runs without being installed."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon is not None else None
