# SPDX-License-Identifier: GPL-3.0-or-later
"""The tweaked puppet as animated points: splat PLY and NPZ sequences, Alembic and USD by Blender's
own operators, .puppet.

Writers are `steps.Steps` of (frames done, frames in all); closed early, they leave nothing behind.
Files are written in threads, beside their place, and moved there when all of them are there and
whole: until then, and after any failure, what was there before is as it was.
"""

from collections.abc import Callable, Iterator
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

from ... import compat
from ...session.steps import Steps, in_thread
from .. import attributes, capture, importer
from ..nodes import node_tree
from ..nodes.cache import make_cache
from ..playback.stepping import check_posed, step_frames
from .sequences import list_frames, sequence_steps
from .verify import ensure_room, find_alembic_damage, find_usd_damage


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
        world = np.array(obj.matrix_world, np.float64)
        gaussians = capture.transform(gaussians, world, imported.points.name)
    if gaussians.sh.shape[1] > 1:
        with attributes.reading_mesh(imported.points) as mesh:
            rest = attributes.read_attribute(mesh, "rotation", "value", 4)
        rest *= np.array([1, -1, -1, -1], np.float32)
        turn = se3.quat_to_matrix(se3.quat_multiply(gaussians.quats, rest))
        gaussians = replace(gaussians, sh=sh.rotate(gaussians.sh, turn))
    return gaussians


def check(imported: importer.ImportedPuppet, what: What) -> None:
    """Raises `InputError` where ``what`` is nothing, or where Blender poses no bones now."""
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
    if what.subject:
        check_posed(imported)


def ply_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, what: What
) -> Steps[None]:
    """Splat PLY files ``NAME_0001.ply`` ... (scene frame numbers) beside ``path``, as
    restage4d.io.ply writes them."""
    return _frame_steps(imported, scene, path, what, lambda place, _, g: write_ply(place, g))


def npz_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, path: Path, what: What
) -> Steps[None]:
    """``NAME_0001.npz`` ...: ``means`` (N, 3), ``quats`` (N, 4) wxyz, ``scales`` (N, 3) σ,
    ``opacities`` (N,), ``sh`` (N, C, 3) turned with the Gaussians, ``frame``, ``fps``. Load with
    ``np.load(path, allow_pickle=False)``."""
    rate = np.float64(scene.render.fps / scene.render.fps_base)

    def write(place: Path, frame: int, g: Gaussians) -> None:
        np.savez(place, frame=np.int32(frame), fps=rate, **vars(g))

    return _frame_steps(imported, scene, path, what, write)


def _frame_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    path: Path,
    what: What,
    write: Callable[[Path, int, Gaussians], None],
) -> Steps[None]:
    """A file of every frame, which a thread writes: place, frame and Gaussians are given to
    ``write``. Afterwards the scene stands where it stood."""
    check(imported, what)
    places, total = list_frames(path, what.frames), len(what.frames)

    def make(folder: Path) -> Steps[None]:
        with step_frames(imported, scene) as back:
            for i, frame in enumerate(what.frames):
                yield i, total
                scene.frame_set(frame)
                yield i, total
                g = _read_frame(imported, what)
                place = folder / places[frame].name
                yield from in_thread((i, total), partial(write, place, frame, g))
            for _ in back:
                yield total, total

    yield from sequence_steps(path.parent, (total, total), make)


def _read_frame(imported: importer.ImportedPuppet, what: What) -> Gaussians:
    """What leaves of the scene as it stands now."""
    parts = [read_posed(imported, local=what.local)] if what.subject else []
    if what.background:  # in every frame: the root may move it
        parts.append(capture.read_background(imported, local=what.local))
    return join_gaussians(*parts) if len(parts) > 1 else parts[0]


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
    steps, total = (
        capture.puppet_steps(imported, scene, tweaked),
        capture.count_frames(imported, scene, tweaked),
    )
    done = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            puppet = end.value
            break
        done = min(done + 1, total)
        yield done, total
    yield from in_thread((done, total), lambda: puppet.save(path))


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
        # Its exporter ends Blender, without a word, where a write fails.
        ensure_room(temporary, _estimate_alembic(imported, what), path)
        _run_exporter(
            bpy.ops.wm.alembic_export,
            path,
            filepath=str(temporary),
            start=what.frames.start,
            end=what.frames.stop - 1,
            selected=True,
            flatten=True,
            evaluation_mode="VIEWPORT",
            as_background_job=False,
            check_existing=False,
        )
        _check_written(temporary, path, find_alembic_damage)
    yield 1, 1


def _estimate_alembic(imported: importer.ImportedPuppet, what: What) -> int:
    """Bytes of the file at most: positions, and what Alembic says of each sample."""
    return len(what.frames) * (12 * _count_points(imported, what) + 1024) + 2**20


def _count_points(imported: importer.ImportedPuppet, what: What) -> int:
    parts = [imported.points] * what.subject
    if what.background and imported.background is not None:
        parts.append(imported.background)
    return sum(len(attributes.get_mesh(part).vertices) for part in parts)


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
    if len(what.frames) and what.frames.start < 0:
        raise InputError(
            "Blender's USD exporter knows no frames before 0.", "Give a range that begins later."
        )
    first, last = scene.frame_start, scene.frame_end
    with _cache(imported, scene, what, "POINTCLOUD"), replacing(path) as temporary:
        try:  # its exporter knows no range but the scene's
            scene.frame_start, scene.frame_end = what.frames.start, what.frames.stop - 1
            _run_exporter(
                bpy.ops.wm.usd_export,
                path,
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
        n_points = _count_points(imported, what)
        find_damage = partial(find_usd_damage, frames=what.frames, n_points=n_points)
        _check_written(temporary, path, find_damage)
    yield 1, 1


def _run_exporter(operator: Any, path: Path, **options: Any) -> None:
    """Runs one of Blender's exporters; what it fails by becomes an `InputError`."""
    try:
        result = operator(**options)
    except RuntimeError as error:
        told = str(error).strip().removeprefix("Error: ")
        temporary = Path(options["filepath"])
        told = told.replace(str(temporary), str(path)).replace(temporary.name, path.name)
        raise InputError(
            f"Blender could not write {path}: {told}",
            "Mend that, or write elsewhere.",
        ) from error
    if "FINISHED" not in result:
        raise InputError(
            f"Blender could not write {path}.", "See Blender's console for its reason."
        )


def _check_written(temporary: Path, path: Path, find_damage: Callable[[Path], str]) -> None:
    damage = find_damage(temporary) if temporary.is_file() else "there is no file"
    if damage:
        raise InputError(
            f"Blender could not write {path} whole: {damage}.",
            "Free some space or write elsewhere, and see Blender's console for its reason.",
        )


def _leave_mode() -> None:
    """To Object Mode, in which Blender's exporters want the scene."""
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")


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
    tree = make_cache(points=kind == "POINTCLOUD", local=what.local)
    layer = bpy.context.view_layer
    _leave_mode()
    selected, active = list(bpy.context.selected_objects), layer.objects.active
    with step_frames(imported, scene):
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
