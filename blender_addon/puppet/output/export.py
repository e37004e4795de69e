# SPDX-License-Identifier: GPL-3.0-or-later
"""The tweaked puppet as animated points: splat PLY and NPZ sequences, Alembic and USD by Blender's
own operators, .puppet.

Writers are `steps.Steps` of (frames done, frames in all); closed early, they leave nothing behind.
Files are written in threads, beside their place, and moved there when all of them are there.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from restage4d import se3, sh
from restage4d.errors import InputError
from restage4d.io.atomic import replacing
from restage4d.io.ply import join_gaussians, write_ply
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Gaussians
from restage4d.se3 import Array

from ... import compat
from ...session.steps import Steps, in_thread
from .. import attributes, capture, importer
from ..nodes import node_groups, node_tree


@dataclass(frozen=True)
class What:
    """What leaves: the subject, the static background or both, over which scene frames, in the
    world or in the puppet's space.

    ``local`` leaves out what the armature object as a whole was moved by.
    """

    frames: range
    subject: bool = True
    background: bool = False
    local: bool = False


def read_posed(imported: importer.ImportedPuppet, *, local: bool = False) -> Gaussians:
    """The subject's Gaussians as Blender evaluates them now (Eq. 1 of the bones as they stand); SH
    turns with them.

    In the world, or ``local`` to the armature object.
    """
    depsgraph = bpy.context.evaluated_depsgraph_get()
    obj = imported.points.evaluated_get(depsgraph)
    with attributes.reading_mesh(obj) as mesh:
        gaussians = attributes.read_gaussians(mesh)
    if not local:
        gaussians = _transform(gaussians, np.array(obj.matrix_world, np.float64))
    if gaussians.sh.shape[1] > 1:
        with attributes.reading_mesh(imported.points) as mesh:
            rest = attributes.read_attribute(mesh, "rotation", "value", 4)
        rest *= np.array([1, -1, -1, -1], np.float32)
        turn = se3.quat_to_matrix(se3.quat_multiply(gaussians.quats, rest))
        gaussians = replace(gaussians, sh=sh.rotate(gaussians.sh, turn))
    return gaussians


def read_background(imported: importer.ImportedPuppet, *, local: bool = False) -> Gaussians:
    """The background's Gaussians, as moved in the scene."""
    assert imported.background is not None
    with attributes.reading_mesh(imported.background) as mesh:
        g = attributes.read_gaussians(mesh)
    return g if local else _transform(g, np.array(imported.background.matrix_world, np.float64))


def frames_of(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, what: What
) -> Iterator[tuple[int, Gaussians]]:
    """Every frame's number and Gaussians, while the scene steps through them; afterwards it stands
    where it stood.

    Raises:
        InputError: there is nothing to export.
    """
    check(imported, what)
    rest = read_background(imported, local=what.local) if what.background else None
    with capture.step_frames(imported, scene):
        for frame in what.frames:
            scene.frame_set(frame)
            g = read_posed(imported, local=what.local) if what.subject else rest
            assert g is not None
            yield frame, join_gaussians(g, rest) if what.subject and rest is not None else g


def check(imported: importer.ImportedPuppet, what: What) -> None:
    """Raises `InputError` where ``what`` is nothing."""
    if not len(what.frames):
        raise InputError(
            "The frame range is empty.", "Give a last frame that is not before the first."
        )
    if what.background and imported.background is None:
        raise InputError("This puppet has no background.", "Export the subject alone.")
    if not (what.subject or what.background):
        raise InputError(
            "Neither subject nor background is to be exported.", "Choose at least one."
        )


def ply_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, what: What
) -> Steps[None]:
    """Splat PLY files ``NAME_0001.ply`` ... (scene frame numbers) beside ``path``, as
    restage4d.io.ply writes them."""
    with sequence(path, what.frames) as places:
        for i, (frame, g) in enumerate(frames_of(imported, scene, what)):
            yield from in_thread((i, len(what.frames)), partial(write_ply, places[frame], g))
            yield i + 1, len(what.frames)


def npz_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, what: What
) -> Steps[None]:
    """``NAME_0001.npz`` ...: ``means`` (N, 3), ``quats`` (N, 4) wxyz, ``scales`` (N, 3) σ,
    ``opacities`` (N,), ``sh`` (N, C, 3) turned with the Gaussians, ``frame``, ``fps``. Load with
    ``np.load(path, allow_pickle=False)``."""
    rate = scene.render.fps / scene.render.fps_base
    with sequence(path, what.frames) as places:
        for i, (frame, g) in enumerate(frames_of(imported, scene, what)):
            arrays = {**vars(g), "frame": np.int32(frame), "fps": np.float64(rate)}
            yield from in_thread((i, len(what.frames)), partial(np.savez, places[frame], **arrays))
            yield i + 1, len(what.frames)


def puppet_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, tweaked: str = ""
) -> Steps[None]:
    """The ``.puppet``: every performance as its Action plays now; named ``tweaked``, also what
    plays now over the scene's range.

    Raises:
        InputError: ``tweaked`` is a name that is there already, or a bone cannot be a basis.
    """
    if tweaked in [p.name for p in imported.performances]:
        raise InputError(f"There is a performance {tweaked!r} already.", "Give another name.")
    extra = scene.frame_end - scene.frame_start + 1 if tweaked else 0
    total = sum(p.n_frames for p in imported.performances) + extra
    done = 0

    def count(steps: Any) -> Any:
        nonlocal done
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            done += 1
            yield done, total

    added = None
    if tweaked:
        added = yield from count(capture.performance_steps(imported, scene, name=tweaked))
    puppet = yield from count(capture.puppet_steps(imported, scene))
    if added is not None:
        puppet.performances.append(added)
    yield from in_thread((done, total), lambda: puppet.save(path))


@contextmanager
def sequence(path: Path, frames: range) -> Iterator[dict[int, Path]]:
    """Temporary places for ``NAME_0001.ext`` ...; moved beside ``path`` at the end, in place of
    such a sequence from before."""
    folder = path.parent / f".{path.stem[:64]}.{uuid.uuid4().hex}"
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            what = f"{path.parent} cannot be written to: {error.strerror}."
            raise InputError(what, "Choose a folder that may be written to.") from error
        places = {frame: folder / f"{path.stem}_{frame:04d}{path.suffix}" for frame in frames}
        yield places
        for old in path.parent.glob(f"*{path.suffix}"):
            if re.fullmatch(re.escape(path.stem) + r"_-?\d{4,}", old.stem):
                old.unlink()
        for place in places.values():
            os.replace(place, path.parent / place.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def has_alembic() -> bool:
    """Whether this Blender was built with Alembic; some distributions' are not."""
    return "alembic_export" in dir(bpy.ops.wm)


def has_usd() -> bool:
    """The same for USD."""
    return "usd_export" in dir(bpy.ops.wm)


def alembic_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, what: What
) -> Steps[None]:
    """Moving points (positions) by Blender's Alembic exporter, which cannot be interrupted: one
    step.

    Raises:
        InputError: this Blender has no Alembic, or its exporter failed.
    """
    if not has_alembic():
        raise InputError(
            "This Blender was built without Alembic.",
            "Export a sequence, or use Blender from blender.org.",
        )
    yield 0, 1
    with _cache(imported, scene, what, "MESH"), replacing(path) as temporary:
        result = bpy.ops.wm.alembic_export(
            filepath=str(temporary),
            start=what.frames.start,
            end=what.frames.stop - 1,
            selected=True,
            flatten=True,
            evaluation_mode="VIEWPORT",
            as_background_job=False,
            check_existing=False,
        )
        _check_written(result, temporary, path)
    yield 1, 1


def usd_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, what: What
) -> Steps[None]:
    """UsdGeomPoints with time samples by Blender's USD exporter; scale, rotation, opacity and
    colour as primvars. One step.

    Raises:
        InputError: this Blender has no USD, or its exporter failed.
    """
    if not has_usd():
        raise InputError(
            "This Blender was built without USD.",
            "Export a sequence, or use Blender from blender.org.",
        )
    yield 0, 1
    first, last = scene.frame_start, scene.frame_end
    with _cache(imported, scene, what, "POINTCLOUD"), replacing(path) as temporary:
        try:  # its exporter knows no range but the scene's
            scene.frame_start, scene.frame_end = what.frames.start, what.frames.stop - 1
            result = bpy.ops.wm.usd_export(
                filepath=str(temporary),
                selected_objects_only=True,
                export_animation=True,
                evaluation_mode="VIEWPORT",
                export_materials=False,
                export_custom_properties=False,
                convert_world_material=False,
                check_existing=False,
            )
        finally:
            scene.frame_start, scene.frame_end = first, last
        _check_written(result, temporary, path)
    yield 1, 1


def _check_written(result: set | None, temporary: Path, path: Path) -> None:
    if (
        not result
        or "FINISHED" not in result
        or not temporary.exists()
        or temporary.stat().st_size == 0
    ):
        raise InputError(
            f"Blender could not write {path}.", "See Blender's console for its reason."
        )


@contextmanager
def _cache(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, what: What, kind: str
) -> Iterator[Any]:
    """An object that follows what is to be exported, the only one selected; gone again
    afterwards."""
    check(imported, what)
    name = imported.armature.name.removesuffix(" bases")
    kept: Any = bpy.data.meshes if kind == "MESH" else bpy.data.pointclouds
    data = kept.new(name)
    obj = bpy.data.objects.new(name, data)
    groups = [group.name for group in imported.points.vertex_groups]
    tree = node_groups.make_cache(points=kind == "POINTCLOUD", local=what.local, groups=groups)
    layer = bpy.context.view_layer
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    selected, active = list(bpy.context.selected_objects), layer.objects.active
    with capture.step_frames(imported, scene):
        try:
            scene.collection.objects.link(obj)
            modifier = node_tree.add_modifier(obj, "Cache", tree)
            for part, source in (("Subject", imported.points), ("Background", imported.background)):
                if getattr(what, part.lower()):
                    compat.set_input(modifier, part, source)
            for o in selected:
                o.select_set(False)
            obj.select_set(True)
            layer.objects.active = obj
            yield obj
        finally:
            bpy.data.objects.remove(obj)
            kept.remove(data)
            bpy.data.node_groups.remove(tree)
            for o in selected:
                o.select_set(True)
            layer.objects.active = active


def run(steps: Steps[None], progress: Progress | None = None) -> None:
    """Runs a writer to its end, reporting to ``progress``; cancelled there, it leaves nothing
    behind."""
    try:
        first = next(steps, None)
        if first is not None:
            with (progress or Progress()).task(TaskId.EXPORT, first[1]) as stage:
                stage.advance(first[0])
                done = first[0]
                for now, _ in steps:
                    stage.advance(now - done)
                    done = now
    finally:
        steps.close()


def _transform(g: Gaussians, world: Array) -> Gaussians:
    """Gaussians under a rigid motion (4, 4); an object's scale has no place in a Gaussian's
    rotation."""
    R, t = world[:3, :3], world[:3, 3]
    if np.abs(world - np.eye(4)).max() <= 1e-7:
        return g
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-3:
        raise InputError(
            "The puppet is scaled in the scene.", "Clear the scale of its armature and points."
        )
    turn = se3.matrix_to_quat(R)
    return replace(
        g,
        means=(g.means @ R.T + t).astype(np.float32),
        quats=se3.quat_multiply(np.broadcast_to(turn, g.quats.shape), g.quats).astype(np.float32),
    )
