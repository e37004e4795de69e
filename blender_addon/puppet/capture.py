# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist made of a puppet, read back: bones into bases, camera into K and w2c, everything
into a `Puppet`.

The inverse of `importer.import_puppet`: a puppet imported and captured is the same to float32.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import bpy
import numpy as np

from restage4d.errors import InputError
from restage4d.progress import Progress, TaskId
from restage4d.puppet import (
    F32,
    Gaussians,
    Performance,
    Puppet,
)

from . import (
    actions,
    attributes,
    camera,
    importer,
    pose,
    rig,
)
from .animation import layers

T = TypeVar("T")


@contextmanager
def step_frames(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, *, points: bool = True
) -> Iterator[None]:
    """While frames are stepped through: the costly display is off, without ``points`` the rig too;
    all comes back afterwards, also a pose without keys."""
    shown = [o for o in (imported.splats, imported.background_splats) if o is not None] + [
        imported.points
    ] * (not points)
    hidden, frame, subframe = (
        [o.hide_viewport for o in shown],
        scene.frame_current,
        scene.frame_subframe,
    )
    posed, others = importer.read_pose(imported), pose.read_animated(scene)
    try:
        for o in shown:
            o.hide_viewport = True
        yield
    finally:
        for o, h in zip(shown, hidden, strict=True):
            o.hide_viewport = h
        scene.frame_set(frame, subframe=subframe)
        importer.write_pose(imported, posed)
        for owner, values in others:
            pose.write_values(owner, values)


def check_posed(imported: importer.ImportedPuppet) -> None:
    """Raises `InputError` where the armature is in Edit Mode, in which Blender poses no bones."""
    if imported.armature.mode == "EDIT":
        raise InputError(
            f"{imported.armature.name!r} is in Edit Mode, where its bones stand at rest.",
            "Leave Edit Mode first.",
        )


@contextmanager
def evaluate_hidden(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, filming: bpy.types.Object
) -> Iterator[None]:
    """While bones and camera are read: they are evaluated also where the artist hid them or shows
    bones at rest.

    Raises:
        InputError: the armature is in Edit Mode, where Blender poses no bones.
    """
    check_posed(imported)
    owners = list(dict.fromkeys((imported.armature, filming)))
    hidden, bones = [o.hide_viewport for o in owners], rig.get_armature(imported.armature)
    position = bones.pose_position
    shelter = bpy.data.collections.new("Restage4D reads")  # their own may be excluded
    try:
        scene.collection.children.link(shelter)
        for o in owners:
            shelter.objects.link(o)
            o.hide_viewport = False
        bones.pose_position = "POSE"
        yield
    finally:
        for o, h in zip(owners, hidden, strict=True):
            o.hide_viewport = h
        bones.pose_position = position
        bpy.data.collections.remove(shelter)


def capture_performance(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    *,
    name: str,
    prompt: str = "",
    progress: Progress | None = None,
) -> Performance:
    """The puppet as it plays now over the scene's frame range, whatever moves it: Actions, NLA,
    constraints, drivers.

    ``name`` and ``prompt`` are the new performance's; rate and picture size are the scene's.

    Raises:
        InputError: a bone is scaled or sheared, or was deleted.
    """
    total = scene.frame_end - scene.frame_start + 1
    return run_steps(performance_steps(imported, scene, name=name, prompt=prompt), total, progress)


def capture_puppet(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, *, progress: Progress | None = None
) -> Puppet:
    """The whole puppet from the .blend alone: points as they are, every performance as its Action
    plays over its own frames.

    Bones that were moved without a key are at rest in it (see `importer.play`); the armature
    object's own place counts for all. The scene is left as it was. Raises `InputError` as
    `capture_performance` does.
    """
    return run_steps(
        puppet_steps(imported, scene), sum(p.n_frames for p in imported.performances), progress
    )


def run_steps(steps: Generator[None, None, T], total: int, progress: Progress | None) -> T:
    """Runs a generator that yields once a frame to its end and returns its value."""
    with (progress or Progress()).task(TaskId.CAPTURE, total) as stage:
        try:
            while True:
                next(steps)
                stage.advance()
        except StopIteration as end:
            return end.value
        finally:
            steps.close()


def performance_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, *, name: str, prompt: str = ""
) -> Generator[None, None, Performance]:
    """`capture_performance`, yielding once a frame."""
    r = scene.render
    frames, size = range(scene.frame_start, scene.frame_end + 1), (r.resolution_x, r.resolution_y)
    read = yield from read_steps(
        imported, scene, frames, size, r.pixel_aspect_y / r.pixel_aspect_x, imported.camera
    )
    bases, K, w2c = read
    return Performance(name, bases, r.fps / r.fps_base, K, w2c, size, prompt)


def puppet_steps(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene
) -> Generator[None, None, Puppet]:
    """`capture_puppet`, yielding once a frame."""
    performances = []
    with perform_alone(imported, scene):
        for p in imported.performances:
            play_alone(imported, p)
            frames = range(actions.FIRST_FRAME, actions.FIRST_FRAME + p.n_frames)
            bases, K, w2c = yield from read_steps(
                imported, scene, frames, p.size, p.aspect, imported.camera
            )
            performances.append(Performance(p.name, bases, p.fps, K, w2c, p.size, p.prompt))
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
        subject = attributes.read_gaussians(mesh)
    background = read_background(imported)
    return Puppet(subject, index, weight, performances, background, **imported.about)


def read_background(imported: importer.ImportedPuppet) -> Gaussians:
    """The static Gaussians; none where there are none."""
    if imported.background is None:
        shapes = ((3,), (4,), (3,), (), (1, 3))
        return Gaussians(*(np.zeros((0, *shape), np.float32) for shape in shapes))
    with attributes.reading_mesh(imported.background) as mesh:
        return attributes.read_gaussians(mesh)


def play_alone(
    imported: importer.ImportedPuppet, performance: importer.ImportedPerformance
) -> None:
    """Plays a performance within `perform_alone`."""
    data = imported.armature.animation_data
    if data is not None:
        layers.leave(imported.armature)
        data.use_nla = False  # but under layers
    importer.play(imported, performance)


@contextmanager
def perform_alone(imported: importer.ImportedPuppet, scene: bpy.types.Scene) -> Iterator[None]:
    """While performances are played one after the other, each as its Action and its layers, without
    other NLA tracks; what played comes back afterwards, and the pose."""
    owners, posed = importer.get_animated(imported), importer.read_pose(imported)
    others = [x for x in pose.read_animated(scene) if x[0] not in owners]
    frame, subframe = scene.frame_current, scene.frame_subframe
    animated = [o.animation_data for o in owners if o.animation_data is not None]
    tweaked = [(data, data.nla_tracks.active) for data in animated if data.use_tweak_mode]
    for data, _ in tweaked:  # no other Action may play there
        data.use_tweak_mode = False
    layers.fit_ramps(imported.armature)
    used = [data.use_nla for data in animated]
    tracks = [(t, t.mute, t.is_solo) for data in animated for t in data.nla_tracks]
    before = [actions.find_played(o) for o in owners]
    try:
        for data in animated:
            data.use_nla = False
        for track, _, _ in tracks:
            track.is_solo, track.mute = False, True
        yield
    finally:
        layers.leave(imported.armature)
        for owner, (action, slot) in zip(owners, before, strict=True):
            actions.play(owner, action, slot)
        for track, mute, solo in tracks:
            track.mute = mute
            if solo:
                track.is_solo = True
        for data, use in zip(animated, used, strict=True):
            data.use_nla = use
        for data, active in tweaked:
            data.nla_tracks.active = active
            data.use_tweak_mode = True
        scene.frame_set(frame, subframe=subframe)
        importer.write_pose(imported, posed)
        for owner, values in others:
            pose.write_values(owner, values)


def read_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    frames: range,
    size: tuple[int, int],
    aspect: float,
    filming: bpy.types.Object,
) -> Generator[None, None, tuple[F32, F32, F32]]:  # (K, T, 9), (T, 3, 3), (T, 4, 4)
    """Bases of the bones, and K in pixels of ``size`` and w2c of a camera, over scene frames;
    yields once a frame."""
    names = rig.bone_names(imported.armature)
    inverse_rest = np.linalg.inv(rig.rest_matrices(imported.armature, names))
    bases = np.empty((len(names), len(frames), 9))
    K, w2c = np.empty((len(frames), 3, 3), np.float32), np.empty((len(frames), 4, 4), np.float32)
    with step_frames(imported, scene, points=False), evaluate_hidden(imported, scene, filming):
        for i, frame in enumerate(frames):
            scene.frame_set(frame)
            depsgraph = bpy.context.evaluated_depsgraph_get()
            bases[:, i] = rig.read_bases(
                imported.armature.evaluated_get(depsgraph), names, inverse_rest
            )
            K[i], w2c[i] = camera.read_camera(
                filming.evaluated_get(depsgraph), depsgraph, size, aspect
            )
            yield
    off = np.argwhere(rig.measure_deviation(bases).T > rig.ORTHONORMAL)
    if len(off):
        i, k = off[0]
        raise InputError(
            f"Bone {names[k]!r} is scaled or sheared at frame {frames[i]}, and a motion basis "
            "cannot be.",
            "Clear the scale of the bone, of its parents and of the armature.",
        )
    return bases.astype(np.float32), K, w2c
