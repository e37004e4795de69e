"""Blender's gpu module without a window, for tests of what is drawn."""

import bpy
import gpu


def gpu_context():
    """Makes what the gpu module needs."""
    if hasattr(gpu, "init"):
        gpu.init()
    else:
        scene = bpy.context.scene
        if scene.camera is None:
            scene.camera = bpy.data.objects.new("any", bpy.data.cameras.new("any"))
            scene.collection.objects.link(scene.camera)
        engine, size = scene.render.engine, (scene.render.resolution_x, scene.render.resolution_y)
        scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = (
            "BLENDER_WORKBENCH",
            8,
            8,
        )
        bpy.ops.render.render()
        scene.render.engine, (scene.render.resolution_x, scene.render.resolution_y) = engine, size
