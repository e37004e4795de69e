"""Blender evaluates Eq. 1: positions, orientations, cameras, at every frame and for bones moved by
hand."""

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Matrix, Quaternion

from blender_addon import compat
from blender_addon.puppet import (
    attributes,
    camera,
    importer,
    rig,
)
from blender_addon.puppet.output import export
from restage4d import se3
from restage4d.errors import InputError


def extent(puppet):
    return np.linalg.norm(np.ptp(puppet.subject.means, axis=0))


def turn_between(a, b):
    """Angle between rotations given as quaternions, in radians."""
    a, b = (x.astype(np.float64) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return 2 * np.arcsin(
        np.minimum(np.linalg.norm(a - np.sign((a * b).sum(-1, keepdims=True)) * b, axis=-1) / 2, 1)
    )


def assert_posed(imported, puppet, bases):
    """The evaluated points are Eq. 1 of ``bases`` (K, 9), blended in float64."""
    R, t = se3.blend(bases.astype(np.float64), puppet.index, puppet.weight.astype(np.float64))
    seen = export.read_posed(imported)
    error = np.abs(seen.means - se3.transform(R, t, puppet.subject.means.astype(np.float64))).max()
    assert error < 1e-4 * extent(puppet)
    quats = se3.quat_multiply(se3.matrix_to_quat(R), puppet.subject.quats)
    assert turn_between(seen.quats, quats).max() < 5e-4
    assert np.median(turn_between(seen.quats, quats)) < 2e-6


def test_every_frame_of_every_performance_is_eq_1(imported, puppet):
    scene = bpy.context.scene
    for p in puppet.performances:
        importer.activate(imported, p.name, scene=scene)
        assert (scene.frame_start, scene.frame_end) == (1, p.n_frames)
        for frame in range(p.n_frames):
            scene.frame_set(1 + frame)
            assert_posed(imported, puppet, p.bases[:, frame])


@pytest.mark.parametrize("m", [1, 3, 8])
def test_any_number_of_influences(m):
    puppet = puppets.random_puppet(m=m)
    imported = importer.import_puppet(puppet, name="some")
    bpy.context.scene.frame_set(4)
    assert_posed(imported, puppet, puppet.performances[-1].bases[:, 3])


def test_agrees_with_the_puppet_s_own_posing(imported, puppet):
    bpy.context.scene.frame_set(5)
    want, seen = puppet.pose(puppet.performances[-1], 4), export.read_posed(imported)
    assert np.abs(seen.means - want.means).max() < 1e-4 * extent(puppet)


def test_a_bone_moved_by_hand_moves_its_points_and_no_others(imported, puppet):
    p, k = puppet.performances[-1], 3
    still = ~((puppet.index == k) & (puppet.weight > 0)).any(1)
    assert 0 < still.sum() < len(still)
    bpy.context.scene.frame_set(3)
    before = export.read_posed(imported)
    bone = imported.armature.pose.bones[rig.bone_names(imported.armature)[k]]
    moved = Matrix.LocRotScale((0.3, -0.2, 0.5), Quaternion((0.3, 1.0, 0.2), 1.1), None)
    bone.matrix = moved
    bpy.context.view_layer.update()
    # By hand: the bone rests at c with the world's axes, so it carries x to Q (x - c) + l.
    Q, c = np.array(moved.to_3x3(), np.float64), np.array(bone.bone.head_local, np.float64)
    bases = p.bases[:, 2].astype(np.float64)
    bases[k] = se3.pack(Q, np.array(moved.translation, np.float64) - Q @ c)
    assert_posed(imported, puppet, bases)
    after = export.read_posed(imported)
    assert (after.means[still] == before.means[still]).all()
    assert (after.quats[still] == before.quats[still]).all()
    assert (np.abs(after.means - before.means).max(1) > 1e-6)[~still].mean() > 0.9


@pytest.mark.parametrize("region", [rig.WHOLE, 0, 3])
def test_a_region_s_control_turns_it_where_it_is(imported, puppet, region):
    """Its bases move together, rigidly, about the place where their points are at this frame; all
    others stay to the bit."""
    p, scene = puppet.performances[-1], bpy.context.scene
    scene.frame_set(5)
    bones = imported.armature.pose.bones
    names = rig.bone_names(imported.armature)
    mine = np.array(
        [region in (rig.WHOLE, imported.armature.data.bones[n][rig.REGION]) for n in names]
    )
    assert 0 < mine.sum() <= len(mine)
    control = next(
        b for b in bones if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == region
    )
    stood = np.array(control.matrix, np.float64)
    total = np.bincount(puppet.index.ravel(), puppet.weight.ravel(), puppet.n_bases)[mine]
    posed = puppet.subject.means.astype(np.float64)
    places = [
        np.average(
            posed @ se3.gram_schmidt(p.bases[k, 4, :6].astype(float)).T + p.bases[k, 4, 6:],
            0,
            np.where(puppet.index == k, puppet.weight, 0).sum(1),
        )
        for k in np.flatnonzero(mine)
    ]
    np.testing.assert_allclose(stood[:3, 3], np.average(places, 0, total), atol=1e-4)
    control.rotation_quaternion, control.location = (
        Quaternion((0.2, 0.5, 1.0), 0.9),
        (0.1, 0.2, -0.05),
    )
    bpy.context.view_layer.update()
    moved = np.array(control.matrix, np.float64) @ np.linalg.inv(stood)
    np.testing.assert_allclose(
        (moved @ stood)[:3, 3], stood[:3, 3] + stood[:3, :3] @ [0.1, 0.2, -0.05], atol=1e-5
    )
    bases = p.bases[:, 4].astype(np.float64)
    R, t = (
        moved[:3, :3] @ se3.gram_schmidt(bases[:, :6]),
        bases[:, 6:] @ moved[:3, :3].T + moved[:3, 3],
    )
    bases[mine] = se3.pack(R, t)[mine]
    assert_posed(imported, puppet, bases)


def test_between_frames_nothing_jumps():
    """Quaternions are keyed the short way round: half-way poses lie between their neighbours."""
    puppet = puppets.random_puppet(n=60, frames=40, names=("base",))
    imported, scene = importer.import_puppet(puppet, name="smooth"), bpy.context.scene
    p = puppet.performances[-1]
    for frame in range(p.n_frames - 1):
        poses = []
        for f in (1 + frame, 1.5 + frame, 2 + frame):
            scene.frame_set(int(f), subframe=f % 1)
            poses.append([b.matrix.to_quaternion() for b in imported.armature.pose.bones])
        for a, middle, b in zip(*poses, strict=True):
            step = a.rotation_difference(b).angle
            step = min(step, 2 * np.pi - step)
            half = a.rotation_difference(middle).angle
            assert min(half, 2 * np.pi - half) < step * 0.75 + 1e-3


def test_bones_stand_where_their_points_are(imported, puppet):
    means, names = puppet.subject.means, rig.bone_names(imported.armature)
    for k in (0, 5, 11):
        w = np.where(puppet.index == k, puppet.weight, 0).sum(1)
        centre = (w[:, None] * means).sum(0) / w.sum()
        np.testing.assert_allclose(
            imported.armature.data.bones[names[k]].head_local, centre, atol=1e-5
        )


def test_camera_projects_as_the_file_says(imported, puppet):
    """A world point goes through Blender's own camera to the pixel that K and w2c tell, at every
    frame."""
    scene = bpy.context.scene
    x = np.array([0.2, -0.1, 0.3, 1.0])
    for p in puppet.performances:
        importer.activate(imported, p.name, scene=scene)
        for frame in range(p.n_frames):
            scene.frame_set(1 + frame)
            u, v, w = p.K[frame].astype(np.float64) @ (p.w2c[frame].astype(np.float64) @ x)[:3]
            depsgraph = bpy.context.evaluated_depsgraph_get()
            width, height = p.size
            P = imported.camera.calc_matrix_camera(
                depsgraph, x=width, y=height, scale_x=1, scale_y=1
            )
            clip = np.array(P) @ np.array(imported.camera.matrix_world.inverted()) @ x
            pixel = (1 + clip[0] / clip[3]) * width / 2, (1 - clip[1] / clip[3]) * height / 2
            np.testing.assert_allclose(pixel, (u / w, v / w), atol=1e-3)


def test_oblong_pixels():
    puppet = puppets.random_puppet()
    for p in puppet.performances:
        p.K[:, 1, 1] *= 1.25
    imported = importer.import_puppet(puppet, name="oblong")
    p, scene = puppet.performances[-1], bpy.context.scene
    assert scene.render.pixel_aspect_x == pytest.approx(1.25)
    scene.frame_set(4)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    K, w2c = camera.read_camera(
        imported.camera.evaluated_get(depsgraph), depsgraph, p.size, 1 / 1.25
    )
    np.testing.assert_allclose(K, p.K[3], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(w2c, p.w2c[3], atol=1e-5)


def test_scene_is_set_up_and_performances_are_kept(imported, puppet):
    scene, names = bpy.context.scene, [p.name for p in puppet.performances]
    assert [p.name for p in imported.performances] == names
    assert (
        imported.armature.animation_data.action == imported.performances[-1].action
    )  # the restaged one plays
    assert all(p.action.use_fake_user for p in imported.performances)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(23.976, abs=1e-4)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (160, 90)
    assert scene.camera == imported.camera
    assert imported.collection.name == "Restage4D stress"
    assert {c.name for c in imported.collection.children} == {
        f"stress {c}" for c in ("subject", "rig", "background", "camera")
    }


def test_vertex_groups_hold_the_weights(imported, puppet):
    groups, names = imported.points.vertex_groups, rig.bone_names(imported.armature)
    for i in (0, 17, 499):
        dense = np.zeros(puppet.n_bases)
        np.add.at(dense, puppet.index[i], puppet.weight[i])
        seen = {groups[g.group].name: g.weight for g in imported.points.data.vertices[i].groups}
        np.testing.assert_allclose([seen.get(n, 0.0) for n in names], dense, atol=1e-6)


def test_a_static_camera_has_no_keyframes():
    puppet = puppets.random_puppet(names=("base",))
    imported = importer.import_puppet(puppet, name="static")
    assert imported.camera.animation_data is None or imported.camera.animation_data.action is None
    depsgraph = bpy.context.evaluated_depsgraph_get()
    K, w2c = camera.read_camera(imported.camera.evaluated_get(depsgraph), depsgraph, (160, 90), 1.0)
    np.testing.assert_allclose(K, puppet.performances[0].K[0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(w2c, puppet.performances[0].w2c[0], atol=1e-5)


def test_bases_that_are_no_rotations_are_refused_before_anything_is_built():
    puppet = puppets.random_puppet()
    puppet.performances[1].bases[4, 2, 0:3] *= 1.01
    objects = len(bpy.data.objects)
    with pytest.raises(InputError, match="Basis 4 of performance 'jump' is no rotation at frame 2"):
        importer.import_puppet(puppet, name="bad")
    assert len(bpy.data.objects) == objects


def test_the_armature_moves_the_whole_subject(imported, puppet):
    bpy.context.scene.frame_set(2)
    before = export.read_posed(imported)
    turn = Quaternion((0, 0, 1), 0.7)
    imported.armature.rotation_mode = "QUATERNION"
    imported.armature.rotation_quaternion, imported.armature.location = turn, (1, 2, 3)
    bpy.context.view_layer.update()
    after, R = export.read_posed(imported), np.array(turn.to_matrix())
    np.testing.assert_allclose(after.means, before.means @ R.T + np.array([1, 2, 3]), atol=2e-6)
    want = se3.quat_multiply(np.broadcast_to(np.array(turn), before.quats.shape), before.quats)
    assert turn_between(after.quats, want).max() < 1e-5


def test_display_modes_follow_the_rig(imported, puppet):
    """Each mode's geometry has its size and stands where the points are, with their colours."""
    dense = int((puppet.subject.opacities >= 0.2).sum())
    imported.splats.hide_viewport = False  # 5.3 shows splats of its own at first
    modifier = imported.splats.modifiers["Viewport"]
    assert modifier.show_viewport
    assert not modifier.show_render
    bpy.context.scene.frame_set(3)
    posed = export.read_posed(imported)
    centre = posed.means[puppet.subject.opacities >= 0.2].mean(0)

    def geometry(mode):
        compat.set_input(modifier, "Mode", mode)
        return imported.splats.evaluated_get(
            bpy.context.evaluated_depsgraph_get()
        ).evaluated_geometry()

    seen = geometry("Ellipsoids")
    vertices = attributes.read_attribute(seen.mesh, "position", "vector", 3)
    assert len(vertices) == 12 * dense
    np.testing.assert_allclose(vertices.mean(0), centre, atol=1e-4)
    assert seen.mesh.color_attributes.active_color_name == attributes.COLOR
    seen = geometry("Points")
    assert len(seen.mesh.polygons) == 8 * dense
    vertices = attributes.read_attribute(seen.mesh, "position", "vector", 3)
    assert len(vertices) == 7 * dense
    np.testing.assert_allclose(
        vertices[:6].mean(0), posed.means[posed.opacities >= 0.2][0], 0, 1e-4
    )
    assert seen.mesh.color_attributes.active_color_name == attributes.COLOR
    seen = geometry("Splats")
    instances = seen.instances_pointcloud()
    assert len(instances.points) == len(puppet.subject)
    assert set(instances.attributes.keys()) <= {
        "position",
        "instance_transform",
        ".reference_index",
        attributes.COLOR,
        "opacity",
    }
