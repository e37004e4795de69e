# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for a puppet that comes in where another stands: each is built where its shot was filmed."""

import bpy
import numpy as np

from .. import importer
from . import index

GAP = 0.5  # of the wider of two subjects, free between them


def find_in_the_way(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene
) -> list[importer.ImportedPuppet]:
    """Other puppets that show in the scene and whose shot has its root at the same place."""
    here = np.array(imported.root.matrix_world if imported.root else np.eye(4))
    found = []
    for armature in index.find_armatures(scene):
        other = importer.recall(armature)
        if armature == imported.armature or not _is_shown(other):
            continue
        there = np.array(other.root.matrix_world if other.root else np.eye(4))
        if np.allclose(here, there, atol=1e-4):
            found.append(other)
    return found


def _is_shown(imported: importer.ImportedPuppet) -> bool:
    hidden = imported.collection is not None and imported.collection.hide_viewport
    return not (hidden or imported.points.hide_viewport)


def hide(others: list[importer.ImportedPuppet]) -> str:
    """Hides puppets, in views and renders, by their collections; says so."""
    names = []
    for other in others:
        if other.collection is not None:
            other.collection.hide_viewport = other.collection.hide_render = True
            names.append(f"{other.collection.name!r}")
    if not names:
        return ""
    return f"{', '.join(names)} stood there and is hidden: its monitor in the Outliner shows it"


def place_beside(imported: importer.ImportedPuppet, others: list[importer.ImportedPuppet]) -> str:
    """Moves the root of a puppet to the right of others, as its camera sees it; says so."""
    if not others or imported.root is None:
        return ""
    right = np.array(imported.camera.matrix_world, np.float64)[:3, 0]
    right[2] = 0.0
    right /= max(float(np.linalg.norm(right)), 1e-9)
    low, high = _find_reach(imported, right)
    spans = [_find_reach(other, right) for other in others]
    widest = max(high - low, *(b - a for a, b in spans))
    shift = max(b for _, b in spans) + GAP * widest - low
    imported.root.location += type(imported.root.location)((right * shift).tolist())
    return f"it stands beside {others[0].armature.name!r}; its root moves it with its camera"


def _find_reach(imported: importer.ImportedPuppet, along: np.ndarray) -> tuple[float, float]:
    """Where a subject begins and ends along a direction of the world, at rest."""
    mesh = imported.points.data
    assert isinstance(mesh, bpy.types.Mesh)
    means = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", means.ravel())  # type: ignore[attr-defined]
    world = np.array(imported.points.matrix_world, np.float64)
    places = (means @ world[:3, :3].T + world[:3, 3]) @ along
    low, high = np.quantile(places, (0.005, 0.995))
    return float(low), float(high)
