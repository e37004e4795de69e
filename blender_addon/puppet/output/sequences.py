# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequences of files, one a scene frame: their names, and how they take their places."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from restage4d.errors import Cancelled, InputError
from restage4d.io.atomic import replacing_files

from ...session.steps import Steps, in_thread


def list_frames(path: Path, frames: Sequence[int]) -> dict[int, Path]:
    """Scene frame to file: ``NAME_0001.ext`` ... beside ``path``, ``NAME_-0001.ext`` for frame -1,
    as Blender names its own."""
    return {
        frame: path.with_name(f"{path.stem}_{'-' * (frame < 0)}{abs(frame):04d}{path.suffix}")
        for frame in frames
    }


@contextmanager
def replacing_frames(folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """`replacing_files`: gives a temporary folder, whose files take their places in ``folder`` at
    the end, all or none; no other file there is touched. Errors name ``folder``."""
    temporary = folder
    try:
        with replacing_files(folder, check=check) as temporary:
            yield temporary
    except InputError as error:
        what = error.what.replace(str(temporary), str(folder))
        raise InputError(what, error.remedy) from error


def sequence_steps(
    folder: Path, at: tuple[int, int], make: Callable[[Path], Steps[None]]
) -> Steps[None]:
    """Files that ``make`` writes into a folder that it is given, moved into ``folder`` in a thread
    when all are there (`replacing_frames`): many take a while. Ended early, also while they are
    moved, none of them is there. ``at`` is how far it is when they are moved."""
    ended = threading.Event()

    def check() -> None:
        if ended.is_set():
            raise Cancelled("The files are not moved.")

    with ExitStack() as stack:
        yield from make(stack.enter_context(replacing_frames(folder, check)))
        moving = in_thread(at, stack.pop_all().close)
        try:
            for _ in moving:  # not "yield from", which would end it before it is told to
                yield at
        finally:
            ended.set()
            moving.close()
