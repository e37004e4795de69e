"""Files of many kinds, each made here and decoded as FFmpeg decodes it: containers, codecs, clocks,
colours, transparency, turns."""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from video_files import Kind, moving_scene, plain_decode, psnr, write_video

from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.video_probe import dense_rate

N = 24
SCENE = moving_scene(N)
B = {"bf": "2", "g": "12"}  # frames in another order than they are shown
X265 = {"x265-params": "log-level=none"}
PAL = Fraction(25)

KINDS = {
    "mp4": Kind(".mp4", options={"bf": "3"}),
    "mp4, no B-frames": Kind(".mp4", options={"bf": "0"}),
    "mp4, fragmented": Kind(".mp4", options=B, mux={"movflags": "frag_keyframe+empty_moov"}),
    "mp4, full range": Kind(".mp4", pix_fmt="yuvj420p", colours=(5, 2, 1, 1)),
    "mp4, BT.709": Kind(".mp4", colours=(1, 1, 1, 1)),
    "mp4, BT.601": Kind(".mp4", colours=(6, 1, 6, 6)),
    "mp4, BT.709 full range": Kind(".mp4", colours=(1, 2, 1, 1)),
    "mp4, 4:4:4": Kind(".mp4", pix_fmt="yuv444p"),
    "mp4, 10 bit": Kind(".mp4", pix_fmt="yuv420p10le"),
    "mp4, HEVC": Kind(".mp4", "libx265", options=X265),
    "mov, HEVC 10 bit": Kind(".mov", "libx265", "yuv420p10le", options=X265),
    "mp4, AV1": Kind(".mp4", "libsvtav1", options={"svtav1-params": "lp=1"}),
    "mp4, sound": Kind(".mp4", sound=True),
    "mp4, late start": Kind(".mp4", rate=PAL, times=tuple(10 + i / 25 for i in range(N))),
    "mp4, 23.976": Kind(".mp4", rate=Fraction(24000, 1001)),
    "mp4, 12": Kind(".mp4", rate=Fraction(12)),
    "mp4, 50": Kind(".mp4", rate=Fraction(50)),
    "mp4, 60": Kind(".mp4", rate=Fraction(60)),
    "mov, ProRes": Kind(".mov", "prores_ks", "yuv422p10le"),
    "mov, Animation": Kind(".mov", "qtrle", "rgb24"),
    "mov, Motion JPEG": Kind(".mov", "mjpeg", "yuvj420p"),
    "mov, PNG": Kind(".mov", "png", "rgb24"),
    "mkv": Kind(".mkv", options=B),
    "mkv, 29.97": Kind(".mkv", rate=Fraction(30000, 1001)),
    "mkv, FFV1": Kind(".mkv", "ffv1"),
    "mkv, grey": Kind(".mkv", "ffv1", "gray"),
    "mkv, sound": Kind(".mkv", sound=True),
    "mkv, late start": Kind(".mkv", rate=PAL, times=tuple(10 + i / 25 for i in range(N))),
    "webm, VP9": Kind(".webm", "libvpx-vp9", options={"deadline": "realtime"}),
    "webm, VP8 with hidden frames": Kind(
        ".webm", "libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16"}
    ),
    "webm, sound": Kind(".webm", "libvpx-vp9", options={"deadline": "realtime"}, sound=True),
    "avi, H.264 with B-frames": Kind(".avi", options=B),
    "avi, MPEG-4 with B-frames": Kind(".avi", "mpeg4", options=B),
    "avi, Motion JPEG": Kind(".avi", "mjpeg", "yuvj420p"),
    "avi, HuffYUV": Kind(".avi", "huffyuv", "yuv422p"),
    "avi, uncompressed": Kind(".avi", "rawvideo"),
    "ts": Kind(".ts", options=B),
    "ts, sound": Kind(".ts", options=B, sound=True),
    "ts, late start": Kind(".ts", rate=PAL, times=tuple(10 + i / 25 for i in range(N))),
    "ts, MPEG-2": Kind(".ts", "mpeg2video", options=B, rate=PAL),
    "m2ts": Kind(".m2ts", options=B, mux={"mpegts_m2ts_mode": "1"}),
    "mpg, MPEG-1": Kind(".mpg", "mpeg1video", options=B, rate=PAL),
    "vob": Kind(".vob", "mpeg2video", options=B, rate=PAL),
    "MPEG-2 stream": Kind(".m2v", "mpeg2video", options=B, rate=PAL),
    "MPEG-4 stream": Kind(".m4v", "mpeg4", container="m4v", options=B),
    "H.264 stream": Kind(".h264", options=B),
    "H.264 stream, 50": Kind(".h264", options=B, rate=Fraction(50)),
    "HEVC stream": Kind(".hevc", "libx265", options=X265),
    "mxf": Kind(".mxf", "mpeg2video", rate=PAL),
    "flv": Kind(".flv", options=B),
    "wmv": Kind(".wmv", "wmv2"),
    "asf, H.264": Kind(".asf", options=B),
    "3gp": Kind(".3gp", "mpeg4"),
    "ivf": Kind(".ivf", "libvpx-vp9", options={"deadline": "realtime"}),
    "y4m": Kind(".y4m", "wrapped_avframe"),
    "gif": Kind(".gif", "gif", "rgb8", rate=PAL),
    "apng": Kind(".apng", "apng", "rgb24"),
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_of_ffmpeg(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    path = write_video(tmp_path / f"a{kind.suffix}", SCENE, kind)
    truth = plain_decode(path)
    clip, info = video.decode(path), video.probe(path)
    assert len(clip) == len(truth) == info.frames == N
    assert clip.fps == info.fps == pytest.approx(float(kind.rate), rel=1e-3)
    assert psnr(clip.frames, truth) > 60
    assert clip.alpha is None
    assert clip.notes == info.notes == ()
    assert psnr(truth, SCENE if kind.pix_fmt not in ("gray", "rgb8") else truth) > 28
    # A part is a part of the whole, whatever the file can be searched for.
    first, stop = math.ceil(0.1 * clip.fps - 0.02), math.ceil(0.3 * clip.fps - 0.02)
    part = video.decode(path, start=0.1, stop=0.3)
    assert np.array_equal(part.frames, clip.frames[first:stop])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv", ".avi", ".h264"])
def test_a_part_far_into_a_file_is_that_part(tmp_path: Path, suffix: str) -> None:
    """Ten seconds, so that decoding starts at a key frame in the middle where it can."""
    scene = moving_scene(240, 48, 32)
    options = {"bf": "3", "g": "30", "x264-params": "open-gop=1"}
    path = write_video(tmp_path / f"a{suffix}", scene, Kind(suffix, options=options))
    whole = video.decode(path)
    assert len(whole) == 240
    for start, stop in ((5.0, 5.5), (8.02, 9.0), (9.75, None)):
        first = math.ceil(start * 24 - 0.02)
        last = 240 if stop is None else math.ceil(stop * 24 - 0.02)
        part = video.decode(path, start=start, stop=stop)
        assert np.array_equal(part.frames, whole.frames[first:last]), (start, stop)


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_burst_before_a_hold_keeps_its_frames(tmp_path: Path, suffix: str) -> None:
    times = [i / 24 for i in range(18)] + [0.75 + i / 2 for i in range(6)]
    kind = Kind(suffix, times=tuple(times), options={"bf": "2"})
    clip = video.decode(write_video(tmp_path / f"a{suffix}", SCENE, kind))
    truth = plain_decode(tmp_path / f"a{suffix}")
    assert clip.fps == pytest.approx(24, rel=0.01)
    assert np.array_equal(clip.frames[:18], truth[:18])
    held = [max(i for i, t in enumerate(times) if t <= k / 24 + 1e-3) for k in range(len(clip))]
    assert np.array_equal(clip.frames, truth[held])
    assert len(clip) == 18 + 5 * 12 + 1
    assert "unevenly" in " ".join(clip.notes)
    assert video.probe(tmp_path / f"a{suffix}").frames == len(clip)


def test_a_gif_whose_last_frame_is_held_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    write_video(path, SCENE, Kind(".gif", "gif", "rgb8", rate=PAL))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"\x21\xf9\x04")  # the last graphic control extension: delay in 1/100 s
    data[at + 4 : at + 6] = (300).to_bytes(2, "little")
    path.write_bytes(data)
    clip = video.decode(path)
    assert (len(clip), clip.fps) == (N, 25)


def test_slow_motion_is_thinned_to_a_usual_rate(tmp_path: Path) -> None:
    scene = moving_scene(120, 48, 32)
    for rate, every in ((240, 8), (120, 4), (Fraction(120000, 1001), 4), (100, 4), (90, 3)):
        path = write_video(
            tmp_path / f"{float(rate)}.mp4", scene, Kind(".mp4", rate=Fraction(rate))
        )
        clip, info = video.decode(path), video.probe(path)
        assert clip.fps == info.fps == pytest.approx(float(rate) / every)
        assert np.array_equal(clip.frames, plain_decode(path)[::every])
        assert info.frames == len(clip)
        assert f"one of {every}" in clip.notes[0]


def test_the_dense_rate() -> None:
    assert dense_rate([0, 0.04, 0.08, 0.12, 0.16, 0.66, 1.16]) == pytest.approx(25)
    assert dense_rate([0.0, 1.0]) is None
    assert dense_rate([0.0, 0.0, 0.0]) is None
    rounded = [round(i * 1000 / 29.97) / 1000 for i in range(60)]
    assert dense_rate(rounded) == pytest.approx(29.97, rel=0.01)
    pulldown = np.cumsum([0] + [1 / 30, 1 / 20] * 20).tolist()  # 24 film frames in 60 fields
    assert dense_rate(pulldown) == pytest.approx(24, rel=0.01)
    rng = np.random.default_rng(0)
    shaken = np.sort(np.arange(200) / 30 + rng.uniform(-0.01, 0.01, 200)).tolist()
    assert dense_rate(shaken) == pytest.approx(30, rel=0.05)


# --- turns and shapes -----------------------------------------------------------------------------

_TURNS = {
    (1, 0, 0, 1): lambda f: f,
    (-1, 0, 0, 1): lambda f: f[:, :, ::-1],
    (1, 0, 0, -1): lambda f: f[:, ::-1],
    (-1, 0, 0, -1): lambda f: f[:, ::-1, ::-1],
    (0, 1, -1, 0): lambda f: np.rot90(f, -1, (1, 2)),
    (0, -1, 1, 0): lambda f: np.rot90(f, 1, (1, 2)),
    (0, 1, 1, 0): lambda f: f.swapaxes(1, 2),
    (0, -1, -1, 0): lambda f: np.rot90(f, 2, (1, 2)).swapaxes(1, 2),
}


@pytest.mark.parametrize("matrix", _TURNS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_every_display_matrix_stands_upright(
    tmp_path: Path, suffix: str, matrix: tuple[int, int, int, int]
) -> None:
    path = write_video(tmp_path / f"a{suffix}", SCENE[:4], Kind(suffix, matrix=matrix))
    clip, info = video.decode(path), video.probe(path)
    assert np.array_equal(clip.frames, _TURNS[matrix](plain_decode(path)))
    assert (info.width, info.height) == clip.size


def test_wide_pixels_of_a_portrait_video_widen_the_picture_before_it_is_turned(
    tmp_path: Path,
) -> None:
    kind = Kind(".mp4", matrix=(0, 1, -1, 0), aspect=Fraction(4, 3))
    clip = video.decode(write_video(tmp_path / "a.mp4", SCENE[:4], kind))
    assert clip.size == (64, 128)


# --- names and damage -----------------------------------------------------------------------------


def test_a_colon_in_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "take:2.mp4", SCENE, Kind(".mp4"))
    monkeypatch.chdir(tmp_path)
    assert len(video.decode("take:2.mp4")) == N
    assert video.probe(Path("take:2.mp4")).frames == N


def test_a_hole_in_the_middle_is_told_with_its_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_scene(60), Kind(".avi", "png", "rgb24"))
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 4) if data[i : i + 4] == b"00dc"]
    for at in starts[10:40]:
        data[at + 8 : at + 408] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged: only 29 of 60 frames"):
        video.decode(path)


def test_the_tests_own_encoder_tells_frames_apart() -> None:
    assert all(psnr(a, b) < 40 for a, b in itertools.pairwise(SCENE))
    assert VideoFrame.from_ndarray(SCENE[0], "rgb24").width == 96
