"""Which messages may come on which channel, and the header that carries them."""

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct, field

from restage4d.protocol.messages.base import (
    ARRAYS_LIMIT,
    Count,
    Done,
    Error,
    Id,
)
from restage4d.protocol.messages.control import (
    Cancel,
    Delete,
    Hello,
    List,
    Pause,
    Resume,
    Shutdown,
    Status,
    Welcome,
)
from restage4d.protocol.messages.events import (
    FetchLog,
    FetchPreview,
    JobProgress,
    Log,
    Preview,
    PreviewPoints,
    Replay,
    Replayed,
    StateChanged,
)
from restage4d.protocol.messages.footage import (
    Look,
    Looked,
    Prepare,
    Prepared,
)
from restage4d.protocol.messages.jobs import Jobs, JobStatus, Submit
from restage4d.protocol.messages.puppets import (
    FetchGaussians,
    GaussiansFrame,
    Render,
    Rendered,
)
from restage4d.protocol.messages.transfer import (
    Chunk,
    Fetch,
    Stored,
    UploadBegin,
    UploadChunk,
    UploadReady,
)

Control = Hello | Status | List | Cancel | Pause | Resume | Delete | Shutdown
Work = (
    UploadBegin
    | UploadChunk
    | Look
    | Prepare
    | Submit
    | Fetch
    | FetchPreview
    | FetchLog
    | Replay
    | FetchGaussians
    | Render
)
Request = Control | Work
Reply = (
    Error
    | Done
    | Welcome
    | UploadReady
    | Stored
    | Looked
    | Prepared
    | JobStatus
    | Jobs
    | Chunk
    | Preview
    | Log
    | Replayed
    | GaussiansFrame
    | Rendered
)
Event = JobProgress | Preview | PreviewPoints | StateChanged

Body = TypeVar("Body")


class ArraySpec(Struct, frozen=True, array_like=True):
    """How to read one array frame: little-endian, C order."""

    dtype: Literal["u1", "u2", "i4", "f4"]
    shape: Annotated[tuple[Count, ...], Meta(max_length=4)]


class Header(Struct, Generic[Body], frozen=True, kw_only=True):
    """The second frame of every message. ``parent`` is the id of the request that this answers."""

    id: Id
    body: Body
    parent: Id | None = None
    arrays: Annotated[list[ArraySpec], Meta(max_length=ARRAYS_LIMIT)] = field(default_factory=list)
