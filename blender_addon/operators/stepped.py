# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work on the scene in small steps, so that Blender stays alive: progress in the status bar,
Esc ends it.

`Stepped` is for operators whose work is `session.steps.Steps`: in a window a timer runs some steps
at a time, and input other than turning the view is kept away, since the scene is half made; from a
script all steps run at once. `running_work` tells the others what runs.
"""

import time
from typing import Any

import bpy

from restage4d.errors import Cancelled

from .. import failures
from ..languages import say
from ..puppet import importer
from ..session import running_work
from ..session.running_work import RunningWork
from ..session.steps import Steps

SLICE = 0.015  # seconds of work in one turn; the last step of a turn may take longer
NAVIGATION = {
    "MIDDLEMOUSE",
    "WHEELUPMOUSE",
    "WHEELDOWNMOUSE",
    "TRACKPADPAN",
    "TRACKPADZOOM",
    "MOUSEROTATE",
    "NDOF_MOTION",
}


class Stepped:
    """Mixed into operators; they define ``steps(context)``, which yields `Steps`, and say in
    ``done`` what they made."""

    done = "Done"
    undone = "Cancelled; nothing was written"
    _timer: bpy.types.Timer | None = None  # while it runs in a window

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if running_work.current is not None:
            cls.poll_message_set(say(f"Wait until this is done: {running_work.current.label}"))  # type: ignore[attr-defined]
            return False
        return True

    def execute(self: Any, context: bpy.types.Context) -> set[str]:
        try:
            self._steps = self.steps(context)
        except Exception as error:
            return self._fail(context, error)
        if not has_window(self):
            return self._advance(context, None)
        running_work.current = RunningWork(self.bl_label)
        window = context.window_manager
        self._timer = window.event_timer_add(0.01, window=context.window)
        window.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self: Any, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        about = running_work.current
        if event.type == "ESC" and about is not None:
            about.cancelled = True
        if event.type in NAVIGATION and not event.alt:  # Alt: other frames
            return {"PASS_THROUGH"}
        if event.type != "TIMER" and about is not None:
            return {"RUNNING_MODAL"}
        return self._advance(context, about or RunningWork(self.bl_label, cancelled=True))

    def cancel(self: Any, context: bpy.types.Context) -> None:
        """Blender ends it: another file is loaded, the window closes, or it never began."""
        if self._timer is None:
            return
        try:
            self._steps.close()
        except Exception as error:
            failures.record(error)
        self._end(context, {"CANCELLED"})

    def _advance(self: Any, context: bpy.types.Context, about: RunningWork | None) -> set[str]:
        """The steps of one turn in a window (``about`` is given), otherwise all of them. Whatever
        they raise ends the work."""
        until = time.perf_counter() + SLICE
        try:
            while True:
                if about is not None and about.cancelled:
                    self._steps.close()
                    raise Cancelled(self.undone)
                done, total = next(self._steps)
                if about is not None and time.perf_counter() >= until:
                    about.fraction = done / max(total, 1)
                    context.workspace.status_text_set(
                        say(f"{about.label}: {about.fraction:.0%}   Esc: cancel")
                    )
                    return {"RUNNING_MODAL"}
        except StopIteration:
            self.report({"INFO"}, say(self.done))
            return self._end(context, {"FINISHED"})
        except Cancelled as error:
            self.report({"WARNING"}, say(str(error)))
            return self._end(context, {"CANCELLED"})
        except Exception as error:
            self._steps.close()
            return self._fail(context, error)

    def _fail(self: Any, context: bpy.types.Context, error: Exception) -> set[str]:
        self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
        return self._end(context, {"CANCELLED"})

    def _end(self: Any, context: bpy.types.Context, result: set[str]) -> set[str]:
        if self._timer is not None:
            running_work.current = None
            if context.workspace is not None:
                context.workspace.status_text_set(None)
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        return result


def has_window(operator: Any) -> bool:
    """Whether somebody in a window goes on with an operator: not with a script's, and not where the
    redo panel or *Repeat Last* runs it again."""
    options = operator.options
    again = options.is_repeat or options.is_repeat_last
    return options.is_invoke and not again and not bpy.app.background


class OnPuppet(Stepped):
    """Of work on the selected puppet; these define ``steps_on(context, imported)``."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if importer.find_selected_puppet(context) is None:
            cls.poll_message_set(say("Select a part of one puppet, such as its armature"))  # type: ignore[attr-defined]
            return False
        return super().poll(context)

    def steps(self: Any, context: bpy.types.Context) -> Steps[Any]:
        imported = importer.find_selected_puppet(context)
        assert imported is not None  # poll
        return self.steps_on(context, imported)
