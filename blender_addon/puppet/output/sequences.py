# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequences of files, one a scene frame: their names, and how they take their places."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from restage4d.errors import InputError
from restage4d.io.atomic import replacing_files


def list_frames(path: Path, frames: Sequence[int]) -> dict[int, Path]:
    """Scene frame to file: ``NAME_0001.ext`` ... beside ``path``, ``NAME_-0001.ext`` for frame -1,
    as Blender names its own."""
    return {
        frame: path.with_name(f"{path.stem}_{'-' * (frame < 0)}{abs(frame):04d}{path.suffix}")
        for frame in frames
    }


@contextmanager
def replacing_frames(folder: Path) -> Iterator[Path]:
    """`replacing_files`: gives a temporary folder, whose files take their places in ``folder`` at
    the end, all or none; no other file there is touched. Errors name ``folder``."""
    temporary = folder
    try:
        with replacing_files(folder) as temporary:
            yield temporary
    except InputError as error:
        what = error.what.replace(str(temporary), str(folder))
        raise InputError(what, error.remedy) from error
