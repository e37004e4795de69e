"""Videos in and out. Every file is made here, by the encoder itself or byte by byte."""

import struct
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from restage4d.errors import InputError
from restage4d.io import images, video
from restage4d.io.image_folders import list_pictures
from restage4d.io.video_decode import resample


def gradient(n: int, width: int = 96, height: int = 64) -> np.ndarray:
    """n smooth frames; the mean brightness tells which frame it is, four coloured corners tell
    which way up."""
    frames = np.zeros((n, height, width, 3), np.uint8)
    frames += (40 + 160 * np.arange(n) // max(n - 1, 1)).astype(np.uint8)[:, None, None, None]
    frames[:, : height // 4, : width // 4] = (255, 0, 0)  # top left: red
    frames[:, -(height // 4) :, -(width // 4) :] = (0, 0, 255)  # bottom right: blue
    return frames


def which(frames: np.ndarray, reference: np.ndarray) -> list[int]:
    """For every frame, the number of the reference frame with the same middle brightness."""
    middle = frames[:, frames.shape[1] // 2, frames.shape[2] // 2].mean(-1)
    truth = reference[:, reference.shape[1] // 2, reference.shape[2] // 2].mean(-1)
    return [int(np.abs(truth - m).argmin()) for m in middle]


def write(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    rate: int = 24,
    times_ms=None,
    rotation=None,
    aspect=None,
) -> Path:
    """A plain encoder for test files, apart from the one that is tested."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=1000 if times_ms is not None else rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        stream.options = {"crf": "4", "b": "0"} if "vp9" in codec else {"crf": "4"}
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for i, pixels in enumerate(frames):
            frame = VideoFrame.from_ndarray(pixels, "rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = int(times_ms[i]), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def folder(path: Path, frames: np.ndarray, pattern: str = "frame{}.png") -> Path:
    path.mkdir()
    for i, pixels in enumerate(frames):
        cv2.imwrite(str(path / pattern.format(i)), pixels[..., ::-1])
    return path


def refused(call, *words: str) -> None:
    """The call raises one `InputError` with these words and a remedy, on one line."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    assert caught.value.what.endswith(".")
    assert caught.value.remedy.endswith(".")


# --- what works -----------------------------------------------------------------------------------


def test_encode_then_decode_gives_the_frames_back(tmp_path: Path) -> None:
    frames = gradient(12)
    video.encode(tmp_path / "a.mp4", frames, 29.97)
    clip = video.decode(tmp_path / "a.mp4")
    assert clip.frames.shape == frames.shape
    assert clip.fps == pytest.approx(29.97, rel=1e-4)
    # Blocks of flat colour: only their chroma edges suffer from 4:2:0.
    assert np.median(np.abs(clip.frames.astype(int) - frames)) <= 1
    assert abs(clip.frames[:, 4, 4].astype(int) - (255, 0, 0)).max() <= 4
    assert which(clip.frames, frames) == list(range(12))


def test_encoded_files_play_everywhere(tmp_path: Path) -> None:
    video.encode(tmp_path / "a.mp4", gradient(5, 95, 63), 24)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt, stream.width, stream.height) == (
            "h264",
            "yuv420p",
            96,
            64,
        )
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (
            1,
            1,
        )  # BT.709, limited
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_are_padded_with_their_border_not_with_black(tmp_path: Path) -> None:
    frames = np.full((4, 33, 47, 3), 200, np.uint8)
    video.encode(tmp_path / "a.mp4", frames, 24)
    clip = video.decode(tmp_path / "a.mp4")
    assert clip.size == (48, 34)
    assert clip.frames.min() >= 197


def test_probe_agrees_with_decode(tmp_path: Path) -> None:
    info = video.probe(write(tmp_path / "a.mp4", gradient(30)))
    assert (info.width, info.height, info.fps, info.frames) == (96, 64, 24.0, 30)
    assert info.seconds == pytest.approx(30 / 24)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mov", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")],
)
def test_every_container_gives_every_frame_once(tmp_path: Path, name: str, codec: str) -> None:
    frames = gradient(25)
    clip = video.decode(write(tmp_path / name, frames, codec=codec))
    assert which(clip.frames, frames) == list(range(25))
    assert clip.fps == pytest.approx(24, rel=0.02)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_rotation_is_applied(tmp_path: Path, rotation: int, turns: int) -> None:
    frames = gradient(6)
    path = write(tmp_path / "phone.mp4", frames, rotation=rotation)
    clip = video.decode(path)
    upright = np.rot90(frames, turns, axes=(1, 2))
    assert clip.frames.shape == upright.shape
    assert np.median(np.abs(clip.frames.astype(int) - upright)) <= 2
    info = video.probe(path)
    assert (info.width, info.height) == clip.size


def test_a_phones_own_rotation_matrix_stands_portrait(tmp_path: Path) -> None:
    """The 36 bytes a phone held upright writes (a quarter turn clockwise), put into a plain file by
    hand."""
    path = write(tmp_path / "phone.mov", gradient(6))
    data = bytearray(path.read_bytes())
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(plain, data.index(b"tkhd"))
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(data)
    clip = video.decode(path)
    assert clip.size == (64, 96)
    assert clip.frames[0, 4, -4, 0] > 200  # the red corner went from the top left to the top right
    assert clip.frames[0, -4, 4, 2] > 200


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    clip = video.decode(write(tmp_path / "a.mp4", gradient(5, 96, 64), aspect=Fraction(4, 3)))
    assert clip.size == (128, 64)


def test_scaling_is_area_averaging_to_even_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (2, 300, 400, 3), dtype=np.uint8)
    clip = video.decode(folder(tmp_path / "noise", noise), longer_side=40)
    assert clip.size == (40, 30)
    means = noise.reshape(2, 30, 10, 40, 10, 3).mean((2, 4))
    assert np.abs(clip.frames - means).max() <= 1
    assert video.decode(write(tmp_path / "b.mp4", gradient(3, 854, 480))).size == (384, 216)
    assert video.decode(
        write(tmp_path / "b.mp4", gradient(3, 854, 480)), longer_side=None
    ).size == (854, 480)


def test_a_smaller_video_is_not_enlarged(tmp_path: Path) -> None:
    assert video.decode(write(tmp_path / "a.mp4", gradient(3, 98, 54))).size == (98, 54)


def test_uneven_times_become_an_even_grid(tmp_path: Path) -> None:
    """20 frames, the second half filmed at half the rate: on the even grid its frames stand about
    twice as often."""
    frames = gradient(20)
    times = np.concatenate([40 * np.arange(10), 400 + 80 * np.arange(10)])
    clip = video.decode(write(tmp_path / "phone.mp4", frames, times_ms=times))
    shown = which(clip.frames, frames)
    ideal = [int(np.abs(times - 1000 * k / clip.fps).argmin()) for k in range(len(clip))]
    assert np.abs(np.subtract(shown, ideal)).max() <= 1  # ties may fall either way
    assert len(clip) / clip.fps == pytest.approx(1.16, abs=0.1)
    assert shown == sorted(shown)


def test_resampling_an_even_video_changes_nothing() -> None:
    for fps in (10, 24, 29.97, 60, 240):
        jitter = np.random.default_rng(1).uniform(-0.3, 0.3, 200)
        jitter[0] = 0
        frames = [((k + j) / fps, k) for k, j in enumerate(jitter)]
        assert list(resample(frames, fps)) == list(range(200))


def test_start_and_stop_take_a_part_also_of_a_long_video(tmp_path: Path) -> None:
    frames = gradient(120)
    path = write(tmp_path / "a.mp4", frames)
    clip = video.decode(path, start=2.0, stop=3.0, max_frames=30)
    assert len(clip) == 24
    assert np.abs(np.subtract(which(clip.frames, frames), range(48, 72))).max() <= 1


def test_a_folder_is_sorted_as_people_count(tmp_path: Path) -> None:
    frames = gradient(12)
    clip = video.decode(folder(tmp_path / "f", frames), folder_fps=12)
    assert np.array_equal(clip.frames, frames)
    assert clip.fps == 12


def test_non_ascii_names(tmp_path: Path) -> None:
    frames = gradient(3)
    video.encode(tmp_path / "köter 犬.mp4", frames, 24)
    assert len(video.decode(tmp_path / "köter 犬.mp4")) == 3
    assert np.array_equal(
        video.decode(folder(tmp_path / "犬", frames, "bild ü{}.png")).frames, frames
    )


def test_image_keeps_grey_grey_and_colour_in_order(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert np.array_equal(images.image(tmp_path / "m.png"), mask)
    cv2.imwrite(str(tmp_path / "c.png"), gradient(1)[0][..., ::-1])
    assert np.array_equal(images.image(tmp_path / "c.png"), gradient(1)[0])


# --- what is refused ------------------------------------------------------------------------------


def test_missing_and_empty(tmp_path: Path) -> None:
    refused(lambda: video.decode(tmp_path / "no.mp4"), "no.mp4", "does not exist")
    (tmp_path / "empty.mp4").touch()
    refused(lambda: video.decode(tmp_path / "empty.mp4"), "empty.mp4", "empty")
    (tmp_path / "nothing").mkdir()
    refused(lambda: video.decode(tmp_path / "nothing"), "no pictures")


def test_sound_only(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(16000))
    refused(lambda: video.decode(tmp_path / "a.wav"), "sound only")
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    refused(lambda: video.decode(tmp_path / "a.mp4"), "sound only")


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the dog runs\n" * 99)
    refused(lambda: video.decode(tmp_path / "notes.txt"), "not a video")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(40_000))
    refused(lambda: video.decode(tmp_path / "noise.mp4"), "not a video")
    secret = write(tmp_path / "secret.mp4", gradient(3))
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    refused(lambda: video.decode(tmp_path / "list.mp4"), "not a video")
    cv2.imwrite(str(tmp_path / "photo.png"), gradient(1)[0])
    refused(lambda: video.decode(tmp_path / "photo.png"), "photo.png")


@pytest.mark.parametrize("name", ["a.mp4", "fast.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7])
def test_truncated(tmp_path: Path, name: str, part: float) -> None:
    rng = np.random.default_rng(0)
    frames = cv2.GaussianBlur(
        rng.integers(0, 255, (64, 96, 3 * 60), dtype=np.uint8)[..., :3], (0, 0), 2
    )
    frames = np.stack([np.roll(frames, 3 * i, 1) for i in range(60)])
    path = tmp_path / name
    if name == "fast.mp4":  # the index stands first: the header promises 60 frames
        video.encode(path, frames, 24)
    else:
        write(path, frames, codec="mpeg4" if name == "a.avi" else "libx264")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(lambda: video.decode(path), name)


def test_a_single_frame(tmp_path: Path) -> None:
    refused(lambda: video.decode(write(tmp_path / "a.mp4", gradient(1))), "single frame")
    refused(lambda: video.decode(folder(tmp_path / "f", gradient(1))), "single frame")


def test_8k_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", np.zeros((1, 4320, 7680, 3), np.uint8), codec="mpeg4")
    monkeypatch.setattr(video, "picture", None)  # nothing may be decoded for use
    refused(lambda: video.decode(path), "7680x4320", "4K")


def test_ten_minutes_are_refused_from_their_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    black = np.broadcast_to(np.zeros((32, 32, 3), np.uint8), (6000, 32, 32, 3))
    path = write(tmp_path / "a.mp4", black, rate=10, codec="mpeg4")
    monkeypatch.setattr(video, "picture", None)
    refused(lambda: video.decode(path), "6000 frames (600.0 s)", "at most 400", "40.0 s")
    monkeypatch.undo()
    assert len(video.decode(path, start=580.0, stop=590.0)) == 100


def test_memory_is_bounded_when_nothing_is_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_MAX_BYTES", 96 * 64 * 3 * 10)
    refused(lambda: video.decode(write(tmp_path / "a.mp4", gradient(12)), longer_side=None), "GiB")


def test_a_folder_of_mixed_sizes_or_with_a_broken_picture(tmp_path: Path) -> None:
    path = folder(tmp_path / "f", gradient(3))
    cv2.imwrite(str(path / "frame3.png"), np.zeros((10, 10, 3), np.uint8))
    refused(lambda: video.decode(path), "frame3.png", "10x10", "96x64")
    (path / "frame3.png").write_bytes(b"not a picture")
    refused(lambda: video.decode(path), "frame3.png", "not a picture")


def test_numbers_in_names_order_a_folder(tmp_path: Path) -> None:
    names = ["²1.png", "frame2.png", "frame10.png", "frame10b.PNG", "take 3 frame1.jpg"]
    for name in reversed(names):
        (tmp_path / name).touch()
    (tmp_path / ".hidden1.png").touch()
    (tmp_path / "notes.txt").touch()
    assert [p.name for p in list_pictures(tmp_path)] == [*names[1:], names[0]]


def test_an_empty_part(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", gradient(24))
    refused(lambda: video.decode(path, start=5), "1.0 s")
    refused(lambda: video.decode(path, start=0.5, stop=0.5), "empty")
    refused(lambda: video.decode(path, start=-1), "empty")


def test_image_refuses_what_is_none(tmp_path: Path) -> None:
    refused(lambda: images.image(tmp_path / "no.png"), "does not exist")
    refused(lambda: images.image(tmp_path), "folder")
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    refused(lambda: images.image(tmp_path / "m.png"), "not a picture")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_no_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", gradient(3))
    path.chmod(0)
    script = (
        "import os, sys\n"
        "from restage4d.io import video\n"
        "from restage4d.errors import InputError\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "for path in sys.argv[1:]:\n"
        "    try: video.decode(path)\n"
        "    except InputError as error: print(error)\n"
    )
    locked = folder(tmp_path / "locked", gradient(2))
    locked.chmod(0)
    arguments = [sys.executable, "-c", script, str(path), str(locked), str(locked / "frame0.png")]
    out = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.count("cannot be read: Permission denied") for line in out] == [1, 1, 1], out
