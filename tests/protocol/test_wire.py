"""What goes over the wire keeps its names, whatever the classes are called here."""

import msgspec
import pytest

from restage4d.protocol import framing, messages
from restage4d.protocol.connection import is_loopback
from restage4d.protocol.messages import JobProgress, Message, PreviewPoints

NOBODY = "0" * 32
KINDS = {
    *("Hello", "Status", "List", "Cancel", "Pause", "Resume", "Delete", "Shutdown"),
    *("UploadBegin", "UploadChunk", "Look", "Prepare", "Submit", "Fetch", "FetchPreview"),
    *("FetchGaussians", "Render", "Replay", "FetchLog"),
    *("Error", "Done", "Welcome", "UploadReady", "Stored", "Looked", "Prepared", "JobStatus"),
    *("Jobs", "Chunk", "Preview", "GaussiansFrame", "Rendered", "Replayed", "Log"),
    *("Progress", "Points", "StateChanged"),
}


def test_the_kinds_of_version_1():
    found = [c for c in vars(messages).values() if isinstance(c, type) and issubclass(c, Message)]
    kinds = {c.__struct_config__.tag for c in found if c is not Message}
    assert kinds == KINDS
    assert messages.PROTOCOL == 1


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (
            JobProgress(
                job=NOBODY, stage="fit", step=1, steps=2, percent=3.5, time_left_s=None, losses={}
            ),
            {
                "kind": "Progress",
                "job": NOBODY,
                "stage": "fit",
                "step": 1,
                "steps": 2,
                "percent": 3.5,
                "time_left_s": None,
                "losses": {},
            },
        ),
        (
            PreviewPoints(job=NOBODY, step=4, fps=24.0),
            {"kind": "Points", "job": NOBODY, "step": 4, "fps": 24.0},
        ),
    ],
)
def test_events_have_the_names_that_other_clients_know(event, fields):
    header = msgspec.msgpack.decode(framing.encode(event)[1])
    assert header["body"] == fields
    assert list(header["body"]) == list(fields)


def test_a_subject_is_selected_by_the_same_fields():
    selection = messages.SubjectSelection(point=(1.0, 2.0))
    body = msgspec.msgpack.decode(
        msgspec.msgpack.encode(messages.Look(content="0" * 64, selection=selection))
    )
    assert body == {
        "kind": "Look",
        "content": "0" * 64,
        "selection": {"point": [1.0, 2.0], "box": None, "mask": None, "corrections": {}},
    }


def test_there_are_no_jobs_but_real_ones():
    body = {"kind": "Submit", "key": NOBODY, "job_kind": "driving"}
    assert msgspec.convert(body, messages.Submit).job_kind == "driving"
    with pytest.raises(msgspec.ValidationError, match="job_kind"):
        msgspec.convert(body | {"job_kind": "standin"}, messages.Submit)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("*", False),
        ("192.168.0.7", False),
        ("128.0.0.1", False),
        ("127.example.com", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host, expected):
    assert is_loopback(host) is expected
