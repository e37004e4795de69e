"""Inside Blender: how long each call of the extension holds the interface, by the clock and of the
processor.

Everything of the extension that Blender calls is watched: panels, operators, timers, handlers,
drawing in the views.
"""

import functools
import sys
import time
from typing import Any

import bpy

METHODS = (
    "draw",
    "draw_header",
    "poll",
    "poll_drop",
    "invoke",
    "execute",
    "modal",
    "cancel",
    "_draw",
    "paint",
)


class Watch:
    """``clock`` and ``processor``: longest milliseconds by what was called; other programs count in
    the first alone."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.clock: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        # longest milliseconds between two turns of Blender's own loop, its drawing included, since
        # it was set
        self.gap = 0.0
        self._turned: float | None = None

    def everything(self) -> None:
        """Watches all of the extension that is registered now."""
        for name, module in list(sys.modules.items()):
            if name.startswith(self.package + "."):
                for cls in [
                    c for c in vars(module).values() if isinstance(c, type) and c.__module__ == name
                ]:
                    for method in METHODS:
                        self._method(cls, method)
        for handlers in (getattr(bpy.app.handlers, n) for n in dir(bpy.app.handlers)):
            for i, handler in enumerate(handlers if isinstance(handlers, list) else []):
                if getattr(handler, "__module__", "").startswith(self.package):
                    handlers[i] = self.timed(handler, handler.__name__)
        for module, function in (("sync", "tick"), ("operators.render_splats", "_watch")):
            self._timer(sys.modules[f"{self.package}.{module}"], function)
        bpy.app.timers.register(self._turn, persistent=True)

    def timed(self, inner: Any, label: str) -> Any:
        @functools.wraps(inner)
        def outer(*arguments: Any, **keywords: Any) -> Any:
            start, cpu = time.perf_counter(), time.thread_time()
            try:
                return inner(*arguments, **keywords)
            finally:
                self._note(label, time.perf_counter() - start, time.thread_time() - cpu)

        return outer

    def worst(self, count: int = 8) -> list[str]:
        """The longest by the clock, as lines."""
        order = sorted(self.clock, key=lambda k: -self.clock[k])[:count]
        return [
            f"{k}: {self.clock[k]:.1f} ms by the clock, {self.processor[k]:.1f} of the processor"
            for k in order
        ]

    def _note(self, label: str, clock: float, processor: float) -> None:
        self.clock[label] = max(self.clock.get(label, 0.0), round(1000 * clock, 2))
        self.processor[label] = max(self.processor.get(label, 0.0), round(1000 * processor, 2))

    def _method(self, cls: type, name: str) -> None:
        found = vars(cls).get(name)
        if isinstance(found, classmethod):
            setattr(cls, name, classmethod(self._named(found.__func__, name)))
        elif callable(found):
            setattr(cls, name, self._named(found, name))

    def _named(self, inner: Any, name: str) -> Any:
        def label(owner: Any) -> str:
            kind = owner if isinstance(owner, type) else type(owner)
            return f"{kind.__name__.removeprefix('RESTAGE4D_')}.{name}"

        def outer(owner: Any, *arguments: Any) -> Any:
            start, cpu = time.perf_counter(), time.thread_time()
            try:
                return inner(owner, *arguments)
            finally:
                self._note(label(owner), time.perf_counter() - start, time.thread_time() - cpu)

        if inner.__code__.co_varnames[: inner.__code__.co_argcount][1:] == (
            "context",
        ):  # Blender counts the arguments
            return lambda self, context: outer(self, context)
        if inner.__code__.co_argcount == 3:
            return lambda self, context, event: outer(self, context, event)
        return outer

    def _timer(self, module: Any, name: str) -> None:
        inner = getattr(module, name)
        outer = self.timed(inner, name)
        setattr(module, name, outer)
        if bpy.app.timers.is_registered(inner):
            bpy.app.timers.unregister(inner)
            bpy.app.timers.register(outer, first_interval=0.2, persistent=True)

    def _turn(self) -> float:
        now = time.perf_counter()
        if self._turned is not None:
            self.gap = max(self.gap, 1000 * (now - self._turned))
        self._turned = now
        return 0.0
