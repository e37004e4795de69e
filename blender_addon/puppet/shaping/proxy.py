# SPDX-License-Identifier: GPL-3.0-or-later
"""A closed mesh that moves as the points do: it takes weight painting, casts shadows, collides, is
clicked on, and its skin leaves Blender.

*Eq. 1* and, after it, *Skeleton* are the points' own modifiers and exact; *Armature* is plain
linear skinning of the bases' weights, which exporters know, and is off until it is wanted.
"""

from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.posing import surface
from restage4d.puppet import F32
from restage4d.se3 import Array

from ... import compat
from ...skeleton import build as body_rig
from .. import attributes, importer, rig, weights
from ..nodes import node_tree
from . import influences

KEY = "restage4d_proxy"  # the armature's: the mesh object
EXACT, SKIN = "Eq. 1", "Armature"  # its modifiers


def find_proxy(armature: bpy.types.Object) -> bpy.types.Object | None:
    """The mesh of a puppet, None where there is none."""
    found = armature.get(KEY)
    return found if isinstance(found, bpy.types.Object) and found.users_scene else None


def make_proxy(imported: importer.ImportedPuppet, *, faces: int, gap: int) -> bpy.types.Object:
    """Makes the mesh, or makes it anew; see `restage4d.posing.surface.close_surface`.

    Raises:
        InputError: the puppet is hardly dense anywhere, or its points are being edited.
    """
    names = rig.bone_names(imported.armature)
    with attributes.reading_mesh(imported.points) as mesh:
        subject = attributes.read_gaussians(mesh)
        index, weight = attributes.read_influences(mesh)
    vertices, quads = surface.close_surface(subject, faces=faces, gap=gap)
    dense = subject.opacities >= 0.3
    coefs = influences.spread(index[dense], weight[dense], len(names))
    own = influences.take_from_points(vertices, subject.means[dense], coefs)
    mine = influences.gather(own, index.shape[1])
    obj = _make_object(imported, vertices.astype(np.float32), quads.tolist())
    attributes.write_influences(attributes.get_mesh(obj), *mine)
    for _ in attributes.vertex_group_steps(obj, names, *mine):
        pass
    _follow_skeleton(imported, obj, vertices, subject.means[dense], dense)
    return obj


def _follow_skeleton(
    imported: importer.ImportedPuppet,
    obj: bpy.types.Object,
    vertices: Array,
    means: F32,
    dense: NDArray[np.bool_],
) -> None:
    """What a skeleton is posed to carries the mesh on as it does the points; a rig without one, or
    one found anew, is met too."""
    shown = obj.modifiers.get(body_rig.MODIFIER)
    if shown is not None:
        obj.modifiers.remove(shown)
    skin = body_rig.read_skin(attributes.get_mesh(imported.points))
    carrying = imported.points.modifiers.get(body_rig.MODIFIER)
    if skin is None or carrying is None:
        return
    count = len(body_rig.list_bones(imported.armature))
    coefs = influences.spread(skin[0][dense], skin[1][dense], count)
    own = influences.take_from_points(vertices, means, coefs)
    body_rig.write_skin(attributes.get_mesh(obj), *influences.gather(own, skin[0].shape[1]))
    tree = cast(bpy.types.NodesModifier, carrying).node_group
    modifier = node_tree.add_modifier(obj, body_rig.MODIFIER, cast(bpy.types.NodeTree, tree))
    compat.set_input(modifier, "Changes", compat.get_input(carrying, "Changes"))
    last = len(obj.modifiers) - 1
    with bpy.context.temp_override(object=obj):
        obj.modifiers.move(last, [m.name for m in obj.modifiers].index(EXACT) + 1)


def _make_object(
    imported: importer.ImportedPuppet, vertices: F32, quads: list[list[int]]
) -> bpy.types.Object:
    name = imported.points.name.removesuffix(" points") + " proxy"
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices.tolist(), [], quads)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(quads), bool))
    obj = find_proxy(imported.armature)
    if obj is not None:
        old = attributes.get_mesh(obj)
        obj.vertex_groups.clear()
        obj.data = mesh
        if old.users == 0:
            bpy.data.meshes.remove(old)
        return obj
    obj = bpy.data.objects.new(name, mesh)
    obj.parent = imported.armature
    obj.display_type = "BOUNDS"  # wires would cover the splats; painting shows its faces
    home = next(iter(imported.points.users_collection), bpy.context.scene.collection)
    home.objects.link(obj)
    tree = cast(bpy.types.NodesModifier, imported.points.modifiers[EXACT]).node_group
    exact = node_tree.add_modifier(obj, EXACT, cast(bpy.types.NodeTree, tree))
    compat.set_input(exact, "Bases", imported.bases_frames)
    skin: Any = obj.modifiers.new(SKIN, "ARMATURE")
    skin.object = imported.armature
    imported.armature[KEY] = obj
    return obj


def set_skin(obj: bpy.types.Object, *, plain: bool) -> None:
    """Moves the mesh by plain linear skinning, which exporters know, or exactly as the points."""
    for name, used in ((EXACT, not plain), (SKIN, plain), (body_rig.MODIFIER, not plain)):
        modifier = obj.modifiers.get(name)
        if modifier is None and name == body_rig.MODIFIER:
            continue  # a puppet without a skeleton
        if modifier is None:
            raise InputError(f"{obj.name!r} lost its modifier {name!r}.", "Make the mesh again.")
        modifier.show_viewport = modifier.show_render = used


def set_shadows(obj: bpy.types.Object, *, only: bool) -> None:
    """Whether a render sees nothing of the mesh but its shadow."""
    for name in ("camera", "diffuse", "glossy", "transmission", "volume_scatter"):
        setattr(obj, f"visible_{name}", not only)
    obj.visible_shadow = True


def set_collision(obj: bpy.types.Object, *, used: bool) -> None:
    """Whether cloth and particles meet the mesh."""
    found = next((m for m in obj.modifiers if m.type == "COLLISION"), None)
    if used and found is None:
        obj.modifiers.new("Collision", "COLLISION")
    elif not used and found is not None:
        obj.modifiers.remove(found)


def add_catcher(imported: importer.ImportedPuppet, low: float) -> bpy.types.Object:
    """A plane below the puppet that shows nothing but shadows (Cycles)."""
    middle = np.median(
        attributes.read_attribute(attributes.get_mesh(imported.points), "position", "vector", 3),
        axis=0,
    )
    reach = 3 * float(imported.points.dimensions.length) or 3.0
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * reach
    name = imported.points.name.removesuffix(" points") + " shadow catcher"
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata((corners + np.array([*middle[:2], low])).tolist(), [], [[0, 1, 2, 3]])
    obj = bpy.data.objects.new(name, mesh)
    obj.is_shadow_catcher = True
    obj.display_type = "BOUNDS"
    obj.parent = imported.armature
    home = next(iter(imported.points.users_collection), bpy.context.scene.collection)
    home.objects.link(obj)
    return obj


def read_painted(imported: importer.ImportedPuppet, obj: bpy.types.Object) -> Array:  # (V, K)
    """The mesh's coefficients as its vertex groups say, summing to 1; of a vertex in no bone's
    group, those it had."""
    names = rig.bone_names(imported.armature)
    basis = {g.index: names.index(g.name) for g in obj.vertex_groups if g.name in names}
    if not basis:
        raise InputError(f"{obj.name!r} has no vertex group of a bone's name.", "Make it again.")
    mesh = attributes.get_mesh(obj)
    out = np.zeros((len(mesh.vertices), len(names)))
    for i, vertex in enumerate(mesh.vertices):
        for g in vertex.groups:
            if g.group in basis:
                out[i, basis[g.group]] = g.weight
    none = out.sum(1) <= 0
    index, weight = attributes.read_influences(mesh)
    out[none] = influences.spread(index[none], weight[none], len(names))
    return out / out.sum(1, keepdims=True)


def apply_painting(imported: importer.ImportedPuppet, obj: bpy.types.Object) -> int:
    """Gives the points what was painted on the mesh since it was made or last applied; how many
    points changed."""
    mode = obj.mode
    if mode != "OBJECT":
        weights.enter(obj, "OBJECT")
    names, mesh = rig.bone_names(imported.armature), attributes.get_mesh(obj)
    index, weight = attributes.read_influences(mesh)
    painted = read_painted(imported, obj)
    places = attributes.read_attribute(mesh, "position", "vector", 3)
    before = influences.spread(index, weight, len(names))
    points = attributes.get_mesh(imported.points)
    own_index, own_weight = attributes.read_influences(points)
    means = attributes.read_attribute(points, "position", "vector", 3)
    coefs = influences.spread(own_index, own_weight, len(names))
    new, changed = influences.carry_painting(means, coefs, places, before, painted)
    weights.change_influences(imported, np.flatnonzero(changed), new[changed])
    attributes.write_influences(mesh, *influences.gather(painted, index.shape[1]))
    if mode != "OBJECT":
        weights.enter(obj, mode)
    return int(changed.sum())
