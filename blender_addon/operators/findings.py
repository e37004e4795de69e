# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks found about a puppet: to the frames where it is."""

from typing import Any

import bpy

from ..properties import get_first_frame, get_shot, open_finding
from ..puppet import importer, markers, shot_settings
from ..puppet.playback import nla


class RESTAGE4D_OT_show_finding(bpy.types.Operator):
    """Go to the frame where it is, and say what it is and what to do about it"""

    bl_idname = "restage4d.show_finding"
    bl_label = "Show Finding"
    bl_options = {"INTERNAL", "UNDO"}  # noqa: RUF012
    index: bpy.props.IntProperty(description="In the order in which they were found")

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        imported = importer.find_selected_puppet(context)
        findings = imported.about["findings"] if imported is not None else []
        return findings[properties.index].text if properties.index < len(findings) else ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        imported = importer.find_selected_puppet(context)
        findings = imported.about["findings"] if imported is not None else []
        if imported is None or context.scene is None or not 0 <= self.index < len(findings):
            return {"CANCELLED"}
        finding = findings[self.index]
        open_finding(imported.armature, self.index)
        found = next((p for p in imported.performances if p.name == finding.video), None)
        if found is None:  # its Action was deleted
            return {"FINISHED"}
        if nla.find_playing(imported) != found:
            importer.activate(imported, found.name, scene=None)
            shot_settings.follow_range(
                imported, context.scene, markers.get_scene_span(found.n_frames)[1]
            )
        if finding.video == "base":  # where its mask may want to be corrected
            chosen = get_shot(context.scene)
            chosen.correct_frame = get_first_frame(chosen) + finding.first_frame
        context.scene.frame_set(markers.get_span(finding, found.n_frames)[0])
        return {"FINISHED"}


CLASSES = (RESTAGE4D_OT_show_finding,)
