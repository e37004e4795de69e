"""What is published while a job runs (progress channel; the topic is the job's id)."""

from msgspec import Struct

from restage4d.protocol.messages.base import Count, Id, Message, Size
from restage4d.protocol.messages.jobs import Fault, JobStatus, State


class FetchPreview(Message):
    """The newest preview picture of a job. Answered by `Preview`."""

    job: Id


class Preview(Message):
    """A picture of the work so far. Array: the bytes of a PNG file, uint8. As an answer and as an
    event."""

    job: Id
    step: int = 0


class JobProgress(Message, tag="Progress"):
    """Where a job stands; `JobStatus` has the same numbers."""

    job: Id
    stage: str
    step: int
    steps: int
    percent: float
    time_left_s: float | None
    losses: dict[str, float]


class PreviewPoints(Message, tag="Points"):
    """The growing puppet. Time is the rewound clip's; ``source`` and ``index`` tell which frame of
    which video each moment is.

    Arrays: means (N, 3) float32 canonical, colors (N, 3) uint8 sRGB, influences index (N, M) uint16
    and weight (N, M) float32, bases (K, T, 9) float32, source (T,) int32 (0 base, i driving i),
    frame index (T,) int32.
    """

    job: Id
    step: int
    fps: float


class StateChanged(Message):
    """A job went from one state to another; ``status`` is all there is to know."""

    job: Id
    status: JobStatus


class HistoryEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to a job at a time."""

    number: Count  # from 1 on
    time: float  # seconds since 1970
    state: State
    stage: str = ""
    step: int = 0
    steps: int = 0
    percent: float = 0.0
    losses: dict[str, float] = {}
    error: Fault | None = None


class Replay(Message):
    """What happened to a job behind entry ``after``. Answered by `Replayed`."""

    job: Id
    after: Count = 0


class Replayed(Message):
    """Entries of a job's history in their order; ``more``: there are later ones."""

    entries: list[HistoryEntry]
    more: bool = False


class FetchLog(Message):
    """What a job's process wrote, from byte ``offset`` on. Answered by `Log`."""

    job: Id
    offset: Size = 0


class Log(Message):
    """Part of a job's log as one uint8 array, UTF-8, and how long the whole is now."""

    job: Id
    size: Size
    offset: Size
