# SPDX-License-Identifier: GPL-3.0-or-later
"""Another skeleton for a puppet in the scene, when the artist says where its head is."""

from dataclasses import replace
from typing import Any

import bpy
import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import Performance, Puppet
from restage4d.skeleton.finding import find_skeleton, list_parts

from ..puppet import actions, attributes, capture, importer, rig
from . import build, contacts
from .contact_list import read_contacts, write_contacts
from .plan import PART, compute_channels, find_few, list_own_places, list_soles


def place_head(imported: importer.ImportedPuppet, scene: bpy.types.Scene, point: int) -> list[str]:
    """Finds the skeleton anew with its head at a Gaussian; names of its bones. Keys, contacts and
    constraints of the old skeleton's bones go with them; the bases are not touched.

    Raises:
        InputError: no skeleton is found.
    """
    armature = imported.armature
    performances, _ = capture.run_steps(
        capture.take_steps(imported, scene), capture.count_frames(imported, scene), None
    )
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
        subject = attributes.read_gaussians(mesh)
    home = [_bring_home(p, armature) for p in performances]
    puppet = Puppet(subject, index, weight, home, capture.make_nothing(), **imported.about)
    skeleton = find_skeleton(puppet, head=subject.means[point].astype(np.float64))
    if skeleton is None:
        raise InputError("No skeleton was found with its head there.", "Click on another place.")
    body = build.plan(puppet, skeleton)
    _remove(imported)
    bases = [b for b in body.bones if rig.BASIS in b.about]
    new = [b for b in body.bones if rig.BASIS not in b.about]
    mode = armature.mode
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    rig.add_bones(armature, new)
    for bone, planned in zip(rig.bone_names(armature), bases, strict=True):
        rig.get_armature(armature).bones[bone][rig.REGION] = planned.about[rig.REGION]
    for _ in build.dress(armature, body):
        pass
    build.add_changes(
        armature.name.removesuffix(" bases"),
        armature,
        imported.points,
        armature.users_collection[0],
    )
    mesh = attributes.get_mesh(imported.points)
    build.write_skin(mesh, skeleton.index, skeleton.weight)
    attributes.write_regions(
        mesh, skeleton.index[:, 0].astype(np.intp), rig.region_colors(armature)
    )
    names = {b.name for b in new}
    rest = {b.name: np.array(b.matrix_local, np.float64) for b in rig.get_armature(armature).bones}
    alone = replace(body, keyed={n: keyed for n, keyed in body.keyed.items() if n in names})
    few = find_few(alone.keyed)
    places = list_own_places(skeleton, subject.means)
    chain = actions.read_chain(armature, few, places, list_soles(skeleton))
    for p, shown in zip(home, imported.performances, strict=True):
        keys = compute_channels(alone, puppet, p, rest=rest)
        thinned = actions.thin_keys(keys, chain)
        for _ in actions.write_bones(shown.action, armature, keys, few, thinned):
            pass
    if mode == "POSE":
        bpy.ops.object.mode_set(mode="POSE")
    scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)
    imported.about["body"] = list_parts(skeleton)
    importer.remember(imported)
    return [b.name for b in skeleton.bones]


def _bring_home(performance: Performance, armature: bpy.types.Object) -> Performance:
    """The bases in the armature's own space."""
    W = np.linalg.inv(np.array(armature.matrix_world, np.float64))
    R = se3.gram_schmidt(performance.bases[..., :6].astype(np.float64))
    t = performance.bases[..., 6:] @ W[:3, :3].T + W[:3, 3]
    return replace(performance, bases=se3.pack(W[:3, :3] @ R, t).astype(np.float32))


def _remove(imported: importer.ImportedPuppet) -> None:
    """Takes the old skeleton away: contacts, keys, drivers, bones, helper meshes."""
    armature, points = imported.armature, imported.points
    contacts.free(imported, read_contacts(armature))
    write_contacts(armature, [])
    data = rig.get_armature(armature)
    gone = [b.name for b in data.bones if PART in b]
    paths = tuple(f'pose.bones["{bpy.utils.escape_identifier(name)}"]' for name in gone)
    for action in imported.get_actions():
        slot = actions.find_slot(action, armature, actions.SLOT)
        for bag in actions.find_channelbags(action, slot) if slot is not None else ():
            for curve in [c for c in bag.fcurves if c.data_path.startswith(paths)]:
                bag.fcurves.remove(curve)
    if armature.animation_data is not None:
        for driver in list(armature.animation_data.drivers):
            if driver.data_path.startswith(paths):
                armature.animation_data.drivers.remove(driver)
    modifier: Any = points.modifiers.get(build.MODIFIER)
    if modifier is not None:
        points.modifiers.remove(modifier)
    for helper in [o for o in bpy.data.objects if o.parent == armature and build.HELPER in o]:
        bpy.data.meshes.remove(helper.data)  # pyright: ignore[reportArgumentType]
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    for name in gone:
        data.edit_bones.remove(data.edit_bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")
    for collection in list(data.collections):
        if not collection.bones:
            data.collections.remove(collection)
