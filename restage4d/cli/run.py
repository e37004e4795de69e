"""``restage4d run``: from a video and a prompt to a puppet, a Blender file and caches."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restage4d.cli import provider_options
from restage4d.cli.blender_process import BlenderProcess
from restage4d.cli.console import console_progress
from restage4d.cli.options import add_fit, add_selection, check_masks
from restage4d.clips import Selection
from restage4d.defaults import AUTO
from restage4d.progress import Progress


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("run", help="video + prompt -> puppet, Blender file, caches")
    parser.add_argument(
        "video", type=Path, help="base video (mp4, mov, webm ...) or a folder of frames"
    )
    parser.add_argument("prompt", help="what the subject shall do instead")
    add_selection(parser, words=True)
    parser.add_argument(
        "--driving",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a driving video of yours; repeat it for several",
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="PUPPET",
        help="a puppet file of the same video: it performs this too, and stays as it is",
    )
    parser.add_argument(
        "--priors",
        type=lambda text: None if text == AUTO else Path(text),
        metavar="DIR",
        help="read masks, depth, cameras or tracks from here (docs/priors.md); auto, the default: "
        "from nowhere, the best estimators whose weights are here make them",
    )
    parser.add_argument(
        "--true-masks",
        type=Path,
        metavar="DIR",
        help="true masks of the base, to report the IoU of ours",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="folder for the results (default: out)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write over the results of another run in that folder",
    )
    add_fit(parser)
    parser.add_argument(
        "--blender-python",
        type=Path,
        metavar="FILE",
        help="Python with bpy (default: .venv-blender of this checkout)",
    )
    provider_options.add(parser)
    parser.set_defaults(do=_run)


def _run(arguments: argparse.Namespace) -> None:
    ask = None if arguments.auto or not sys.stdin.isatty() else ask_candidate
    run_with_options(arguments, console_progress(), ask)


def run_with_options(
    options: argparse.Namespace, progress: Progress, choose: Callable[[str], int] | None = None
) -> Path:
    """Runs the main job as the options of ``restage4d run`` say; returns the puppet's file.

    `restage4d.restage` calls it too, so that the command and the function cannot drift apart.
    Raises as `restage4d.jobs.restaging.run`.
    """
    # torch and all that comes with it: seconds that the other commands do without
    from restage4d.jobs.footage import read_mask
    from restage4d.jobs.restaging import RestagingJob, run

    masks = {
        frame: read_mask(path)
        for frame, path in check_masks(
            options.mask, options.select, options.box, options.select_text
        ).items()
    }
    job = RestagingJob(
        video=options.video,
        prompt=options.prompt,
        out=options.out,
        selection=Selection(
            point=options.select,
            box=options.box,
            mask=masks.pop(0, None),
            text=options.select_text,
        ),
        corrections=masks,
        head=options.head,
        driving=options.driving,
        into=options.into,
        priors=options.priors,
        true_masks=options.true_masks,
        longer_side=options.longer_side,
        first=options.first,
        frames=options.frames,
        seed=options.seed,
        quality=options.quality,
        settings=options.set,
        choice=provider_options.read(options),
        overwrite=options.overwrite,
    )
    run(job, progress, make_blend=BlenderProcess(options.blender_python), choose=choose)
    return job.out / "puppet.puppet"


def ask_candidate(table: str) -> int:
    """The artist's pick of the candidates shown; 0 for the best."""
    answer = input("Which one? Its number, or Enter for the marked one: ").strip()
    return int(answer) if answer.isdigit() else 0
