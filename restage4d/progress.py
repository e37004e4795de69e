"""Progress with time left, and cancelling: one object passed down through the whole way of the
data.

Work is reported in tasks of `TaskId`, the one table of what a person may be shown. Whoever knows
what is to come says so with `Progress.expect`; `Progress` then knows how much of the whole is done.

    progress = Progress(print)
    progress.expect([TaskId.DECODE, TaskId.SELECT])
    with progress.task(TaskId.DECODE, total=48) as task:
        for frame in frames:
            task.advance()
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from restage4d.errors import Cancelled

R = TypeVar("R")
# does a piece of work when it is its turn, and gives what that gives
Turn = Callable[[Callable[[], Any]], Any]


class TaskId(Enum):
    """Every task, in the order in which they come.

    Attributes:
        label: its name for people, and in report.json.
        weight: seconds that it took on two cores: one turn of it in the demo clip's restaging
            (48 and 55 frames, default quality), or a guess for what that does not do. Only their
            ratios matter.
    """

    DECODE = "decode", 0.2
    OPTICAL_FLOW = "optical flow", 3.6
    SELECT = "select the subject", 5.8
    REFINE_PROMPT = "refine the prompt", 5.0
    READ_DRIVING = "driving: read file", 0.5
    GENERATE_DRIVING = "driving: generate", 90.0
    EMPTY_STAGE = "driving: empty stage", 2.8
    DRAW_DRIVING = "driving: draw", 2.1
    MEASURE_DRIVING = "driving: figures", 2.0
    MODEL_BODY = "model the body", 2.8
    MASKS = "masks", 12.5
    BACKGROUND_POINTS = "background points", 2.2
    CAMERAS = "cameras", 15.2
    PEOPLE = "people", 12.0  # joints and silhouette of a person
    ONE_PASS = "cameras and depth of one network", 60.0
    DEPTH = "depth", 6.6
    TRACKS = "tracks", 4.0
    WAIT = "waiting for the fit before", 0.1  # no work: its time counts for none
    ALIGN_DEPTH = "align depth", 4.4  # made fit for the fit; with learned depth once before, too
    FIT_MOTION = "motion initialisation", 16.7
    SEED_GAUSSIANS = "seeding Gaussians", 2.6
    FUSE = "photometric fusion", 147.5
    COMPLETE = "completing the far side", 11.6
    JOIN_PIECES = "joining torn pieces", 15.0
    FIGURES = "figures", 5.2
    WRITE_SPLATS = "splats", 0.5
    PREVIEW = "preview", 3.6
    WRITE_BLEND = "Blender file", 9.9
    FIT_STAGES = "fits", 600.0  # of restage4d evaluate
    TRADE_OFF = "bases and rigidity", 600.0
    CAPTURE = "capture", 5.0  # of Blender's panel
    EXPORT = "export", 5.0

    def __init__(self, label: str, weight: float) -> None:
        self.label, self.weight = label, weight


@dataclass(frozen=True)
class Event:
    """One moment of the work.

    Attributes:
        task: what is under way; ``step`` of ``total`` are done.
        seconds: since the task began.
        seconds_left: of the task, None while it cannot be told.
        share: of the whole that is done, 0 to 1, never less than before. Where nothing was
            expected, of the task.
        whole_seconds_left: of all that is expected, None while it cannot be told.
        figures: of the step, by name.
    """

    task: TaskId
    step: int
    total: int
    seconds: float
    seconds_left: float | None
    share: float
    whole_seconds_left: float | None
    figures: dict[str, float] = field(default_factory=dict)


def at_once(work: Callable[[], R]) -> R:
    """A `Turn` that is always now."""
    return work()


class Task:
    """A task under way; `advance` counts steps, reports at most ten times a second and ends
    cancelled work. Work that begins anew sets ``step`` back."""

    def __init__(self, owner: "Progress", task: TaskId, total: int, start: int) -> None:
        self.id, self.total, self.step = task, max(total, 1), start
        self._owner, self._first = owner, start
        self._began, self._reported = time.perf_counter(), 0.0

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Counts ``steps`` more as done. Raises `Cancelled` when the user asked to stop."""
        self.step += steps
        now = time.perf_counter()
        if now - self._reported >= 0.1 or self.step >= self.total:
            self._reported = now
            self.report(**figures)
        self._owner.check()

    def report(self, **figures: float) -> None:
        """Hands the sink an `Event`, whenever the last one was."""
        self._owner.report(self, figures)

    @property
    def fraction(self) -> float:
        """How much of it is done, 0 to 1."""
        return min(self.step / self.total, 1.0)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def seconds_left(self) -> float | None:
        """At the rate of its own steps; None while they tell too little."""
        seconds, done = self.seconds, self.step - self._first
        if done <= 0 or seconds <= 0.5:
            return None
        return seconds / done * max(self.total - self.step, 0)


class Progress:
    """Where work reports to.

    Args:
        sink: called with every `Event`; must be quick.
        cancelled: asked often; True ends the work with `Cancelled`.
        observe: shown a first `restage4d.reconstruct.sketch.Sketch`, and then the fit under way
            (`restage4d.reconstruct.fusion.optimisation.Fusion`) after every step; must only look
            at them.

    Attributes:
        seconds: wall time of every task by its label.
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
        self._expected: list[TaskId] | None = None
        self._scale: Mapping[TaskId, float] = {}
        self._open: dict[Task, float] = {}  # tasks under way, and the fraction that is counted
        self._share = self._worked = 0.0
        self._began = time.perf_counter()

    def check(self) -> None:
        if self._cancelled():
            raise Cancelled("cancelled by the user")

    def expect(
        self, tasks: Iterable[TaskId], scale: Mapping[TaskId, float] = MappingProxyType({})
    ) -> None:
        """Says which tasks will come, in order, so that `Event.share` is that of the whole, and by
        what factor some are heavier than their weight says.

        A task that begins drops those expected before it: they are not needed, as where a cache
        has their result. One that nobody expected takes its share of what is left.
        """
        self._expected, self._scale = list(tasks), scale
        self._share = self._worked = 0.0
        self._began = time.perf_counter()

    def start_beside(self, work: Callable[["Progress"], R]) -> Future[R]:
        """Begins ``work`` in a thread of its own, with a `Progress` that reports nothing and ends
        cancelled work as this one does."""
        pool = ThreadPoolExecutor(1, "beside")
        begun = pool.submit(work, Progress(cancelled=self._cancelled))
        pool.shutdown(wait=False)
        return begun

    @contextmanager
    def task(self, task: TaskId, total: int = 1, start: int = 0) -> Iterator[Task]:
        """A task of ``total`` steps (``start`` already done); its wall time is added to
        ``seconds``. It counts as done when the block ends without an exception."""
        if not isinstance(task, TaskId):
            raise TypeError(f"{task!r} is no task: add it to restage4d.progress.TaskId")
        self.check()
        if self._expected and task in self._expected:
            del self._expected[: self._expected.index(task) + 1]
        running = Task(self, task, total, start)
        self._open[running] = running.fraction
        try:
            running.report()
            yield running
            if running.step < running.total:
                running.step = running.total
                running.report()
        finally:
            del self._open[running]
            if task is TaskId.WAIT:
                self._began += running.seconds
            label = task.label
            self.seconds[label] = self.seconds.get(label, 0.0) + running.seconds

    def report(self, task: Task, figures: dict[str, float]) -> None:
        """Counts what ``task`` has done since it last reported, and hands the sink an `Event`."""
        left = self._left()
        worked = max(task.fraction - self._open[task], 0.0) * self._weigh(task.id)
        self._open[task] = task.fraction  # less than before where the work began anew
        self._worked += worked
        self._share += (1 - self._share) * min(worked / left, 1.0) if worked else 0.0
        if self._left() < 1e-9:
            self._share = 1.0
        share = task.fraction if self._expected is None else self._share
        whole_left = task.seconds_left if self._expected is None else self._seconds_left(task)
        self.sink(
            Event(
                task.id,
                task.step,
                task.total,
                task.seconds,
                task.seconds_left,
                share,
                whole_left,
                figures,
            )
        )

    def _weigh(self, task: TaskId) -> float:
        return task.weight * self._scale.get(task, 1.0)

    def _left(self) -> float:
        """Weight of what is still to do."""
        under_way = sum((1 - done) * self._weigh(task.id) for task, done in self._open.items())
        return under_way + sum(map(self._weigh, self._expected or ()))

    def _seconds_left(self, task: Task) -> float | None:
        """The task's own time left, and the rest at the rate of everything until now."""
        if task.id is TaskId.WAIT:
            return None
        spent, own, rest = time.perf_counter() - self._began, task.seconds_left, self._left()
        if own is not None:
            rest -= (1 - self._open[task]) * self._weigh(task.id)
        if self._worked == 0 or spent <= 0.5:
            return own if rest < 1e-9 else None
        return (own or 0.0) + max(rest, 0.0) * spent / self._worked
