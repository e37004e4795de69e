# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that write files where the artist says: the name, and what is there already."""

from pathlib import Path
from typing import Any

import bpy

from restage4d.errors import InputError

from .. import failures, paths
from ..languages import say
from .stepped import has_window


class WritesFiles:
    """Mixed into operators with a ``filepath``. `ask` comes first in their ``execute``: it finds
    ``place``, where they write, and sees to it that nothing is replaced unasked.

    Attributes:
        suffixes: endings of the file; the first is given to a name that has none of them.
        is_sequence: whether many files are written, of which the file browser cannot tell what is
            there.
    """

    suffixes: tuple[str, ...] = ()
    is_sequence = False
    check_existing: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    overwrite: bpy.props.BoolProperty(
        name="Overwrite",
        description="For scripts: replace files that are there already",
        default=False,
        options={"HIDDEN", "SKIP_SAVE"},
    )
    place = Path()
    _confirmed = False

    def list_files(self, context: bpy.types.Context) -> list[Path]:
        """What will be written."""
        return [self.place]

    def describe_written(self, context: bpy.types.Context) -> str:
        """What to say once it is there; of a sequence the first and the last file."""
        files = self.list_files(context)
        if not self.is_sequence or not files:
            return f"Wrote {self.place}"
        return f"Wrote {files[0].name} to {files[-1].name}, in {files[0].parent}"

    def check(self: Any, context: bpy.types.Context) -> bool:
        """The file browser asks at every change; True where the name was completed."""
        given = self.filepath
        if bpy.path.basename(given):
            self.filepath = self.complete(given)
        return self.filepath != given

    def complete(self, path: str) -> str:
        """The path with the right ending."""
        return paths.complete_name(path, self.suffixes)

    def find_place(self: Any) -> Path:
        """Where to write; raises `InputError` where ``filepath`` names no such place."""
        return paths.resolve_output(self.filepath, self.suffixes)

    def ask(self: Any, context: bpy.types.Context) -> set[str] | None:
        """None where writing may begin; else what the operator returns. In a window the file
        browser has marked a single file that is there; of a sequence a dialog says how many are."""
        try:
            self.place = self.find_place()
            confirmed, self._confirmed = self._confirmed, False  # once: it may be repeated
            there = [path for path in self.list_files(context) if path.exists()]
            asks = has_window(self)
            if not there or self.overwrite or confirmed or (asks and not self.is_sequence):
                return None
            if not asks:
                raise InputError(
                    f"{_describe(there)} already.", "Give overwrite=True, or another name."
                )
        except Exception as error:
            self.report({"ERROR"}, str(failures.explain(self.bl_label, error)))
            return {"CANCELLED"}
        self._confirmed = True
        asked = context.window_manager.invoke_confirm(
            self,
            None,  # pyright: ignore[reportArgumentType]
            title="Replace Files?",
            message=say(f"{_describe(there)} already, in {there[0].parent}."),
            confirm_text=say(f"Replace {len(there)}"),
            icon="WARNING",
        )
        return {str(word) for word in asked}


def _describe(there: list[Path]) -> str:
    """ "fox_0001.ply is there", "12 files from fox_0001.ply to fox_0012.ply are there"."""
    if len(there) == 1:
        return f"{there[0].name} is there"
    return f"{len(there)} files from {there[0].name} to {there[-1].name} are there"
