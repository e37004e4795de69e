# SPDX-License-Identifier: GPL-3.0-or-later
"""The tweaked puppet in formats that ``restage4d export`` writes, in the backend's environment:
the libraries for them are not in Blender (docs/formats.md)."""

import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restage4d.errors import InputError
from restage4d.exporting.formats import FORMATS, make_file_stem
from restage4d.io.atomic import explaining_write_errors

from ...session.steps import Steps, in_thread
from .. import actions, capture, importer
from .sequences import sequence_steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    import bpy

_PLAYED = "as played"  # the performance of what plays now
_READ = 40  # percent of the work that is reading the scene


@dataclass(frozen=True)
class Choice:
    """What leaves, and how.

    Attributes:
        format: a key of `FORMATS`.
        performance: its name; "" for what plays now over the scene's frames.
        frames: scene frames, of which the last one counts; None for all that there are.
        background: whether the static background comes along.
        axes: a value of `Axes`; "" for what the format's programs expect.
        scale: file units per metre.
    """

    format: str
    performance: str = ""
    frames: range | None = None
    background: bool = False
    axes: str = ""
    scale: float = 1.0

    @property
    def makes_folder(self) -> bool:
        """Whether a folder of files is made, not one file."""
        form, one = FORMATS[self.format], self.frames is not None and len(self.frames) == 1
        return not form.suffix or (form.by_frame and not one)


def complete_name(path: str, choice: Choice) -> str:
    """The path with the format's suffix in place of another format's; without one for a folder."""
    form = FORMATS[choice.format]
    own = () if choice.makes_folder else (form.suffix, *form.suffixes)
    known = {s for f in FORMATS.values() for s in (f.suffix, *f.suffixes) if s}
    given = max((s for s in known if path.lower().endswith(s)), key=len, default="")
    if given and given in own:
        return path
    return path.removesuffix(path[len(path) - len(given) :]) + (own[0] if own else "")


def find_frames(
    imported: importer.ImportedPuppet, scene: "bpy.types.Scene", choice: Choice
) -> tuple[range, range]:
    """The scene frames that are captured, and those of them that leave.

    Raises:
        InputError: the chosen frames are not among them.
    """
    there = range(scene.frame_start, scene.frame_end + 1)
    if choice.performance:
        n_frames = imported.performance(choice.performance).n_frames
        there = range(actions.FIRST_FRAME, actions.FIRST_FRAME + n_frames)
    chosen = there if choice.frames is None else choice.frames
    if not len(chosen):
        raise InputError("The frame range is empty.", "Give a last frame after the first.")
    if chosen[0] not in there or chosen[-1] not in there:
        raise InputError(
            f"Frames {chosen[0]} to {chosen[-1]} are not all there.",
            f"Choose among {there[0]} to {there[-1]}.",
        )
    return there, chosen


def list_files(
    imported: importer.ImportedPuppet, scene: "bpy.types.Scene", place: Path, choice: Choice
) -> list[Path]:
    """What will be written, as `restage4d.exporting.writing` names it."""
    suffix = FORMATS[choice.format].suffix
    if not choice.makes_folder:
        return [place]
    if not suffix:
        return [place / name for name in ("cameras.txt", "images.txt", "points3D.txt")]
    there, chosen = find_frames(imported, scene, choice)
    stem = make_file_stem(choice.performance or _PLAYED)
    return [place / f"{stem}_{frame - there[0] + 1:04d}{suffix}" for frame in chosen]


def program_steps(
    imported: importer.ImportedPuppet,
    scene: "bpy.types.Scene",
    place: Path,
    choice: Choice,
    command: Callable[[list[str]], Steps[None]],
) -> Steps[None]:
    """Captures the puppet and has it written to ``place``, which gets it when it is whole.

    Args:
        command: runs the command line with some arguments, see `session.command.command_steps`.

    Raises:
        InputError: the choice does not fit the puppet, the format or the disk.
    """
    if choice.background and imported.background is None:
        raise InputError("This puppet has no background.", "Export the subject alone.")
    there, chosen = find_frames(imported, scene, choice)
    also, names = ("", [choice.performance]) if choice.performance else (_PLAYED, [])
    total = capture.count_frames(imported, scene, also, names)
    steps, done = capture.puppet_steps(imported, scene, also, names), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            puppet = end.value
            break
        done = min(done + 1, total)
        yield _READ * done // total, 100
    with _working_beside(place) as folder:
        captured, out = folder / "captured.puppet", folder / "out" / place.name
        out.parent.mkdir()
        yield from in_thread((_READ, 100), lambda: puppet.save(captured))
        frames = f"{chosen[0] - there[0] + 1}:{chosen[-1] - there[0] + 1}"
        arguments = ["export", str(captured), "--format", choice.format, "--out", str(out)]
        arguments += ["--frames", frames, "--scale", repr(choice.scale)]
        arguments += ["--background"] * choice.background
        arguments += ["--axes", choice.axes] if choice.axes else []
        for share, whole in command(arguments):
            yield _READ + (99 - _READ) * share // whole, 100
        made, goal = (out, place) if choice.makes_folder else (out.parent, place.parent)

        def move(new: Path) -> Steps[None]:  # a long shot's USD has clips beside it
            for path in made.iterdir():
                os.replace(path, new / path.name)
                yield 99, 100

        yield from sequence_steps(goal, (99, 100), move)


@contextmanager
def _working_beside(place: Path) -> "Iterator[Path]":
    """A folder beside ``place``, gone afterwards; errors name the folder that it is in."""
    name = ""
    try:
        with explaining_write_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".restage4d_", dir=place.parent) as name:
                yield Path(name)
    except InputError as error:
        what = error.what
        for inside in (str(Path(name) / "out"), name) if name else ():
            what = what.replace(inside, str(place.parent))
        raise InputError(what, error.remedy) from error
