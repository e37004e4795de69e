# SPDX-License-Identifier: GPL-3.0-or-later
"""A performance solved anew around what the artist changed in it, by ``restage4d refine`` in the
backend's environment (`restage4d.reconstruct.refining`)."""

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import bpy

from restage4d.puppet import Performance, Puppet

from ...session.steps import Steps, in_thread
from ...skeleton.plan import CAPTURED
from .. import actions, attributes, capture, importer, rig
from ..playback import alone
from ..playback.stepping import step_frames
from . import layers, performances

_READ = 30  # percent of the work that is reading the scene


def refine_steps(
    imported: importer.ImportedPuppet,
    scene: bpy.types.Scene,
    name: str,
    command: Callable[[list[str]], Steps[None]],
) -> Steps[importer.ImportedPerformance]:
    """Refines a performance and adds the result at the end of the list; the old one stays, and
    nothing plays the new one yet.

    Args:
        name: which performance.
        command: runs the command line with some arguments, see `session.command.command_steps`.

    Raises:
        InputError: nothing of it was changed, or a bone is scaled or sheared.
    """
    p = imported.performance(name)
    with step_frames(imported, scene, points=False), alone.perform_alone(imported):
        alone.play_alone(imported, p)
        tweaked = yield from _count(performances.played_steps(imported, scene, p), 0, p.n_frames)
    kept = actions.read_kept_bases(p.action, len(rig.bone_names(imported.armature)))
    if kept is not None and kept.shape == tweaked.bases.shape:
        before = replace(tweaked, bases=kept)
    else:
        before = yield from _read_untouched(imported, scene, p)
    label = performances.find_free_name(imported, f"{name} refined")
    with tempfile.TemporaryDirectory(prefix="restage4d_refine_") as folder:
        paths = [Path(folder) / f"{part}.puppet" for part in ("tweaked", "before", "refined")]
        pair = [_make_puppet(imported, q) for q in (tweaked, before)]
        for puppet, path in zip(pair, paths, strict=False):
            yield from in_thread((_READ, 100), lambda x=puppet, to=path: x.save(to))
        arguments = ["refine", str(paths[0]), "--before", str(paths[1]), "--out", str(paths[2])]
        for done, total in command([*arguments, "--performance", name, "--name", label]):
            yield _READ + (99 - _READ) * done // total, 100
        solved = yield from in_thread((99, 100), lambda: Puppet.load(paths[2]))
    made = replace(solved.performance(label), K=tweaked.K, w2c=tweaked.w2c)
    return performances.add_performance(imported, made, label)


def _count(steps: Generator[None, None, Performance], first: int, count: int) -> Steps[Performance]:
    """One of the two readings, ``first`` frames having been read."""
    done = first
    try:
        while True:
            next(steps)
            done += 1
            yield _READ * done // (2 * count), 100
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def _read_untouched(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, p: importer.ImportedPerformance
) -> Steps[Performance]:
    """The performance of a file from before as it came in, as far as its curves tell."""
    with (
        _make_untouched(imported, p) as untouched,
        step_frames(imported, scene, points=False),
        alone.perform_alone(imported),
    ):
        alone.play_alone(imported, untouched)
        reading = performances.played_steps(imported, scene, untouched)
        return (yield from _count(reading, p.n_frames, p.n_frames))


@contextmanager
def _make_untouched(
    imported: importer.ImportedPuppet, p: importer.ImportedPerformance
) -> Iterator[importer.ImportedPerformance]:
    """The performance as it came in, for a while: without layers, from the curves kept of its
    capture where they were changed, and only of bones that a capture moves."""
    bones = rig.get_armature(imported.armature).bones
    moves = (rig.FOLLOWER, CAPTURED)
    kept = {bone.name for bone in bones if rig.BASIS in bone or bone.get(rig.ROLE) in moves}
    action: bpy.types.Action = (p.action.get(layers.CAPTURE) or p.action).copy()
    try:
        slot = actions.find_slot(action, imported.armature, actions.SLOT)
        assert slot is not None
        strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
        bag = strip.channelbag(slot, ensure=True)
        for curve in list(bag.fcurves):
            path: Any = curve.data_path.split('"')
            if path[0] == "pose.bones[" and bpy.utils.unescape_identifier(path[1]) not in kept:
                bag.fcurves.remove(curve)
        yield replace(p, action=action)
    finally:
        bpy.data.actions.remove(action)


def _make_puppet(imported: importer.ImportedPuppet, performance: Performance) -> Puppet:
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
        subject = attributes.read_gaussians(mesh)
    nothing = capture.make_nothing()
    return Puppet(subject, index, weight, [performance], nothing, **imported.about)
