"""A clip as a folder, or a zip, of numbered pictures, whose pixels tell masks from frames where
their names do not."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from restage4d.errors import InputError
from restage4d.io.image_folders import (
    PICTURES,
    PictureFile,
    PictureSequence,
    find_sequence,
    list_pictures,
    natural_order,
)
from restage4d.io.images import is_folder, read_alpha, read_values


def is_zip(path: Path) -> bool:
    """Tells a zip by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


@contextlib.contextmanager
def open_sequence(path: Path) -> Iterator[PictureSequence]:
    """The sequence of a folder or a zip, whose pictures can be read inside the ``with``. Raises
    `InputError` as `find_sequence` does."""
    if is_folder(path):
        yield find_sequence(path, list_pictures(path), _is_two_valued)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is a damaged zip.", "Pack or copy it again.") from error
    with archive:
        yield find_sequence(path, _packed_pictures(path, archive), _is_two_valued)


def _packed_pictures(path: Path, archive: zipfile.ZipFile) -> list[zipfile.Path]:
    """The pictures of the one folder inside a zip that holds some."""
    folders: dict[str, list[zipfile.Path]] = {}
    for name in archive.namelist():
        inside, _, file = name.rpartition("/")
        hidden = any(part[:1] == "." or part == "__MACOSX" for part in name.split("/") if part)
        if not hidden and file.lower().endswith(PICTURES):
            folders.setdefault(inside, []).append(zipfile.Path(archive, name))
    if not folders:
        raise InputError(
            f"{path} holds no pictures.",
            f"Pack {', '.join(PICTURES)} files; give a video as it is, not in a zip.",
        )
    if len(folders) > 1:
        names = ", ".join(sorted(f or "its top" for f in folders)[:4])
        raise InputError(
            f"{path} holds pictures in {len(folders)} folders: {names}.",
            "Pack the frames of one take alone.",
        )
    return sorted(next(iter(folders.values())), key=natural_order)


def _is_two_valued(file: PictureFile) -> bool:
    alpha = read_alpha(file)
    values = read_values(file)
    grey = values.ndim == 2 or (np.ptp(values, axis=-1) == 0).all()
    # A few values between are the softened edge of a mask.
    ends = (values == values.min()) | (values == values.max())
    return alpha is None and bool(grey) and float(ends.mean()) > 0.9
