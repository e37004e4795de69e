"""A job whose driving video a hosted service makes: the key works, and is in none of the service's
files, logs or messages."""

import base64

import cv2
import msgspec
import numpy as np
import pytest
from moving import CENTRE, moving

from restage4d.io.video import encode
from restage4d.protocol import framing
from restage4d.protocol.messages import SubjectSelection, Submit

pytest.importorskip("runwayml", reason="the extra hosted is not installed")

from stub_server import serve

SECRET = "sk-a-secret-that-must-stay-one-0987654321"
TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"
REFUSED = {
    "id": TASK, "status": "FAILED", "createdAt": "2026-10-01T00:00:00Z", "cost": {"credits": 0},
    "failure": "Content moderation.",
    "failureCode": "SAFETY.INPUT.IMAGE",
}  # fmt: skip


def test_a_key_is_in_no_file_log_or_message_of_the_service(own, tmp_path, monkeypatch):
    read: list[bytes] = []
    inner = framing.decode

    def listening(frames, kinds):
        read.extend(bytes(getattr(f, "buffer", f)) for f in frames)
        return inner(frames, kinds)

    monkeypatch.setattr(framing, "decode", listening)
    clip = moving(frames=6).clip
    encode(tmp_path / "base.mp4", clip.frames, 24.0)
    with serve() as hosted:
        hosted.on("POST", "/v1/image_to_video", (200, {"id": TASK}))
        hosted.on("GET", f"/v1/tasks/{TASK}", (200, REFUSED))
        own.environment |= {"RUNWAYML_API_SECRET": SECRET, "RUNWAYML_BASE_URL": hosted.url}
        own.start()
        with own.client() as client:
            content = client.upload(tmp_path / "base.mp4")
            job = client.submit(
                Submit(
                    base=content, prompt="it jumps", selection=SubjectSelection(point=CENTRE),
                    driving="runway", longer_side=160,
                    quality="draft",
                )
            )  # fmt: skip
            told: list[bytes] = []
            status = client.watch(
                job, lambda event, arrays: told.append(msgspec.json.encode(event))
            )
            told += [msgspec.json.encode(x) for x in (status, client.hello(), client.jobs())]
        assert status.state == "failed"
        assert "Runway made no video: Content moderation." in str(status.error)
        sent = hosted.asked[0]
        assert sent.headers["Authorization"] == f"Bearer {SECRET}"  # it was used
        assert sent.body["promptText"].startswith("It jumps. It keeps its identity")
        picture = base64.b64decode(sent.body["promptImage"].split(",")[1])
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None
    written = {p: p.read_bytes() for p in own.home.rglob("*") if p.is_file()}
    logs = [p for p in written if b"are sent to Runway" in written[p]]
    assert logs  # what is sent, and what it costs, was told before
    assert all(b"$0.25" in written[p] for p in logs)
    assert any(b"it jumps" in data for data in written.values())
    assert len(read) > 10
    assert not [p for p, data in written.items() if SECRET.encode() in data]
    assert not [data for data in (*read, *told) if SECRET.encode() in data]
