# SPDX-License-Identifier: GPL-3.0-or-later
"""Modal tools over one 3D view that keep the keyboard and the mouse to themselves.

A key that the tool does not know would reach the scene behind it: X deletes, Ctrl Z undoes. So only
turning this view passes through, and the timers of others.
"""

from collections.abc import Set
from typing import Any

import bpy

from .. import failures
from ..languages import translate
from .stepped import NAVIGATION

_BARS = {"UI", "TOOLS", "HEADER", "TOOL_HEADER", "ASSET_SHELF", "ASSET_SHELF_HEADER"}


class InView:
    """Mixed into operators; they define ``handle(context, event, at)`` for what happens in the view
    and may define ``abandon(context)``, which takes back what they did, and ``close()``. Whatever
    these raise ends the tool with a sentence.

    ``at`` is the mouse in pixels of the view's region, None outside of it and over its bars.
    """

    cursor = "CROSSHAIR"
    text = ""  # of the status bar

    def open_in_view(self: Any, context: bpy.types.Context) -> Set[str]:
        """Begins; the area is remembered by its pointer, for it may be gone at the next event."""
        self.area = context.area.as_pointer()
        self.workspace = context.workspace.name
        context.workspace.status_text_set(translate(self.text))
        context.window.cursor_modal_set(self.cursor)
        context.window_manager.modal_handler_add(self)
        context.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def modal(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> Set[str]:
        found = find_view(context.window, self.area)
        if found is None:
            return self._end(context, {"FINISHED"})
        area, region = found
        at = event.mouse_x - region.x, event.mouse_y - region.y
        if not is_inside(area, region, event.mouse_x, event.mouse_y):
            at = None
        if event.type.startswith("TIMER"):
            return {"PASS_THROUGH"}
        if event.type in NAVIGATION and at is not None and not event.alt:  # Alt: other frames
            return {"PASS_THROUGH"}
        area.tag_redraw()
        try:
            if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
                self.abandon(context)
                return self._end(context, {"CANCELLED"})
            result = self.handle(context, event, at)
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return self._end(context, {"CANCELLED"})
        return result if "RUNNING_MODAL" in result else self._end(context, result)

    def cancel(self: Any, context: bpy.types.Context) -> None:
        """Blender ends it: another file is loaded, or the window closes."""
        self._end(context, {"CANCELLED"})

    def abandon(self, context: bpy.types.Context) -> None:
        """Esc: what the tool did is taken back."""

    def close(self) -> None:
        """What the tool holds goes, however it ends."""

    def _end(self: Any, context: bpy.types.Context, result: Set[str]) -> Set[str]:
        self.close()
        workspace = bpy.data.workspaces.get(self.workspace)
        if workspace is not None:
            workspace.status_text_set(None)
        if context.window is not None:
            context.window.cursor_modal_restore()
            for area in context.window.screen.areas:
                area.tag_redraw()
        return result


def find_view(
    window: bpy.types.Window | None, pointer: int
) -> tuple[bpy.types.Area, bpy.types.Region] | None:
    """The area with that pointer, where it is still a 3D view of the window, and its region."""
    areas = window.screen.areas if window is not None else ()
    area = next((a for a in areas if a.as_pointer() == pointer and a.type == "VIEW_3D"), None)
    region = next((r for r in area.regions if r.type == "WINDOW"), None) if area else None
    return (area, region) if area is not None and region is not None else None


def is_inside(area: bpy.types.Area, region: bpy.types.Region, x: int, y: int) -> bool:
    """Whether a place of the window, in pixels, is in the region and not over one of the bars that
    lie over it."""

    def is_in(r: bpy.types.Region) -> bool:
        return r.x <= x < r.x + r.width and r.y <= y < r.y + r.height and r.width > 1

    return is_in(region) and not any(is_in(r) for r in area.regions if r.type in _BARS)
