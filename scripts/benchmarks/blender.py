"""Figures of the Blender side, for the bpy whose Python runs this (``.venv-blender/bin/python
scripts/benchmarks/blender.py``).

Puppets are synthetic with stress motion (every basis wanders by itself), so errors are worst cases.
Prints import time, time per frame change with the display off and on, the largest error against Eq.
1 in float64 over all frames, for a handle moved by hand and for performances blended in the NLA
(beside the error of `se3.blend` in float32 itself, which the puppet's own posing has), times of
exports, and peak memory. Last the viewport's drawing of 100k splats, offscreen: what a changed
frame costs before the GPU, the drawing itself (software GL unless there is a GPU), and its PSNR
against the project's renderer, which runs in ``.venv``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).parents[2]),
    str(Path(__file__).parents[2] / "tests" / "blender"),
]

import bpy  # noqa: E402
import gpu  # noqa: E402
import numpy as np  # noqa: E402
import puppets  # noqa: E402

from blender_addon import compat  # noqa: E402
from blender_addon.puppet import capture, importer, rig  # noqa: E402
from blender_addon.puppet.output import export  # noqa: E402
from blender_addon.puppet.playback import nla  # noqa: E402
from blender_addon.puppet.playback.stepping import step_frames  # noqa: E402
from blender_addon.viewport import splat_drawing, splat_painter  # noqa: E402
from restage4d import se3  # noqa: E402
from restage4d.io.atomic import replacing  # noqa: E402
from restage4d.puppet import Puppet  # noqa: E402


def peak_bytes() -> int:
    """Peak resident memory of this process; -1 where the system does not tell without a library
    (Windows)."""
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


def error(
    puppet: Puppet, bases: np.ndarray, imported: importer.ImportedPuppet
) -> tuple[float, float, float]:
    """Largest distance to Eq. 1 in extents, that of `se3.blend` in float32, and the 99.9 % quantile
    of the turn in radians."""
    seen = export.read_posed(imported)
    R, t = se3.blend(bases.astype(np.float64), puppet.index, puppet.weight.astype(np.float64))
    means = se3.transform(R, t, puppet.subject.means.astype(np.float64))
    extent = np.linalg.norm(np.ptp(puppet.subject.means, axis=0))
    quats = se3.quat_multiply(se3.matrix_to_quat(R), puppet.subject.quats.astype(np.float64))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    chord = np.minimum(*(np.linalg.norm(seen.quats + sign * quats, axis=1) for sign in (-1, 1)))
    single = se3.transform(
        *se3.blend(bases.astype(np.float32), puppet.index, puppet.weight), puppet.subject.means
    )
    off, off_single = (
        np.linalg.norm(x - means, axis=1).max() / extent for x in (seen.means, single)
    )
    return float(off), float(off_single), float(np.quantile(2 * chord, 0.999))


def now(imported: importer.ImportedPuppet) -> np.ndarray:  # (K, 9)
    """The bases that the bones hold."""
    names = rig.bone_names(imported.armature)
    armature = imported.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return rig.read_bases(
        armature, names, np.linalg.inv(rig.rest_matrices(imported.armature, names))
    )


def moved_by_hand(
    puppet: Puppet, imported: importer.ImportedPuppet, frame: int
) -> dict[str, float]:
    """The whole subject's control turned and shifted: the time Blender takes, and the error against
    Eq. 1 of bases turned by ourselves."""
    bones = imported.armature.pose.bones
    handle = next(
        b for b in bones if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == rig.WHOLE
    )
    bpy.context.scene.frame_set(1 + frame)
    stood = np.array(handle.matrix, np.float64)
    handle.location, handle.rotation_quaternion = (0.2, -0.3, 0.1), (0.6, 0.0, 0.8, 0.0)
    began = time.perf_counter()
    bpy.context.view_layer.update()
    took = 1e3 * (time.perf_counter() - began)
    moved = np.array(handle.matrix, np.float64) @ np.linalg.inv(stood)
    bases = puppet.performances[0].bases[:, frame].astype(np.float64)
    R, t = (
        moved[:3, :3] @ se3.gram_schmidt(bases[:, :6]),
        bases[:, 6:] @ moved[:3, :3].T + moved[:3, 3],
    )
    bases = se3.pack(R, t)
    off = error(puppet, bases, imported)[0]
    handle.location, handle.rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
    return {"hand_moved_handle_ms": took, "hand_moved_error_extents": off}


def blended(puppet: Puppet, imported: importer.ImportedPuppet, scene: Any) -> float:
    """Half-way between two performances: the points against Eq. 1 of the blended bones."""
    a, b = (p.name for p in puppet.performances)
    nla.blend(imported, a, b, start=1, frames=10)
    scene.frame_set(6)
    off = error(puppet, now(imported), imported)[0]
    importer.activate(imported, a, scene=scene)
    return off


def drawing(n: int, size: tuple[int, int]) -> dict[str, float]:
    """The viewport's drawing of ``n`` splats, against the project's renderer on the same camera."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    puppet = puppets.creature(n=n - 4000, frames=4, size=size)  # and 4000 of ground
    imported, scene = importer.import_puppet(puppet, name="drawn"), bpy.context.scene
    if hasattr(gpu, "init"):
        gpu.init()
    else:  # a rendering makes the context
        scene.render.engine, scene.render.resolution_percentage = "BLENDER_WORKBENCH", 5
        bpy.ops.render.render()
    imported.splats.hide_viewport = imported.background_splats.hide_viewport = True
    scene.frame_set(3)
    depsgraph, filming = bpy.context.evaluated_depsgraph_get(), imported.camera
    view = np.array(filming.matrix_world.inverted(), np.float64)
    projection = np.array(filming.calc_matrix_camera(depsgraph, x=size[0], y=size[1]), np.float64)
    gathered, ordered, drew = [], [], []
    for _ in range(3):
        began = time.perf_counter()
        cloud, _ = splat_drawing.gather(
            depsgraph, [(imported.points, "FILMED"), (imported.background, "FILMED")]
        )
        gathered.append(1e3 * (time.perf_counter() - began))
        assert cloud is not None
        began = time.perf_counter()
        cloud.order(view)
        ordered.append(1e3 * (time.perf_counter() - began))
        began = time.perf_counter()
        seen = splat_painter.render(cloud, view, projection, *size)
        drew.append(1e3 * (time.perf_counter() - began))
    figures = {"gather_ms": min(gathered), "order_ms": min(ordered), "draw_and_read_ms": min(drew)}
    python = (
        Path(__file__).parents[2]
        / ".venv"
        / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    )
    if not python.exists():
        print("  no comparison: .venv with the renderer is missing (scripts/run.sh makes it)")
        return figures
    with tempfile.TemporaryDirectory() as folder:
        puppet.save(Path(folder) / "drawn.puppet")
        np.save(Path(folder) / "seen.npy", seen)
        done = subprocess.run(
            [python, "-c", _REFERENCE, folder], check=True, capture_output=True, text=True
        )
    return {**figures, "psnr_db": float(done.stdout)}


# Runs where torch is: the renderer's picture of frame 2 and the PSNR of colour and alpha against
# it.
_REFERENCE = """
import sys, numpy as np, torch
from restage4d.io.ply import join_gaussians
from restage4d.puppet import Puppet, sh_to_rgb
from restage4d.splatting import rasterize
puppet = Puppet.load(sys.argv[1] + "/drawn.puppet")
p = puppet.performances[-1]
g = join_gaussians(puppet.pose(p, 2), puppet.background)
rgb = np.maximum(sh_to_rgb(g.sh[:, 0]), 0)
give = [g.means, g.quats, g.scales, g.opacities, rgb, p.w2c[2], p.K[2]]
image, alpha, _ = rasterize(*(torch.tensor(x, dtype=torch.float32) for x in give), *p.size)
want = torch.cat([image, alpha[..., None]], -1).numpy()
print(-10 * np.log10(((want - np.load(sys.argv[1] + "/seen.npy")) ** 2).mean()))
"""


def measure(n: int, k: int, frames: int, *, check_all: bool) -> dict[str, float]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    puppet = puppets.random_puppet(n, k, frames, names=("base", "other"))
    puppet.performances[1].bases = puppet.performances[1].bases[:, :frames]
    for key in ("K", "w2c"):
        setattr(puppet.performances[1], key, getattr(puppet.performances[1], key)[:frames])
    puppet.background = puppets.gaussians(np.random.default_rng(1), n // 4, extent=3)
    began = time.perf_counter()
    imported = importer.import_puppet(puppet, name="bench")
    figures = {"import_s": time.perf_counter() - began}
    scene = bpy.context.scene
    importer.activate(imported, "base", scene=scene)
    with step_frames(imported, scene):
        scene.frame_set(1)
        figures["frame_ms"] = frame_changes(scene, 30)
    for mode in ("Points", "Ellipsoids", "Splats"):
        for obj in (imported.splats, imported.background_splats):
            compat.set_input(obj.modifiers["Viewport"], "Mode", mode)
        scene.frame_set(1)
        figures[f"frame_{mode.lower()}_ms"] = frame_changes(scene, 10)
    with step_frames(imported, scene):
        worst = []
        for frame in range(frames) if check_all else (0, frames // 2):
            scene.frame_set(1 + frame)
            worst.append(error(puppet, puppet.performances[0].bases[:, frame], imported))
        names = ("max_error_extents", "float32_blend_error_extents", "rotation_error_rad_p999")
        figures |= dict(zip(names, np.max(worst, 0).tolist(), strict=True))
        figures |= moved_by_hand(puppet, imported, scene.frame_end - 1)
        figures["nla_blend_error_extents"] = blended(puppet, imported, scene)
    began = time.perf_counter()
    captured = capture.capture_puppet(imported, scene)
    figures["capture_s"] = time.perf_counter() - began
    figures["capture_error"] = float(
        np.abs(captured.performances[0].bases - puppet.performances[0].bases).max()
    )
    ten = export.What(range(1, 11))
    with tempfile.TemporaryDirectory() as folder:
        for name, writer, there in (
            ("ply", export.ply_steps, True),
            ("npz", export.npz_steps, True),
            ("abc", export.alembic_steps, export.has_alembic()),
            ("usdc", export.usd_steps, export.has_usd()),
        ):
            if there:
                began = time.perf_counter()
                export.run(writer(imported, scene, Path(folder) / f"x.{name}", ten))
                figures[f"export_{name}_ms_per_frame"] = 100 * (time.perf_counter() - began)
    figures["peak_rss_bytes"] = peak_bytes()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--points", type=int, nargs="*", default=[50_000, 100_000, 300_000])
    parser.add_argument("--bases", type=int, default=100)
    parser.add_argument("--frames", type=int, default=100)
    given = parser.parse_args()
    report: dict[str, Any] = {
        "blender": bpy.app.version_string,
        "bases": given.bases,
        "frames": given.frames,
        "points": {},
    }
    for i, n in enumerate(given.points):
        figures = report["points"][str(n)] = measure(n, given.bases, given.frames, check_all=i == 0)
        print(
            f"Blender {bpy.app.version_string}: {n} points x {given.frames} frames x "
            f"{given.bases} bases"
        )
        for key, value in figures.items():
            print(f"  {key:28} {value:.4g}")
    print("Viewport, 100000 splats, 480 x 360, offscreen")
    figures = report["viewport"] = drawing(100_000, (480, 360))
    for key, value in figures.items():
        print(f"  {key:28} {value:.4g}")
    if given.json:
        with replacing(given.json) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
