"""Blender's own splats: the points of Eq. 1, of the right kind, in the right modes, rendered."""

import bpy
import numpy as np
import puppets
import pytest

import blender_addon
from blender_addon.puppet import attributes, importer
from blender_addon.puppet.nodes import native_splats
from blender_addon.viewport import display

pytestmark = pytest.mark.skipif(
    not native_splats.is_available(), reason="this Blender has no splats of its own"
)


@pytest.fixture(autouse=True)
def registered(empty_scene):
    blender_addon.register()
    yield
    blender_addon.unregister()


@pytest.fixture
def shown(registered, imported):
    display.get_display(imported.armature).mode = "GAUSSIANS"
    return imported


def read(obj, name, kind, width):
    data = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty((len(data.points), width), np.float32)
    data.attributes[name].data.foreach_get(kind, values.ravel())
    return values, data.type


def test_they_are_the_rig_s_points(shown, puppet):
    native = native_splats.find_native(shown.splats)
    for frame in (1, 5):
        bpy.context.scene.frame_set(frame)
        posed = puppet.pose("jump", frame - 1)
        means, kind = read(native, "position", "vector", 3)
        assert kind == "GAUSSIAN_SPLAT"
        np.testing.assert_allclose(means, posed.means, atol=2e-5)
        quats, _ = read(native, "rotation", "value", 4)
        assert np.abs((quats * posed.quats).sum(1)).min() > 0.9999
        np.testing.assert_allclose(read(native, "scale", "vector", 3)[0], posed.scales, rtol=1e-5)
    radiance, _ = read(native, "radiance:base", "color", 4)
    np.testing.assert_allclose(radiance[:, :3], puppet.subject.sh[:, 0], atol=1e-6)
    np.testing.assert_allclose(radiance[:, 3], puppet.subject.opacities, atol=1e-6)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_radiance_turns_with_the_bones(degree):
    """Also where another object's points, a background's, stand still."""
    puppet = puppets.random_puppet(80, sh=(degree + 1) ** 2)
    puppet.background = puppets.gaussians(np.random.default_rng(3), 40, (degree + 1) ** 2)
    shown = importer.import_puppet(puppet, name="shiny")
    native = native_splats.find_native(shown.splats)
    names = [f"radiance:sh_{k}" for k in range((degree + 1) ** 2 - 1)]
    for frame in (2, 6):
        bpy.context.scene.frame_set(frame)
        seen = np.stack([read(native, name, "vector", 3)[0] for name in names], 1)
        posed = puppet.pose("jump", frame - 1).sh[:, 1:]
        assert np.abs(posed - puppet.subject.sh[:, 1:]).max() > 0.5
        np.testing.assert_allclose(seen, posed, atol=2e-5)
    still = native_splats.find_native(shown.background_splats)
    seen = np.stack([read(still, name, "vector", 3)[0] for name in names], 1)
    np.testing.assert_allclose(seen, puppet.background.sh[:, 1:], atol=2e-6)


def test_they_have_the_attributes_of_splats_alone(shown):
    """Vertex groups of the bones, taken along, would cost more than all the rest of a frame."""
    native = native_splats.find_native(shown.splats)
    found = native.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.attributes
    names = {a.name for a in found}
    assert names == {"position", "radius", "rotation", "scale", "radiance:base"}


def test_they_follow_a_moved_and_scaled_shot(shown, puppet):
    shown.root.location, shown.root.scale = (1, 2, 3), (2, 2, 2)
    bpy.context.scene.frame_set(3)
    native = native_splats.find_native(shown.splats)
    means, _ = read(native, "position", "vector", 3)
    world = np.array(
        native.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world, np.float64
    )
    placed = means @ world[:3, :3].T + world[:3, 3]
    np.testing.assert_allclose(placed, puppet.pose("jump", 2).means * 2 + [1, 2, 3], atol=1e-4)


def test_modes_show_one_thing_at_a_time(shown):
    settings = display.get_display(shown.armature)
    native, background = (
        native_splats.find_native(d) for d in (shown.splats, shown.background_splats)
    )
    assert not native.hide_viewport
    assert not background.hide_viewport
    assert shown.splats.hide_viewport
    assert shown.splats.hide_render  # its balls would render a second time
    settings.background = False
    assert background.hide_viewport
    assert background.hide_render
    settings.mode = "ELLIPSOIDS"
    assert native.hide_viewport
    assert not shown.splats.hide_viewport
    assert not native.hide_render  # what renders does not depend on what the viewport shows
    settings.mode = "NOTHING"
    assert native.hide_viewport
    assert shown.splats.hide_viewport


def test_a_file_of_an_older_blender_gets_them(shown, tmp_path):
    for part in (shown.splats, shown.background_splats):
        bpy.data.objects.remove(native_splats.find_native(part))
    mesh = shown.points.data  # which keeps the radiance as a colour
    radiance = attributes.read_radiance(mesh)
    mesh.attributes.remove(mesh.attributes["radiance:base"])
    kept = mesh.attributes.new("radiance:base", "FLOAT_COLOR", "POINT")
    kept.data.foreach_set("color", radiance.ravel())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    display.ensure_native_splats()
    splats = next(o for o in bpy.data.objects if o.name.endswith("stress splats"))
    means, kind = read(native_splats.find_native(splats), "position", "vector", 3)
    assert (len(means), kind) == (500, "GAUSSIAN_SPLAT")
    points = next(o for o in bpy.data.objects if o.name.endswith("stress points"))
    np.testing.assert_array_equal(attributes.read_gaussians(points.data).sh[:, 0], radiance[:, :3])


def test_cycles_renders_them(shown, tmp_path):
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 4, "CPU"
    scene.render.film_transparent = True
    scene.render.filepath = str(tmp_path / "a.png")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(tmp_path / "a.png"))
    pixels = np.array(image.pixels[:]).reshape(-1, 4)
    assert pixels[:, 3].max() > 0.5
