"""Progress with time left, and cancelling: one object passed down through the whole way of the
data."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from restage4d.errors import Cancelled


@dataclass(frozen=True)
class Event:
    """One moment of the work. ``seconds_left`` is for this stage, None while it cannot be told."""

    stage: str
    step: int
    total: int
    seconds: float
    seconds_left: float | None
    figures: dict[str, float] = field(default_factory=dict)


class Stage:
    """One stage under way; `advance` counts steps, tells the sink at most ten times a second and
    ends cancelled work."""

    def __init__(self, owner: "Progress", name: str, total: int, start: int = 0) -> None:
        self._owner, self.name, self.total, self.step = owner, name, max(total, 1), start
        self._first, self._began, self._told = start, time.perf_counter(), 0.0

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Counts ``steps`` more as done. Raises `Cancelled` when the user asked to stop."""
        self.step += steps
        now = time.perf_counter()
        if now - self._told >= 0.1 or self.step >= self.total:
            self._told = now
            self.tell(**figures)
        self._owner.check()

    def tell(self, **figures: float) -> None:
        seconds = time.perf_counter() - self._began
        done = self.step - self._first
        left = seconds / done * (self.total - self.step) if done > 0 and seconds > 0.5 else None
        self._owner.sink(Event(self.name, self.step, self.total, seconds, left, figures))


class Progress:
    """Where work reports to.

    Args:
        sink: called with every `Event`; must be quick.
        cancelled: asked often; True ends the work with `Cancelled`.
        observe: shown the fit under way (`restage4d.reconstruct.fusion.optimisation.Fusion`) after
            every step; must only look at it.
    """

    def __init__(
        self,
        sink: Callable[[Event], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        observe: Callable[[Any], None] | None = None,
    ) -> None:
        self.sink = sink or (lambda event: None)
        self._cancelled = cancelled or (lambda: False)
        self.observe = observe or (lambda work: None)
        self.seconds: dict[str, float] = {}

    def check(self) -> None:
        if self._cancelled():
            raise Cancelled("cancelled by the user")

    @contextmanager
    def stage(self, name: str, total: int = 1, start: int = 0) -> Iterator[Stage]:
        """A named stage of ``total`` steps (``start`` already done); its wall time is added to
        ``seconds[name]``."""
        self.check()
        stage = Stage(self, name, total, start)
        stage.tell()
        began = time.perf_counter()
        try:
            yield stage
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
