"""Folders and zips of pictures as people have them: gaps, masks beside frames, two takes."""

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import moving_scene

from restage4d.errors import InputError
from restage4d.io import video
from restage4d.io.image_folders import pictures_in
from restage4d.io.image_sequences import open_sequence
from restage4d.jobs.footage import decode_part

SCENE = moving_scene(24)
MASKS = (SCENE.astype(int).sum(-1) > 600).astype(np.uint8) * 255


def save(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    """Writes RGB, RGBA or grey pictures by name."""
    folder.mkdir(exist_ok=True)
    for name, pixels in pictures.items():
        order = [2, 1, 0, 3][: pixels.shape[-1]] if pixels.ndim == 3 else slice(None)
        assert cv2.imwrite(str(folder / name), np.ascontiguousarray(pixels[..., order]))
    return folder


def numbered(pattern: str, numbers: list[int]) -> dict[str, np.ndarray]:
    return {pattern.format(n): SCENE[n % 24] for n in numbers}


def packed(folder: Path, path: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/._f_0.png", b"junk")
        for file in folder.iterdir():
            archive.write(file, inside + file.name)
    return path


@pytest.mark.parametrize("inside", ["", "take/", "a/deep/folder/"])
def test_a_zip_is_a_folder(tmp_path: Path, inside: str) -> None:
    folder = save(tmp_path / "f", numbered("f_{}.png", list(range(24))))
    path = packed(folder, tmp_path / "f.zip", inside)
    clip = video.decode(path)
    assert np.array_equal(clip.frames, SCENE)
    assert (len(video.probe(path).notes), video.probe(path).frames) == (0, 24)
    assert np.array_equal(video.decode(path, start=0.5).frames, SCENE[12:])


def test_a_bare_content_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    folder = save(tmp_path / "f", numbered("f_{}.png", list(range(3))))
    assert len(video.decode(packed(folder, tmp_path / "base"))) == 3


@pytest.mark.parametrize("zipped", [False, True])
def test_a_gap_is_told_and_time_is_kept(tmp_path: Path, zipped: bool) -> None:
    path = save(tmp_path / "f", numbered("f_{:04d}.png", [*range(8), *range(13, 21), 22, 23]))
    if zipped:
        path = packed(path, tmp_path / "f.zip")
    clip, info = video.decode(path), video.probe(path)
    expected = [*range(8), 7, 7, 7, 13, 13, *range(13, 21), 20, 22, 23]
    assert np.array_equal(clip.frames, SCENE[expected])
    assert info.frames == 24
    assert info.notes == clip.notes
    assert f"f_*.png in {path} lacks 8 to 12, 21;" in clip.notes[0]


def test_numbers_in_steps_have_no_gap(tmp_path: Path) -> None:
    path = save(tmp_path / "f", numbered("f_{:04d}.png", list(range(0, 240, 10))))
    clip = video.decode(path)
    assert len(clip) == 24
    assert clip.notes == ()


@pytest.mark.parametrize(
    ("frames", "masks"),
    [("f_{:04d}.png", "mask_{:04d}.png"), ("{:04d}.jpg", "{:04d}.png"), ("f{}.png", "m{}.png")],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_masks_beside_frames_are_no_frames(
    tmp_path: Path, frames: str, masks: str, zipped: bool
) -> None:
    pictures = {frames.format(i): SCENE[i] for i in range(24)}
    pictures |= {masks.format(i): MASKS[i] for i in range(24)}
    path = save(tmp_path / "f", pictures)
    if zipped:
        path = packed(path, tmp_path / "f.zip")
    clip = video.decode(path)
    assert len(clip) == 24
    assert np.abs(clip.frames.astype(int) - SCENE).mean() < 4
    assert np.array_equal(clip.alpha, MASKS)
    assert video.probe(path).alpha
    assert "are taken for masks, not for frames" in clip.notes[0]
    small = video.decode(path, longer_side=48, start=0.25, stop=0.5)
    assert small.alpha is not None
    assert small.alpha.shape == (6, 32, 48)


def test_two_takes_are_told_apart(tmp_path: Path) -> None:
    for i, (one, two) in enumerate(
        [("a_{:04d}.png", "b_{:04d}.png"), ("take1_{}.png", "take2_{}.png"), ("{}.png", "x{}.png")]
    ):
        pictures = numbered(one, list(range(10))) | numbered(two, list(range(12)))
        folder = save(tmp_path / str(i), pictures)
        for look in (video.probe, video.decode):
            with pytest.raises(InputError) as caught:
                look(folder)
            assert "holds 2 series of pictures" in caught.value.what
            for pattern in (one, two):
                assert re.sub(r"{.*}", "*", pattern) in caught.value.what
            assert "a folder of its own" in caught.value.remedy
    folder = save(tmp_path / "jump", numbered("IMG_{:04d}.png", [*range(20), *range(500, 520)]))
    with pytest.raises(InputError, match=r"0 to 19, 500 to 519.*folder of its own"):
        video.decode(folder)


def test_a_picture_beside_a_series_is_left_out(tmp_path: Path) -> None:
    pictures = numbered("f_{:04d}.png", list(range(24))) | {"thumbnail.png": SCENE[0]}
    clip = video.decode(save(tmp_path / "f", pictures))
    assert np.array_equal(clip.frames, SCENE)
    assert "thumbnail.png" in clip.notes[0]


def test_names_without_a_common_number_keep_their_order(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    folder = save(tmp_path / "f", {n: SCENE[i] for i, n in enumerate(names)})
    assert [p.name for p in pictures_in(folder)] == names
    times = [f"shot 10.{m:02d}.{s:02d}.png" for m, s in [(59, 57), (59, 58), (60, 1), (60, 2)]]
    folder = save(tmp_path / "t", {n: SCENE[i] for i, n in enumerate(times)})
    assert [p.name for p in pictures_in(folder)] == times


@pytest.mark.parametrize("frames", [1 + 1, 9, 44, 45])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_part_has_the_frames_that_were_asked_for(tmp_path: Path, first: int, frames: int) -> None:
    path = save(tmp_path / "f", numbered("f_{:04d}.png", list(range(48))))
    clip = decode_part(path, video.probe(path).fps, 384, first, frames)
    assert np.array_equal(clip.frames, SCENE[np.arange(first, first + frames) % 24])


def test_pictures_with_alpha(tmp_path: Path) -> None:
    rgba = [np.concatenate([SCENE[i], MASKS[i][..., None]], -1) for i in range(24)]
    for suffix in ("png", "webp", "tif"):
        folder = save(tmp_path / suffix, {f"f_{i}.{suffix}": p for i, p in enumerate(rgba)})
        clip = video.decode(folder)
        assert video.probe(folder).alpha
        assert np.array_equal(clip.alpha, MASKS)
        assert (clip.frames[MASKS == 0] == 128).all()
        difference = clip.frames[MASKS == 255].astype(int) - SCENE[MASKS == 255]
        assert np.abs(difference).mean() < 3
    plain = save(tmp_path / "plain", numbered("f_{}.png", list(range(3))))
    assert video.decode(plain).alpha is None


def test_16_bit_frames(tmp_path: Path) -> None:
    deep = {f"f_{i}.png": SCENE[i].astype(np.uint16) * 257 for i in range(3)}
    clip = video.decode(save(tmp_path / "f", deep))
    assert np.abs(clip.frames.astype(int) - SCENE[:3]).max() <= 1


def test_zips_that_cannot_be_read(tmp_path: Path) -> None:
    folder = save(tmp_path / "f", numbered("f_{}.png", list(range(3))))
    path = packed(folder, tmp_path / "f.zip")
    data = path.read_bytes()
    bad = tmp_path / "bad.zip"
    middle = bytearray(data)
    at = data.index(b"IHDR") + 60
    middle[at : at + 40] = bytes(40)
    for content in (data[: len(data) // 2], data[:3000] + bytes(len(data) - 3000), bytes(middle)):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.zip"):
            video.decode(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("take.mp4", b"x")
    with pytest.raises(InputError, match=r"holds no pictures.*not in a zip"):
        video.probe(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("a/1.png", b"x")
        archive.writestr("b/1.png", b"x")
    with pytest.raises(InputError, match="2 folders: a, b"), open_sequence(bad):
        pass
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(300 << 20))
    with pytest.raises(InputError, match="300 MiB"):
        video.decode(bad)
