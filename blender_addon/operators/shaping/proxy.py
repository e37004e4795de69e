# SPDX-License-Identifier: GPL-3.0-or-later
"""``restage4d.make_proxy`` and ``restage4d.apply_painting`` (weights painted on the proxy mesh to
the points)."""

import bpy
import numpy as np

from ...puppet import attributes, importer
from ...puppet.output import export
from ...puppet.shaping import proxy
from ..puppet import OnPuppet


class RESTAGE4D_OT_make_proxy(OnPuppet):
    """Make a closed mesh that moves as the puppet does: to paint weights on, to cast shadows, to
    collide with, to click on, to export with its skin. Made again, it takes the place of the one
    before"""

    bl_idname = "restage4d.make_proxy"
    bl_label = "Make Proxy Mesh"

    faces: bpy.props.IntProperty(
        name="Faces",
        description="At most so many quads",
        default=5000,
        min=100,
        soft_max=10_000,
        max=200_000,
    )
    gap: bpy.props.IntProperty(
        name="Close Gaps",
        description="Holes of so many cells to either side are closed; more also joins limbs",
        default=1,
        min=0,
        max=6,
    )
    shadows_only: bpy.props.BoolProperty(
        name="Only Shadows in Renders",
        description="A render sees the mesh's shadow, not the mesh",
        default=True,
    )
    catcher: bpy.props.BoolProperty(
        name="Shadow Catcher",
        description="Adds a plane at the puppet's feet that shows nothing but shadows (Cycles)",
        default=False,
    )
    collision: bpy.props.BoolProperty(
        name="Collision", description="Cloth and particles meet the mesh", default=False
    )
    plain: bpy.props.BoolProperty(
        name="Plain Skin",
        description=(
            "Move the mesh by an Armature modifier with vertex groups, which FBX and glTF "
            "exporters know, instead of exactly as the points"
        ),
        default=False,
    )

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        obj = proxy.make_proxy(imported, faces=self.faces, gap=self.gap)
        proxy.set_skin(obj, plain=self.plain)
        proxy.set_shadows(obj, only=self.shadows_only)
        proxy.set_collision(obj, used=self.collision)
        if self.catcher:
            feet = float(np.quantile(export.read_posed(imported, local=True).means[:, 2], 0.005))
            proxy.add_catcher(imported, feet)
        return f"{obj.name!r} has {len(attributes.get_mesh(obj).polygons)} faces"


class RESTAGE4D_OT_apply_painting(OnPuppet):
    """Give the points the weights that were painted on the proxy mesh; points around which nothing
    was painted keep theirs"""

    bl_idname = "restage4d.apply_painting"
    bl_label = "Painted Weights to Points"

    @classmethod
    def missing(cls, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        if proxy.find_proxy(imported.armature) is None:
            return "There is no proxy mesh: make it first"
        return "Leave Edit Mode first" if imported.points.mode == "EDIT" else ""

    def work(self, context: bpy.types.Context, imported: importer.ImportedPuppet) -> str:
        obj = proxy.find_proxy(imported.armature)
        assert obj is not None  # poll
        return f"{proxy.apply_painting(imported, obj)} points have new weights"


CLASSES = (RESTAGE4D_OT_make_proxy, RESTAGE4D_OT_apply_painting)
