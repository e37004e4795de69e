"""Makes the demo clip, scripts/demo_clip: the project's own creature walking, with exact ground
truth.

Run with Blender's Python: ``.venv-blender/bin/python scripts/render_demo.py``. The same seeds give
the same files.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bpy  # noqa: E402
from stage import clip, render, studio, truth  # noqa: E402
from stage.subject import Creature, Subject  # noqa: E402

FRAMES, FPS, POINTS = 48, 24, 2400


def shot(subject: Subject, frames: int) -> clip.Shot:
    """The creature walks on a bend from left to right and looks into the camera, which moves slowly
    to its front."""
    u = np.linspace(0, 1, frames)
    azimuth = np.radians(92 - 26 * u)
    target = np.stack([-0.46 + 0.76 * u, -0.18 + 0.22 * u, 0.42 + 0 * u], 1)
    eye = target + np.stack([2.35 * np.cos(azimuth), 2.35 * np.sin(azimuth), 0.45 + 0.06 * u], 1)
    poses = subject.poses("walk", frames, FPS * frames / FRAMES)
    return clip.Shot(poses, np.tile([-0.42, -0.20], (frames, 1)), np.zeros(frames), eye, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "demo_clip")
    parser.add_argument(
        "--width", type=int, default=384, help="picture width; the height is three quarters of it"
    )
    parser.add_argument(
        "--frames", type=int, default=FRAMES, help="fewer frames show the same action, coarser"
    )
    args = parser.parse_args()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    studio.build()
    creature = Creature()
    look = render.Look(args.width, args.width * 3 // 4)
    render.prepare(look)
    points = truth.SurfacePoints(creature.meshes, POINTS, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "base"
        clip.film(creature, shot(creature, args.frames), look, made, points)
        clip.encode(made / "frames", FPS, made / "base.mp4")
        shutil.rmtree(made / "frames")
        shutil.rmtree(args.out / "masks", ignore_errors=True)
        shutil.copytree(made, args.out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
