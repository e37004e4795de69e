# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the view is from what was filmed, in words and colour over the 3D view."""

import blf
import bpy
import numpy as np

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
_kept: dict[str, np.ndarray] = {}  # filmed directions by what is known of a puppet


def tell(imported: importer.ImportedPuppet, context: bpy.types.Context) -> tuple[str, tuple]:
    """What to say of the context's view, and in which colour; nothing where it cannot be told."""
    said = imported.armature[importer.KEY]["said"]
    if said not in _kept:
        _kept.clear()
        _kept[said] = filmed.find_directions(imported)
    posed = imported.armature.evaluated_get(context.evaluated_depsgraph_get())
    eye = np.array(context.region_data.view_matrix.inverted().translation, np.float64)
    angle = filmed.measure_angle(_kept[said], posed, eye)
    if angle is None:
        return "", _COLORS["near"]
    kind = "near" if angle <= filmed.GOOD else "fair" if angle <= filmed.FAIR else "far"
    return translate(WORDS[kind]).format(angle), _COLORS[kind]


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
