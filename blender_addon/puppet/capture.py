# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist made of a puppet, read back: bones into bases, camera into K and w2c, everything
into a `Puppet`.

The inverse of `importer.import_puppet`: a puppet imported and captured is the same to float32.
"""

import itertools
import math
from collections.abc import Container, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d import se3, sh
from restage4d.errors import InputError
from restage4d.progress import Progress, TaskId
from restage4d.puppet import (
    F32,
    Gaussians,
    Performance,
    Puppet,
)
from restage4d.se3 import Array
from restage4d.skeleton.extending import LOSS, extend_bases

from ..session.steps import in_thread
from ..skeleton import build as body_rig
from . import actions, attributes, camera, importer, rig
from .in_scene import shot_root
from .playback import alone
from .playback.stepping import evaluate_hidden, step_frames

SAME_SIZE = 1e-4  # how much, relatively, a puppet's size may change while it is read
T = TypeVar("T")


def capture_puppet(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    *,
    also: str = "",
    progress: Progress | None = None,
) -> Puppet:
    """The whole puppet from the .blend alone: points as they are, every performance as its Action
    plays over its own frames; named ``also``, as a last one what plays now over the scene's range.

    Where a skeleton was posed there are more bases (`restage4d.skeleton.extending`).

    Bones that were moved without a key are at rest in it (see `importer.play`); the armature
    object's own place counts for all. The scene is left as it was.

    Raises:
        InputError: a bone is scaled or sheared, or was deleted; the puppet changes its size.
    """
    return run_steps(
        puppet_steps(imported, scene, also), count_frames(imported, scene, also), progress
    )


def count_frames(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    also: str = "",
    names: Container[str] | None = None,
) -> int:
    """How many frames `puppet_steps` reads; what it yields beyond these is work at the end."""
    extra = scene.frame_end - scene.frame_start + 1 if also else 0
    return sum(p.n_frames for p in _choose(imported, names)) + extra


def run_steps(steps: Generator[None, None, T], total: int, progress: Progress | None) -> T:
    """Runs a generator that yields once a frame, and may yield beyond these at its end, and
    returns its value."""
    with (progress or Progress()).task(TaskId.CAPTURE, total) as stage:
        try:
            for done in itertools.count():
                next(steps)
                stage.advance(int(done < total))
        except StopIteration as end:
            return end.value
        finally:
            steps.close()
    raise AssertionError  # it ends by its value alone


@dataclass(frozen=True)
class Take:
    """What bones and camera held over some frames: ``bases`` (K, T, 9), ``changes`` (S, T, 4, 4) of
    the skeleton's bones (None without a skeleton), ``K`` (T, 3, 3), ``w2c`` (T, 4, 4); ``size``:
    how many times larger the puppet stands in the scene."""

    bases: F32
    changes: Array | None
    K: F32
    w2c: F32
    size: float


def puppet_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    also: str = "",
    names: Container[str] | None = None,
) -> Generator[None, None, Puppet]:
    """`capture_puppet`, yielding once a frame and then, so that no step is long, between what it
    makes of the frames; with ``names``, these performances alone."""
    return (yield from make_steps(imported, *(yield from take_steps(imported, scene, also, names))))


def _choose(
    imported: importer.ImportedPuppet, names: Container[str] | None
) -> list[importer.ImportedPerformance]:
    return [p for p in imported.performances if names is None or p.name in names]


def make_nothing() -> Gaussians:
    """No Gaussians at all."""
    return Gaussians(*(np.zeros((0, *s), np.float32) for s in ((3,), (4,), (3,), (), (1, 3))))


def take_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    also: str = "",
    names: Container[str] | None = None,
) -> Generator[None, None, tuple[list[Performance], list[Take]]]:
    """Performances with the bases alone, and what was read of them; yields once a frame, and
    between what it prepares and puts back."""
    performances, takes, added = [], [], []
    with step_frames(imported, scene, points=False) as back:
        yield
        if also:
            r, frames = scene.render, range(scene.frame_start, scene.frame_end + 1)
            size, aspect = (r.resolution_x, r.resolution_y), r.pixel_aspect_y / r.pixel_aspect_x
            take = yield from read_steps(imported, scene, frames, size, aspect, imported.camera)
            played = Performance(also, take.bases, r.fps / r.fps_base, take.K, take.w2c, size)
            added = [(played, take)]
        with alone.perform_alone(imported):
            yield
            for p in _choose(imported, names):
                alone.play_alone(imported, p)
                yield
                frames = range(actions.FIRST_FRAME, actions.FIRST_FRAME + p.n_frames)
                take = yield from read_steps(
                    imported, scene, frames, p.size, p.aspect, imported.camera
                )
                performances.append(
                    Performance(p.name, take.bases, p.fps, take.K, take.w2c, p.size, p.prompt)
                )
                takes.append(take)
                yield
        yield
        for _ in back:
            yield
    performances += [p for p, _ in added]
    takes += [t for _, t in added]
    sizes = [take.size for take in takes]
    if np.ptp(sizes) > SAME_SIZE * sizes[0]:
        raise _changes_size(imported, "from one performance to the next")
    return performances, takes


def make_steps(
    imported: importer.ImportedPuppet,
    performances: list[Performance],
    takes: list[Take],
    *,
    background: bool = True,
    loss: float = LOSS,
) -> Generator[None, None, Puppet]:
    """A puppet of what stands in the scene, as many times as large as its takes say; a metre stays
    a metre. What a skeleton was posed to is in bases of its own, see `extend_bases`.

    Yields between what it reads, and while a thread puts it together.
    """
    yield
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
    yield
    with attributes.reading_mesh(imported.points) as mesh:
        subject = attributes.read_gaussians(mesh)
    yield
    with attributes.reading_mesh(imported.points) as mesh:
        skin = body_rig.read_skin(mesh)
    yield
    rest = make_nothing()
    if background and imported.background is not None:
        rest = read_background(imported)
        yield
    size = takes[0].size
    about = imported.about | {
        "metres_per_unit": imported.about["metres_per_unit"] / size,
        "body": [part.scaled(size) for part in imported.about["body"]],
    }

    def assemble() -> Puppet:
        grown = np.float32(size)
        g = subject
        if size != 1:
            g = replace(g, means=g.means * grown, scales=g.scales * grown)
        place, extended = _extend(g, index, weight, skin, performances, takes, loss)
        return Puppet(g, place, weight, extended, rest, **about)

    with closing(in_thread((0, 1), assemble)) as waiting:
        while True:
            try:
                next(waiting)
            except StopIteration as end:
                return end.value
            yield


def _extend(
    subject: Gaussians,
    index: NDArray[np.uint16],
    weight: F32,
    skin: tuple[NDArray[np.uint16], F32] | None,
    performances: list[Performance],
    takes: list[Take],
    loss: float,
) -> tuple[NDArray[np.uint16], list[Performance]]:
    """The coefficients' bases, and performances with bases of what a skeleton was posed to."""
    changes = [take.changes for take in takes if take.changes is not None]
    if skin is None or len(changes) != len(takes):
        return index, performances
    bases = [p.bases for p in performances]
    extended = extend_bases(subject.means, index, weight, skin, bases, changes, loss)
    pairs = zip(performances, extended.bases, strict=True)
    return extended.index, [replace(p, bases=b) for p, b in pairs]


def read_background(imported: importer.ImportedPuppet, *, local: bool = False) -> Gaussians:
    """The background's Gaussians, where they stand in the scene, or ``local`` to their object."""
    assert imported.background is not None
    with attributes.reading_mesh(imported.background) as mesh:
        g = attributes.read_gaussians(mesh)
    if local:
        return g
    depsgraph = bpy.context.evaluated_depsgraph_get()
    world = shot_root.read_world(imported.background, depsgraph)
    moved = transform(g, world, imported.background.name)
    if g.sh.shape[1] > 1 and moved is not g:
        turn = world[:3, :3] / shot_root.find_size(world, imported.background.name)
        moved = replace(moved, sh=sh.rotate(g.sh, np.broadcast_to(turn, (len(g), 3, 3))))
    return moved


def transform(g: Gaussians, world: Array, whose: str) -> Gaussians:  # (4, 4)
    """Gaussians under a similarity: σ grows with the scale. SH stays as it is.

    Raises:
        InputError: ``world`` stretches or mirrors; ``whose`` it is, is named.
    """
    if np.abs(world - np.eye(4)).max() <= 1e-7:
        return g
    size = shot_root.find_size(world, repr(whose))
    turn = se3.matrix_to_quat(world[:3, :3] / size)
    return replace(
        g,
        means=(g.means @ world[:3, :3].T + world[:3, 3]).astype(np.float32),
        quats=se3.quat_multiply(np.broadcast_to(turn, g.quats.shape), g.quats).astype(np.float32),
        scales=(g.scales * size).astype(np.float32),
    )


def read_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    frames: Sequence[float],
    size: tuple[int, int],
    aspect: float,
    filming: bpy.types.Object,
) -> Generator[None, None, Take]:
    """Bases of the bones, what a skeleton changed, K in pixels of ``size`` and w2c of a camera,
    over scene frames, within `step_frames`, and how many times larger the puppet stands there;
    yields once a frame.

    Raises:
        InputError: a bone is scaled, the armature is stretched, or its size changes meanwhile.
    """
    names = rig.bone_names(imported.armature)
    inverse_rest = np.linalg.inv(rig.rest_matrices(imported.armature, names))
    bases, sizes = np.empty((len(names), len(frames), 9)), np.ones(len(frames))
    K, w2c = np.empty((len(frames), 3, 3), np.float32), np.empty((len(frames), 4, 4), np.float32)
    count = len(body_rig.list_bones(imported.armature))
    changes = np.empty((count, len(frames), 4, 4)) if count else None
    with evaluate_hidden(imported, scene, filming):
        for i, frame in enumerate(frames):
            scene.frame_set(math.floor(frame), subframe=frame - math.floor(frame))
            depsgraph = bpy.context.evaluated_depsgraph_get()
            armature = imported.armature.evaluated_get(depsgraph)
            bases[:, i], sizes[i] = rig.read_bases(armature, names, inverse_rest)
            if changes is not None:
                changes[:, i] = body_rig.read_changes(armature)
            K[i], w2c[i] = camera.read_camera(
                filming.evaluated_get(depsgraph), depsgraph, size, aspect
            )
            yield
    off = np.argwhere(rig.measure_deviation(bases).T > rig.ORTHONORMAL)
    if len(off):
        i, k = off[0]
        raise _refuse(names[k], frames[i])
    if changes is not None:
        columns = np.concatenate([changes[..., :3, 0], changes[..., :3, 1]], axis=-1)
        off = np.argwhere(rig.measure_deviation(columns).T > rig.ORTHONORMAL)
        if len(off):
            raise _refuse(body_rig.list_bones(imported.armature)[off[0][1]], frames[off[0][0]])
    if np.ptp(sizes) > SAME_SIZE * sizes[0]:
        raise _changes_size(imported, f"from frame {frames[0]:g} to {frames[-1]:g}")
    return Take(bases.astype(np.float32), changes, K, w2c, float(sizes[0]))


def _refuse(bone: str, frame: float) -> InputError:
    return InputError(
        f"Bone {bone!r} is scaled or sheared at frame {frame:g}, and a motion basis cannot be.",
        "Clear the scale of the bone and of its parents.",
    )


def _changes_size(imported: importer.ImportedPuppet, when: str) -> InputError:
    return InputError(
        f"{imported.armature.name!r} changes its size {when}, and a puppet has one size.",
        "Keep the scale of its root and armature; a splat PLY sequence may change it.",
    )
