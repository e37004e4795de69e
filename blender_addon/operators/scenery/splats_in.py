# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.import_splats``: splats of others as a puppet that stands still or as a sequence that
plays; ``restage4d.use_another_background``: a captured scene as the stage of a puppet."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import bpy
from bpy_extras.io_utils import ImportHelper

from restage4d.errors import InputError
from restage4d.exporting.formats import Axes
from restage4d.exporting.still import guess_axes, make_still_puppet, stand_upright
from restage4d.io.ply import read_ply
from restage4d.puppet import Gaussians

from ... import paths
from ...languages import CONTEXT
from ...puppet import importer
from ...puppet.in_scene import scenery
from ...session.command import check_environment, command_steps
from ...session.steps import Steps, in_thread
from ...viewport import display
from .. import stepped

_KINDS = "*.ply;*.spz;*.splat"
_PACKED = b"element chunk"  # in the header of SuperSplat's compressed PLY
_HEADER = 4096  # bytes in which the header names what is packed
_AXES = (
    ("FILE", "As Usual", "Y up in .spz files, y down in others"),
    (Axes.Z_UP.value, "Z Up", "As in Blender"),
    (Axes.Y_UP.value, "Y Up", "As in glTF and most engines"),
    (Axes.Y_DOWN.value, "Y Down", "As 3DGS trainers write and SuperSplat expects"),
)


def read_steps(path: Path, axes: str) -> Steps[Gaussians]:
    """Splats of any kind, +Z up. Plain PLY is read here, the others by the backend's libraries.
    Raises `InputError`."""
    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Check the path.")
    chosen = guess_axes(path) if axes == "FILE" else Axes(axes)
    with path.open("rb") as file:
        packed = _PACKED in file.read(_HEADER)
    if path.suffix.lower() == ".ply" and not packed:
        read = yield from in_thread((0, 100), lambda: stand_upright(read_ply(path), chosen))
        return read
    with tempfile.TemporaryDirectory(prefix="restage4d_") as folder:
        plain = Path(folder) / "plain.ply"
        command = ["export", str(path), "--format", "ply", "--axes", "z-up", "--out", str(plain)]
        command += ["--from-axes", chosen.value]
        yield from command_steps(check_environment(paths.backend_root()), command)
        return (yield from in_thread((99, 100), lambda: read_ply(plain)))


def find_sequence(path: Path) -> list[Path]:
    """The numbered files that ``path`` is one of, in their order. Raises `InputError` where its
    name has no number."""
    pattern = re.fullmatch(r"(.*?)(\d+)((?:\.compressed)?\.\w+)", path.name)
    if pattern is None:
        raise InputError(f"{path.name} has no number.", "Choose one of name_0001.ply and so on.")
    before, _, after = pattern.groups()
    same = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = ((same.fullmatch(p.name), p) for p in path.parent.iterdir())
    return [p for _, p in sorted((int(m[1]), p) for m, p in found if m)]


class RESTAGE4D_OT_import_splats(stepped.Stepped, bpy.types.Operator, ImportHelper):
    """Import Gaussian splats of other programs, .ply, .spz or .splat"""

    if TYPE_CHECKING:
        filepath: str  # of the helper, whose types leave it out

    bl_idname = "restage4d.import_splats"
    bl_label = "Import Splats"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; nothing was imported"
    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default=_KINDS, options={"HIDDEN"})
    use: bpy.props.EnumProperty(
        name="As",
        description="What becomes of them",
        items=(
            ("PUPPET", "Still Puppet", "A puppet that stands still, to be posed and exported"),
            ("SEQUENCE", "Sequence", "All numbered files of this name, one a frame"),
        ),
    )
    axes: bpy.props.EnumProperty(name="Axes", description="Where up is", items=_AXES)

    def steps(self: Any, context: bpy.types.Context) -> Steps[None]:
        path = paths.resolve(self.filepath)
        if self.use == "SEQUENCE":
            files = find_sequence(path)
            frames = []
            for i, file in enumerate(files):
                for _ in (reading := _Kept(read_steps(file, self.axes))):
                    yield 100 * i // len(files), 100
                frames.append(reading.value)
            scenery.add_sequence(path.stem.rstrip("0123456789_-. ") or "splats", frames, 1)
            self.done = f"Imported {len(files)} frames"
            return
        splats = yield from read_steps(path, self.axes)
        puppet = make_still_puppet(splats)
        yield from display.import_steps(puppet, name=path.stem, set_up_scene=False)
        self.done = f"Imported {path.name}"


class _Kept:
    """Steps, whose value is kept."""

    def __init__(self, steps: Steps[Gaussians]) -> None:
        self._steps, self.value = steps, cast(Gaussians, None)

    def __iter__(self) -> Steps[None]:
        self.value = yield from self._steps


class RESTAGE4D_OT_use_another_background(stepped.OnPuppet, bpy.types.Operator, ImportHelper):
    """Put a captured scene, .ply, .spz or .splat, where the background is: on its ground, as large,
    with the camera as it moves"""

    if TYPE_CHECKING:
        filepath: str  # of the helper, whose types leave it out

    bl_idname = "restage4d.use_another_background"
    bl_label = "Use Another Background"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; the background is as it was"
    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default=_KINDS, options={"HIDDEN"})
    axes: bpy.props.EnumProperty(name="Axes", description="Where up is", items=_AXES)
    scale: bpy.props.FloatProperty(
        name="Scale",
        description="How much larger than the background that it takes the place of",
        default=1.0,
        min=1e-4,
        max=1e4,
    )

    def steps_on(
        self: Any, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        path = paths.resolve(self.filepath)
        splats = yield from read_steps(path, self.axes)
        subject = scenery.read_subject(imported)
        fitted = scenery.fit_background(imported, subject, splats, self.scale)
        scenery.set_background(imported, fitted)
        display.apply(imported)
        self.done = f"{path.name} is the background"


def _draw_import_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.operator(
        RESTAGE4D_OT_import_splats.bl_idname,
        text="Restage4D Splats (.ply, .spz, .splat)",
        text_ctxt=CONTEXT,
    )


def add_menus() -> None:
    bpy.types.TOPBAR_MT_file_import.append(_draw_import_menu)


def remove_menus() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import_menu)


CLASSES = (RESTAGE4D_OT_import_splats, RESTAGE4D_OT_use_another_background)
