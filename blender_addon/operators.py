# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: a .puppet into the scene (menu or dropped on the window), and the tweaked puppet back into a file."""

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ExportHelper, ImportHelper

from restage4d.errors import InputError
from restage4d.puppet import Puppet

from . import capture, export, importing


def selected_puppet(context: Any) -> importing.ImportedPuppet | None:
    """The puppet of the active object, or the scene's only one."""
    puppets = importing.find_puppets(context.scene)
    active = context.active_object
    mine = [p for p in puppets if active in (p.armature, p.points, p.splats, p.background, p.background_splats, p.camera)]
    if active is None or (not mine and len(puppets) == 1):
        mine = puppets
    return mine[0] if len(mine) == 1 else None


class RESTAGE4D_OT_import_puppet(bpy.types.Operator, ImportHelper):
    """Import a puppet with its performances, camera and background"""

    bl_idname = "restage4d.import_puppet"
    bl_label = "Import Restage4D Puppet"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012
    filename_ext = ".puppet"
    filter_glob: bpy.props.StringProperty(default="*.puppet", options={"HIDDEN"})  # type: ignore[valid-type]
    set_up_scene: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Set Up Scene",
        description="Frame range, rate, picture size, camera and colours of the scene as filmed",
        default=True,
    )

    def execute(self, context: Any) -> set[str]:
        path = Path(self.filepath)
        try:
            imported = importing.import_puppet(Puppet.load(path), name=path.stem, set_up_scene=self.set_up_scene)
        except InputError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not bpy.app.background:
            imported.armature.restage4d_display.mode = "GAUSSIANS"
        return {"FINISHED"}


class _Export(bpy.types.Operator, ExportHelper):
    bl_options = {"REGISTER"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: Any) -> bool:
        if selected_puppet(context) is None:
            cls.poll_message_set("Select a part of one puppet, such as its armature")
            return False
        return True

    def execute(self, context: Any) -> set[str]:
        imported = selected_puppet(context)
        assert imported is not None  # poll
        try:
            self.write(imported, Path(self.filepath))
        except (InputError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class RESTAGE4D_OT_export_puppet(_Export):
    """Export the puppet with its performances as they play now, keyframes and tweaks included"""

    bl_idname = "restage4d.export_puppet"
    bl_label = "Export Restage4D Puppet"
    filename_ext = ".puppet"

    def write(self, imported: importing.ImportedPuppet, path: Path) -> None:
        capture.capture_puppet(imported, bpy.context.scene).save(path)


class RESTAGE4D_OT_export_alembic(_Export):
    """Export the moving points over the scene's frame range as Alembic"""

    bl_idname = "restage4d.export_alembic"
    bl_label = "Export Restage4D Points (Alembic)"
    filename_ext = ".abc"

    def write(self, imported: importing.ImportedPuppet, path: Path) -> None:
        export.export_alembic(imported, bpy.context.scene, path)


class RESTAGE4D_OT_export_npz(_Export):
    """Export the moving Gaussians over the scene's frame range as numpy arrays"""

    bl_idname = "restage4d.export_npz"
    bl_label = "Export Restage4D Gaussians (NPZ)"
    filename_ext = ".npz"

    def write(self, imported: importing.ImportedPuppet, path: Path) -> None:
        export.export_npz(imported, bpy.context.scene, path)


class RESTAGE4D_FH_puppet(bpy.types.FileHandler):
    bl_idname = "RESTAGE4D_FH_puppet"
    bl_label = "Restage4D puppet"
    bl_import_operator = "restage4d.import_puppet"
    bl_file_extensions = ".puppet"

    @classmethod
    def poll_drop(cls, context: Any) -> bool:
        return context.area is not None and context.area.type in {"VIEW_3D", "OUTLINER"}


_CLASSES = (
    RESTAGE4D_OT_import_puppet,
    RESTAGE4D_OT_export_puppet,
    RESTAGE4D_OT_export_alembic,
    RESTAGE4D_OT_export_npz,
    RESTAGE4D_FH_puppet,
)


def _import_menu(self: Any, context: Any) -> None:
    self.layout.operator(RESTAGE4D_OT_import_puppet.bl_idname, text="Restage4D Puppet (.puppet)")


def _export_menu(self: Any, context: Any) -> None:
    self.layout.operator(RESTAGE4D_OT_export_puppet.bl_idname, text="Restage4D Puppet (.puppet)")
    if export.has_alembic():
        self.layout.operator(RESTAGE4D_OT_export_alembic.bl_idname, text="Restage4D Points (.abc)")
    self.layout.operator(RESTAGE4D_OT_export_npz.bl_idname, text="Restage4D Gaussians (.npz)")


def register() -> None:
    from . import display, tweaking

    display.register()
    for c in _CLASSES:
        bpy.utils.register_class(c)
    tweaking.register()
    bpy.types.TOPBAR_MT_file_import.append(_import_menu)
    bpy.types.TOPBAR_MT_file_export.append(_export_menu)


def unregister() -> None:
    from . import display, tweaking

    tweaking.unregister()
    bpy.types.TOPBAR_MT_file_export.remove(_export_menu)
    bpy.types.TOPBAR_MT_file_import.remove(_import_menu)
    for c in reversed(_CLASSES):
        bpy.utils.unregister_class(c)
    display.unregister()
