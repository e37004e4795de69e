# SPDX-License-Identifier: GPL-3.0-or-later
"""The pie menu of a puppet, Shift+Alt+R in a 3D view: display, performances, bones and the shot's
settings under the mouse."""

import bpy

from ..languages import CONTEXT
from ..puppet import importer
from ..viewport.display import get_display

_keys: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


class RESTAGE4D_MT_pie(bpy.types.Menu):
    """What is done most often with the puppet of the active object"""

    bl_idname = "RESTAGE4D_MT_pie"
    bl_label = "Restage4D Puppet"

    def draw(self, context: bpy.types.Context) -> None:
        pie = self.layout.menu_pie()
        imported = importer.find_selected_puppet(context)
        if imported is None:
            pie.operator("restage4d.import_puppet", icon="IMPORT")
            return
        display = get_display(imported.armature)
        for mode in ("ELLIPSOIDS", "GAUSSIANS"):  # west and east
            pie.prop_enum(display, "mode", mode)
        pie.menu("RESTAGE4D_MT_performances", icon="ACTION", text_ctxt=CONTEXT)
        pie.operator("restage4d.pick_bones", icon="EYEDROPPER", text_ctxt=CONTEXT)
        pie.prop_enum(display, "mode", "POINTS")
        pie.prop(display, "background", text_ctxt=CONTEXT)
        pie.operator("restage4d.use_shot_settings", icon="SCENE_DATA", text_ctxt=CONTEXT)
        pie.operator("restage4d.playblast", icon="RENDER_RESULT", text_ctxt=CONTEXT)


class RESTAGE4D_MT_performances(bpy.types.Menu):
    """Play one of the puppet's performances"""

    bl_idname = "RESTAGE4D_MT_performances"
    bl_label = "Performances"

    def draw(self, context: bpy.types.Context) -> None:
        imported = importer.find_selected_puppet(context)
        for performance in imported.performances if imported is not None else ():
            text = performance.prompt or performance.name
            row = self.layout.operator("restage4d.play_performance", text=text, translate=False)
            row.name = performance.name  # pyright: ignore[reportAttributeAccessIssue]


def add_keys() -> None:
    """Binds the menu; without a window there are no key maps."""
    config = bpy.context.window_manager.keyconfigs.addon
    if config is None:
        return
    keys = config.keymaps.new(name="3D View", space_type="VIEW_3D")
    item = keys.keymap_items.new("wm.call_menu_pie", "R", "PRESS", shift=True, alt=True)
    item.properties.name = RESTAGE4D_MT_pie.bl_idname  # pyright: ignore[reportAttributeAccessIssue]
    _keys.append((keys, item))


def remove_keys() -> None:
    for keys, item in _keys:
        keys.keymap_items.remove(item)
    _keys.clear()


CLASSES = (RESTAGE4D_MT_performances, RESTAGE4D_MT_pie)
