# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the view is from what was filmed: in words and colour over the 3D view, and as the cone
of places from which what one sees was filmed."""

from typing import cast

import blf
import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from restage4d.se3 import Array

from .. import failures
from ..languages import translate
from ..puppet import importer
from ..puppet.in_scene import filmed

_COLORS = {"near": (0.3, 0.9, 0.4), "fair": (1.0, 0.8, 0.2), "far": (1.0, 0.4, 0.3)}
WORDS = {
    "near": "{:.0f}° from what was filmed",
    "fair": "{:.0f}° from what was filmed: partly a guess",
    "far": "{:.0f}° from what was filmed: nobody saw this side",
}
_kept: dict[str, tuple[Array, Array]] = {}  # of `_recall_filmed`, by what is known of a puppet
_MOST = 8  # puppets kept


def tell(imported: importer.ImportedPuppet, context: bpy.types.Context) -> tuple[str, tuple]:
    """What to say of the context's view, and in which colour; nothing where it cannot be told."""
    directions, _ = _recall_filmed(imported)
    posed = imported.armature.evaluated_get(context.evaluated_depsgraph_get())
    eye = np.array(context.region_data.view_matrix.inverted().translation, np.float64)
    angle = filmed.measure_angle(directions, posed, eye)
    if angle is None:
        return "", _COLORS["near"]
    kind = "near" if angle <= filmed.GOOD else "fair" if angle <= filmed.FAIR else "far"
    return translate(WORDS[kind]).format(angle), _COLORS[kind]


def _recall_filmed(imported: importer.ImportedPuppet) -> tuple[Array, Array]:
    """Filmed directions (T, 3) and the lines (S, 2, 3) of their cone, in the space of the
    subject's bone; a view is drawn often, so they are kept."""
    said = imported.armature[importer.KEY]["said"]
    if said not in _kept:
        if len(_kept) >= _MOST:
            _kept.clear()
        directions = filmed.find_directions(imported)
        _kept[said] = directions, filmed.compute_cone(directions, filmed.GOOD)
    return _kept[said]


def place_cone(
    imported: importer.ImportedPuppet, depsgraph: bpy.types.Depsgraph
) -> Array:  # -> (S, 2, 3)
    """Lines of the cone in the world, now: its apex at the subject's own bone, its rim as far away
    as the shot's camera; none where the bone is gone."""
    _, lines = _recall_filmed(imported)
    posed = imported.armature.evaluated_get(depsgraph)
    follower = filmed.find_follower(posed)
    if follower is None or not len(lines):
        return np.zeros((0, 2, 3))
    world = np.array(posed.matrix_world @ follower.matrix, np.float64)
    eye = np.array(imported.camera.evaluated_get(depsgraph).matrix_world.translation, np.float64)
    reach = np.linalg.norm(np.linalg.solve(world, np.append(eye, 1.0))[:3])
    return reach * lines @ world[:3, :3].T + world[:3, 3]


def draw_cone(imported: importer.ImportedPuppet, context: bpy.types.Context) -> None:
    """Draws the cone into the 3D view: not into one without overlays, nor through a camera, where
    one looks from inside it. Never raises."""
    space, view = cast(bpy.types.SpaceView3D, context.space_data), context.region_data
    if not space.overlay.show_overlays or view.view_perspective == "CAMERA":
        return
    try:
        lines = place_cone(imported, context.evaluated_depsgraph_get())
        if len(lines):
            draw_lines(
                lines, (*_COLORS["near"], 0.6), (context.region.width, context.region.height)
            )
        failures.works_again("filmed cone")
    except Exception as error:
        failures.tell_once("filmed cone", "The cone of the filmed angle", error)
    finally:
        gpu.state.blend_set("NONE")
        gpu.state.depth_test_set("NONE")


def draw_lines(lines: Array, color: tuple[float, ...], size: tuple[int, int]) -> None:
    """Lines (S, 2, 3) of the world into a view of ``size`` pixels, behind what is nearer."""
    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("LESS_EQUAL")
    shader.bind()
    shader.uniform_float("viewportSize", size)
    shader.uniform_float("lineWidth", 1.5)
    shader.uniform_float("color", color)
    places = lines.reshape(-1, 3).astype(np.float32).tolist()
    batch_for_shader(shader, "LINES", {"pos": places}).draw(shader)


def draw(imported: importer.ImportedPuppet, context: bpy.types.Context, line: int) -> None:
    """Draws it into the view's lower left corner. Never raises."""
    try:
        text, color = tell(imported, context)
        failures.works_again("filmed angle")
    except Exception as error:
        text, color = failures.tell_once("filmed angle", "The filmed angle", error), _COLORS["far"]
    scale = context.preferences.system.ui_scale or 1.0
    blf.size(0, 13 * scale)
    blf.color(0, *color, 1.0)  # pyright: ignore[reportCallIssue]
    tools = [r.width for r in context.area.regions if r.type == "TOOLS"] if context.area else []
    blf.position(0, sum(tools) + 20 * scale, (44 + 18 * line) * scale, 0)  # above what else is told
    blf.draw(0, text)
