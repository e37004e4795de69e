"""The Blender panel's session, which needs no Blender, against a real backend process."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from tiny_job import tiny_job

from blender_addon.session.models import Order
from blender_addon.session.session import Link, Session
from restage4d.jobs.mask_file import read_mask
from restage4d.protocol.client import Client
from restage4d.protocol.framing import new_id
from restage4d.protocol.service import stop_service

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "scripts" / "demo_clip" / "base.mp4"


class Backend:
    """A backend of its own in ``home``, started as often as it is asked for."""

    def __init__(self, home: Path) -> None:
        self.home, self.file, self.starts = home, home / "connection.json", 0

    def connect(self) -> Client:
        return Client.connect(self.file, timeout_s=5.0)

    def start(
        self,
        answers: Callable[[], bool],
        stopped: threading.Event,
        say: Callable[[str, bool], None],
    ) -> None:
        self.starts += 1
        environment = os.environ | {"RESTAGE4D_HOME": str(self.home)}
        subprocess.Popen(
            [sys.executable, "-m", "backend"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while not answers() and not stopped.wait(0.1):
            assert time.monotonic() < until, "the backend did not start"

    def kill(self) -> None:
        pid = json.loads(self.file.read_text())["pid"]
        psutil.Process(pid).kill()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    made = Backend(tmp_path_factory.mktemp("home"))
    yield made
    stop_service(made.file)


@pytest.fixture
def session(backend: Backend) -> Iterator[Session]:
    made = Session(Link(backend.connect, backend.start))
    yield made
    made.close()


def wait(session: Session, condition: Callable[[], object], seconds: float = 180) -> None:
    """Drains as the panel's timer does until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{session.backend}, {session.shot}, {session.job}"
        session.drain()
        time.sleep(0.02)


def ready(session: Session) -> None:
    wait(session, lambda: session.backend.phase in ("absent", "ready"))
    if session.backend.phase == "absent":
        session.start()
    wait(session, lambda: session.backend.phase == "ready")


def submit_tiny_job(backend: Backend, steps: int = 30) -> str:
    """A tiny real fit."""
    with backend.connect() as client:
        return client.submit(tiny_job(client.upload, steps))


def test_a_backend_is_missed_started_and_told_of(backend: Backend, session: Session) -> None:
    wait(session, lambda: session.backend.phase != "unknown")
    assert session.backend.phase == "absent"
    ready(session)
    assert session.backend.version
    assert session.backend.devices
    draft = session.backend.provider("driving", "kinematic")
    assert draft is not None
    assert not draft.needs
    veo = session.backend.provider("driving", "veo")
    assert veo is not None
    assert "paid" in veo.about
    assert session.backend.fault is None


def test_a_video_picked_before_there_is_a_backend_goes_when_there_is(
    backend: Backend, session: Session
) -> None:
    shot = session.open_shot(CLIP, (1, 12), 128, {})
    ready(session)
    wait(session, lambda: shot.phase == "ready")
    assert shot.size == (384, 288)
    assert shot.first is not None
    assert shot.first.shape == (96, 128, 3)
    assert shot.mask is not None
    assert 0 < shot.mask.mean() < 0.8


def test_the_first_frame_is_that_of_the_part(backend: Backend, session: Session) -> None:
    ready(session)
    frames = []
    for first in (1, 31):
        shot = session.open_shot(CLIP, (first, 44), 128, {})
        wait(session, lambda shot=shot: shot.first is not None or shot.fault)
        assert shot.first is not None, shot.fault
        frames.append(shot.first.astype(int))
    assert np.abs(frames[0] - frames[1]).mean() > 1


def test_a_driving_video_is_made_looked_at_and_restaged(
    backend: Backend, session: Session, tmp_path: Path
) -> None:
    ready(session)
    shot = session.open_shot(CLIP, (1, 12), 128, {})
    wait(session, lambda: shot.phase == "ready")
    asked = session.prepare(Order("it jumps"))
    wait(session, lambda: asked.phase != "asking")
    assert (asked.phase, asked.refined, asked.terms) == ("ready", "it jumps", []), asked.fault
    driving_job = session.make_driving(Order("it jumps", longer_side=128))
    wait(session, lambda: driving_job.state == "done" or driving_job.fault)
    assert driving_job.fault is None
    session.fetch(driving_job, tmp_path)
    wait(session, lambda: not driving_job.fetching)
    (take,) = driving_job.candidates
    assert take.path.stat().st_size > 1000
    assert set(take.figures) == {"seam", "camera", "subject", "tracks", "score"}
    assert driving_job.made_by == "kinematic"
    job = session.restage(
        Order("it jumps", longer_side=128, driving=take.path, made_by="kinematic")
    )
    wait(session, lambda: job.submitted.is_set() and job.state != "sending")
    session.cancel(job)
    wait(session, lambda: job.state == "cancelled")
    assert session.driving_job is driving_job, "two jobs are followed side by side"


def test_what_a_provider_cannot_do_is_told_before_it_is_asked(
    backend: Backend, session: Session
) -> None:
    ready(session)
    shot = session.open_shot(CLIP, (1, 12), 128, {})
    wait(session, lambda: shot.phase == "ready")
    asked = session.prepare(Order("it jumps", provider="veo"))
    wait(session, lambda: asked.phase != "asking")
    assert asked.phase == "failed"
    assert asked.fault is not None
    assert "veo" in asked.fault.what


def test_pointing_at_nothing_says_what_to_do_and_pointing_right_mends_it(
    backend: Backend, session: Session
) -> None:
    ready(session)
    shot = session.open_shot(CLIP, (1, 20), 192, {"box": (5, 5, 9, 9)})
    wait(session, lambda: shot.phase == "ready")
    assert shot.fault is not None
    assert shot.fault.remedy
    assert shot.first is not None, "the frame to point at is there all the same"
    session.select({"box": (60, 30, 330, 260)})
    wait(session, lambda: shot.phase == "ready")
    assert shot.fault is None
    assert shot.mask is not None
    assert shot.mask.any()


def test_a_later_frame_is_looked_at_and_the_subject_found_where_it_is_pointed_at(
    backend: Backend, session: Session
) -> None:
    ready(session)
    shot = session.open_shot(CLIP, (1, 20), 192, {"box": (60, 30, 330, 260)})
    wait(session, lambda: shot.phase == "ready")
    plain = session.look_at_frame(11, {})
    assert plain is not None
    wait(session, lambda: plain.phase != "looking")
    assert plain.picture is not None, plain.fault
    assert shot.first is not None
    assert np.abs(plain.picture.astype(int) - shot.first).mean() > 1
    look = session.look_at_frame(11, {"box": (40, 20, 340, 270)})
    assert look is not None
    assert look.picture is plain.picture
    wait(session, lambda: look.phase != "looking")
    assert look.mask is not None, look.fault
    true = cv2.imread(str(CLIP.parent / "masks" / "00011.png"), cv2.IMREAD_GRAYSCALE)
    assert true is not None
    true = cv2.resize(true, look.mask.shape[::-1], interpolation=cv2.INTER_AREA) > 127
    assert (look.mask & true).sum() / (look.mask | true).sum() > 0.7


def test_what_is_no_video_is_a_sentence_and_a_remedy(
    backend: Backend, session: Session, tmp_path: Path
) -> None:
    ready(session)
    (tmp_path / "notes.mp4").write_text("not a video")
    shot = session.open_shot(tmp_path / "notes.mp4", None, 128, {})
    wait(session, lambda: shot.phase == "failed")
    assert shot.fault is not None
    assert shot.fault.what.endswith(".")
    assert shot.fault.remedy


def test_a_job_is_followed_to_its_puppet(
    backend: Backend, session: Session, tmp_path: Path
) -> None:
    ready(session)
    job = session.attach(submit_tiny_job(backend))
    wait(session, lambda: job.state == "done")
    session.fetch(job, tmp_path)
    wait(session, lambda: not job.fetching)
    assert job.fault is None
    assert job.loaded is not None
    assert job.puppet is not None
    assert job.puppet.is_file()
    assert job.masks is not None
    mask = read_mask(job.masks, job.loaded.performances[0].n_frames - 1)
    assert mask is not None
    assert 0 < mask.mean() < 0.8


def test_a_killed_backend_comes_back_and_the_job_ends(backend: Backend, session: Session) -> None:
    ready(session)
    job = session.attach(submit_tiny_job(backend, steps=400))
    wait(session, lambda: job.state == "running")
    starts = backend.starts
    backend.kill()
    wait(session, lambda: session.backend.phase == "lost", 30)
    wait(session, lambda: session.backend.phase == "ready")
    assert backend.starts == starts + 1
    wait(session, lambda: job.state == "done")


def test_a_session_of_tomorrow_finds_the_job(backend: Backend, session: Session) -> None:
    ready(session)
    known = submit_tiny_job(backend, steps=400)
    job = session.attach(known)
    wait(session, lambda: job.state == "running")
    session.close()
    tomorrow = Session(Link(backend.connect))
    try:
        again = tomorrow.attach(known)
        wait(tomorrow, lambda: again.state == "done")
    finally:
        tomorrow.close()


def test_pause_resume_cancel(backend: Backend, session: Session) -> None:
    ready(session)
    job = session.attach(submit_tiny_job(backend, steps=5000))
    wait(session, lambda: job.state == "running")
    session.pause(job)
    wait(session, lambda: job.state == "paused")
    session.resume(job)
    wait(session, lambda: job.state in ("queued", "running"))
    session.cancel(job)
    wait(session, lambda: job.state == "cancelled")
    assert not job.active


def test_an_unknown_job_says_so(backend: Backend, session: Session) -> None:
    ready(session)
    job = session.attach(new_id())
    wait(session, lambda: job.fault is not None)
    assert job.state == "failed"
    assert "does not know" in job.fault.what if job.fault else False


def test_what_cannot_be_restaged_fails_with_the_service_s_words(
    backend: Backend, session: Session
) -> None:
    ready(session)
    shot = session.open_shot(CLIP, (1, 12), 128, {})
    wait(session, lambda: shot.phase == "ready")
    job = session.restage(Order("it jumps", settings={"no.such": 1}))
    wait(session, lambda: job.state == "failed")
    assert job.fault is not None
    assert "no" in job.fault.what


def test_cancelled_before_it_was_sent_it_is_never_sent(session: Session, backend: Backend) -> None:
    ready(session)
    session.open_shot(CLIP, (1, 12), 128, {})
    job = session.restage(Order("it jumps"))
    job.unwanted.set()
    wait(session, lambda: job.state == "cancelled")
    with backend.connect() as client:
        assert job.id not in [status.id for status in client.jobs()]
