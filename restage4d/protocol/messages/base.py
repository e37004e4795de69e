"""What all messages have in common: the base class, types of fields with their limits, error
codes."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

PROTOCOL = 1  # changes whenever an older peer would misunderstand

CHUNK = 4 << 20  # bytes of one upload or fetch chunk at most
HEADER_LIMIT = 256 << 10  # bytes of a msgpack header at most
# bytes of one frame from the service at most: a rendered 5K picture with depth
FRAME_LIMIT = 128 << 20
ARRAYS_LIMIT = 16  # arrays of one message at most

# \Z, as $ lets a newline follow
Id = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]  # of messages, jobs and upload tokens
Content = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]  # SHA-256 of the bytes it names
Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4000)]
Size = Annotated[int, Meta(ge=0, le=1 << 48)]
Count = Annotated[int, Meta(ge=0, le=1 << 31)]
Pixels = Annotated[int, Meta(ge=1, le=8192)]

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


class Error(Message):
    """Why a request was not done, as one sentence, and what to do about it."""

    code: Code
    what: str
    remedy: str


class Done(Message):
    """It is done and there is nothing to tell."""
