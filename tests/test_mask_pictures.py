"""Mask pictures of every make give one mask."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from restage4d.errors import InputError
from restage4d.io.arrays import mask_picture
from restage4d.io.images import read_with_alpha

SUBJECT = np.zeros((40, 60), bool)
SUBJECT[10:25, 20:50] = True


def drawn(low: float, high: float, dtype: type) -> np.ndarray:
    return np.where(SUBJECT, high, low).astype(dtype)


def opaque(grey: np.ndarray) -> np.ndarray:
    return np.dstack([grey, grey, grey, np.full_like(grey, 255)])


def save(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def palette(path: Path, colours: list[int]) -> Path:
    picture = Image.fromarray(SUBJECT.astype(np.uint8), "P")
    picture.putpalette(colours)
    picture.save(path)
    return path


MAKES = {
    "0 and 1": lambda p: save(p / "m.png", drawn(0, 1, np.uint8)),
    "0 and 255": lambda p: save(p / "m.png", drawn(0, 255, np.uint8)),
    "0 and 127": lambda p: save(p / "m.png", drawn(0, 127, np.uint8)),
    "200 and 255": lambda p: save(p / "m.png", drawn(200, 255, np.uint8)),
    "bool": lambda p: Image.fromarray(SUBJECT).save(p / "m.png") or p / "m.png",
    "16 bit, 0 and 1": lambda p: save(p / "m.png", drawn(0, 1, np.uint16)),
    "16 bit, 0 and 255": lambda p: save(p / "m.png", drawn(0, 255, np.uint16)),
    "16 bit, 0 and 65535": lambda p: save(p / "m.png", drawn(0, 65535, np.uint16)),
    "float, 0 and 1": lambda p: save(p / "m.tif", drawn(0, 1, np.float32)),
    "colour, 0 and 1": lambda p: save(p / "m.png", np.stack([drawn(0, 1, np.uint8)] * 3, -1)),
    "colour, red": lambda p: save(
        p / "m.png", np.stack([drawn(0, v, np.uint8) for v in (0, 0, 255)], -1)
    ),
    "palette, black and red": lambda p: palette(p / "m.png", [0, 0, 0, 128, 0, 0]),
    "palette, greys 0 and 1": lambda p: palette(p / "m.png", [0, 0, 0, 1, 1, 1]),
    "0 and 255, opaque alpha": lambda p: save(p / "m.png", opaque(drawn(0, 255, np.uint8))),
    "0 and 1, opaque alpha": lambda p: save(p / "m.png", opaque(drawn(0, 1, np.uint8))),
    "cut-out": lambda p: save(
        p / "m.png", np.dstack([np.full((40, 60, 3), 90, np.uint8), drawn(0, 255, np.uint8)])
    ),
    "cut-out, 16 bit": lambda p: save(
        p / "m.png", np.dstack([np.full((40, 60, 3), 9000, np.uint16), drawn(0, 65535, np.uint16)])
    ),
    "cut-out, grey": lambda p: (
        Image.merge(
            "LA", [Image.new("L", (60, 40), 90), Image.fromarray(drawn(0, 255, np.uint8))]
        ).save(p / "m.png")
        or p / "m.png"
    ),
    "cut-out, WebP": lambda p: save(
        p / "m.webp", np.dstack([np.full((40, 60, 3), 90, np.uint8), drawn(0, 255, np.uint8)])
    ),
    "transparent palette colour": lambda p: (
        (lambda q: Image.open(q).save(p / "t.png", transparency=0))(
            palette(p / "m.png", [250, 250, 250, 200, 10, 10])
        )
        or p / "t.png"
    ),
}


@pytest.mark.parametrize("make", MAKES)
def test_every_make_of_mask_is_the_subject(tmp_path: Path, make: str) -> None:
    mask = mask_picture(MAKES[make](tmp_path))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask > 127, SUBJECT)


def test_labels_above_the_lowest_are_the_subject(tmp_path: Path) -> None:
    labels = SUBJECT.astype(np.uint8)
    labels[12:16, 22:30] = 2
    assert np.array_equal(mask_picture(save(tmp_path / "m.png", labels)), 255 * SUBJECT)


def test_greys_of_a_drawn_mask_are_kept(tmp_path: Path) -> None:
    """Soft edges, and a prior's own masks, where 128 is unknown."""
    soft = cv2.GaussianBlur(drawn(0, 255, np.uint8), (0, 0), 2)
    unknown = drawn(0, 128, np.uint8)
    for mask in (soft, unknown, np.zeros_like(soft), np.full_like(soft, 255)):
        assert np.array_equal(mask_picture(save(tmp_path / "m.png", mask)), mask)


def test_alpha_is_turned_with_its_photo(tmp_path: Path) -> None:
    picture = Image.fromarray(np.dstack([drawn(0, 255, np.uint8)] * 4), "RGBA")
    exif = picture.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise to show
    picture.save(tmp_path / "m.png", exif=exif)
    _, alpha = read_with_alpha(tmp_path / "m.png")
    assert alpha is not None
    assert np.array_equal(alpha > 127, np.rot90(SUBJECT, -1))


def test_what_is_no_mask_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        mask_picture(tmp_path)
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    with pytest.raises(InputError, match="not a picture"):
        mask_picture(tmp_path / "m.png")
    whole = save(tmp_path / "a.png", np.dstack([drawn(0, 255, np.uint8)] * 4)).read_bytes()
    (tmp_path / "m.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a picture"):
        mask_picture(tmp_path / "m.png")
