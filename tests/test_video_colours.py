"""Colours, fields and transparency: what comes out against what went in, not against FFmpeg."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import Kind, moving_scene, plain_decode, psnr, write_video

from restage4d.io import video
from restage4d.io.colour import HLG, PQ

N = 24
SCENE = moving_scene(N)
X265 = {"x265-params": "log-level=none"}
PAL = Fraction(25)

# --- colours --------------------------------------------------------------------------------------


def hdr_twin(scene: np.ndarray, transfer: int, white: float = 203.0) -> np.ndarray:
    """An SDR scene as R'G'B' 0..65535 in BT.2020 with PQ or HLG, white at 203 cd/m2 (the inverse of
    what is tested, from the formulas of BT.2100)."""
    coded = scene / 255.0
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    to_2020 = np.linalg.inv(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    )
    nits = np.maximum(light @ to_2020.T, 0) * white
    if transfer == PQ:
        y = (nits / 10000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
    else:
        display = nits / 1000
        luma = np.maximum(display @ [0.2627, 0.6780, 0.0593], 1e-9)[..., None]
        scene_light = display * luma ** (1 / 1.2 - 1)
        signal = np.where(
            scene_light <= 1 / 12,
            np.sqrt(3 * scene_light),
            0.17883277 * np.log(np.maximum(12 * scene_light - 0.28466892, 1e-9)) + 0.55991073,
        )
    return np.round(np.clip(signal, 0, 1) * 65535).astype(np.uint16)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hdr_looks_like_its_sdr_twin(tmp_path: Path, transfer: int, suffix: str) -> None:
    kind = Kind(
        suffix,
        "libx265",
        "yuv420p10le",
        options={"crf": "8", **X265},
        colours=(9, 1, transfer, 9),
    )
    path = write_video(tmp_path / f"a{suffix}", hdr_twin(SCENE[:6], transfer), kind, "rgb48le")
    clip = video.decode(path)
    assert psnr(clip.frames, SCENE[:6]) > 30
    assert "HDR" in clip.notes[0]


def test_hdr_highlights_stay_apart_and_keep_their_hue(tmp_path: Path) -> None:
    """Ramps up to 1000 cd/m2: brighter stays brighter, nothing wraps, orange stays orange."""
    ramp = np.linspace(0, 1, 96)[None, None, :, None] ** 2.2
    scene = np.broadcast_to(255 * ramp ** (1 / 2.2), (3, 64, 96, 3)) * [1.0, 0.6, 0.2]
    kind = Kind(
        ".mkv", "libx265", "yuv444p10le", options={"crf": "4", **X265}, colours=(9, 1, PQ, 9)
    )
    twin = hdr_twin(scene, PQ, white=1000.0)
    clip = video.decode(write_video(tmp_path / "a.mkv", twin, kind, "rgb48le"))
    row = cv2.GaussianBlur(clip.frames[1, 32:33].astype(np.float32), (5, 1), 0)[0]
    assert (np.diff(row[:, 0]) >= -2).all()
    assert row[-1, 0] > 245
    assert (row[20:, 0] > row[20:, 1]).all()
    assert (row[20:, 1] > row[20:, 2]).all()


def test_wide_gamut_sdr_is_brought_to_bt709(tmp_path: Path) -> None:
    """Display P3 red of 234, 51, 35 is sRGB red (SMPTE EG 432-1 against IEC 61966-2-1)."""
    frames = np.full((3, 64, 96, 3), (234, 51, 35), np.uint8)
    kind = Kind(".mp4", pix_fmt="yuv444p", options={"crf": "2"}, colours=(1, 1, 13, 12))
    clip = video.decode(write_video(tmp_path / "a.mp4", frames, kind))
    assert np.abs(clip.frames[1, 32, 48].astype(int) - (255, 0, 0)).max() <= 12


def test_untagged_hd_is_bt709_and_untagged_sd_bt601(tmp_path: Path) -> None:
    for height, matrix in ((720, 1), (480, 6)):
        frames = np.full((2, height, height * 4 // 3, 3), (200, 60, 40), np.uint8)
        path = tmp_path / f"{height}.mkv"
        kind = Kind(".mkv", "ffv1", "yuv420p", colours=(matrix, 1, 2, 2))
        write_video(path, frames, kind)
        data = path.read_bytes()  # Matroska: Colour (55 B0) holds MatrixCoefficients (55 B1)
        assert data.count(b"\x55\xb1\x81" + bytes([matrix])) == 1
        path.write_bytes(data.replace(b"\x55\xb1\x81" + bytes([matrix]), b"\x55\xb1\x81\x02"))
        clip = video.decode(path)
        assert np.abs(clip.frames[0, 9, 9].astype(int) - (200, 60, 40)).max() <= 3, height


# --- fields ---------------------------------------------------------------------------------------


def interlace(frames: np.ndarray, fields: str) -> np.ndarray:
    """Frames woven of one picture's rows of the first field and the next picture's of the other."""
    second = 1 if fields == "tff" else 0
    woven = frames[::2].copy()
    woven[:, second::2] = frames[1::2, second::2]
    return woven


@pytest.mark.parametrize(
    "kind",
    [
        Kind(".ts", "mpeg2video", options={"flags": "+ildct+ilme"}, rate=PAL, fields="tff"),
        Kind(".mp4", options={"flags": "+ildct", "crf": "8"}, rate=PAL, fields="tff"),
        Kind(".mp4", options={"flags": "+ildct", "crf": "8"}, rate=PAL, fields="bff"),
        Kind(".avi", options={"flags": "+ildct", "crf": "8", "bf": "2"}, rate=PAL, fields="bff"),
    ],
    ids=lambda k: f"{k.suffix} {k.codec} {k.fields}",
)
def test_fields_are_made_whole(tmp_path: Path, kind: Kind) -> None:
    scene = moving_scene(48)
    path = write_video(tmp_path / f"a{kind.suffix}", interlace(scene, str(kind.fields)), kind)
    clip = video.decode(path)
    combed = plain_decode(path)
    assert len(clip) == len(combed) == N
    assert psnr(clip.frames, scene[::2]) > psnr(combed, scene[::2]) + 2
    # No edge of the square is a comb: rows next to one another agree.
    step = np.abs(np.diff(clip.frames[:, 24:40].astype(int), axis=1)).mean()
    comb = np.abs(np.diff(combed[:, 24:40].astype(int), axis=1)).mean()
    assert step < 0.5 * comb
    assert "interlaced" in clip.notes[0]
    part = video.decode(path, start=0.2, stop=0.6)
    assert np.array_equal(part.frames[2:], clip.frames[7:15])


# --- transparency ---------------------------------------------------------------------------------


def cut_out() -> tuple[np.ndarray, np.ndarray]:
    """(RGBA frames with straight colours, their alpha): a soft disc that wanders."""
    y, x = np.mgrid[:64, :96]
    alpha = np.stack(
        [np.clip(20 - np.hypot(x - 24 - 2 * i, y - 32), 0, 4) / 4 * 255 for i in range(N)]
    ).astype(np.uint8)
    return np.concatenate([SCENE, alpha[..., None]], -1), alpha


TRANSPARENT = {
    "mov, ProRes 4444": Kind(".mov", "prores_ks", "yuva444p10le", options={"alpha_bits": "16"}),
    "mov, Animation": Kind(".mov", "qtrle", "argb"),
    "mov, PNG": Kind(".mov", "png", "rgba"),
    "webm, VP9": Kind(".webm", "libvpx-vp9", "yuva420p", options={"auto-alt-ref": "0"}),
    "webm, VP8": Kind(".webm", "libvpx", "yuva420p", options={"auto-alt-ref": "0"}),
    "mkv, FFV1": Kind(".mkv", "ffv1", "yuva420p"),
    "apng": Kind(".apng", "apng", "rgba"),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_alpha_is_kept_and_colours_stand_over_grey(tmp_path: Path, name: str) -> None:
    kind, (frames, alpha) = TRANSPARENT[name], cut_out()
    path = write_video(tmp_path / f"a{kind.suffix}", frames, kind, "rgba")
    clip = video.decode(path)
    assert video.probe(path).alpha
    assert clip.alpha is not None
    assert clip.alpha.shape == clip.frames.shape[:3]
    assert np.abs(clip.alpha.astype(int) - alpha).mean() < 2
    share = alpha[..., None] / 255
    assert psnr(clip.frames, SCENE * share + 128 * (1 - share)) > 30
    small = video.decode(path, longer_side=48, start=0.5)
    assert small.alpha is not None
    assert small.alpha.shape == (12, 32, 48)
    inside = cv2.resize(alpha[12], (48, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(small.alpha[0].astype(int) - inside).mean() < 3


def test_alpha_is_turned_with_its_picture(tmp_path: Path) -> None:
    frames, alpha = cut_out()
    kind = replace(TRANSPARENT["mov, PNG"], matrix=(0, 1, -1, 0))
    clip = video.decode(write_video(tmp_path / "a.mov", frames, kind, "rgba"))
    assert np.array_equal(clip.alpha, np.rot90(alpha, -1, (1, 2)))


def test_a_gif_with_a_hole(tmp_path: Path) -> None:
    _, alpha = cut_out()
    frames = np.concatenate([SCENE, np.where(alpha > 127, 255, 0)[..., None]], -1).astype(np.uint8)
    pictures = [Image.fromarray(f, "RGBA") for f in frames]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40, disposal=2
    )
    clip = video.decode(tmp_path / "a.gif")
    assert (len(clip), clip.fps) == (N, 25)
    assert np.array_equal(clip.alpha, frames[..., 3])


def test_an_opaque_file_of_a_transparent_kind_has_no_alpha(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", SCENE, Kind(".mov", "qtrle", "argb"))
    assert video.decode(path).alpha is None
    assert not video.probe(path).alpha
    assert np.array_equal(video.decode(path).frames, SCENE)
