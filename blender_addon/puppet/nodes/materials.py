# SPDX-License-Identifier: GPL-3.0-or-later
"""The two materials of Gaussians: solid, and soft along the view ray."""

import bpy

from ... import compat
from ..attributes import COLOR
from .node_tree import NodeTree

CUTOFF = 3.0  # standard deviations at which soft splats end; the Gaussian is down to 1 % there


def make_material(name: str, *, soft: bool) -> bpy.types.Material:
    """A material that gives off the colours as filmed, by attribute; soft ones are Gaussians on
    balls of `CUTOFF` σ.

    In the ball's own space (σ / CUTOFF = 1) a ray with direction d through p passes the centre at
    distance ``b² = |p|² - (p·d)²``, so its opacity is ``opacity * exp(-b² CUTOFF² / 2)``: 3DGS
    without its affine approximation.
    """
    material = bpy.data.materials.new(name)
    t = NodeTree(compat.material_tree(material))
    kind = "INSTANCER" if soft else "GEOMETRY"
    color = t.node("ShaderNodeAttribute", attribute_name=COLOR, attribute_type=kind).outputs[
        "Color"
    ]
    surface = t.node("ShaderNodeEmission", {"Color": color}).outputs[0]
    if soft:
        geometry = t.node("ShaderNodeNewGeometry")
        p = t.node("ShaderNodeTexCoord").outputs["Object"]
        d = t.node(
            "ShaderNodeVectorTransform",
            {0: geometry.outputs["Incoming"]},
            vector_type="VECTOR",
            convert_from="WORLD",
            convert_to="OBJECT",
        ).outputs[0]
        along = t.vector("DOT_PRODUCT", p, t.vector("NORMALIZE", d))
        b2 = t.math("SUBTRACT", t.vector("DOT_PRODUCT", p, p), t.math("MULTIPLY", along, along))
        falloff = t.math("EXPONENT", t.math("MULTIPLY", b2, -0.5 * CUTOFF * CUTOFF))
        opacity = t.node(
            "ShaderNodeAttribute", attribute_name="opacity", attribute_type=kind
        ).outputs["Fac"]
        front = t.math("SUBTRACT", 1.0, geometry.outputs["Backfacing"])
        alpha = t.math("MULTIPLY", t.math("MULTIPLY", opacity, falloff), front)
        clear = t.node("ShaderNodeBsdfTransparent").outputs[0]
        surface = t.node("ShaderNodeMixShader", {0: alpha, 1: clear, 2: surface}).outputs[0]
        material.surface_render_method = "DITHERED"
    t.node("ShaderNodeOutputMaterial", {"Surface": surface})
    t.arrange()
    return material
