"""How a puppet shows, and what a file with one goes through in a studio."""

import bpy
import numpy as np
import pytest
from rig_checks import assert_eq_1, find_control

import blender_addon
from blender_addon.puppet import attributes, importer, rig
from blender_addon.puppet.nodes import native_splats
from blender_addon.puppet.output import export
from blender_addon.viewport import splat_drawing
from restage4d.puppet import sh_to_rgb
from restage4d.srgb import srgb_to_linear

pytestmark = pytest.mark.usefixtures("registered")


def test_display_says_what_shows(creature):
    _, imported = creature
    settings = imported.armature.restage4d_display
    assert settings.mode == "ELLIPSOIDS"
    settings.mode = "GAUSSIANS"
    assert imported.splats.hide_viewport
    assert imported.background_splats.hide_viewport
    settings.mode = "POINTS"
    assert not imported.splats.hide_viewport
    seen = imported.splats.evaluated_get(bpy.context.evaluated_depsgraph_get()).evaluated_geometry()
    faint = creature[0].subject.opacities < 0.2
    assert len(seen.mesh.polygons) == 8 * (~faint).sum()
    settings.background = False
    assert imported.background_splats.hide_viewport
    settings.color = "REGIONS"
    bpy.context.view_layer.update()
    geometry = imported.splats.evaluated_get(
        bpy.context.evaluated_depsgraph_get()
    ).evaluated_geometry()
    seen = geometry.mesh
    color = np.empty(4 * len(seen.vertices), np.float32)
    seen.attributes[attributes.COLOR].data.foreach_get("color", color)
    palette = srgb_to_linear(rig.region_colors(imported.armature))
    off = np.abs(color.reshape(-1, 4)[:, None, :3] - palette).max(-1)
    assert off.min(1).max() < 1e-3
    assert len(np.unique(off.argmin(1))) >= len(palette) - 1  # a short neck has hardly any points


def test_gaussians_are_saved_as_ellipsoids(tmp_path, creature):
    """A file opened without the extension shows the puppet; opened with it, it looks as it did."""
    _, imported = creature
    imported.armature.restage4d_display.mode = "GAUSSIANS"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    assert imported.splats.hide_viewport
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
        (found,) = importer.find_puppets(bpy.context.scene)
        native = native_splats.find_native(found.splats)
        assert not (native or found.splats).hide_viewport  # 5.3 shows its own splats
    finally:
        blender_addon.register()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    (found,) = importer.find_puppets(bpy.context.scene)
    assert found.armature.restage4d_display.mode == "GAUSSIANS"
    assert found.splats.hide_viewport


def test_cloud_of_a_moved_puppet_is_its_gaussians(creature):
    puppet, imported = creature
    scene = bpy.context.scene
    imported.armature.location = (1, 2, 3)
    imported.armature.rotation_euler = (0.3, 0.2, 1.0)
    scene.frame_set(6)
    want = export.read_posed(imported)
    obj = imported.points.evaluated_get(bpy.context.evaluated_depsgraph_get())
    means, quats, scales, opacities, colors = splat_drawing.read_gaussians(
        obj, "FILMED", np.array(obj.matrix_world)
    )
    np.testing.assert_allclose(means, want.means, atol=1e-5)
    np.testing.assert_allclose(np.abs((quats * want.quats).sum(1)), 1, atol=1e-5)
    np.testing.assert_array_equal(scales, puppet.subject.scales)
    np.testing.assert_array_equal(opacities, puppet.subject.opacities)
    np.testing.assert_allclose(colors, sh_to_rgb(puppet.subject.sh[:, 0]).clip(0), atol=1e-6)


def test_undo_takes_a_moved_handle_back(creature):
    puppet, imported = creature
    scene = bpy.context.scene
    scene.frame_set(3)
    name = find_control(imported, 0).name
    bpy.ops.ed.undo_push(message="before")
    find_control(imported, 0).location = (0, 0, 1)
    bpy.context.view_layer.update()
    bpy.ops.ed.undo_push(message="moved")
    bpy.ops.ed.undo()
    (imported,) = importer.find_puppets(bpy.context.scene)
    assert imported.armature.pose.bones[name].location.length == 0
    want = puppet.pose(puppet.performances[-1], 2).means
    bpy.context.scene.frame_set(3)
    np.testing.assert_allclose(export.read_posed(imported).means, want, atol=1e-4)
    bpy.ops.ed.redo()
    (imported,) = importer.find_puppets(bpy.context.scene)
    assert imported.armature.pose.bones[name].location.z == 1
    assert_eq_1(imported, puppet)


def test_a_linked_puppet_plays(tmp_path, imported, puppet):
    """Linked from another file, as a collection in the scene: it plays there, and stays what it is
    in its own."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "a.blend"), link=True) as (there, here):
        here.collections = [n for n in there.collections if n == "Restage4D stress"]
    bpy.context.scene.collection.children.link(here.collections[0])
    (found,) = importer.find_puppets(bpy.context.scene)
    assert found.armature.library is not None
    bpy.context.scene.frame_set(4)
    want = puppet.pose(puppet.performances[-1], 3).means
    np.testing.assert_allclose(export.read_posed(found).means, want, atol=2e-4)


def test_the_whole_collection_duplicates(imported, puppet):
    """Every object of the collection copied, as with Alt+D or a full copy of the scene: two puppets
    apart."""
    bpy.ops.scene.new(type="FULL_COPY")
    (copy,) = importer.find_puppets(bpy.context.scene)
    assert copy.armature != imported.armature
    assert copy.points != imported.points
    bpy.context.scene.frame_set(5)
    find_control(copy, 0).location.x += 1
    bpy.context.view_layer.update()
    assert_eq_1(copy, puppet)
