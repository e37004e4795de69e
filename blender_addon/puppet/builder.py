# SPDX-License-Identifier: GPL-3.0-or-later
"""The data-blocks of a puppet, made in small steps; ended early, they are taken back.

What needs no Blender is done in threads. Only the rig's collection is in the scene meanwhile (bones
are made in edit mode, which wants that), so that Blender has nothing to evaluate between two steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.puppet import Gaussians, Puppet
from restage4d.puppet.validity import check
from restage4d.skeleton.finding import find_skeleton

from .. import compat
from ..session.steps import Steps, in_thread
from ..skeleton import build as body_rig
from ..skeleton.plan import BodyPlan, compute_channels, find_few, list_own_places, list_soles
from . import (
    actions,
    attributes,
    bone_curves,
    camera,
    regions,
    rig,
)
from .in_scene import shot_root
from .nodes import native_splats, node_groups, node_tree

# Percent of the whole when each part begins; about what they take.
_BONES, _POINTS, _GROUPS, _TREES, _KEYS, _SHOWN = 15, 25, 30, 60, 68, 95


@dataclass(frozen=True)
class Ready:
    """What is computed before anything is built.

    Attributes:
        plan: of the armature with a handle per region; None where the puppet has a skeleton.
        body: of the armature with a skeleton; None where none was found.
        region: (N,) of each point: the region, or the skeleton's bone, that moves it most.
        reach: how far anything is from any camera, at most.
    """

    plan: rig.Plan | None
    body: BodyPlan | None
    region: NDArray[np.intp]
    reach: float


@dataclass
class Parts:
    """What was made so far. ``collections`` are "subject", "rig", "background" and "camera" below
    ``top``."""

    top: bpy.types.Collection
    collections: dict[str, bpy.types.Collection]
    root: Any = None  # these are objects once they are made
    armature: Any = None
    points: Any = None
    frames: Any = None
    splats: Any = None
    background: Any = None
    background_splats: Any = None
    camera: Any = None
    actions: dict[str, bpy.types.Action] = field(default_factory=dict)  # by performance
    footage: dict[str, bpy.types.Image] = field(default_factory=dict)  # images, by performance
    trees: list[bpy.types.NodeTree] = field(default_factory=list)


def prepare(puppet: Puppet, name: str) -> Ready:
    """Checks the puppet and computes what needs no Blender. Raises `InputError`."""
    check(puppet, f"the puppet {name!r}")
    for p in puppet.performances:
        rig.check_bases(p)
    skeleton = find_skeleton(puppet)
    if skeleton is not None:
        region = skeleton.index[:, 0].astype(np.intp)
        return Ready(None, body_rig.plan(puppet, skeleton), region, _reach(puppet))
    plan = rig.plan(puppet)
    region = regions.of_points(puppet.index, puppet.weight, plan.found.of_basis)
    return Ready(plan, None, region, _reach(puppet))


def build_steps(
    puppet: Puppet,
    ready: Ready,
    name: str,
    footage: dict[str, list[Path]],
    parent: bpy.types.Collection,
    *,
    shown: bool,
) -> Steps[Parts]:
    """Everything of the puppet below a new collection in ``parent``; what moves and what shows are
    linked at the end.

    ``footage`` are files by performance; ``shown`` tells whether the display objects show in
    viewports.
    """
    top = bpy.data.collections.new(f"Restage4D {name}")
    parts = Parts(
        top,
        {
            part: bpy.data.collections.new(f"{name} {part}")
            for part in ("subject", "rig", "background", "camera")
        },
    )
    active = bpy.context.view_layer.objects.active
    try:
        parent.children.link(top)
        top.children.link(parts.collections["rig"])
        yield _BONES, 100
        yield from _build(parts, puppet, ready, name, footage, shown)
        top.children.unlink(parts.collections["rig"])
        for collection in parts.collections.values():
            top.children.link(collection)
    except BaseException:
        _take_back(parts)
        bpy.context.view_layer.objects.active = active
        raise
    return parts


def _build(
    parts: Parts,
    puppet: Puppet,
    ready: Ready,
    name: str,
    footage: dict[str, list[Path]],
    shown: bool,
) -> Steps[None]:
    plan = ready.plan or ready.body
    assert plan is not None
    collection = parts.collections["rig"]
    for armature in rig.armature_steps(name, plan.bones, puppet.n_bases, collection):
        parts.armature = armature
        yield _BONES, 100
    dressing = rig.dress(armature, ready.plan) if ready.plan else None
    if ready.body is not None:
        dressing = body_rig.dress(armature, ready.body)
    for _ in dressing or ():
        yield _BONES, 100
    parts.frames = rig.add_bases_frames(name, parts.armature, parts.collections["rig"])
    yield _POINTS, 100
    parts.points = add_points(
        f"{name} points", puppet.subject, parts.collections["subject"], parts.armature
    )
    yield _POINTS, 100
    names = rig.bone_names(parts.armature)
    for share in attributes.vertex_group_steps(parts.points, names, puppet.index, puppet.weight):
        yield _GROUPS + round(share * (_TREES - _GROUPS)), 100
    for work in _dress(parts.points, puppet, ready, parts.armature):
        work()
        yield _TREES, 100
    skinning = yield from _grow(parts, node_groups.skinning_steps(puppet.index.shape[1]))
    display = yield from _grow(parts, node_groups.display_steps())
    node_tree.mark_asset(skinning, "Moves Gaussians by the bones of a puppet, Eq. 1 of Restage4D")
    yield _TREES, 100
    node_tree.mark_asset(display, "Shows another object's Gaussians: points, ellipsoids or splats")
    yield _TREES, 100
    eq1 = node_tree.add_modifier(parts.points, "Eq. 1", skinning)
    yield _TREES, 100
    compat.set_input(eq1, "Bases", parts.frames)
    yield _TREES, 100
    if ready.body is not None:
        parts.trees += body_rig.add_changes(name, parts.armature, parts.points, collection)
        yield _TREES, 100
    parts.splats = add_display(
        f"{name} splats", parts.points, display, parts.collections["subject"], shown
    )
    yield _KEYS, 100
    if len(puppet.background):
        parts.background = add_points(
            f"{name} background points", puppet.background, parts.collections["background"], None
        )
        parts.background.hide_viewport = (
            True  # its box would frame everything; what shows it finds it all the same
        )
        yield _KEYS, 100
        attributes.write_gaussians(attributes.get_mesh(parts.background), puppet.background)
        shows = (f"{name} background", parts.background, display, parts.collections["background"])
        parts.background_splats = add_display(*shows, shown)
        yield _KEYS, 100
    parts.camera = camera.add_camera(
        name, puppet.performances, ready.reach, parts.collections["camera"]
    )
    above = parts.armature, parts.background, parts.camera
    parts.root = shot_root.add_root(name, 0.02 * ready.reach, parts.collections["rig"], *above)
    shot_root.follow_scale(parts.camera, parts.root)
    yield from _add_performances(parts, puppet, ready.body, name, footage)


def _add_performances(
    parts: Parts,
    puppet: Puppet,
    body: BodyPlan | None,
    name: str,
    footage: dict[str, list[Path]],
) -> Steps[None]:
    pose, lens = camera.find_motion(puppet.performances)
    first, count = puppet.performances[0], len(puppet.performances)
    if body is None:
        skeleton = rig.read_skeleton(parts.armature)
        compute = partial(bone_curves.channels, skeleton, near=first)
    else:
        rest = {b.name: np.array(b.matrix_local, np.float64) for b in parts.armature.data.bones}
        compute = partial(compute_channels, body, puppet, rest=rest)
    few = find_few(body.list_own()) if body is not None else {}
    places = list_own_places(body.skeleton, puppet.subject.means) if body is not None else {}
    soles = list_soles(body.skeleton) if body is not None else ()
    chain = actions.read_chain(parts.armature, few, places, soles)
    for i, p in enumerate(puppet.performances):
        at, after = ((_KEYS + (_SHOWN - _KEYS) * n // count, 100) for n in (i, i + 1))
        keys = yield from in_thread(at, partial(compute, p))
        action = parts.actions[p.name] = actions.add_action(f"{name} {p.name}", p.n_frames)
        actions.keep_bases(action, p.bases)
        thin = partial(actions.thin_keys, keys, chain)
        thinned = yield from in_thread(at, thin)
        for _ in actions.write_bones(action, parts.armature, keys, few, thinned):
            yield at
        camera.write_performance(action, parts.camera, p, pose=pose, lens=lens)
        if p.name in footage:
            parts.footage[p.name] = camera.add_footage(
                parts.camera, f"{name} {p.name}", footage[p.name], p.n_frames
            )
        yield after


def _grow(parts: Parts, growing: Iterator[bpy.types.NodeTree]) -> Steps[bpy.types.NodeTree]:
    """A node tree, part by part."""
    tree = next(growing)
    parts.trees.append(tree)
    yield _TREES, 100
    for _ in growing:
        yield _TREES, 100
    return tree


def _dress(
    points: bpy.types.Object, puppet: Puppet, ready: Ready, armature: bpy.types.Object
) -> list[Callable[[], None]]:
    """What gives the subject's points their attributes, in parts."""
    mesh = attributes.get_mesh(points)
    skin = (
        (ready.body.skeleton.index, ready.body.skeleton.weight) if ready.body is not None else None
    )
    return [
        lambda: attributes.write_gaussians(mesh, puppet.subject),
        lambda: attributes.write_rest(mesh, puppet.subject),
        lambda: attributes.write_influences(mesh, puppet.index, puppet.weight),
        lambda: attributes.write_regions(mesh, ready.region, rig.region_colors(armature)),
        *([lambda: body_rig.write_skin(mesh, *skin)] if skin is not None else []),
    ]


def add_points(
    name: str,
    gaussians: Gaussians,
    collection: bpy.types.Collection,
    parent: bpy.types.Object | None,
) -> bpy.types.Object:
    """An object of points, of which only the positions are there yet."""
    obj = bpy.data.objects.new(name, attributes.points_mesh(name, gaussians.means))
    obj.display_type = (
        "BOUNDS"  # its display is another object; a mesh of vertices would be drawn as black dots
    )
    obj.parent = parent
    collection.objects.link(obj)
    return obj


def add_display(
    name: str,
    points: bpy.types.Object,
    tree: bpy.types.NodeTree,
    collection: bpy.types.Collection,
    shown: bool,
) -> bpy.types.Object:
    """What shows an object's points, once they have all their attributes."""
    obj = bpy.data.objects.new(name, attributes.ball_mesh(name))
    for use, mode in (("Viewport", "Ellipsoids"), ("Render", "Splats")):
        modifier = node_tree.add_modifier(obj, use, tree)
        compat.set_input(modifier, "Points", points)
        compat.set_input(modifier, "Mode", mode)
        modifier.show_viewport, modifier.show_render = use == "Viewport", use == "Render"
    obj.parent = points
    obj.hide_select, obj.hide_viewport = True, not shown
    collection.objects.link(obj)
    if native_splats.is_available():
        native = native_splats.ensure_native(points, obj)
        native.hide_viewport, obj.hide_viewport, obj.hide_render = not shown, True, True
    return obj


def _take_back(parts: Parts) -> None:
    """Removes all that was made."""
    objects = [obj for collection in parts.collections.values() for obj in collection.objects]
    materials = {
        cast(Any, n.inputs["Material"]).default_value
        for tree in parts.trees
        for n in tree.nodes
        if "Material" in n.inputs
    }
    data = [obj.data for obj in objects if obj.data is not None]
    shapes = [bpy.data.objects[name] for name in rig.SHAPES if name in bpy.data.objects]
    made = [
        *objects,
        *data,
        *parts.collections.values(),
        parts.top,
        *parts.trees,
        *parts.actions.values(),
    ]
    bpy.data.batch_remove(
        [*made, *parts.footage.values(), *(m for m in materials if m is not None)]
    )
    native_splats.remove_unused()
    unused = [shape for shape in shapes if shape.users == 0]
    meshes: list[Any] = [shape.data for shape in unused]
    bpy.data.batch_remove([*unused, *meshes])


def _reach(puppet: Puppet) -> float:
    """How far anything is from any camera, at most."""
    eyes = np.concatenate([camera.pose_curves(p.w2c)[0] for p in puppet.performances])
    places = [
        puppet.subject.means,
        puppet.background.means,
        *(p.bases[..., 6:].reshape(-1, 3) for p in puppet.performances),
    ]
    corners = np.stack(
        [
            np.min([x.min(0) for x in places if len(x)], 0),
            np.max([x.max(0) for x in places if len(x)], 0),
        ]
    )
    return float(np.linalg.norm(np.abs(corners[:, None] - eyes).max(0), axis=1).max()) + 1e-3
