"""The command line: ``restage4d run`` goes from a video and a prompt to a puppet, a Blender file
and caches."""

import argparse
import signal
import sys
from pathlib import Path

from restage4d import __version__
from restage4d.errors import Cancelled, FitError, InputError
from restage4d.jobs import provider_choice
from restage4d.progress import Event, Progress
from restage4d.threads import let_waiting_threads_sleep


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 bad input or failed fit, 130 stopped by the user."""
    let_waiting_threads_sleep()
    parser = argparse.ArgumentParser(
        prog="restage4d", description="Restage filmed subjects as 3D Gaussian puppets."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands.add_parser("run", help="video + prompt -> puppet, Blender file, caches"))
    doctor = commands.add_parser("doctor", help="what is here, what is missing, and how to get it")
    doctor.set_defaults(do=_doctor)
    _add_info(commands.add_parser("info", help="what is in a .puppet file"))
    _add_evaluate(
        commands.add_parser(
            "evaluate", help="figures and ablation tables on stages with known truth"
        )
    )
    _add_service(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.do(arguments)
    except (InputError, FitError) as error:
        print(f"\nrestage4d: {error}", file=sys.stderr)
        return 1
    except Cancelled:
        print(
            "\nStopped. What is done is kept; the same command goes on from there.", file=sys.stderr
        )
        return 130
    return 0


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "video", type=Path, help="base video (mp4, mov, webm ...) or a folder of frames"
    )
    parser.add_argument("prompt", help="what the subject shall do instead")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--select",
        type=_numbers(2),
        metavar="X,Y",
        help="a point on the subject in the first frame, in the video's pixels",
    )
    where.add_argument(
        "--box",
        type=_numbers(4),
        metavar="X0,Y0,X1,Y1",
        help="a box around the subject in the first frame",
    )
    where.add_argument("--mask", type=Path, help="PNG mask of the subject in the first frame")
    where.add_argument(
        "--select-text",
        metavar="WORDS",
        help='words for the subject, e.g. "the camel" (needs --masks sam3)',
    )
    parser.add_argument(
        "--driving",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a driving video of yours; repeat it for several",
    )
    parser.add_argument(
        "--priors",
        type=Path,
        metavar="DIR",
        help="read masks, depth, cameras or tracks from here (docs/priors.md)",
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
        "--longer-side", type=int, default=384, metavar="PIXELS", help="working size (default: 384)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="use the first N frames only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", choices=("draft", "default", "high"), default="default")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the fit, e.g. fusion.steps=500",
    )
    parser.add_argument(
        "--blender-python",
        type=Path,
        metavar="FILE",
        help="Python with bpy (default: .venv-blender of this checkout)",
    )
    provider_choice.add_arguments(parser)
    parser.set_defaults(do=_run)


def _run(arguments: argparse.Namespace) -> None:
    from restage4d.jobs.restaging import Job, run  # heavy imports only where they are needed

    given = {
        name: value for name, value in vars(arguments).items() if name not in ("command", "do")
    }
    run(Job(choices=provider_choice.from_arguments(given), **given), console_progress())


def _doctor(arguments: argparse.Namespace) -> None:
    from restage4d.cli.doctor import report

    print(report())


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("puppet", type=Path)
    parser.set_defaults(do=_info)


def _info(arguments: argparse.Namespace) -> None:
    from restage4d.puppet import Puppet

    puppet = Puppet.load(arguments.puppet)
    print(
        f"{len(puppet.subject)} subject and {len(puppet.background)} background Gaussians, "
        f"{puppet.n_bases} bases"
    )
    for p in puppet.performances:
        print(
            f"  {p.name}: {p.n_frames} frames at {p.fps:g} fps, {p.size[0]}x{p.size[1]}"
            + (f', "{p.prompt}"' if p.prompt else "")
        )
    for name, value in puppet.metrics.items():
        print(f"  {name}: {value:.4g}")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--stage", type=Path, metavar="DIR", help="one stage made by scripts/render_stage.py"
    )
    what.add_argument(
        "--stages",
        type=Path,
        metavar="DIR",
        help="a folder of stages: the whole set of tables and plots",
    )
    what.add_argument(
        "--davis", type=Path, metavar="DIR", help="DAVIS clips with BADJA's joints: the real pairs"
    )
    parser.add_argument(
        "--ablation",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these (default: all; docs/evaluate.md)",
    )
    parser.add_argument(
        "--noise",
        choices=("clean", "learned"),
        default="learned",
        help="of the priors made from a stage's truth",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every fit"
    )
    parser.add_argument(
        "--clip", type=Path, metavar="DIR", help="a folder with a CLIP model, for OCV CLIP"
    )
    parser.add_argument(
        "--lpips", type=Path, metavar="DIR", help="a folder with AlexNet's and LPIPS's weights"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="results; the same command goes on where it stopped",
    )
    parser.set_defaults(do=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from restage4d.cli.evaluate import evaluate

    evaluate(arguments, console_progress())


def _add_service(commands) -> None:
    try:
        from backend import commands as owner
        from restage4d.cli import client
    except (
        ImportError
    ):  # installed without the extra "backend", as in Blender: there is no service to run or to ask
        return
    client.add(commands)
    owner.add(commands)


def _numbers(count: int):
    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(v) for v in text.split(","))
        if len(values) != count:
            raise argparse.ArgumentTypeError(
                f"expected {count} numbers with commas between, got {text!r}"
            )
        return values

    return parse


def console_progress() -> Progress:
    """Progress on the terminal with time left; the first Ctrl-C stops at the next step and keeps
    the work, the second at once."""
    stopping = False

    def stop(signum: int, frame: object) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True
        print("\nStopping at the next step ...", file=sys.stderr)

    signal.signal(signal.SIGINT, stop)
    return Progress(_Console(), lambda: stopping)


class _Console:
    """One line that renews itself on a terminal; elsewhere a line when a stage begins, ends, and
    every 20 seconds."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.stage, self.told = "", 0.0

    def __call__(self, event: Event) -> None:
        begins, ends = event.stage != self.stage, event.step >= event.total
        if not self.live and not begins and not ends and event.seconds - self.told < 20:
            return
        if self.live and begins and self.stage:
            print()
        self.stage, self.told = event.stage, event.seconds
        text = f"{event.stage:<24} {100 * event.step // event.total:3d} %  {event.seconds:5.0f} s"
        if event.seconds_left is not None and not ends:
            text += f", {event.seconds_left:.0f} s left"
        text += "".join(f"  {name} {value:.4g}" for name, value in event.figures.items())
        print(f"\r{text:<100}" if self.live else text, end="" if self.live else "\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
