"""Renders a stage: base and driving clips of an animated character with exact ground truth. Layout:
docs/stage_format.md.

Run with Blender's Python: ``.venv-blender/bin/python scripts/render_stage.py creature --base walk
--driving sit --out DIR``. All clips begin with the identical pose and camera. In the base clip the
camera travels around the subject; in a driving
one it stands still while the subject turns.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bpy  # noqa: E402
from stage import clip, faults, gait, render, shots, studio, truth  # noqa: E402
from stage.character import GltfCharacter  # noqa: E402
from stage.subject import Creature, Subject  # noqa: E402

from restage4d.errors import InputError  # noqa: E402
from restage4d.io.atomic import replacing  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "character", help="a .glb or .gltf file with an animated character, or the word creature"
    )
    parser.add_argument("--base", required=True, help="animation of the base clip")
    parser.add_argument(
        "--driving",
        nargs="*",
        default=[],
        help="animation that a driving clip moves over into; one clip each",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--size", type=int, default=384, help="picture width; the height is three quarters of it"
    )
    parser.add_argument("--frames", type=int, default=48, help="frames of each clip")
    parser.add_argument(
        "--orbit",
        type=float,
        default=80,
        help="degrees of the base camera's way around the subject",
    )
    parser.add_argument(
        "--turn", type=float, default=60, help="degrees that the subject turns in a driving clip"
    )
    parser.add_argument("--points", type=int, default=2400, help="surface points to follow")
    parser.add_argument(
        "--samples", type=int, default=10, help="samples per pixel before denoising"
    )
    parser.add_argument(
        "--view-step",
        type=int,
        default=4,
        help="the held-out views show every so many frames; 0: none",
    )
    parser.add_argument(
        "--without",
        nargs="*",
        default=[],
        metavar="NAME",
        help="objects of the character to leave out (* allowed)",
    )
    parser.add_argument(
        "--faults",
        action="store_true",
        help="render the driving clips a second time with generator faults",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make(args: argparse.Namespace) -> None:
    if (
        not 2 <= args.frames <= 1000
        or not 32 <= args.size <= 4096
        or args.points < 1
        or args.samples < 1
        or args.view_step < 0
    ):
        raise InputError(
            "A number is out of range.",
            "Take 2-1000 frames, a size of 32-4096, and positive points and samples.",
        )
    if args.faults and not args.driving:
        raise InputError("--faults needs a driving clip.", "Give --driving ANIMATION.")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InputError(
            f"{args.out} is there already and not an empty folder.",
            "Give another --out, or remove it first.",
        )
    if args.character == "creature":  # before its shape is made, which takes a while
        for name in (args.base, *args.driving):
            gait.named(name)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    studio.build(args.seed, shots.WALL)
    subject: Subject = (
        Creature()
        if args.character == "creature"
        else GltfCharacter(Path(args.character), args.without)
    )
    look = render.Look(args.size, args.size * 3 // 4, args.samples, args.seed)
    render.prepare(look)
    plan = shots.Plan(args.base, tuple(args.driving), args.frames, orbit=args.orbit, turn=args.turn)
    clips, extent = shots.stage(subject, plan)
    clips["base"].show(subject, 0)
    points = truth.SurfacePoints(subject.meshes, args.points, args.seed)
    schedule = faults.schedule(args.frames) if args.faults else None
    about = {
        "format": 1,
        "character": Path(args.character).name,
        **asdict(plan),
        "size": [look.width, look.height],
        "extent": extent,
        "points": args.points,
        "seed": args.seed,
        "samples": args.samples,
        "blender": bpy.app.version_string,
        "views": list(shots.VIEWS) if args.view_step else [],
        "view_step": args.view_step,
        "faults": asdict(schedule) | {"frames": schedule.faulty()} if schedule else None,
    }
    for name, shot in clips.items():
        clip.film(subject, shot, look, args.out / name, points)
        if args.view_step:
            for view, seen in shots.views(subject, shot).items():
                clip.film(subject, seen, look, args.out / name / view, step=args.view_step)
    if schedule:
        clips["base"].show(subject, 0)
        fault = faults.Faults(subject, schedule)
        about["faults"]["limb_bone"] = fault.limb
        for i in range(1, len(plan.driving) + 1):
            clip.film(
                subject, clips[f"driving_{i}"], look, args.out / f"faulty_{i}", points, before=fault
            )
    with replacing(args.out / "stage.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        make(arguments())
    except InputError as error:
        sys.exit(f"render_stage: {error}")
