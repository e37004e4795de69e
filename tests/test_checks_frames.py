"""Faults of the video itself, on clips in which they stand at known frames."""

from pathlib import Path

import numpy as np
import pytest
from moving import moving

from restage4d.checks.findings import Finding, FindingLog, describe_frames
from restage4d.checks.frames import check_frames, find_frame_faults
from restage4d.clips import Clip
from restage4d.errors import InputError
from restage4d.io import video

DEMO = Path(__file__).resolve().parent.parent / "scripts" / "demo_clip" / "base.mp4"
U8 = np.uint8


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    return video.decode(DEMO).frames


def other_take(count: int) -> np.ndarray:
    """Frames of the demo clip's size that show something else."""
    import cv2

    frames = moving(frames=count, pan=-3).clip.frames
    return np.stack([cv2.resize(frame, (384, 288)) for frame in frames])


def scale(frames: np.ndarray, gain) -> np.ndarray:
    gain = np.reshape(np.broadcast_to(gain, len(frames)), (-1, 1, 1, 1))
    return np.clip(frames * gain, 0, 255).astype(U8)


def codes(frames: np.ndarray) -> list[tuple[str, int, int]]:
    return [(f.code, f.first_frame, f.last_frame) for f in check_frames(Clip(frames, 24.0))]


def test_ordinary_clips_have_no_findings(demo):
    assert codes(demo) == []
    assert codes(demo[::2]) == []  # twice as fast
    assert codes(moving(frames=20).clip.frames) == []


@pytest.mark.parametrize("pan", [-8.0, -20.0, -30.0])
def test_a_fast_pan_is_no_cut(pan):
    assert codes(moving(frames=12, pan=pan).clip.frames) == []


@pytest.mark.parametrize("k", [1, 9, 30, 47])
def test_a_hard_cut_is_found_where_it_is_and_nothing_else(demo, k):
    frames = np.concatenate([demo[:k], other_take(48 - k)])
    assert codes(frames) == [("hard-cut", k, k)]


def test_the_part_that_works_is_offered(demo):
    late = np.concatenate([demo[:30], other_take(12)])
    (cut,) = check_frames(Clip(late, 24.0), first=5)
    assert cut.severity == "refuse"
    assert cut.text == "There is a hard cut at frame 30 of base."
    assert cut.remedy == "What works is the part with --first 5 --frames 30."
    early = np.concatenate([demo[:3], other_take(20), demo[:12]])
    first, second = check_frames(Clip(early, 24.0), first=5)
    assert (first.first_frame, second.first_frame) == (3, 23)
    assert first.remedy == second.remedy == "What works is the part with --first 8 --frames 20."
    (driving,) = check_frames(Clip(late, 24.0), video="restaged")
    assert driving.video == "restaged"
    assert driving.remedy == "Keep its first 30 frames only, or make another."


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("kind", ["bright", "white", "black", "other picture"])
def test_a_flash_is_no_cut(demo, kind, length):
    frames = demo.copy()
    span = slice(20, 20 + length)
    frames[span] = {
        "bright": np.clip(frames[span] * 2.2 + 30, 0, 255).astype(U8),
        "white": np.full_like(frames[span], 255),
        "black": np.zeros_like(frames[span]),
        "other picture": other_take(length),
    }[kind]
    assert codes(frames) == [("flash", 20, 19 + length)]


def test_jumps_of_the_exposure(demo):
    frames = demo.copy()
    frames[20:] = scale(frames[20:], 0.65)
    assert codes(frames) == [("exposure-jump", 20, 20)]
    assert codes(scale(demo, np.linspace(1, 0.65, 48))) == []  # an iris that closes slowly


@pytest.mark.parametrize("level", [0, 255])
def test_fades_and_blank_frames(demo, level):
    left = np.ones(48)
    left[30:40], left[40:] = np.linspace(0.92, 0.2, 10), 0.0
    faded = (demo * left[:, None, None, None] + (1 - left[:, None, None, None]) * level).astype(U8)
    found = check_frames(Clip(faded, 24.0))
    assert [f.code for f in found] == ["fade", "blank"]
    fade, blank = found
    assert abs(fade.first_frame - 31) <= 2
    assert (fade.last_frame, blank.first_frame, blank.last_frame) == (39, 40, 47)
    assert blank.remedy == f"What works is the part with --frames {fade.first_frame}."
    assert ("black" if level == 0 else "white") in blank.text
    back = check_frames(Clip(faded[::-1], 24.0))
    assert [(f.code, f.first_frame, f.last_frame) for f in back] == [
        ("blank", 0, 7),
        ("fade", 8, 47 - fade.first_frame),
    ]


def test_blank_frames_between_two_takes(demo):
    blank = np.zeros_like(demo[:6])
    same = np.concatenate([demo[:20], blank, demo[20:]])
    assert codes(same) == [("blank", 20, 25)]
    two = np.concatenate([demo[:20], blank, other_take(20)])
    assert codes(two) == [("blank", 20, 25), ("hard-cut", 26, 26)]


def test_nothing_that_works_is_left(demo):
    (found,) = check_frames(Clip(np.zeros_like(demo), 24.0))
    assert (found.code, found.remedy) == ("blank", "Give a clip that is one unbroken shot.")


def test_repeated_frames(demo):
    index = np.arange(48)
    index[20:28] = 20
    assert codes(demo[index]) == [("frozen", 20, 27)]
    pulldown = np.arange(48) - np.arange(48) // 5  # every fifth frame stands twice
    (found,) = check_frames(Clip(demo[pulldown], 24.0))
    assert (found.code, found.severity) == ("repeated", "note")
    assert find_frame_faults(demo[pulldown]).repeated.sum() == 9
    assert codes(np.repeat(demo[:1], 20, 0)) == []  # a photo is no fault


def test_the_log_says_all_refusals_in_one_error(capsys):
    log = FindingLog(print)
    cut = Finding("hard-cut", "refuse", "A cut at 3.", "Use --frames 3.", 3, 3)
    log.add([Finding("flash", "warning", "A flash.", "Repair it.", 1, 1)])
    assert capsys.readouterr().out == "Warning: A flash. Repair it.\n"
    with pytest.raises(InputError) as refused:
        log.add([cut, Finding("blank", "refuse", "Black at 5.", "Use --frames 3.", 5, 5)])
    assert str(refused.value) == "A cut at 3. Black at 5. Use --frames 3."
    assert [f.code for f in log.findings] == ["flash", "hard-cut", "blank"]
    assert [f.code for f in log.doubts] == ["flash"]
    assert cut.to_record()["first_frame"] == 3


def test_frames_in_words():
    flags = np.zeros(20, bool)
    flags[3] = True
    assert describe_frames(flags) == ("frame 3", 3, 3)
    flags[5:8] = flags[12] = True
    assert describe_frames(flags) == ("frames 3, 5-7 and 12", 3, 12)
    flags[15] = True
    assert describe_frames(flags) == ("6 frames from 3 to 15", 3, 15)
