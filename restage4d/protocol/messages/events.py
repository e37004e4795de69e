"""What is published while a job runs (progress channel; the topic is the job's id)."""

from restage4d.protocol.messages.base import Id, Message
from restage4d.protocol.messages.jobs import JobStatus


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
