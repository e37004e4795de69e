"""Driving videos before the fit: what a provider would be asked for, candidates to look at, and the
one that is picked."""

import json

import cv2
import numpy as np
import pytest
from moving import CENTRE, moving

from restage4d.io.video import decode, encode
from restage4d.protocol.errors import WireError
from restage4d.protocol.messages import Prepare, SubjectSelection, Submit
from restage4d.puppet import Puppet

pytest.importorskip("runwayml", reason="the extra hosted is not installed")

from stub_server import serve

TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"


def finished(url: str) -> dict:
    return {
        "id": TASK,
        "status": "SUCCEEDED",
        "createdAt": "2026-10-01T00:00:00Z",
        "cost": {"credits": 25},
        "output": [url],
    }


def sent_back(asked_picture: bytes, path) -> bytes:
    """The video that a service makes of the frame it was sent: it drifts to the right."""
    picture = cv2.cvtColor(
        cv2.imdecode(np.frombuffer(asked_picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )
    encode(path, [np.roll(picture, n, 1) for n in range(6)], 24.0)
    return path.read_bytes()


@pytest.fixture
def base(tmp_path):
    encode(tmp_path / "base.mp4", moving(frames=8).clip.frames, 24.0)
    return tmp_path / "base.mp4"


def test_the_service_tells_all_providers_with_licence_terms_and_needs(own):
    own.environment.pop("RUNWAYML_API_SECRET", None)
    own.start()
    with own.client() as client:
        welcome = client.hello()
    by_name = {(p.kind, p.name): p for p in welcome.catalogue}
    assert by_name["driving", "kinematic"].needs == []
    runway = by_name["driving", "runway"]
    assert runway.sends
    assert "paid" in runway.terms
    assert "RUNWAYML_API_SECRET" in " ".join(runway.needs)
    assert "CC BY-NC" in by_name["depth", "depth-anything-v2-large"].terms
    assert {p.name for p in welcome.catalogue if p.kind == "driving" and not p.needs} == set(
        welcome.providers["driving"]
    )
    assert welcome.refiner == ""


def test_the_draft_driver_s_video_is_made_alone_and_measured(own, base, tmp_path):
    own.start()
    with own.client() as client:
        content = client.upload(base)
        asked = client.prepare(Prepare(content=content, prompt="it jumps", driving="kinematic"))
        assert (asked.prompt, asked.terms) == ("it jumps", [])
        where = SubjectSelection(point=CENTRE)
        job = client.submit(
            Submit(
                job_kind="driving",
                base=content,
                prompt="it jumps",
                selection=where,
                head=CENTRE,
                longer_side=160,
            )
        )
        status = client.watch(job, lambda event, arrays: None)
        assert status.state == "done", status.error
        assert not status.has_puppet
        assert set(status.artefacts) == {"body_plan.png", "candidates.json", "candidates/1.mp4"}
        report = json.loads(
            client.fetch_artefact(job, "candidates.json", tmp_path / "c.json").read_text()
        )
        assert report["doubt"] == ""  # a blob, but its head was pointed at
        (one,) = report["candidates"]
        assert one["seam"] > 40
        assert 0 < one["score"] <= 1
        clip = decode(client.fetch_artefact(job, "candidates/1.mp4", tmp_path / "1.mp4"))
        assert len(clip) >= 24
        with pytest.raises(WireError, match="same video every time"):
            client.submit(Submit(job_kind="driving", base=content, prompt="it jumps", candidates=2))
        with pytest.raises(WireError, match="no driving provider 'dreams'"):
            client.prepare(Prepare(content=content, prompt="it jumps", driving="dreams"))


def test_candidates_of_a_service_are_announced_made_and_one_becomes_the_puppet(own, base, tmp_path):
    import base64

    with serve() as hosted:
        pictures = []

        def begin(asked):
            pictures.append(base64.b64decode(asked.body["promptImage"].split(",")[1]))
            return 200, {"id": TASK}

        hosted.on("POST", "/v1/image_to_video", begin)
        hosted.on("GET", f"/v1/tasks/{TASK}", (200, finished(f"{hosted.url}/out.mp4")))
        hosted.on(
            "GET", "/out.mp4", lambda asked: (200, sent_back(pictures[-1], tmp_path / "made.mp4"))
        )
        own.environment |= {"RUNWAYML_API_SECRET": "sk-test", "RUNWAYML_BASE_URL": hosted.url}
        own.start()
        with own.client() as client:
            content = client.upload(base)
            asked = client.prepare(
                Prepare(
                    content=content,
                    prompt="it jumps",
                    driving="runway",
                    candidates=2,
                    longer_side=160,
                )
            )
            assert asked.prompt.startswith("It jumps. It keeps its identity")
            assert any(
                "sent to Runway" in text and "$" in text and text.startswith("2 x ")
                for text in asked.terms
            )
            assert hosted.asked == []  # nothing was sent, nothing is paid
            where, mine = SubjectSelection(point=CENTRE), asked.prompt + " It is dusk."
            whole = {
                "base": content,
                "prompt": "it jumps",
                "selection": where,
                "longer_side": 160,
                "refined_prompt": mine,
            }
            job = client.submit(Submit(job_kind="driving", driving="runway", candidates=2, **whole))
            status = client.watch(job, lambda event, arrays: None)
            assert status.state == "done", status.error
            assert [a.body["promptText"] for a in hosted.asked if a.method == "POST"] == [
                mine,
                mine,
            ]
            assert {"candidates/1.mp4", "candidates/2.mp4"} <= set(status.artefacts)
            report = json.loads(
                client.fetch_artefact(job, "candidates.json", tmp_path / "c.json").read_text()
            )
            assert report["refined_prompt"] == mine
            assert [c["candidate"] for c in report["candidates"]] == [1, 2]
            picked = status.artefacts["candidates/2.mp4"].content
            few = {"fusion.steps": 20, "motion.steps": 20}
            made = {
                "driving": [picked],
                "made_by": report["provider"],
                "quality": "draft",
                "settings": few,
            }
            done = client.watch(client.submit(Submit(**whole, **made)), lambda event, arrays: None)
            assert done.state == "done", done.error
            puppet = Puppet.load(client.fetch_puppet(done.id, tmp_path / "p.puppet"))
        assert (
            sum(a.method == "POST" for a in hosted.asked) == 2
        )  # the picked one is not made again
    assert puppet.provenance["providers"]["driving"] == [report["provider"]]
    assert puppet.provenance["refined_prompt"] == [mine]
