"""The seam between base and driving video: size, aspect, rate, alignment, and clear words where
they do not fit."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from restage4d.clips import Clip
from restage4d.driving.seam import check_start, compare, prepare, psnr
from restage4d.driving.video_file import FileDriving
from restage4d.errors import InputError
from restage4d.io.images import image
from restage4d.io.video import encode
from restage4d.progress import Progress

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
PAIR = DATA / "pairs" / "motionpro_dog"
WIDTH, HEIGHT = 256, 144


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture with detail at several sizes, the same at any resolution."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 9, 20, 40):
        noise = rng.random((cells, round(cells * width / height), 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 4
    return np.clip(picture * 255, 0, 255).astype(np.uint8)


def scaled(picture: np.ndarray, size: tuple[int, int], how: int = cv2.INTER_AREA) -> np.ndarray:
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def moving(first: np.ndarray, frames: int, fps: float) -> Clip:
    """``first``, then a square that moves by time, so that rates can be told apart."""
    clip = np.repeat(first[None], frames, 0)
    for t in range(1, frames):
        x = int(t / fps * 60)
        clip[t, 10:20, x : x + 10] = 255
    return Clip(clip, fps)


def warped(
    clip: Clip, scale: float = 1.0, right: float = 0.0, down: float = 0.0, degrees: float = 0.0
) -> Clip:
    width, height = clip.size
    M = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), -degrees, scale)
    M[:, 2] += (right, down)
    frames = [
        cv2.warpAffine(f, M, clip.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        for f in clip.frames
    ]
    return Clip(np.stack(frames).astype(np.uint8), clip.fps)


BASE = moving(scene(WIDTH, HEIGHT), 6, 24.0)


@pytest.mark.parametrize(
    ("scale", "right", "down", "degrees"),
    [(1, 0, 0, 0), (1, 12, -5, 0), (1.08, 0, 0, 0), (0.95, 3, 2, 1.5), (1.2, -20, 8, -4)],
)
def test_compare_measures_what_was_done(scale, right, down, degrees):
    seam = compare(BASE.frames[0], warped(BASE, scale, right, down, degrees).frames[0])
    assert seam.homography is not None
    assert seam.shift == pytest.approx((right, down), abs=0.3)
    assert seam.scale == pytest.approx(scale, abs=0.004)
    assert seam.rotation == pytest.approx(degrees, abs=0.15)


def test_a_clip_that_fits_passes_unchanged():
    result = prepare(BASE, BASE)
    np.testing.assert_array_equal(result.frames, BASE.frames)
    assert result.fps == BASE.fps


def test_a_small_drift_is_undone_in_all_frames():
    drifted = warped(BASE, 1.03, 5, -3, 0.8)
    assert psnr(BASE.frames[0], drifted.frames[0]) < 25
    result = prepare(BASE, drifted)
    inner = np.s_[12:-12, 16:-16]
    assert psnr(BASE.frames[0][inner], result.frames[0][inner]) > 32
    assert psnr(BASE.frames[5][inner], result.frames[5][inner]) > 30


def test_what_differs_is_said_in_figures():
    with pytest.raises(InputError) as error:
        prepare(BASE, warped(BASE, 1.2, 30, 0), "take2.mp4")
    for words in ("take2.mp4", "dB (needs 20)", "30 px right", "20 % larger"):
        assert words in error.value.what
    with pytest.raises(InputError, match="no common picture detail"):
        prepare(BASE, moving(scene(WIDTH, HEIGHT, seed=9), 4, 24.0))
    with pytest.raises(InputError, match="brighter"):
        prepare(Clip(BASE.frames // 3, 24.0), BASE)
    with pytest.raises(InputError, match="single frame"):
        prepare(BASE, Clip(BASE.frames[:1], 24.0))


ELLIPSE = np.hypot(*(np.mgrid[-15:15, -12:12] / np.array([15, 12])[:, None, None])) < 1


def with_subject(
    right: float = 0, down: float = 0, *, contrast: float = 1.0
) -> tuple[Clip, np.ndarray]:
    """A still background with a small textured subject, and the subject's mask."""
    picture, mask = scene(WIDTH, HEIGHT), np.zeros((HEIGHT, WIDTH), bool)
    texture = scene(24, 30, 5).astype(float) * contrast + 60 * (1 - contrast)
    y, x = 50 + round(down * HEIGHT), 60 + round(right * WIDTH)
    mask[y : y + 30, x : x + 24] = ELLIPSE
    picture[mask] = texture[ELLIPSE] // 2
    return Clip(np.repeat(picture[None], 3, 0), 24.0), mask


@pytest.mark.parametrize(
    ("right", "down", "words"),
    [
        (0.39, 0, "The subject stands 39 % of the width further right in the first frame of t.mp4"),
        (-0.15, 0.2, "stands 15 % of the width further left and 20 % of the height further down"),
        (0, -0.3, "stands 30 % of the height further up in"),
        (0.05, 0, "stands 5 % of the width further right in"),
    ],
)
@pytest.mark.parametrize("light", [1.0, 0.85])
def test_a_subject_elsewhere_on_the_same_background_is_refused(right, down, words, light):
    base, mask = with_subject()
    driving = with_subject(right, down)[0]
    driving = Clip((driving.frames * light).astype(np.uint8), 24.0)
    assert compare(base.frames[0], driving.frames[0]).psnr > 20, "the background agrees"
    with pytest.raises(InputError) as error:
        prepare(base, driving, "t.mp4", subject=mask)
    assert words in error.value.what


def test_a_prepared_clip_is_judged_by_another_subject():
    base, mask = with_subject()
    driving = with_subject(0.39)[0]
    check_start(base, driving, subject=np.roll(mask, (60, 100), (0, 1)))  # the plain background
    check_start(base, driving)
    with pytest.raises(InputError, match="The subject stands 39 % of the width further right in"):
        check_start(base, driving, "t.mp4", subject=mask)
    with pytest.raises(InputError, match=r"t\.mp4 differs from the base's first frame: .* dB"):
        check_start(base, Clip(driving.frames // 4, 24.0), "t.mp4")


def test_another_subject_or_none_in_its_place_is_refused():
    base, mask = with_subject()
    other = base.frames.copy()
    other[:, mask] = 255 - other[:, mask]
    gone = np.repeat(scene(WIDTH, HEIGHT)[None], 3, 0)
    for driving in (Clip(other, 24.0), Clip(gone, 24.0)):
        assert compare(base.frames[0], driving.frames[0]).psnr > 20
        with pytest.raises(InputError, match=r"The subject in the first frame .* \(needs 14\)"):
            prepare(base, driving, subject=mask)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (0.02, 0), (-0.012, 0.02), (0, 0.02)])
def test_a_subject_a_little_aside_is_accepted(right, down):
    base, mask = with_subject()
    driving = with_subject(right, down)[0]
    np.testing.assert_array_equal(prepare(base, driving, subject=mask).frames, driving.frames)


@pytest.mark.parametrize("crf", [16, 35])
def test_a_recompressed_video_is_accepted(tmp_path, crf):
    base, mask = with_subject()
    encode(tmp_path / "d.mp4", base.frames, 24.0, crf)
    clip = FileDriving(tmp_path / "d.mp4").make(base, mask, "", Progress()).clip
    assert psnr(base.frames[0], clip.frames[0]) > 20


def test_other_light_is_told_as_before_and_a_plain_or_second_subject_is_no_fault():
    base, mask = with_subject()
    with pytest.raises(InputError, match="brighter"):
        prepare(Clip(base.frames // 3, 24.0), base, subject=mask)
    prepare(base, Clip((base.frames * 0.85).astype(np.uint8), 24.0), subject=mask)
    plain, _ = with_subject(contrast=0.0)
    prepare(plain, plain, subject=mask)
    with pytest.raises(InputError, match="39 % of the width further right"):
        prepare(plain, with_subject(0.39, contrast=0.0)[0], subject=mask)
    twins = base.frames.copy()
    twins[:, 50:80, 160:184][:, ELLIPSE] = twins[:, 50:80, 60:84][:, ELLIPSE]
    prepare(Clip(twins, 24.0), Clip(twins, 24.0), subject=mask)
    for whole in (np.ones_like(mask), np.zeros_like(mask)):
        prepare(base, base, subject=whole)


def test_other_sizes_and_bars():
    big = Clip(np.stack([scaled(f, (640, 360), cv2.INTER_CUBIC) for f in BASE.frames]), 24.0)
    result = prepare(BASE, big)
    assert result.size == BASE.size
    assert psnr(BASE.frames[0], result.frames[0]) > 30
    barred = Clip(np.pad(big.frames, ((0, 0), (60, 60), (0, 0), (0, 0))), 24.0)
    assert psnr(BASE.frames[0], prepare(BASE, barred).frames[0]) > 28


@pytest.mark.parametrize("top", [0, 30, 60])
def test_of_another_aspect_the_part_that_agrees_is_cut_out(top):
    tall = scene(WIDTH, HEIGHT + 60, seed=3)
    base = Clip(np.repeat(tall[None, top : top + HEIGHT], 3, 0), 24.0)
    result = prepare(base, Clip(np.repeat(tall[None], 3, 0), 24.0))
    assert psnr(base.frames[0], result.frames[0]) > 40


@pytest.mark.parametrize("fps", [8.0, 12.0, 30.0, 60.0])
def test_the_rate_becomes_the_base_s(fps):
    driving = moving(BASE.frames[0], round(fps) + 1, fps)  # one second
    result = prepare(BASE, driving)
    assert result.fps == BASE.fps
    assert len(result) == 25
    for t, frame in enumerate(result.frames):  # every moment shows the frame nearest to it
        nearest = [
            k for k in range(len(driving)) if abs(k / fps - t / BASE.fps) <= 0.5 / fps + 1e-9
        ]
        assert any(np.array_equal(frame, driving.frames[k]) for k in nearest)


def test_a_file_is_a_driving_video(tmp_path):
    encode(tmp_path / "drive.mp4", list(moving(scene(2 * WIDTH, 2 * HEIGHT), 9, 12.0).frames), 12.0)
    base = Clip(np.stack([scaled(scene(2 * WIDTH, 2 * HEIGHT), (WIDTH, HEIGHT))] * 2), 24.0)
    driver = FileDriving(tmp_path / "drive.mp4")
    clip = driver.make(base, np.ones((HEIGHT, WIDTH), bool), "", Progress()).clip
    assert clip.size == base.size
    assert clip.fps == base.fps
    assert len(clip) == 17
    assert psnr(base.frames[0], clip.frames[0]) > 30
    assert "drive.mp4" in driver.name
    with pytest.raises(InputError, match=r"missing\.mp4"):
        FileDriving(tmp_path / "missing.mp4").make(
            base, np.ones((HEIGHT, WIDTH), bool), "", Progress()
        )


@pytest.mark.skipif(not PAIR.exists(), reason=f"no generated clips at {PAIR}")
@pytest.mark.parametrize(
    "name", ["dog_pure_obj_motion", "dog_pure_camera_motion_1", "dog_pure_camera_motion_2"]
)
def test_generated_clips_fit_their_picture(name):
    first = scaled(image(PAIR / "dog.png"), (384, 240))
    base = Clip(np.repeat(first[None], 2, 0), 24.0)
    result = (
        FileDriving(PAIR / f"{name}.mp4").make(base, np.ones((240, 384), bool), "", Progress()).clip
    )
    assert psnr(first, result.frames[0]) > 33
    assert len(result) == 46
