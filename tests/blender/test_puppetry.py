"""The artist's tools: regions and handles, selections, weights, the NLA."""

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Quaternion
from rig_checks import assert_eq_1, basis_bones, find_control

from blender_addon import compat
from blender_addon.puppet import actions, attributes, builder, capture, importer, rig, weights
from blender_addon.puppet.output import export
from blender_addon.puppet.playback import nla
from blender_addon.session.steps import drain
from blender_addon.skeleton import build
from restage4d import se3
from restage4d.errors import InputError

pytestmark = pytest.mark.usefixtures("registered")


def test_regions_are_bone_collections_of_their_colour(monkeypatch):
    """Of a puppet in which no skeleton is found."""
    monkeypatch.setattr(builder, "find_skeleton", lambda puppet: None)
    puppet = puppets.creature(n=1500, frames=10, size=(96, 72))
    imported = importer.import_puppet(puppet, name="creature")
    armature = imported.armature.data
    region = rig.region_of_bases(imported.armature)
    names = [c.name for c in armature.collections]
    assert names[:2] == [rig.CONTROLS, rig.FOLLOWERS]
    assert not armature.collections[rig.FOLLOWERS].is_visible
    assert len(names) == 2 + region.max() + 1
    assert len(set(names)) == len(names)
    colors = {
        tuple(np.round(find_control(imported, r).bone.color.custom.normal, 3))
        for r in range(region.max() + 1)
    }
    assert len(colors) == region.max() + 1
    for r, collection in enumerate(names[2:]):
        mine = {b.name for b in armature.collections[collection].bones}
        assert mine == {b.name for b in basis_bones(imported) if b.bone[rig.REGION] == r}
        assert find_control(imported, r).name == collection
    # Legs, tail, neck and trunk of the creature move different points: every limb is a region of
    # its own.
    assert region.max() + 1 == 7
    assert [find_control(imported, r).custom_shape.name for r in range(2)] == [
        "Restage4D Handle"
    ] * 2


def test_regions_follow_the_coefficients_and_repeat():
    """Bases that share points are together, those that share none are apart; the same puppet gives
    the same regions."""
    rng = np.random.default_rng(5)
    puppet = puppets.random_puppet(n=3000, k=40, m=4)
    group = rng.permutation(np.repeat(np.arange(8), 5))  # 8 limbs of 5 bases
    limb = rng.integers(0, 8, 3000)
    puppet.index[:] = [rng.permutation(np.flatnonzero(group == g))[:4] for g in limb]
    from blender_addon.puppet import regions

    found = regions.find_regions(puppet)
    assert len(found.names) == len(set(found.names)) == 8
    same = found.of_basis[:, None] == found.of_basis
    np.testing.assert_array_equal(same, group[:, None] == group)
    np.testing.assert_array_equal(found.of_basis, regions.find_regions(puppet).of_basis)


def test_points_select_their_bones_and_back(creature):
    puppet, imported = creature
    names = rig.bone_names(imported.armature)
    mine = puppet.weight[puppet.index == 4].sum()
    assert mine > 0
    strong = np.where(puppet.index == 4, puppet.weight, 0).sum(1) > 0.9
    weights.enter(imported.points, "OBJECT")
    imported.points.data.vertices.foreach_set("select", strong)
    assert not bpy.ops.restage4d.select_bones.poll()
    bpy.ops.object.mode_set(mode="EDIT")
    assert bpy.ops.restage4d.select_bones(least=0.5) == {"FINISHED"}
    assert bpy.context.mode == "POSE"
    assert [b.name for b in weights.find_selected_bones(imported.armature)] == [names[4]]
    assert imported.armature.data.bones.active.name == names[4]
    assert bpy.ops.restage4d.select_points(least=0.9) == {"FINISHED"}
    assert bpy.context.mode == "EDIT_MESH"
    np.testing.assert_array_equal(weights.find_selected_points(imported.points), strong)
    weights.enter(imported.points, "EDIT")
    assert bpy.ops.restage4d.select_bones(handles=True, least=0.9) == {"FINISHED"}
    region = rig.region_of_bases(imported.armature)[4]
    assert [b.name for b in weights.find_selected_bones(imported.armature)] == [
        find_control(imported, region).name
    ]


def test_weights_of_the_selected_bones_are_shown(creature):
    puppet, imported = creature
    weights.enter(imported.armature, "POSE")
    for posed in imported.armature.pose.bones:
        compat.select_bone(posed, posed.name in [b.name for b in basis_bones(imported)[2:4]])
    imported.armature.restage4d_display.color = "WEIGHTS"
    shown = attributes.read_attribute(imported.points.data, attributes.WEIGHT, "value", 1)
    want = np.where((puppet.index == 2) | (puppet.index == 3), puppet.weight, 0).sum(1)
    np.testing.assert_allclose(shown, want, atol=1e-6)
    for posed in imported.armature.pose.bones:
        compat.select_bone(
            posed, posed == find_control(imported, rig.region_of_bases(imported.armature)[5])
        )
    imported.armature.data.update_tag()
    bpy.context.view_layer.update()  # the handler sees the new selection
    shown = attributes.read_attribute(imported.points.data, attributes.WEIGHT, "value", 1)
    index, weight = build.read_skin(imported.points.data)
    mine = rig.region_of_bases(imported.armature)[5]
    np.testing.assert_allclose(shown, np.where(index == mine, weight, 0).sum(1), atol=1e-6)
    # The ellipsoids' nodes colour by it: hidden in blue, all of it in red.
    evaluated = imported.splats.evaluated_get(bpy.context.evaluated_depsgraph_get())
    geometry = evaluated.evaluated_geometry()  # goes as soon as nobody holds it
    seen = geometry.mesh
    color = attributes.read_attribute(seen, attributes.COLOR, "color", 4).reshape(
        -1, len(imported.splats.data.vertices), 4
    )[:, 0]
    dense = puppet.subject.opacities >= 0.2
    red, blue = attributes.RAMP_COLORS[-1], attributes.RAMP_COLORS[0]
    np.testing.assert_allclose(
        color[shown[dense] > 0.9999][:, :3],
        np.tile(red, ((shown[dense] > 0.9999).sum(), 1)),
        atol=1e-3,
    )
    np.testing.assert_allclose(
        color[shown[dense] == 0][:, :3], np.tile(blue, ((shown[dense] == 0).sum(), 1)), atol=1e-3
    )


def test_picking_finds_the_point_one_sees(creature):
    puppet, imported = creature
    scene = bpy.context.scene
    scene.frame_set(4)
    p = puppet.performances[-1]
    posed = puppet.pose(p, 3)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    P = imported.camera.calc_matrix_camera(depsgraph, x=96, y=72)
    matrix = P @ imported.camera.matrix_world.inverted()
    uvw = (posed.means @ p.w2c[3, :3, :3].T + p.w2c[3, :3, 3]) @ p.K[3].T
    pixels = uvw[:, :2] / uvw[:, 2:]
    nearest = int(np.argmin(uvw[:, 2]))
    at = pixels[nearest][0], 72 - pixels[nearest][1]
    assert weights.pick(imported, depsgraph, at, matrix, (96, 72)) == nearest
    assert weights.pick(imported, depsgraph, (1.0, 1.0), matrix, (96, 72)) == -1


def test_painted_weights_move_the_points(creature):
    """A vertex group changed by hand changes nothing, until it is applied; then the rig is Eq. 1 of
    the new weights."""
    puppet, imported = creature
    bpy.context.scene.frame_set(4)
    before = export.read_posed(imported).means
    group = imported.points.vertex_groups[rig.bone_names(imported.armature)[6]]
    painted = list(range(0, 300))
    group.add(painted, 3.0, "REPLACE")  # clamped to 1 by Blender
    bpy.context.view_layer.update()
    np.testing.assert_array_equal(export.read_posed(imported).means, before)
    assert bpy.ops.restage4d.apply_weights() == {"FINISHED"}
    dense = weights._dense(puppet.index, puppet.weight, 7)
    dense[painted, 6] = 1
    dense /= dense.sum(1, keepdims=True)
    index, weight = attributes.read_influences(imported.points.data)
    np.testing.assert_allclose(weights._dense(index, weight, 7), dense, atol=1e-6)
    np.testing.assert_array_equal(index[300:, :4], puppet.index[300:])
    np.testing.assert_array_equal(weight[300:, :4], puppet.weight[300:])
    assert (
        index.shape[1] == 5
    )  # one influence more than the file had, and a node tree that reads it
    changed = puppets.Puppet(puppet.subject, index, weight, puppet.performances, puppet.background)
    bpy.context.view_layer.update()
    assert_eq_1(imported, changed)
    want = changed.pose(puppet.performances[-1], 3).means
    np.testing.assert_allclose(export.read_posed(imported).means, want, atol=1e-4)
    group.add(painted, 0.2, "REPLACE")
    bpy.ops.restage4d.write_weights()  # not applied: the groups say again what the rig does
    for i in (5, 299, 700):
        seen = {
            imported.points.vertex_groups[g.group].name: g.weight
            for g in imported.points.data.vertices[i].groups
        }
        np.testing.assert_allclose(
            [seen.get(n, 0) for n in rig.bone_names(imported.armature)], dense[i], atol=1e-6
        )
    imported.points.vertex_groups.clear()
    with pytest.raises(InputError, match="no vertex group of a bone's name"):
        drain(weights.apply_groups_steps(imported))


def test_at_most_eight_painted_weights_count():
    puppet = puppets.random_puppet(n=80, k=12)
    imported = importer.import_puppet(puppet, name="p")
    for i, name in enumerate(rig.bone_names(imported.armature)):
        imported.points.vertex_groups[name].add([7], 0.05 * (i + 1), "REPLACE")
    assert drain(weights.apply_groups_steps(imported))[1] == 1
    index, weight = attributes.read_influences(imported.points.data)
    assert sorted(index[7]) == list(range(4, 12))
    assert weight[7].sum() == pytest.approx(1, abs=1e-6)


def curve_values(action, slot_name, frame):
    """Every F-curve of a slot at a frame, read by Blender's own evaluation."""
    slot = next(
        s for s in action.slots if s.name_display == slot_name and s.target_id_type == "OBJECT"
    )
    bag = action.layers[0].strips[0].channelbag(slot)
    return {(c.data_path, c.array_index): c.evaluate(frame) for c in bag.fcurves}


def test_performances_blend_in_the_nla(imported, puppet):
    """Half-way between two performances every bone's channels are blended, by a reckoning of our
    own, and points are Eq. 1."""
    scene = bpy.context.scene
    assert bpy.ops.restage4d.blend_performances(first="base", second="jump", start=3, frames=4) == {
        "FINISHED"
    }
    assert scene.frame_end == 10
    base, jump = (imported.performance(n).action for n in ("base", "jump"))
    for frame, share in ((2, 0.0), (4, 0.25), (5, 0.5), (7, 1.0), (9, 1.0)):
        scene.frame_set(frame)
        a, b = (curve_values(x, actions.SLOT, frame) for x in (base, jump))
        poses = {}
        for bone in imported.armature.pose.bones:  # parents come first
            path = f'pose.bones["{bone.name}"]'
            if (f"{path}.location", 0) in a:
                mix = {k: (1 - share) * a[k] + share * b[k] for k in a if k[0].startswith(path)}
                q = np.array([mix[f"{path}.rotation_quaternion", i] for i in range(4)])
                own = np.eye(4)
                own[:3, :3] = se3.quat_to_matrix(q)
                own[:3, 3] = [mix[f"{path}.location", i] for i in range(3)]
            else:
                own = np.eye(4)
            rest = np.array(bone.bone.matrix_local, np.float64)
            parent = poses[bone.parent.name] if bone.parent else np.eye(4)
            poses[bone.name] = parent @ rest @ own @ np.linalg.inv(rest)
        want = np.stack([poses[n] for n in rig.bone_names(imported.armature)])
        bases = assert_eq_1(imported, puppet)
        np.testing.assert_allclose(bases, se3.pack(want[:, :3, :3], want[:, :3, 3]), atol=2e-5)
    taken = capture.capture_puppet(imported, scene, also="blend").performances[-1]
    np.testing.assert_allclose(
        taken.bases[:, :2], puppet.performance("base").bases[:, :2], atol=1e-5
    )
    np.testing.assert_allclose(
        taken.bases[:, 6:], puppet.performance("jump").bases[:, 6:], atol=1e-5
    )
    np.testing.assert_allclose(taken.w2c[6:], puppet.performance("jump").w2c[6:], atol=1e-5)
    # A performance is its Action alone, whatever lies in the NLA, and that stays.
    again = capture.capture_puppet(imported, scene)
    for p, q in zip(puppet.performances, again.performances, strict=True):
        np.testing.assert_allclose(p.bases, q.bases, atol=1e-5)
    assert nla.find_playing(imported) is None
    scene.frame_set(5)
    bpy.ops.restage4d.play_performance(name="base")
    scene.frame_set(8)
    np.testing.assert_allclose(
        assert_eq_1(imported, puppet), puppet.performance("base").bases[:, 7], atol=1e-5
    )


def test_a_hand_moved_handle_rides_on_the_blend(imported, puppet):
    scene = bpy.context.scene
    nla.blend(imported, "base", "jump", start=2, frames=5)
    handle = find_control(imported, 1)
    handle.rotation_quaternion, handle.location = Quaternion((0.1, 1, 0.3), 0.8), (0.2, 0, 0.1)
    for frame in (1, 4, 9):
        scene.frame_set(frame)
        assert_eq_1(imported, puppet)


def test_neighbouring_quaternions_blend_the_short_way():
    """Nearly the same poses, whose quaternions lie on either side of a half turn: between them it
    is still that pose."""
    puppet = puppets.creature(n=500, frames=4, size=(96, 72))
    motion = puppet.performances[0].bases
    for p, angle in zip(puppet.performances, (np.pi - 1e-4, np.pi + 1e-4), strict=True):
        turn = se3.quat_to_matrix(puppets.axis_angle(np.array([0.0, 0.3, 1]), np.array(angle)))
        R = turn @ se3.gram_schmidt(motion[..., :6].astype(np.float64))
        p.bases = se3.pack(R, motion[..., 6:] @ turn.T).astype(np.float32)
    turned = importer.import_puppet(puppet, name="turned")
    nla.blend(turned, "base", "gallop", start=0, frames=2)
    bpy.context.scene.frame_set(1)
    want = puppet.pose(puppet.performance("base"), 0).means
    assert np.abs(export.read_posed(turned).means - want).max() < 1e-3
