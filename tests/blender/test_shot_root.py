"""One root for subject, background and camera: what leaves Blender follows it, also its scale."""

import bpy
import numpy as np
import pytest
from rig_checks import find_control

import blender_addon
from blender_addon.puppet import capture, importer
from blender_addon.puppet.in_scene import shot_root
from blender_addon.puppet.output import export, render_job
from blender_addon.session.steps import drain
from restage4d import se3
from restage4d.errors import InputError
from restage4d.io.ply import read_ply
from restage4d.skeleton.body_parts import BodyPart

SIZE = 2.5


@pytest.fixture
def grown(creature):
    """A puppet whose root was moved, turned and made larger, and the world of that."""
    puppet, imported = creature
    imported.root.location = (3, -1, 2)
    imported.root.rotation_euler = (0.4, -0.3, 1.1)
    imported.root.scale = (SIZE,) * 3
    bpy.context.scene.frame_set(4)
    return puppet, imported, np.array(imported.root.matrix_world, np.float64)


def move(means, world):
    return means @ world[:3, :3].T + world[:3, 3]


def expect(puppet, world, frame):
    """Means, σ and rotations of the last performance's frame, under the root."""
    g = puppet.pose(puppet.performances[-1], frame)
    turn = se3.matrix_to_quat(world[:3, :3] / SIZE)
    quats = se3.quat_multiply(np.broadcast_to(turn, g.quats.shape), g.quats)
    return move(g.means, world), SIZE * g.scales, quats


def assert_gaussians(g, want, n=None):
    means, scales, quats = want
    np.testing.assert_allclose(g.means[:n], means, atol=2e-4)
    np.testing.assert_allclose(g.scales[:n], scales, rtol=1e-5)
    np.testing.assert_allclose(np.abs((g.quats[:n] * quats).sum(1)), 1, atol=1e-5)


def test_subject_background_and_camera_hang_on_one_root(creature):
    _, imported = creature
    assert [imported.armature.parent, imported.background.parent, imported.camera.parent] == [
        imported.root
    ] * 3
    np.testing.assert_array_equal(np.array(imported.root.matrix_world), np.eye(4))


def test_the_camera_sees_the_same_whatever_the_root_does(grown):
    puppet, imported, world = grown
    _, w2c = capture.camera.read_camera(
        imported.camera.evaluated_get(bpy.context.evaluated_depsgraph_get()),
        bpy.context.evaluated_depsgraph_get(),
        (96, 72),
        1.0,
    )
    g = puppet.pose(puppet.performances[-1], 3)
    before = move(g.means, puppet.performances[-1].w2c[3].astype(np.float64))
    np.testing.assert_allclose(move(move(g.means, world), w2c), SIZE * before, atol=1e-4)
    lens = imported.camera.data
    far = np.linalg.norm(before, axis=1).max()
    assert lens.clip_end > SIZE * far
    bpy.context.view_layer.update()
    end = lens.clip_end
    imported.root.scale = (2 * SIZE,) * 3
    bpy.context.view_layer.update()
    assert lens.clip_end == pytest.approx(2 * end, rel=1e-5)


@pytest.mark.parametrize("writer", ["ply", "npz"])
def test_sequences_follow_the_root_with_sigma(tmp_path, grown, writer):
    puppet, imported, world = grown
    what = export.What(range(5, 6), background=True)
    path = tmp_path / f"a.{writer}"
    drain(getattr(export, f"{writer}_steps")(imported, bpy.context.scene, path, what))
    if writer == "ply":
        g = read_ply(tmp_path / "a_0005.ply")
    else:
        g = puppet.subject.__class__(
            *(
                np.load(tmp_path / "a_0005.npz")[k]
                for k in ("means", "quats", "scales", "opacities", "sh")
            )
        )
    n = len(puppet.subject)
    assert_gaussians(g, expect(puppet, world, 4), n)
    np.testing.assert_allclose(g.means[n:], move(puppet.background.means, world), atol=2e-4)
    np.testing.assert_allclose(g.scales[n:], SIZE * puppet.background.scales, rtol=1e-5)


def test_a_puppet_file_follows_the_root_and_metres_stay_metres(grown):
    puppet, imported, world = grown
    imported.about["body"] = [BodyPart("tail", (1.0, 0.0, 0.0), (2.0, 0.0, 1.0))]
    importer.remember(imported)
    imported = importer.recall(imported.armature)
    taken = capture.capture_puppet(imported, bpy.context.scene)
    assert_gaussians(taken.pose(taken.performances[-1], 4), expect(puppet, world, 4))
    np.testing.assert_allclose(
        taken.background.means, move(puppet.background.means, world), 0, 2e-4
    )
    assert taken.metres_per_unit == pytest.approx(puppet.metres_per_unit / SIZE)
    (tail,) = taken.body
    np.testing.assert_allclose((tail.joint, tail.tip), [(SIZE, 0, 0), (2 * SIZE, 0, SIZE)], 1e-6)
    before = puppet.performances[-1].w2c[2].astype(np.float64)
    after = taken.performances[-1].w2c[2] @ world
    np.testing.assert_allclose(after[:3], SIZE * before[:3], atol=1e-4)


def test_rendered_splats_follow_the_root(grown):
    puppet, imported, world = grown
    scene = bpy.context.scene
    scene.camera = imported.camera
    drawn = drain(render_job.render_steps(imported, scene, range(5, 6), background=True))
    assert_gaussians(drawn.pose(drawn.performances[0], 0), expect(puppet, world, 4))


@pytest.mark.parametrize("kind", ["MESH", "POINTCLOUD"])
def test_caches_follow_the_root_with_sigma(grown, kind):
    """What Blender's Alembic (positions alone) and USD exporters see."""
    puppet, imported, world = grown
    what = export.What(range(4, 5), background=True)
    with export._cache(imported, bpy.context.scene, what, kind) as obj:
        bpy.context.scene.frame_set(4)
        seen = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
        data = seen.to_mesh() if kind == "MESH" else seen.data
        n = len(puppet.subject)
        want = expect(puppet, world, 3)
        means = np.empty((n + len(puppet.background), 3), np.float32)
        data.attributes["position"].data.foreach_get("vector", means.ravel())
        np.testing.assert_allclose(means[:n], want[0], atol=2e-4)
        if kind == "MESH":
            return
        scales = np.empty_like(means)
        data.attributes["scale"].data.foreach_get("vector", scales.ravel())
    np.testing.assert_allclose(scales[:n], want[1], rtol=1e-4)
    np.testing.assert_allclose(scales[n:], SIZE * puppet.background.scales, rtol=1e-4)


def take_now(imported):
    """What plays now over the scene's frames, as a performance."""
    return capture.capture_puppet(imported, bpy.context.scene, also="x").performances[-1]


def test_a_scaled_armature_leaves_too(creature):
    puppet, imported = creature
    imported.armature.scale = (0.5,) * 3
    control = find_control(imported, 0)
    control.location.x += 0.1
    bpy.context.scene.frame_set(2)
    taken = take_now(imported)
    g = export.read_posed(imported)
    np.testing.assert_allclose(g.scales, 0.5 * puppet.subject.scales, rtol=1e-5)
    lengths = np.linalg.norm(taken.bases[..., :3], axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.parametrize("scale", [(1, 1, 2), (-1, 1, 1), (0, 0, 0)])
def test_what_no_gaussian_can_follow_is_refused_by_name(creature, scale):
    _, imported = creature
    imported.root.scale = scale
    bpy.context.view_layer.update()
    with pytest.raises(InputError, match=r"'creature bases' is stretched, sheared or mirrored"):
        take_now(imported)
    with pytest.raises(InputError, match="stretched, sheared or mirrored"):
        export.read_posed(imported)


def test_a_size_that_changes_is_told(creature):
    _, imported = creature
    for frame, size in ((1, 1.0), (9, 2.0)):
        imported.root.scale = (size,) * 3
        imported.root.keyframe_insert("scale", frame=frame)
    with pytest.raises(InputError, match="changes its size from frame 1 to 10"):
        take_now(imported)


def test_a_hidden_background_stands_where_the_root_carries_it(grown):
    _, imported, world = grown
    depsgraph = bpy.context.evaluated_depsgraph_get()
    assert imported.background.hide_viewport
    np.testing.assert_allclose(shot_root.read_world(imported.background, depsgraph), world, 0, 1e-6)


def test_a_file_from_before_gets_a_root_and_nothing_moves(tmp_path, imported):
    """As files were saved before there was one."""
    for obj in (imported.armature, imported.background, imported.camera):
        obj.parent = None
    for name in ("clip_start", "clip_end", "display_size"):
        imported.camera.data.driver_remove(name)
    imported.armature.location.x = 2
    bpy.data.objects.remove(imported.root)
    imported.root = None
    importer.remember(imported)
    bpy.context.view_layer.update()
    stood = [np.array(imported.armature.matrix_world), np.array(imported.camera.matrix_world)]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "old.blend"))
    blender_addon.register()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "old.blend"))
        (found,) = importer.find_puppets(bpy.context.scene)
        assert found.root is not None
        assert found.background.parent == found.camera.parent == found.root
        bpy.context.view_layer.update()
        np.testing.assert_allclose(np.array(found.armature.matrix_world), stood[0], atol=1e-6)
        np.testing.assert_allclose(np.array(found.camera.matrix_world), stood[1], atol=1e-6)
    finally:
        blender_addon.unregister()
