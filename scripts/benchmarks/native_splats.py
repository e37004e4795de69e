"""Blender 5.3's own splats against this project's renderer, and what playing them costs.

    .venv-blender-newest/bin/python scripts/benchmarks/native_splats.py PUPPET [--frame 1]
        [--size 384] [--engines CYCLES EEVEE] [--samples 32] [--out FOLDER]

Renders a frame of the puppet's last performance through its camera by F12, once an engine, and
compares with `restage4d.splatting` (in ``.venv``) over the same size: PSNR of the picture before
black, and of the alpha. Then plays 100,000 points on 30 bases: milliseconds a frame, by the clock
and of the processor, of the rig alone and with the splats.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "blender")]

import bpy  # noqa: E402
import numpy as np  # noqa: E402
import puppets  # noqa: E402

from blender_addon import compat  # noqa: E402
from blender_addon.puppet import importer  # noqa: E402
from blender_addon.puppet.nodes import native_splats  # noqa: E402
from restage4d.puppet import Puppet  # noqa: E402

# Runs where torch is: the renderer's picture, sRGB-encoded and premultiplied, with alpha.
_REFERENCE = """
import sys, numpy as np
from restage4d.puppet import Camera, Puppet
from restage4d.splatting.gaussians import render_gaussians
puppet, (frame, *size) = Puppet.load(sys.argv[1]), map(int, sys.argv[2:5])
p = puppet.performances[-1]
c = p.camera(frame)
K = c.K.copy()
K[:2] *= np.array([size[0] / c.size[0], size[1] / c.size[1]], np.float32)[:, None]
sets = [puppet.pose(p, frame)] + ([puppet.background] if len(puppet.background) else [])
np.save(sys.argv[5], render_gaussians(sets, Camera(K, c.w2c, tuple(size)))[0])
"""


def render(scene: Any, engine: str, samples: int, path: Path) -> tuple[np.ndarray, float]:
    """The picture as (H, W, 4), premultiplied, and the seconds it took."""
    scene.render.engine = compat.EEVEE if engine == "EEVEE" else engine
    scene.cycles.samples, scene.cycles.device, scene.eevee.taa_render_samples = (
        samples,
        "CPU",
        samples,
    )
    scene.cycles.use_denoising = False
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(path)
    began = time.perf_counter()
    bpy.ops.render.render(write_still=True)
    took = time.perf_counter() - began
    image = bpy.data.images.load(str(path))
    picture = np.array(image.pixels[:], np.float32).reshape(*image.size[::-1], 4)[::-1]
    picture[..., :3] *= picture[..., 3:]
    return picture, took


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def compare(given: argparse.Namespace, folder: Path) -> None:
    puppet = Puppet.load(given.puppet)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    importer.import_puppet(puppet, name="compared")
    scene = bpy.context.scene
    factor = given.size / max(scene.render.resolution_x, scene.render.resolution_y)
    size = [round(n * factor) for n in (scene.render.resolution_x, scene.render.resolution_y)]
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.frame_set(given.frame)
    python = ROOT / ".venv" / "bin" / "python"
    there = [given.puppet, str(given.frame - 1), *map(str, size), str(folder / "truth.npy")]
    subprocess.run([python, "-c", _REFERENCE, *there], check=True, cwd=ROOT)
    truth = np.load(folder / "truth.npy")
    for engine in given.engines:
        seen, took = render(scene, engine, given.samples, folder / f"{engine}.png")
        colour, alpha = psnr(seen[..., :3], truth[..., :3]), psnr(seen[..., 3], truth[..., 3])
        print(f"{engine}: {colour:.2f} dB, alpha {alpha:.2f} dB, {took:.1f} s", flush=True)


def play(points: int, bases: int) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    puppet = puppets.random_puppet(points, bases, 20, names=("base",))
    imported = importer.import_puppet(puppet, name="played")
    scene = bpy.context.scene
    native = native_splats.find_native(imported.splats)
    assert native is not None
    other = native_splats.find_native(imported.background_splats)
    for what, hidden in (("the rig alone", True), ("with the splats", False)):
        for obj in (native, other):
            obj.hide_viewport = hidden
        scene.frame_set(1)
        times = []
        for i in range(12):
            began = time.perf_counter(), time.process_time()
            scene.frame_set(2 + (7 * i) % 19)
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        wall, busy = 1e3 * np.median(times, axis=0)
        print(f"{points} points, {bases} bases, {what}: {wall:.1f} ms, processor {busy:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("puppet")
    parser.add_argument("--frame", type=int, default=1)
    parser.add_argument("--size", type=int, default=384, help="longer side in pixels")
    parser.add_argument("--engines", nargs="*", default=["CYCLES", "EEVEE"])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--out", type=Path, help="keeps the pictures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.out or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        compare(given, place)
    for bases in (30, 100):
        play(100_000, bases)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
