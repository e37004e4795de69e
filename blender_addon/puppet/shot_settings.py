# SPDX-License-Identifier: GPL-3.0-or-later
"""The shot's settings and the scene's: what in a scene is the artist's, and where both differ."""

import bpy
import numpy as np

from . import actions, importer

_FACTORY = (1920, 1080, 100, 1.0, 1.0, 24.0, 1, 250)  # as `_read` gives it
_STARTUP = {  # of Blender's own startup file: location and rotation
    "Cube": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "Light": ((4.076245, 1.005454, 5.903862), (0.650328, 0.055217, 1.866391)),
    "Camera": ((7.358891, -6.925791, 4.958309), (1.109319, 0.0, 0.814928)),
}


def find_own(scene: bpy.types.Scene) -> str:
    """What in the scene is the artist's, in words; empty where it is as Blender starts."""
    objects = [o for o in scene.objects if not _is_of_startup(o)]
    if scene.camera is not None and not _is_of_startup(scene.camera):
        return "it has a camera of its own"
    if objects:
        return f"it has {objects[0].name!r} in it"
    if not np.allclose(_read(scene), _FACTORY):
        return "its picture size, rate or range are its own"
    return ""


def hide_startup_cube(scene: bpy.types.Scene) -> str:
    """Hides the cube of Blender's own startup file, in which a puppet would stand; says so."""
    cube = scene.objects.get("Cube")
    if cube is None or not cube.visible_get() or not _is_of_startup(cube):
        return ""
    cube.hide_set(True)
    cube.hide_render = True
    return "Blender's cube is hidden"


def use(
    imported: importer.ImportedPuppet,
    performance: importer.ImportedPerformance,
    scene: bpy.types.Scene,
) -> None:
    """The shot's picture size, rate, range, camera and colours for the scene."""
    importer.frame_scene(imported, performance, scene)
    importer.set_filmed_colors(scene)


def are_used(
    imported: importer.ImportedPuppet,
    performance: importer.ImportedPerformance,
    scene: bpy.types.Scene,
) -> bool:
    """Whether the scene has size, rate, range and camera of the shot."""
    p, r = performance, scene.render
    return (
        (r.resolution_x, r.resolution_y, r.resolution_percentage) == (*p.size, 100)
        and abs(r.pixel_aspect_y / r.pixel_aspect_x / p.aspect - 1) < 1e-3
        and not describe_rates(p, scene)
        and _is_range(p, scene)
        and scene.camera == imported.camera
    )


def describe_rates(performance: importer.ImportedPerformance, scene: bpy.types.Scene) -> str:
    """What it means that the scene has another frame rate than the shot; empty where it has the
    same."""
    rate = scene.render.fps / scene.render.fps_base
    if abs(rate / performance.fps - 1) < 1e-4:
        return ""
    return (
        f"Frames a second: {rate:.5g} here, {performance.fps:.5g} in the shot; keys stand at the "
        f"shot's frames, so it plays {rate / performance.fps:.3g} times as fast"
    )


def follow_range(imported: importer.ImportedPuppet, scene: bpy.types.Scene, last: int) -> None:
    """Ends the scene's range at frame ``last`` where it was the range of one of the puppet's
    performances; one that the artist set stays."""
    if any(_is_range(p, scene) for p in imported.performances):
        scene.frame_end = last


def _is_range(performance: importer.ImportedPerformance, scene: bpy.types.Scene) -> bool:
    last = actions.FIRST_FRAME + performance.n_frames - 1
    return (scene.frame_start, scene.frame_end) == (actions.FIRST_FRAME, last)


def _read(scene: bpy.types.Scene) -> tuple[float, ...]:
    r = scene.render
    size = r.resolution_x, r.resolution_y, r.resolution_percentage
    aspect = r.pixel_aspect_x, r.pixel_aspect_y
    return *size, *aspect, r.fps / r.fps_base, scene.frame_start, scene.frame_end


def _is_of_startup(obj: bpy.types.Object) -> bool:
    """Whether it is an object of Blender's own startup file, as it was there."""
    if obj.name not in _STARTUP or obj.animation_data is not None or len(obj.modifiers):
        return False
    place = (*obj.location, *obj.rotation_euler, *obj.scale)
    wanted = (*_STARTUP[obj.name][0], *_STARTUP[obj.name][1], 1.0, 1.0, 1.0)
    as_it_was = np.allclose(place, wanted, atol=1e-4)
    return bool(as_it_was) and (
        not isinstance(obj.data, bpy.types.Mesh) or len(obj.data.vertices) == 8
    )
