"""The project's own creature, a fawn-coloured fox cub with big ears: shape, coat colours, skin
weights, armature."""

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from stage import coat
from stage.shape import Cone, diffuse, surface_nets, union
from stage.skeleton import BONES, FRONT, HEADS, HIND, INDEX, TAILS

Array = NDArray[Any]
VOXEL = 0.0075


def _mirrored(cones: list[Cone]) -> list[Cone]:
    def flip(c: Cone) -> Cone:
        (ax, ay, az), (bx, by, bz) = c.a, c.b
        flat = c.flat and (c.flat[0], -c.flat[1], c.flat[2], c.flat[3])
        return Cone(
            c.bone[:-1] + "R", (ax, -ay, az), (bx, -by, bz), c.ra, c.rb, c.blend, flat, c.hollow
        )

    return [x for c in cones for x in (c, flip(c))]


BODY = [
    Cone("pelvis", (-0.185, 0, 0.405), (-0.08, 0, 0.400), 0.103, 0.098),
    Cone("spine", (-0.08, 0, 0.400), (0.04, 0, 0.395), 0.098, 0.108, 0.05),
    Cone("chest", (0.04, 0, 0.395), (0.150, 0, 0.405), 0.108, 0.108, 0.05),
    Cone("chest", (0.19, 0, 0.43), (0.215, 0, 0.40), 0.085, 0.055, 0.06),
    Cone("neck1", (0.18, 0, 0.45), (0.235, 0, 0.535), 0.088, 0.078, 0.06),
    Cone("neck2", (0.235, 0, 0.535), (0.285, 0, 0.62), 0.078, 0.070, 0.04),
    Cone("head", (0.300, 0, 0.675), (0.325, 0, 0.668), 0.118, 0.112, 0.05),
    Cone("head", (0.375, 0, 0.640), (0.492, 0, 0.626), 0.068, 0.031, 0.05),
    Cone("jaw", (0.375, 0, 0.612), (0.468, 0, 0.598), 0.045, 0.022, 0.012),
    Cone("tail1", (-0.26, 0, 0.430), (-0.36, 0, 0.425), 0.040, 0.052, 0.04),
    Cone("tail2", (-0.36, 0, 0.425), (-0.47, 0, 0.450), 0.052, 0.072, 0.04),
    Cone("tail3", (-0.47, 0, 0.450), (-0.565, 0, 0.515), 0.072, 0.062, 0.03),
    Cone("tail4", (-0.565, 0, 0.515), (-0.635, 0, 0.605), 0.062, 0.010, 0.03),
    *_mirrored(
        [
            Cone("head.L", (0.335, 0.062, 0.630), (0.318, 0.098, 0.612), 0.060, 0.028, 0.04),
            Cone(
                "ear1.L",
                (0.272, 0.072, 0.745),
                (0.258, 0.110, 0.845),
                0.062,
                0.058,
                0.02,
                (0.90, 0.30, -0.10, 2.4),
                0.62,
            ),
            Cone(
                "ear2.L",
                (0.258, 0.110, 0.845),
                (0.246, 0.148, 0.940),
                0.058,
                0.012,
                0.004,
                (0.90, 0.30, -0.10, 2.4),
                0.62,
            ),
            Cone("arm.L", FRONT[0], FRONT[1], 0.066, 0.044, 0.05),
            Cone("forearm.L", FRONT[1], FRONT[2], 0.042, 0.028, 0.02),
            Cone("pastern.L", FRONT[2], FRONT[3], 0.027, 0.030, 0.01),
            Cone("paw.L", (0.155, 0.076, 0.034), (0.192, 0.077, 0.030), 0.035, 0.031, 0.015),
            Cone("thigh.L", (-0.190, 0.060, 0.375), HIND[1], 0.088, 0.056, 0.05),
            Cone("shin.L", HIND[1], HIND[2], 0.053, 0.030, 0.02),
            Cone("hock.L", HIND[2], HIND[3], 0.028, 0.027, 0.01),
            Cone("foot.L", (-0.236, 0.082, 0.034), (-0.196, 0.083, 0.030), 0.035, 0.031, 0.015),
        ]
    ),
]
EYE_CENTRE, EYE_RADIUS = np.array([0.385, 0.068, 0.690]), 0.040
NOSE = Cone("head", (0.518, 0.010, 0.642), (0.518, -0.010, 0.642), 0.019, 0.019)


def _bone(cone: Cone) -> str:
    return "head" if cone.bone.startswith("head") else cone.bone


def weights(vertices: Array, quads: NDArray[np.int64]) -> Array:  # (N, 3), (F, 4) -> (N, B)
    """Skin weights: every vertex belongs to its nearest part's bone, then the border is diffused
    along the surface."""
    # Rounded, so that the many vertices midway between two parts go to the first of them whatever a
    # processor's last digits.
    distance = np.stack([cone.distance(vertices) for cone in BODY], 1).round(9)
    owner = np.array([INDEX[_bone(cone)] for cone in BODY])[distance.argmin(1)]
    out = diffuse(np.eye(len(BONES), dtype=np.float32)[owner], quads, 40)
    keep = np.argsort(-out, axis=1)[:, :6]
    trimmed = np.zeros_like(out)
    np.put_along_axis(trimmed, keep, np.take_along_axis(out, keep, 1), 1)
    return trimmed / trimmed.sum(1, keepdims=True)


def _sphere(centre: Array, radius: float, rings: int = 20) -> tuple[Array, Array]:
    """A dense cube sphere: vertices, quads."""
    s = np.linspace(-1, 1, rings + 1)
    verts, quads = [], []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = np.meshgrid(np.tan(s * np.pi / 4), np.tan(s * np.pi / 4), indexing="ij")
            p = np.stack([np.full_like(u, sign), u, v * sign], -1).reshape(-1, 3)
            p = np.roll(p, axis, 1)
            grid = np.arange((rings + 1) ** 2).reshape(rings + 1, rings + 1) + sum(
                len(x) for x in verts
            )
            quads.append(
                np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(
                    -1, 4
                )
            )
            verts.append(p / np.linalg.norm(p, axis=1, keepdims=True))
    return centre + radius * np.concatenate(verts), np.concatenate(quads)


def build() -> tuple[bpy.types.Object, list[bpy.types.Object]]:
    """Makes the creature in the current scene: its armature and its meshes (one), bound and
    coloured."""
    low, high = np.array([-0.72, -0.27, -0.03]), np.array([0.58, 0.27, 1.0])
    vertices, quads = surface_nets(union(BODY), low, high, VOXEL)
    weight = weights(vertices, quads)
    colour, pattern = coat.paint(vertices, BODY)
    material = np.zeros(len(quads), np.int32)
    nose = NOSE.distance
    parts = [(_sphere(EYE_CENTRE * [1, s, 1], EYE_RADIUS), 1) for s in (1, -1)]
    parts.append(
        (surface_nets(nose, np.array([0.47, -0.05, 0.60]), np.array([0.56, 0.05, 0.68]), 0.004), 2)
    )
    for (v, q), slot in parts:
        quads = np.concatenate([quads, q + len(vertices)])
        vertices = np.concatenate([vertices, v])
        weight = np.concatenate([weight, np.tile(np.eye(len(BONES))[INDEX["head"]], (len(v), 1))])
        colour = np.concatenate([colour, np.zeros((len(v), 3))])
        pattern = np.concatenate([pattern, np.zeros((len(v), 3))])
        material = np.concatenate([material, np.full(len(q), slot, np.int32)])

    mesh = bpy.data.meshes.new("creature")
    mesh.from_pydata(vertices, [], quads.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(quads), bool))
    mesh.polygons.foreach_set("material_index", material)
    for name, values in (("rest", vertices), ("coat", colour), ("pattern", pattern)):
        mesh.attributes.new(name, "FLOAT_VECTOR", "POINT").data.foreach_set(
            "vector", values.astype(np.float32).ravel()
        )
    for m in (coat.fur(), coat.eye(EYE_CENTRE), coat.nose()):
        mesh.materials.append(m)
    body = bpy.data.objects.new("creature", mesh)
    bpy.context.collection.objects.link(body)
    rig = _armature()
    for i, bone in enumerate(BONES):
        group, share = body.vertex_groups.new(name=bone.name), np.round(weight[:, i], 3)
        for w in np.unique(share[share > 0]):
            group.add(np.flatnonzero(share == w).tolist(), float(w), "REPLACE")
    body.parent = rig
    body.modifiers.new("Armature", "ARMATURE").object = rig
    return rig, [body]


def _armature() -> bpy.types.Object:
    data = bpy.data.armatures.new("creature_rig")
    rig = bpy.data.objects.new("creature_rig", data)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone, head, tail in zip(BONES, HEADS, TAILS, strict=True):
        edit = data.edit_bones.new(bone.name)
        edit.head, edit.tail = head, tail
        if bone.parent:
            edit.parent = data.edit_bones[bone.parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig
