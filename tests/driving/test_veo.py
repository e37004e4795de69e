"""Google's Veo through its SDK."""

import base64

import cv2
import numpy as np
import pytest

from restage4d.driving.framing import fit_into
from restage4d.errors import InputError
from restage4d.io.video import encode
from restage4d.progress import Progress

pytest.importorskip("google.genai", reason="the extra hosted is not installed")
pytest.importorskip("runwayml", reason="the extra hosted is not installed")
pytest.importorskip("openai", reason="the extra hosted is not installed")

from .services import MASK, NUMBER, SECRET, START, STATE, no_waiting, textured, veo


def done(video: bytes) -> dict:
    found = {"bytesBase64Encoded": base64.b64encode(video).decode(), "mimeType": "video/mp4"}
    return {
        "name": NUMBER,
        "done": True,
        "response": {"raiMediaFilteredCount": 0, "videos": [found]},
    }


def test_veo_makes_a_video(server, tmp_path, base, video):
    told: list[str] = []
    server.on("POST", START, (200, {"name": NUMBER}))
    server.on(
        "POST",
        STATE,
        (200, {"name": NUMBER}),
        (200, {"name": NUMBER, "done": False}),
        (200, done(video)),
    )
    clip = (
        veo(server, tmp_path, told, seconds=5, seed=7)
        .make(base, MASK, "the dog jumps", Progress())
        .clip
    )
    assert clip.size == base.size
    assert clip.fps == base.fps
    assert len(clip) == 3
    request = server.asked[0]
    assert request.headers["x-goog-api-key"] == SECRET
    sent = request.body["instances"][0]
    assert sent["prompt"] == "the dog jumps"
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(sent["image"]["bytesBase64Encoded"]), np.uint8),
        cv2.IMREAD_COLOR,
    )
    assert picture.shape == (720, 1280, 3)
    wanted = request.body["parameters"]
    assert (wanted["aspectRatio"], wanted["durationSeconds"], wanted["seed"]) == ("16:9", 6, 7)
    assert "sent to Veo" in told[0]
    assert "$0.60" in told[0]
    assert not list((tmp_path / "jobs").iterdir())  # nothing left to go on with


def test_veo_waits_out_a_rate_limit_and_then_says_so(server, tmp_path, base, video, monkeypatch):
    no_waiting(monkeypatch)
    busy = (
        429,
        {
            "error": {
                "code": 429,
                "message": "Resource has been exhausted",
                "status": "RESOURCE_EXHAUSTED",
            }
        },
    )
    server.on("POST", START, busy, busy, (200, {"name": NUMBER}))
    server.on(
        "POST",
        STATE,
        (503, {"error": {"code": 503, "message": "try later", "status": "UNAVAILABLE"}}),
        (200, done(video)),
    )
    assert len(veo(server, tmp_path).make(base, MASK, "it jumps", Progress()).clip) == 3
    assert server.count("POST", START) == 3
    server.on("POST", START, busy)
    with pytest.raises(
        InputError,
        match=r"asked too often or the quota is used up: Resource has been exhausted.*Wait a while",
    ):
        veo(server, tmp_path).make(base, MASK, "it jumps", Progress())


WHY = "The prompt violates the usage guidelines"
FILTERED = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [WHY]}


@pytest.mark.parametrize(
    "reply",
    [{"done": True, "error": {"code": 3, "message": WHY}}, {"done": True, "response": FILTERED}],
)
def test_veo_says_why_it_refused(server, tmp_path, base, reply):
    server.on("POST", START, (200, {"name": NUMBER}))
    server.on("POST", STATE, (200, {"name": NUMBER} | reply))
    with pytest.raises(
        InputError,
        match=r"Veo made no video: The prompt violates the usage guidelines.*Change the prompt",
    ):
        veo(server, tmp_path).make(base, MASK, "it jumps", Progress())
    assert not list((tmp_path / "jobs").iterdir())


def test_veo_does_not_take_a_wrong_key(server, tmp_path, base):
    server.on(
        "POST",
        START,
        (
            403,
            {"error": {"code": 403, "message": "API key not valid", "status": "PERMISSION_DENIED"}},
        ),
    )
    with pytest.raises(
        InputError, match="does not accept the key in GOOGLE_API_KEY: API key not valid"
    ) as caught:
        veo(server, tmp_path).make(base, MASK, "it jumps", Progress())
    assert SECRET not in str(caught.value)


def test_veo_fetches_a_broken_video_again_without_paying_twice(server, tmp_path, base, video):
    server.on("POST", START, (200, {"name": NUMBER}))
    server.on("POST", STATE, (200, done(b"<html>gateway</html>")), (200, done(video)))
    with pytest.raises(
        InputError, match=r"What Veo sent is no video \(20 bytes\).*fetched once more, at no cost"
    ):
        veo(server, tmp_path).make(base, MASK, "it jumps", Progress())
    told: list[str] = []
    assert len(veo(server, tmp_path, told).make(base, MASK, "it jumps", Progress()).clip) == 3
    assert server.count("POST", START) == 1
    assert "going on with the video" in told[0]


def test_veo_asks_anew_for_what_has_expired(server, tmp_path, base, video):
    server.on("POST", START, (200, {"name": NUMBER}))
    server.on(
        "POST",
        STATE,
        (404, {"error": {"code": 404, "message": "operation not found", "status": "NOT_FOUND"}}),
        (200, done(video)),
    )
    with pytest.raises(
        InputError, match=r"Veo no longer has the video.*Start again to have it made anew"
    ):
        veo(server, tmp_path).make(base, MASK, "it jumps", Progress())
    assert len(veo(server, tmp_path).make(base, MASK, "it jumps", Progress()).clip) == 3
    assert server.count("POST", START) == 2


def test_a_first_frame_that_drifted_a_little_is_brought_back(server, tmp_path, base):
    """As services do it: everything a few pixels to the right. Afterwards d_0 lies on b_0."""
    picture = fit_into(textured(), (1280, 720)).picture
    drifted = np.roll(picture, 30, 1)  # 2 pixels of the base
    encode(tmp_path / "drifted.mp4", [drifted] * 3, 24.0)
    server.on("POST", START, (200, {"name": NUMBER}))
    server.on("POST", STATE, (200, done((tmp_path / "drifted.mp4").read_bytes())))
    clip = veo(server, tmp_path).make(base, MASK, "it jumps", Progress()).clip
    inner = np.s_[8:-8, 8:-8]
    off = [
        np.abs(clip.frames[0][inner].astype(int) - np.roll(base.frames[0], n, 1)[inner]).mean()
        for n in (0, 2)
    ]
    assert off[0] < 0.3 * off[1]


def test_a_reply_that_is_no_json_is_one_clear_error(server, tmp_path, base, monkeypatch):
    no_waiting(monkeypatch)
    server.on("POST", START, (200, b"<html>proxy</html>"))
    with pytest.raises(InputError, match="Veo cannot be reached or is out of order"):
        veo(server, tmp_path).make(base, MASK, "it jumps", Progress())
