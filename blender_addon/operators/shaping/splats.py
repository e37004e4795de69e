# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.erase_splats``, ``restage4d.restore_splats``, ``restage4d.give_splats`` (to the
selected bones) and ``restage4d.clean_fringe``. The selected splats are the selected vertices of the
points, in any mode."""

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError

from ...puppet import attributes, importer, rig, weights
from ...puppet.shaping import erasing, influences
from ..puppet import OnPuppet


def read_chosen(imported: importer.ImportedPuppet) -> NDArray[np.bool_]:  # -> (N,)
    """The selected splats; leaves Edit Mode where the points are in it.

    Raises:
        InputError: none is selected.
    """
    points = imported.points
    if points.mode == "EDIT":
        return weights.find_selected_points(points)
    chosen = np.empty(len(attributes.get_mesh(points).vertices), bool)
    attributes.get_mesh(points).vertices.foreach_get("select", chosen)
    if not chosen.any():
        raise InputError("No splat is selected.", "Paint over some with Select Splats first.")
    return chosen


def read_means(imported: importer.ImportedPuppet) -> NDArray[np.float32]:  # -> (N, 3)
    mesh = attributes.get_mesh(imported.points)
    return attributes.read_attribute(mesh, "position", "vector", 3)


class RESTAGE4D_OT_erase_splats(OnPuppet):
    """Take the selected splats out of the puppet. They are kept, and Restore Splats puts them
    back"""

    bl_idname = "restage4d.erase_splats"
    bl_label = "Erase Splats"

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        count = erasing.erase(imported.points, read_chosen(imported))
        mesh = attributes.get_mesh(imported.points)
        mesh.vertices.foreach_set("select", np.zeros(len(mesh.vertices), bool))
        return f"{count} splats erased; {len(mesh.vertices)} are left"


class RESTAGE4D_OT_restore_splats(OnPuppet):
    """Put all splats back that were erased; they are selected afterwards"""

    bl_idname = "restage4d.restore_splats"
    bl_label = "Restore Splats"

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        if erasing.count_erased(imported.points) == 0:
            return "No splat was erased"
        return "Leave Edit Mode first" if imported.points.mode == "EDIT" else ""

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        return f"{erasing.restore(imported.points)} splats are back"


class RESTAGE4D_OT_give_splats(OnPuppet):
    """Let the selected splats follow the selected bones, and go over into the others at the edge of
    the selection"""

    bl_idname = "restage4d.give_splats"
    bl_label = "Give Splats to Bones"

    smooth: bpy.props.FloatProperty(
        name="Smooth",
        description="Width of the transition, in shares of the body's size",
        default=0.02,
        min=0,
        soft_max=0.2,
        max=1.0,
        subtype="FACTOR",
    )

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        found = weights.find_bases(
            imported.armature, weights.find_selected_bones(imported.armature)
        )
        return "" if found.any() else "Select a bone or a handle of the puppet first"

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        armature = imported.armature
        bases = weights.find_bases(armature, weights.find_selected_bones(armature))
        picked = read_chosen(imported)
        if not picked.any() or picked.all():
            which = "All splats are" if picked.any() else "No splat is"
            raise InputError(f"{which} selected.", "Select some first.")
        chosen = np.flatnonzero(picked)
        index, weight = attributes.read_influences(attributes.get_mesh(imported.points))
        means = read_means(imported)
        extent = float(np.linalg.norm(np.ptp(means, axis=0)))
        coefs = influences.spread(index, weight, len(rig.bone_names(armature)))
        new = influences.give_to_bases(means, coefs, chosen, bases, self.smooth * extent)
        weights.change_influences(imported, chosen, new)
        return f"{len(chosen)} splats follow {int(bases.sum())} bones"


class RESTAGE4D_OT_clean_fringe(OnPuppet):
    """Erase faint splats that stand off from the body. They are kept, and Restore Splats puts them
    back"""

    bl_idname = "restage4d.clean_fringe"
    bl_label = "Clean Fringe"

    faint: bpy.props.FloatProperty(
        name="Fainter Than",
        description="Opacity from which on a splat is never taken for fringe",
        default=0.4,
        min=0,
        max=1,
        subtype="FACTOR",
    )
    loose: bpy.props.FloatProperty(
        name="Standing Off",
        description=(
            "How far from the middle of its neighbours a splat must be, in the usual distance "
            "between neighbours"
        ),
        default=1.5,
        min=0,
        soft_max=5,
    )

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        return "Leave Edit Mode first" if imported.points.mode == "EDIT" else ""

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        mesh = attributes.get_mesh(imported.points)
        opacities = attributes.read_attribute(mesh, "opacity", "value", 1)
        fringe = influences.find_fringe(
            read_means(imported), opacities, faint=self.faint, loose=self.loose
        )
        if not fringe.any():
            return "No splat is fringe by these limits"
        return f"{erasing.erase(imported.points, fringe)} of {len(fringe)} splats erased"


CLASSES = (
    RESTAGE4D_OT_erase_splats,
    RESTAGE4D_OT_restore_splats,
    RESTAGE4D_OT_give_splats,
    RESTAGE4D_OT_clean_fringe,
)
