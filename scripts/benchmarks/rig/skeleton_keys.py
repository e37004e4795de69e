"""Figures of a skeleton's keys as a puppet comes in: how many times fewer they are than one per
frame, and how far what the bones carry is from where a key per frame has it.

    .venv-blender/bin/python scripts/benchmarks/rig/skeleton_keys.py PUPPET ... [--json OUT]

As Blender plays them: of every captured bone both ends and all points that it moves most, of every
control its place; in mm, a unit being a metre. Also between frames, against the mean of the frames
before and after. Untouched, no point of the puppet moves by this: followers have the same keys.
"""

import os
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from figures import read_arguments, write_figures

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from blender_addon.puppet import actions, attributes, importer, rig
from blender_addon.puppet.animation import curves
from blender_addon.skeleton import new_keys
from blender_addon.skeleton.plan import IK, PART, POLE, find_few, list_own_places
from restage4d.puppet import Puppet


def read_places(armature, places, frames):  # -> (T, P, 3)
    """Where Blender has the places that bones carry, {name: (N, 3) at rest}, at scene frames."""
    out: list[np.ndarray] = []
    scene: Any = bpy.context.scene
    for frame in frames:
        scene.frame_set(int(frame), subframe=frame % 1)
        bones = armature.pose.bones
        moved = []
        for name, mine in places.items():
            M = np.array(bones[name].matrix @ bones[name].bone.matrix_local.inverted())
            moved.append(mine @ M[:3, :3].T + M[:3, 3])
        out.append(np.concatenate(moved))
    return np.array(out)


def measure(path: Path) -> list[dict[str, object]]:
    """A row per performance."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    puppet = Puppet.load(path)
    imported = importer.import_puppet(puppet, name="measured")
    armature = imported.armature
    bones = rig.get_armature(armature).bones
    skeleton = new_keys.read_skeleton(armature, imported.points)
    means = attributes.read_gaussians(attributes.get_mesh(imported.points)).means
    places = {
        name: np.concatenate([np.array([bones[name].head_local, bones[name].tail_local]), own])
        for name, own in list_own_places(skeleton, means).items()
    }
    controls = [b for b in bones if b.get(rig.ROLE) in (IK, POLE)]
    places |= {b.name: np.array([b.head_local]) for b in controls}
    rows: list[dict[str, object]] = []
    for p in puppet.performances:
        keys = new_keys.find_keys(armature, imported.points, p)
        few = find_few(name for name in keys if PART in bones[name])
        one = imported.performance(p.name)
        importer.activate(imported, p.name, scene=None)
        count = sum(
            len(curve.keyframe_points)
            for curve in curves.find_bone_curves(one.action)
            if bpy.utils.unescape_identifier(curve.data_path.split('"')[1]) in few
        )
        frames = np.arange(p.n_frames) + actions.FIRST_FRAME
        played = read_places(armature, places, frames)
        between = read_places(armature, places, frames[:-1] + 0.5)
        few_keys = one.action
        dense = few_keys.copy()  # the same with a key per frame
        bag = next(iter(actions.find_channelbags(dense, dense.slots[0])))
        for curve in list(bag.fcurves):
            if bpy.utils.unescape_identifier(curve.data_path.split('"')[1]) in few:
                bag.fcurves.remove(curve)
        for name in few:
            for channel, values in zip(
                ("location", "rotation_quaternion"), keys[name], strict=True
            ):
                data_path = f'pose.bones["{bpy.utils.escape_identifier(name)}"].{channel}'
                actions.write_curves(bag, data_path, name, values)
        actions.play(armature, dense, dense.slots[0])
        truth = read_places(armature, places, frames)
        off = 1e3 * np.linalg.norm(played - truth, axis=-1)
        middle = 0.5 * (truth[1:] + truth[:-1])
        bend = np.linalg.norm(np.diff(truth, 2, axis=0), axis=-1) / 8 if len(truth) > 2 else 0
        rows.append({
            "puppet": str(path),
            "performance": p.name,
            "frames": p.n_frames,
            "bones": len(few),
            "keys_per_frame": 7 * p.n_frames * len(few),
            "keys": count,
            "fewer": round(7 * p.n_frames * len(few) / count, 2),
            "largest_mm": round(float(off.max()), 2),
            "median_mm": round(float(np.median(off)), 2),
            "quantile_99_mm": round(float(np.quantile(off, 0.99)), 2),
            "between_largest_mm": round(
                1e3 * float(np.linalg.norm(between - middle, axis=-1).max()), 2),
            "between_by_bending_mm": round(1e3 * float(np.max(bend)), 2),
        })  # fmt: skip
    return rows


def main() -> None:
    given = read_arguments("Figures of a skeleton's keys.")
    rows = [row for path in given.puppets for row in measure(path)]
    write_figures(rows, given.json)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # bpy may hang while Python takes it apart
