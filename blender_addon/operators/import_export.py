# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: a .puppet into the scene (menu or dropped on the window), and the tweaked puppet out
again.

``restage4d.import_puppet``; ``restage4d.export_puppet``, ``export_ply``, ``export_npz``,
``export_alembic``, ``export_usd``: from a panel they ask for a file and then run in steps
(`running_work` says how far), from a script at once; what is there already is replaced only with
``overwrite``. More operators: `puppet`, `render_splats`;
the display is a property of the armature, `viewport.display`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import bpy
from bpy_extras.io_utils import ExportHelper, ImportHelper

from restage4d.puppet import Puppet

from .. import paths
from ..languages import CONTEXT, say, translate
from ..puppet import importer
from ..puppet.in_scene import room
from ..puppet.output import export, sequences
from ..session.steps import Steps, in_thread
from ..viewport import display
from . import scene_choice, stepped
from .writing import WritesFiles


class RESTAGE4D_OT_import_puppet(
    scene_choice.ChoosesScene, stepped.Stepped, bpy.types.Operator, ImportHelper
):
    """Import a puppet with its performances, camera and background"""

    if TYPE_CHECKING:
        filepath: str  # of the helper, whose types leave it out

    bl_idname = "restage4d.import_puppet"
    bl_label = "Import Restage4D Puppet"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    undone = "Cancelled; nothing was imported"
    filename_ext = ".puppet"
    filter_glob: bpy.props.StringProperty(default="*.puppet", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.decide(cast(bpy.types.Scene, context.scene))  # the file browser shows the choice
        return ImportHelper.invoke(self, context, event)  # pyright: ignore[reportReturnType]

    def steps(self, context: bpy.types.Context) -> Steps[None]:
        path, scene = paths.resolve(self.filepath), cast(bpy.types.Scene, context.scene)
        puppet = yield from in_thread((0, 100), lambda: Puppet.load(path))
        why, first = self.decide(scene), not importer.find_puppets(scene)
        imported = yield from display.import_steps(
            puppet, name=path.stem, set_up_scene=not self.keep_scene
        )
        said = room.place_beside(imported, room.find_in_the_way(imported, scene))
        if first:
            said = self.show(why, imported, scene)
        self.done = f"Imported {path.name}; {self.describe(why, imported, scene)}"
        self.done += f"; {said}" * bool(said)


class _Export(WritesFiles, stepped.OnPuppet, bpy.types.Operator, ExportHelper):
    if TYPE_CHECKING:
        filepath: str  # of the helper, whose types leave it out

        def write(  # of each export
            self, scene: bpy.types.Scene, imported: importer.ImportedPuppet, path: Path
        ) -> Steps[None]: ...

    bl_options = {"REGISTER"}  # noqa: RUF012

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.ask(context) or super().execute(context)

    def steps_on(
        self, context: bpy.types.Context, imported: importer.ImportedPuppet
    ) -> Steps[None]:
        self.done = self.describe_written(context)
        return self.write(cast(bpy.types.Scene, context.scene), imported, self.place)


class _ExportPoints(_Export):
    """With a choice of what leaves."""

    use_range: bpy.props.BoolProperty(
        name="Own Range",
        description="Instead of the scene's frames, those given here",
        default=False,
    )
    first: bpy.props.IntProperty(
        name="First", description="First frame, with an own range", default=1
    )
    last: bpy.props.IntProperty(
        name="Last", description="Last frame, with an own range", default=100
    )
    subject: bpy.props.BoolProperty(name="Subject", default=True)
    background: bpy.props.BoolProperty(
        name="Background", description="The static background, in every frame", default=False
    )
    space: bpy.props.EnumProperty(
        name="Space",
        items=(
            ("WORLD", "World", "Where the points are in the scene"),
            ("LOCAL", "Local", "Without what the armature as a whole was moved by"),
        ),
    )

    def choose(self, scene: bpy.types.Scene) -> export.What:
        """The choices, for `export`."""
        first, last = (
            (self.first, self.last) if self.use_range else (scene.frame_start, scene.frame_end)
        )
        return export.What(
            range(first, last + 1), self.subject, self.background, self.space == "LOCAL"
        )

    def list_files(self, context: bpy.types.Context) -> list[Path]:
        if not self.is_sequence:
            return super().list_files(context)
        frames = self.choose(cast(bpy.types.Scene, context.scene)).frames
        return list(sequences.list_frames(self.place, frames).values())

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "subject")
        layout.prop(self, "background")
        layout.prop(self, "space")
        layout.prop(self, "use_range")
        column = layout.column(align=True)
        column.active = self.use_range
        column.prop(self, "first")
        column.prop(self, "last")


class RESTAGE4D_OT_export_puppet(_Export):
    """Export the puppet with its performances, each as its own keys play it; a bone moved without
    a key is left out"""

    bl_idname = "restage4d.export_puppet"
    bl_label = "Export Puppet (.puppet)"
    filename_ext = ".puppet"
    suffixes = (".puppet",)
    filter_glob: bpy.props.StringProperty(default="*.puppet", options={"HIDDEN"})
    tweaked: bpy.props.StringProperty(
        name="Also as Played",
        description=(
            "A name: what plays now over the scene's frames (NLA, handles, constraints) becomes "
            "one more performance. Empty: only the performances' own Actions"
        ),
    )

    def write(
        self, scene: bpy.types.Scene, imported: importer.ImportedPuppet, path: Path
    ) -> Steps[None]:
        if loose := importer.describe_moved_bones(imported):
            self.done += f"; moved without a key, so not in its performances: {loose}"
        return export.puppet_steps(imported, scene, path, self.tweaked)


class RESTAGE4D_OT_export_ply(_ExportPoints):
    """Export the moving Gaussians as a sequence of splat PLY files, one a frame"""

    bl_idname = "restage4d.export_ply"
    bl_label = "Export Splats (PLY Sequence)"
    filename_ext = ".ply"
    suffixes = (".ply",)
    is_sequence = True
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})

    def write(
        self, scene: bpy.types.Scene, imported: importer.ImportedPuppet, path: Path
    ) -> Steps[None]:
        return export.ply_steps(imported, scene, path, self.choose(scene))


class RESTAGE4D_OT_export_npz(_ExportPoints):
    """Export the moving Gaussians as numpy arrays, one file a frame"""

    bl_idname = "restage4d.export_npz"
    bl_label = "Export Gaussians (NPZ Sequence)"
    filename_ext = ".npz"
    suffixes = (".npz",)
    is_sequence = True
    filter_glob: bpy.props.StringProperty(default="*.npz", options={"HIDDEN"})

    def write(
        self, scene: bpy.types.Scene, imported: importer.ImportedPuppet, path: Path
    ) -> Steps[None]:
        return export.npz_steps(imported, scene, path, self.choose(scene))


class RESTAGE4D_OT_export_alembic(_ExportPoints):
    """Export the moving points as Alembic: positions alone, without colour, size and orientation;
    by Blender's own exporter, uninterrupted"""

    bl_idname = "restage4d.export_alembic"
    bl_label = "Export Points (Alembic)"
    filename_ext = ".abc"
    suffixes = (".abc",)
    filter_glob: bpy.props.StringProperty(default="*.abc", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not export.has_alembic():
            cls.poll_message_set(
                say("This Blender was built without Alembic; the ones from blender.org have it")
            )
            return False
        return super().poll(context)

    def write(
        self, scene: bpy.types.Scene, imported: importer.ImportedPuppet, path: Path
    ) -> Steps[None]:
        return export.alembic_steps(imported, scene, path, self.choose(scene))

    def draw(self, context: bpy.types.Context) -> None:
        _ExportPoints.draw(self, context)
        self.layout.label(
            text="Positions alone: no colour, size, orientation", text_ctxt=CONTEXT, icon="INFO"
        )


class RESTAGE4D_OT_export_usd(_ExportPoints):
    """Export the moving points as USD, with scale, rotation, opacity and colour; by Blender's own
    exporter, uninterrupted"""

    bl_idname = "restage4d.export_usd"
    bl_label = "Export Points (USD)"
    filename_ext = ".usdc"
    suffixes = (".usdc", ".usda", ".usd")
    filter_glob: bpy.props.StringProperty(default="*.usd;*.usda;*.usdc", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not export.has_usd():
            cls.poll_message_set(
                say("This Blender was built without USD; the ones from blender.org have it")
            )
            return False
        return super().poll(context)

    def write(
        self, scene: bpy.types.Scene, imported: importer.ImportedPuppet, path: Path
    ) -> Steps[None]:
        return export.usd_steps(imported, scene, path, self.choose(scene))


class RESTAGE4D_FH_puppet(bpy.types.FileHandler):
    bl_idname = "RESTAGE4D_FH_puppet"
    bl_label = "Restage4D puppet"
    bl_import_operator = "restage4d.import_puppet"
    bl_file_extensions = ".puppet"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type in {"VIEW_3D", "OUTLINER"}


_EXPORTS = (
    RESTAGE4D_OT_export_puppet,
    RESTAGE4D_OT_export_ply,
    RESTAGE4D_OT_export_npz,
    RESTAGE4D_OT_export_alembic,
    RESTAGE4D_OT_export_usd,
)
CLASSES = (RESTAGE4D_OT_import_puppet, *_EXPORTS, RESTAGE4D_FH_puppet)


def _draw_import_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.operator(
        RESTAGE4D_OT_import_puppet.bl_idname, text="Restage4D Puppet (.puppet)", text_ctxt=CONTEXT
    )


def _draw_export_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    for operator in _EXPORTS:
        label = translate(operator.bl_label).removeprefix("Export ")
        self.layout.operator(operator.bl_idname, text=f"Restage4D {label}", translate=False)


def add_menus() -> None:
    bpy.types.TOPBAR_MT_file_import.append(_draw_import_menu)
    bpy.types.TOPBAR_MT_file_export.append(_draw_export_menu)


def remove_menus() -> None:
    bpy.types.TOPBAR_MT_file_export.remove(_draw_export_menu)
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import_menu)
