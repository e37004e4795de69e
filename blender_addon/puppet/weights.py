# SPDX-License-Identifier: GPL-3.0-or-later
"""From points to bones and back: which bases move a selection, which points a bone moves, and
weights changed by hand."""

from collections.abc import Iterable
from typing import Any, cast

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.puppet import F32
from restage4d.se3 import Array

from .. import compat
from ..session.steps import Steps, in_thread
from ..skeleton import build as body_rig
from . import (
    attributes,
    importer,
    regions,
    rig,
)
from .nodes import node_groups

MOST = 8  # influences a point can have


def find_bases(
    armature: bpy.types.Object, chosen: Iterable[bpy.types.PoseBone]
) -> NDArray[np.bool_]:  # -> (K,)
    """The bases that some pose bones move: a basis' bone its own, a handle those of its region."""
    region = rig.region_of_bases(armature)
    out = np.zeros(len(region), bool)
    for posed in chosen:
        bone = posed.bone
        if rig.BASIS in bone:
            out[bone[rig.BASIS]] = True
        elif body_rig.PART in bone and bone.get(rig.REGION) != rig.WHOLE:
            continue  # a skeleton's bone moves points, see `compute_shares`
        elif bone.get(rig.REGION) == rig.WHOLE:
            out[:] = True
        elif rig.REGION in bone:
            out |= region == bone[rig.REGION]
    return out


def find_selected_bones(armature: bpy.types.Object) -> list[bpy.types.PoseBone]:
    """The selected pose bones."""
    return [posed for posed in armature.pose.bones if compat.is_bone_selected(posed)]


def compute_shares(imported: importer.ImportedPuppet) -> F32:  # -> (N,)
    """How much the selected bones move each point: bases by their coefficients, a skeleton's bones
    by their skin weights."""
    chosen = find_selected_bones(imported.armature)
    mesh = attributes.get_mesh(imported.points)
    share = attributes.read_weights(mesh, find_bases(imported.armature, chosen))
    skin = body_rig.read_skin(mesh)
    if skin is not None:
        mine = [posed.name in {p.name for p in chosen} for posed in _list_controls(imported)]
        share = np.maximum(share, np.where(np.array(mine)[skin[0]], skin[1], 0).sum(1))
    return share.astype(np.float32)


def _list_controls(imported: importer.ImportedPuppet) -> list[bpy.types.PoseBone]:
    bones = imported.armature.pose.bones
    return [bones[name] for name in body_rig.list_bones(imported.armature)]


def select_control(imported: importer.ImportedPuppet, point: int, *, extend: bool) -> str:
    """Selects the skeleton's control that moves a point most; its name, "" without a skeleton."""
    with attributes.reading_mesh(imported.points) as mesh:
        skin = body_rig.read_skin(mesh)
    if skin is None:
        return ""
    enter(imported.armature, "POSE")
    wanted = _list_controls(imported)[int(skin[0][point, skin[1][point].argmax()])]
    for posed in imported.armature.pose.bones:
        if posed == wanted or not extend:
            compat.select_bone(posed, posed == wanted)
    for collection in wanted.bone.collections:
        collection.is_visible = True
    rig.get_armature(imported.armature).bones.active = wanted.bone
    return wanted.name


def show_weights(imported: importer.ImportedPuppet) -> bool:
    """Writes the weights of the selected bones for the display; False where they are there already
    or points are being edited."""
    if imported.points.mode == "EDIT":
        return False
    mesh = attributes.get_mesh(imported.points)
    key = ",".join(posed.name for posed in find_selected_bones(imported.armature))
    if mesh.get("restage4d_shown") == key and attributes.WEIGHT in mesh.attributes:
        return False
    mesh["restage4d_shown"] = key
    attributes.write_weights(mesh, compute_shares(imported))
    return True


def find_selected_points(points: bpy.types.Object) -> NDArray[np.bool_]:  # -> (N,)
    """The selected vertices; leaves edit mode, in which Blender does not tell a mesh's
    attributes."""
    enter(points, "OBJECT")
    out = np.empty(len(attributes.get_mesh(points).vertices), bool)
    attributes.get_mesh(points).vertices.foreach_get("select", out)
    return out


def sum_shares(
    index: NDArray[np.integer], weight: F32, n_bases: int
) -> Array:  # (..., M), (..., M) -> (K,)
    """How much each basis moves some points, in all."""
    return np.bincount(index.ravel(), weight.ravel(), minlength=n_bases).astype(np.float64)


def select_bones(
    imported: importer.ImportedPuppet,
    share: Array,
    least: float,
    *,
    handles: bool,
    extend: bool = False,
) -> int:
    """Selects the bones that move something, in pose mode; returns how many bases that are.

    Args:
        share: (K,) how much each basis moves it; those with ``least`` of the largest are meant.
        handles: selects the handles of the bases' regions instead of the bases' own bones.
        extend: keeps what is selected.
    """
    armature = imported.armature
    enter(armature, "POSE")
    wanted = (share >= least * share.max()) & (share > 0)
    regions = set(rig.region_of_bases(armature)[wanted].tolist())
    names, strongest = rig.bone_names(armature), int(share.argmax())
    for posed in armature.pose.bones:
        bone = posed.bone
        if handles:
            mine = bone.get(rig.ROLE) == rig.CONTROL and bone[rig.REGION] in regions
            first = mine and bone[rig.REGION] == rig.region_of_bases(armature)[strongest]
        else:
            mine, first = (
                rig.BASIS in bone and bool(wanted[bone[rig.BASIS]]),
                bone.name == names[strongest],
            )
        if mine:
            compat.show_bone(posed)
            for collection in bone.collections:
                collection.is_visible = True
        if mine or not extend:
            compat.select_bone(posed, mine)
        if first:
            rig.get_armature(armature).bones.active = bone
    return int(wanted.sum())


def select_points(imported: importer.ImportedPuppet, least: float) -> int:
    """Selects, in edit mode, the points that the selected bones move by at least ``least`` in all;
    returns how many."""
    enter(imported.points, "OBJECT")
    chosen = compute_shares(imported) >= least
    attributes.get_mesh(imported.points).vertices.foreach_set("select", chosen)
    enter(imported.points, "EDIT")
    return int(chosen.sum())


def enter(obj: bpy.types.Object, mode: Any) -> None:
    """Makes an object active, the only one selected, and goes to one of its modes."""
    layer = bpy.context.view_layer
    if layer.objects.active is not None and layer.objects.active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for other in bpy.context.selected_objects:
        other.select_set(False)
    obj.hide_set(False)
    obj.select_set(True)
    layer.objects.active = obj
    bpy.ops.object.mode_set(mode=mode)


def apply_groups_steps(imported: importer.ImportedPuppet) -> Steps[tuple[int, int]]:
    """Makes the vertex groups, as painted, what moves the points: of each the `MOST` largest,
    summing to 1.

    Points in no bone's group keep the influences they had. Returns how many points changed, and how
    many lost smaller weights.

    Raises:
        InputError: no vertex group has a bone's name.
    """
    points, mode = imported.points, imported.points.mode
    if mode != "OBJECT":
        enter(points, "OBJECT")
    names = rig.bone_names(imported.armature)
    basis = {
        group.index: names.index(group.name)
        for group in points.vertex_groups
        if group.name in names
    }
    if not basis:
        raise InputError(
            f"{points.name!r} has no vertex group of a bone's name.",
            "Write the weights to vertex groups first.",
        )
    rows, columns, values = [], [], []
    for i, vertex in enumerate(attributes.get_mesh(points).vertices):
        for g in vertex.groups:
            if g.weight > 0 and g.group in basis:
                rows.append(i)
                columns.append(basis[g.group])
                values.append(g.weight)
        if i % 1024 == 0:
            yield i, len(attributes.get_mesh(points).vertices)
    painted = np.array(rows, np.int64), np.array(columns, np.int64), np.array(values, np.float64)
    index, weight = attributes.read_influences(attributes.get_mesh(points))
    at = len(index), len(index)
    result = yield from in_thread(at, lambda: _apply_painted(index, weight, *painted, len(names)))
    new_index, new_weight, changed, cut = result
    of_basis = rig.region_of_bases(imported.armature)
    region = yield from in_thread(at, lambda: regions.of_points(new_index, new_weight, of_basis))
    _write_influences(imported, new_index, new_weight, region)
    if mode != "OBJECT":
        enter(points, mode)
    return changed, cut


def change_influences(
    imported: importer.ImportedPuppet, rows: NDArray[np.intp], coefs: Array
) -> None:  # (C,), (C, K)
    """Gives some points other coefficients, of each the `MOST` largest, and their vertex groups
    the same; the other points keep theirs to the bit."""
    mesh, names = attributes.get_mesh(imported.points), rig.bone_names(imported.armature)
    index, weight = attributes.read_influences(mesh)
    if not len(rows):
        return
    largest = np.argsort(-coefs, axis=1, kind="stable")[:, :MOST]
    values = np.take_along_axis(coefs, largest, 1)
    values /= np.maximum(values.sum(1, keepdims=True), 1e-12)
    used = max(int((values > 0).any(0).nonzero()[0].max()) + 1, index.shape[1])
    new_index, new_weight = np.zeros((len(index), used), np.uint16), np.zeros((len(index), used))
    new_index[:, : index.shape[1]], new_weight[:, : index.shape[1]] = index, weight
    new_index[rows], new_weight[rows] = 0, 0
    new_index[rows, : largest.shape[1]] = largest[:, :used]
    new_weight[rows, : largest.shape[1]] = values[:, :used]
    floats = new_weight.astype(np.float32)
    region = regions.of_points(new_index, floats, rig.region_of_bases(imported.armature))
    _write_influences(imported, new_index, floats, region)
    for _ in attributes.vertex_group_steps(imported.points, names, new_index, floats):
        pass


def _write_influences(
    imported: importer.ImportedPuppet,
    index: NDArray[np.uint16],
    weight: F32,
    region: NDArray[np.intp],
) -> None:
    """What moves the points, and all that hangs on it; more influences than before get a node tree
    of their own."""
    points, mesh = imported.points, attributes.get_mesh(imported.points)
    before = attributes.read_influences(mesh)[0].shape[1]
    attributes.write_influences(mesh, index, weight)
    if not body_rig.list_bones(imported.armature):  # a skeleton's regions are its bones'
        attributes.write_regions(mesh, region, rig.region_colors(imported.armature))
    mesh["restage4d_shown"] = ""
    if index.shape[1] > before:
        modifier = cast(bpy.types.NodesModifier, points.modifiers["Eq. 1"])
        modifier.node_group = node_groups.make_skinning(index.shape[1])
        compat.set_input(modifier, "Bases", imported.bases_frames)


def _apply_painted(
    index: NDArray[np.uint16],
    weight: F32,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    value: Array,
    k: int,
) -> tuple[NDArray[np.uint16], F32, int, int]:  # -> (N, M), (N, M)
    """Influences as painted (``value`` of basis ``column`` at point ``row``); how many points
    changed, and lost weights."""
    order = np.lexsort((column, -value, row))  # a point's largest first
    row, column, value = row[order], column[order], value[order]
    count = np.bincount(row, minlength=len(index))
    rank = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    kept = rank < MOST
    new_index, new_weight = np.zeros((len(index), MOST), np.uint16), np.zeros((len(index), MOST))
    new_index[row[kept], rank[kept]], new_weight[row[kept], rank[kept]] = column[kept], value[kept]
    none = count == 0
    new_index[none, : index.shape[1]], new_weight[none, : index.shape[1]] = (
        index[none],
        weight[none],
    )
    new_weight = (new_weight / new_weight.sum(1, keepdims=True)).astype(np.float32)
    before, after = (_dense(i, w, k) for i, w in ((index, weight), (new_index, new_weight)))
    changed = np.abs(before - after).max(1) > 1e-4
    new_index[~changed], new_weight[~changed] = 0, 0  # what was not touched stays to the bit
    new_index[~changed, : index.shape[1]], new_weight[~changed, : index.shape[1]] = (
        index[~changed],
        weight[~changed],
    )
    used = max(int((new_weight > 0).any(0).nonzero()[0].max()) + 1, index.shape[1])
    return new_index[:, :used], new_weight[:, :used], int(changed.sum()), int((count > MOST).sum())


def write_groups_steps(imported: importer.ImportedPuppet) -> Steps[None]:
    """Makes the vertex groups say what moves the points now; groups of other names stay."""
    names = rig.bone_names(imported.armature)
    for share in attributes.vertex_group_steps(
        imported.points, names, *attributes.read_influences(attributes.get_mesh(imported.points))
    ):
        yield round(100 * share), 100


def _dense(index: NDArray[np.integer], weight: F32, k: int) -> F32:  # (N, M), (N, M) -> (N, K)
    out = np.zeros((len(index), k), np.float32)
    for j in range(index.shape[1]):
        out[np.arange(len(index)), index[:, j]] += weight[:, j]
    return out


def pick(
    imported: importer.ImportedPuppet,
    depsgraph: bpy.types.Depsgraph,
    place: tuple[float, float],
    view: Matrix | Array,
    size: tuple[int, int],
) -> int:
    """The splat that one sees at a place of a picture, -1 for none: the nearest within 8 pixels
    that is not nearly clear.

    Args:
        place: pixels from the lower left.
        view: (4, 4) world to clip space.
        size: (width, height) of the picture.
    """
    with attributes.reading_mesh(imported.points.evaluated_get(depsgraph)) as mesh:
        means = attributes.read_attribute(mesh, "position", "vector", 3)
        opacities = attributes.read_attribute(mesh, "opacity", "value", 1)
    world = np.array(imported.points.matrix_world, np.float64)
    means = means @ world[:3, :3].T + world[:3, 3]
    M = np.array(view, np.float64)
    clip = means @ M[:, :3].T + M[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (clip[:, :2] / clip[:, 3:] * 0.5 + 0.5) * size
        near = (np.hypot(*(pixels - place).T) < 8) & (clip[:, 3] > 0)
    near &= opacities > 0.3
    found = np.flatnonzero(near)
    return int(found[clip[found, 2].argmin()]) if len(found) else -1
