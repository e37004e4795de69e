"""Figures of the Blender side, for the bpy whose Python runs this (``.venv-blender/bin/python scripts/bench_blender.py``).

Puppets are synthetic with stress motion (every basis wanders by itself), so errors are worst cases. Prints import time, time
per frame change with the display off and on, the largest error against Eq. 1 in float64 over all frames and for a bone moved
by hand (beside the error of `se3.blend` in float32 itself, which the puppet's own posing has), and peak memory.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "blender")]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
import puppets  # noqa: E402

from blender_addon import capture, compat, export, importing  # noqa: E402
from restage4d import se3  # noqa: E402
from restage4d.files import replacing  # noqa: E402
from restage4d.puppet import Puppet  # noqa: E402


def peak_bytes() -> int:
    """Peak resident memory of this process; -1 where the system does not tell without a library (Windows)."""
    try:
        import resource
    except ImportError:
        return -1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def frame_changes(scene: Any, count: int) -> float:
    """Median milliseconds of `frame_set` over the scene's frames."""
    times = []
    for i in range(count):
        began = time.perf_counter()
        scene.frame_set(scene.frame_start + (7 * i + 3) % (scene.frame_end - scene.frame_start + 1))
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def error(puppet: Puppet, bases: np.ndarray, imported: importing.ImportedPuppet) -> tuple[float, float, float]:
    """Largest distance to Eq. 1 in extents, that of `se3.blend` in float32, and the 99.9 % quantile of the turn in radians."""
    seen = export.posed(imported)
    R, t = se3.blend(bases.astype(np.float64), puppet.index, puppet.weight.astype(np.float64))
    means = se3.transform(R, t, puppet.subject.means.astype(np.float64))
    extent = np.linalg.norm(np.ptp(puppet.subject.means, axis=0))
    quats = se3.quat_multiply(se3.matrix_to_quat(R), puppet.subject.quats.astype(np.float64))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    chord = np.minimum(*(np.linalg.norm(seen.quats + sign * quats, axis=1) for sign in (-1, 1)))
    single = se3.transform(*se3.blend(bases.astype(np.float32), puppet.index, puppet.weight), puppet.subject.means)
    off, off_single = (np.linalg.norm(x - means, axis=1).max() / extent for x in (seen.means, single))
    return float(off), float(off_single), float(np.quantile(2 * chord, 0.999))


def measure(n: int, k: int, frames: int, *, check_all: bool) -> dict[str, float]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    puppet = puppets.random_puppet(n, k, frames, names=("base",))
    puppet.background = puppets.gaussians(np.random.default_rng(1), n // 4, extent=3)
    began = time.perf_counter()
    imported = importing.import_puppet(puppet, name="bench")
    figures = {"import_s": time.perf_counter() - began}
    scene = bpy.context.scene
    with capture.playing(imported, scene):
        scene.frame_set(1)
        figures["frame_ms"] = frame_changes(scene, 30)
    for mode in ("Points", "Ellipsoids", "Splats"):
        for obj in (imported.splats, imported.background_splats):
            compat.set_input(obj.modifiers["Viewport"], "Mode", mode)
        scene.frame_set(1)
        figures[f"frame_{mode.lower()}_ms"] = frame_changes(scene, 10)
    with capture.playing(imported, scene):
        worst = []
        for frame in range(frames) if check_all else (0, frames // 2):
            scene.frame_set(1 + frame)
            worst.append(error(puppet, puppet.performances[0].bases[:, frame], imported))
        names = ("max_error_extents", "float32_blend_error_extents", "rotation_error_rad_p999")
        figures |= dict(zip(names, np.max(worst, 0).tolist(), strict=True))
        bone = imported.armature.pose.bones[0]
        bone.location, bone.rotation_quaternion = (0.2, -0.3, 0.1), (0.6, 0.0, 0.8, 0.0)
        began = time.perf_counter()
        bpy.context.view_layer.update()
        figures["hand_moved_bone_ms"] = 1e3 * (time.perf_counter() - began)
        bases = puppet.performances[0].bases[:, frame].astype(np.float64)
        turn, head = se3.quat_to_matrix(np.array([0.6, 0, 0.8, 0])), np.array(bone.bone.head_local)
        bases[0] = se3.pack(turn, head - turn @ head + np.array(bone.location))
        figures["hand_moved_error_extents"] = error(puppet, bases, imported)[0]
    began = time.perf_counter()
    captured = capture.capture_puppet(imported, scene)
    figures["capture_s"] = time.perf_counter() - began
    figures["capture_error"] = float(np.abs(captured.performances[0].bases - puppet.performances[0].bases).max())
    figures["peak_rss_bytes"] = peak_bytes()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--points", type=int, nargs="*", default=[50_000, 100_000])
    parser.add_argument("--bases", type=int, default=100)
    parser.add_argument("--frames", type=int, default=96)
    given = parser.parse_args()
    report: dict[str, Any] = {"blender": bpy.app.version_string, "bases": given.bases, "frames": given.frames, "points": {}}
    for i, n in enumerate(given.points):
        figures = report["points"][str(n)] = measure(n, given.bases, given.frames, check_all=i == 0)
        print(f"Blender {bpy.app.version_string}: {n} points x {given.frames} frames x {given.bases} bases")
        for key, value in figures.items():
            print(f"  {key:28} {value:.4g}")
    if given.json:
        with replacing(given.json) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
