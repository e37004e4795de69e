"""Files as people have them, each with its right outcome (README.md beside them).

They lie in the folder RESTAGE4D_DATA, or in shared/data beside the checkout.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import plain_decode, psnr

from restage4d.clips import Clip
from restage4d.io import video
from restage4d.io.arrays import mask_picture

DATA = Path(os.environ.get("RESTAGE4D_DATA", Path(__file__).parents[2] / "shared" / "data"))
CASES = DATA / "cases"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"{CASES} is missing (set RESTAGE4D_DATA)"
)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """The clip that all others are made of, (24, 192, 256, 3)."""
    return plain_decode(CASES / "plain_control.mp4")


@pytest.fixture(scope="module")
def subject() -> np.ndarray:
    """Where the figure is in the first frame, (192, 256) bool."""
    rgba = cv2.imread(str(CASES / "mask_cutout_alpha.png"), cv2.IMREAD_UNCHANGED)
    return rgba[..., 3] > 127


def decoded(name: str) -> Clip:
    """The clip, whose frames a look at the file has promised."""
    info, clip = video.probe(CASES / name), video.decode(CASES / name, longer_side=None)
    assert (info.width, info.height) == clip.size
    assert (info.frames, info.fps, info.notes) == (len(clip), clip.fps, clip.notes)
    assert info.alpha == (clip.alpha is not None)
    return clip


@pytest.mark.parametrize(
    ("name", "fps", "at_least"),
    [
        ("plain_control.mp4", 24, 99),
        ("camera_bframes.ts", 24, 45),
        ("camcorder.mts", 24, 45),
        ("h264_bframes.avi", 24, 45),
        ("raw.h264", 24, 45),
        ("gif_last_frame_held.gif", 25, 34),
        ("hdr_hlg.mp4", 24, 30),
    ],
)
def test_all_24_frames_in_order(plain: np.ndarray, name: str, fps: float, at_least: float) -> None:
    clip = decoded(name)
    assert clip.frames.shape == plain.shape
    assert clip.fps == fps
    assert min(psnr(a, b) for a, b in zip(clip.frames, plain, strict=True)) > at_least


def test_a_burst_keeps_its_frames(plain: np.ndarray) -> None:
    clip = decoded("vfr_burst_then_hold.mp4")
    assert clip.fps == pytest.approx(24, rel=0.01)
    nearest = [
        int(np.argmin([np.abs(f - p.astype(int)).mean() for p in plain]))
        for f in clip.frames.astype(int)
    ]
    assert nearest[:18] == list(range(18))
    assert [nearest.count(i) for i in range(18, 23)] == [12] * 5


def test_a_mirrored_video(plain: np.ndarray) -> None:
    assert psnr(decoded("mirrored_matrix.mp4").frames, plain[:, :, ::-1]) > 45


def test_a_turned_video() -> None:
    clip = decoded("phone_portrait.mp4")
    assert clip.size == (192, 256)
    corner = clip.frames[0, 4:10, 4:10].mean((0, 1))  # red, top left
    assert corner[0] > 150 > 100 > corner[1:].max()


def test_interlaced(plain: np.ndarray) -> None:
    clip = decoded("interlaced_tff.mp4")
    large = np.stack([cv2.resize(f, (512, 384), interpolation=cv2.INTER_CUBIC) for f in plain])
    combed = plain_decode(CASES / "interlaced_tff.mp4")
    assert len(clip) == 24
    assert psnr(clip.frames, large) > psnr(combed, large) + 2
    assert (
        np.abs(np.diff(clip.frames.astype(int), axis=1)).mean()
        < 0.75 * np.abs(np.diff(combed.astype(int), axis=1)).mean()
    )


def test_slow_motion_has_a_usual_rate(plain: np.ndarray) -> None:
    clip = decoded("slowmo_240fps.mp4")
    assert clip.fps == 30
    assert psnr(clip.frames, plain[::8]) > 30
    assert "240 frames a second" in clip.notes[0]


@pytest.mark.parametrize("name", ["png_with_alpha.zip", "alpha_prores4444.mov"])
def test_alpha_is_the_mask(subject: np.ndarray, name: str) -> None:
    clip = decoded(name)
    assert clip.alpha is not None
    assert clip.alpha.shape == (24, 192, 256)
    mask = clip.alpha[0] > 127
    assert (mask & subject).sum() > 0.98 * (mask | subject).sum()
    assert (
        np.abs(
            clip.frames[0][~cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)].astype(
                int
            )
            - 128
        ).max()
        <= 2
    )


@pytest.mark.parametrize("name", ["mask_cutout_alpha.png", "mask_values_0_1.png"])
def test_masks(subject: np.ndarray, name: str) -> None:
    mask = mask_picture(CASES / name) > 127
    assert (mask & subject).sum() > 0.98 * (mask | subject).sum()


def test_a_gap_is_told() -> None:
    clip = decoded("seq_gap.zip")
    assert len(clip) == 24
    assert "lacks 8 to 12;" in clip.notes[0]
    assert np.array_equal(clip.frames[[8, 9, 10, 11, 12]], clip.frames[[7, 7, 7, 13, 13]])


def test_masks_beside_frames(subject: np.ndarray) -> None:
    clip = decoded("seq_with_masks.zip")
    assert len(clip) == 24
    assert clip.alpha is not None
    small = cv2.resize(subject.astype(np.uint8), (160, 120), interpolation=cv2.INTER_AREA) > 0
    mask = clip.alpha[0] > 127
    assert (mask & small).sum() > 0.85 * (mask | small).sum()
