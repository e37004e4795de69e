# SPDX-License-Identifier: GPL-3.0-or-later
"""Splats of others in the scene: in a background's place, and sequences that play without this
extension."""

from collections.abc import Sequence
from typing import Any, cast

import bpy
import numpy as np

from restage4d.posing.standing import find_ground, put_under
from restage4d.puppet import F32, Gaussians

from ... import compat
from .. import attributes, builder, capture, importer
from ..nodes import native_splats, node_groups, node_tree

_CERTAIN = 0.15  # share of a background's points on one plane, from which on that is its ground
_SOLE = 0.01  # share of the subject's points below its soles


def read_subject(imported: importer.ImportedPuppet) -> F32:  # -> (N, 3)
    """Where the subject's points are now, in the puppet's space."""
    points = imported.points.evaluated_get(bpy.context.evaluated_depsgraph_get())
    with attributes.reading_mesh(points) as mesh:
        places = attributes.read_attribute(mesh, "position", "vector", 3)
    world = np.array(points.matrix_world, np.float64)
    if imported.root is not None:
        world = np.linalg.inv(np.array(imported.root.matrix_world, np.float64)) @ world
    return (places @ world[:3, :3].T + world[:3, 3]).astype(np.float32)


def fit_background(
    imported: importer.ImportedPuppet, subject: F32, scenery: Gaussians, grown: float
) -> Gaussians:  # subject: (N, 3)
    """Scenery whose ground lies where the puppet stands, as large as the background that it takes
    the place of; in the puppet's space.

    Args:
        subject: where the subject's points are now, in the puppet's space.
        scenery: +Z up, metres; of any size.
        grown: how much larger than that.
    """
    middle = np.median(subject, axis=0)
    up, height = np.array([0.0, 0, 1]), float(np.quantile(subject[:, 2], _SOLE))
    size = 1 / imported.about["metres_per_unit"]
    ground = find_ground(scenery)
    if imported.background is not None:
        old = find_ground(capture.read_background(imported, local=True))
        size = old.reach / ground.reach
        if old.share >= _CERTAIN:
            up, height = old.normal, old.height
    spot = middle - (middle @ up - height) * up
    return put_under(scenery, ground, spot, up, size * grown)


def set_background(imported: importer.ImportedPuppet, gaussians: Gaussians) -> None:
    """Puts Gaussians, in the puppet's space, where the background was; camera and subject stay."""
    name = imported.armature.name.removesuffix(" bases")
    if imported.background is None:
        _add_background(imported, name, gaussians)
        return
    mesh = attributes.points_mesh(imported.background.name, gaussians.means)
    attributes.write_gaussians(mesh, gaussians)
    old = attributes.get_mesh(imported.background)
    imported.background.data = mesh
    if old.users == 0:
        bpy.data.meshes.remove(old)
    assert imported.background_splats is not None
    native_splats.renew(imported.background, imported.background_splats)


def _add_background(imported: importer.ImportedPuppet, name: str, gaussians: Gaussians) -> None:
    above = imported.collection or bpy.context.scene.collection
    place = next((c for c in above.children if c.name.endswith(" background")), above)
    points = builder.add_points(f"{name} background points", gaussians, place, imported.root)
    points.hide_viewport = True  # as the builder's
    attributes.write_gaussians(attributes.get_mesh(points), gaussians)
    tree = cast(Any, imported.splats.modifiers["Viewport"]).node_group
    shown = not imported.splats.hide_viewport
    imported.background_splats = builder.add_display(
        f"{name} background", points, tree, place, shown
    )
    imported.background = points
    importer.remember(imported)


def add_sequence(name: str, frames: Sequence[Gaussians], first: int) -> bpy.types.Object:
    """Splats that play from scene frame ``first`` on, a set a frame, and stand before and after;
    plain nodes. Every frame is in the file whole. Returns the object of the points."""
    scene: Any = bpy.context.scene
    top = bpy.data.collections.new(name)
    scene.collection.children.link(top)
    kept = bpy.data.collections.new(f"{name} frames")  # of the modifier alone, not of the scene
    for i, g in enumerate(frames):
        mesh = attributes.points_mesh(f"{name} {i + 1:05d}", g.means)
        attributes.write_gaussians(mesh, g)
        kept.objects.link(bpy.data.objects.new(mesh.name, mesh))
    empty = Gaussians(*(value[:0] for value in vars(frames[0]).values()))
    points = builder.add_points(f"{name} points", empty, top, None)
    attributes.write_gaussians(attributes.get_mesh(points), empty)  # its SH degree is read
    modifier = node_tree.add_modifier(points, "Frames", node_groups.make_frames())
    compat.set_input(modifier, "Frames", kept)
    compat.set_input(modifier, "First", first)
    for tree in node_groups.display_steps():
        display = tree
    shown = not native_splats.is_available()
    builder.add_display(f"{name} splats", points, display, top, shown)
    native = native_splats.find_native(top.objects[f"{name} splats"])
    if native is not None:
        native.hide_viewport = False
    return points
