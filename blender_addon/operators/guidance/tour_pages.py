# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons of the quick tour, see `ui.tour`."""

import bpy

from ... import preferences


class RESTAGE4D_OT_tour(bpy.types.Operator):
    """Turn the pages of the quick tour, or close it; the preferences open it again"""

    bl_idname = "restage4d.tour"
    bl_label = "Turn the Tour's Pages"
    by: bpy.props.IntProperty(
        name="Pages", description="How many to go on; 0: close it", options={"HIDDEN"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return preferences.find() is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        page = preferences.find()
        assert page is not None  # poll
        page.tour_over = self.by == 0
        page.tour_step = max(page.tour_step + self.by, 0)
        return {"FINISHED"}


CLASSES = (RESTAGE4D_OT_tour,)
