# SPDX-License-Identifier: GPL-3.0-or-later
"""One bone per motion basis, keyframed; handles per region; the helper mesh through which the
points' nodes read the bones.

Basis k carries canonical points to the world: ``x = T_k μ``. Bone k rests at ``B_k`` where its
points are, and its evaluated pose matrix is ``T_k B_k``, so that "pose x inverse rest", what
skinning applies, is the basis itself.

Above the bases stand handles for the artist: one for the whole subject and one per region. A
*follower* bone is keyed with the group's mean motion ``G``; its child, the *control*, has no keys
  and is the artist's; the group's bases hang on the control with
keys of the motion left over, ``G^-1 T_k``. So an untouched control changes nothing (pose = ``T_k
B_k`` exactly), and a moved one moves its region rigidly about the place where the region is at that
frame. Every bone's keys hold its pose relative to rest, ``B^-1 (motion of the parent's group)^-1
(own motion) B``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import bmesh
import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import F32, Performance, Puppet
from restage4d.se3 import Array

from . import bone_curves, regions
from .bone_curves import WHOLE
from .in_scene import shot_root

ORTHONORMAL = 1e-3  # how far a basis may be from a rotation
BASIS = "restage4d_basis"  # a bone's custom property: which basis it is; names may change
REGION = "restage4d_region"  # a bone's: its region; `motions.WHOLE` for the whole subject's handle
ROLE = "restage4d_role"  # a handle bone's: FOLLOWER or CONTROL
TOTAL = "restage4d_total"  # a basis bone's: the sum of its coefficients
COUNT = "restage4d_bases"  # the armature's: how many there are
TOGETHER = 64  # bones made in one step
MANY = 24  # with more bases than this only the handles show at first
FOLLOWER, CONTROL = "follower", "control"
CONTROLS, FOLLOWERS = "Controls", "Followers"  # bone collections beside those of the regions


def check_bases(performance: Performance) -> None:
    """Raises `InputError` if a basis is not a rotation: a bone cannot hold it, and Eq. 1 blends
    what the bones hold."""
    error = measure_deviation(performance.bases)
    if error.max() > ORTHONORMAL:
        k, frame = np.unravel_index(error.argmax(), error.shape)
        raise InputError(
            f"Basis {k} of performance {performance.name!r} is no rotation at frame {frame} (off "
            f"by {error.max():.2g}).",
            "Orthonormalise the bases (restage4d.se3.gram_schmidt and pack) and save the puppet "
            "again.",
        )


def measure_deviation(bases: Array) -> Array:  # (..., 9) -> (...)
    """How far the first two columns are from orthonormal: the largest fault of lengths and of the
    angle between them."""
    a, b = bases[..., :3], bases[..., 3:6]
    faults = [np.linalg.norm(a, axis=-1) - 1, np.linalg.norm(b, axis=-1) - 1, (a * b).sum(-1)]
    return np.abs(np.stack(faults)).max(0)


@dataclass(frozen=True)
class Bone:
    """A bone at rest: along +Y, so that its axes are the world's, unless it has a ``tail`` and an
    ``x_axis`` square to it. ``about`` are its custom properties."""

    name: str
    head: Array  # (3,)
    length: float
    parent: str | None
    about: dict[str, Any]
    tail: Array | None = None
    x_axis: Array | None = None


@dataclass(frozen=True)
class Plan:
    """What an armature is made of; the whole subject's handle is a ring, ``ground`` above its
    middle."""

    bones: list[Bone]
    found: regions.Regions
    ground: float


def plan(puppet: Puppet) -> Plan:
    """Bones where their points are, below a handle per region and one for the whole subject. Needs
    no Blender."""
    found = regions.find_regions(puppet)
    means = puppet.subject.means
    least = find_least_length(puppet)
    bones: list[Bone] = []

    def bone(
        label: str, head: Array, length: float, parent: str | None, about: dict[str, Any]
    ) -> str:
        bones.append(Bone(label, head, max(float(length), least), parent, about))
        return label

    def handle(label: str, head: Array, length: float, parent: str | None, region: int) -> str:
        follower = bone(
            f"{label} follows", head, 0.3 * length, parent, {REGION: region, ROLE: FOLLOWER}
        )
        return bone(label, head, length, follower, {REGION: region, ROLE: CONTROL})

    middle, around = find_middle(puppet, found)
    top = handle("whole", middle, around, None, WHOLE)
    controls = [
        handle(*x, top, r)
        for r, x in enumerate(zip(found.names, found.middle, found.reach, strict=True))
    ]
    bones += plan_bases(found, [controls[region] for region in found.of_basis.tolist()], least)
    return Plan(bones, found, float(np.quantile(means[:, 2], 0.01) - middle[2]))


def plan_bases(found: regions.Regions, parents: Sequence[str | None], least: float) -> list[Bone]:
    """The bones of the motion bases."""
    digits = len(str(len(parents) - 1))
    return [
        Bone(
            f"basis_{k:0{digits}d}",
            found.centre[k],
            max(0.5 * float(found.spread[k]), least),
            parent,
            {BASIS: k, REGION: int(found.of_basis[k]), TOTAL: float(found.total[k])},
        )
        for k, parent in enumerate(parents)
    ]


def find_middle(puppet: Puppet, found: regions.Regions) -> tuple[Array, float]:
    """(3,) the middle of all points, and how far they reach around it."""
    middle = np.average(found.centre, axis=0, weights=np.maximum(found.total, 1e-12))
    away = np.linalg.norm(puppet.subject.means[:, :2] - middle[:2], axis=1)
    return middle, float(np.quantile(away, 0.95))


def find_least_length(puppet: Puppet) -> float:
    """Of a bone, so that none is lost in Edit Mode."""
    return 0.01 * float(np.linalg.norm(np.ptp(puppet.subject.means, axis=0))) + 1e-4


def add_bones(obj: bpy.types.Object, some: list[Bone]) -> None:
    """Adds bones to an armature object that is in the view layer; their parents are there or among
    them."""
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        bones = get_armature(obj).edit_bones
        for planned in some:
            made, head = bones.new(planned.name), planned.head.tolist()
            made.head, made.tail = head, (head[0], head[1] + planned.length, head[2])
            if planned.tail is not None and planned.x_axis is not None:
                made.tail = planned.tail.tolist()
                made.align_roll(np.cross(planned.x_axis, planned.tail - planned.head).tolist())
            made.parent = bones[planned.parent] if planned.parent else None
            for key, value in planned.about.items():
                made[key] = value
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")


def armature_steps(
    name: str, bones: list[Bone], count: int, collection: bpy.types.Collection
) -> Iterator[Any]:
    """Builds the armature of a puppet of ``count`` bases at rest, some bones at a time; yields its
    object after each step."""
    armature = bpy.data.armatures.new(f"{name} bases")
    armature.display_type = "STICK"
    armature.show_bone_colors = True
    obj = bpy.data.objects.new(f"{name} bases", armature)
    obj.show_in_front = True
    collection.objects.link(obj)
    yield obj
    for i in range(0, len(bones), TOGETHER):
        add_bones(obj, bones[i : i + TOGETHER])
        yield obj
    armature[COUNT] = count


def dress(obj: bpy.types.Object, planned: Plan) -> Iterator[None]:
    """Collections, colours and shapes of the bones, see `Plan`; yields after each bone.

    Bone collections: "Controls" with the handles, one per region with its bases (hidden at first
    where there are more than `MANY`), and, hidden, "Followers".
    """
    found, ground = planned.found, planned.ground
    armature = get_armature(obj)
    controls, followers = (armature.collections.new(label) for label in (CONTROLS, FOLLOWERS))
    of_region = [armature.collections.new(label) for label in found.names]
    followers.is_visible = False
    for collection in of_region:
        collection.is_visible = len(found.of_basis) <= MANY
    ring, ball, diamond = (make_shape(name) for name in SHAPES)
    for posed in obj.pose.bones:
        bone, region = posed.bone, posed.bone[REGION]
        posed.rotation_mode = "QUATERNION"
        posed.lock_scale = (True, True, True)  # a scaled bone is no rigid motion any more
        role = bone.get(ROLE)
        {CONTROL: controls, FOLLOWER: followers}.get(role, of_region[region]).assign(bone)
        color = (1.0, 1.0, 1.0) if region == WHOLE else tuple(found.colors[region])
        paint_bone(bone, tuple(0.8 * c for c in color) if role is None else color)
        shape = diamond if role is None else ring if region == WHOLE else ball
        shape_bone(posed, shape, bone.length * (0.5 if role is None else 1.0))
        if region == WHOLE:
            posed.custom_shape_translation = (0.0, 0.0, ground)
        posed.custom_shape_wire_width = 1.0 if role is None else 2.0
        yield


def paint_bone(bone: bpy.types.Bone, color: tuple[float, ...]) -> None:
    """Gives a bone an sRGB colour of its own; selected it is paler."""
    bone.color.palette = "CUSTOM"
    bone.color.custom.normal = color
    bone.color.custom.select = tuple(0.5 + 0.5 * c for c in color)
    bone.color.custom.active = (1.0, 1.0, 1.0)


def shape_bone(posed: bpy.types.PoseBone, shape: Any, radius: float) -> None:
    """Draws a bone as one of `SHAPES`, of that radius."""
    posed.custom_shape = shape
    posed.use_custom_shape_bone_size = False
    posed.custom_shape_scale_xyz = (radius,) * 3


def make_shape(name: str) -> Any:
    """A wire object of radius 1 that bones are drawn as; it is in no collection and travels with
    the armature."""
    obj = bpy.data.objects.get(name)
    if obj is None:
        mesh = bpy.data.meshes.new(name)
        bm = bmesh.new()
        try:
            SHAPES[name](bm)
            bm.to_mesh(mesh)
        finally:
            bm.free()
        obj = bpy.data.objects.new(name, mesh)
        # Appending puts it into the scene, where it would be a wire at the origin.
        obj.hide_viewport = obj.hide_render = obj.hide_select = True
    return obj


def _ring(bm: bmesh.types.BMesh) -> None:
    """A circle about the z axis."""
    _circles(bm, (2,))


def _ball(bm: bmesh.types.BMesh) -> None:
    """Three circles, one about each axis."""
    _circles(bm, (0, 1, 2))


def _circles(bm: bmesh.types.BMesh, axes: tuple[int, ...]) -> None:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    for axis in axes:
        places = np.roll(np.stack([np.zeros(32), np.cos(angle), np.sin(angle)], 1), axis, axis=1)
        ring = [bm.verts.new(place) for place in places]
        for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
            bm.edges.new((a, b))


def _diamond(bm: bmesh.types.BMesh) -> None:
    """An octahedron."""
    corners = [bm.verts.new(place) for place in np.concatenate([np.eye(3), -np.eye(3)])]
    for i in range(6):
        for j in range(i + 1, 6):
            if j != i + 3:
                bm.edges.new((corners[i], corners[j]))


SHAPES = {"Restage4D Root": _ring, "Restage4D Handle": _ball, "Restage4D Basis": _diamond}


def get_armature(obj: bpy.types.Object) -> bpy.types.Armature:
    return cast(bpy.types.Armature, obj.data)


def bone_names(obj: bpy.types.Object) -> list[str]:
    """The bones' names in the order of the bases, whatever the artist renamed, added or reordered.

    Raises:
        InputError: a bone of the puppet was deleted.
    """
    found = {bone[BASIS]: bone.name for bone in get_armature(obj).bones if BASIS in bone}
    missing = sorted(set(range(get_armature(obj)[COUNT])) - set(found))
    if missing:
        raise InputError(
            f"{obj.name!r} lost the bones of bases {missing}.",
            "Undo their deletion or import the puppet again.",
        )
    return [found[k] for k in range(len(found))]


def region_of_bases(obj: bpy.types.Object) -> NDArray[np.intp]:  # (K,)
    """Which region each basis belongs to, as the bones say."""
    return np.array([get_armature(obj).bones[name][REGION] for name in bone_names(obj)])


def read_skeleton(obj: bpy.types.Object) -> bone_curves.Skeleton:
    """What the armature's bones are keyed by."""
    bones, names = get_armature(obj).bones, bone_names(obj)
    followers = {bone[REGION]: bone.name for bone in bones if bone.get(ROLE) == FOLLOWER}
    return bone_curves.Skeleton(
        names=names,
        region=np.array([bones[name][REGION] for name in names]),
        total=np.array([bones[name][TOTAL] for name in names]),
        followers=followers,
        rest={
            name: np.array(bones[name].matrix_local, np.float64)
            for name in (*names, *followers.values())
        },
    )


def region_colors(obj: bpy.types.Object) -> F32:  # (R, 3) sRGB
    """The colours of the regions' controls, whatever the artist made of them; white where one was
    deleted."""
    bones = get_armature(obj).bones
    last = max(bone.get(REGION, WHOLE) for bone in bones)
    colors = np.ones((last + 1, 3), np.float32)
    for bone in bones:
        if bone.get(ROLE) == CONTROL and bone[REGION] != WHOLE:
            color = bone.color.custom.normal
            colors[bone[REGION]] = color.r, color.g, color.b
    return colors


def rest_matrices(obj: bpy.types.Object, names: list[str]) -> Array:  # (K, 4, 4)
    """The bones' rest matrices in armature space."""
    return np.array([get_armature(obj).bones[name].matrix_local for name in names], np.float64)


def add_bases_frames(
    name: str, armature: bpy.types.Object, collection: bpy.types.Collection
) -> Any:
    """The helper mesh: per basis three vertices 0, e0, e1, moved by its bone alone (row 3k + c is
    vertex c of basis k)."""
    names = bone_names(armature)
    mesh = bpy.data.meshes.new(f"{name} frames")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)] * len(names), [], [])
    obj = bpy.data.objects.new(f"{name} frames", mesh)
    for k, bone in enumerate(names):
        obj.vertex_groups.new(name=bone).add([3 * k, 3 * k + 1, 3 * k + 2], 1.0, "REPLACE")
    modifier: Any = obj.modifiers.new("Armature", "ARMATURE")
    modifier.object = armature
    obj.parent = armature
    obj.hide_render = obj.hide_select = True
    collection.objects.link(obj)
    obj.hide_viewport = True  # still evaluated, since the points read it
    return obj


def read_bases(
    armature: bpy.types.Object, names: list[str], inverse_rest: Array
) -> tuple[Array, float]:  # -> (K, 9), size
    """The bases that the bones hold now, in the world, and how many times larger the armature
    makes the puppet there; ``armature`` must be evaluated.

    They carry means and σ that were made larger by that, too. Columns as they are: a scaled bone
    gives columns that are not of unit length (see `measure_deviation`).

    Raises:
        InputError: the armature is stretched or mirrored.
    """
    pose = np.array([armature.pose.bones[name].matrix for name in names], np.float64)
    world = np.array(armature.matrix_world, np.float64)
    size = shot_root.find_size(world, repr(armature.name))
    T = world @ pose @ inverse_rest
    return se3.pack(T[:, :3, :3] / size, T[:, :3, 3]), size
