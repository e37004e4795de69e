"""A clip as a folder of numbered pictures."""

import re
from pathlib import Path

from restage4d.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the natural order of their names. Raises `InputError` where there
    is none or no access."""
    try:
        files = sorted(
            (p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.name[0] != "."),
            key=_natural,
        )
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    if not files:
        raise InputError(
            f"{folder} holds no pictures.", f"Give a folder of {', '.join(PICTURES)} files."
        )
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", path.name.lower())
        if part
    ]
