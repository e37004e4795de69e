"""Every message of the protocol as a msgspec Struct; docs/protocol.md tells their order and the
frames around them.

A message is a msgpack map whose ``kind`` is the name of its Struct. Fields that a reader does not
know are ignored, the others are checked for type, length and range before anything else looks at
them. Arrays travel beside it, see `framing`.
"""

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct, field

PROTOCOL = 1  # changes whenever an older peer would misunderstand

CHUNK = 4 << 20  # bytes of one upload or fetch chunk at most
HEADER_LIMIT = 256 << 10  # bytes of a msgpack header at most
FRAME_LIMIT = (
    128 << 20
)  # bytes of one frame from the service at most: a rendered 5K picture with depth
ARRAYS_LIMIT = 16  # arrays of one message at most

Id = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]  # of messages, jobs and upload tokens
Content = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # SHA-256 of the bytes it names
Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4000)]
Size = Annotated[int, Meta(ge=0, le=1 << 48)]
Count = Annotated[int, Meta(ge=0, le=1 << 31)]
Pixels = Annotated[int, Meta(ge=1, le=8192)]

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
Code = Literal[
    "version",  # another protocol version
    "malformed",  # not a message, or its parts contradict each other
    "channel",  # sent to a socket that does not serve it
    "refused",  # not allowed: another's job, a spent upload token
    "not_found",
    "state",  # the job is not in a state in which this can be done
    "limit",  # a size, a count or a rate beyond what the service takes
    "no_room",  # the service's disk is full
    "damaged",  # bytes do not have the SHA-256 they should have
    "bad_input",  # a video, a prompt or a setting that cannot be used
    "fit",  # the reconstruction could not go on
    "crashed",  # the job's process ended by itself, several times
    "busy",  # ask again in a moment
    "timeout",
    "not_running",
    "internal",
]


class Message(Struct, tag=True, tag_field="kind", kw_only=True, omit_defaults=True):
    """What all messages are: maps told apart by ``kind``; a field that is left out has its
    default."""


# --- control channel: small requests that never wait behind an upload -----------------------------


class Hello(Message):
    """Who are you? Answered by `Welcome`."""

    client: Name = ""  # "blender 4.5.15", for the service's log


class Status(Message):
    """How is the job? Answered by `JobStatus`."""

    job: Id


class List(Message):
    """All jobs of this client's key, newest first. Answered by `Jobs`."""


class Cancel(Message):
    """Ends a job for good. Answered by `JobStatus`; its process is gone within seconds."""

    job: Id


class Pause(Message):
    """Stops a job at its next checkpoint and frees the device. Answered by `JobStatus`."""

    job: Id


class Resume(Message):
    """Queues a paused, failed or cancelled job again; it goes on from its checkpoint. Answered by
    `JobStatus`."""

    job: Id


class Delete(Message):
    """Forgets a job with its results; a running one is cancelled first. Answered by `Done`."""

    job: Id


class Shutdown(Message):
    """Ends the service; running jobs are checkpointed and go on with the next start. From the
    service's own machine only."""


# --- work channel: requests that carry data or take time ------------------------------------------


class UploadBegin(Message):
    """Announces bytes. Answered by `UploadReady`, or by `Stored` where the service has them
    already."""

    content: Content
    size: Size


class UploadChunk(Message):
    """Bytes from ``offset`` on, as one uint8 array of at most `CHUNK`. Answered by `UploadReady`,
    the last one by `Stored`."""

    token: Id
    offset: Size


class Selection(Struct, frozen=True, kw_only=True):
    """The subject in the base's first frame, in the video's own pixels; at most one is set."""

    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: Content | None = None  # a picture of the video's size, white on the subject


class Look(Message):
    """What is in this video, and where is its subject? Answered by `Looked`.

    With neither point, box nor mask selected, what moves is searched where ``find``; else only the
    frame is wanted.
    """

    content: Content  # of a video or a packed folder
    first: Count = 0  # the frame to look at
    longer_side: Annotated[int, Meta(ge=32, le=2048)] = 384
    selection: Selection = field(default_factory=Selection)
    find: bool = False


class Prepare(Message):
    """What would a provider of driving videos be asked for? Answered by `Prepared`; nothing is made
    and nothing is paid.

    Where `Welcome.refiner` names an endpoint, the first frame and the prompt are sent there.
    """

    content: Content  # of the base: a video or a packed folder
    prompt: Text
    driving: Name  # of `Welcome.providers`
    candidates: Annotated[int, Meta(ge=1, le=8)] = 1
    first: Count = 0  # the base's first frame used
    longer_side: Annotated[int, Meta(ge=32, le=2048)] = 384


class Submit(Message):
    """A job. Sent again with the same ``key`` it is the same job. Answered by `JobStatus`.

    ``base`` and each ``driving`` content are a video file or a `restage4d.protocol.client.pack`ed
    folder of frames.
    """

    key: Id = ""  # the job's id, drawn by the client; Client.submit fills it in
    base: Content = ""
    prompt: Text = ""
    name: Name = ""
    selection: Selection = field(default_factory=Selection)
    driving: Annotated[list[Content], Meta(min_length=1, max_length=8)] | Name = "kinematic"
    candidates: Annotated[int, Meta(ge=1, le=8)] = (
        1  # driving videos to make; of several the best is taken
    )
    refined_prompt: Text = (
        ""  # what the provider is asked for, word by word; "": the service refines the prompt
    )
    made_by: Name = ""  # who made the videos given as ``driving``, for the puppet's provenance
    providers: dict[Literal["masks", "cameras", "depth", "tracks"], Name] = field(
        default_factory=dict
    )  # of `Welcome`
    quality: Literal["draft", "default", "high"] = "default"
    settings: Annotated[dict[Name, bool | int | float | Name], Meta(max_length=100)] = field(
        default_factory=dict
    )
    longer_side: Annotated[int, Meta(ge=32, le=2048)] = 384
    first: Count = 0  # the base's first frame used: b_0
    frames: Annotated[int, Meta(ge=2, le=10_000)] | None = None  # only so many of the base
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    # "driving": only the driving videos, to look at; "standin": a tiny real fit, for tests of the
    # service
    job_kind: Literal["restage", "driving", "standin"] = "restage"


class Fetch(Message):
    """``length`` bytes of a stored content from ``offset`` on. Answered by `Chunk` with one uint8
    array."""

    content: Content
    offset: Size = 0
    length: Annotated[int, Meta(ge=0, le=CHUNK)] = CHUNK


class FetchPreview(Message):
    """The newest preview picture of a job. Answered by `Preview`."""

    job: Id


class FetchGaussians(Message):
    """The posed subject at one frame. Answered by `GaussiansFrame`; a range is fetched frame by
    frame, from any frame on."""

    content: Content  # of a puppet
    performance: Name
    frame: Count


class Render(Message):
    """A puppet under any bases from any camera. Answered by `Rendered`.

    Arrays: bases (K, 9) float32, world-to-camera (4, 4) float32, K (3, 3) float32 in pixels.
    """

    content: Content  # of a puppet
    width: Pixels
    height: Pixels
    background: bool = (
        True  # draw the puppet's background too; else what is not subject is transparent
    )


# --- answers --------------------------------------------------------------------------------------


class Error(Message):
    """Why a request was not done, as one sentence, and what to do about it."""

    code: Code
    what: str
    remedy: str


class Done(Message):
    """It is done and there is nothing to tell."""


class Device(Struct, frozen=True, kw_only=True):
    """What jobs run on."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory: int  # bytes
    busy: bool = False


class Provider(Struct, frozen=True, kw_only=True):
    """Who can make or estimate something; `restage4d.providers.registry` is where these come
    from."""

    kind: Literal["driving", "masks", "cameras", "depth", "tracks"]
    name: str  # unique within its kind
    title: str
    licence: str
    terms: str = ""  # what a person must know before use
    needs: list[str] = field(
        default_factory=list
    )  # what is missing, each with how to get it; empty: it can work now
    # a service elsewhere, to which the first frame and the prompt are sent, and which is paid
    sends: bool = False
    gigabytes: float = 0.0  # of weights
    memory: float = 0.0  # gigabytes on the GPU


class Limits(Struct, frozen=True, kw_only=True):
    """What the service takes. ``Welcome`` tells them, so that a client can refuse early and in its
    own words."""

    message_bytes: int = 8 << 20  # of one frame from a client
    upload_bytes: int = 8 << 30
    uploads_per_client: int = 8  # unfinished ones
    frames: int = 400  # that a job uses of one video, or that a folder has
    pixels: int = 4096 * 4096  # of one frame
    jobs_per_client: int = 500  # queued, running or paused
    credit: int = 8  # chunks under way in one upload
    render_pixels: int = 8_294_400  # 3840 x 2160


class Welcome(Message):
    """Who the service is and what it can do."""

    version: str
    protocol: int
    pid: int
    executor: str
    devices: list[Device]
    providers: dict[
        str, list[str]
    ]  # "driving": names for Submit.driving; "masks", "depth", ...: who estimates
    limits: Limits
    user: str = ""  # as whom the service knows this client
    catalogue: list[Provider] = field(
        default_factory=list
    )  # all there are, those of ``providers`` among them
    refiner: str = ""  # who refines prompts, "MODEL at URL"; "" for fixed words


class UploadReady(Message):
    """Go on at ``offset``, with at most ``credit`` chunks unanswered. A token is spent with its
    upload."""

    token: Id
    offset: Size  # received and written so far
    credit: int


class Stored(Message):
    """These bytes are here, whole and checked."""

    content: Content
    size: Size


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
    artefacts: dict[str, Artefact] = field(
        default_factory=dict
    )  # "puppet", "preview.mp4", "contact_sheet.png", ...


class Jobs(Message):
    jobs: list[JobStatus]


class Chunk(Message):
    """Part of a stored content, and how large the whole is."""

    content: Content
    size: Size
    offset: Size


class Looked(Message):
    """Arrays: the frame (h, w, 3) uint8 sRGB at the working size; the subject's mask (h, w) uint8,
    255 on it, or (0, 0)."""

    width: int  # of the video
    height: int
    fps: float
    frames: int


class Prepared(Message):
    """What a provider would be asked for, word by word, and what a person must know before:
    licence, what is sent, the cost."""

    prompt: str
    terms: list[str] = field(default_factory=list)


class GaussiansFrame(Message):
    """Arrays: means (N, 3), quats (N, 4) wxyz, scales (N, 3), opacities (N,), sh (N, C, 3),
    float32, in the world."""

    frame: int
    frames: int  # of the performance


class Rendered(Message):
    """Arrays: rgba (H, W, 4) float32, sRGB-encoded colour times coverage and coverage; depth (H, W)
    float32, z, 0 = nothing."""


# --- progress channel (published; the topic is the job's id) --------------------------------------


class Progress(Message):
    """Where a job stands; `JobStatus` has the same numbers."""

    job: Id
    stage: str
    step: int
    steps: int
    percent: float
    time_left_s: float | None
    losses: dict[str, float]


class Preview(Message):
    """A picture of the work so far. Array: the bytes of a PNG file, uint8. As an answer and as an
    event."""

    job: Id
    step: int = 0


class Points(Message):
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


Control = Hello | Status | List | Cancel | Pause | Resume | Delete | Shutdown
Work = (
    UploadBegin
    | UploadChunk
    | Look
    | Prepare
    | Submit
    | Fetch
    | FetchPreview
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
    | GaussiansFrame
    | Rendered
)
Event = Progress | Preview | Points | StateChanged

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
