# SPDX-License-Identifier: GPL-3.0-or-later
"""*Keep My Scene*: whether a puppet that comes in brings the shot's settings with it."""

from typing import Any

import bpy

from ..properties import get_shot
from ..puppet import attributes, camera, importer, shot_settings


class ChoosesScene:
    """Mixed into operators that bring a puppet in.

    Unless it is set, ``keep_scene`` is what was chosen for the scene before, else whether there is
    anything of the artist's in it. A choice that differs from that is remembered in the scene.
    """

    keep_scene: bpy.props.BoolProperty(
        name="Keep My Scene",
        description=(
            "Leave picture size, frame rate, range, camera, colours and current frame of the scene "
            "as they are; otherwise they become the shot's"
        ),
        options={"SKIP_SAVE"},
    )

    def decide(self: Any, scene: bpy.types.Scene) -> str:
        """Sets ``keep_scene``; returns why the scene is kept, empty where it is not."""
        chosen, own = get_shot(scene), shot_settings.find_own(scene)
        if self.properties.is_property_set("keep_scene"):
            by_choice = "KEEP" if self.keep_scene else "SHOT"
            chosen.scene_use = "AUTO" if self.keep_scene == bool(own) else by_choice
        else:
            self.keep_scene = chosen.scene_use == "KEEP" or (
                chosen.scene_use == "AUTO" and bool(own)
            )
        return (own or "as chosen") if self.keep_scene else ""

    def show(self: Any, why: str, imported: importer.ImportedPuppet, scene: bpy.types.Scene) -> str:
        """Where the scene is the shot's, 3D views look through its camera, and Blender's own cube,
        in which the puppet stands, is hidden; says so."""
        if why:
            return ""
        mesh = attributes.get_mesh(imported.points)
        means = attributes.read_attribute(mesh, "position", "vector", 3)
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    camera.look_through(area.spaces.active, means)
        return shot_settings.hide_startup_cube(scene)

    def describe(
        self: Any, why: str, imported: importer.ImportedPuppet, scene: bpy.types.Scene
    ) -> str:
        """What became of the scene, for the report."""
        if not why:
            return "the scene has the shot's size, rate, range, camera and colours"
        rates = shot_settings.describe_rates(imported.performances[-1], scene)
        said = f"your scene is kept ({why})"
        return f"{said}; {rates}" if rates else said
