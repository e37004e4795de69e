"""Bringing a puppet in goes step by step, and leaves nothing where it is ended early."""

import threading
import time

import bpy
import numpy as np
import puppets
import pytest

from blender_addon.puppet import (
    bone_curves,
    importer,
    rig,
    weights,
)
from blender_addon.session.steps import drain, in_thread
from restage4d import se3
from restage4d.errors import InputError

KINDS = (
    "collections",
    "objects",
    "meshes",
    "armatures",
    "cameras",
    "node_groups",
    "materials",
    "actions",
    "images",
)


def blocks():
    return {kind: sorted(x.name for x in getattr(bpy.data, kind)) for kind in KINDS}


def test_an_import_ended_at_any_step_leaves_nothing(empty_scene):
    puppet = puppets.random_puppet(n=5000, k=30, sh=4)
    puppet.background = puppets.gaussians(np.random.default_rng(0), 50)
    bpy.ops.mesh.primitive_cube_add()
    cube, before = bpy.context.view_layer.objects.active, blocks()
    total = sum(1 for _ in importer.import_steps(puppet, name="counted"))
    bpy.data.batch_remove([o for o in bpy.data.objects if o != cube])
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    for action in list(bpy.data.actions):  # kept by a fake user
        bpy.data.actions.remove(action)
    bpy.data.batch_remove([c for c in bpy.data.collections if c.name not in before["collections"]])
    bpy.context.view_layer.objects.active = cube
    assert blocks() == before
    assert total > 60
    for share in (0, 15, 20, 40, 65, 90):  # percent; waiting for threads takes any number of steps
        steps = importer.import_steps(puppet, name="ended")
        while next(steps)[0] < share:
            pass
        assert share < 15 or blocks() != before
        steps.close()
        assert blocks() == before, share
        assert bpy.context.view_layer.objects.active == cube
        assert bpy.context.mode == "OBJECT"


def test_the_shapes_of_another_puppet_s_bones_stay(imported, puppet):
    shapes = {b.name: b.custom_shape.name for b in imported.armature.pose.bones}
    steps = importer.import_steps(puppet, name="second")
    for _ in range(40):
        next(steps)
    steps.close()
    assert {b.name: b.custom_shape.name for b in imported.armature.pose.bones} == shapes


def test_an_import_yields_how_far_it_is(puppet):
    steps = importer.import_steps(puppet, name="x")
    told = [done / total for done, total in steps]
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] > 0.9


def test_the_bones_made_in_several_steps_are_all_there(empty_scene):
    puppet = puppets.random_puppet(n=3000, k=2 * rig.TOGETHER + 5)
    imported = importer.import_puppet(puppet, name="many")
    assert len(rig.bone_names(imported.armature)) == puppet.n_bases
    for name in rig.bone_names(imported.armature):
        above = imported.armature.data.bones[name].parent
        assert above[rig.ROLE] == rig.CONTROL
        assert above[rig.REGION] == imported.armature.data.bones[name][rig.REGION]


def test_followers_and_bases_together_are_the_bases(imported, puppet):
    """Parent times child, with untouched handles between, is the basis again."""
    skeleton, bases = rig.read_skeleton(imported.armature), puppet.performances[1].bases
    moved = bone_curves.bone_motions(skeleton, bases)
    whole = moved[skeleton.followers[bone_curves.WHOLE]]
    for k, name in enumerate(skeleton.names):
        T = whole @ moved[skeleton.followers[int(skeleton.region[k])]] @ moved[name]
        np.testing.assert_allclose(se3.pack(T[:, :3, :3], T[:, :3, 3]), bases[k], atol=1e-5)


def weights_of(points):
    names = {group.index: group.name for group in points.vertex_groups}
    return [{names[g.group]: round(g.weight, 5) for g in v.groups} for v in points.data.vertices]


def test_weights_written_again_are_all_or_nothing(imported, puppet):
    points, names = imported.points, rig.bone_names(imported.armature)
    written = weights_of(points)
    mine = points.vertex_groups.new(name="mine")
    mine.add([0, 1], 0.5, "REPLACE")
    points.vertex_groups[names[0]].add([0, 1, 2], 1.0, "REPLACE")
    painted = weights_of(points)
    assert painted != written
    steps = weights.write_groups_steps(imported)
    next(steps)
    next(steps)
    steps.close()
    assert weights_of(points) == painted
    drain(weights.write_groups_steps(imported))
    assert [{k: v for k, v in row.items() if k != "mine"} for row in weights_of(points)] == written
    assert [row.get("mine") for row in weights_of(points)[:3]] == [0.5, 0.5, None]


def test_work_in_a_thread_gives_its_value_or_its_error():
    here = threading.get_ident()
    assert drain(in_thread((1, 2), threading.get_ident)) != here

    def fail():
        raise InputError("No.", "Yes.")

    with pytest.raises(InputError, match=r"No\. Yes\."):
        drain(in_thread((1, 2), fail))


def test_a_thread_whose_work_is_ended_early_is_waited_for():
    made = []

    def slow():
        time.sleep(0.2)
        made.append(1)

    steps = in_thread((1, 2), slow)
    next(steps)
    steps.close()
    assert made == [1]
