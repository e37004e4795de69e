"""Runway through its SDK, what all services share, and keys."""

import json

import numpy as np
import pytest
from stub_server import Stub

from restage4d.errors import Cancelled, InputError
from restage4d.io.video import encode
from restage4d.jobs.provider_choice import DriverChoice
from restage4d.jobs.provider_factory import make_driving_provider
from restage4d.progress import Progress
from restage4d.providers.weights import Weights

pytest.importorskip("google.genai", reason="the extra hosted is not installed")
pytest.importorskip("runwayml", reason="the extra hosted is not installed")
pytest.importorskip("openai", reason="the extra hosted is not installed")

from .services import MASK, SECRET, START, no_waiting, runway, veo

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


def test_progress_goes_on_while_the_service_says_no_percent(
    server, tmp_path, base, runways, monkeypatch
):
    monkeypatch.setattr("restage4d.driving.hosted._USUAL_S", 0.05)
    server.on("POST", CREATE, (200, {"id": ID}))
    server.on("GET", TASK, *[(200, task("RUNNING", progress=0.4))] * 9, (200, finished(server)))
    server.on("GET", "/out.mp4", (200, runways))
    steps: list[int] = []
    progress = Progress(lambda event: steps.append(event.step))
    runway(server, tmp_path).make(base, MASK, "it jumps", progress)
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert any(0 < step < 99 for step in steps)
    assert steps[-1] == 100


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
