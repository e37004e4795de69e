"""Questions about a video before there is a job (work channel)."""

from typing import Annotated

from msgspec import Meta, field

from restage4d.defaults import LONGER_SIDE
from restage4d.protocol.messages.base import (
    Content,
    Count,
    Message,
    Name,
    Text,
)
from restage4d.protocol.messages.jobs import SubjectSelection


class Look(Message):
    """What is in this video, and where is its subject? Answered by `Looked`.

    With neither point, box nor mask selected, what moves is searched where ``find``; else only the
    frame is wanted.
    """

    content: Content  # of a video or a packed folder
    first: Count = 0  # the frame to look at
    longer_side: Annotated[int, Meta(ge=32, le=2048)] = LONGER_SIDE
    selection: SubjectSelection = field(default_factory=SubjectSelection)
    find: bool = False


class Looked(Message):
    """Arrays: the frame (h, w, 3) uint8 sRGB at the working size; the subject's mask (h, w) uint8,
    255 on it, or (0, 0)."""

    width: int  # of the video
    height: int
    fps: float
    frames: int


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
    frames: Annotated[int, Meta(ge=2, le=10_000)] | None = None  # only so many of the base
    longer_side: Annotated[int, Meta(ge=32, le=2048)] = LONGER_SIDE


class Prepared(Message):
    """What a provider would be asked for, word by word, and what a person must know before:
    licence, what is sent, the cost."""

    prompt: str
    terms: list[str] = field(default_factory=list)
