"""The proxy mesh and the splats: what moves as what, what is kept, what comes back to the bit."""

import bpy
import numpy as np
import puppets
import pytest
from mathutils.kdtree import KDTree
from rig_checks import assert_eq_1, basis_bones

from blender_addon import compat
from blender_addon.operators.shaping import brush
from blender_addon.puppet import actions, attributes, capture, importer, rig, weights
from blender_addon.puppet.output import export
from blender_addon.puppet.shaping import erasing, influences, proxy
from restage4d import se3

pytestmark = pytest.mark.usefixtures("registered")


def read_evaluated(obj):
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    with attributes.reading_mesh(evaluated) as mesh:
        return attributes.read_attribute(mesh, "position", "vector", 3)


def read_all(mesh):
    """Every point attribute, and the vertex groups."""
    fields = {"FLOAT": ("value", 1), "INT": ("value", 1), "FLOAT_VECTOR": ("vector", 3)}
    fields |= {"QUATERNION": ("value", 4), "FLOAT_COLOR": ("color", 4), "FLOAT4": ("vector", 4)}
    found = {}
    for a in mesh.attributes:
        if a.domain == "POINT" and a.data_type in fields and not a.name.startswith("."):
            field, width = fields[a.data_type]
            out = np.empty(len(mesh.vertices) * width, np.int32 if a.data_type == "INT" else "f")
            a.data.foreach_get(field, out)
            found[a.name] = out.reshape(-1, width)
    k = 1 + max((g.group for v in mesh.vertices for g in v.groups), default=0)
    groups = np.zeros((len(mesh.vertices), k), np.float32)
    for i, v in enumerate(mesh.vertices):
        for g in v.groups:
            groups[i, g.group] = g.weight
    return found | {"groups": groups}


def count_edges(mesh):
    """How often each directed edge of the faces stands there."""
    edges = {}
    for polygon in mesh.polygons:
        ring = list(polygon.vertices)
        for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
            edges[a, b] = edges.get((a, b), 0) + 1
    return edges


def test_the_proxy_is_closed_and_moves_as_the_points(creature):
    puppet, imported = creature
    assert bpy.ops.restage4d.make_proxy(faces=3000) == {"FINISHED"}
    obj = proxy.find_proxy(imported.armature)
    edges = count_edges(obj.data)
    assert 300 < len(obj.data.polygons) <= 3000
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    rest = attributes.read_attribute(obj.data, "position", "vector", 3)
    extent = np.linalg.norm(np.ptp(puppet.subject.means, axis=0))
    tree = KDTree(len(puppet.subject))
    for i, place in enumerate(puppet.subject.means.tolist()):
        tree.insert(place, i)
    tree.balance()
    near = np.array([tree.find(place)[1] for place in rest.tolist()])
    index, weight = attributes.read_influences(obj.data)
    for frame, bases in ((3, 2), (8, 7)):
        bpy.context.scene.frame_set(frame)
        shown = read_evaluated(obj)
        R, t = se3.blend(puppet.performances[-1].bases[:, bases], index, weight)
        np.testing.assert_allclose(shown, se3.transform(R, t, rest), atol=1e-5)
        offset = shown - export.read_posed(imported).means[near]
        drift = np.abs(
            np.linalg.norm(offset, axis=1)
            - np.linalg.norm(rest - puppet.subject.means[near], axis=1)
        )
        assert np.quantile(drift, 0.95) < 0.01 * extent
    assert not obj.visible_camera
    assert obj.visible_shadow


def test_made_again_it_is_the_same_object_and_options_are_set(creature):
    _, imported = creature
    bpy.ops.restage4d.make_proxy(faces=3000)
    first, count = proxy.find_proxy(imported.armature), len(bpy.data.meshes)
    bpy.ops.restage4d.make_proxy(
        faces=1500, plain=True, collision=True, shadows_only=False, catcher=True
    )
    obj = proxy.find_proxy(imported.armature)
    assert obj == first
    assert len(obj.data.polygons) <= 1500
    assert len(bpy.data.meshes) == count + 1  # the shadow catcher's
    shown = {m.name: m.show_viewport for m in obj.modifiers}
    assert (shown[proxy.EXACT], shown[proxy.SKIN]) == (False, True)
    assert any(m.type == "COLLISION" for m in obj.modifiers)
    assert obj.visible_camera
    assert sum(o.is_shadow_catcher for o in bpy.context.scene.objects) == 1
    # Plain skinning of one bone's vertices is that bone's motion.
    bpy.context.scene.frame_set(6)
    index, weight = attributes.read_influences(obj.data)
    alone = weight.max(1) > 0.999
    k = index[np.arange(len(index)), weight.argmax(1)]
    rest = attributes.read_attribute(obj.data, "position", "vector", 3)
    bases = importer_bases(imported)[k]
    want = se3.transform(se3.gram_schmidt(bases[:, :6]), bases[:, 6:], rest)
    assert alone.sum() > 50
    np.testing.assert_allclose(read_evaluated(obj)[alone], want[alone], atol=2e-3)


def test_it_follows_a_posed_skeleton(creature):
    _, imported = creature
    bpy.ops.restage4d.make_proxy(faces=3000)
    obj = proxy.find_proxy(imported.armature)
    bpy.context.scene.frame_set(4)
    before, points = read_evaluated(obj), export.read_posed(imported).means
    control = imported.armature.pose.bones["head"]
    control.rotation_mode = "QUATERNION"
    control.rotation_quaternion = (0.87, 0.0, 0.5, 0.0)
    bpy.context.view_layer.update()
    moved = np.linalg.norm(read_evaluated(obj) - before, axis=1)
    after = export.read_posed(imported).means
    assert moved.max() > 0.05
    assert (moved < 1e-6).mean() > 0.3  # the rest of the body stays
    tree = KDTree(len(points))
    for i, place in enumerate(points.tolist()):
        tree.insert(place, i)
    tree.balance()
    near = np.array([tree.find(place)[1] for place in before.tolist()])
    assert np.median(np.abs(moved - np.linalg.norm(after - points, axis=1)[near])) < 5e-3
    bpy.ops.restage4d.make_proxy(faces=1500)
    assert [m.name for m in obj.modifiers].count("Skeleton") == 1


def importer_bases(imported):
    names = rig.bone_names(imported.armature)
    inverse = np.linalg.inv(rig.rest_matrices(imported.armature, names))
    evaluated = imported.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return rig.read_bases(evaluated, names, inverse)[0]


def test_a_click_on_the_proxy_is_a_click_on_the_puppet(creature):
    _, imported = creature
    importer.import_puppet(puppets.random_puppet(n=60), name="other")
    bpy.context.view_layer.objects.active = imported.armature
    bpy.ops.restage4d.make_proxy(faces=800)
    bpy.context.view_layer.objects.active = proxy.find_proxy(imported.armature)
    assert importer.find_selected_puppet(bpy.context).armature == imported.armature


def test_what_is_painted_on_the_proxy_goes_to_the_points_around(creature):
    puppet, imported = creature
    bpy.ops.restage4d.make_proxy(faces=3000)
    obj = proxy.find_proxy(imported.armature)
    before = attributes.read_influences(imported.points.data)
    assert bpy.ops.restage4d.apply_painting() == {"FINISHED"}  # nothing was painted
    for a, b in zip(attributes.read_influences(imported.points.data), before, strict=True):
        np.testing.assert_array_equal(a, b)
    rest = attributes.read_attribute(obj.data, "position", "vector", 3)
    names = rig.bone_names(imported.armature)
    tail = [i for i, p in enumerate(rest) if p[0] < -0.38]
    for group in obj.vertex_groups:
        group.remove(tail)
    obj.vertex_groups[names[1]].add(tail, 1.0, "REPLACE")  # the tail hangs on the neck
    assert bpy.ops.restage4d.apply_painting() == {"FINISHED"}
    index, weight = attributes.read_influences(imported.points.data)
    neck = np.where(index == 1, weight, 0).sum(1)
    means = puppet.subject.means
    assert neck[means[:, 0] < -0.42].min() > 0.95
    far = means[:, 0] > -0.3
    m = before[0].shape[1]
    np.testing.assert_array_equal(index[far][:, :m], before[0][far])
    np.testing.assert_array_equal(weight[far][:, :m], before[1][far])
    puppet.index, puppet.weight = index, weight
    bpy.context.scene.frame_set(4)
    assert_eq_1(imported, puppet)
    assert bpy.ops.restage4d.apply_painting() == {"FINISHED"}  # it was applied
    np.testing.assert_array_equal(attributes.read_influences(imported.points.data)[1], weight)


def select(imported, chosen):
    imported.points.data.vertices.foreach_set("select", chosen)


def test_erased_splats_are_out_of_everything_and_come_back_to_the_bit(creature):
    puppet, imported = creature
    before = read_all(imported.points.data)
    tail = puppet.subject.means[:, 0] < -0.35
    ear = puppet.subject.means[:, 0] > 0.5
    for chosen in (tail, ear[~tail]):
        select(imported, chosen)
        assert bpy.ops.restage4d.erase_splats() == {"FINISHED"}
    left = ~(tail | ear)
    captured = capture.capture_puppet(imported, bpy.context.scene)
    np.testing.assert_array_equal(captured.subject.means, puppet.subject.means[left])
    np.testing.assert_array_equal(captured.index, puppet.index[left])
    np.testing.assert_allclose(captured.weight, puppet.weight[left])
    bpy.context.scene.frame_set(4)
    posed = puppet.pose("gallop", 3).means[left]
    np.testing.assert_allclose(export.read_posed(imported).means, posed, atol=1e-5)
    assert erasing.count_erased(imported.points) == (tail | ear).sum()
    assert bpy.ops.restage4d.restore_splats() == {"FINISHED"}
    after = read_all(imported.points.data)
    assert after.keys() == before.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)
    chosen = np.empty(len(left), bool)
    imported.points.data.vertices.foreach_get("select", chosen)
    np.testing.assert_array_equal(chosen, ~left)
    assert not bpy.ops.restage4d.restore_splats.poll()


def test_erased_splats_are_saved(creature, tmp_path):
    puppet, imported = creature
    chosen = np.arange(len(puppet.subject)) < 100
    select(imported, chosen)
    bpy.ops.restage4d.erase_splats()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    imported = importer.find_puppets(bpy.context.scene)[0]
    assert bpy.ops.restage4d.restore_splats() == {"FINISHED"}
    means = attributes.read_attribute(imported.points.data, "position", "vector", 3)
    np.testing.assert_array_equal(means, puppet.subject.means)


def test_none_and_all_are_refused(creature):
    puppet, imported = creature
    for value, text in ((False, "No splat is selected"), (True, "All splats are selected")):
        select(imported, np.full(len(puppet.subject), value))
        with pytest.raises(RuntimeError, match=text):
            bpy.ops.restage4d.erase_splats()
    assert len(imported.points.data.vertices) == len(puppet.subject)
    for name in ("apply_painting", "restore_splats", "give_splats"):
        assert not getattr(bpy.ops.restage4d, name).poll()


def test_splats_follow_the_bone_they_are_given_to(creature):
    puppet, imported = creature
    tail = puppet.subject.means[:, 0] < -0.36
    weights.enter(imported.armature, "POSE")
    for posed in imported.armature.pose.bones:
        compat.select_bone(posed, posed == basis_bones(imported)[1])
    select(imported, tail)
    assert bpy.ops.restage4d.give_splats(smooth=0.02) == {"FINISHED"}
    index, weight = attributes.read_influences(imported.points.data)
    neck = np.where(index == 1, weight, 0).sum(1)
    assert neck[puppet.subject.means[:, 0] < -0.42].min() > 0.99
    edge = neck[(puppet.subject.means[:, 0] < -0.36) & (puppet.subject.means[:, 0] > -0.37)]
    assert edge.min() < 0.8  # it goes over
    assert edge.max() < 0.97
    np.testing.assert_array_equal(index[~tail][:, :4], puppet.index[~tail])
    puppet.index, puppet.weight = index, weight
    bpy.context.scene.frame_set(5)
    assert_eq_1(imported, puppet)
    group = imported.points.vertex_groups[rig.bone_names(imported.armature)[1]].index
    rows = np.flatnonzero(tail)[:20].tolist()
    for i in rows:
        painted = {g.group: g.weight for g in imported.points.data.vertices[i].groups}
        assert painted.get(group, 0) == pytest.approx(neck[i], abs=1e-5)


def test_a_fringe_is_faint_and_stands_off():
    rng = np.random.default_rng(1)
    body = rng.normal(size=(1500, 3))
    body /= np.linalg.norm(body, axis=1, keepdims=True)
    halo = 1.25 * body[:40]
    means = np.concatenate([body, halo])
    opacities = np.concatenate([rng.uniform(0.5, 1, 1500), np.full(40, 0.2)])
    opacities[40:80] = 0.1  # faint, but of the body
    found = influences.find_fringe(means, opacities, faint=0.4, loose=1.5)
    assert found[1500:].mean() > 0.9
    assert found[:1500].mean() < 0.005
    assert not influences.find_fringe(means, opacities, faint=0.1, loose=1.5).any()


def test_clean_fringe_erases_and_keeps(creature):
    puppet, imported = creature
    count = len(puppet.subject)
    assert bpy.ops.restage4d.clean_fringe(faint=0.7, loose=1.2) == {"FINISHED"}
    gone = erasing.count_erased(imported.points)
    assert 0 < gone < 0.2 * count
    assert len(imported.points.data.vertices) == count - gone
    assert bpy.ops.restage4d.clean_fringe(faint=0.0) == {"FINISHED"}  # says that there is none
    assert erasing.count_erased(imported.points) == gone


def test_only_the_foremost_splats_are_seen():
    """Two walls before one another, the nearer one half as wide, and a veil before both."""
    rng = np.random.default_rng(0)
    near, far, veil = rng.uniform(-1, 1, (3, 4000, 3))
    near[:, 0] *= 0.5
    near[:, 2], far[:, 2], veil[:, 2] = -4.0, -5.0, -3.0
    means = np.concatenate([near, far, veil])
    opacities = np.concatenate([np.full(8000, 0.9), np.full(4000, 0.05)])
    view = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, -1, 0], [0, 0, -1, 0]])
    pixels, depth = brush.project(means, view, (200, 200))
    np.testing.assert_allclose(depth, -means[:, 2])
    np.testing.assert_allclose(pixels[0], 100 + 200 * near[0, :2] / 4, rtol=1e-6)
    seen = brush.find_seen(pixels, depth, opacities, 0.2)
    assert seen[:4000].all()
    assert seen[8000:].all()
    behind = np.abs(far[:, 0] / 5) < 0.5 / 4 - 0.03
    beside = np.abs(far[:, 0] / 5) > 0.5 / 4 + 0.03
    assert seen[4000:8000][behind].mean() < 0.02
    assert seen[4000:8000][beside].all()
    _, depth = brush.project(-means, view, (200, 200))  # all behind the eye
    assert np.isnan(depth).all()


def test_the_skin_leaves_blender(creature, tmp_path):
    """As glTF with joints and weights, read back by Blender's own importer."""
    _, imported = creature
    bpy.ops.restage4d.make_proxy(faces=1500, plain=True)
    obj = proxy.find_proxy(imported.armature)
    bpy.context.scene.frame_set(6)
    want = read_evaluated(obj)
    for other in bpy.context.scene.objects:
        other.select_set(other in (obj, imported.armature))
    path = tmp_path / "skin.glb"
    bpy.ops.export_scene.gltf(filepath=str(path), use_selection=True, export_all_influences=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = 24
    bpy.ops.import_scene.gltf(filepath=str(path))
    bones = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    action = bpy.data.actions["creature gallop"]
    actions.play(bones, action, action.slots[0])
    bpy.context.scene.frame_set(6)
    made = next(o for o in bpy.data.objects if o.type == "MESH" and o.vertex_groups)
    names = {g.name for g in made.vertex_groups}
    assert {f"basis_{k}" for k in range(7)} <= names
    evaluated = made.evaluated_get(bpy.context.evaluated_depsgraph_get())
    places = np.array([made.matrix_world @ v.co for v in evaluated.to_mesh().vertices])
    tree = KDTree(len(want))
    for i, place in enumerate(want.tolist()):
        tree.insert(place, i)
    tree.balance()
    assert max(tree.find(place)[2] for place in places.tolist()) < 1e-3
