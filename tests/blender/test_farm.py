"""A saved .blend plays on a machine without the extension, as Blender's own splats where it has
them, and stays small."""

import bpy
import numpy as np
import puppets

import blender_addon
from blender_addon.puppet import attributes, importer
from blender_addon.puppet.nodes import native_splats
from blender_addon.viewport import display


def save_puppet(puppet, path):
    blender_addon.register()
    try:
        imported = importer.import_puppet(puppet, name="farm")
        display.get_display(imported.armature).mode = "GAUSSIANS"
        bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=True)
    finally:
        blender_addon.unregister()


def test_it_plays_without_the_extension(tmp_path):
    puppet = puppets.random_puppet(700, sh=4)
    save_puppet(puppet, tmp_path / "a.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert not hasattr(bpy.types, "RESTAGE4D_OT_import_puppet")
    scene = bpy.context.scene
    for frame in (1, 4, 9):
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        posed = puppet.pose("jump", frame - 1)
        with attributes.reading_mesh(bpy.data.objects["farm points"].evaluated_get(depsgraph)) as m:
            seen = attributes.read_gaussians(m)
        np.testing.assert_allclose(seen.means, posed.means, atol=2e-5)
        assert np.abs((seen.quats * posed.quats).sum(1)).min() > 0.9999
        if native_splats.is_available():
            native = bpy.data.objects["farm splats native"]
            assert not native.hide_render
            # what a render evaluates; in the viewport a saved file shows ellipsoids
            native.hide_viewport = False
            data = native.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
            assert (len(data.points), data.type) == (700, "GAUSSIAN_SPLAT")
            sh = np.empty((700, 3), np.float32)
            data.attributes["radiance:sh_1"].data.foreach_get("vector", sh.ravel())
            np.testing.assert_allclose(sh, posed.sh[:, 2], atol=2e-5)


def test_it_weighs_at_most_five_bytes_a_point_and_frame(tmp_path):
    n, frames = 20_000, 100
    puppet = puppets.random_puppet(n, 30, frames, names=("base",))
    save_puppet(puppet, tmp_path / "a.blend")
    size = (tmp_path / "a.blend").stat().st_size
    print(f"{size / (n * frames):.2f} bytes a point and frame")
    assert size / (n * frames) <= 5
