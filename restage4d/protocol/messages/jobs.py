"""Handing in a job, and how it is (work and control channel)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from restage4d.defaults import DRAFT_DRIVER, LONGER_SIDE, QUALITY
from restage4d.protocol.messages.base import (
    Code,
    Content,
    Count,
    Id,
    Message,
    Name,
    Size,
    Text,
)

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
Priority = Literal["low", "normal", "high"]
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")


class SubjectSelection(Struct, frozen=True, kw_only=True):
    """The subject in the base's first frame, in the video's own pixels; at most one of point, box
    and mask is set. Masks of later frames correct where the subject was lost."""

    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: Content | None = None  # a picture of the video's size, white on the subject
    # such pictures by their frames, counted from the base's first frame used
    corrections: Annotated[dict[Annotated[int, Meta(ge=1)], Content], Meta(max_length=100)] = field(
        default_factory=dict
    )


class Submit(Message):
    """A job. Sent again with the same ``key`` it is the same job. Answered by `JobStatus`.

    ``base`` and each ``driving`` content are a video file or a folder of frames, as
    `restage4d.protocol.client.Client.upload` packs it.
    """

    key: Id = ""  # the job's id, drawn by the client; Client.submit fills it in
    base: Content = ""
    prompt: Text = ""
    name: Name = ""
    selection: SubjectSelection = field(default_factory=SubjectSelection)
    # a point on the subject's head in the base's first frame, in the video's own pixels: for the
    # draft driver
    head: tuple[float, float] | None = None
    driving: Annotated[list[Content], Meta(min_length=1, max_length=8)] | Name = DRAFT_DRIVER
    # driving videos to make; of several the best is taken
    candidates: Annotated[int, Meta(ge=1, le=8)] = 1
    # what the provider is asked for, word by word; "": the service refines the prompt
    refined_prompt: Text = ""
    made_by: Name = ""  # who made the videos given as ``driving``, for the puppet's provenance
    into: Content = ""  # a .puppet of the same base that performs this too; "": a new one is made
    # of `Welcome`
    providers: dict[Literal["masks", "cameras", "depth", "tracks"], Name] = field(
        default_factory=dict
    )
    quality: Literal["draft", "default", "high"] = QUALITY
    settings: Annotated[dict[Name, bool | int | float | Name], Meta(max_length=100)] = field(
        default_factory=dict
    )
    longer_side: Annotated[int, Meta(ge=32, le=2048)] = LONGER_SIDE
    first: Count = 0  # the base's first frame used: b_0
    frames: Annotated[int, Meta(ge=2, le=10_000)] | None = None  # only so many of the base
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    job_kind: Literal["restage", "driving"] = "restage"  # "driving": the driving videos alone
    priority: Priority = "normal"  # among the user's own jobs; users take turns


class Fault(Struct, frozen=True, kw_only=True):
    """Why a job failed or stands still."""

    code: Code
    what: str
    remedy: str


class Artefact(Struct, frozen=True, kw_only=True):
    """A result in the store."""

    content: Content
    size: Size


class JobStatus(Message):
    """A job as it is now."""

    id: Id
    name: str
    prompt: str
    state: State
    job_kind: str = "restage"
    stage: str = ""
    step: int = 0
    steps: int = 0
    percent: float = 0.0  # of the whole job
    time_left_s: float | None = None  # for the whole job, None while it cannot be told
    losses: dict[str, float] = field(default_factory=dict)
    error: Fault | None = None
    ahead: int = 0  # jobs before this one in the queue
    attempts: int = 0  # how often its process was started
    device: str = ""
    created: float = 0.0  # seconds since 1970
    started: float | None = None
    finished: float | None = None
    stopping: bool = False  # asked to pause or cancel, its process not gone yet
    has_puppet: bool = False
    has_preview: bool = False
    # "puppet", "preview.mp4", "contact_sheet.png", ...
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    user: str = ""  # whose it is
    priority: Priority = "normal"


class Jobs(Message):
    """Jobs of a client, newest first; ``more``: there are older ones."""

    jobs: list[JobStatus]
    more: bool = False
