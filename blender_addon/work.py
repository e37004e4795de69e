# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work on the scene in small steps, so that Blender stays alive: progress in the status bar, Esc ends it.

`Stepped` is for operators whose work is a generator: it yields (steps done, steps in all). In a window it runs from a timer
and keeps other input away, since frames are being stepped through; from a script it runs through at once. Closing the generator
undoes what it had begun. `shown` tells a panel what runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy

from restage4d.errors import Cancelled, InputError

from . import importing

Steps = Iterator[tuple[int, int]]


@dataclass
class Shown:
    """Work under way, for a panel: what, how far (0..1), and whether the user has asked it to end."""

    label: str
    fraction: float = 0.0
    cancelled: bool = False


shown: Shown | None = None


class Stepped:
    """Mixed into operators; they define ``steps(context, imported)`` and say in ``done`` what they made."""

    done = "Done"

    @classmethod
    def poll(cls, context: Any) -> bool:
        if importing.selected_puppet(context) is None:
            cls.poll_message_set("Select a part of one puppet, such as its armature")  # type: ignore[attr-defined]
            return False
        if shown is not None:
            cls.poll_message_set(f"Wait until this is done: {shown.label}")  # type: ignore[attr-defined]
            return False
        return True

    def steps(self, context: Any, imported: importing.ImportedPuppet) -> Steps:
        raise NotImplementedError

    def execute(self: Any, context: Any) -> set[str]:
        global shown
        imported = importing.selected_puppet(context)
        assert imported is not None  # poll
        self._steps = self.steps(context, imported)
        if not self.options.is_invoke or bpy.app.background:
            return self._advance(context, None)
        shown = Shown(self.bl_label)
        window = context.window_manager
        self._timer = window.event_timer_add(0.01, window=context.window)
        window.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self: Any, context: Any, event: Any) -> set[str]:
        assert shown is not None
        if event.type == "ESC":
            shown.cancelled = True
        if event.type != "TIMER":
            return {"RUNNING_MODAL"}
        return self._advance(context, shown)

    def cancel(self: Any, context: Any) -> None:
        """Blender ends it: another file is loaded, or the window closes."""
        global shown
        self._steps.close()
        shown = None

    def _advance(self: Any, context: Any, about: Shown | None) -> set[str]:
        """One step in a window (``about`` is given), otherwise all of them."""
        try:
            while True:
                if about is not None and about.cancelled:
                    self._steps.close()
                    raise Cancelled("Cancelled; nothing was written")
                done, total = next(self._steps)
                if about is not None:
                    about.fraction = done / max(total, 1)
                    context.workspace.status_text_set(f"{about.label}: {done} of {total}   Esc: cancel")
                    return {"RUNNING_MODAL"}
        except StopIteration:
            self.report({"INFO"}, self.done)
            return self._end(context, {"FINISHED"})
        except Cancelled as error:
            self.report({"WARNING"}, str(error))
            return self._end(context, {"CANCELLED"})
        except (InputError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return self._end(context, {"CANCELLED"})

    def _end(self: Any, context: Any, result: set[str]) -> set[str]:
        global shown
        if shown is not None:
            context.workspace.status_text_set(None)
            context.window_manager.event_timer_remove(self._timer)
            shown = None
        return result
