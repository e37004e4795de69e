"""The prompt refined, and the best of several driving videos."""

import base64
import json

import cv2
import numpy as np
import pytest

from restage4d.clips import Clip
from restage4d.driving.candidates import BestOf, format_table, measure
from restage4d.driving.endpoint import EndpointConfig
from restage4d.driving.prompt_refinement import (
    CAMERA,
    RefinedPromptDriving,
    fill_template,
    refine,
)
from restage4d.driving.protocols import DrivingVideo, Figures
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache
from restage4d.progress import Progress

pytest.importorskip("google.genai", reason="the extra hosted is not installed")
pytest.importorskip("runwayml", reason="the extra hosted is not installed")
pytest.importorskip("openai", reason="the extra hosted is not installed")

from .services import MASK, SECRET, H, W, no_waiting


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
    assert refine(base, "it jumps twice", EndpointConfig(f"{server.url}/v1", "qwen-vl")) == GOOD
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
        refine(base, "it jumps", EndpointConfig(f"{server.url}/v1", "m"))
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
        refine(base, "it jumps", EndpointConfig(f"{server.url}/v1", "m"))
    assert "template" in caught.value.remedy
    assert SECRET not in str(caught.value)


def test_a_busy_endpoint_is_asked_again(server, base, monkeypatch):
    no_waiting(monkeypatch)
    server.on("POST", CHAT, (429, {"error": {"message": "slow down"}}), (500, {}), said(GOOD))
    assert refine(base, "it jumps", EndpointConfig(f"{server.url}/v1", "m")) == GOOD


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
    driver, config = Plain(), EndpointConfig(f"{server.url}/v1", "m")
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


def test_a_cached_candidate_is_judged_anew(base, tmp_path, monkeypatch):
    cache, told = Cache(tmp_path / "cache"), []
    drivers = [Plain(0), Plain(2)]
    BestOf(drivers, cache=cache, announce=told.append).make(base, MASK, "it jumps", Progress())
    judged = []

    def check(base, clip, name, *, subject):
        judged.append((name, subject))
        if len(judged) == 1:
            raise InputError(f"The subject in {name} differs.", "")

    monkeypatch.setattr("restage4d.driving.candidates.check_start", check)
    other = np.roll(MASK, 5, 1)  # of another selection
    best = BestOf(drivers, cache=cache, announce=told.append)
    video = best.make(base, other, "it jumps", Progress())
    assert video.made_by == "plain 2"
    assert "Candidate 1 is left out: The subject in the video by plain 0 differs." in told
    assert len(judged) == 2
    np.testing.assert_array_equal(judged[0][1], other)
    assert [len(driver.prompts) for driver in drivers] == [1, 1]


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
