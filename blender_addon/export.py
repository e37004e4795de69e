# SPDX-License-Identifier: GPL-3.0-or-later
"""The tweaked puppet as animated points: numpy arrays, and Alembic by Blender's own operator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.files import replacing
from restage4d.progress import Progress
from restage4d.puppet import Gaussians
from restage4d.se3 import Array

from . import capture, importing, splats


def posed(imported: importing.ImportedPuppet) -> Gaussians:
    """The subject's Gaussians in the world as Blender evaluates them now (Eq. 1 of the bones as they stand)."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    obj = imported.points.evaluated_get(depsgraph)
    mesh = obj.to_mesh()
    try:
        gaussians = splats.read_gaussians(mesh)
    finally:
        obj.to_mesh_clear()
    world = np.array(obj.matrix_world, np.float64)
    if np.abs(world - np.eye(4)).max() > 1e-7:
        gaussians = _moved(gaussians, world)
    return gaussians


def export_npz(
    imported: importing.ImportedPuppet, scene: Any, path: Path, *, frames: range | None = None, progress: Progress | None = None
) -> None:
    """Writes per-frame Gaussians in the world, the scene's range by default.

    Arrays: ``means`` (T, N, 3), ``quats`` (T, N, 4) wxyz, ``scales`` (N, 3) σ, ``opacities`` (N,), ``sh`` (N, C, 3) not
    rotated, ``frames`` (T,), ``fps``. Load with ``np.load(path, allow_pickle=False)``.
    """
    frames = range(scene.frame_start, scene.frame_end + 1) if frames is None else frames
    n = len(imported.points.data.vertices)
    means, quats = np.empty((len(frames), n, 3), np.float32), np.empty((len(frames), n, 4), np.float32)
    g = None
    with (progress or Progress()).stage("export", len(frames)) as stage, capture.playing(imported, scene):
        for i, frame in enumerate(frames):
            scene.frame_set(frame)
            g = posed(imported)
            means[i], quats[i] = g.means, g.quats
            stage.advance()
    assert g is not None, "an empty frame range"
    rate = scene.render.fps / scene.render.fps_base
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            means=means,
            quats=quats,
            scales=g.scales,
            opacities=g.opacities,
            sh=g.sh,
            frames=np.array(frames, np.int32),
            fps=np.float64(rate),
        )


def has_alembic() -> bool:
    """Whether this Blender was built with Alembic; some distributions' are not."""
    return "alembic_export" in dir(bpy.ops.wm)


def export_alembic(imported: importing.ImportedPuppet, scene: Any, path: Path, *, frames: range | None = None) -> None:
    """Writes the moving points (positions) by Blender's exporter, the scene's range by default. Blocks until done.

    Raises:
        InputError: this Blender has no Alembic, or its exporter failed.
    """
    if not has_alembic():
        raise InputError("This Blender was built without Alembic.", "Export NPZ, or use Blender from blender.org.")
    frames = range(scene.frame_start, scene.frame_end + 1) if frames is None else frames
    layer = bpy.context.view_layer
    selected, active = list(bpy.context.selected_objects), layer.objects.active
    with capture.playing(imported, scene), replacing(path) as temporary:
        try:
            for o in selected:
                o.select_set(False)
            imported.points.select_set(True)
            layer.objects.active = imported.points
            result = bpy.ops.wm.alembic_export(
                filepath=str(temporary),
                start=frames.start,
                end=frames.stop - 1,
                selected=True,
                flatten=True,
                evaluation_mode="VIEWPORT",
                as_background_job=False,
                check_existing=False,
            )
        finally:
            imported.points.select_set(False)
            for o in selected:
                o.select_set(True)
            layer.objects.active = active
        if "FINISHED" not in result or temporary.stat().st_size == 0:
            raise InputError(f"Blender could not write {path}.", "See Blender's console for its reason.")


def _moved(g: Gaussians, world: Array) -> Gaussians:
    """Gaussians under a rigid motion (4, 4); an object's scale has no place in a Gaussian's rotation."""
    R, t = world[:3, :3], world[:3, 3]
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-3:
        raise InputError("The puppet is scaled in the scene.", "Clear the scale of its armature and points.")
    turn = se3.matrix_to_quat(R)
    return replace(
        g,
        means=(g.means @ R.T + t).astype(np.float32),
        quats=se3.quat_multiply(np.broadcast_to(turn, g.quats.shape), g.quats).astype(np.float32),
    )
