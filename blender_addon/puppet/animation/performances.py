# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of a puppet's performances: one more, another name or place, a copy, one less."""

from collections.abc import Generator
from dataclasses import replace
from typing import cast

import bpy
import numpy as np

from restage4d.errors import InputError
from restage4d.puppet import Performance, Puppet
from restage4d.se3 import Array

from ...skeleton import build, new_keys
from ...skeleton.plan import PART, find_few
from .. import actions, attributes, bone_curves, camera, capture, importer, rig
from ..playback import alone, pose
from ..playback.stepping import step_frames
from . import layers
from .sampling import Body, make_body, to_bases, to_matrices

Imported, One = importer.ImportedPuppet, importer.ImportedPerformance


def read_body(imported: Imported) -> Body:
    """The subject's points and what moves them."""
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
        means = attributes.read_gaussians(mesh).means
    return make_body(means, index, weight, len(rig.bone_names(imported.armature)))


def make_filmed_puppet(imported: Imported, scene: bpy.types.Scene) -> Puppet:
    """The puppet with the base performance alone, without layers: what another restaging starts
    from."""
    named = [p for p in imported.performances if p.name == "base"]
    base = (named or imported.performances)[0]
    read = read_performances(imported, scene, [base.name], layered=False)
    with attributes.reading_mesh(imported.points) as mesh:
        index, weight = attributes.read_influences(mesh)
        subject = attributes.read_gaussians(mesh)
    background = capture.make_nothing()
    if imported.background is not None:
        background = capture.read_background(imported, local=True)
    return Puppet(subject, index, weight, [read[base.name]], background, **imported.about)


def read_performances(
    imported: Imported, scene: bpy.types.Scene, names: list[str], *, layered: bool = True
) -> dict[str, Performance]:
    """Performances as they play, under their layers, their bases relative to the armature object,
    wherever that stands; the scene is left as it was.

    Raises:
        InputError: a bone is scaled or sheared, or was deleted.
    """
    read = {}
    with step_frames(imported, scene, points=False), alone.perform_alone(imported):
        for name in dict.fromkeys(names):
            p = imported.performance(name)
            alone.play_alone(imported, p)
            if not layered:
                layers.play_without(imported.armature, p.action)
            read[name] = capture.run_steps(played_steps(imported, scene, p), p.n_frames, None)
    return read


def played_steps(
    imported: Imported, scene: bpy.types.Scene, p: One
) -> Generator[None, None, Performance]:
    """The performance that plays alone, as in `read_performances`, within `step_frames`; yields
    once a frame."""
    frames = range(actions.FIRST_FRAME, actions.FIRST_FRAME + p.n_frames)
    steps = capture.read_steps(imported, scene, frames, p.size, p.aspect, imported.camera)
    places = []
    try:
        while True:
            next(steps)
            places.append(np.array(imported.armature.matrix_world, np.float64))
            yield
    except StopIteration as end:
        take: capture.Take = end.value
    finally:
        steps.close()
    bases = new_keys.move_bases(imported.points, take.bases, take.changes)
    if not np.allclose(places, np.eye(4), atol=0):
        home = np.linalg.inv(places) @ to_matrices(bases)
        home[..., :3, :3] *= take.size
        bases = to_bases(home)
    return Performance(p.name, bases, p.fps, take.K, take.w2c, p.size, p.prompt)


def add_performance(
    imported: Imported,
    performance: Performance,
    name: str,
    *,
    prompt: str = "",
    footage: bpy.types.Image | None = None,
) -> One:
    """A performance more at the end of the list, keyed like the imported ones; it does not play
    yet. Its name is made one of its own."""
    performance = replace(performance, name=find_free_name(imported, name), prompt=prompt)
    armature = imported.armature
    if build.list_bones(armature):
        keys = new_keys.find_keys(armature, imported.points, performance)
    else:
        keys = bone_curves.channels(rig.read_skeleton(armature), performance, near=performance)
    first = imported.performances[0].action
    keys = {bone: (x[0], _turn_like(first, bone, x[1])) for bone, x in keys.items()}
    action = actions.add_action(f"{_get_label(imported)} {performance.name}", performance.n_frames)
    actions.keep_bases(action, performance.bases)
    bones = rig.get_armature(armature).bones
    few = find_few(name for name in keys if PART in bones[name])
    thinned = actions.thin_keys(keys, new_keys.read_chain(armature, imported.points, few))
    for _ in actions.write_bones(action, armature, keys, few, thinned):
        pass
    moves = [
        any(actions.find_slot(p.action, owner, camera.SLOT) for p in imported.performances)
        for owner in importer.get_animated(imported)[1:]
    ]
    stands, shows = _is_standing(imported, performance)
    camera.write_performance(
        action, imported.camera, performance,
        pose=moves[0] or not stands, lens=moves[1] or not shows,
    )  # fmt: skip
    K = performance.K
    made = One(
        performance.name, action, performance.fps, performance.n_frames, performance.size,
        float(np.median(K[:, 0, 0] / K[:, 1, 1])), prompt, footage,
    )  # fmt: skip
    imported.performances.append(made)
    importer.remember(imported)
    return made


def duplicate(imported: Imported, name: str) -> One:
    """A copy of a performance with its layers, behind it."""
    p = imported.performance(name)
    made = replace(p, name=find_free_name(imported, p.name), action=p.action.copy())
    made.action.name = f"{_get_label(imported)} {made.name}"
    made.action.use_fake_user = True
    imported.performances.insert(imported.performances.index(p) + 1, made)
    layers.copy_layers(imported.armature, p.action, made.action)
    importer.remember(imported)
    return made


def bake(imported: Imported, scene: bpy.types.Scene, name: str, new: str) -> One:
    """A performance and its layers as one performance with a key per frame, behind it.

    Whatever bones and properties are keyed, the copy keys them: also those of layers.
    """
    p = imported.performance(name)
    armature = imported.armature
    over = [layer.action for layer in layers.find_layers(armature, p.action)]
    channels = pose.find_channels(armature, [p.action, *over], actions.SLOT)
    paths = sorted({path for path, _ in channels})
    values: dict[str, list] = {path: [] for path in paths}
    with step_frames(imported, scene, points=False), alone.perform_alone(imported):
        alone.play_alone(imported, p)
        for frame in range(p.n_frames):
            scene.frame_set(actions.FIRST_FRAME + frame)
            for path, value in pose.read_values(armature, paths).items():
                values[path].append(np.atleast_1d(value))
    made = duplicate(imported, name)
    for layer in layers.find_layers(armature, made.action):
        layers.remove_layer(armature, layer)
    slot = actions.find_slot(made.action, armature, actions.SLOT)
    assert slot is not None
    strip = cast(bpy.types.ActionKeyframeStrip, made.action.layers[0].strips[0])
    bag = strip.channelbag(slot, ensure=True)
    for curve in list(bag.fcurves):
        bag.fcurves.remove(curve)
    for path in paths:
        if len(values[path]) == p.n_frames:
            table = np.array(values[path], np.float64)
            if path.endswith("rotation_quaternion"):
                table = bone_curves.make_continuous(table)
            group = path.split('"')[1] if path.startswith("pose.bones[") else "Object"
            columns = table if table.shape[1] > 1 else table[:, 0]
            actions.write_curves(bag, path, bpy.utils.unescape_identifier(group), columns)
    return rename(imported, made.name, find_free_name(imported, new))


def rename(imported: Imported, name: str, new: str) -> One:
    """Another name. Raises `InputError` where it is empty or taken."""
    p, new = imported.performance(name), new.strip()
    if not new:
        raise InputError("A performance needs a name.", "Write one.")
    if new != name and any(q.name == new for q in imported.performances):
        raise InputError(f"There is a performance {new!r} already.", "Choose another name.")
    p.name, p.action.name = new, f"{_get_label(imported)} {new}"
    imported.about["findings"] = [
        replace(f, video=new) if f.video == name else f for f in imported.about["findings"]
    ]
    importer.remember(imported)
    return p


def delete(imported: Imported, name: str) -> None:
    """Takes a performance away with its layers; the one before it plays where it played.

    Raises:
        InputError: it is the only one.
    """
    if len(imported.performances) < 2:
        raise InputError("It is the puppet's only performance.", "Duplicate it first.")
    p, played = imported.performance(name), layers.find_performed(imported.armature)
    at = imported.performances.index(p)
    plays = played == p.action
    for layer in layers.find_layers(imported.armature, p.action):
        layers.remove_layer(imported.armature, layer)
    imported.performances.remove(p)
    kept = p.action.get(layers.CAPTURE)
    if plays:
        importer.activate(imported, imported.performances[max(at - 1, 0)].name, scene=None)
    bpy.data.batch_remove([p.action] + [kept] * (kept is not None))
    importer.remember(imported)


def move(imported: Imported, name: str, by: int) -> None:
    """Moves a performance up (negative) or down in the list."""
    p = imported.performance(name)
    at = imported.performances.index(p)
    imported.performances.remove(p)
    imported.performances.insert(max(at + by, 0), p)
    importer.remember(imported)


def find_free_name(imported: Imported, name: str) -> str:
    """The name, numbered where it is taken."""
    taken = {p.name for p in imported.performances}
    names = (name, *(f"{name} {i}" for i in range(2, len(taken) + 3)))
    return next(n for n in names if n not in taken)


def _get_label(imported: Imported) -> str:
    return imported.armature.name.removesuffix(" bases")


def _turn_like(action: bpy.types.Action, bone: str, quats: Array) -> Array:  # (T, 4)
    """The same rotations, beginning on the side where the Action has the bone: the NLA blends the
    four numbers."""
    path = f'pose.bones["{bpy.utils.escape_identifier(bone)}"].rotation_quaternion'
    there = {
        c.array_index: c.evaluate(actions.FIRST_FRAME)
        for c in layers.iter_curves(action)
        if c.data_path == path
    }
    if len(there) == 4 and sum(there[i] * quats[0, i] for i in range(4)) < 0:
        return -quats
    return quats


def _is_standing(imported: Imported, performance: Performance) -> tuple[bool, bool]:
    """Whether its camera stands, and shows, as the camera that no performance moves."""
    p, standing = performance, imported.standing
    location, quats = camera.pose_curves(p.w2c)
    lens = camera.lens_curves(p.K, p.size)
    if not standing:
        return bool(np.ptp(p.w2c, axis=0).max() < 1e-5), bool(np.ptp(lens, axis=0).max() < 1e-5)
    apart = 1 - np.abs(quats @ np.array(standing["rotation_quaternion"]))
    place = np.abs(location - np.array(standing["location"])).max()
    figures = np.array([standing[k] for k in ("lens", "shift_x", "shift_y")])
    return bool(place < 1e-4 and apart.max() < 1e-8), bool(np.abs(lens - figures).max() < 1e-3)
