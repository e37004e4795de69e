"""Small requests that never wait behind an upload, and who the service is (control channel)."""

from typing import Literal

from msgspec import Struct, field

from restage4d.protocol.messages.base import CHUNK, Id, Message, Name


class Hello(Message):
    """Who are you? Answered by `Welcome`."""

    client: Name = ""  # "blender 4.5.15", for the service's log


class Status(Message):
    """How is the job? Answered by `JobStatus`."""

    job: Id


class List(Message):
    """Jobs of this client's key, newest first. Answered by `Jobs`, a page at a time: as many as fit
    into an answer, from the newest one or from those older than ``before``. An owner may ask for
    everybody's."""

    before: Id | None = None
    everyone: bool = False


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


class Device(Struct, frozen=True, kw_only=True):
    """What jobs run on."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory: int  # bytes
    busy: bool = False
    # where fits run on this computer and why, "on CARD by Warp: ..."; "" where there is no GPU
    drawing: str = ""


class ProviderInfo(Struct, frozen=True, kw_only=True):
    """Who can make or estimate something; `restage4d.providers.registry` is where these come
    from."""

    kind: Literal["driving", "masks", "cameras", "depth", "tracks"]
    name: str  # unique within its kind
    title: str
    licence: str
    terms: str = ""  # what a person must know before use
    # what is missing, each with how to get it; empty: it can work now
    needs: list[str] = field(default_factory=list)
    # a service elsewhere, to which the first frame and the prompt are sent, and which is paid
    sends: bool = False
    gigabytes: float = 0.0  # of weights
    memory: float = 0.0  # gigabytes on the GPU


class Limits(Struct, frozen=True, kw_only=True):
    """What the service takes. ``Welcome`` tells them, so that a client can refuse early and in its
    own words."""

    message_bytes: int = CHUNK + (64 << 10)  # of one frame from a client
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
    # "driving": names for Submit.driving; "masks", "depth", ...: who estimates
    providers: dict[str, list[str]]
    limits: Limits
    user: str = ""  # as whom the service knows this client
    owner: bool = False  # whether this client sees and ends everybody's jobs
    # all there are, those of ``providers`` among them
    catalogue: list[ProviderInfo] = field(default_factory=list)
    refiner: str = ""  # who refines prompts, "MODEL at URL"; "" for fixed words
