"""Hosted video services and prompt refinement: the official SDKs talk to a local server that
replays the documented replies."""

import base64
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.clips import Clip
from restage4d.driving.candidates import (
    BestOf,
    format_table,
    measure,
)
from restage4d.driving.framing import fit_into
from restage4d.driving.prompt_refinement import (
    CAMERA,
    RefineConfig,
    RefinedPromptDriving,
    fill_template,
    refine,
)
from restage4d.driving.protocols import DrivingVideo, Figures
from restage4d.errors import Cancelled, InputError
from restage4d.io.content_cache import Cache
from restage4d.io.video import encode
from restage4d.progress import Progress

pytest.importorskip("google.genai", reason="the extra hosted is not installed")
pytest.importorskip("runwayml", reason="the extra hosted is not installed")
pytest.importorskip("openai", reason="the extra hosted is not installed")

from stub_server import Stub, serve

from restage4d.driving.hosted import HostedConfig
from restage4d.driving.runway import RunwayDriving
from restage4d.driving.veo import VeoDriving
from restage4d.jobs.provider_choice import DriverChoice
from restage4d.jobs.provider_factory import make_driving_provider
from restage4d.providers.weights import Weights

SECRET = "sk-a-secret-that-must-stay-one-1234567890"
W, H = 96, 64
MASK = np.zeros((H, W), bool)
MASK[20:50, 36:60] = True


@pytest.fixture
def server():
    with serve() as stub:
        yield stub


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name in ("GOOGLE_API_KEY", "RUNWAYML_API_SECRET", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    for name in ("GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)


def textured() -> np.ndarray:
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.integers(0, 255, (H, W, 3)).astype(np.float32), (0, 0), 2.5)
    frame = np.clip((soft - soft.mean()) * 4 + 128, 0, 255).astype(np.uint8)
    frame[MASK] = (frame[MASK] * 0.4 + np.array([150, 20, 20])).clip(0, 255).astype(np.uint8)
    return frame


@pytest.fixture
def base() -> Clip:
    return Clip(np.stack([textured()] * 4), 12.0)


def sent_back(folder: Path, size: tuple[int, int]) -> bytes:
    """What a service makes of the base: a video of ``size`` at 24 fps, with the base in its
    middle."""
    picture = fit_into(textured(), size).picture
    encode(
        folder / "v.mp4", [picture, *(np.roll(picture, n, 1) for n in (4, 8, 12)), picture], 24.0
    )
    return (folder / "v.mp4").read_bytes()


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return sent_back(tmp_path_factory.mktemp("veo"), (1280, 720))


@pytest.fixture(scope="module")
def runways(tmp_path_factory) -> bytes:
    return sent_back(tmp_path_factory.mktemp("runway"), (1104, 832))


def veo(server: Stub, tmp_path: Path, told: list[str] | None = None, **config) -> VeoDriving:
    settings = {"model": "veo-3.1-fast-generate-001", "poll": 0.01, "base_url": server.url} | config
    return VeoDriving(
        HostedConfig(**settings), (told if told is not None else []).append, tmp_path / "jobs"
    )


def runway(server: Stub, tmp_path: Path, told: list[str] | None = None, **config) -> RunwayDriving:
    settings = {"model": "gen4_turbo", "poll": 0.01, "base_url": server.url} | config
    return RunwayDriving(
        HostedConfig(**settings), (told if told is not None else []).append, tmp_path / "jobs"
    )


# --- Veo ------------------------------------------------------------------------------------------

MODEL = "publishers/google/models/veo-3.1-fast-generate-001"
NUMBER = f"projects/p/locations/global/{MODEL}/operations/abc123"
START, STATE = (
    f"/v1beta1/{MODEL}:predictLongRunning",
    f"/v1beta1/projects/p/locations/global/{MODEL}:fetchPredictOperation",
)


def done(video: bytes) -> dict:
    found = {"bytesBase64Encoded": base64.b64encode(video).decode(), "mimeType": "video/mp4"}
    return {
        "name": NUMBER,
        "done": True,
        "response": {"raiMediaFilteredCount": 0, "videos": [found]},
    }


def no_waiting(monkeypatch) -> None:
    """Waits of the SDKs and of ours between tries, made short."""
    monkeypatch.setattr(time, "sleep", lambda seconds, wait=time.sleep: wait(min(seconds, 0.01)))


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


# --- Runway ---------------------------------------------------------------------------------------

CREATE, TASK = "/v1/image_to_video", "/v1/tasks/17f20503-6c24-4c16-946b-35dbbce2af2f"
ID = TASK.rsplit("/", 1)[1]


def task(status: str, **more) -> dict:
    return {
        "id": ID,
        "status": status,
        "createdAt": "2026-10-01T00:00:00Z",
        "estimatedCost": {"credits": 25},
    } | more


def finished(server: Stub) -> dict:
    return task("SUCCEEDED", cost={"credits": 25}, output=[f"{server.url}/out.mp4"])


def test_runway_makes_a_video(server, tmp_path, base, runways):
    told: list[str] = []
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on(
        "GET",
        TASK,
        (200, task("THROTTLED")),
        (200, task("RUNNING", progress=0.4)),
        (200, finished(server)),
    )
    server.on("GET", "/out.mp4", (200, runways))
    clip = (
        runway(server, tmp_path, told, seconds=5, seed=3)
        .make(base, MASK, "the dog jumps", Progress())
        .clip
    )
    assert (clip.size, clip.fps, len(clip)) == (base.size, base.fps, 3)
    sent = server.asked[0].body
    assert (sent["model"], sent["ratio"], sent["duration"], sent["seed"]) == (
        "gen4_turbo",
        "1104:832",
        5,
        3,
    )
    assert sent["promptImage"].startswith("data:image/png;base64,")
    assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert not any(
        "Authorization" in a.headers for a in server.asked if a.path == "/out.mp4"
    )  # the key stays with the service
    assert "25 credits ($0.25)" in told[0]


def test_runway_goes_on_after_a_time_limit_with_the_same_task(server, tmp_path, base, runways):
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, task("RUNNING", progress=0.1)))
    with pytest.raises(InputError, match=r"has not finished within 0.1 s.*goes on waiting"):
        runway(server, tmp_path, timeout=0.1, poll=0.05).make(base, MASK, "it jumps", Progress())
    notes = list((tmp_path / "jobs").iterdir())
    assert json.loads(notes[0].read_text()) == {
        "service": "Runway",
        "model": "gen4_turbo",
        "number": ID,
    }
    server.on("GET", TASK, (200, finished(server)))
    server.on("GET", "/out.mp4", (500, {}), (200, runways))  # and a server that stumbles
    told: list[str] = []
    later = runway(server, tmp_path, told, timeout=0.1, poll=0.05)
    assert len(later.make(base, MASK, "it jumps", Progress()).clip) == 3
    assert server.count("POST", CREATE) == 1
    assert told == ["Runway: going on with the video that was asked for before."]


def test_another_prompt_is_another_task(server, tmp_path, base):
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, task("RUNNING", progress=0.1)))
    for prompt in ("it jumps", "it sits"):
        with pytest.raises(InputError, match="has not finished"):
            runway(server, tmp_path, timeout=0.0, poll=0.01).make(base, MASK, prompt, Progress())
    assert server.count("POST", CREATE) == 2


def test_runway_says_why_it_refused_or_failed(server, tmp_path, base):
    server.on("POST", CREATE, (200, {"id": ID}))
    failed = task(
        "FAILED",
        cost={"credits": 0},
        failure="Content moderation.",
        failureCode="SAFETY.INPUT.IMAGE",
    )
    server.on("GET", TASK, (200, failed))
    with pytest.raises(
        InputError, match=r"Runway made no video: Content moderation. SAFETY.INPUT.IMAGE"
    ):
        runway(server, tmp_path).make(base, MASK, "it jumps", Progress())
    server.on("POST", CREATE, (400, {"error": "promptText is too long"}))
    with pytest.raises(
        InputError, match=r"Runway refuses the request \(400\): promptText is too long"
    ):
        runway(server, tmp_path).make(base, MASK, "it jumps", Progress())
    server.on("POST", CREATE, (401, {"error": "Unauthorized"}))
    with pytest.raises(InputError, match="does not accept the key in RUNWAYML_API_SECRET"):
        runway(server, tmp_path).make(base, MASK, "it jumps", Progress())


@pytest.mark.parametrize("what", ["task", "address"])
def test_what_has_expired_is_asked_for_anew_next_time(server, tmp_path, base, what):
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on(
        "GET", TASK, (404, {"error": "not found"}) if what == "task" else (200, finished(server))
    )
    server.on("GET", "/out.mp4", (403, b"<Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(
        InputError, match=r"no longer has the video.*Start again to have it made anew"
    ):
        runway(server, tmp_path).make(base, MASK, "it jumps", Progress())
    assert not list((tmp_path / "jobs").iterdir())


@pytest.mark.parametrize(("status", "ended"), [("THROTTLED", True), ("RUNNING", False)])
def test_cancelling_ends_a_task_only_while_that_saves_its_cost(
    server, tmp_path, base, status, ended
):
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, task(status, progress=0.1)))
    server.on("DELETE", TASK, (204, b""))
    with pytest.raises(Cancelled):
        runway(server, tmp_path).make(
            base, MASK, "it jumps", Progress(None, lambda: server.count("GET", TASK) > 1)
        )
    assert server.count("DELETE", TASK) == ended
    assert bool(list((tmp_path / "jobs").iterdir())) != ended


def test_a_task_status_that_is_unknown_is_one_clear_error(server, tmp_path, base):
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, {"id": ID, "status": "DREAMING"}))
    with pytest.raises(InputError, match="cannot be understood"):
        runway(server, tmp_path).make(base, MASK, "it jumps", Progress())


def test_a_service_that_is_not_there_is_one_clear_error(tmp_path, base, monkeypatch):
    no_waiting(monkeypatch)
    nowhere = Stub(url="http://127.0.0.1:9")
    for made in (veo, runway):
        with pytest.raises(InputError, match="cannot be reached"):
            made(nowhere, tmp_path).make(base, MASK, "it jumps", Progress())


def test_a_video_of_something_else_is_refused_with_figures(server, tmp_path, base):
    path = tmp_path / "other.mp4"
    encode(path, [np.full((72, 128, 3), 200, np.uint8)] * 3, 24.0)
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, finished(server)))
    server.on("GET", "/out.mp4", (200, path.read_bytes()))
    for _ in range(2):  # the second time it is not paid for again
        with pytest.raises(
            InputError,
            match=r"first frame of the video by Runway differs.*dB \(needs 20\).*another seed",
        ) as caught:
            runway(server, tmp_path).make(base, MASK, "it jumps", Progress())
    assert server.count("POST", CREATE) == 1
    (kept,) = (tmp_path / "jobs").glob("*.mp4")  # what was paid for is not lost
    assert str(kept) in str(caught.value)
    assert kept.read_bytes() == path.read_bytes()


# --- keys -----------------------------------------------------------------------------------------


def test_no_key_says_how_to_give_one(monkeypatch):
    for name in ("GOOGLE_API_KEY", "RUNWAYML_API_SECRET"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("keyring.get_password", lambda service, name: None)
    for driver, name in (("veo", "GOOGLE_API_KEY"), ("runway", "RUNWAYML_API_SECRET")):
        with pytest.raises(InputError, match=rf"{name} is not set.*keyring set restage4d {name}"):
            make_driving_provider(DriverChoice(driver), Weights(), announce=lambda text: None)


def test_the_keyring_is_asked_where_the_environment_has_none(
    server, tmp_path, base, runways, monkeypatch
):
    monkeypatch.delenv("RUNWAYML_API_SECRET")
    monkeypatch.setattr("keyring.get_password", lambda service, name: f"ring-{service}-{name}")
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, finished(server)))
    server.on("GET", "/out.mp4", (200, runways))
    runway(server, tmp_path).make(base, MASK, "it jumps", Progress())
    assert server.asked[0].headers["Authorization"] == "Bearer ring-restage4d-RUNWAYML_API_SECRET"


def test_keys_stay_out_of_files_logs_and_errors(server, tmp_path, base, monkeypatch, capfd, caplog):
    caplog.set_level("DEBUG")
    told: list[str] = []
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, (200, task("RUNNING", progress=0.1)))
    server.on(
        "POST",
        START,
        (400, {"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}),
    )
    for made in (runway, veo):
        with pytest.raises(InputError) as caught:
            made(server, tmp_path, told, timeout=0.0).make(base, MASK, "it jumps", Progress())
        assert SECRET not in str(caught.value)
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) == 1
    said = "".join(capfd.readouterr()) + caplog.text + "".join(told)
    assert not any(SECRET.encode() in text for text in (*written, said.encode()))


# --- refinement -----------------------------------------------------------------------------------


def said(text: object) -> tuple[int, dict]:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


CHAT = "/v1/chat/completions"
GOOD = "A brown dog with a red collar jumps twice on the lawn. The camera remains completely still."


def test_a_vision_model_refines_the_prompt_and_sees_the_frame(server, base):
    server.on("POST", CHAT, said(f'"{GOOD}"'))
    assert refine(base, "it jumps twice", RefineConfig(f"{server.url}/v1", "qwen-vl")) == GOOD
    sent = server.asked[0].body
    assert sent["model"] == "qwen-vl"
    assert sent["temperature"] == 0
    assert "keep exactly the motion" in sent["messages"][0]["content"]
    words, picture = sent["messages"][1]["content"]
    assert "it jumps twice" in words["text"]
    data = base64.b64decode(picture["image_url"]["url"].split(",")[1])
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (H, W, 3)
    assert np.abs(shown[..., ::-1].astype(int) - base.frames[0]).mean() < 12


def test_a_reply_that_forgets_the_camera_gets_it_pinned(server, base):
    server.on("POST", CHAT, said("A brown dog jumps twice on the lawn."))
    assert (
        refine(base, "it jumps", RefineConfig(f"{server.url}/v1", "m"))
        == f"A brown dog jumps twice on the lawn. {CAMERA}"
    )


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (said(""), "0 characters"),
        (said(None), "0 characters"),
        (said("x" * 9000), "9000 characters"),
        ((200, {"hello": 1}), "does not reply as an OpenAI-compatible endpoint"),
        ((404, {"error": {"message": "model not found"}}), "model not found"),
        ((401, {"error": {"message": "wrong key"}}), "wrong key"),
        ((200, b"<html>"), "does not reply|could not be refined"),
    ],
)
def test_replies_that_are_no_prompt_are_one_clear_error(server, base, reply, match):
    server.on("POST", CHAT, reply)
    with pytest.raises(InputError, match=match) as caught:
        refine(base, "it jumps", RefineConfig(f"{server.url}/v1", "m"))
    assert "template" in caught.value.remedy
    assert SECRET not in str(caught.value)


def test_a_busy_endpoint_is_asked_again(server, base, monkeypatch):
    no_waiting(monkeypatch)
    server.on("POST", CHAT, (429, {"error": {"message": "slow down"}}), (500, {}), said(GOOD))
    assert refine(base, "it jumps", RefineConfig(f"{server.url}/v1", "m")) == GOOD


def test_without_an_endpoint_a_template_pins_the_camera():
    assert fill_template("  the dog\n jumps twice ") == fill_template("the dog jumps twice")
    assert fill_template("the dog jumps twice").startswith(
        "The dog jumps twice. It keeps its identity"
    )
    assert fill_template("it sits!").endswith(CAMERA)
    with pytest.raises(InputError, match="empty"):
        fill_template("  ")


class Plain:
    """A driver that needs nothing: the first frame, shifted by its own number of pixels in each
    further one."""

    def __init__(self, step: int = 0, colour: int = 0, bad: bool = False) -> None:
        self.name, self.step, self.colour, self.bad, self.prompts = (
            f"plain {step}",
            step,
            colour,
            bad,
            [],
        )
        self.identity = ("plain", step, colour)

    def make(self, base, mask, prompt, progress):
        self.prompts.append(prompt)
        if self.bad:
            raise InputError("The first frame differs.", "Try again.")
        frames = [np.roll(base.frames[0], self.step * t, 1) for t in range(5)]
        for frame in frames[1:]:
            frame[MASK] = (frame[MASK].astype(int) + self.colour).clip(0, 255)
        return DrivingVideo(Clip(np.stack(frames), base.fps), self.name)

    def terms(self):
        return ["plain: free"]


def test_the_refined_prompt_is_shown_editable_kept_and_used(server, base, tmp_path):
    server.on("POST", CHAT, said(GOOD))
    told: list[str] = []
    driver, config = Plain(), RefineConfig(f"{server.url}/v1", "m")
    for _ in range(
        2
    ):  # the second time it is known: a paid video is found again under the same words
        refined = RefinedPromptDriving(driver, config, "", Cache(tmp_path), told.append)
        assert refined.make(base, MASK, "it jumps", Progress()).refined_prompt == GOOD
    assert server.count("POST", CHAT) == 1
    assert GOOD in told[-1]
    assert "--refined-prompt" in told[-1]
    mine = RefinedPromptDriving(driver, config, "my own words", None, told.append)
    assert mine.make(base, MASK, "it jumps", Progress()).refined_prompt == "my own words"
    RefinedPromptDriving(driver, None, "", None, told.append).make(
        base, MASK, "it jumps", Progress()
    )
    assert driver.prompts == [GOOD, GOOD, "my own words", fill_template("it jumps")]


# --- candidates -----------------------------------------------------------------------------------


def test_figures_tell_a_still_camera_and_a_kept_subject(base):
    same = measure(base, MASK, Plain(0).make(base, MASK, "", Progress()).clip, Progress())
    moved = measure(base, MASK, Plain(2).make(base, MASK, "", Progress()).clip, Progress())
    recoloured = measure(base, MASK, Plain(0, 90).make(base, MASK, "", Progress()).clip, Progress())
    assert same.seam == 100
    assert same.camera < 0.1
    assert same.subject == pytest.approx(1, abs=0.02)
    assert same.tracks == pytest.approx(1, abs=0.02)
    assert moved.camera == pytest.approx(np.mean([2, 4, 6, 8]) * 4, rel=0.15)  # 384 / 96 pixels
    assert recoloured.subject < 0.5
    assert same.score > moved.score
    assert same.score > recoloured.score


def test_the_best_candidate_is_kept_unless_another_is_picked(base, tmp_path):
    told: list[str] = []
    drivers = [Plain(2), Plain(0), Plain(1, bad=True)]
    best = BestOf(
        drivers,
        folder=tmp_path / "candidates",
        cache=Cache(tmp_path / "cache"),
        announce=told.append,
    )
    video = best.make(base, MASK, "it jumps", Progress())
    np.testing.assert_array_equal(
        video.clip.frames, Plain(0).make(base, MASK, "", Progress()).clip.frames
    )
    assert video.made_by == "plain 0"
    assert [candidate.number for candidate in video.candidates] == [1, 2]
    assert best.terms() == ["3 x plain: free"]
    assert sorted(p.name for p in (tmp_path / "candidates").iterdir()) == ["1.mp4", "2.mp4"]
    assert "Candidate 3 is left out: The first frame differs" in told[0]
    assert "* 2" in told[1]
    picked = BestOf(drivers, pick=1, cache=Cache(tmp_path / "cache"), announce=told.append)
    np.testing.assert_array_equal(
        picked.make(base, MASK, "it jumps", Progress()).clip.frames[1],
        np.roll(base.frames[0], 2, 1),
    )
    assert len(drivers[0].prompts) == 1  # not made twice
    asked = BestOf(
        drivers, choose=lambda text: 1, cache=Cache(tmp_path / "cache"), announce=told.append
    )
    assert (
        asked.make(base, MASK, "it jumps", Progress()).clip.frames[1].tolist()
        == np.roll(base.frames[0], 2, 1).tolist()
    )
    whole = RefinedPromptDriving(best, None, announce=told.append)
    again = whole.make(base, MASK, "it jumps", Progress())
    records = [candidate.to_record() for candidate in again.candidates]
    assert json.loads(json.dumps(records)) == records  # goes into the puppet's provenance
    assert records[0].keys() == {"candidate", "seam", "camera", "subject", "tracks", "score"}


def test_a_single_candidate_that_cannot_be_used_says_why(base):
    with pytest.raises(InputError, match="The first frame differs"):
        BestOf([Plain(bad=True)], announce=lambda text: None).make(base, MASK, "it", Progress())
    with pytest.raises(InputError, match="--pick 3: there are 2 candidates"):
        BestOf([Plain(), Plain()], pick=3)


def test_the_table_marks_the_best():
    lines = format_table(
        [Figures(30, 10, 0.9, 0.9), Figures(33, 0.2, 0.9, 0.9)], ["a", "b"]
    ).splitlines()
    assert "camera px" in lines[0]
    assert lines[2].startswith("  * 2")
    assert lines[1].endswith("a")
